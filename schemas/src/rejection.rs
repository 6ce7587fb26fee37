//! Why a record was not accepted: the field, the value and the remedy.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Closed set of reasons, used as a label in metrics and answers alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    InvalidJson,
    InvalidUtf8,
    NotAnObject,
    DuplicateField,
    MissingField,
    WrongType,
    UnknownKind,
    InvalidId,
    InvalidTime,
    InvalidValue,
    TooLong,
    TooDeep,
    TooLarge,
    TooMany,
    /// Another root or parent than the session has told before.
    Contradiction,
    /// An OTLP message that cannot be mapped to steps.
    InvalidOtlp,
}

impl Reason {
    pub const ALL: [Self; 16] = [
        Self::InvalidJson,
        Self::InvalidUtf8,
        Self::NotAnObject,
        Self::DuplicateField,
        Self::MissingField,
        Self::WrongType,
        Self::UnknownKind,
        Self::InvalidId,
        Self::InvalidTime,
        Self::InvalidValue,
        Self::TooLong,
        Self::TooDeep,
        Self::TooLarge,
        Self::TooMany,
        Self::Contradiction,
        Self::InvalidOtlp,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NotAnObject => "not_an_object",
            Self::DuplicateField => "duplicate_field",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::UnknownKind => "unknown_kind",
            Self::InvalidId => "invalid_id",
            Self::InvalidTime => "invalid_time",
            Self::InvalidValue => "invalid_value",
            Self::TooLong => "too_long",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
            Self::Contradiction => "contradiction",
            Self::InvalidOtlp => "invalid_otlp",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why one record was rejected. The message names the value and the remedy; the value is shortened, since it is the
/// sender's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[error("{message}")]
pub struct Rejection {
    pub reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    pub message: String,
}

impl Rejection {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, field: None, message: message.into() }
    }

    pub fn field(reason: Reason, field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { reason, field: Some(field.into()), message: message.into() }
    }

    /// The same without a word of what was sent, for where that is not kept.
    #[must_use]
    pub fn without_values(&self) -> Self {
        Self { message: "what was sent is not kept here: its sender was told".to_owned(), ..self.clone() }
    }
}

/// A sender's value, short enough for a message and with control characters escaped.
#[must_use]
pub fn shown(value: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    let mut out: String = value.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}
