//! Policy files of folders, and what is in force with them.

mod pack;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use martingale_detector_core::{PolicyError, Rules};

use crate::cmd::replay::normal;
use crate::config::{Config, Role};

pub(crate) use pack::{Document, Origin, Pack, Stock};

/// Most policy files, and the largest of them: a folder of something else is told early.
const FILES_MAX: usize = 10_000;
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What is judged by, and how many policies of it come from where.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) rules: Rules,
    pub(crate) shipped: usize,
    pub(crate) own: usize,
    /// Agents whose baseline is judged by.
    pub(crate) baselines: usize,
}

/// What the configuration says, held against its baselines.
///
/// # Errors
/// As [`load`], and when there is a file of baselines that cannot be read.
pub(crate) fn configured(config: &Config) -> Result<Loaded> {
    let loaded = load(config.policies.folder(), config.policies.shipped)?;
    let Some(file) = config.baselines.file().filter(|_| config.server.has(Role::Detector)) else { return Ok(loaded) };
    let (baselines, id) = normal::read(file).context("baselines.file (--baselines)")?;
    tracing::info!(%id, agents = baselines.agents(), sessions = baselines.sessions(), "baselines are in force");
    let with = baselines.agents();
    Ok(Loaded { rules: loaded.rules.with_baselines(Arc::new(baselines)), baselines: with, ..loaded })
}

/// The shipped policies and those of a folder; `shipped` says whether the former stay.
///
/// # Errors
/// When a file cannot be read, or with every fault of the policies.
pub(crate) fn load(folder: Option<&Path>, shipped: bool) -> Result<Loaded> {
    let own = folder.map(|it| read(&[it.to_owned()])).transpose()?.unwrap_or_default();
    let pack = Pack::new(own, shipped);
    let rules = pack.compile().map_err(|errors| {
        let shown: Vec<_> = errors.iter().map(display).collect();
        let folder = folder.map_or_else(|| "the binary".to_owned(), |it| it.display().to_string());
        anyhow!("{} in the policies of {folder}\n{}", count(errors.len(), "error"), shown.join("\n"))
    })?;
    let shipped = pack.shipped();
    Ok(Loaded { own: rules.policies().saturating_sub(shipped), rules, shipped, baselines: 0 })
}

/// `(name, text)` of every policy file: the paths themselves, and `*.yaml` and `*.yml` in folders, sorted by name.
///
/// # Errors
/// When a path cannot be read or holds no policy file.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for path in paths {
        let about = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
        if !about.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        walk(path, &mut files)?;
        if files.len() == before {
            bail!("{} holds no policy file (*.yaml)", path.display());
        }
        files[before..].sort();
    }
    files.into_iter().map(|path| Ok((path.display().to_string(), text(&path)?))).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry.with_context(|| format!("{} cannot be read", folder.display()))?;
        let path = entry.path();
        // Links are not followed: they could lead in a circle.
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "yaml" || it == "yml") {
            if files.len() == FILES_MAX {
                bail!("more than {FILES_MAX} policy files: is {} the right folder?", folder.display());
            }
            files.push(path);
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    let about = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if about.len() > FILE_BYTES_MAX {
        bail!("{} has {} bytes: a policy file has at most {FILE_BYTES_MAX}", path.display(), about.len());
    }
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// A fault as compilers show it: what, where, and what was probably meant.
pub(crate) fn display(error: &PolicyError) -> String {
    let mut out = format!("error: {}\n  --> {}", error.message, error.file);
    if error.line > 0 {
        out.push_str(&format!(":{}:{}", error.line, error.column.max(1)));
    }
    let place = match &error.policy {
        Some(policy) if error.path.is_empty() => format!("policy `{policy}`"),
        Some(policy) => format!("policy `{policy}`, at `{}`", error.path),
        None if error.path.is_empty() => String::new(),
        None => format!("at `{}`", error.path),
    };
    if !place.is_empty() {
        out.push_str(&format!("\n   = {place}"));
    }
    if let Some(suggestion) = &error.suggestion {
        out.push_str(&format!("\n   = help: did you mean `{suggestion}`?"));
    }
    out
}

/// `1 error`, `2 errors`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use martingale_detector_core::PolicyError;

    use super::{display, read};

    #[test]
    fn folders_are_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("m")).expect("made");
        for (name, text) in [("z.yaml", "1"), ("a.yml", "2"), ("m/k.yaml", "3"), ("notes.md", "4")] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let texts = |paths: &[_]| read(paths).map(|it| it.into_iter().map(|(_, text)| text).collect::<String>());
        assert_eq!(texts(&[folder.path().to_owned()]).expect("reads"), "231");
        assert_eq!(texts(&[folder.path().join("notes.md")]).expect("a file is taken by its name"), "4");
        let empty = tempfile::tempdir().expect("a folder");
        for (path, word) in [(empty.path().to_owned(), "no policy file"), (empty.path().join("x.yaml"), "x.yaml")] {
            assert!(texts(&[path]).expect_err("refused").to_string().contains(word), "{word}");
        }
    }

    #[test]
    fn a_fault_shows_its_place_and_a_suggestion() {
        let error = PolicyError {
            file: "p.yaml".into(),
            policy: Some("x".into()),
            path: "severity".into(),
            line: 2,
            column: 11,
            message: "unknown severity `critcal`".into(),
            suggestion: Some("critical".into()),
        };
        let shown = "error: unknown severity `critcal`\n  --> p.yaml:2:11\n   = policy `x`, at `severity`\n   = help: did you mean `critical`?";
        assert_eq!(display(&error), shown);
        let bare = PolicyError { policy: None, path: String::new(), line: 0, suggestion: None, ..error };
        assert_eq!(display(&bare), "error: unknown severity `critcal`\n  --> p.yaml");
    }
}
