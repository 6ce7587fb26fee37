//! `google.rpc.Status`, the body of an OTLP error, and reading requests in either encoding.

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Codes of `google.rpc.Code` that are answered.
pub(super) const INVALID_ARGUMENT: i32 = 3;
pub(super) const NOT_FOUND: i32 = 5;
pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
pub(super) const UNAVAILABLE: i32 = 14;

#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// Which of the two encodings of OTLP over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    pub(super) fn of(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    pub(super) fn write<M: Message + Serialize>(self, message: &M) -> Vec<u8> {
        match self {
            Self::Protobuf => message.encode_to_vec(),
            // Cannot fail: the messages of answers are plain structs.
            Self::Json => serde_json::to_vec(message).unwrap_or_default(),
        }
    }

    pub(super) fn read<M: Message + Default + DeserializeOwned>(self, bytes: &[u8]) -> Result<M, String> {
        match self {
            Self::Protobuf => M::decode(bytes).map_err(|error| format!("the body is no OTLP protobuf: {error}")),
            // A struct would be read from a list as well, field by field.
            Self::Json if bytes.trim_ascii_start().first() != Some(&b'{') => {
                Err("the body is no OTLP JSON: it is no object".to_owned())
            }
            Self::Json => serde_json::from_slice(bytes).map_err(|error| format!("the body is no OTLP JSON: {error}")),
        }
    }
}

/// A request in JSON, if it is one: an object that holds `field`.
pub(super) fn from_json<M: DeserializeOwned>(bytes: &[u8], field: &str) -> Option<M> {
    let object: std::collections::HashMap<String, &serde_json::value::RawValue> = serde_json::from_slice(bytes).ok()?;
    object.contains_key(field).then(|| serde_json::from_slice(bytes).ok())?
}
