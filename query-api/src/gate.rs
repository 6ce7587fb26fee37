//! `POST /v1/gate`: a step about to run goes in, its verdict comes out.
//!
//! Who waits is registered before the step is appended, so that no verdict can be missed. A step that was sent before
//! gets the verdict it was given then, or what stands against it now, whichever is worse; another step under its id is
//! refused. What an agent is told when there is no verdict in time is the operator's choice, for each agent; but under a
//! halt that is known to stand it is told to halt.

mod answer;
mod lineage;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use martingale_platform::background::beside_others_if_long;
use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{self, Append, Appended, Log, Offset, Partition, Position, ReadLimit};
use martingale_schemas::record::{DeadLetter, Standing};
use martingale_schemas::rejection::shown;
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Decision, Limits, Redact, Rejection, Step, StepReader, Timestamp, Verdict, topics};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::feed::{Feed, Lookup, verdict_at, verdict_of};
use crate::fresh;
use crate::http::bodies::Arrived;
use crate::http::{self, Failure, glob};
use crate::metrics::Metrics;

pub use answer::Answer;
use answer::Outcome;

/// See `deploy/config.default.toml`, section `gate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Longest time from a request, whose body may still be on its way, to its verdict.
    pub timeout: Span,
    /// What is answered when there is none in time.
    pub on_timeout: OnTimeout,
    /// Other answers for some agents; the first that matches counts.
    pub overrides: Vec<Override>,
    /// Most steps of one partition that wait at once; beyond it a request is refused with 429.
    pub waiting_max: usize,
    /// Newest verdicts of all partitions whose steps are known when they are sent again, where the log does not know them
    /// itself, as Kafka does not. An older step that is sent again is answered by what stands, and by `on_timeout`.
    pub remembered_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Span::from_millis(2_000),
            on_timeout: OnTimeout::Deny,
            overrides: Vec::new(),
            waiting_max: 10_000,
            remembered_max: 100_000,
        }
    }
}

/// What an agent is told when there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    Allow,
    Deny,
}

/// `on_timeout` of the agents whose id matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The agent's id; `*` stands for any run of characters.
    pub agent: String,
    pub on_timeout: OnTimeout,
}

impl Config {
    fn without_verdict(&self, agent: &str) -> Decision {
        let chosen =
            self.overrides.iter().find(|it| glob(&it.agent, agent)).map_or(self.on_timeout, |it| it.on_timeout);
        match chosen {
            OnTimeout::Allow => Decision::Allow,
            OnTimeout::Deny => Decision::Deny,
        }
    }
}

/// Bytes of a rejected step that are kept.
const DEAD_LETTER_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Gate {
    pub(crate) config: Config,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) reader: StepReader,
    pub(crate) redact: Option<Arc<dyn Redact>>,
    pub(crate) metrics: Metrics,
}

/// What is known of a step that was sent before.
#[derive(Clone, Copy)]
struct Before {
    step: Position,
    /// Where its verdict is, when that is known.
    verdict: Option<Offset>,
}

pub(crate) fn router(gate: Arc<Gate>) -> Router {
    Router::new().route("/v1/gate", post(pass)).with_state(gate)
}

async fn pass(
    State(gate): State<Arc<Gate>>,
    Arrived(begun): Arrived,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Response, Failure> {
    http::refuse_encoded(&headers)?;
    let body = http::body(body, gate.limits.step_bytes_max).await?;
    let arrival = Timestamp::from_micros(gate.clock.now_micros());
    let deadline = begun + gate.config.timeout.0;
    let checked = StepV1::parse(&body).and_then(|step| {
        let (has_id, said) = (step.fields.step_id.is_some(), step.said());
        let step = step.check(arrival, &gate.limits)?;
        // Before its session is settled: what is rejected tells nothing of it.
        step.fits(body.len(), gate.log.record_bytes_max()).map(|()| (step, has_id, said))
    });
    let settled = match checked {
        Ok((mut step, has_id, said)) => {
            step.gated = Some(true);
            if !has_id {
                // An agent that proposes the same call again proposes another one: only an id of its own makes it the same.
                step.step_id = fresh::id("g-", arrival).into();
            }
            let settling = lineage::settle(&*gate.log, &mut step, said);
            match tokio::time::timeout_at(deadline, settling).await {
                Ok(Ok(settled)) => settled.map(|told| (step, Ok(told))),
                Ok(Err(error)) => Ok((step, Err(error.into()))),
                Err(_) => {
                    let message =
                        format!("the log did not say within {} which run the step is of", gate.config.timeout);
                    Ok((step, Err(Failure::unavailable(message))))
                }
            }
        }
        Err(rejection) => Err(rejection),
    };
    // Once its run is known, in which what was hidden is hidden again.
    let captured = settled.and_then(|(step, told)| match &gate.redact {
        Some(redact) => {
            let captured = || redact.redact_for(step, gate.log.record_bytes_max());
            beside_others_if_long(body.len(), captured).map(|step| (step, told))
        }
        None => Ok((step, told)),
    });
    let (step, told) = match captured {
        Ok(settled) => settled,
        Err(rejection) => {
            gate.reject(arrival, &body, &rejection).await;
            return Err(rejection.into());
        }
    };
    let (answer, outcome) = gate.judge(&step, told, deadline).await;
    gate.metrics.gate_seconds.observe(begun.elapsed().as_secs_f64());
    gate.metrics.gate_answers.with_label_values(&[answer.decision.as_str(), outcome.as_str()]).inc();
    let mut response = (outcome.status(), axum::Json(answer)).into_response();
    http::may_retry(&mut response);
    Ok(response)
}

impl Gate {
    /// `told`: what is heard with the step for the first time, if that could be found out.
    async fn judge(&self, step: &Step<'_>, told: Result<Vec<Append>, Failure>, deadline: Instant) -> (Answer, Outcome) {
        let asked = async { self.ask(step, told?).await };
        match tokio::time::timeout_at(deadline, asked).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(Trouble::Unreadable(error))) => (self.unreadable(step, &error), Outcome::Unreadable),
            Ok(Err(Trouble::Failed(failure))) => {
                let outcome = match failure.status {
                    StatusCode::TOO_MANY_REQUESTS => Outcome::Busy,
                    _ => Outcome::Unavailable,
                };
                (self.without_verdict(step, &failure.message).with_error(failure), outcome)
            }
            Err(_) => {
                let why = format!("no verdict within {}", self.config.timeout);
                (self.without_verdict(step, &why).timed_out(), Outcome::TimedOut)
            }
        }
    }

    async fn ask(&self, step: &Step<'_>, told: Vec<Append>) -> Result<(Answer, Outcome), Trouble> {
        let root = step.root_session_id.as_str().as_bytes();
        let partition = self.log.partition_of(root);
        let mut waiting =
            self.feed.wait_for(partition, step.key()).map_err(|error| Failure::busy(error.to_string()))?;
        let _counted = Counted::new(&self.metrics.gate_waiting);

        let (root, json) = (Bytes::copy_from_slice(root), Bytes::from(step.to_json()));
        let remembered = self.feed.verdict_remembered(partition, &step.key());
        let (before, outcome) = match self.judged_before(partition, remembered).await? {
            Some(before) => (Some(before), Outcome::Duplicate),
            None => {
                let record = Append::new(topics::STEPS, root.clone(), json.clone()).with_id(step.key());
                let here = |position: &Position| Before { step: *position, verdict: None };
                match self.log.append(told.into_iter().chain([record]).collect()).await?.last() {
                    // Where the log cannot tell, the verdict may stand elsewhere.
                    Some(Appended::At(at)) => ((!self.log.is_open()).then(|| here(at)), Outcome::Judged),
                    Some(Appended::Duplicate(at)) => (Some(here(at)), Outcome::Duplicate),
                    None => return Err(Failure::unavailable("the log did not say where the step is").into()),
                }
            }
        };
        if let (Some(before), Outcome::Duplicate) = (before, outcome) {
            if !self.is_same(step, before.step).await? {
                return Ok((self.conflict(step), Outcome::Conflict));
            }
            // Not answered by the verdict of then alone: a halt may have come since.
            self.log.append(vec![Append::new(topics::ASKS, root, json)]).await?;
        }
        loop {
            let told = waiting.verdict().await.ok_or_else(|| Failure::unavailable("the server is stopping"))?;
            // Nearly always a verdict, so that is tried first; a standing lacks most of its fields.
            if let Ok(verdict) = serde_json::from_slice::<Verdict<'static>>(&told) {
                return Ok((Answer::of(verdict), outcome));
            }
            let standing: Standing = serde_json::from_slice(&told)?;
            // Before the log is looked at, so that a verdict that comes meanwhile is not missed.
            waiting = self.feed.wait_for(partition, step.key()).map_err(|error| Failure::busy(error.to_string()))?;
            // Without it the detector knew the step and the log did not.
            let Some(before) = before else { return self.known(step, partition, standing).await };
            if let Some(answer) = self.again(step, before, standing).await? {
                return Ok((answer, Outcome::Duplicate));
            }
        }
    }

    /// Whether the step on the log is this one; what is not kept any more counts as the same. Times are not compared:
    /// a step that carries none has that of its arrival. Nor is the run: the step says the same, and its session may have told
    /// more since.
    async fn is_same(&self, step: &Step<'_>, at: Position) -> Result<bool, log::Error> {
        const ONE: ReadLimit = ReadLimit { records_max: 1, bytes_max: 1 };
        let records = match self.log.read(topics::STEPS, at.partition, at.offset, ONE).await {
            Err(log::Error::Expired { .. }) => return Ok(true),
            read => read?,
        };
        let Some(record) = records.first().filter(|it| it.offset == at.offset) else { return Ok(true) };
        let appended_at = Timestamp::from_micros(record.appended_at);
        let Ok(mut before) = self.reader.read(&record.key, &record.value, appended_at) else { return Ok(true) };
        before.time = step.time;
        // It may have been reported first, and stays what it was.
        before.gated = step.gated;
        before.time_clamped_from.clone_from(&step.time_clamped_from);
        before.root_session_id.clone_from(&step.root_session_id);
        before.parent_session_id.clone_from(&step.parent_session_id);
        before.ancestors.clone_from(&step.ancestors);
        Ok(before.to_json() == step.to_json())
    }

    /// What a log that knows no duplicates holds of a step already, as far as its verdict is remembered.
    async fn judged_before(&self, partition: Partition, verdict: Option<Offset>) -> Result<Option<Before>, Trouble> {
        let Some(at) = verdict else { return Ok(None) };
        let Lookup::Found(verdict) = verdict_at(&*self.log, partition, at).await? else { return Ok(None) };
        let verdict: Verdict<'_> = serde_json::from_slice(&verdict)?;
        let step = Position { partition, offset: Offset(verdict.position.offset) };
        Ok(Some(Before { step, verdict: Some(at) }))
    }

    /// The answer for a step that the detector has judged before although the log did not know it.
    async fn known(&self, step: &Step<'_>, partition: Partition, now: Standing) -> Result<(Answer, Outcome), Trouble> {
        // Its verdict may have been published a moment ago, with the standing.
        let published = self.feed.verdict_published(partition, step.key()).await?;
        if let Some(before) = self.judged_before(partition, published).await? {
            if !self.is_same(step, before.step).await? {
                return Ok((self.conflict(step), Outcome::Conflict));
            }
            if let Some(answer) = self.again(step, before, now.clone()).await? {
                return Ok((answer, Outcome::Duplicate));
            }
        }
        let otherwise = self.config.without_verdict(step.agent.id.as_str());
        Ok((Answer::standing(step, now, otherwise), Outcome::Duplicate))
    }

    /// The verdict of then under what stands now; `None` while there is no verdict and nothing that stands.
    async fn again(&self, step: &Step<'_>, before: Before, now: Standing) -> Result<Option<Answer>, Trouble> {
        let otherwise = self.config.without_verdict(step.agent.id.as_str());
        let found = match before.verdict {
            Some(at) => verdict_at(&*self.log, before.step.partition, at).await?,
            None => verdict_of(&*self.log, before.step).await?,
        };
        Ok(match found {
            Lookup::Found(verdict) => Some(Answer::again(serde_json::from_slice(&verdict)?, now)),
            Lookup::Missing if now.standing == Decision::Allow => None,
            Lookup::Missing | Lookup::Expired => Some(Answer::standing(step, now, otherwise)),
        })
    }

    /// There is a verdict and it cannot be read. It may be a halt, so whatever `on_timeout` says the step is refused.
    fn unreadable(&self, step: &Step<'_>, error: &serde_json::Error) -> Answer {
        tracing::error!(%error, step = %shown(step.step_id.as_str()), "verdict unreadable");
        let message = "its verdict cannot be read: refused, whatever `gate.on_timeout` is, since it may be a halt";
        let error = Failure::unavailable("its verdict cannot be read");
        Answer::told(step, Decision::Deny, message.to_owned()).with_error(error)
    }

    fn conflict(&self, step: &Step<'_>) -> Answer {
        let message = format!(
            "session \"{}\" has another step of id \"{}\": send each step under an id of its own",
            shown(step.session_id.as_str()),
            shown(step.step_id.as_str())
        );
        let error = Failure::new(StatusCode::CONFLICT, "conflict", message.clone()).of_field("step_id");
        Answer::told(step, Decision::Deny, message).with_error(error)
    }

    /// The operator's choice, unless a halt is known to stand: that is not softened for want of a verdict.
    fn without_verdict(&self, step: &Step<'_>, why: &str) -> Answer {
        if let Some(halt) = self.feed.board().halt_over(step) {
            return Answer::halted(step, why, &halt);
        }
        let decision = self.config.without_verdict(step.agent.id.as_str());
        Answer::without_verdict(step, decision, why)
    }

    /// Counts it and keeps it, as ingest does. The caller has been told either way.
    async fn reject(&self, arrival: Timestamp, body: &[u8], rejection: &Rejection) {
        self.metrics.gate_answers.with_label_values(&["none", "rejected"]).inc();
        let identity = [body, &arrival.as_micros().to_le_bytes()];
        let keeps = self.redact.as_ref().is_none_or(|it| it.keeps_rejected());
        let (kept, bytes_max) =
            if keeps { (rejection.clone(), DEAD_LETTER_BYTES_MAX) } else { (rejection.without_values(), 0) };
        let letter = DeadLetter::new("gate", &identity, arrival, kept, body, bytes_max);
        // Cannot fail: the writer is memory and every key is a string.
        let value = serde_json::to_vec(&letter).unwrap_or_default();
        let record = Append::new(topics::DEAD_LETTER, Bytes::from(letter.id), Bytes::from(value));
        if let Err(error) = self.log.append(vec![record]).await {
            tracing::warn!(error = %http::with_causes(&error), "rejected step could not be kept");
        }
    }
}

/// Why a step that was asked about has no answer of the detector's.
enum Trouble {
    Failed(Failure),
    /// There is one and it cannot be read.
    Unreadable(serde_json::Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<log::Error> for Trouble {
    fn from(error: log::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<serde_json::Error> for Trouble {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// One more in a gauge for as long as it lives.
struct Counted<'g>(&'g prometheus::IntGauge);

impl<'g> Counted<'g> {
    fn new(gauge: &'g prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
