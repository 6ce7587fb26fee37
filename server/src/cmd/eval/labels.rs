//! What people say of sessions. Read here and nowhere else: nothing that judges sees it.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use crate::cmd::replay::Faults;
use crate::cmd::replay::source::{Place, Source};
use crate::policies::count;

/// What is looked for in a line of labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) split: Option<String>,
    pub(super) by: Option<String>,
    pub(super) with_failed: bool,
}

/// What a session counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Good, and nobody attacked it: what an operator would learn from.
    Normal,
    /// Good, though attacked.
    Resisted,
    Bad {
        first: u64,
    },
}

/// Why a session counts as nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    Asked,
    Failed,
    /// Bad, and nobody says from which step on.
    Unlocated,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) session_id: String,
    pub(super) kind: Result<Kind, LeftOut>,
    /// Values of the paths that were asked for; absent where the session is left out.
    pub(super) split: Option<String>,
    pub(super) by: Option<String>,
}

/// The labels of all files.
///
/// # Errors
/// When a file cannot be read, or a line of it is no label: a session that is missed would change every figure silently.
pub(super) fn read(paths: &[PathBuf], asked: &Asked) -> Result<Vec<Label>> {
    let mut source = Source::open(paths)?;
    let faults = Faults::new(source.progress());
    let (mut labels, mut places, mut wrong) = (Vec::new(), HashMap::<String, Place>::new(), 0);
    let mut line = Vec::new();
    while let Some(place) = source.next_line(&mut line)? {
        let label = parse(&line, asked).and_then(|it| match places.insert(it.session_id.clone(), place.clone()) {
            Some(first) => Err(format!("`session_id` {} is labelled in {first} already: keep one", it.session_id)),
            None => Ok(it),
        });
        match label {
            Ok(label) => labels.push(label),
            Err(message) => {
                wrong += 1;
                faults.tell(&place, &message);
            }
        }
    }
    source.progress().finish_and_clear();
    if wrong > 0 {
        bail!("{} of labels cannot be used, and nothing was judged", count(wrong, "line"));
    }
    Ok(labels)
}

fn parse(line: &[u8], asked: &Asked) -> Result<Label, String> {
    const FORM: &str = r#"a line is {"session_id": "…", "label": {"first_bad_step": null}}"#;
    let line: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| format!("no JSON object ({error}): {FORM}"))?;
    let Some(session_id) = line.get("session_id").and_then(Value::as_str) else {
        return Err(format!("`session_id` is no text: {FORM}"));
    };
    let Some(label) = line.get("label").and_then(Value::as_object) else {
        return Err(format!("`label` of session {session_id} is no object: {FORM}"));
    };
    let kind = kind(label, asked.with_failed)?;
    let value = |path: &Option<String>, flag: &str| {
        match path {
        Some(path) if kind.is_ok() => at(&line, path).map(Some).ok_or_else(|| {
            format!(
                "`{path}` of session {session_id} is no text, number or boolean: {flag} names a path that every label has, \
                 or say `\"use\": false` in its `label`"
            )
        }),
        _ => Ok(None),
    }
    };
    let (split, by) = (value(&asked.split, "--split")?, value(&asked.by, "--by")?);
    Ok(Label { session_id: session_id.to_owned(), kind, split, by })
}

fn kind(label: &Map<String, Value>, with_failed: bool) -> Result<Result<Kind, LeftOut>, String> {
    let flag = |name: &str| match label.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(it)) => Ok(Some(*it)),
        Some(other) => Err(format!("`label.{name}` is {other}: give true, false or null")),
    };
    let first = match label.get("first_bad_step") {
        None | Some(Value::Null) => None,
        Some(it) => Some(it.as_u64().ok_or_else(|| {
            format!("`label.first_bad_step` is {it}: give the `seq` of the step, a whole number, or null")
        })?),
    };
    let (used, succeeded, failed, attack) = (flag("use")?, flag("attack_succeeded")?, flag("failed")?, flag("attack")?);
    Ok(match first {
        _ if used == Some(false) => Err(LeftOut::Asked),
        Some(first) => Ok(Kind::Bad { first }),
        None if succeeded == Some(true) => Err(LeftOut::Unlocated),
        None if failed == Some(true) && !with_failed => Err(LeftOut::Failed),
        None if attack == Some(true) => Ok(Kind::Resisted),
        None => Ok(Kind::Normal),
    })
}

fn at(line: &Map<String, Value>, path: &str) -> Option<String> {
    let mut names = path.split('.');
    let first = line.get(names.next()?)?;
    match names.try_fold(first, |value, name| value.get(name))? {
        Value::String(text) => Some(text.clone()),
        it @ (Value::Number(_) | Value::Bool(_)) => Some(it.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Kind, Label, LeftOut, parse, read};

    #[test]
    fn a_session_counts_by_the_first_rule_that_fits() {
        for (label, expected, with_failed) in [
            ("", Ok(Kind::Normal), Ok(Kind::Normal)),
            (r#""first_bad_step":null,"failed":null,"attack":null,"use":null"#, Ok(Kind::Normal), Ok(Kind::Normal)),
            (r#""failed":false,"attack":false,"other":[1]"#, Ok(Kind::Normal), Ok(Kind::Normal)),
            (r#""failed":true"#, Err(LeftOut::Failed), Ok(Kind::Normal)),
            (r#""attack":true"#, Ok(Kind::Resisted), Ok(Kind::Resisted)),
            (r#""attack":true,"failed":true"#, Err(LeftOut::Failed), Ok(Kind::Resisted)),
            (r#""attack":true,"attack_succeeded":true"#, Err(LeftOut::Unlocated), Err(LeftOut::Unlocated)),
            (r#""first_bad_step":0,"failed":true"#, Ok(Kind::Bad { first: 0 }), Ok(Kind::Bad { first: 0 })),
            (r#""first_bad_step":7,"use":true"#, Ok(Kind::Bad { first: 7 }), Ok(Kind::Bad { first: 7 })),
            (r#""first_bad_step":7,"use":false"#, Err(LeftOut::Asked), Err(LeftOut::Asked)),
        ] {
            let line = format!(r#"{{"session_id":"s","label":{{{label}}}}}"#);
            let read = |with_failed| parse(line.as_bytes(), &Asked { with_failed, ..Asked::default() });
            assert_eq!(read(false).expect("a label").kind, expected, "{label}");
            assert_eq!(read(true).expect("a label").kind, with_failed, "{label}");
        }
    }

    #[test]
    fn paths_lead_to_a_value_of_the_line() {
        let asked =
            |split: &str| Asked { split: Some(split.to_owned()), by: Some("id".to_owned()), with_failed: false };
        let line = |used: bool| {
            format!(
                r#"{{"session_id":"s","id":7,"label":{{"use":{used}}},"info":{{"task":"a.b","deep":{{"n":true}}}}}}"#
            )
        };
        for (path, expected) in
            [("info.task", Some("a.b")), ("info.deep.n", Some("true")), ("info", None), ("x.y", None)]
        {
            let found = parse(line(true).as_bytes(), &asked(path));
            assert_eq!(found.as_ref().ok().and_then(|it| it.split.as_deref()), expected, "{path}");
            if let Err(message) = found {
                assert!(message.contains(path) && message.contains("--split"), "{message}");
            }
            // Of a session that is left out nothing is asked.
            let left_out = parse(line(false).as_bytes(), &asked(path)).expect("a label");
            let expected = Label { session_id: "s".to_owned(), kind: Err(LeftOut::Asked), split: None, by: None };
            assert_eq!(left_out, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        for (line, words) in [
            ("nonsense", ["no JSON object", "session_id"]),
            ("[]", ["no JSON object", "session_id"]),
            (r#"{"label":{}}"#, ["`session_id`", "a line is"]),
            (r#"{"session_id":"s"}"#, ["`label` of session s", "a line is"]),
            (r#"{"session_id":"s","label":{"first_bad_step":-1}}"#, ["`label.first_bad_step` is -1", "or null"]),
            (r#"{"session_id":"s","label":{"first_bad_step":"3"}}"#, ["`label.first_bad_step` is \"3\"", "`seq`"]),
            (r#"{"session_id":"s","label":{"failed":1}}"#, ["`label.failed` is 1", "true, false or null"]),
            (r#"{"session_id":"s","label":{"use":"no"}}"#, ["`label.use` is \"no\"", "true, false or null"]),
        ] {
            let message = parse(line.as_bytes(), &Asked::default()).expect_err("refused");
            assert!(words.iter().all(|word| message.contains(word)), "{line}: {message}");
        }
    }

    #[test]
    fn a_session_has_one_label() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("labels.jsonl");
        let line = "{\"session_id\":\"s\",\"label\":{}}\n";
        std::fs::write(&path, line).expect("writes");
        let paths = |times| vec![path.clone(); times];
        assert_eq!(read(&paths(1), &Asked::default()).expect("labels").len(), 1);
        let error = read(&paths(2), &Asked::default()).expect_err("refused").to_string();
        assert!(error.contains("1 line of labels cannot be used"), "{error}");
    }
}
