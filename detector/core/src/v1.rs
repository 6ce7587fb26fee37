//! State as the first version stored it: a session in one piece.

use martingale_schemas::{SessionId, StepId, Timestamp};
use serde::Deserialize;

use crate::bytes;
use crate::columns::{Call, Calls};
use crate::halt::Halt;
use crate::pace::Pace;
use crate::policy::Progress;
use crate::recent::Recent;
use crate::run::{Member, Place, RunState};
use crate::session::{Counts, SessionState};
use crate::state::State;
use crate::tools::Defined;

/// Reads what the first version wrote, in any format.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Form")]
pub struct StateV1(pub State);

#[derive(Deserialize)]
#[expect(clippy::large_enum_variant, reason = "lives for a moment")]
enum Form {
    Session(SessionForm),
    Run(RunForm),
}

#[derive(Deserialize)]
struct SessionForm {
    root: Option<SessionId<'static>>,
    place: Place,
    children: u32,
    spawns: u32,
    counts: Counts,
    last_seq: Option<u64>,
    started: Timestamp,
    now: Timestamp,
    ended: bool,
    halt: Option<Box<Halt>>,
    recent: RecentForm,
    calls: CallsForm,
    progress: Progress,
}

#[derive(Deserialize)]
struct RunForm {
    counts: Counts,
    base: Counts,
    base_time: Option<Timestamp>,
    started: Timestamp,
    now: Timestamp,
    sessions_total: u32,
    depth: u32,
    halt: Option<Box<Halt>>,
    halted: u32,
    members: Vec<Member>,
}

impl RunForm {
    fn read(self) -> RunState {
        let Self { counts, base, base_time, started, now, sessions_total, depth, halt, halted, members } = self;
        let (shared, authority, pace) = (None, None, Pace::default());
        RunState {
            counts,
            base,
            base_time,
            started,
            now,
            sessions_total,
            depth,
            halt,
            halted,
            members,
            shared,
            authority,
            pace,
        }
    }
}

#[derive(Deserialize)]
struct RecentForm {
    low: Words,
    high: Words,
    next: u32,
}

/// Four bytes for each, the least significant first.
#[derive(Deserialize)]
struct Words(#[serde(with = "bytes")] Vec<u8>);

#[derive(Deserialize)]
struct CallsForm {
    ring: Vec<CallForm>,
    stale: u32,
}

#[derive(Deserialize)]
struct CallForm {
    key: u64,
    tool: u64,
    result: u64,
    simhash: u64,
    step: StepId<'static>,
}

impl TryFrom<Form> for StateV1 {
    type Error = &'static str;

    fn try_from(form: Form) -> Result<Self, Self::Error> {
        let SessionForm {
            recent,
            calls,
            root,
            place,
            children,
            spawns,
            counts,
            last_seq,
            started,
            now,
            ended,
            halt,
            progress,
        } = match form {
            Form::Session(it) => it,
            Form::Run(it) => return Ok(Self(State::Run(it.read()))),
        };
        let recent = recent.read().ok_or("the ids of the latest steps are damaged")?;
        let ring = calls.ring.into_iter().map(|it| Call::of_hashes([it.key, it.tool, it.result, it.simhash], it.step));
        let calls = Calls::of_ring(ring.collect(), calls.stale).ok_or("more calls than were ever kept")?;
        Ok(Self(State::Session(SessionState {
            root,
            place,
            children,
            spawns,
            counts,
            last_seq,
            started,
            now,
            ended,
            halt,
            recent,
            calls,
            progress,
            provenance: None,
            memory: None,
            drift: None,
            also_in: Vec::new(),
            entitled: None,
            pace: Pace::default(),
            defined: Defined::default(),
            agent: None,
            gone: Vec::new(),
        })))
    }
}

impl RecentForm {
    fn read(&self) -> Option<Recent> {
        let words = |Words(bytes): &Words| -> Option<Vec<u32>> {
            let (words, rest) = bytes.as_chunks::<4>();
            rest.is_empty().then(|| words.iter().map(|it| u32::from_le_bytes(*it)).collect())
        };
        Recent::of_ring(words(&self.low)?, words(&self.high)?, usize::try_from(self.next).ok()?)
    }
}
