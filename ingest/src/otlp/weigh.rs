//! How much memory a request takes once it is read, from its bytes and before it is.
//!
//! Rough and never far too low: what a crafted request gains over an honest one is the factor between a byte sent and
//! the structure it becomes, and that is counted exactly enough.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Otlp;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// An object in JSON is decoded to a structure of about this size: an attribute's has two.
const JSON_OBJECT_BYTES: usize = size_of::<Span>() / 2;
/// An object of a value tree: a node of the map that holds its fields.
const TREE_OBJECT_BYTES: usize = 640;
/// Any other value of a tree, with the message and the part it may become.
const TREE_VALUE_BYTES: usize = 192;
/// As deep as the decoder goes.
const DEPTH_MAX: usize = 100;

/// The messages of OTLP that nest, by what they hold.
#[derive(Clone, Copy)]
enum Shape {
    Traces,
    ResourceSpans,
    ScopeSpans,
    Span,
    Event,
    Link,
    Logs,
    ResourceLogs,
    ScopeLogs,
    LogRecord,
    /// A resource or a scope: attributes, at field 1 and 3.
    Owner,
    Attribute,
    Value,
    List,
    Map,
}

impl Shape {
    const fn bytes(self) -> usize {
        match self {
            Self::ResourceSpans => size_of::<ResourceSpans>(),
            Self::ScopeSpans => size_of::<ScopeSpans>(),
            Self::Span => size_of::<Span>(),
            Self::Event => size_of::<Event>(),
            Self::Link => size_of::<Link>(),
            Self::ResourceLogs => size_of::<ResourceLogs>(),
            Self::ScopeLogs => size_of::<ScopeLogs>(),
            Self::LogRecord => size_of::<LogRecord>(),
            Self::Attribute => size_of::<KeyValue>(),
            Self::Value => size_of::<AnyValue>(),
            // Part of what holds them.
            Self::Traces | Self::Logs | Self::Owner | Self::List | Self::Map => 0,
        }
    }

    const fn child(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Traces, 1) => Self::ResourceSpans,
            (Self::Logs, 1) => Self::ResourceLogs,
            (Self::ResourceSpans | Self::ResourceLogs | Self::ScopeSpans | Self::ScopeLogs, 1) => Self::Owner,
            (Self::ResourceSpans, 2) => Self::ScopeSpans,
            (Self::ResourceLogs, 2) => Self::ScopeLogs,
            (Self::ScopeSpans, 2) => Self::Span,
            (Self::ScopeLogs, 2) => Self::LogRecord,
            (Self::Span, 11) => Self::Event,
            (Self::Span, 13) => Self::Link,
            (Self::LogRecord, 5) | (Self::Attribute, 2) | (Self::List, 1) => Self::Value,
            (Self::Value, 5) => Self::List,
            (Self::Value, 6) => Self::Map,
            (Self::Span, 9)
            | (Self::LogRecord, 6)
            | (Self::Event, 3)
            | (Self::Link, 4)
            | (Self::Owner, 1 | 3)
            | (Self::Map, 1) => Self::Attribute,
            _ => return None,
        })
    }
}

pub(super) fn traces(protobuf: &[u8]) -> usize {
    protobuf.len().saturating_add(nested(protobuf, Shape::Traces, 0))
}

pub(super) fn logs(protobuf: &[u8]) -> usize {
    protobuf.len().saturating_add(nested(protobuf, Shape::Logs, 0))
}

pub(super) fn json(text: &[u8]) -> usize {
    text.len().saturating_add(count(text, |byte| byte == b'{').saturating_mul(JSON_OBJECT_BYTES))
}

/// Of a message: what it holds, without its own size. What is no protobuf is the decoder's to refuse.
fn nested(mut bytes: &[u8], shape: Shape, depth: usize) -> usize {
    let mut sum = 0_usize;
    while let Some(key) = varint(&mut bytes) {
        let skipped = match key & 7 {
            0 => varint(&mut bytes).map(|_| &[][..]),
            1 => take(&mut bytes, 8),
            2 => varint(&mut bytes).and_then(|length| take(&mut bytes, usize::try_from(length).ok()?)),
            5 => take(&mut bytes, 4),
            _ => None,
        };
        let Some(inner) = skipped else { break };
        if let Some(child) = shape.child(key >> 3).filter(|_| key & 7 == 2) {
            sum = sum.saturating_add(child.bytes());
            if depth < DEPTH_MAX {
                sum = sum.saturating_add(nested(inner, child, depth + 1));
            }
        }
    }
    sum
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// What attributes take as value trees, those in their text unpacked.
pub(super) fn attributes(attributes: &[KeyValue]) -> usize {
    attributes.iter().filter_map(|it| it.value.as_ref()).map(value).fold(0, usize::saturating_add)
}

pub(super) fn value(value: &AnyValue) -> usize {
    match &value.value {
        Some(Otlp::StringValue(text)) if text.trim_start().starts_with(['{', '[']) => {
            // Text in the text may be unpacked as well, so that quotes hide nothing.
            let objects = count(text.as_bytes(), |byte| byte == b'{');
            let values = count(text.as_bytes(), |byte| matches!(byte, b',' | b'[' | b'{'));
            text.len() + objects * TREE_OBJECT_BYTES + values * TREE_VALUE_BYTES
        }
        Some(Otlp::StringValue(text)) => text.len(),
        Some(Otlp::BytesValue(bytes)) => bytes.len() * 2,
        Some(Otlp::ArrayValue(list)) => list.values.iter().map(|it| TREE_VALUE_BYTES + self::value(it)).sum(),
        Some(Otlp::KvlistValue(list)) => {
            TREE_OBJECT_BYTES + list.values.len() * TREE_VALUE_BYTES + attributes(&list.values)
        }
        _ => 0,
    }
}

fn count(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().filter(|byte| is(**byte)).count()
}
