//! Secrets that a run has read, as fingerprints, and where they turn up again.
//!
//! What counts of a secret are its letters and digits, without case: so other separators, line breaks and case change
//! nothing. Up to eight windows of twelve of them stand for a secret (thirty-two for a private key), so a piece of one is
//! recognised as well if it holds a window; shorter secrets are recognised as a whole. What is sent is read as it stands,
//! its arguments one behind the other, and decoded: percent, hexadecimal and base64, in each other at most twice.

mod stored;
mod whole;

use serde::{Deserialize, Serialize};

use martingale_schemas::{SessionId, StepId, ValueMatch};

use super::atom::{Atom, Coding};
use super::decode;
use super::pages::Pages;
use super::sip::Key;
use super::walk::Leaf;
use super::{fold, paths};
use crate::hash::{hash_text, mix};
use crate::secret::{self, SecretKind};

/// Letters and digits of one window. Thirty-six to the twelfth still fits in 64 bits: no two windows share a number.
const WINDOW: usize = 12;
const BASE: u64 = 36;
const TOP: u64 = BASE.pow(WINDOW as u32 - 1);
/// Letters and digits of a token's prefix, which all of its kind share, in its first windows.
const LEAD: usize = 3;
/// Windows of one secret, and of a private key.
const WINDOWS_MAX: usize = 8;
const KEY_WINDOWS_MAX: usize = 32;
/// Shortest secret that is kept, in letters and digits.
pub(super) const SHORT_MIN: usize = 6;
/// Letters and digits of a secret that are looked at.
const FOLDED_MAX: usize = 4096;
/// Secrets of a run, and windows of all of them. Full: a new one takes the place of another (`Vault::victim`), which
/// is counted with what else limits made a session forget.
const SECRETS_MAX: usize = 64;
/// Secrets of one step that others do not push out by being more.
const SHARE: usize = 8;
const PRINTS_MAX: usize = 768;
/// Secrets of one page. So many are part of the stored form.
const PAGE: usize = 4;
/// Bytes of one call that are decoded out of what was decoded: four times what a step may hold. More: what comes later in the call is
/// not found where it is encoded twice.
const NESTED_BYTES_MAX: usize = 256 * 1024;
/// Longest run of characters that a short secret is looked for in.
const CHUNK_MAX: usize = 64;
/// Places told of one call, of secrets that may go there.
const LEAKS_MAX: usize = 256;
/// Longest path that is kept with a secret.
const PATH_MAX: usize = 64;

/// A secret, by what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    pub kind: SecretKind,
    pub session: SessionId<'static>,
    pub step: StepId<'static>,
    /// Where it stood; empty in plain text.
    pub path: Box<str>,
    /// Whether the user or the operator wrote it: theirs to give.
    pub authored: bool,
}

/// One window of one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print {
    hash: u64,
    secret: u8,
    /// Of the window as it was written, and in lower case.
    raw: u16,
    lower: u16,
}

/// Secrets of a run. Serialised is how many there are; they are in pages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vault {
    key: Key,
    pub(super) secrets: Vec<Secret>,
    prints: Prints,
    /// A secret was met that is not kept, or is no more.
    full: bool,
    /// Since somebody asked.
    forgotten: u32,
    pages: Pages,
}

/// Where a secret was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    /// Its number.
    pub secret: usize,
    /// The argument, as `headers.cookie` or `parts[1]`.
    pub path: String,
    pub matched: ValueMatch,
    /// Whether the argument is what was read: this secret from end to end, and no other that is not known.
    pub whole: bool,
}

impl Vault {
    pub(super) fn new(key: Key) -> Self {
        Self { key, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    pub fn get(&self, number: usize) -> Option<&Secret> {
        self.secrets.get(number)
    }

    /// Takes in the secrets of a text that stands under `name`; how many it has, known ones among them.
    pub(super) fn learn(&mut self, name: &str, text: &str, of: &dyn Fn(SecretKind) -> Secret) -> usize {
        let plain = fold::plain(text);
        let found = secret::find(name, &plain);
        for it in &found {
            let from = with_lead(&plain, it.whole.start, it.at.start);
            self.keep(&plain[from..it.at.end], of(it.kind));
        }
        found.len()
    }

    /// Takes in what the user or the operator wrote: a secret that stands in it as a whole is theirs to give, whoever showed it before.
    pub(super) fn author(&mut self, text: &str) {
        if self.secrets.iter().all(|it| it.authored) {
            return;
        }
        let mut said = vec![false; self.prints.0.len()];
        each(self.key, &mut Stream::default(), &fold::plain(text), &mut |hash, _| {
            if let Some(at) = self.prints.place(hash) {
                said[at] = true;
            }
        });
        let bits = |of: bool| {
            let those = self.prints.0.iter().zip(&said).filter(|it| *it.1 == of);
            those.fold(0_u64, |bits, it| bits | 1 << (it.0.secret % 64))
        };
        let whole = bits(true) & !bits(false);
        for (number, it) in self.secrets.iter_mut().enumerate().filter(|(number, _)| whole >> number & 1 == 1) {
            it.authored = true;
            self.pages.touch(number / PAGE);
        }
    }

    fn keep(&mut self, value: &[u8], secret: Secret) {
        let number = self.secrets.len();
        let mut prints = prints_of(value, secret.kind, self.key, u8::try_from(number).unwrap_or(u8::MAX));
        prints.retain(|it| self.prints.find(it.hash).is_none());
        if prints.is_empty() {
            return;
        }
        while self.prints.0.len() + prints.len() > PRINTS_MAX || self.kept().count_ones() as usize >= SECRETS_MAX {
            (self.full, self.forgotten) = (true, self.forgotten + 1);
            let Some(victim) = self.victim(&secret, prints[0].hash) else { return };
            self.prints.0.retain(|it| usize::from(it.secret) != victim);
            self.pages.touch(victim / PAGE);
        }
        let path = &secret.path;
        let path = path[..path.floor_char_boundary(PATH_MAX)].into();
        let secret = Secret { path, ..secret };
        // The place of one that was let go is free.
        let free = (self.secrets.len() >= SECRETS_MAX).then(|| self.kept().trailing_ones() as usize);
        let number = free.unwrap_or(self.secrets.len());
        match self.secrets.get_mut(number) {
            Some(it) => *it = secret,
            None => self.secrets.push(secret),
        }
        for it in prints {
            self.prints.put(Print { secret: u8::try_from(number).unwrap_or(u8::MAX), ..it });
        }
        self.pages.touch(number / PAGE);
    }

    /// Numbers of the secrets that are kept, as bits: those that have prints.
    fn kept(&self) -> u64 {
        self.prints.0.iter().fold(0, |bits, it| bits | 1 << (it.secret % 64))
    }

    /// Which secret goes for a new one. One of the step that brought the most, if that is more than its share, so that a page full of
    /// made-up ones takes places from itself; otherwise one of all. `drawn` decides which, and no page can foresee it.
    fn victim(&self, new: &Secret, drawn: u64) -> Option<usize> {
        let bits = self.kept();
        let kept = || self.secrets.iter().enumerate().filter(|it| bits >> it.0 & 1 == 1);
        let draw =
            |places: &[usize]| places.get(usize::try_from(drawn % places.len().max(1) as u64).unwrap_or(0)).copied();
        // More than half are of the same step, as they are for all but the first of a page of made-up ones: no need to count others.
        let own: Vec<usize> =
            kept().filter(|(_, it)| it.step == new.step && it.session == new.session).map(|it| it.0).collect();
        if own.len() > SHARE && 2 * own.len() > bits.count_ones() as usize {
            return draw(&own);
        }
        let source = |it: &Secret| mix(hash_text(it.session.as_str()), hash_text(it.step.as_str()));
        let kept: Vec<(usize, u64)> = kept().map(|(at, it)| (at, source(it))).collect();
        let count = |of: u64| kept.iter().filter(|it| it.1 == of).count();
        let counts: Vec<usize> = kept.iter().map(|it| count(it.1)).collect();
        let most = counts.iter().copied().max()?;
        let is_of_most = |it: &(&(usize, u64), &usize)| most <= SHARE || *it.1 == most;
        let places: Vec<usize> = kept.iter().zip(&counts).filter(is_of_most).map(|it| it.0.0).collect();
        draw(&places)
    }

    /// How many secrets it forgot or passed over since the last call.
    pub(super) fn take_forgotten(&mut self) -> u32 {
        std::mem::take(&mut self.forgotten)
    }

    /// Begins to look for secrets in what a call sends.
    pub(super) fn search(&self) -> Search<'_> {
        let mut filter = [0; FILTER];
        for it in &self.prints.0 {
            let (word, bit) = filter_at(it.hash);
            filter[word] |= bit;
        }
        Search {
            vault: self,
            filter,
            stream: Stream::default(),
            nested_left: NESTED_BYTES_MAX,
            here: 0,
            told: 0,
            leaks: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let texts: usize =
            self.secrets.iter().map(|it| it.session.as_str().len() + it.step.as_str().len() + it.path.len()).sum();
        texts + self.secrets.capacity() * size_of::<Secret>() + self.prints.0.capacity() * size_of::<Print>()
    }
}

const fn digit(it: u8) -> Option<u64> {
    match it {
        b'0'..=b'9' => Some((it - b'0') as u64),
        b'a'..=b'z' => Some((it - b'a') as u64 + 10),
        b'A'..=b'Z' => Some((it - b'A') as u64 + 10),
        _ => None,
    }
}

/// The latest letters and digits of a text as one number, and where they stood.
#[derive(Clone, Copy, Default)]
struct Stream {
    number: u64,
    seen: usize,
    places: [usize; WINDOW],
}

impl Stream {
    /// Takes a character in; where the window begins, once there is one.
    fn push(&mut self, it: u64, place: usize) -> Option<usize> {
        self.number = (self.number % TOP) * BASE + it;
        self.places[self.seen % WINDOW] = place;
        self.seen += 1;
        (self.seen >= WINDOW).then(|| self.places[self.seen % WINDOW])
    }
}

fn hash_of(number: u64, length: usize, key: Key) -> u64 {
    mix(number ^ key.seed(), key.seed().rotate_left(32) ^ length as u64) | 1
}

/// Where the windows of a token begin whose own part begins at `own`: with a few letters of its prefix, so that its first twelve are one,
/// and few enough that another token has none of them.
fn with_lead(text: &[u8], whole: usize, own: usize) -> usize {
    let lead = text[whole..own].iter().enumerate().rev().filter(|it| digit(*it.1).is_some());
    lead.take(LEAD).last().map_or(own, |it| whole + it.0)
}

fn tags(raw: &[u8]) -> (u16, u16) {
    (Atom::tag(raw), Atom::tag(&raw.to_ascii_lowercase()))
}

/// Windows that stand for a secret.
fn prints_of(value: &[u8], kind: SecretKind, key: Key, secret: u8) -> Vec<Print> {
    let mut stream = Stream::default();
    let mut windows = Vec::new();
    let mut short = 0_u64;
    // Of a chosen password a window without a digit may be a word of the language.
    let is_chosen = kind == SecretKind::Labelled && !secret::is_of_chance(value);
    for (at, digit) in value.iter().enumerate().filter_map(|(at, it)| Some((at, digit(*it)?))).take(FOLDED_MAX) {
        short = short.wrapping_mul(BASE).wrapping_add(digit);
        if let Some(from) = stream.push(digit, at) {
            let raw = &value[from..=at];
            if !is_chosen || raw.iter().any(u8::is_ascii_digit) {
                windows.push((stream.number, raw));
            }
        }
    }
    let print = |number, length, raw: &[u8]| {
        let (raw, lower) = tags(raw);
        Print { hash: hash_of(number, length, key), secret, raw, lower }
    };
    if stream.seen < SHORT_MIN {
        return Vec::new();
    }
    if stream.seen < WINDOW || windows.is_empty() {
        return if stream.seen <= WINDOW { vec![print(short, stream.seen, value)] } else { Vec::new() };
    }
    let max = if kind == SecretKind::PrivateKey { KEY_WINDOWS_MAX } else { WINDOWS_MAX };
    let count = windows.len().min(max);
    let mut prints: Vec<Print> = (0..count)
        .map(|it| {
            let (number, raw) = windows[if count == 1 { 0 } else { it * (windows.len() - 1) / (count - 1) }];
            print(number, WINDOW, raw)
        })
        .collect();
    prints.sort_unstable_by_key(|it| it.hash);
    prints.dedup_by_key(|it| it.hash);
    prints
}

/// Calls `f` with each number that may be that of a print in a text, and with where it stands.
fn each(key: Key, stream: &mut Stream, text: &[u8], f: &mut impl FnMut(u64, Option<&[u8]>)) {
    // Places before this text are of no use for its tags.
    stream.places = [usize::MAX; WINDOW];
    for (place, it) in text.iter().enumerate() {
        let Some(digit) = digit(*it) else { continue };
        if let Some(from) = stream.push(digit, place) {
            f(hash_of(stream.number, WINDOW, key), text.get(from..=place));
        }
    }
    // Short secrets stand alone: between spaces or signs, which they may hold themselves.
    text.split(u8::is_ascii_whitespace).filter(|it| it.len() >= SHORT_MIN).for_each(|it| short(key, it, f));
}

/// The same of what may be a short secret in a word.
fn short(key: Key, word: &[u8], f: &mut impl FnMut(u64, Option<&[u8]>)) {
    let divides = |it: &u8| it.is_ascii_punctuation() && !matches!(it, b'-' | b'_');
    let mut from = 0;
    while from < word.len() {
        // What begins with a sign that divides is looked for behind it.
        if divides(&word[from]) {
            from += 1;
            continue;
        }
        let (mut number, mut length) = (0_u64, 0);
        for (place, it) in word.iter().enumerate().skip(from).take(CHUNK_MAX) {
            if let Some(digit) = digit(*it) {
                number = number.wrapping_mul(BASE).wrapping_add(digit);
                length += 1;
            }
            if length > WINDOW {
                break;
            }
            let is_end = word.get(place + 1).is_none_or(divides);
            if is_end && length >= SHORT_MIN {
                f(hash_of(number, length, key), word.get(from..=place));
            }
        }
        from += word[from..].iter().position(divides).map_or(word.len(), |it| it + 1);
    }
}

const FILTER: usize = 32;

const fn filter_at(hash: u64) -> (usize, u64) {
    ((hash >> 59) as usize, 1 << (hash >> 53 & 63))
}

/// A look for secrets in the arguments of one call.
pub(super) struct Search<'v> {
    vault: &'v Vault,
    filter: [u64; FILTER],
    /// Goes on over all arguments, so that a secret that was divided among them is seen.
    stream: Stream,
    nested_left: usize,
    /// Secrets that were found in the argument that is being read, as bits: each is told of once for each place.
    here: u64,
    /// The same of places that excuse nothing: each is told of once in a call.
    told: u64,
    leaks: Vec<Leak>,
}

impl Search<'_> {
    pub(super) fn argument(&mut self, leaf: &Leaf<'_>) {
        self.here = 0;
        let plain = fold::plain(leaf.text);
        let (mut stream, before) = (self.stream, self.leaks.len());
        self.read(&mut stream, &plain, (leaf.path, leaf.item), Coding::NONE);
        self.stream = stream;
        self.mark_whole(before, leaf.key, &plain);
    }

    /// The name of a member. It does not come between the halves of a secret that was divided among values.
    pub(super) fn name(&mut self, path: &str, item: u16, text: &str) {
        self.here = 0;
        self.read(&mut Stream::default(), &fold::plain(text), (path, item), Coding::NONE);
    }

    fn read(&mut self, stream: &mut Stream, text: &[u8], at: (&str, u16), coding: Coding) {
        let before = self.leaks.len();
        let key = self.vault.key;
        each(key, stream, text, &mut |hash, raw| self.look(hash, raw, at, coding));
        // The author's own secret excuses none beside it.
        let is_known = self.leaks[before..].iter().any(|it| self.vault.get(it.secret).is_some_and(|it| !it.authored));
        if coding.depth() < 2 && !is_known {
            self.decoded(text, at, coding);
        }
    }

    fn look(&mut self, hash: u64, raw: Option<&[u8]>, (path, item): (&str, u16), coding: Coding) {
        let (word, bit) = filter_at(hash);
        if self.filter[word] & bit == 0 {
            return;
        }
        let Some(print) = self.vault.prints.find(hash) else { return };
        let secret = usize::from(print.secret);
        let bit = 1 << (secret % 64);
        if self.here & bit != 0 {
            return;
        }
        self.here |= bit;
        // However often something is sent that may go, what may not is told of.
        let may_go = self.vault.get(secret).is_some_and(|it| it.authored) || secret::is_credential(path);
        let is_enough = if may_go { self.leaks.len() >= LEAKS_MAX } else { self.told & bit != 0 };
        if is_enough {
            return;
        }
        self.told |= if may_go { 0 } else { bit };
        let matched = match (coding.depth(), coding.innermost(), raw.map(tags)) {
            (0, _, Some((raw, _))) if raw == print.raw => ValueMatch::Exact,
            (0, _, Some((_, lower))) if lower == print.lower => ValueMatch::Case,
            (0, _, _) => ValueMatch::Separators,
            (1, Coding::URL, _) => ValueMatch::Url,
            (1, Coding::HEX, _) => ValueMatch::Hex,
            (1, _, _) => ValueMatch::Base64,
            _ => ValueMatch::Nested,
        };
        self.leaks.push(Leak { secret, path: paths::with_item(path, item), matched, whole: false });
    }

    /// Reads what is encoded in a text.
    fn decoded(&mut self, text: &[u8], at: (&str, u16), coding: Coding) {
        let mut out = Vec::new();
        if text.contains(&b'%') && decode::percent(text, usize::MAX, &mut out) {
            self.nested(&out, at, coding.with(Coding::URL));
        }
        // Lines of a long run, as many programs break and indent them, are one run. Each for itself is looked at as well: what
        // stands in a line before them would put them out of step.
        if text.iter().any(|it| matches!(it, b'\n' | b'\r')) {
            let mut is_new = false;
            let mut is_of_run = |it: &u8| {
                is_new = matches!(it, b'\n' | b'\r') || is_new && it.is_ascii_whitespace();
                !is_new
            };
            let joined: Vec<u8> = text.iter().copied().filter(|it| is_of_run(it)).collect();
            self.runs(&joined, at, coding);
        }
        self.runs(text, at, coding);
    }

    /// Reads each run of characters that may be an encoding.
    fn runs(&mut self, text: &[u8], at: (&str, u16), coding: Coding) {
        let in_run = |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/' | b'-' | b'_');
        for run in text.split(|it| !in_run(it)).filter(|it| it.len() >= decode::PART_MIN) {
            decode::inside(run, &mut |_, inner, decoded| self.nested(decoded, at, coding.with(inner)));
        }
    }

    /// What a call sends is read to its end, and so is what comes out of it. Of what comes out of that there is a limit.
    fn nested(&mut self, decoded: &[u8], at: (&str, u16), coding: Coding) {
        let mut length = decoded.len();
        if coding.depth() > 1 {
            length = length.min(self.nested_left);
            self.nested_left -= length;
        }
        let text = String::from_utf8_lossy(&decoded[..length]);
        let plain = fold::plain(&text);
        self.read(&mut Stream::default(), &plain, at, coding);
    }
}

/// Ascending by hash.
#[derive(Clone, Debug, Default, PartialEq)]
struct Prints(Vec<Print>);

impl Prints {
    fn place(&self, hash: u64) -> Option<usize> {
        self.0.binary_search_by_key(&hash, |it| it.hash).ok()
    }

    fn find(&self, hash: u64) -> Option<&Print> {
        self.place(hash).and_then(|at| self.0.get(at))
    }

    fn put(&mut self, print: Print) {
        let at = self.0.partition_point(|it| (it.hash, it.secret) < (print.hash, print.secret));
        self.0.insert(at, print);
    }
}
