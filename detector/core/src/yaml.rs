//! YAML with positions, read field by field so that every fault of a file is found and not only the first.

mod object;
mod suggest;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

pub(crate) use object::{Misnomer, Object, span};
pub(crate) use suggest::closest;

use crate::policy::{Note, PolicyError};

/// A value and where it stands, from 1.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// Name of a member and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Value {
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }
}

impl Node {
    /// The same value as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(it) => (*it).into(),
            Value::Int(it) => (*it).into(),
            Value::Float(it) => (*it).into(),
            Value::Text(it) => it.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(members) => members.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect(),
        }
    }
}

/// Faults and notes of one file, with the policy they belong to.
#[derive(Debug)]
pub(crate) struct Faults<'f> {
    file: &'f str,
    text: &'f str,
    pub(crate) policy: Option<String>,
    errors: &'f mut Vec<PolicyError>,
    pub(crate) notes: Vec<Note>,
}

impl<'f> Faults<'f> {
    pub(crate) fn new(file: &'f str, text: &'f str, errors: &'f mut Vec<PolicyError>) -> Self {
        Self { file, text, policy: None, errors, notes: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    pub(crate) fn file(&self) -> &'f str {
        self.file
    }

    /// The whole file.
    pub(crate) fn text(&self) -> &'f str {
        self.text
    }

    pub(crate) fn error(
        &mut self,
        path: &str,
        (line, column): (u32, u32),
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let (file, policy) = (self.file.to_owned(), self.policy.clone());
        let (path, message) = (path.to_owned(), message.into());
        self.errors.push(PolicyError { file, policy, path, line, column, message, suggestion });
    }

    pub(crate) fn note(&mut self, path: &str, line: u32, message: impl Into<String>) {
        let (file, policy) = (self.file.to_owned(), self.policy.clone());
        self.notes.push(Note { file, policy, path: path.to_owned(), line, message: message.into() });
    }
}

/// The documents of a file. A file that is no YAML has one fault and no documents.
pub(crate) fn documents(text: &str, faults: &mut Faults<'_>) -> Vec<Node> {
    // `off` is a word of ours and not a truth value.
    let options = serde_saphyr::options! { strict_booleans: true };
    match serde_saphyr::from_multiple_with_options::<Spanned<Raw>>(text, options) {
        Ok(documents) => documents.into_iter().map(Node::from).filter(|it| !matches!(it.value, Value::Null)).collect(),
        Err(error) => {
            let at = error.location().map_or((0, 0), place);
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or("it is no YAML").to_owned();
            faults.error("", at, message, None);
            Vec::new()
        }
    }
}

fn place(at: serde_saphyr::Location) -> (u32, u32) {
    let small = |it: u64| u32::try_from(it).unwrap_or(u32::MAX);
    (small(at.line()), small(at.column()))
}

/// What the parser hands over: any value, with the place of everything in it.
enum Raw {
    Leaf(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl From<Spanned<Raw>> for Node {
    fn from(raw: Spanned<Raw>) -> Self {
        let (line, column) = place(raw.referenced);
        let value = match raw.value {
            Raw::Leaf(value) => value,
            Raw::List(items) => Value::List(items.into_iter().map(Self::from).collect()),
            Raw::Map(members) => Value::Map(members.into_iter().map(|(key, node)| (key.into(), node.into())).collect()),
        };
        Self { value, line, column }
    }
}

impl From<Spanned<String>> for Key {
    fn from(key: Spanned<String>) -> Self {
        let (line, column) = place(key.referenced);
        Self { name: key.value, line, column }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;

        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Leaf(Value::Null))
            }

            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Leaf(Value::Null))
            }

            fn visit_bool<E>(self, it: bool) -> Result<Raw, E> {
                Ok(Raw::Leaf(Value::Bool(it)))
            }

            fn visit_i64<E>(self, it: i64) -> Result<Raw, E> {
                Ok(Raw::Leaf(Value::Int(it)))
            }

            #[expect(clippy::cast_precision_loss, reason = "beyond the range of whole numbers of a policy anyway")]
            fn visit_u64<E>(self, it: u64) -> Result<Raw, E> {
                Ok(Raw::Leaf(i64::try_from(it).map_or(Value::Float(it as f64), Value::Int)))
            }

            fn visit_f64<E>(self, it: f64) -> Result<Raw, E> {
                Ok(Raw::Leaf(Value::Float(it)))
            }

            fn visit_str<E>(self, it: &str) -> Result<Raw, E> {
                Ok(Raw::Leaf(Value::Text(it.to_owned())))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Raw, S::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Raw, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Raw::Map(members))
            }
        }

        deserializer.deserialize_any(RawVisitor)
    }
}

#[cfg(test)]
mod tests;
