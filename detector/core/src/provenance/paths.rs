//! Paths of values inside a result, each kept once: `transactions[*].recipient`.

use serde::{Deserialize, Serialize};

use crate::hash::hash;

/// No path is known: the result is text, or there were too many paths.
pub(super) const NONE: u16 = u16::MAX;
/// Longest path that is kept, in bytes; a longer one ends with "…".
pub(super) const PATH_MAX: usize = 64;

/// The paths of a session. Full: values of other paths are kept without one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Paths {
    texts: Vec<Box<str>>,
    /// Which one was asked for last: the fields of one record after the other ask for the same few.
    #[serde(skip)]
    hashes: Vec<u32>,
}

impl Paths {
    pub(super) fn number(&mut self, path: &str, max: usize) -> u16 {
        if path.is_empty() {
            return NONE;
        }
        if self.hashes.len() != self.texts.len() {
            self.hashes = self.texts.iter().map(|it| short(it)).collect();
        }
        let key = short(path);
        let found = self.hashes.iter().position(|it| *it == key).filter(|at| *self.texts[*at] == *path);
        let at = found.or_else(|| {
            (self.texts.len() < max).then(|| {
                self.texts.push(path.into());
                self.hashes.push(key);
                self.texts.len() - 1
            })
        });
        at.and_then(|it| u16::try_from(it).ok()).unwrap_or(NONE)
    }

    /// A path with the number of its innermost item.
    pub(super) fn shown(&self, number: u16, item: u16) -> String {
        let Some(path) = self.texts.get(usize::from(number)) else { return String::new() };
        with_item(path, item)
    }

    pub(super) fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|it| it.len()).sum();
        texts + self.texts.capacity() * size_of::<Box<str>>() + self.hashes.capacity() * size_of::<u32>()
    }
}

/// A path with the number of its innermost item.
pub(super) fn with_item(path: &str, item: u16) -> String {
    match path.rsplit_once("[*]") {
        Some((before, after)) => format!("{before}[{item}]{after}"),
        None => path.to_owned(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half a hash")]
fn short(path: &str) -> u32 {
    hash(path.as_bytes()) as u32
}
