//! The description of every path, as OpenAPI 3.1: `GET /openapi.json`, checked in as `generated/openapi.json`.
//!
//! Paths are a table, schemas come from the types themselves, and a test compares the result with the file that is
//! served (`UPDATE_EXPECT=1` rewrites it).

mod by_hand;
mod paths;

use std::collections::BTreeMap;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use martingale_schemas::record::DeadLetter;
use martingale_schemas::{Control, Verdict, json_schema};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{alerts, baselines, controls, gate};
use paths::{BODIES, GUARD, In, OPEN, Operation, PATHS, Param};

const FILE: &str = include_str!("../generated/openapi.json");

pub(crate) fn router() -> Router {
    let answer = || async { ([(header::CONTENT_TYPE, "application/json")], FILE) };
    Router::new().route("/openapi.json", get(answer))
}

/// The document, built from the code.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for operation in PATHS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = shown(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Martingale",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The execution control plane for autonomous agents.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        // The second says that there may be none: it depends on the configuration.
        "security": [{ "bearer": [] }, {}],
        "components": { "schemas": schemas(), "securitySchemes": { "bearer": bearer() } },
    })
}

fn bearer() -> Value {
    json!({
        "type": "http",
        "scheme": "bearer",
        "description": "Needed where `auth.token` or `auth.token_file` is set.",
    })
}

fn shown(operation: &Operation) -> Value {
    let mut answers = Map::new();
    for (status, what, media, schema) in operation.answers {
        answers.insert((*status).to_owned(), json!({ "description": what, "content": content(media, schema) }));
    }
    for (status, what) in errors(operation) {
        let error = json!({ "description": what, "content": content("application/json", "Error") });
        answers.insert(status.to_owned(), error);
    }
    let parameters: Vec<Value> = operation.params.iter().map(parameter).collect();
    let mut shown = json!({ "summary": operation.summary, "parameters": parameters, "responses": answers });
    if let Some((media, schema)) = operation.body {
        shown["requestBody"] = json!({ "required": true, "content": content(media, schema) });
    }
    if operation.path == OPEN {
        shown["security"] = json!([]);
    }
    shown
}

/// Its own errors, those of the guard in front of it, and those of reading a body; where an answer of the same status has a form of its
/// own, that is the one.
fn errors(operation: &Operation) -> BTreeMap<&'static str, String> {
    let guard = GUARD.iter().filter(|(status, _)| operation.path != OPEN || *status != "401");
    let has_own = |status: &str| operation.errors.iter().any(|(own, _)| *own == status);
    let bodies = BODIES.iter().filter(|(status, _)| operation.body.is_some() && !has_own(status));
    let mut errors = BTreeMap::<_, String>::new();
    for (status, what) in operation.errors.iter().chain(guard).chain(bodies) {
        if operation.answers.iter().any(|(answer, ..)| answer == status) {
            continue;
        }
        let said = errors.entry(*status).or_default();
        let or = if said.is_empty() { "" } else { " Or: " };
        *said = format!("{said}{or}{what}");
    }
    errors
}

fn parameter(param: &Param) -> Value {
    let (place, required) = match param.place {
        In::Path => ("path", true),
        In::Query => ("query", false),
        In::Header => ("header", false),
    };
    json!({
        "name": param.name,
        "in": place,
        "required": required,
        "description": param.what,
        "schema": { "type": param.kind },
    })
}

fn content(media: &str, schema: &str) -> Value {
    if media.is_empty() {
        return json!({});
    }
    let mut content = Map::new();
    for media in media.split(' ') {
        content.insert(media.to_owned(), json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } }));
    }
    Value::Object(content)
}

/// Schemas of the crate's own types by derivation, of the others by hand. As they are written, since all are answers: what is left
/// away when there is nothing to say is not required.
fn schemas() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    generator.subschema_for::<Verdict<'static>>();
    generator.subschema_for::<Control>();
    generator.subschema_for::<DeadLetter>();
    generator.subschema_for::<controls::Given>();
    generator.subschema_for::<gate::Answer>();
    generator.subschema_for::<alerts::List>();
    generator.subschema_for::<baselines::Listed>();
    generator.subschema_for::<baselines::Put>();
    generator.subschema_for::<controls::Grants>();
    let mut schemas = generator.take_definitions(true);
    schemas.extend(by_hand::schemas());
    schemas.insert("Step".to_owned(), step());
    Value::Object(schemas)
}

/// The wire format of a step, which has a document of its own.
fn step() -> Value {
    /// What it refers to lies within it, and its place in this document is another.
    fn moved(value: &mut Value) {
        match value {
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match value {
                Value::String(target) if name == "$ref" => {
                    *target = target.replacen('#', "#/components/schemas/Step", 1);
                }
                _ => moved(value),
            }),
            Value::Array(values) => values.iter_mut().for_each(moved),
            _ => {}
        }
    }
    let mut step = json_schema::step().to_value();
    if let Value::Object(fields) = &mut step {
        fields.retain(|name, _| !matches!(name.as_str(), "$schema" | "$id"));
    }
    moved(&mut step);
    step
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{FILE, document};

    #[test]
    fn the_checked_in_file_is_what_the_code_says() {
        let mut built = serde_json::to_string_pretty(&document()).expect("writes");
        built.push('\n');
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/generated/openapi.json");
            std::fs::write(path, &built).expect("writes");
            return;
        }
        assert!(built == FILE, "generated/openapi.json is stale: run this test with UPDATE_EXPECT=1");
    }

    #[test]
    fn every_reference_has_its_schema() {
        fn references(value: &Value, into: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
                    Value::String(target) if name == "$ref" => {
                        into.insert(target.clone());
                    }
                    _ => references(value, into),
                }),
                Value::Array(values) => values.iter().for_each(|value| references(value, into)),
                _ => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.contains("#/components/schemas/Verdict"), "{found:?}");
        for target in found {
            let pointer = target.strip_prefix('#').expect("in this document");
            assert!(document.pointer(pointer).is_some(), "{target} is missing");
        }
    }
}
