//! rsigma over the same lines, decoded in two ways.

use std::borrow::Cow;
use std::hint::black_box;

use anyhow::{Result, anyhow};
use rsigma_eval::{CorrelationConfig, CorrelationEngine, Event, EventValue, JsonEvent, ProcessResult};
use rsigma_parser::{SigmaCollection, parse_sigma_yaml};
use serde::Deserialize;
use serde_json::Value;

use crate::Found;
use crate::steps::Lines;

const RULES: &str = include_str!("../rules/sigma.yaml");

/// What an event is read into.
#[derive(Clone, Copy)]
pub enum Reads {
    /// The whole line, as its own command reads JSON lines.
    Json,
    /// The fields that its rules name and no other, borrowed from the line.
    Fields,
}

#[derive(Debug, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    tool: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
}

impl Fields<'_> {
    fn each(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let optional = [("tool", self.tool.as_deref()), ("status", self.status.as_deref())];
        let required = [("session_id", &*self.session_id), ("time", &*self.time), ("kind", &*self.kind)];
        required.into_iter().chain(optional.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

impl Event for Fields<'_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        let value = match path {
            "session_id" => &*self.session_id,
            "time" => &*self.time,
            "kind" => &*self.kind,
            "tool" => self.tool.as_deref()?,
            "status" => self.status.as_deref()?,
            _ => return None,
        };
        Some(EventValue::Str(Cow::Borrowed(value)))
    }

    fn any_string_value(&self, pred: &dyn Fn(&str) -> bool) -> bool {
        self.each().any(|(_, value)| pred(value))
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        self.each().map(|(_, value)| Cow::Borrowed(value)).collect()
    }

    fn to_json(&self) -> Value {
        self.each().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    }

    fn top_level_keys(&self) -> Option<Vec<Cow<'_, str>>> {
        Some(self.each().map(|(name, _)| Cow::Borrowed(name)).collect())
    }

    fn visit_top_level_keys(&self, visit: &mut dyn FnMut(&str)) -> bool {
        self.each().for_each(|(name, _)| visit(name));
        true
    }
}

pub fn rules() -> Result<SigmaCollection> {
    let rules = parse_sigma_yaml(RULES)?;
    if rules.errors.is_empty() { Ok(rules) } else { Err(anyhow!("{:?}", rules.errors)) }
}

/// Detections that only feed correlations are not told, as none are of ours.
fn engine(rules: &SigmaCollection) -> Result<CorrelationEngine> {
    let config = CorrelationConfig {
        timestamp_fields: vec!["time".to_owned()],
        emit_detections: false,
        ..CorrelationConfig::default()
    };
    let mut engine = CorrelationEngine::new(config);
    engine.add_collection(rules)?;
    Ok(engine)
}

pub fn pass(rules: &SigmaCollection, reads: Reads, lines: &Lines, mut found: Option<&mut Found>) -> Result<()> {
    let mut engine = engine(rules)?;
    for line in lines.iter() {
        let told = match reads {
            Reads::Json => {
                let value: Value = serde_json::from_slice(line)?;
                black_box(engine.process_event(&JsonEvent::owned(value)))
            }
            Reads::Fields => black_box(engine.process_event(&serde_json::from_slice::<Fields<'_>>(line)?)),
        };
        if let Some(found) = found.as_deref_mut() {
            note(told, found);
        }
    }
    Ok(())
}

fn note(told: ProcessResult, found: &mut Found) {
    for it in told {
        let Some(body) = it.as_correlation() else { continue };
        let rule = titled(&it.header.rule_title);
        let session = body.group_key.iter().map(|(_, value)| value.as_str()).collect::<String>();
        *found.entry((rule.to_owned(), session)).or_default() += 1;
    }
}

/// Our id of the rule of that title; a step on the way to another rule has none.
fn titled(title: &str) -> &str {
    match title {
        "A file was read, then a mail was sent" => "read-then-send",
        "The user asked, a secret was fetched, something was posted" => "asked-secret-post",
        "A deployment failed, then a table was deleted" => "failed-deploy-then-delete",
        "Something was searched, downloaded and run, then a mail was sent" => "search-download-run-send",
        "Three failed logins, then one that succeeded" => "failures-then-login",
        other => other,
    }
}
