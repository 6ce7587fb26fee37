//! What is taken as normal: recordings to learn from, or a file of what was learnt.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use martingale_detector::read_baselines;
use martingale_detector_core::{Baselines, Rules};
use martingale_schemas::baselines::MAGIC;
use martingale_schemas::{BaselinesId, Timestamp};

use super::source::Source;
use super::{Faults, offline};

/// Largest file of baselines that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Opened, and not learnt from yet.
pub(crate) enum Normal {
    Steps(Source),
    Learnt(Baselines),
}

impl Normal {
    /// `None` for no file.
    ///
    /// # Errors
    /// When one cannot be read, or a file of baselines is not alone.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Option<Self>> {
        if paths.is_empty() {
            return Ok(None);
        }
        let Some(learnt) = paths.iter().find(|it| is_learnt(it)) else {
            return Ok(Some(Self::Steps(Source::open(paths)?)));
        };
        if paths.len() > 1 {
            let learnt = learnt.display();
            bail!("{learnt} holds baselines: name it alone, or recordings to learn from, and not both");
        }
        Ok(Some(Self::Learnt(read(learnt)?.0)))
    }

    /// The rules, held against it. A line that is no step is told and left out.
    ///
    /// # Errors
    /// When a recording cannot be read to its end, or nothing is learnt.
    pub(crate) fn into_rules(self, rules: Rules, arrival: Timestamp) -> Result<Rules> {
        match self {
            Self::Learnt(baselines) => Ok(rules.with_baselines(Arc::new(baselines))),
            Self::Steps(source) => {
                let faults = Faults::new(source.progress());
                let (baselines, _) = offline::learn_some(source, "", &rules, arrival, &faults, |_| true)?;
                if baselines.agents() == 0 {
                    bail!("nothing was learnt of the files of --baselines: name recordings, or a file of baselines");
                }
                Ok(rules.with_baselines(Arc::new(baselines)))
            }
        }
    }
}

/// A file that cannot be read holds steps, as far as is known here: opening it again says why.
fn is_learnt(path: &Path) -> bool {
    let mut begin = vec![0; MAGIC.len()];
    path != Path::new("-")
        && path.is_file()
        && File::open(path).and_then(|mut it| it.read_exact(&mut begin)).is_ok()
        && begin == MAGIC
}

/// A file of baselines, and its name.
///
/// # Errors
/// When it cannot be read, or is none; with its path.
pub(crate) fn read(path: &Path) -> Result<(Baselines, BaselinesId)> {
    parse(path, &bytes(path)?)
}

/// What was read of a file, and its name.
///
/// # Errors
/// When it is none; with its path.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<(Baselines, BaselinesId)> {
    read_baselines(bytes).with_context(|| format!("{} is not taken", path.display()))
}

/// # Errors
/// When it cannot be read, or is too large; with its path.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let shown = || format!("{} cannot be read", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(shown)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(shown)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{} is larger than {FILE_BYTES_MAX} bytes: no baselines are", path.display());
    }
    Ok(bytes)
}
