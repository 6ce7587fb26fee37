//! The sections that belong to the process and to none of its services.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use martingale_detector_core::Redactor;
use martingale_platform::config::Span;
use martingale_platform::telemetry::Format;
use martingale_schemas::{Capture, Limits};
use serde::{Deserialize, Serialize};

use super::Error;

/// What a process does. One log connects all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Takes steps in: HTTP, OTLP, and OTLP from topics of others.
    Ingest,
    /// Judges them.
    Detector,
    /// Gate, stream, controls, history, SQL, alerts, webhooks.
    QueryApi,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Ingest, Self::Detector, Self::QueryApi];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Detector => "detector",
            Self::QueryApi => "query-api",
        }
    }
}

/// Where the server listens and keeps its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) roles: Vec<Role>,
    pub(crate) data: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) otlp_grpc: SocketAddr,
    pub(crate) otlp_http: SocketAddr,
    /// Longest time between the signal to stop and the end of requests under way.
    pub(crate) drain_max: Span,
    /// Most connections of each listener; beyond it new ones wait to be accepted.
    pub(crate) connections_max: usize,
}

impl Default for Server {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            roles: Role::ALL.to_vec(),
            data: PathBuf::from("data"),
            http: local(7676),
            otlp_grpc: local(4317),
            otlp_http: local(4318),
            drain_max: Span::from_millis(10_000),
            connections_max: 4_096,
        }
    }
}

impl Server {
    pub(crate) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.connections_max == 0 {
            return Err(Error::Invalid("`server.connections_max` is 0: set at least 1, or nobody is heard".into()));
        }
        Ok(())
    }
}

/// Who may talk to the server. Empty text is "not set", so that every key can stand in a file.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    pub(crate) token: String,
    pub(crate) token_file: PathBuf,
    pub(crate) allow_unauthenticated: bool,
}

/// Shortest token that is taken: shorter ones can be guessed over a network.
const TOKEN_CHARS_MIN: usize = 16;

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("token", &"***").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

impl Auth {
    /// The token that callers must show, if there is to be one.
    ///
    /// # Errors
    /// When the file cannot be read or holds no usable token.
    pub(crate) fn secret(&self) -> Result<Option<String>, Error> {
        let token = if self.token_file.as_os_str().is_empty() {
            self.token.clone()
        } else {
            let text = std::fs::read_to_string(&self.token_file).map_err(|error| {
                Error::Invalid(format!("auth.token_file {} cannot be read: {error}", self.token_file.display()))
            })?;
            let token = text.trim().to_owned();
            if token.is_empty() {
                return Err(Error::Invalid(format!("auth.token_file {} is empty", self.token_file.display())));
            }
            token
        };
        let key = if self.token_file.as_os_str().is_empty() { "auth.token" } else { "auth.token_file" };
        match token.len() {
            0 => Ok(None),
            n if n < TOKEN_CHARS_MIN => Err(Error::Invalid(format!(
                "{key}: the token has {n} characters: use at least {TOKEN_CHARS_MIN}, e.g. from `openssl rand -hex 32`"
            ))),
            _ if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(Error::Invalid(format!("{key}: the token holds a space or a character that a header cannot carry")))
            }
            _ => Ok(Some(token)),
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        if !self.token.is_empty() && !self.token_file.as_os_str().is_empty() {
            return Err(Error::Invalid("auth.token and auth.token_file are both set: keep one".into()));
        }
        // The file, too: a configuration that is shown as good is one that `up` starts with.
        self.secret().map(drop)
    }
}

/// How the process speaks about itself, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    pub(crate) filter: String,
    pub(crate) format: Format,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { filter: "warn,martingale=info".into(), format: Format::Text }
    }
}

/// What is judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policies {
    /// Folder of policies; empty for none.
    pub(crate) dir: PathBuf,
    /// Whether the shipped ones are judged by as well, except those that the folder replaces.
    pub(crate) shipped: bool,
}

/// What is normal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Baselines {
    /// A file of baselines; empty for none.
    pub(crate) file: PathBuf,
}

impl Baselines {
    /// The file, where there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        (!self.file.as_os_str().is_empty()).then_some(&self.file)
    }
}

/// How much of the content of steps is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Capturing {
    pub(crate) mode: Capture,
    /// Other modes for some agents; the first that matches counts.
    pub(crate) overrides: Vec<CaptureOf>,
    /// Names of members whose values are hidden too.
    pub(crate) fields: Vec<String>,
    /// A file with the key of the pseudonyms; empty for none.
    pub(crate) key_file: PathBuf,
}

/// `mode` of the agents whose id matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptureOf {
    pub(crate) agent: String,
    pub(crate) mode: Capture,
}

impl Capturing {
    /// What the doors do to steps; `None` where all is kept as it was sent.
    ///
    /// # Errors
    /// No key, or none that can be used; fields that nothing hides.
    pub(crate) fn redactor(&self, limits: &Limits) -> Result<Option<Redactor>, Error> {
        let modes = || self.overrides.iter().map(|it| it.mode).chain([self.mode]);
        if modes().all(|it| it == Capture::Full) {
            if self.fields.is_empty() {
                return Ok(None);
            }
            let message = "capture.fields are named and nothing is hidden: set capture.mode to `redacted`, or that of some agents in capture.overrides";
            return Err(Error::Invalid(message.into()));
        }
        if self.key_file.as_os_str().is_empty() {
            return Err(Error::Invalid(
                "capture.mode, or that of some agents, is not `full`, and capture.key_file is not set: write a key with `openssl rand -hex 32 > capture.key`, \
                 the same for every process that takes steps in, and name its file"
                    .into(),
            ));
        }
        let file = self.key_file.display();
        let key = std::fs::read_to_string(&self.key_file)
            .map_err(|error| Error::Invalid(format!("capture.key_file {file} cannot be read: {error}")))?;
        let overrides: Vec<_> = self.overrides.iter().map(|it| (it.agent.clone(), it.mode)).collect();
        let redactor =
            Redactor::new(key.trim().as_bytes(), self.mode, &overrides, &self.fields, limits.content_bytes_max)
                .map_err(|error| Error::Invalid(format!("capture.key_file {file}: {error}")))?;
        Ok(Some(redactor))
    }
}

impl Policies {
    /// The folder, where there is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        (!self.dir.as_os_str().is_empty()).then_some(&self.dir)
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self { dir: PathBuf::new(), shipped: true }
    }
}
