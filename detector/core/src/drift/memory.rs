//! What is remembered of a session for drift: per stream the evidence that its steps are not those of the baseline.
//!
//! Each step is a bet against the baseline's chances: half of the stake is kept, the rest is laid on a mixture of rivals,
//! whose shares follow what they earned (fixed share). The evidence of a stream is what the bets earned since they began to
//! earn (CUSUM; an e-detector in the sense of Shin, Ramdas, Rinaldo 2024), 1 while nothing is under way. Sessions are short
//! and a change shows in few steps: an average over all beginnings, which is a martingale under the true chances, spends
//! most of what they earn on where it may have begun. No fitted chance is the true one, so no bound follows from either, and
//! the evidence is held against what the sessions of a baseline reach ([`super::learn`]).
//!
//! Everything is sums, products and quotients of floats in a fixed order, rounded down: the same on every machine.

use martingale_schemas::{StepId, Timestamp};
use serde::{Deserialize, Serialize};

use super::heard::{ASKED, Heard, KNOWN};
use super::model::{ACTS, BEGINNING, Bet, Model, RIVALS, Seen};
use super::reading::{Reading, Stream};
use crate::bytes;

/// Steps of a session that are watched. Sessions of the baseline are learnt as far.
pub(super) const STEPS_MAX: u32 = 4096;
/// Evidence is counted up to here: 2¹⁰⁰.
const EVIDENCE_MAX: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;
/// A rival takes over within some steps of when it would have been the better one.
const SHARED: f64 = 0.05;
/// Of every product, so that rounding never adds evidence.
const ROUNDED: f64 = 1.0 - 1.0 / 4_194_304.0;

const STREAMS: usize = Stream::ALL.len();

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Track {
    /// Evidence since `start`; at most 1 when nothing is under way.
    excursion: f32,
    shares: [f32; RIVALS],
    start: Option<StepId<'static>>,
}

impl Default for Track {
    fn default() -> Self {
        Self { excursion: 0.0, shares: [1.0 / RIVALS as f32; RIVALS], start: None }
    }
}

impl Track {
    /// Answers what the bet earned for each unit of the stake.
    #[expect(clippy::cast_possible_truncation, reason = "rounded down before")]
    pub(super) fn take(&mut self, bet: &Bet, step: &StepId<'_>) -> f64 {
        let mut won = 0.0;
        let mut earned = [0.0; RIVALS];
        for ((earned, share), rival) in earned.iter_mut().zip(self.shares).zip(bet.rivals) {
            *earned = f64::from(share) * rival;
            won += *earned;
        }
        let factor = (0.5 + 0.5 * won / bet.baseline.max(f64::MIN_POSITIVE)) * ROUNDED;
        if won > 0.0 {
            for (share, earned) in self.shares.iter_mut().zip(earned) {
                *share = ((1.0 - SHARED) * earned / won + SHARED / RIVALS as f64) as f32;
            }
        }
        if self.excursion <= 1.0 {
            self.start = (factor > 1.0).then(|| step.to_static());
        }
        self.excursion = (f64::from(self.excursion).max(1.0) * factor).min(EVIDENCE_MAX) as f32;
        if self.excursion <= 1.0 {
            self.start = None;
        }
        factor
    }

    pub(super) fn evidence(&self) -> f64 {
        f64::from(self.excursion).max(1.0)
    }
}

/// After the bet, never before: what is bet on must not know what comes.
fn count(seen: &mut Seen, act: u8) {
    let Some(count) = seen.get_mut(usize::from(act)) else { return };
    *count += 1;
    if *count == u8::MAX {
        seen.iter_mut().for_each(|it| *it /= 2);
    }
}

/// What a session showed so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub(crate) struct Memory {
    tracks: [Track; STREAMS],
    seen: Seen,
    last: [u8; 2],
    /// The model that the symbols in `seen` and `last` are of.
    model: u64,
    pub(super) heard: Heard,
    steps: u32,
    /// How bad the worst was that was told: each is told once.
    pub(super) told: u8,
    /// Steps, the latest among them, in which a call that cannot be taken back is asked about.
    pub(super) asking: u8,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            tracks: Default::default(),
            seen: [0; ACTS],
            last: [BEGINNING; 2],
            model: 0,
            heard: Heard::default(),
            steps: 0,
            told: 0,
            asking: 0,
        }
    }
}

impl Memory {
    /// Takes in a step; answers whether it is still watched.
    pub(super) fn take(&mut self, model: &Model, reading: &Reading, step: &StepId<'_>) -> bool {
        self.take_telling(model, reading, step, |_, _| {})
    }

    /// The same, telling what each stream's bet earned.
    pub(super) fn take_telling(
        &mut self,
        model: &Model,
        reading: &Reading,
        step: &StepId<'_>,
        mut earned: impl FnMut(Stream, f64),
    ) -> bool {
        if self.steps >= STEPS_MAX {
            return false;
        }
        self.steps += 1;
        if self.model != model.print {
            // Another baseline: its symbols mean something else. What was found so far stands.
            self.model = model.print;
            (self.seen, self.last) = ([0; ACTS], [BEGINNING; 2]);
        }
        let Self { tracks, seen, last, .. } = self;
        model.each_sample(reading, last, |sample| {
            let bet = model.bet(sample, seen);
            earned(sample.stream, tracks[sample.stream as usize].take(&bet, step));
            if sample.stream == Stream::Order {
                count(seen, sample.symbol);
            }
        });
        true
    }

    pub(super) fn evidence(&self, stream: Stream) -> f64 {
        self.tracks[stream as usize].evidence()
    }

    /// Where the steps began that are evidence now.
    pub(super) fn start(&self, stream: Stream) -> Option<&StepId<'static>> {
        self.tracks[stream as usize].start.as_ref()
    }

    /// Estimated memory beyond its own size, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.tracks.iter().filter_map(|it| it.start.as_ref()).map(|it| it.as_str().len()).sum()
    }
}

/// As it is stored: everything of one size in one piece, and where what is under way began.
#[derive(Serialize, Deserialize)]
struct Stored(#[serde(with = "bytes")] Vec<u8>, Vec<Option<StepId<'static>>>);

const TRACK_BYTES: usize = 4 + 4 * RIVALS;
const REST_BYTES: usize = ACTS + 2 + 8 + 9 + 8 * ASKED + 4 + 1;
/// As it was in version 7 of the state, with nothing after it.
const SEVENTH_BYTES: usize = STREAMS * TRACK_BYTES + REST_BYTES + 8 * KNOWN;
const BYTES: usize = SEVENTH_BYTES + 1;

/// As it was before version 7 of the state: seven streams, each with two numbers more at its head, and not what was known.
const EARLIER_STREAMS: usize = 7;
const EARLIER_HEAD_BYTES: usize = 8;
const EARLIER_BYTES: usize = EARLIER_STREAMS * (EARLIER_HEAD_BYTES + TRACK_BYTES) + REST_BYTES;

impl From<Memory> for Stored {
    fn from(memory: Memory) -> Self {
        let mut out = Vec::with_capacity(BYTES);
        for track in &memory.tracks {
            for number in [track.excursion].iter().chain(&track.shares) {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out.extend_from_slice(&memory.seen);
        out.extend_from_slice(&memory.last);
        out.extend_from_slice(&memory.model.to_le_bytes());
        let Heard { before, asked, known } = memory.heard;
        out.push(u8::from(before.is_some()));
        out.extend_from_slice(&before.map_or(0, Timestamp::as_micros).to_le_bytes());
        asked.0.iter().for_each(|it| out.extend_from_slice(&it.to_le_bytes()));
        out.extend_from_slice(&memory.steps.to_le_bytes());
        out.push(memory.told);
        known.0.iter().for_each(|it| out.extend_from_slice(&it.to_le_bytes()));
        out.push(memory.asking);
        Self(out, memory.tracks.into_iter().map(|it| it.start).collect())
    }
}

impl TryFrom<Stored> for Memory {
    type Error = &'static str;

    fn try_from(Stored(bytes, starts): Stored) -> Result<Self, Self::Error> {
        let damaged = "what is remembered of drift is damaged";
        read(&bytes, starts).ok_or(damaged)
    }
}

fn read(bytes: &[u8], starts: Vec<Option<StepId<'static>>>) -> Option<Memory> {
    let mut rest = bytes;
    let is_earlier = bytes.len() == EARLIER_BYTES;
    let mut memory = Memory::default();
    let streams = if is_earlier { EARLIER_STREAMS } else { STREAMS };
    for (track, start) in memory.tracks.iter_mut().take(streams).zip(starts.into_iter().chain(std::iter::repeat(None)))
    {
        if is_earlier {
            let _: [u8; EARLIER_HEAD_BYTES] = next(&mut rest)?;
        }
        track.excursion = f32::from_le_bytes(next(&mut rest)?);
        for share in &mut track.shares {
            *share = f32::from_le_bytes(next(&mut rest)?);
        }
        track.start = start;
    }
    memory.seen = next(&mut rest)?;
    memory.last = next(&mut rest)?;
    memory.model = u64::from_le_bytes(next(&mut rest)?);
    let [is_known] = next(&mut rest)?;
    let before = Timestamp::from_micros(i64::from_le_bytes(next(&mut rest)?));
    memory.heard.before = (is_known != 0).then_some(before);
    for words in &mut memory.heard.asked.0 {
        *words = u64::from_le_bytes(next(&mut rest)?);
    }
    memory.steps = u32::from_le_bytes(next(&mut rest)?);
    [memory.told] = next(&mut rest)?;
    for words in &mut memory.heard.known.0 {
        // What was said before is not known any more: nothing counts as new.
        *words = if is_earlier { u64::MAX } else { u64::from_le_bytes(next(&mut rest)?) };
    }
    if !is_earlier && bytes.len() != SEVENTH_BYTES {
        [memory.asking] = next(&mut rest)?;
    }
    rest.is_empty().then_some(memory)
}

fn next<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}
