//! Reading a request's body: limited in bytes, in time and after decompression.

mod inflate;

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName};
use futures::StreamExt as _;

use crate::{Config, metrics};
use inflate::Inflater;
use martingale_platform::budget::{Budget, Share};

/// A body, whole and inflated. Its bytes count against the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    _share: Share,
}

impl Received {
    /// A body that came whole and as it is.
    ///
    /// # Errors
    /// [`Fault`] when it is too large or too much is in progress.
    pub(crate) fn of(bytes: &[u8], config: &Config, budget: &Budget) -> Result<Self, Fault> {
        if bytes.len() > config.inflated_bytes_max {
            return Err(Fault::TooLarge { max: config.inflated_bytes_max });
        }
        let mut share = budget.share();
        share.grow(bytes.len()).map_err(|_| Fault::Busy)?;
        Ok(Self { bytes: bytes.to_vec(), _share: share })
    }
}

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the body has more than {max} bytes: send it in parts")]
    TooLarge { max: usize },
    #[error(
        "decompressed, the body has more than {max} bytes: its first {read} bytes as sent came to that, and the rest was not read; send less at a time"
    )]
    Inflates { read: usize, max: usize },
    #[error("read, the body takes more than {max} bytes of memory: send it in parts")]
    Expands { max: usize },
    #[error("content-encoding `{0}` is not known: send `gzip`, `zstd` or none")]
    UnknownEncoding(String),
    #[error("the body is no valid {encoding}: {message}")]
    Broken { encoding: &'static str, message: String },
    #[error("the body did not come whole within {0:?}: send it faster or in parts")]
    TooSlow(Duration),
    #[error("the body ended early: {0}")]
    Disconnected(String),
    #[error("too many bytes in progress: ask again later")]
    Busy,
}

impl Fault {
    pub(crate) const fn cause(&self) -> metrics::Refused {
        match self {
            Self::Busy => metrics::Refused::Inflight,
            _ => metrics::Refused::Body,
        }
    }
}

/// # Errors
/// [`Fault`]; nothing of the body is kept then, and reading stops where the limit is.
pub(crate) async fn receive(
    headers: &HeaderMap,
    body: Body,
    config: &Config,
    budget: &Budget,
) -> Result<Received, Fault> {
    let max = config.body_bytes_max;
    let announced = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()).and_then(|it| it.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > max as u64) {
        return Err(Fault::TooLarge { max });
    }
    let inflater = Inflater::new(encoding(headers, &CONTENT_ENCODING)?, config.inflated_bytes_max, budget.share())?;
    let limit = config.body_timeout.0;
    tokio::time::timeout(limit, read(body, inflater, max)).await.unwrap_or(Err(Fault::TooSlow(limit)))
}

async fn read(body: Body, mut inflater: Inflater, max: usize) -> Result<Received, Fault> {
    let mut stream = body.into_data_stream();
    let mut sent = 0;
    while let Some(frame) = stream.next().await {
        let frame = frame.map_err(|error| Fault::Disconnected(error.to_string()))?;
        sent += frame.len();
        if sent > max {
            return Err(Fault::TooLarge { max });
        }
        inflater.push(&frame, sent)?;
    }
    let (bytes, share) = inflater.finish(sent)?;
    Ok(Received { bytes, _share: share })
}

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Before the bytes of a message: whether they are compressed, and how many they are.
const GRPC_HEAD_BYTES: usize = 5;

/// The one message of a unary gRPC call.
///
/// # Errors
/// As [`receive`].
pub(crate) async fn receive_message(
    headers: &HeaderMap,
    body: Body,
    config: &Config,
    budget: &Budget,
) -> Result<Received, Fault> {
    let limit = config.body_timeout.0;
    let read = read_message(headers, body, config, budget);
    tokio::time::timeout(limit, read).await.unwrap_or(Err(Fault::TooSlow(limit)))
}

async fn read_message(headers: &HeaderMap, body: Body, config: &Config, budget: &Budget) -> Result<Received, Fault> {
    let max = config.body_bytes_max;
    let mut stream = body.into_data_stream();
    let mut head = Vec::with_capacity(GRPC_HEAD_BYTES);
    let mut message = None;
    let mut sent = 0;
    while let Some(frame) = stream.next().await {
        let mut frame = frame.map_err(|error| Fault::Disconnected(error.to_string()))?;
        let (inflater, length) = match &mut message {
            Some(message) => message,
            None => {
                let missing = GRPC_HEAD_BYTES - head.len();
                head.extend_from_slice(&frame.split_to(missing.min(frame.len())));
                let [flag, length @ ..] = &head[..] else { continue };
                let Ok(length) = <[u8; 4]>::try_from(length) else { continue };
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if length > max {
                    return Err(Fault::TooLarge { max });
                }
                let encoding = if *flag == 0 { Encoding::Identity } else { encoding(headers, &GRPC_ENCODING)? };
                message.insert((Inflater::new(encoding, config.inflated_bytes_max, budget.share())?, length))
            }
        };
        sent += frame.len();
        if sent > *length {
            let message = "there is more than one message".to_owned();
            return Err(Fault::Broken { encoding: "unary gRPC call", message });
        }
        inflater.push(&frame, sent)?;
    }
    match message {
        Some((inflater, length)) if sent == length => {
            let (bytes, share) = inflater.finish(sent)?;
            Ok(Received { bytes, _share: share })
        }
        _ => Err(Fault::Disconnected("the message is not whole".to_owned())),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

fn encoding(headers: &HeaderMap, header: &HeaderName) -> Result<Encoding, Fault> {
    let Some(value) = headers.get(header) else { return Ok(Encoding::Identity) };
    let name = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
    match name.as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "zstd" => Ok(Encoding::Zstd),
        _ => Err(Fault::UnknownEncoding(martingale_schemas::rejection::shown(&name))),
    }
}
