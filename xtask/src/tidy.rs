//! Rules of the repository that neither the compiler nor clippy checks.

mod dependencies;
mod documents;
mod files;
mod licences;
pub(crate) mod metadata;
mod sources;

use std::fmt;

use anyhow::bail;

use crate::command;
use files::File;
use metadata::Metadata;

/// Something to mend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A file, with its line where there is one, or a package.
    at: String,
    what: String,
}

impl Finding {
    fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into() }
    }

    fn line(file: &File, index: usize, what: impl Into<String>) -> Self {
        Self::new(format!("{}:{}", file.path, index + 1), what)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

pub(crate) fn run() -> anyhow::Result<()> {
    let root = command::root();
    let metadata = Metadata::load()?;
    let files = files::all(&root)?;
    let policy = licences::Policy::load(&root.join("deny.toml"))?;

    let mut findings = dependencies::check(&metadata);
    findings.extend(licences::check(&metadata, &policy));
    for file in &files {
        findings.extend(sources::check(file));
        findings.extend(documents::check(&root, file));
    }
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} to mend", findings.len());
    }
    println!("{} files and {} packages are in order", files.len(), metadata.packages.len());
    Ok(())
}
