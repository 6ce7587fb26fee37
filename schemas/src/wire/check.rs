//! From what was sent to a checked [`Step`].

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::scan::scan;
use super::values::{Count, Text};
use super::{AgentV1, AlternativeV1, ErrorV1, PrincipalV1, StepV1, UsageV1, content};
use crate::hidden::first_hidden;
use crate::limits::{COST_USD_MAX, DURATION_MS_MAX, TOKENS_MAX};
use crate::lineage::ABOVE_MAX;
use crate::rejection::shown;
use crate::step::{ANCESTORS, Agent, Alternative, ErrorInfo, Principal, Usage};
use crate::{Capture, Kind, Limits, Reason, Rejection, SessionId, Status, Step, StepId, Timestamp, ids};

pub(super) type Checked<T> = Result<T, Rejection>;

impl<'a> StepV1<'a> {
    /// Checks every field against `limits` and fills the defaults, with `arrival` for a missing or absurd time.
    ///
    /// # Errors
    /// The first field that does not hold, with the value and the remedy.
    pub fn check(mut self, arrival: Timestamp, limits: &Limits) -> Checked<Step<'a>> {
        if self.source.len() > limits.step_bytes_max {
            let (is, max) = (self.source.len(), limits.step_bytes_max);
            return Err(Rejection::new(Reason::TooLarge, format!("a step of {is} bytes: at most {max} are taken")));
        }
        let step = self.build(limits, Some(arrival))?;
        visible(&step)?;
        Ok(step)
    }

    /// The same for a record of the log, which ingest has checked: its limits are not applied a second time, since they
    /// may have been changed in between, and nothing may be missing.
    pub(super) fn check_logged(&mut self) -> Checked<Step<'a>> {
        self.build(&Limits::NONE, None)
    }

    /// The same for a record of a log that others write to as well. What ingest wrote comes out as it went in, since it
    /// holds the limits already; they are wider here by what ingest adds to a step and by what clocks are apart. Who may
    /// write to the log is believed about the door as well.
    pub(crate) fn check_appended(mut self, appended_at: Timestamp, limits: &Limits) -> Checked<Step<'a>> {
        const ADDED_BYTES_MAX: usize = 64 * 1024;
        const APART_MICROS_MAX: i64 = 60_000_000;
        let limits = Limits {
            step_bytes_max: limits.step_bytes_max.saturating_add(ADDED_BYTES_MAX),
            future_micros_max: limits.future_micros_max.saturating_add(APART_MICROS_MAX),
            ..limits.clone()
        };
        let (gated, capture, ancestors) = of_door(&mut self.fields.extra, &limits);
        Ok(Step { gated, capture, ancestors, ..self.check(appended_at, &limits)? })
    }

    /// `arrival` is absent for a record of the log, whose defaults were filled when it came in.
    fn build(&mut self, limits: &Limits, arrival: Option<Timestamp>) -> Checked<Step<'a>> {
        let source = self.source;
        let it = &mut self.fields;
        let mut extra = std::mem::take(&mut it.extra);
        let fresh = arrival.is_some();

        // Of a producer these are names as any other, and attributes.
        let (gated, capture, ancestors) = if fresh { Default::default() } else { of_door(&mut extra, limits) };
        let session_id = id(required(it.session_id.take(), "session_id")?, "session_id", limits)?;
        let kind = kind(&required(it.kind.take(), "kind")?)?;
        let agent = agent(it.agent.take(), limits, &mut extra)?;
        let step_id = match it.step_id.take() {
            Some(text) => id(text, "step_id", limits)?.into(),
            None if arrival.is_some() => StepId::from(ids::derive("d-", &[session_id.as_bytes(), source])),
            None => return Err(missing("step_id")),
        };
        let clamped_before = name(it.time_clamped_from.take(), "time_clamped_from", limits)?;
        let (time, time_clamped_from) = match arrival {
            Some(arrival) => event_time(it.time.take(), clamped_before, arrival, limits)?,
            None => (parse_time(&it.time.take().ok_or_else(|| missing("time"))?)?, clamped_before),
        };
        let parent_session_id = it.parent_session_id.take().map(|it| parent(it, &session_id, limits)).transpose()?;
        let root_session_id = match it.root_session_id.take() {
            Some(text) => id(text, "root_session_id", limits)?,
            // A child that names its parent but no root: the parent is the best root known.
            None => parent_session_id.clone().unwrap_or_else(|| session_id.clone()),
        };
        let declared = content::declared(it.text_truncated_from, it.text_fingerprint.take(), "text_fingerprint")?;
        let (text, text_cut) = content::text(it.text.take(), declared, limits);
        let declared = content::declared(it.input_truncated_from, it.input_fingerprint.take(), "input_fingerprint")?;
        let (input, input_cut) = content::json(it.input, "input", declared, fresh, limits)?;
        let declared = content::declared(it.output_truncated_from, it.output_fingerprint.take(), "output_fingerprint")?;
        let (output, output_cut) = content::json(it.output, "output", declared, fresh, limits)?;
        let alternatives = alternatives(it.alternatives.take().unwrap_or_default(), limits, &mut extra)?;
        let principal = it.principal.take().map(|it| principal(it, limits, &mut extra)).transpose()?;
        let error = it.error.take().map(|it| error_info(it, limits, &mut extra)).transpose()?;
        let usage = it.usage.take().map(|it| usage(it, &mut extra, fresh)).transpose()?;

        Ok(Step {
            session_id: session_id.into(),
            root_session_id: root_session_id.into(),
            parent_session_id: parent_session_id.map(Into::into),
            step_id,
            seq: it.seq.map(|it| it.0),
            time,
            time_clamped_from,
            kind,
            agent,
            environment: name(it.environment.take(), "environment", limits)?,
            principal,
            owner: name(it.owner.take(), "owner", limits)?,
            causes: causes(it.causes.take().map(|it| it.0).unwrap_or_default(), limits)?,
            tool: name(it.tool.take(), "tool", limits)?,
            model: name(it.model.take(), "model", limits)?,
            input,
            input_cut,
            output,
            output_cut,
            text,
            text_cut,
            alternatives,
            status: it.status.take().map(|it| status(&it)).transpose()?,
            error,
            usage,
            duration_ms: amount(it.duration_ms, "duration_ms", DURATION_MS_MAX, fresh)?,
            gated,
            capture,
            ancestors,
            attributes: attributes(it.attributes.take().map(|it| it.0).unwrap_or_default(), extra, fresh, limits)?,
        })
    }
}

fn missing(field: &'static str) -> Rejection {
    Rejection::field(
        Reason::MissingField,
        field,
        format!("`{field}` is required: `session_id`, `kind` and `agent.id` must be sent"),
    )
}

fn required<'a>(value: Option<Text<'a>>, field: &'static str) -> Checked<Text<'a>> {
    value.ok_or_else(|| missing(field))
}

fn id<'a>(Text(text): Text<'a>, field: &'static str, limits: &Limits) -> Checked<Cow<'a, str>> {
    if text.is_empty() {
        return Err(Rejection::field(
            Reason::InvalidId,
            field,
            format!("`{field}` is empty: send an identity or leave it out"),
        ));
    }
    if text.len() > limits.id_bytes_max {
        return Err(too_long(field, text.len(), limits.id_bytes_max));
    }
    // In UTF-8 the control characters above ASCII all begin with this byte.
    let is_suspect = |byte: u8| byte < b' ' || byte == 0x7f || byte == 0xc2;
    // All of it, without stopping at the first: compilers turn that into wide comparisons.
    let suspect = text.bytes().fold(false, |found, byte| found | is_suspect(byte));
    if suspect && text.chars().any(char::is_control) {
        let message = format!("`{field}` holds a control character: \"{}\"", shown(&text));
        return Err(Rejection::field(Reason::InvalidId, field, message));
    }
    Ok(text)
}

/// Refuses ids that look like others. Of new steps alone: the log may hold some from before they were refused.
fn visible(step: &Step<'_>) -> Checked<()> {
    let ids: [(&'static str, &str); 4] = [
        ("session_id", step.session_id.as_str()),
        ("step_id", step.step_id.as_str()),
        ("root_session_id", step.root_session_id.as_str()),
        ("agent.id", step.agent.id.as_str()),
    ];
    let parent = step.parent_session_id.iter().map(|it| ("parent_session_id", it.as_str()));
    let principal = step.principal.iter().map(|it| ("principal.id", &*it.id));
    let causes = step.causes.iter().map(|it| ("causes", it.as_str()));
    for (field, text) in parent.chain(ids).chain(principal).chain(causes) {
        if let Some(hidden) = first_hidden(text) {
            let (code, shown) = (u32::from(hidden), shown(text));
            let message = format!("`{field}` holds U+{code:04X}, which nobody sees: \"{shown}\"; send it without");
            return Err(Rejection::field(Reason::InvalidId, field, message));
        }
    }
    Ok(())
}

fn parent<'a>(sent: Text<'a>, session: &str, limits: &Limits) -> Checked<Cow<'a, str>> {
    let parent = id(sent, "parent_session_id", limits)?;
    if parent == session {
        let message = format!(
            "`parent_session_id` is the session's own id \"{}\": a session without a parent sends none",
            shown(&parent)
        );
        return Err(Rejection::field(Reason::InvalidValue, "parent_session_id", message));
    }
    Ok(parent)
}

fn name<'a>(value: Option<Text<'a>>, field: &'static str, limits: &Limits) -> Checked<Option<Cow<'a, str>>> {
    let Some(Text(text)) = value else { return Ok(None) };
    if text.len() > limits.name_bytes_max {
        return Err(too_long(field, text.len(), limits.name_bytes_max));
    }
    // JSON has it as an escape alone, and what is borrowed has none.
    if matches!(text, Cow::Owned(_)) && text.as_bytes().contains(&0) {
        let message = format!("`{field}` holds a NUL character: \"{}\"", shown(&text));
        return Err(Rejection::field(Reason::InvalidValue, field, message));
    }
    Ok((!text.is_empty()).then_some(text))
}

fn too_long(field: &'static str, is: usize, max: usize) -> Rejection {
    Rejection::field(Reason::TooLong, field, format!("`{field}` has {is} bytes: at most {max} are taken"))
}

fn too_many(field: &'static str, is: usize, max: usize) -> Rejection {
    Rejection::field(Reason::TooMany, field, format!("`{field}` has {is} entries: at most {max} are taken"))
}

fn kind(Text(text): &Text<'_>) -> Checked<Kind> {
    Kind::from_name(text).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::as_str).join(", ");
        let message = format!("unknown kind \"{}\": expected one of {known}", shown(text));
        Rejection::field(Reason::UnknownKind, "kind", message)
    })
}

fn status(Text(text): &Text<'_>) -> Checked<Status> {
    match &**text {
        "ok" => Ok(Status::Ok),
        "error" => Ok(Status::Error),
        _ => {
            let message = format!("unknown status \"{}\": expected `ok` or `error`", shown(text));
            Err(Rejection::field(Reason::InvalidValue, "status", message))
        }
    }
}

fn parse_time(Text(text): &Text<'_>) -> Checked<Timestamp> {
    Timestamp::parse(text).map_err(|error| {
        let message = format!("\"{}\" is no RFC 3339 time ({error}): send e.g. 2026-01-31T12:00:00.5Z", shown(text));
        Rejection::field(Reason::InvalidTime, "time", message)
    })
}

/// Event time and, when the sent one is absurd, what was sent. `clamped_before` is the flag of a step that was clamped
/// by an earlier log and is sent again.
fn event_time<'a>(
    sent: Option<Text<'a>>,
    clamped_before: Option<Cow<'a, str>>,
    arrival: Timestamp,
    limits: &Limits,
) -> Checked<(Timestamp, Option<Cow<'a, str>>)> {
    let Some(sent) = sent else { return Ok((arrival, clamped_before)) };
    let time = parse_time(&sent)?;
    let plausible = Timestamp::EARLIEST_PLAUSIBLE..=arrival.plus_micros(limits.future_micros_max);
    Ok(if plausible.contains(&time) {
        (time, clamped_before)
    } else {
        (arrival, Some(content::clipped(sent.0, limits.name_bytes_max)))
    })
}

/// What the door wrote beside what was sent: [`Step::gated`], [`Step::capture`] and [`Step::ancestors`]. Anything else of these
/// names is no door's.
fn of_door<'a>(extra: &mut Extra<'a>, limits: &Limits) -> (Option<bool>, Capture, Vec<SessionId<'a>>) {
    let gated = taken(extra, "gated", |json| match json {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    });
    let capture = taken(extra, "capture", |json| serde_json::from_str(json).ok());
    let ancestors = taken(extra, ANCESTORS, |json| {
        let found: Vec<Text<'a>> = serde_json::from_str(json).ok()?;
        let found = found.into_iter().map(|it| id(it, ANCESTORS, limits)).collect::<Checked<Vec<_>>>().ok()?;
        (found.len() <= ABOVE_MAX).then(|| found.into_iter().map(Into::into).collect())
    });
    (gated, capture.unwrap_or_default(), ancestors.unwrap_or_default())
}

fn taken<'a, T>(extra: &mut Extra<'a>, name: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
    let at = extra.iter().position(|(it, _)| it == name)?;
    let found = read(extra[at].1.get())?;
    extra.remove(at);
    Some(found)
}

type Extra<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// Unknown fields of a nested object are kept as attributes under a dotted name.
fn keep<'a>(extra: &mut Extra<'a>, object: &str, fields: Extra<'a>) {
    if fields.is_empty() {
        return;
    }
    extra.extend(fields.into_iter().map(|(name, value)| (Cow::Owned(format!("{object}.{name}")), value)));
}

fn agent<'a>(sent: Option<AgentV1<'a>>, limits: &Limits, extra: &mut Extra<'a>) -> Checked<Agent<'a>> {
    let sent = sent.ok_or_else(|| missing("agent.id"))?;
    keep(extra, "agent", sent.extra);
    Ok(Agent {
        id: id(required(sent.id, "agent.id")?, "agent.id", limits)?.into(),
        name: name(sent.name, "agent.name", limits)?,
        version: name(sent.version, "agent.version", limits)?,
    })
}

fn principal<'a>(sent: PrincipalV1<'a>, limits: &Limits, extra: &mut Extra<'a>) -> Checked<Principal<'a>> {
    keep(extra, "principal", sent.extra);
    let sent_scopes = sent.scopes.map(|it| it.0).unwrap_or_default();
    if sent_scopes.len() > limits.list_max {
        return Err(too_many("principal.scopes", sent_scopes.len(), limits.list_max));
    }
    let mut scopes = Vec::with_capacity(sent_scopes.len());
    for scope in sent_scopes {
        scopes.extend(name(Some(Text(scope)), "principal.scopes", limits)?);
    }
    Ok(Principal {
        id: id(required(sent.id, "principal.id")?, "principal.id", limits)?,
        kind: name(sent.kind, "principal.type", limits)?,
        on_behalf_of: name(sent.on_behalf_of, "principal.on_behalf_of", limits)?,
        scopes,
    })
}

fn error_info<'a>(sent: ErrorV1<'a>, limits: &Limits, extra: &mut Extra<'a>) -> Checked<ErrorInfo<'a>> {
    keep(extra, "error", sent.extra);
    let message = sent.message.map(|it| content::abridged(it.0, limits));
    Ok(ErrorInfo { kind: name(sent.kind, "error.type", limits)?, message })
}

fn usage<'a>(sent: UsageV1<'a>, extra: &mut Extra<'a>, fresh: bool) -> Checked<Usage> {
    keep(extra, "usage", sent.extra);
    Ok(Usage {
        input_tokens: tokens(sent.input_tokens, "usage.input_tokens", fresh)?,
        output_tokens: tokens(sent.output_tokens, "usage.output_tokens", fresh)?,
        cached_tokens: tokens(sent.cached_tokens, "usage.cached_tokens", fresh)?,
        cost_usd: amount(sent.cost_usd, "usage.cost_usd", COST_USD_MAX, fresh)?,
    })
}

fn alternatives<'a>(
    sent: Vec<AlternativeV1<'a>>,
    limits: &Limits,
    extra: &mut Extra<'a>,
) -> Checked<Vec<Alternative<'a>>> {
    if sent.len() > limits.list_max {
        return Err(too_many("alternatives", sent.len(), limits.list_max));
    }
    let mut out = Vec::with_capacity(sent.len());
    for (index, it) in sent.into_iter().enumerate() {
        if !it.extra.is_empty() {
            keep(extra, &format!("alternatives.{index}"), it.extra);
        }
        out.push(Alternative {
            action: content::abridged(required(it.action, "alternatives.action")?.0, limits),
            score: it.score,
            reason: it.reason.map(|it| content::abridged(it.0, limits)),
        });
    }
    Ok(out)
}

fn causes<'a>(sent: Vec<Cow<'a, str>>, limits: &Limits) -> Checked<Vec<StepId<'a>>> {
    if sent.len() > limits.list_max {
        return Err(too_many("causes", sent.len(), limits.list_max));
    }
    let mut out = Vec::with_capacity(sent.len());
    for cause in sent {
        out.push(id(Text(cause), "causes", limits)?.into());
    }
    Ok(out)
}

/// An amount that sums and comparisons can rely on. The log may hold larger ones from before there was a largest: there
/// they count as that.
fn amount(value: Option<f64>, field: &'static str, max: f64, fresh: bool) -> Checked<Option<f64>> {
    match value {
        Some(n) if !(n.is_finite() && n >= 0.0) => {
            Err(Rejection::field(Reason::InvalidValue, field, format!("`{field}` is {n}: it cannot be negative")))
        }
        Some(n) if n > max && fresh => Err(too_much(field, &format!("{n:e}"), &format!("{max:e}"))),
        other => Ok(other.map(|n| n.min(max))),
    }
}

fn tokens(value: Option<Count>, field: &'static str, fresh: bool) -> Checked<Option<u64>> {
    match value {
        Some(Count(n)) if n > TOKENS_MAX && fresh => Err(too_much(field, &n.to_string(), &TOKENS_MAX.to_string())),
        other => Ok(other.map(|Count(n)| n.min(TOKENS_MAX))),
    }
}

fn too_much(field: &'static str, is: &str, max: &str) -> Rejection {
    let message = format!("`{field}` is {is}: at most {max} is taken, send what this one step used");
    Rejection::field(Reason::InvalidValue, field, message)
}

/// `fresh`: from a producer, so that a name may come twice, here or within.
fn attributes<'a>(
    sent: Extra<'a>,
    unknown: Extra<'a>,
    fresh: bool,
    limits: &Limits,
) -> Checked<Vec<(Cow<'a, str>, Cow<'a, RawValue>)>> {
    let count = sent.len() + unknown.len();
    if count > limits.attributes_max {
        return Err(too_many("attributes", count, limits.attributes_max));
    }
    let mut out: Vec<(Cow<'a, str>, Cow<'a, RawValue>)> = Vec::with_capacity(count);
    let mut bytes = 0;
    for (name, value) in sent.into_iter().chain(unknown) {
        // Scans what was kept so far: the count is bounded, and most steps have none.
        if fresh && out.iter().any(|(other, _)| *other == name) {
            let message =
                format!("attribute \"{}\" comes twice, or once beside `attributes`: send it once", shown(&name));
            return Err(Rejection::field(Reason::DuplicateField, "attributes", message));
        }
        bytes += name.len() + value.get().len();
        if bytes > limits.content_bytes_max {
            return Err(too_long("attributes", bytes, limits.content_bytes_max));
        }
        if fresh {
            scan(value.get(), "attributes", limits)?;
        }
        out.push((name, Cow::Borrowed(value)));
    }
    Ok(out)
}
