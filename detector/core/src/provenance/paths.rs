//! Paths of values inside a result, each kept once: `transactions[*].recipient`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pages::{Page, PageRef, Paged, Pages};
use crate::hash::hash;

/// No path is known: the result is text, or there were too many paths.
pub(super) const NONE: u16 = u16::MAX;
/// Longest path that is kept, in bytes; a longer one ends with "…".
pub(super) const PATH_MAX: usize = 64;

/// Paths of one page, and most paths there are. So many are part of the stored form.
const PAGE: usize = 16;
const COUNT_MAX: usize = 64;

/// The paths of a session. Full: values of other paths are kept without one. Serialised is how many there are; they are
/// in pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    texts: Vec<Box<str>>,
    /// Of the texts, once one is looked for.
    hashes: Vec<u32>,
    pages: Pages,
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
            (self.texts.len() < max.min(COUNT_MAX)).then(|| {
                self.pages.touch(self.texts.len() / PAGE);
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

impl PartialEq for Paths {
    fn eq(&self, other: &Self) -> bool {
        (&self.texts, &self.pages) == (&other.texts, &other.pages)
    }
}

impl Paged for Paths {
    fn pages(&self) -> &Pages {
        &self.pages
    }

    fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }

    fn held(&self) -> u64 {
        (1 << self.texts.len().div_ceil(PAGE)) - 1
    }

    fn page(&self, place: usize) -> PageRef<'_> {
        PageRef::Paths(self.texts.iter().skip(place * PAGE).take(PAGE).map(AsRef::as_ref).collect())
    }

    fn put_back(&mut self, place: usize, page: Page) {
        let Page::Paths(texts) = page else { return };
        let own = self.texts.iter_mut().skip(place * PAGE).take(PAGE);
        // A path is never empty.
        own.zip(texts).filter(|(it, _)| it.is_empty()).for_each(|(it, text)| *it = text);
        self.hashes.clear();
    }
}

impl Serialize for Paths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.texts.len().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = usize::deserialize(deserializer)?;
        if count > COUNT_MAX {
            return Err(serde::de::Error::custom("more paths than are kept"));
        }
        let mut paths = Self { texts: vec![Box::default(); count], ..Self::default() };
        paths.pages = Pages::stored(paths.held());
        Ok(paths)
    }
}

/// A path with the number of its innermost item.
pub(super) fn with_item(path: &str, item: u16) -> String {
    // Asked for one byte first: a searcher takes longer to make than most paths to read.
    if !path.as_bytes().contains(&b'*') {
        return path.to_owned();
    }
    match path.rsplit_once("[*]") {
        Some((before, after)) => format!("{before}[{item}]{after}"),
        None => path.to_owned(),
    }
}

/// Whether two paths end with the same name, whatever its case and separators. Of one that may have been cut that is not known.
pub(crate) fn same_name(one: &str, other: &str) -> bool {
    let name = |path: &str| {
        let name = path.rsplit('.').next().unwrap_or(path);
        let name = name.split('[').next().unwrap_or(name);
        let counts = |it: &u8| it.is_ascii_alphanumeric() || !it.is_ascii();
        let is_whole = path.len() < PATH_MAX - 4 && !path.contains('…');
        let letters: Vec<u8> = name.bytes().filter(counts).map(|it| it.to_ascii_lowercase()).collect();
        Some(letters).filter(|it| is_whole && !it.is_empty())
    };
    name(one).is_some_and(|it| name(other) == Some(it))
}

#[expect(clippy::cast_possible_truncation, reason = "half a hash")]
fn short(path: &str) -> u32 {
    hash(path.as_bytes()) as u32
}
