//! How what was read is laid out in the store: in pages, each an entry of its own, so that a step writes what it brought in
//! and not what its session has read.
//!
//! So is what hijack scoring keeps of a session ([`crate::hijack`]).
//!
//! A shelf holds one kind of thing. It fills one page after the other; a page that is full is written no more, and pages take
//! turns in the places of their shelf. The head of the state says which places hold one.

use serde::{Deserialize, Serialize};

use super::source::Source;
use super::vault::Secret;
use crate::bytes;

/// What is kept in pages: five kinds of a session, three of a run, and seven of a session for hijack scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// Values that the user and the operator wrote, and the steps that brought them.
    Named,
    Authors,
    /// Values that anybody else wrote, the steps, and the paths in their results.
    Read,
    Sources,
    Paths,
    /// Of a run: secrets, values that were handed over, and the steps that did.
    Secrets,
    Handed,
    Hands,
    /// For hijack scoring: words that the user and that the operator wrote, the user's messages, what they mean together and
    /// sentence by sentence, how often each tool was called, and sentences of results.
    UserWords,
    OperatorWords,
    Messages,
    Request,
    Meanings,
    Tools,
    Sentences,
}

impl Shelf {
    pub(crate) const ALL: [Self; 15] = [
        Self::Named,
        Self::Authors,
        Self::Read,
        Self::Sources,
        Self::Paths,
        Self::Secrets,
        Self::Handed,
        Self::Hands,
        Self::UserWords,
        Self::OperatorWords,
        Self::Messages,
        Self::Request,
        Self::Meanings,
        Self::Tools,
        Self::Sentences,
    ];

    /// Its letter in the key of an entry.
    pub(crate) const fn letter(self) -> u8 {
        match self {
            Self::Named => b'n',
            Self::Authors => b'a',
            Self::Read => b'v',
            Self::Sources => b's',
            Self::Paths => b'p',
            Self::Secrets => b'e',
            Self::Handed => b'h',
            Self::Hands => b'g',
            Self::UserWords => b'u',
            Self::OperatorWords => b'o',
            Self::Messages => b'm',
            Self::Request => b'q',
            Self::Meanings => b'w',
            Self::Tools => b't',
            Self::Sentences => b'l',
        }
    }

    /// Whether hijack scoring keeps it.
    pub(crate) const fn is_of_memory(self) -> bool {
        matches!(
            self,
            Self::UserWords
                | Self::OperatorWords
                | Self::Messages
                | Self::Request
                | Self::Meanings
                | Self::Tools
                | Self::Sentences
        )
    }

    pub(crate) const fn is_of_run(self) -> bool {
        matches!(self, Self::Secrets | Self::Handed | Self::Hands)
    }
}

/// One page, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Page {
    /// 26 bytes for each value ([`super::table`]).
    Values(#[serde(with = "bytes")] Vec<u8>),
    /// The number of the first one, and those that follow it.
    Sources(u32, Vec<Source>),
    Paths(Vec<Box<str>>),
    /// Secrets, and 13 bytes for each of their fingerprints ([`super::vault`]).
    Secrets(Vec<Secret>, #[serde(with = "bytes")] Vec<u8>),
    /// Numbers of one width ([`crate::hijack`]).
    Numbers(#[serde(with = "bytes")] Vec<u8>),
    /// A sheet ([`crate::hijack`]).
    Sentences(#[serde(with = "bytes")] Vec<u8>),
}

/// A [`Page`] whose texts are still in memory. Serialised it is the same.
#[derive(Clone, Debug, Serialize)]
pub enum PageRef<'p> {
    Values(#[serde(serialize_with = "bytes::serialize")] Vec<u8>),
    Sources(u32, Vec<&'p Source>),
    Paths(Vec<&'p str>),
    Secrets(Vec<&'p Secret>, #[serde(serialize_with = "bytes::serialize")] Vec<u8>),
    Numbers(#[serde(serialize_with = "bytes::serialize")] Vec<u8>),
    Sentences(#[serde(serialize_with = "bytes::serialize")] Vec<u8>),
}

impl PageRef<'_> {
    pub(crate) fn to_page(&self) -> Page {
        match self {
            Self::Values(bytes) => Page::Values(bytes.clone()),
            Self::Sources(first, sources) => Page::Sources(*first, sources.iter().map(|it| (*it).clone()).collect()),
            Self::Paths(paths) => Page::Paths(paths.iter().map(|it| (*it).into()).collect()),
            Self::Secrets(secrets, prints) => {
                Page::Secrets(secrets.iter().map(|it| (*it).clone()).collect(), prints.clone())
            }
            Self::Numbers(bytes) => Page::Numbers(bytes.clone()),
            Self::Sentences(bytes) => Page::Sentences(bytes.clone()),
        }
    }
}

/// Which pages of a shelf are to be read or written: bits by place, of which there are at most 64.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pages {
    /// Stored and not in memory yet.
    missing: u64,
    /// To be written, or removed where there is none any more.
    changed: u64,
}

impl Pages {
    /// Of a shelf whose pages are in the store.
    pub(crate) const fn stored(held: u64) -> Self {
        Self { missing: held, changed: 0 }
    }

    pub(crate) const fn touch(&mut self, place: usize) {
        self.changed |= 1 << place;
    }

    /// All pages are void: their places are empty, or taken anew.
    pub(crate) const fn clear(&mut self, held: u64) {
        self.missing = 0;
        self.changed |= held;
    }

    /// A page that is void, as its place is taken by the next one.
    pub(crate) const fn replace(&mut self, place: usize) {
        self.missing &= !(1 << place);
        self.touch(place);
    }
}

/// A shelf: what holds one kind of thing, as pages.
pub(crate) trait Paged {
    fn pages(&self) -> &Pages;
    fn pages_mut(&mut self) -> &mut Pages;

    /// Places that hold a page, as bits.
    fn held(&self) -> u64;

    /// The page at `place`.
    fn page(&self, place: usize) -> PageRef<'_>;

    /// Takes in what of a stored page is still its own.
    fn put_back(&mut self, place: usize, page: Page);
}

/// Where a page is: its shelf and its place.
pub(crate) type At = (Shelf, u8);

/// From bit to bit: of 64 places few are taken.
fn at(shelf: Shelf, mut bits: u64) -> impl Iterator<Item = At> {
    std::iter::from_fn(move || {
        let place = u8::try_from(bits.trailing_zeros()).ok().filter(|it| *it < 64)?;
        bits &= bits - 1;
        Some((shelf, place))
    })
}

/// Pages that are stored once all that changed is.
pub(crate) fn held<const N: usize>(shelves: [(Shelf, &dyn Paged); N]) -> impl Iterator<Item = At> + use<N> {
    shelves.map(|(shelf, it)| (shelf, it.held())).into_iter().flat_map(|(shelf, bits)| at(shelf, bits))
}

/// Pages that are stored and not in memory.
pub(crate) fn missing<const N: usize>(shelves: [(Shelf, &dyn Paged); N]) -> impl Iterator<Item = At> + use<N> {
    shelves.map(|(shelf, it)| (shelf, it.pages().missing)).into_iter().flat_map(|(shelf, bits)| at(shelf, bits))
}

pub(crate) fn are_whole<const N: usize>(shelves: [&dyn Paged; N]) -> bool {
    shelves.iter().all(|it| it.pages().missing == 0)
}

/// Takes in a page that was missing; `None` when there was none. One that was not is left as it is.
pub(crate) fn attach(shelf: &mut dyn Paged, place: u8, page: Option<Page>) {
    let bit = 1_u64.checked_shl(place.into()).unwrap_or(0);
    if shelf.pages().missing & bit == 0 {
        return;
    }
    shelf.pages_mut().missing &= !bit;
    if let Some(page) = page {
        shelf.put_back(place.into(), page);
    }
}

/// Hands out the pages that changed since the last call; `None` where there is none any more.
pub(crate) fn drain(shelf: Shelf, it: &mut impl Paged, f: &mut dyn FnMut(At, Option<PageRef<'_>>)) {
    // Most steps change one shelf or none of fifteen.
    match std::mem::take(&mut it.pages_mut().changed) {
        0 => {}
        changed => hand_out(shelf, it, changed, f),
    }
}

fn hand_out(shelf: Shelf, it: &dyn Paged, changed: u64, f: &mut dyn FnMut(At, Option<PageRef<'_>>)) {
    let held = it.held();
    for (shelf, place) in at(shelf, changed) {
        f((shelf, place), (held >> place & 1 == 1).then(|| it.page(place.into())));
    }
}
