//! Clients of object stores: their options, and what to do about what they answer.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::SpawnedReqwestConnector;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, Error, ObjectStore, RetryConfig};
use tokio::runtime::Handle;

use crate::history::location::{Bucket, Options, Provider};

/// What to do when nobody answers.
pub(super) const UNREACHABLE: &str =
    "look at `endpoint` (and `allow_http`, without TLS) in [history.options], and at the network";

/// What the promises of history or its address already say.
const OWN: [&str; 10] = [
    "aws_conditional_put",
    "conditional_put",
    "bucket",
    "bucket_name",
    "aws_bucket",
    "aws_bucket_name",
    "google_bucket",
    "google_bucket_name",
    "azure_container_name",
    "container_name",
];

/// Unless `connect_timeout` says something else. A request is repeated three times within ten seconds: who called tries
/// again by itself, and says meanwhile what is wrong.
const CONNECT_MAX: &str = "3s";

fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(10) }
}

/// A client for the bucket: the usual variables of the environment first, then the options.
///
/// # Errors
/// What is wrong with the options, without the values of those that may be secrets.
pub(super) fn client(bucket: &Bucket, options: &Options, io: Handle) -> Result<Arc<dyn ObjectStore>, String> {
    let url = bucket.url.as_str();
    // Connections end with the threads that opened them, and those of one query would be waited for by another.
    let io = SpawnedReqwestConnector::new(io);
    macro_rules! build {
        ($builder:expr) => {{
            let builder = $builder.with_retry(retry()).with_http_connector(io);
            let mut builder =
                set(builder, "connect_timeout", CONNECT_MAX, |it, key, value| it.with_config(key, value))?;
            for (name, value) in &options.0 {
                builder = set(builder, name, value, |it, key, value| it.with_config(key, value))?;
            }
            builder.with_url(url).build().map(|it| Arc::new(it) as Arc<dyn ObjectStore>)
        }};
    }
    let built = match bucket.provider {
        Provider::Amazon => build!(AmazonS3Builder::from_env()),
        Provider::Google => build!(GoogleCloudStorageBuilder::from_env()),
        Provider::Azure => build!(MicrosoftAzureBuilder::from_env()),
    };
    built.map_err(|error| masked(error.to_string(), options))
}

fn set<B, K: std::str::FromStr>(
    builder: B,
    name: &str,
    value: &str,
    with: impl FnOnce(B, K, &str) -> B,
) -> Result<B, String> {
    let key = name.to_ascii_lowercase();
    if OWN.contains(&key.as_str()) {
        return Err(format!("[history.options] has `{name}`, which `history.dir` and history itself say: remove it"));
    }
    let key = key.parse().map_err(|_| format!("[history.options] has `{name}`, which this store does not know"))?;
    Ok(with(builder, key, value))
}

/// What a client says of its options may repeat one.
fn masked(said: String, options: &Options) -> String {
    let of_environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let is_ours = ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|it| name.starts_with(it));
        is_ours.then_some((name, value.into_string().ok()?))
    });
    let all = options.0.clone().into_iter().chain(of_environment);
    all.filter(|(name, value)| Options::is_secret(name) && !value.is_empty())
        .fold(said, |said, (_, value)| said.replace(&value, "***"))
}

/// What an answer means, and what to do about it. Some of the client's calls do not tell kinds apart, so the status is looked
/// for in what they say.
pub(super) fn remedy(error: &Error) -> String {
    let said = error.to_string();
    let has = |words: &[&str]| words.iter().any(|it| said.contains(it));
    let no_role = has(&["169.254.", "metadata.google", "instance metadata"]);
    let refused = matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
    let missing = matches!(error, Error::NotFound { .. });
    let unable = matches!(error, Error::NotImplemented { .. } | Error::NotSupported { .. });
    let remedy = if no_role {
        "there are no credentials: set the usual variables of the provider (AWS_ACCESS_KEY_ID …) or [history.options], or \
         give this machine a role"
    } else if refused || has(&["status code: 401", "status code: 403", "InvalidToken", "ExpiredToken", "access key"]) {
        "its credentials are refused: they come from the usual variables of the provider (AWS_ACCESS_KEY_ID …), \
         [history.options] or the role of this machine, and must let list, read, write and delete"
    } else if missing || has(&["status code: 404"]) {
        "there is no such bucket: make it, or mend the name"
    } else if unable {
        "history needs conditional writes, and it has none"
    } else if has(&["status code", "redirect"]) {
        "it does not take requests: look at `region` and `endpoint` in [history.options]"
    } else {
        return format!("it does not answer: {UNREACHABLE} ({said})");
    };
    format!("{remedy} ({said})")
}
