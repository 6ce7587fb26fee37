//! What the names in a condition stand for, looked up when they are asked for.
//!
//! The language resolves `step.input.path` by asking for the longest dotted name it has, then shorter ones, so answering
//! `step.input` is enough and no object is ever built for `step` itself.

use std::borrow::Cow;
use std::sync::OnceLock;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use martingale_schemas::{Kind, Status, Step, StepId};
use serde::{Deserialize, Serialize};

use super::json::{self, Seen};
use super::pattern::{self, Pattern};
use crate::flow::Sources;
use crate::limits::StateLimits;
use crate::secret;
use crate::session::Counts;
use crate::tools::{Flags, Tool};

/// Says how many attributes of a span its step could not hold.
const DROPPED_ATTRIBUTES: &str = "otel.dropped_attributes_count";

/// A field before it becomes a value of the language.
#[derive(Debug)]
pub(super) enum Field<'f> {
    Text(&'f str),
    Whole(u64),
    Double(f64),
    Truth(bool),
    Any(&'f dyn Val),
    Texts(Vec<&'f str>),
}

impl<'f> From<Field<'f>> for CowVal<'f, 'f> {
    fn from(field: Field<'f>) -> Self {
        match field {
            Field::Text(it) => CowVal::owned(CelString::from(it)),
            Field::Whole(it) => CowVal::owned(CelInt::from(i64::try_from(it).unwrap_or(i64::MAX))),
            Field::Double(it) => CowVal::owned(CelDouble::from(it)),
            Field::Truth(it) => CowVal::owned(CelBool::from(it)),
            Field::Any(it) => CowVal::Borrowed(it),
            Field::Texts(items) => {
                let items = items.into_iter().map(|it| Box::new(CelString::from(it)) as Box<dyn Val + 'f>);
                CowVal::owned(CelList::from(items.collect::<Vec<_>>()))
            }
        }
    }
}

/// The session as conditions see it, this step counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionFacts {
    pub(crate) counts: Counts,
    pub(crate) depth: u32,
    /// Sessions it has started.
    pub(crate) fan_out: u32,
    /// Microseconds from its first step to the latest time reached.
    pub(crate) elapsed: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunFacts {
    pub(crate) sessions: u32,
    pub(crate) depth: u32,
}

/// Everything about one step, shared by all conditions that look at it.
pub(crate) struct Facts<'a> {
    pub(crate) step: &'a Step<'a>,
    pub(crate) tool: &'a Tool,
    pub(crate) session: SessionFacts,
    pub(crate) run: RunFacts,
    /// What the step sends was read at these steps.
    sources: Sources<'a>,
    limits: &'a StateLimits,
    input: OnceLock<Seen>,
    output: OnceLock<Seen>,
    attributes: OnceLock<Seen>,
    content: OnceLock<String>,
    secret: OnceLock<bool>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        step: &'a Step<'a>,
        tool: &'a Tool,
        session: SessionFacts,
        run: RunFacts,
        sources: Sources<'a>,
        limits: &'a StateLimits,
    ) -> Self {
        let (input, output, attributes, content) = Default::default();
        Self { step, tool, session, run, sources, limits, input, output, attributes, content, secret: OnceLock::new() }
    }

    fn input(&self) -> &Seen {
        let input = self.step.input.as_ref().map(|it| it.get());
        self.input.get_or_init(|| json::value(input, self.limits.condition_json_bytes_max))
    }

    fn output(&self) -> &Seen {
        let output = self.step.output.as_ref().map(|it| it.get());
        self.output.get_or_init(|| json::value(output, self.limits.condition_json_bytes_max))
    }

    fn attributes(&self) -> &Seen {
        let members = self.step.attributes.iter().map(|(name, it)| (name.as_ref(), it.get()));
        self.attributes.get_or_init(|| json::object(members, self.limits.condition_json_bytes_max))
    }

    /// Whether any condition may see less of the step's content than its producer had, or another: it was cut before, is
    /// too long for `step.text` or `step.content`, or a part of it has no value in the language.
    fn truncated(&self) -> bool {
        let (step, limits) = (self.step, self.limits);
        let long = |it: Option<&str>, max: usize| it.is_some_and(|it| it.len() > max);
        let (input, output) = (step.input.as_ref().map(|it| it.get()), step.output.as_ref().map(|it| it.get()));
        let message = step.error.as_ref().and_then(|it| it.message.as_deref());
        step.text_cut.is_some()
            || step.input_cut.is_some()
            || step.output_cut.is_some()
            || [step.text.as_deref(), input, output].into_iter().any(|it| long(it, limits.condition_text_bytes_max))
            // It has no field to say how it was cut, and one that was is longer than any other.
            || long(message, limits.condition_json_bytes_max)
            || step.attributes.iter().any(|(name, _)| name.ends_with("_truncated_from") || name == DROPPED_ATTRIBUTES)
            || ![self.input(), self.output(), self.attributes()].into_iter().all(|it| it.whole)
    }

    fn holds_secret(&self) -> bool {
        let text = self.step.text.as_deref();
        let jsons = [self.step.output.as_ref(), self.step.input.as_ref()];
        // Escapes of what needs none would hide it.
        let has_escape = |it: &str| it.as_bytes().contains(&b'\\') && it.contains("\\u");
        let in_json = |it: &str| secret::holds(it) || has_escape(it) && secret::holds(&json::text(it, usize::MAX));
        *self
            .secret
            .get_or_init(|| text.is_some_and(secret::holds) || jsons.into_iter().flatten().any(|it| in_json(it.get())))
    }

    /// Text, input and output, one below the other, as somebody would read them: with the escapes of JSON decoded.
    fn content(&self) -> &str {
        if let Some(it) = self.content.get() {
            return it;
        }
        let max = self.limits.condition_text_bytes_max;
        let text = self.step.text.as_deref().map(|it| Cow::Borrowed(prefix(it, max)));
        let jsons = [self.step.input.as_ref(), self.step.output.as_ref()];
        let mut parts = text.into_iter().chain(jsons.into_iter().flatten().map(|it| json::text(it.get(), max)));
        let (first, second) = (parts.next(), parts.next());
        if let (Some(Cow::Borrowed(only)), None) = (&first, &second) {
            // Most steps have one, and without escapes.
            return only;
        }
        self.content.get_or_init(|| first.into_iter().chain(second).chain(parts).collect::<Vec<_>>().join("\n"))
    }

    /// Whether the producer sent the field.
    fn has_step_field(&self, field: &str) -> bool {
        let step = self.step;
        let usage = step.usage.as_ref();
        match field {
            "tool" => step.tool.is_some(),
            "seq" => step.seq.is_some(),
            "status" => step.status.is_some(),
            "text" => step.text.is_some(),
            "input" => step.input.is_some(),
            "output" => step.output.is_some(),
            "content" => step.text.is_some() || step.input.is_some() || step.output.is_some(),
            "attributes" => !step.attributes.is_empty(),
            "agent_name" => step.agent.name.is_some(),
            "version" => step.agent.version.is_some(),
            "model" => step.model.is_some(),
            "environment" => step.environment.is_some(),
            "principal" => step.principal.is_some(),
            "on_behalf_of" => step.principal.as_ref().is_some_and(|it| it.on_behalf_of.is_some()),
            "scopes" => step.principal.as_ref().is_some_and(|it| !it.scopes.is_empty()),
            "owner" => step.owner.is_some(),
            "error" => step.error.as_ref().is_some_and(|it| it.message.is_some()),
            "error_type" => step.error.as_ref().is_some_and(|it| it.kind.is_some()),
            "duration_ms" => step.duration_ms.is_some(),
            "usage.input_tokens" => usage.is_some_and(|it| it.input_tokens.is_some()),
            "usage.output_tokens" => usage.is_some_and(|it| it.output_tokens.is_some()),
            "usage.cached_tokens" => usage.is_some_and(|it| it.cached_tokens.is_some()),
            "usage.cost_usd" => usage.is_some_and(|it| it.cost_usd.is_some()),
            _ => true,
        }
    }
}

/// Reads one field.
pub(super) type Getter = for<'f> fn(&'f Facts<'_>) -> Field<'f>;

/// How to read a field of the step, its tool, its session, its run or its labels. Asked once when a condition is compiled,
/// and by the language each time.
pub(super) fn getter(object: &str, field: &str) -> Option<Getter> {
    match object {
        "step" => step_getter(field),
        "tool" => tool_getter(field),
        "session" => session_getter(field),
        "run" => run_getter(field),
        "labels" if field == "secret" => Some(|it| Field::Truth(it.holds_secret())),
        _ => None,
    }
}

fn step_getter(field: &str) -> Option<Getter> {
    let getter: Getter = match field {
        "id" => |it| Field::Text(it.step.step_id.as_str()),
        "kind" => |it| Field::Text(it.step.kind.as_str()),
        "tool" => |it| Field::Text(or_empty(it.step.tool.as_deref())),
        "seq" => |it| Field::Whole(it.step.seq.unwrap_or(0)),
        "status" => |it| Field::Text(it.step.status.map_or("", Status::as_str)),
        "text" => |it| Field::Text(prefix(or_empty(it.step.text.as_deref()), it.limits.condition_text_bytes_max)),
        "input" => |it| Field::Any(it.input().value.as_ref()),
        "output" => |it| Field::Any(it.output().value.as_ref()),
        "content" => |it| Field::Text(it.content()),
        "attributes" => |it| Field::Any(it.attributes().value.as_ref()),
        "agent" => |it| Field::Text(it.step.agent.id.as_str()),
        "agent_name" => |it| Field::Text(or_empty(it.step.agent.name.as_deref())),
        "version" => |it| Field::Text(or_empty(it.step.agent.version.as_deref())),
        "model" => |it| Field::Text(or_empty(it.step.model.as_deref())),
        "environment" => |it| Field::Text(or_empty(it.step.environment.as_deref())),
        "principal" => |it| Field::Text(it.step.principal.as_ref().map_or("", |it| it.id.as_ref())),
        "on_behalf_of" => {
            |it| Field::Text(or_empty(it.step.principal.as_ref().and_then(|it| it.on_behalf_of.as_deref())))
        }
        "scopes" => {
            |it| Field::Texts(it.step.principal.iter().flat_map(|it| it.scopes.iter().map(AsRef::as_ref)).collect())
        }
        "owner" => |it| Field::Text(or_empty(it.step.owner.as_deref())),
        "error" => |it| Field::Text(or_empty(it.step.error.as_ref().and_then(|it| it.message.as_deref()))),
        "error_type" => |it| Field::Text(or_empty(it.step.error.as_ref().and_then(|it| it.kind.as_deref()))),
        "duration_ms" => |it| Field::Double(it.step.duration_ms.unwrap_or(0.0)),
        "usage.input_tokens" => |it| Field::Whole(it.step.usage.and_then(|it| it.input_tokens).unwrap_or(0)),
        "usage.output_tokens" => |it| Field::Whole(it.step.usage.and_then(|it| it.output_tokens).unwrap_or(0)),
        "usage.cached_tokens" => |it| Field::Whole(it.step.usage.and_then(|it| it.cached_tokens).unwrap_or(0)),
        "usage.cost_usd" => |it| Field::Double(it.step.usage.and_then(|it| it.cost_usd).unwrap_or(0.0)),
        "truncated" => |it| Field::Truth(it.truncated()),
        _ => return None,
    };
    Some(getter)
}

fn tool_getter(field: &str) -> Option<Getter> {
    let getter: Getter = match field {
        "name" => |it| Field::Text(or_empty(it.step.tool.as_deref())),
        "read_only" => |it| Field::Truth(it.tool.flags.has(Flags::READ_ONLY)),
        "destructive" => |it| Field::Truth(it.tool.flags.has(Flags::DESTRUCTIVE)),
        "idempotent" => |it| Field::Truth(it.tool.flags.has(Flags::IDEMPOTENT)),
        "open_world" => |it| Field::Truth(it.tool.flags.has(Flags::OPEN_WORLD)),
        "labels" => |it| Field::Texts(it.tool.labels.iter().map(AsRef::as_ref).collect()),
        "level" => |it| Field::Whole(u64::from(it.tool.level)),
        "source" => |it| Field::Text(if it.tool.annotated { "annotated" } else { "heuristic" }),
        _ => return None,
    };
    Some(getter)
}

#[expect(clippy::cast_precision_loss, reason = "amounts for comparison with limits far below 2^52")]
fn session_getter(field: &str) -> Option<Getter> {
    let getter: Getter = match field {
        "steps" => |it| Field::Whole(it.session.counts.steps),
        "tool_calls" => |it| Field::Whole(it.session.counts.tool_calls),
        "errors" => |it| Field::Whole(it.session.counts.errors),
        "tokens" => |it| Field::Whole(it.session.counts.tokens),
        "cost_usd" => |it| Field::Double(it.session.counts.micro_usd as f64 / 1e6),
        "depth" => |it| Field::Whole(u64::from(it.session.depth)),
        "elapsed_s" => |it| Field::Double(it.session.elapsed as f64 / 1e6),
        _ => return None,
    };
    Some(getter)
}

fn run_getter(field: &str) -> Option<Getter> {
    let getter: Getter = match field {
        "sessions" => |it| Field::Whole(u64::from(it.run.sessions)),
        "depth" => |it| Field::Whole(u64::from(it.run.depth)),
        _ => return None,
    };
    Some(getter)
}

/// A step that matched an earlier part of a sequence: what names it, not its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) id: StepId<'static>,
    kind: Kind,
    status: Option<Status>,
    seq: Option<u64>,
    tool: Box<str>,
    agent: Box<str>,
    agent_name: Box<str>,
    principal: Box<str>,
}

impl Bound {
    pub(crate) fn of(step: &Step<'_>) -> Self {
        Self {
            id: step.step_id.to_static(),
            kind: step.kind,
            status: step.status,
            seq: step.seq,
            tool: or_empty(step.tool.as_deref()).into(),
            agent: step.agent.id.as_str().into(),
            agent_name: or_empty(step.agent.name.as_deref()).into(),
            principal: step.principal.as_ref().map_or("", |it| it.id.as_ref()).into(),
        }
    }

    fn field(&self, field: &str) -> Option<Field<'_>> {
        Some(match field {
            "id" => Field::Text(self.id.as_str()),
            "kind" => Field::Text(self.kind.as_str()),
            "tool" => Field::Text(&self.tool),
            "seq" => Field::Whole(self.seq.unwrap_or(0)),
            "status" => Field::Text(self.status.map_or("", Status::as_str)),
            "agent" => Field::Text(&self.agent),
            "agent_name" => Field::Text(&self.agent_name),
            "principal" => Field::Text(&self.principal),
            _ => return None,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        let texts = self.tool.len() + self.agent.len() + self.agent_name.len() + self.principal.len();
        size_of::<Self>() + self.id.as_str().len() + texts
    }
}

/// The names of one condition.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) facts: &'a Facts<'a>,
    /// Another name of the step.
    pub(crate) current: &'a str,
    /// Names of the earlier parts and their steps, in the same order.
    pub(crate) names: &'a [String],
    pub(crate) bound: &'a [Bound],
    /// `value` and `limit` of a message.
    pub(crate) amounts: [f64; 2],
    patterns: &'a [Pattern],
}

impl<'a> Scope<'a> {
    pub(crate) fn new(facts: &'a Facts<'a>) -> Self {
        Self { facts, current: "step", names: &[], bound: &[], amounts: [0.0; 2], patterns: &[] }
    }

    pub(super) fn with_patterns<'b>(self, patterns: &'b [Pattern]) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope { patterns, ..self }
    }
}

impl Scope<'_> {
    /// The field of that dotted name.
    pub(super) fn field(&self, name: &str) -> Option<Field<'_>> {
        let (object, field) = name.split_once('.')?;
        let object = if object == self.current { "step" } else { object };
        if let Some(get) = getter(object, field) {
            return Some(get(self.facts));
        }
        let at = self.names.iter().position(|it| it == object)?;
        self.bound.get(at)?.field(field)
    }

    /// Whether the field of that dotted name was sent.
    pub(super) fn has(&self, name: &str) -> bool {
        let Some((object, field)) = name.split_once('.') else { return false };
        let is_step = object == "step" || object == self.current;
        !is_step || self.facts.has_step_field(field)
    }
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(internal) = variable.strip_prefix('@') {
            return match internal.strip_prefix("has.") {
                Some(name) => Some(Field::Truth(self.has(name)).into()),
                None if internal.starts_with("flows.") => {
                    let part = internal.strip_prefix("flows.")?;
                    let at = self.names.iter().position(|it| it == part)?;
                    Some(Field::Truth(self.facts.sources.has(&self.bound.get(at)?.id)).into())
                }
                None => pattern::find(variable, self.patterns).map(|it| CowVal::Borrowed(it as &dyn Val)),
            };
        }
        let [value, limit] = self.amounts;
        match variable {
            "value" => Some(Field::Double(value).into()),
            "limit" => Some(Field::Double(limit).into()),
            _ => self.field(variable).map(Into::into),
        }
    }
}

fn or_empty(it: Option<&str>) -> &str {
    it.unwrap_or("")
}

fn prefix(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max { text } else { &text[..text.floor_char_boundary(bytes_max)] }
}
