//! The one place where an envelope ends: check, append, outcome.
//!
//! An envelope is one step as it came through a door. Telemetry of a door that carries other things as well (a span of
//! a database call) is an envelope too, and ends as [`Outcome::Ignored`].
//!
//! A large request is appended in bounded chunks, and its answer is given once all of them are durable. When a later
//! chunk fails, the whole request is answered 429 or 503 although the earlier chunks are on the log: sent again, those
//! steps are duplicates.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use martingale_platform::background::beside_others_if_long;
use martingale_platform::log::{self, Append, Appended, Log};
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Redact, Rejection, Step, Timestamp, topics};

use crate::lineages::Lineages;
use crate::metrics::{Metrics, Refused, Tally};
use crate::{Config, Door, dead_letter};

/// How an envelope ended. Each ends in exactly one.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On the log, durable as configured.
    Accepted,
    /// The log holds a step of this identity already, from this request or an earlier one; nothing was written.
    Duplicate,
    /// Cannot be taken, now or later; kept as a dead letter.
    Rejected(Rejection),
    /// The log was full or broken: nothing is promised, the sender has to send it again.
    Shed,
    /// Telemetry with no agent step in it, as a span of a plain HTTP or database call. It is no error, and it is not
    /// kept.
    Ignored,
}

/// Something that came through a door and is to end in an outcome.
#[derive(Clone, Debug)]
pub(crate) enum Envelope<'a> {
    /// A step in wire format v1, unchecked.
    Step(Cow<'a, [u8]>),
    /// Refused by the door itself, with what was sent.
    Refused {
        rejection: Rejection,
        payload: Cow<'a, [u8]>,
    },
    Ignored,
}

/// Outcomes by index, and the failure that cut the intake short.
#[must_use]
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) failed: Option<log::Error>,
}

impl Taken {
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for outcome in &self.outcomes {
            *match outcome {
                Outcome::Accepted => &mut tally.accepted,
                Outcome::Duplicate => &mut tally.duplicate,
                Outcome::Rejected(_) => &mut tally.rejected,
                Outcome::Shed => &mut tally.shed,
                Outcome::Ignored => &mut tally.ignored,
            } += 1;
        }
        tally
    }
}

/// Whether a rejected envelope is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    DeadLetter,
    /// It is one already.
    Nothing,
}

pub(crate) struct Intake {
    log: Arc<dyn Log>,
    metrics: Metrics,
    limits: Limits,
    append_records_max: usize,
    append_bytes_max: usize,
    /// None where what was rejected may not be kept as it was sent.
    dead_letter_bytes_max: Option<usize>,
    redact: Option<Arc<dyn Redact>>,
}

/// Records of one append, each with the envelope it stands for.
#[derive(Default)]
struct Chunk {
    appends: Vec<Append>,
    whose: Vec<Whose>,
    bytes: usize,
    /// Identities in `appends`, and the envelopes that repeat one of them. A log that knows no duplicates would write
    /// them again, and chat histories repeat a lot.
    ids: HashSet<[u8; 16]>,
    repeats: Vec<usize>,
}

enum Whose {
    Step(usize),
    /// Of no envelope: what one told of its session.
    Session,
    Letter(usize, Rejection),
}

impl Intake {
    pub(crate) fn new(config: &Config, log: Arc<dyn Log>, metrics: Metrics, redact: Option<Arc<dyn Redact>>) -> Self {
        let keeps_rejected = redact.as_ref().is_none_or(|it| it.keeps_rejected());
        Self {
            log,
            metrics,
            limits: config.limits.clone(),
            append_records_max: config.append_records_max,
            append_bytes_max: config.append_bytes_max,
            dead_letter_bytes_max: keeps_rejected.then_some(config.dead_letter_bytes_max),
            redact,
        }
    }

    /// Takes all envelopes of a request, in order.
    pub(crate) async fn take(&self, door: Door, arrival: Timestamp, envelopes: Vec<Envelope<'_>>, keep: Keep) -> Taken {
        let mut outcomes = vec![Outcome::Shed; envelopes.len()];
        let mut chunk = Chunk::default();
        let mut lineages = Lineages::new(&*self.log);
        let mut failed = None;
        for (index, envelope) in envelopes.into_iter().enumerate() {
            let (rejection, payload) = match envelope {
                Envelope::Ignored => {
                    outcomes[index] = Outcome::Ignored;
                    continue;
                }
                Envelope::Refused { rejection, payload } => (rejection, payload),
                Envelope::Step(json) => match self.record(door, &json, arrival, &mut lineages).await {
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                    Ok(Ok((told, append))) => {
                        for told in told {
                            chunk.push(told, Whose::Session);
                        }
                        chunk.push_step(index, append);
                        if let Err(error) = self.flush_if(&mut chunk, &mut outcomes, false).await {
                            failed = Some(error);
                            break;
                        }
                        continue;
                    }
                    Ok(Err(rejection)) => (rejection, json),
                },
            };
            match keep {
                Keep::Nothing => outcomes[index] = Outcome::Rejected(rejection),
                Keep::DeadLetter => {
                    let (kept, max) = match self.dead_letter_bytes_max {
                        Some(max) => (Cow::Borrowed(&rejection), max),
                        None => (Cow::Owned(rejection.without_values()), 0),
                    };
                    let append = dead_letter::append(door, arrival, index, &kept, &payload, max);
                    chunk.push(append, Whose::Letter(index, rejection));
                }
            }
            if let Err(error) = self.flush_if(&mut chunk, &mut outcomes, false).await {
                failed = Some(error);
                break;
            }
        }
        if failed.is_none() {
            failed = self.flush_if(&mut chunk, &mut outcomes, true).await.err();
        }
        let taken = Taken { outcomes, failed };
        self.account(door, &taken);
        taken
    }

    /// The one way from a step as sent to a record of the log, after what it tells of its session for the first time.
    async fn record(
        &self,
        door: Door,
        json: &[u8],
        arrival: Timestamp,
        lineages: &mut Lineages<'_>,
    ) -> Result<Result<(Vec<Append>, Append), Rejection>, log::Error> {
        let checked = StepV1::parse(json).and_then(|it| {
            let said = it.said();
            it.check(arrival, &self.limits).map(|step| (step, said))
        });
        let (step, said) = match checked {
            Ok(checked) => checked,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let mut step = Step { gated: Some(false), ..step };
        // Before its session is settled: what is rejected tells nothing of it.
        if let Err(rejection) = step.fits(json.len(), self.log.record_bytes_max()) {
            return Ok(Err(rejection));
        }
        let told = match lineages.settle(&mut step, door.hears(said)).await? {
            Ok(told) => told,
            Err(rejection) => return Ok(Err(rejection)),
        };
        if let Some(redact) = &self.redact {
            // Once its run is known, in which what was hidden is hidden again.
            let captured = || redact.redact_for(step, self.log.record_bytes_max());
            step = match beside_others_if_long(json.len(), captured) {
                Ok(step) => step,
                Err(rejection) => return Ok(Err(rejection)),
            };
        }
        let key = Bytes::copy_from_slice(step.root_session_id.as_str().as_bytes());
        Ok(Ok((told, Append::new(topics::STEPS, key, Bytes::from(step.to_json())).with_id(step.key()))))
    }

    /// Appends the chunk when it is full or `last`. On failure its envelopes keep the outcome they began with: shed.
    async fn flush_if(&self, chunk: &mut Chunk, outcomes: &mut [Outcome], last: bool) -> Result<(), log::Error> {
        let full = chunk.appends.len() >= self.append_records_max || chunk.bytes >= self.append_bytes_max;
        if chunk.appends.is_empty() || !(full || last) {
            return Ok(());
        }
        let Chunk { appends, whose, repeats, .. } = std::mem::take(chunk);
        let appended = self.log.append(appends).await?;
        for (whose, appended) in whose.into_iter().zip(appended) {
            match whose {
                Whose::Session => {}
                Whose::Letter(index, rejection) => outcomes[index] = Outcome::Rejected(rejection),
                Whose::Step(index) => {
                    outcomes[index] = match appended {
                        Appended::At(_) => Outcome::Accepted,
                        Appended::Duplicate(_) => Outcome::Duplicate,
                    };
                }
            }
        }
        for index in repeats {
            outcomes[index] = Outcome::Duplicate;
        }
        Ok(())
    }

    fn account(&self, door: Door, taken: &Taken) {
        self.metrics.count(door, taken.tally());
        for outcome in &taken.outcomes {
            if let Outcome::Rejected(rejection) = outcome {
                self.metrics.rejected(door, rejection.reason);
            }
        }
        if let Some(error) = &taken.failed {
            let cause = if matches!(error, log::Error::Full { .. }) { Refused::LogFull } else { Refused::LogBroken };
            self.metrics.refused(door, cause);
            tracing::warn!(door = door.as_str(), error = error as &dyn std::error::Error, "steps shed");
        }
    }
}

impl Chunk {
    fn push(&mut self, append: Append, whose: Whose) {
        self.bytes += append.bytes();
        self.appends.push(append);
        self.whose.push(whose);
    }

    fn push_step(&mut self, index: usize, append: Append) {
        match append.id {
            Some(id) if !self.ids.insert(id) => self.repeats.push(index),
            _ => self.push(append, Whose::Step(index)),
        }
    }
}
