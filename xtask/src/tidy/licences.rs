//! Licences, bans and sources of every package of the lock file, against `deny.toml`.
//!
//! `cargo deny` reads the same file and knows more (advisories above all), and takes longer to install than the tests
//! take to run; so what needs no data base is checked here, always.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::Finding;
use super::metadata::{Metadata, Package};

#[derive(Deserialize)]
pub(super) struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    #[serde(default)]
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
    /// Packages that may depend on it all the same.
    #[serde(default)]
    wrappers: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

impl Policy {
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

pub(super) fn check(metadata: &Metadata, policy: &Policy) -> Vec<Finding> {
    let exceptions: BTreeMap<&str, &BTreeSet<String>> =
        policy.licenses.exceptions.iter().map(|it| (it.name.as_str(), &it.allow)).collect();
    let mut findings = Vec::new();
    for package in metadata.packages.iter().filter(|it| it.source.is_some()) {
        let mut find =
            |what: String| findings.push(Finding::new(format!("{} {}", package.name, package.version), what));
        let source = package.source.as_deref().unwrap_or_default();
        if !policy.sources.allow_registry.iter().any(|it| source.strip_prefix("registry+") == Some(it)) {
            find(format!("comes from `{source}`, which deny.toml does not allow"));
        }
        if let Some(ban) = policy.bans.deny.iter().find(|it| it.name == package.name)
            && !is_wrapped(metadata, ban)
        {
            find(format!("is banned: {}", ban.reason));
        }
        let exception = exceptions.get(package.name.as_str());
        let is_allowed =
            |licence: &str| policy.licenses.allow.contains(licence) || exception.is_some_and(|it| it.contains(licence));
        if !expression(package).is_some_and(|it| satisfied(&it, &is_allowed)) {
            find(match (&package.license, &package.license_file) {
                (Some(licence), _) => format!("its licence `{licence}` is not allowed by deny.toml"),
                (None, Some(file)) => format!("its licence is in `{file}`: name it in deny.toml"),
                (None, None) => "it has no licence".to_owned(),
            });
        }
    }
    findings
}

/// Whether only those that may depend on it do.
fn is_wrapped(metadata: &Metadata, ban: &Ban) -> bool {
    let mut parents = metadata.packages.iter().filter(|it| metadata.neighbours(&it.id).contains(ban.name.as_str()));
    !ban.wrappers.is_empty() && parents.all(|it| ban.wrappers.contains(&it.name))
}

/// Older packages write `MIT/Apache-2.0` for a choice.
fn expression(package: &Package) -> Option<String> {
    Some(package.license.as_ref()?.replace('/', " OR "))
}

/// Whether what is allowed is enough for an SPDX expression. One that cannot be read is not satisfied.
fn satisfied(expression: &str, is_allowed: &impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let result = any_of(&mut words, is_allowed);
    words.is_empty() && result == Some(true)
}

/// `words` are in reverse: the next is the last.
fn any_of(words: &mut Vec<&str>, is_allowed: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut result = all_of(words, is_allowed)?;
    while words.last() == Some(&"OR") {
        words.pop();
        result |= all_of(words, is_allowed)?;
    }
    Some(result)
}

fn all_of(words: &mut Vec<&str>, is_allowed: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut result = one(words, is_allowed)?;
    while words.last() == Some(&"AND") {
        words.pop();
        result &= one(words, is_allowed)?;
    }
    Some(result)
}

fn one(words: &mut Vec<&str>, is_allowed: &impl Fn(&str) -> bool) -> Option<bool> {
    match words.pop()? {
        "(" => {
            let inner = any_of(words, is_allowed)?;
            (words.pop()? == ")").then_some(inner)
        }
        ")" | "AND" | "OR" | "WITH" => None,
        licence if words.last() == Some(&"WITH") => {
            words.pop();
            Some(is_allowed(&format!("{licence} WITH {}", words.pop()?)))
        }
        licence => Some(is_allowed(licence)),
    }
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn expressions() {
        let allowed = |licence: &str| ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].contains(&licence);
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("MIT OR GPL-3.0 AND BSL-1.0", true),
            ("(MIT OR GPL-3.0) AND BSL-1.0", false),
            ("(MIT OR GPL-3.0) AND Apache-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("GPL-3.0 AND (MIT", false),
            ("MIT Apache-2.0", false),
            ("OR", false),
            ("", false),
        ] {
            assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
        }
    }
}
