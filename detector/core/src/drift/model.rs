//! What an agent's steps look like when nothing is wrong, as chances; and what they are held against.
//!
//! Chances are Witten-Bell: what was seen after a context, mixed with what was seen after any, mixed with anything at all,
//! by how often the context was followed by something new. All of it is worked out when it is learnt. What was never seen
//! is one symbol, so that the chances of a row add up to one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heard::SHARES;
use super::layout::Sign;
use super::reading::{BINS, Reading, Stream};
use crate::hash::{hash_text, mix};

/// Acts, and shapes and layouts, that have a symbol of their own: the most frequent. Others count as never seen.
const ACTS_MAX: usize = 62;
const FORMS_MAX: usize = 255;
/// Pairs of acts with a row of their own: the most frequent.
const PAIRS_MAX: usize = 512;
/// Symbols of acts, what was never seen among them, and the one for what is before a session's first act.
pub(super) const ACTS: usize = 64;
/// Anything that was not seen when the baseline was learnt.
pub(super) const NEW: u8 = 0;
pub(super) const BEGINNING: u8 = 63;

/// What every row keeps for anything at all: no single step is evidence of more than `width / FLOOR`.
const FLOOR: f64 = 0.02;
/// A number counts for its neighbours too: of four parts, one on either side.
const PARTS: u32 = 4;
/// How far up numbers are moved in what they are held against: in half doublings.
const SHIFTS: [usize; 2] = [2, 6];

/// Ways in which the steps of a stream may depart.
pub(super) const RIVALS: usize = 4;

/// One step in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) stream: Stream,
    context: u16,
    pub(super) symbol: u8,
}

/// Chance of a sample under the baseline, and under each of its rivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bet {
    pub(super) baseline: f64,
    pub(super) rivals: [f64; RIVALS],
}

/// How often each act was chosen in a session; halved when a count is full.
pub(super) type Seen = [u8; ACTS];

/// Ascending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Names(Vec<(u64, u8)>);

impl Names {
    /// The most frequent, of equals the smallest; numbered from 1.
    fn of(counted: &BTreeMap<u64, u32>, max: usize) -> Self {
        let mut names: Vec<(u64, u32)> = counted.iter().map(|(name, count)| (*name, *count)).collect();
        names.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        names.truncate(max);
        let mut names: Vec<(u64, u8)> =
            names.into_iter().zip(1..=u8::MAX).map(|((name, _), number)| (name, number)).collect();
        names.sort_unstable();
        names.shrink_to_fit();
        Self(names)
    }

    fn number(&self, name: u64) -> u8 {
        self.0.binary_search_by_key(&name, |it| it.0).map_or(NEW, |at| self.0[at].1)
    }
}

/// Rows of chances by context. The first is for any context.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Table {
    width: usize,
    /// Contexts and their rows, ascending.
    at: Vec<(u16, u16)>,
    rows: Vec<f32>,
}

impl Table {
    fn row(&self, context: u16) -> &[f32] {
        let at = |context| self.at.binary_search_by_key(&context, |it| it.0).ok().map(|at| self.at[at].1);
        // A pair that was never seen goes by its later act.
        let row = at(context).or_else(|| at(context | ANY)).unwrap_or(0);
        self.rows.get(usize::from(row) * self.width..).unwrap_or_default().get(..self.width).unwrap_or_default()
    }
}

/// In the place of the earlier act: whatever it was.
const ANY: u16 = 0xff00;
/// Whatever came before.
const ALL: u16 = 0xffff;

const fn pair(earlier: u8, later: u8) -> u16 {
    (earlier as u16) << 8 | later as u16
}

/// Chances of every stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    acts: Names,
    shapes: Names,
    layouts: Names,
    tables: [Table; Stream::ALL.len()],
    /// Symbols mean something under this model alone.
    pub(super) print: u64,
}

/// As the first version of baselines stored it.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(Default, Serialize))]
#[cfg_attr(not(test), expect(dead_code, reason = "read to know where it ends"))]
pub(super) struct ModelV1 {
    acts: Names,
    shapes: Names,
    tables: [Table; 7],
    print: u64,
}

impl Model {
    /// Learns from sessions, each an iterator over its readings.
    pub(super) fn fit<'r>(sessions: impl Iterator<Item = &'r [Reading]> + Clone) -> Self {
        let names = |of: &dyn Fn(&Reading) -> Option<u64>, max| {
            let mut counted = BTreeMap::<u64, u32>::new();
            sessions.clone().flatten().filter_map(of).for_each(|it| *counted.entry(it).or_default() += 1);
            Names::of(&counted, max)
        };
        let mut model = Self {
            acts: names(&|it| Some(it.act), ACTS_MAX),
            shapes: names(&|it| it.shape, FORMS_MAX),
            layouts: names(&|it| it.layout.map(|it| it.print()), FORMS_MAX),
            ..Self::default()
        };
        let mut counts: [Counts; Stream::ALL.len()] = Default::default();
        for session in sessions {
            let mut last = [BEGINNING; 2];
            for reading in session {
                model.each_sample(reading, &mut last, |sample| counts[sample.stream as usize].add(sample));
            }
        }
        for (stream, counts) in Stream::ALL.into_iter().zip(counts) {
            model.tables[stream as usize] = counts.into_table(model.width(stream));
        }
        let rows = model.tables.iter().flat_map(|it| &it.rows);
        model.print = rows.fold(hash_text("drift"), |print, it| mix(print, u64::from(it.to_bits())));
        model
    }

    /// Symbols that a stream may show.
    fn width(&self, stream: Stream) -> usize {
        match stream {
            Stream::Order => self.acts.0.len() + 1,
            Stream::Shape => self.shapes.0.len() + 1,
            Stream::Latency | Stream::Tokens | Stream::Cost => BINS,
            Stream::Errors => 2,
            Stream::Subject | Stream::Novelty => SHARES,
            Stream::Layout => self.layouts.0.len() + 1,
            Stream::Signs => Sign::COUNT,
        }
    }

    /// Tells what the streams see of a step; `last`: the two acts that were chosen before, moved on.
    pub(super) fn each_sample(&self, reading: &Reading, last: &mut [u8; 2], mut f: impl FnMut(Sample)) {
        let act = self.acts.number(reading.act);
        if reading.is_chosen {
            f(Sample { stream: Stream::Order, context: pair(last[0], last[1]), symbol: act });
            *last = [last[1], act];
        }
        // What an act looks like that was never seen says nothing more than that it is new.
        if act == NEW {
            return;
        }
        for (stream, symbol) in [
            (Stream::Shape, reading.shape.map(|it| self.shapes.number(it))),
            (Stream::Latency, reading.latency),
            (Stream::Tokens, reading.tokens),
            (Stream::Cost, reading.cost),
            (Stream::Errors, reading.failed.map(u8::from)),
            (Stream::Subject, reading.subject),
            (Stream::Novelty, reading.novelty),
            (Stream::Layout, reading.layout.map(|it| self.layouts.number(it.print()))),
        ] {
            if let Some(symbol) = symbol {
                f(Sample { stream, context: pair(0xff, act), symbol });
            }
        }
        for (before, sign) in reading.layout.iter().flat_map(super::layout::Layout::pairs) {
            f(Sample { stream: Stream::Signs, context: pair(before as u8, act), symbol: sign as u8 });
        }
    }

    /// Chances of a sample before it is counted in `seen`.
    pub(super) fn bet(&self, sample: Sample, seen: &Seen) -> Bet {
        let table = &self.tables[sample.stream as usize];
        let (row, any) = (table.row(sample.context), table.row(ALL));
        let symbol = usize::from(sample.symbol);
        let chance = |row: &[f32], at: usize| row.get(at).copied().map_or(0.0, f64::from);
        let baseline = chance(row, symbol);
        let uniform = 1.0 / table.width.max(1) as f64;
        let fresh = if sample.symbol == NEW { 0.5 } else { 0.5 * baseline };
        let rivals = match sample.stream {
            Stream::Order => {
                let total: u32 = seen.iter().map(|it| u32::from(*it)).sum();
                let own = (f64::from(seen[symbol % ACTS]) + 0.5) / (f64::from(total) + 0.5 * table.width as f64);
                [uniform, own, chance(any, symbol), fresh]
            }
            Stream::Shape | Stream::Layout => [uniform, uniform, chance(any, symbol), fresh],
            Stream::Signs => [uniform, uniform, uniform, chance(any, symbol)],
            Stream::Latency | Stream::Tokens | Stream::Cost => {
                let up = |by: usize| symbol.checked_sub(by).map_or(0.0, |at| chance(row, at));
                [uniform, up(SHIFTS[0]), up(SHIFTS[1]), chance(any, symbol)]
            }
            Stream::Errors => {
                let often = if symbol == 1 { 0.9 } else { 0.1 };
                [uniform, often, often, chance(any, symbol)]
            }
            Stream::Subject => {
                let lost = if symbol == 0 { 0.5 } else { 0.5 * baseline };
                [uniform, lost, chance(row, symbol + 1), chance(any, symbol)]
            }
            Stream::Novelty => {
                let unheard = if symbol == SHARES - 1 { 0.5 } else { 0.5 * baseline };
                [uniform, unheard, symbol.checked_sub(1).map_or(0.0, |at| chance(row, at)), chance(any, symbol)]
            }
        };
        Bet { baseline, rivals }
    }

    /// Estimated memory, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let tables: usize = self.tables.iter().map(|it| (it.rows.capacity() + it.at.capacity()) * 4).sum();
        tables + (self.acts.0.capacity() + self.shapes.0.capacity() + self.layouts.0.capacity()) * 16
    }

    /// Every act there may be after these two.
    #[cfg(test)]
    pub(super) fn choices(&self, last: [u8; 2]) -> Vec<Sample> {
        let symbols = 0..=u8::try_from(self.tables[0].width - 1).unwrap();
        symbols.map(|symbol| Sample { stream: Stream::Order, context: pair(last[0], last[1]), symbol }).collect()
    }

    /// Every sample there may be in a context that was seen, or in none.
    #[cfg(test)]
    pub(super) fn contexts(&self, stream: Stream) -> Vec<Vec<Sample>> {
        let table = &self.tables[stream as usize];
        let contexts = table.at.iter().map(|it| it.0).chain([pair(9, 9), pair(0xff, NEW)]);
        let symbols = 0..u8::try_from(table.width - 1).unwrap();
        let samples = |context| (0..=symbols.end).map(|symbol| Sample { stream, context, symbol }).collect();
        contexts.map(samples).collect()
    }
}

/// How often each symbol followed each context, in parts.
#[derive(Default)]
struct Counts(BTreeMap<u16, BTreeMap<u8, u32>>);

impl Counts {
    fn add(&mut self, sample: Sample) {
        let row = self.0.entry(sample.context).or_default();
        let mut put = |symbol: u8, parts| {
            let count = row.entry(symbol).or_default();
            *count = count.saturating_add(parts);
        };
        if matches!(sample.stream, Stream::Latency | Stream::Tokens | Stream::Cost) {
            put(sample.symbol, PARTS - 2);
            put(sample.symbol.saturating_sub(1), 1);
            put((sample.symbol + 1).min(BINS as u8 - 1), 1);
        } else {
            put(sample.symbol, PARTS);
        }
    }

    fn into_table(self, width: usize) -> Table {
        let mut by_later: BTreeMap<u16, BTreeMap<u8, u32>> = BTreeMap::new();
        let mut all = BTreeMap::new();
        for (context, counts) in &self.0 {
            for (symbol, count) in counts {
                *by_later.entry(context | ANY).or_default().entry(*symbol).or_default() += count;
                *all.entry(*symbol).or_default() += count;
            }
        }
        let uniform = vec![1.0 / width as f64; width];
        let any = mixed(&all, &uniform);
        let mut table = Table { width, at: Vec::new(), rows: Vec::new() };
        table.put(ALL, &any);
        let by_later: BTreeMap<u16, Vec<f64>> =
            by_later.into_iter().map(|(later, counts)| (later, mixed(&counts, &any))).collect();
        by_later.iter().for_each(|(later, row)| table.put(*later, row));
        let mut pairs: Vec<(u16, &BTreeMap<u8, u32>)> =
            self.0.iter().filter(|it| !by_later.contains_key(it.0)).map(|it| (*it.0, it.1)).collect();
        pairs.sort_by_key(|(pair, counts)| (std::cmp::Reverse(counts.values().sum::<u32>()), *pair));
        for (pair, counts) in pairs.into_iter().take(PAIRS_MAX) {
            table.put(pair, &mixed(counts, &by_later[&(pair | ANY)]));
        }
        table.at.sort_unstable();
        table.rows.shrink_to_fit();
        table
    }
}

impl Table {
    fn put(&mut self, context: u16, row: &[f64]) {
        let number = u16::try_from(self.rows.len() / self.width.max(1)).unwrap_or(0);
        self.at.push((context, number));
        let floor = FLOOR / self.width.max(1) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "chances")]
        self.rows.extend(row.iter().map(|it| ((1.0 - FLOOR) * it + floor) as f32));
    }
}

/// Witten-Bell: the share that is left to `wider` is that of symbols that were new when they came.
fn mixed(counts: &BTreeMap<u8, u32>, wider: &[f64]) -> Vec<f64> {
    let total: f64 = counts.values().map(|it| f64::from(*it)).sum();
    let new = counts.len() as f64 * f64::from(PARTS);
    let count =
        |symbol: usize| u8::try_from(symbol).ok().and_then(|it| counts.get(&it)).map_or(0.0, |it| f64::from(*it));
    let mixed = |(symbol, wider): (usize, &f64)| (count(symbol) + new * wider) / (total + new).max(1.0);
    let row: Vec<f64> = wider.iter().enumerate().map(mixed).collect();
    if total > 0.0 { row } else { wider.to_vec() }
}
