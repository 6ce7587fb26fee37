//! `google.rpc.Status`, the body of an OTLP error, and reading requests in either encoding.

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Partial, Signal};

/// Codes of `google.rpc.Code` that are answered.
pub(super) const INVALID_ARGUMENT: i32 = 3;
pub(super) const NOT_FOUND: i32 = 5;
pub(super) const PERMISSION_DENIED: i32 = 7;
pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
pub(super) const UNIMPLEMENTED: i32 = 12;
pub(super) const UNAVAILABLE: i32 = 14;
pub(super) const UNAUTHENTICATED: i32 = 16;

#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// `google.rpc.Status` with a `google.rpc.RetryInfo`, as gRPC carries it in `grpc-status-details-bin`.
pub(super) fn with_retry(code: i32, message: &str, seconds: u64) -> Vec<u8> {
    #[derive(Clone, PartialEq, Message)]
    struct Detailed {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Duration>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Duration {
        #[prost(int64, tag = "1")]
        seconds: i64,
    }

    let delay = Duration { seconds: i64::try_from(seconds).unwrap_or(i64::MAX) };
    let retry = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay: Some(delay) }.encode_to_vec(),
    };
    Detailed { code, message: message.to_owned(), details: vec![retry] }.encode_to_vec()
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

    /// The answer to a request that was taken.
    pub(super) fn write_answer(self, signal: Signal, Partial { rejected, message }: Partial) -> Vec<u8> {
        let any = rejected > 0;
        match signal {
            Signal::Traces => {
                let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: message };
                self.write(&ExportTraceServiceResponse { partial_success: any.then_some(partial) })
            }
            Signal::Logs => {
                let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: message };
                self.write(&ExportLogsServiceResponse { partial_success: any.then_some(partial) })
            }
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

/// Doubles that are text, as `"NaN"` and `"Infinity"` have to be, made text attributes: a decoder of JSON numbers takes
/// none of them, and a step, which is JSON, holds them as text. `None` when there are none.
pub(super) fn with_doubles_as_text(json: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"\"doubleValue\"";
    const TEXT: &[u8] = b"\"stringValue\"";
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    // A quote within text is escaped, so that these bytes are a whole string; with a colon after them, a name.
    while let Some(found) = json[at..].windows(NAME.len()).position(|it| it == NAME) {
        let (start, end) = (at + found, at + found + NAME.len());
        at = end;
        let value = json[end..].trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if value.is_some_and(|it| it.starts_with(b"\"")) {
            out.get_or_insert_with(|| json.to_vec())[start..end].copy_from_slice(TEXT);
        }
    }
    out
}

/// Whether it is a JSON object that holds `field`.
pub(super) fn has_field(json: &[u8], field: &str) -> bool {
    let object: Result<std::collections::HashMap<String, serde::de::IgnoredAny>, _> = serde_json::from_slice(json);
    object.is_ok_and(|it| it.contains_key(field))
}
