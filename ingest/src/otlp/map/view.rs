//! The attributes of a span or log record as a convention takes them, name by name. What nobody takes stays under its
//! own name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use martingale_schemas::Limits;
use martingale_schemas::limits::{COST_USD_MAX, TOKENS_MAX};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Otlp;
use serde_json::{Map, Value};

/// Deepest nesting that is followed. Decoders stop earlier (100 messages of protobuf, 128 levels of JSON), so only a
/// value made by other means meets it.
const DEPTH_MAX: usize = 64;
/// Most parts of a dotted name that is read as a tree.
const SEGMENTS_MAX: usize = 16;
/// Attributes the mapping adds by itself.
const ADDED_MAX: usize = 8;
/// Says how many attributes a step could not hold; the name the SDKs' exporters use.
const DROPPED: &str = "otel.dropped_attributes_count";

#[derive(Clone, Debug)]
enum Slot<'a> {
    Otlp(&'a Otlp),
    Json(Value),
}

#[derive(Clone, Debug, Default)]
pub(super) struct View<'a> {
    slots: BTreeMap<Cow<'a, str>, Slot<'a>>,
}

impl<'a> View<'a> {
    /// Names are unique in OTLP; of a name that comes twice the first counts.
    pub(super) fn new(attributes: &'a [KeyValue]) -> Self {
        let mut view = Self::default();
        view.add(attributes);
        view
    }

    /// Adds attributes that are not there yet.
    pub(super) fn add(&mut self, attributes: &'a [KeyValue]) {
        for KeyValue { key, value, .. } in attributes {
            if let Some(value) = value.as_ref().and_then(|it| it.value.as_ref()) {
                self.slots.entry(Cow::Borrowed(key)).or_insert(Slot::Otlp(value));
            }
        }
    }

    /// Adds fields that are not there yet.
    pub(super) fn fill(&mut self, fields: Map<String, Value>) {
        for (name, value) in fields {
            self.slots.entry(Cow::Owned(name)).or_insert(Slot::Json(value));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.slots.contains_key(name)
    }

    /// The text of an attribute, which stays.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        match self.slots.get(name)? {
            Slot::Otlp(Otlp::StringValue(text)) | Slot::Json(Value::String(text)) => {
                Some(text).filter(|it| !it.is_empty()).map(String::as_str)
            }
            _ => None,
        }
    }

    pub(super) fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.slots.insert(Cow::Borrowed(name), Slot::Json(value.into()));
    }

    /// Moves an old name to its new one; the new one wins when both are there.
    pub(super) fn rename(&mut self, old: &str, new: &'static str) {
        if self.has(new) {
            return;
        }
        if let Some(slot) = self.slots.remove(old) {
            self.slots.insert(Cow::Borrowed(new), slot);
        }
    }

    /// Takes an attribute as it stands.
    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        Some(match self.slots.remove(name)? {
            Slot::Otlp(value) => json(value, 0),
            Slot::Json(value) => value,
        })
    }

    /// Takes an attribute whose text may hold JSON.
    pub(super) fn json(&mut self, name: &str) -> Option<Value> {
        self.value(name).map(unpacked).filter(|it| !it.is_null())
    }

    /// Takes the first of these attributes that is there, as text.
    pub(super) fn text(&mut self, names: &[&str]) -> Option<String> {
        let name = names.iter().find(|name| self.has(name))?;
        match self.value(name)? {
            Value::String(text) => Some(text).filter(|it| !it.is_empty()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// Takes a count; what is no count stays where it is.
    pub(super) fn count(&mut self, name: &str) -> Option<u64> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and in range")]
        let count = match self.slots.get(name)? {
            Slot::Otlp(Otlp::IntValue(n)) => u64::try_from(*n).ok()?,
            Slot::Otlp(Otlp::DoubleValue(n)) if n.fract() == 0.0 && (0.0..=9e15).contains(n) => *n as u64,
            Slot::Otlp(Otlp::StringValue(text)) => text.parse().ok()?,
            Slot::Json(value) => value.as_u64()?,
            Slot::Otlp(_) => return None,
        };
        (count <= TOKENS_MAX).then(|| {
            self.slots.remove(name);
            count
        })
    }

    /// Takes an amount that is finite and not negative.
    pub(super) fn amount(&mut self, name: &str) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "an amount of money")]
        let amount = match self.slots.get(name)? {
            Slot::Otlp(Otlp::DoubleValue(n)) => *n,
            Slot::Otlp(Otlp::IntValue(n)) => *n as f64,
            Slot::Otlp(Otlp::StringValue(text)) => text.parse().ok()?,
            _ => return None,
        };
        (0.0..=COST_USD_MAX).contains(&amount).then(|| {
            self.slots.remove(name);
            amount
        })
    }

    /// Takes what is numbered under `prefix` as a list: `a.0.b = 1` under `a` is `[{"b": 1}]`.
    pub(super) fn list(&mut self, prefix: &str) -> Option<Value> {
        let start = format!("{prefix}.");
        let names: Vec<String> = self
            .slots
            .range::<str, _>((std::ops::Bound::Excluded(start.as_str()), std::ops::Bound::Unbounded))
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(&start))
            .filter(|name| name[start.len()..].starts_with(|c: char| c.is_ascii_digit()))
            .filter(|name| name.split('.').count() <= SEGMENTS_MAX)
            .map(|name| name.to_string())
            .collect();
        let mut root = Map::new();
        for name in &names {
            let value = self.value(name)?;
            let mut node = &mut root;
            let mut segments = name[start.len()..].split('.').peekable();
            while let Some(segment) = segments.next() {
                if segments.peek().is_none() {
                    node.insert(segment.to_owned(), value);
                    break;
                }
                let child = node.entry(segment).or_insert_with(|| Value::Object(Map::new()));
                if !child.is_object() {
                    *child = Value::Object(Map::new());
                }
                let Value::Object(child) = child else { break };
                node = child;
            }
        }
        (!root.is_empty()).then(|| with_lists(Value::Object(root)))
    }

    /// What was not taken, within what a step may hold: long values are cut and say so, and what does not fit is
    /// counted. Not a rejection, as it is for a step sent by hand: whoever wrote the agent did not choose these.
    pub(super) fn rest(self, limits: &Limits) -> Map<String, Value> {
        let value_max = limits.content_bytes_max / 8;
        let mut left = limits.content_bytes_max / 2;
        let mut dropped = 0_u64;
        let mut out = Map::new();
        for (name, slot) in self.slots {
            let value = match slot {
                Slot::Otlp(value) => json(value, 0),
                Slot::Json(value) => value,
            };
            let (value, cut_from) = cut(value, value_max);
            let bytes = name.len() + size(&value);
            let full = out.len() + ADDED_MAX + 2 > limits.attributes_max;
            if full || name.len() > limits.name_bytes_max || bytes > left {
                dropped += 1;
                continue;
            }
            left -= bytes;
            if let Some(whole) = cut_from {
                out.insert(format!("{name}_truncated_from"), Value::from(whole));
            }
            out.insert(name.into_owned(), value);
        }
        if dropped > 0 {
            out.insert(DROPPED.to_owned(), Value::from(dropped));
        }
        out
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(_) | Value::Object(_) => value.to_string().len(),
        _ => 8,
    }
}

fn cut(value: Value, max: usize) -> (Value, Option<usize>) {
    let whole = size(&value);
    if whole <= max {
        return (value, None);
    }
    let mut text = match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    text.truncate(text.floor_char_boundary(max));
    (Value::String(text), Some(whole))
}

/// Objects whose names are all numbers are lists, in the order of the numbers.
fn with_lists(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    let mut entries: Vec<(String, Value)> = map.into_iter().map(|(name, value)| (name, with_lists(value))).collect();
    let numbers: Option<Vec<u64>> = entries.iter().map(|(name, _)| name.parse().ok()).collect();
    match numbers {
        Some(numbers) if !numbers.is_empty() => {
            let mut numbered: Vec<(u64, Value)> =
                numbers.into_iter().zip(entries.drain(..).map(|(_, it)| it)).collect();
            numbered.sort_by_key(|(number, _)| *number);
            Value::Array(numbered.into_iter().map(|(_, it)| it).collect())
        }
        _ => Value::Object(entries.into_iter().collect()),
    }
}

/// Text that holds a JSON object or list as that; anything else as it is.
pub(super) fn unpacked(value: Value) -> Value {
    match &value {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    }
}

pub(super) fn json(value: &Otlp, depth: usize) -> Value {
    match value {
        _ if depth >= DEPTH_MAX => Value::from("nested too deep"),
        Otlp::StringValue(text) => Value::from(text.as_str()),
        Otlp::BoolValue(it) => Value::from(*it),
        Otlp::IntValue(n) => Value::from(*n),
        // JSON has no NaN and no infinity.
        Otlp::DoubleValue(n) => {
            serde_json::Number::from_f64(*n).map_or_else(|| Value::from(n.to_string()), Value::Number)
        }
        Otlp::BytesValue(bytes) => Value::from(BASE64.encode(bytes)),
        Otlp::ArrayValue(list) => Value::Array(
            list.values.iter().map(|it| it.value.as_ref().map_or(Value::Null, |it| json(it, depth + 1))).collect(),
        ),
        Otlp::KvlistValue(list) => Value::Object(
            list.values
                .iter()
                .map(|it| {
                    let value = it.value.as_ref().and_then(|it| it.value.as_ref());
                    (it.key.clone(), value.map_or(Value::Null, |it| json(it, depth + 1)))
                })
                .collect(),
        ),
        // An index into a table that traces and logs do not carry.
        Otlp::StringValueStrindex(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests;
