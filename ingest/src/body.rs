//! Reading a request's body: limited in bytes, in time and after decompression.

mod inflate;

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
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

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the body has more than {max} bytes: send it in parts")]
    TooLarge { max: usize },
    #[error(
        "a body of {sent} bytes has more than {max} bytes decompressed, {ratio} times its size: send less at a time (one that grows without end is a zip bomb)",
        ratio = max / (*sent).max(1)
    )]
    Inflates { sent: usize, max: usize },
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
    let inflater = Inflater::new(encoding(headers)?, config.inflated_bytes_max, budget.share())?;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Fault> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    let name = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
    match name.as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "zstd" => Ok(Encoding::Zstd),
        _ => Err(Fault::UnknownEncoding(martingale_schemas::rejection::shown(&name))),
    }
}
