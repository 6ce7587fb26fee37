//! Every answer in JSON that a test gets through the harness, of a path that is described, is held against the description of it that the server publishes.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../query-api/generated/openapi.json")).expect("the checked-in document")
});

/// By the schema's name.
static VALIDATORS: LazyLock<Mutex<HashMap<String, jsonschema::Validator>>> = LazyLock::new(Mutex::default);

/// The path of the document that a request is for, where there is one.
fn path_of(path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let is = |template: &str| {
        let (mut of, mut parts) = (template.split('/'), path.split('/'));
        let same = of.by_ref().zip(parts.by_ref()).all(|(of, part)| of == part || of.starts_with('{'));
        same && template.split('/').count() == path.split('/').count()
    };
    DOCUMENT["paths"].as_object()?.iter().find(|(template, _)| is(template)).map(|(_, it)| it)
}

/// # Panics
/// When the answer is not as described: its status, or the shape of its JSON.
pub(crate) fn check(method: &str, path: &str, status: u16, answer: &Value) {
    let Some(operation) = path_of(path).and_then(|it| it.get(method)) else { return };
    // A process of other roles does not have the path.
    if status == 404 && answer["error"]["message"].as_str().is_some_and(|it| it.starts_with("no path ")) {
        return;
    }
    let described = &operation["responses"][status.to_string()];
    assert!(!described.is_null(), "{method} {path} is answered {status}, which /openapi.json does not name: {answer}");
    let Some(reference) = described["content"]["application/json"]["schema"]["$ref"].as_str() else { return };
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = validators.entry(reference.to_owned()).or_insert_with(|| {
        let schema = json!({ "$ref": reference, "components": DOCUMENT["components"] });
        jsonschema::draft202012::new(&schema).expect("a schema")
    });
    let faults: Vec<String> =
        validator.iter_errors(answer).map(|it| format!("{it} at {}", it.instance_path())).collect();
    assert!(faults.is_empty(), "{method} {path} {status} is not {reference}: {faults:?} in {answer}");
}

#[test]
fn what_is_not_described_is_told() {
    let answer = json!({ "decision": "allow", "verdict_id": "v", "step_id": "1", "findings": [] });
    check("post", "/v1/gate", 200, &answer);
    check("get", "/v1/sessions/a/timeline?limit=1", 200, &json!({}));
    check("get", "/v1/nowhere", 418, &json!({}));
    let error = json!({ "error": { "reason": "busy", "message": "later" } });
    check("post", "/v1/gate", 429, &error);
    for (status, answer) in [(418, &answer), (200, &error), (429, &json!({}))] {
        let told = std::panic::catch_unwind(|| check("post", "/v1/gate", status, answer));
        assert!(told.is_err(), "{status} {answer}");
    }
}
