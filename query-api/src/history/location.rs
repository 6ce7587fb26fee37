//! Where history is kept, as the configuration says it: a folder, or a prefix in a bucket of an object store.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// Written as a path, or as `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// A prefix in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub(super) provider: Provider,
    /// Scheme, bucket and prefix, with a slash at the end and nothing else.
    pub(super) url: Url,
}

/// Who keeps the bucket, by the scheme of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Amazon,
    Google,
    Azure,
}

impl Location {
    /// The folder, if it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Bucket(_) => None,
        }
    }
}

impl From<PathBuf> for Location {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, _)) = text.split_once("://") else { return Ok(Self::Folder(text.into())) };
        let provider = match scheme {
            "file" => None,
            "s3" => Some(Provider::Amazon),
            "gs" => Some(Provider::Google),
            "az" => Some(Provider::Azure),
            // The rest of the address is not repeated, here and below: it may hold a password.
            _ => {
                return Err(format!(
                    "addresses of `{scheme}` are not known: write a folder, file:///folder, s3://bucket/prefix, \
                     gs://bucket/prefix or az://container/prefix"
                ));
            }
        };
        let mut url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err("it has more than a bucket and a prefix: credentials and options go into the environment or \
                        into [history.options]"
                .into());
        }
        let Some(provider) = provider else {
            let folder = url.to_file_path().map_err(|()| "it is no folder of this machine: write file:///folder")?;
            return Ok(Self::Folder(folder));
        };
        if url.host_str().is_none_or(str::is_empty) || url.port().is_some() {
            return Err(format!("it names no bucket: write {scheme}://bucket/prefix"));
        }
        let path = url.path().trim_matches('/').to_owned();
        url.set_path(&if path.is_empty() { String::from("/") } else { format!("/{path}/") });
        Ok(Self::Bucket(Bucket { provider, url }))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Bucket(bucket) => f.write_str(bucket.url.as_str().trim_end_matches('/')),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Options of the object store, by the names that its client gives them. `Debug` shows the values of none that may be a
/// secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(pub BTreeMap<String, String>);

impl Options {
    /// Whether the value of an option may be a secret, judged by its name.
    #[must_use]
    pub fn is_secret(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        ["secret", "token", "key", "sas", "password", "proxy_url"].iter().any(|it| name.contains(it))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&String, &String)| {
            (name.clone(), if Self::is_secret(name) { "***".to_owned() } else { value.clone() })
        };
        f.debug_map().entries(self.0.iter().map(shown)).finish()
    }
}
