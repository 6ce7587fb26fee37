//! What the names in a condition stand for, looked up when they are asked for.
//!
//! The language resolves `step.input.path` by asking for the longest dotted name it has, then shorter ones, so answering
//! `step.input` is enough and no object is ever built for `step` itself.

use std::sync::OnceLock;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use martingale_schemas::{Kind, Status, Step, StepId};
use serde::{Deserialize, Serialize};

use super::pattern::{self, Pattern};
use super::{json, secret};
use crate::limits::StateLimits;
use crate::session::Counts;
use crate::tools::{Flags, Tool};

/// The session as conditions see it, this step counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionFacts {
    pub(crate) counts: Counts,
    pub(crate) depth: u32,
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
    limits: &'a StateLimits,
    input: OnceLock<Box<dyn Val>>,
    output: OnceLock<Box<dyn Val>>,
    attributes: OnceLock<Box<dyn Val>>,
    content: OnceLock<String>,
    secret: OnceLock<bool>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        step: &'a Step<'a>,
        tool: &'a Tool,
        session: SessionFacts,
        run: RunFacts,
        limits: &'a StateLimits,
    ) -> Self {
        let (input, output, attributes, content) = Default::default();
        Self { step, tool, session, run, limits, input, output, attributes, content, secret: OnceLock::new() }
    }

    /// Whether content was cut before or is too long for conditions.
    fn truncated(&self) -> bool {
        let step = self.step;
        let long = |it: Option<&str>| it.is_some_and(|it| it.len() > self.limits.condition_json_bytes_max);
        step.text_cut.is_some()
            || step.input_cut.is_some()
            || step.output_cut.is_some()
            || step.text.as_ref().is_some_and(|it| it.len() > self.limits.condition_text_bytes_max)
            || long(step.input.as_ref().map(|it| it.get()))
            || long(step.output.as_ref().map(|it| it.get()))
    }

    fn holds_secret(&self) -> bool {
        let contents = [
            self.step.text.as_deref(),
            self.step.output.as_ref().map(|it| it.get()),
            self.step.input.as_ref().map(|it| it.get()),
        ];
        *self.secret.get_or_init(|| contents.into_iter().flatten().any(secret::holds_secret))
    }

    /// Text, input and output as they were sent, one below the other.
    fn content(&self) -> &str {
        let max = self.limits.condition_text_bytes_max;
        let sent = [
            self.step.text.as_deref(),
            self.step.input.as_ref().map(|it| it.get()),
            self.step.output.as_ref().map(|it| it.get()),
        ];
        self.content.get_or_init(|| sent.into_iter().flatten().map(|it| prefix(it, max)).collect::<Vec<_>>().join("\n"))
    }

    fn step_field(&self, field: &str) -> Option<CowVal<'_, '_>> {
        let step = self.step;
        let json_max = self.limits.condition_json_bytes_max;
        let usage = step.usage.as_ref();
        Some(match field {
            "id" => text(step.step_id.as_str()),
            "kind" => text(step.kind.as_str()),
            "tool" => text(or_empty(step.tool.as_deref())),
            "seq" => whole(step.seq.unwrap_or(0)),
            "status" => text(step.status.map_or("", Status::as_str)),
            "text" => text(prefix(or_empty(step.text.as_deref()), self.limits.condition_text_bytes_max)),
            "input" => CowVal::Borrowed(
                self.input.get_or_init(|| json::value(step.input.as_ref().map(|it| it.get()), json_max)).as_ref(),
            ),
            "output" => CowVal::Borrowed(
                self.output.get_or_init(|| json::value(step.output.as_ref().map(|it| it.get()), json_max)).as_ref(),
            ),
            "content" => text(self.content()),
            "attributes" => CowVal::Borrowed(
                self.attributes
                    .get_or_init(|| {
                        json::object(step.attributes.iter().map(|(name, it)| (name.as_ref(), it.get())), json_max)
                    })
                    .as_ref(),
            ),
            "agent" => text(step.agent.id.as_str()),
            "agent_name" => text(or_empty(step.agent.name.as_deref())),
            "version" => text(or_empty(step.agent.version.as_deref())),
            "model" => text(or_empty(step.model.as_deref())),
            "environment" => text(or_empty(step.environment.as_deref())),
            "principal" => text(step.principal.as_ref().map_or("", |it| it.id.as_ref())),
            "on_behalf_of" => text(or_empty(step.principal.as_ref().and_then(|it| it.on_behalf_of.as_deref()))),
            "scopes" => texts(step.principal.iter().flat_map(|it| it.scopes.iter().map(AsRef::as_ref))),
            "owner" => text(or_empty(step.owner.as_deref())),
            "error" => text(or_empty(step.error.as_ref().and_then(|it| it.message.as_deref()))),
            "error_type" => text(or_empty(step.error.as_ref().and_then(|it| it.kind.as_deref()))),
            "duration_ms" => CowVal::owned(CelDouble::from(step.duration_ms.unwrap_or(0.0))),
            "usage.input_tokens" => whole(usage.and_then(|it| it.input_tokens).unwrap_or(0)),
            "usage.output_tokens" => whole(usage.and_then(|it| it.output_tokens).unwrap_or(0)),
            "usage.cached_tokens" => whole(usage.and_then(|it| it.cached_tokens).unwrap_or(0)),
            "usage.cost_usd" => CowVal::owned(CelDouble::from(usage.and_then(|it| it.cost_usd).unwrap_or(0.0))),
            "truncated" => truth(self.truncated()),
            _ => return None,
        })
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

    fn tool_field(&self, field: &str) -> Option<CowVal<'_, '_>> {
        let tool = self.tool;
        Some(match field {
            "name" => text(or_empty(self.step.tool.as_deref())),
            "read_only" => truth(tool.flags.has(Flags::READ_ONLY)),
            "destructive" => truth(tool.flags.has(Flags::DESTRUCTIVE)),
            "idempotent" => truth(tool.flags.has(Flags::IDEMPOTENT)),
            "open_world" => truth(tool.flags.has(Flags::OPEN_WORLD)),
            "labels" => texts(tool.labels.iter().map(AsRef::as_ref)),
            "level" => whole(u64::from(tool.level)),
            "source" => text(if tool.annotated { "annotated" } else { "heuristic" }),
            _ => return None,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "amounts for comparison with limits far below 2^52")]
    fn session_field(&self, field: &str) -> Option<CowVal<'_, '_>> {
        let counts = self.session.counts;
        Some(match field {
            "steps" => whole(counts.steps),
            "tool_calls" => whole(counts.tool_calls),
            "errors" => whole(counts.errors),
            "tokens" => whole(counts.tokens),
            "cost_usd" => CowVal::owned(CelDouble::from(counts.micro_usd as f64 / 1e6)),
            "depth" => whole(u64::from(self.session.depth)),
            "elapsed_s" => CowVal::owned(CelDouble::from(self.session.elapsed as f64 / 1e6)),
            _ => return None,
        })
    }
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

    fn field(&self, field: &str) -> Option<CowVal<'_, '_>> {
        Some(match field {
            "id" => text(self.id.as_str()),
            "kind" => text(self.kind.as_str()),
            "tool" => text(&self.tool),
            "seq" => whole(self.seq.unwrap_or(0)),
            "status" => text(self.status.map_or("", Status::as_str)),
            "agent" => text(&self.agent),
            "agent_name" => text(&self.agent_name),
            "principal" => text(&self.principal),
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

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(internal) = variable.strip_prefix('@') {
            let Some(field) = internal.strip_prefix("has.") else {
                return pattern::find(variable, self.patterns).map(|it| CowVal::Borrowed(it as &dyn Val));
            };
            let (object, field) = field.split_once('.')?;
            let is_step = object == "step" || object == self.current;
            return Some(truth(!is_step || self.facts.has_step_field(field)));
        }
        let Some((object, field)) = variable.split_once('.') else {
            let [value, limit] = self.amounts;
            return match variable {
                "value" => Some(CowVal::owned(CelDouble::from(value))),
                "limit" => Some(CowVal::owned(CelDouble::from(limit))),
                _ => None,
            };
        };
        match object {
            "step" => self.facts.step_field(field),
            "tool" => self.facts.tool_field(field),
            "session" => self.facts.session_field(field),
            "run" => match field {
                "sessions" => Some(whole(u64::from(self.facts.run.sessions))),
                "depth" => Some(whole(u64::from(self.facts.run.depth))),
                _ => None,
            },
            "labels" => (field == "secret").then(|| truth(self.facts.holds_secret())),
            part if part == self.current => self.facts.step_field(field),
            part => {
                let at = self.names.iter().position(|it| it == part)?;
                self.bound.get(at)?.field(field)
            }
        }
    }
}

fn text<'v>(it: &'v str) -> CowVal<'v, 'v> {
    CowVal::owned(CelString::from(it))
}

fn or_empty(it: Option<&str>) -> &str {
    it.unwrap_or("")
}

fn prefix(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max { text } else { &text[..text.floor_char_boundary(bytes_max)] }
}

fn texts<'v>(items: impl Iterator<Item = &'v str>) -> CowVal<'v, 'v> {
    let items: Vec<Box<dyn Val + 'v>> = items.map(|it| Box::new(CelString::from(it)) as Box<dyn Val + 'v>).collect();
    CowVal::owned(CelList::from(items))
}

fn whole<'v>(it: u64) -> CowVal<'v, 'v> {
    CowVal::owned(CelInt::from(i64::try_from(it).unwrap_or(i64::MAX)))
}

fn truth<'v>(it: bool) -> CowVal<'v, 'v> {
    CowVal::owned(CelBool::from(it))
}
