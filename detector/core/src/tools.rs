//! What a tool can do: from the operator's catalogue, else from its name, made worse but never better by the definitions that
//! its session shows and by what the step itself says.

mod catalogue;
pub(crate) mod defined;
mod heuristic;

use std::borrow::Cow;
use std::hash::RandomState;
use std::ops::{BitOr, BitOrAssign};
use std::sync::Arc;

use hashbrown::HashMap;
use martingale_schemas::Step;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub(crate) use catalogue::{Catalogue, read as read_catalogue};
pub(crate) use defined::Defined;
pub(crate) use heuristic::{is_interpreter, words};

/// Properties of a tool as bits. The first four are the annotations of the Model Context Protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    /// Changes nothing.
    pub(crate) const READ_ONLY: Self = Self(1);
    /// What it changes cannot be brought back.
    pub(crate) const DESTRUCTIVE: Self = Self(2);
    /// Calling it again with the same arguments changes nothing more.
    pub(crate) const IDEMPOTENT: Self = Self(4);
    /// Reaches beyond the system: mail, web, payment.
    pub(crate) const OPEN_WORLD: Self = Self(8);
    /// Meant to be called again until its answer changes: exempt from loop detection. The label `poll`.
    pub(crate) const POLL: Self = Self(16);
    /// Its name says that it gives what strangers write: mail, issues, pages. It says nothing of where a call goes.
    pub(crate) const OUTSIDE: Self = Self(32);

    /// The operator says whose words it gives: `read_only`, or `open_world` either way.
    pub(crate) const SAID: Self = Self(64);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// A tool as conditions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) flags: Flags,
    /// Privilege: 0 unknown, 1 reads, 2 writes, 3 reaches out or destroys, 4 runs code or administers.
    pub(crate) level: u8,
    /// What the catalogue says, or else its name: how high a run has reached that calls it.
    pub(crate) reach: u8,
    pub(crate) labels: Arc<[Box<str>]>,
    /// Whether a person or the tool's own definition said so; otherwise it was guessed from the name.
    pub(crate) annotated: bool,
    /// Of `flags`, those that a description says in so many words, whatever the name suggests beside them.
    pub(crate) described: Flags,
    /// Of `flags`, those that the words of its definition add to its name.
    pub(crate) suggested: Flags,
    /// What says the level.
    pub(crate) level_by: Said,
    /// What says that it reaches out, where that is described.
    pub(crate) open_by: Said,
    /// Scopes that a call of it needs, as the operator says; none where nothing is said.
    pub(crate) scopes: Arc<[Box<str>]>,
}

/// Who says something of a tool, the least believed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Said {
    /// Nobody: its name suggests it.
    Name,
    /// The words of a definition that the session shows suggest it.
    Description,
    /// The annotations in such a definition.
    Definition,
    /// The annotations that its own server gives, on the very step.
    Annotations,
    /// The operator's catalogue.
    Catalogue,
}

impl Said {
    /// In a sentence on what is said.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Name => "going by its name alone",
            Self::Description => "going by the words of its definition",
            Self::Definition => "as its definition says",
            Self::Annotations => "as its server says",
            Self::Catalogue => "as the operator says",
        }
    }
}

impl Tool {
    /// A step without a tool.
    pub(crate) fn none() -> Self {
        Self::guessed(Flags::NONE, 0)
    }

    /// One that nobody has described.
    fn guessed(flags: Flags, level: u8) -> Self {
        let (labels, scopes) = Default::default();
        let (annotated, described, suggested, level_by) = (false, Flags::NONE, Flags::NONE, Said::Name);
        let open_by = Said::Name;
        Self { flags, level, reach: level, labels, annotated, described, suggested, level_by, open_by, scopes }
    }

    /// Whether it runs code, or administers.
    pub(crate) const fn runs_code(&self) -> bool {
        self.level >= 4
    }

    /// Whether the operator says whose words it gives, whatever its name and calls suggest.
    pub(crate) const fn says_whose_words(&self) -> bool {
        self.flags.has(Flags::SAID)
    }

    /// Whether nothing but words says its level: those of its name, or of what is said of it.
    pub(crate) fn is_guessed(&self) -> bool {
        self.level_by <= Said::Description
    }
}

/// The server of a tool that a client of the Model Context Protocol names `mcp__server__tool`; none where the name can be divided in two
/// ways.
pub(crate) fn server(name: &str) -> Option<&str> {
    let (server, tool) = name.strip_prefix("mcp__")?.split_once("__")?;
    let is_plain = !server.is_empty() && !tool.is_empty() && !tool.starts_with('_') && !tool.contains("__");
    is_plain.then_some(server)
}

/// What the catalogue says of a tool; of whose words it gives, what its name suggests where that says nothing.
fn described(catalogue: &Catalogue, name: &str) -> Option<Tool> {
    let mut tool = catalogue.find(name)?;
    if !tool.says_whose_words() {
        tool.flags |= heuristic::outside(name);
    }
    Some(tool)
}

/// Classified tool names, bounded.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    known: HashMap<String, Tool, RandomState>,
}

impl Tools {
    /// The tool of a step of a session that has shown these definitions. What its attributes say holds for this step alone:
    /// a cache across sessions would make a verdict depend on what else was seen.
    pub(crate) fn of(
        &mut self,
        step: &Step<'_>,
        catalogue: &Catalogue,
        defined: &Defined,
        tools_max: usize,
    ) -> Cow<'_, Tool> {
        let Some(name) = step.tool.as_deref() else { return Cow::Owned(Tool::none()) };
        if self.known.len() >= tools_max && !self.known.contains_key(name) {
            self.known.clear();
        }
        let known = self.known.entry_ref(name);
        let tool = known.or_insert_with(|| described(catalogue, name).unwrap_or_else(|| heuristic::classify(name)));
        let mut tool = Cow::Borrowed(&*tool);
        let mut said = Cautions::default();
        // Of what the operator has described they say nothing.
        if tool.level_by != Said::Catalogue
            && let Some(warning) = defined.of(name)
        {
            said = warning.caution(tool.to_mut());
        }
        for (name, value) in &step.attributes {
            if matches!(name.as_ref(), "mcp.tool.annotations" | "tool.annotations")
                && let Some(hints) = Hints::read(value.get())
            {
                let cautions = hints.cautions();
                cautions.apply(tool.to_mut(), Said::Annotations);
                said = said.and(cautions);
                said.reach_out(tool.to_mut(), Said::Definition);
            }
        }
        tool
    }
}

/// Annotations of the Model Context Protocol. They come from the tool's own server, so they are believed only where they
/// warn: a hostile server does not get to call itself harmless.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    #[serde(default, deserialize_with = "truth")]
    read_only_hint: Option<bool>,
    #[serde(default, deserialize_with = "truth")]
    destructive_hint: Option<bool>,
    #[serde(default, deserialize_with = "truth")]
    idempotent_hint: Option<bool>,
    #[serde(default, deserialize_with = "truth")]
    open_world_hint: Option<bool>,
}

/// What is neither true nor false says nothing, and does not silence the others.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value: &RawValue = Deserialize::deserialize(deserializer)?;
    Ok(serde_json::from_str(value.get()).ok())
}

/// What annotations warn of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cautions {
    destructive: bool,
    open_world: bool,
    /// It is open-world, and nobody says in the same breath that it only reads: a search of the web is open-world as well.
    reaches: bool,
    writes: bool,
    not_idempotent: bool,
}

impl Hints {
    /// Of an object, or of a text that is one, as attributes of OpenTelemetry are.
    fn read(json: &str) -> Option<Self> {
        let text = serde_json::from_str::<String>(json);
        serde_json::from_str(text.as_deref().unwrap_or(json)).ok()
    }

    /// What is not said warns of nothing, whatever the protocol takes it for then.
    fn cautions(&self) -> Cautions {
        let reads = self.read_only_hint == Some(true);
        let open_world = self.open_world_hint == Some(true);
        Cautions {
            destructive: self.destructive_hint == Some(true) && !reads,
            open_world,
            reaches: open_world && !reads,
            writes: self.read_only_hint == Some(false),
            not_idempotent: self.idempotent_hint == Some(false),
        }
    }
}

impl Cautions {
    fn apply(self, tool: &mut Tool, by: Said) {
        if self.destructive {
            tool.flags |= Flags::DESTRUCTIVE;
            tool.described |= Flags::DESTRUCTIVE;
            tool.raise(3, by);
        }
        if self.open_world {
            tool.flags |= Flags::OPEN_WORLD;
            tool.described |= Flags::OPEN_WORLD;
            tool.open_by = tool.open_by.max(by);
        }
        if self.writes || tool.flags.has(Flags::DESTRUCTIVE) {
            tool.flags = tool.flags.without(Flags::READ_ONLY);
            tool.raise(2, by);
        }
        if self.not_idempotent {
            tool.flags = tool.flags.without(Flags::IDEMPOTENT);
        }
        // After what takes it away: what reads stays a reader, wherever it reads.
        self.reach_out(tool, by);
        tool.annotated = true;
    }

    /// What several say together may be more than each of them does: one that it is open-world, another that it writes.
    fn reach_out(self, tool: &mut Tool, by: Said) {
        if (self.reaches || self.open_world && self.writes) && !tool.flags.has(Flags::READ_ONLY) {
            tool.raise(3, by);
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            destructive: self.destructive || other.destructive,
            open_world: self.open_world || other.open_world,
            reaches: self.reaches || other.reaches,
            writes: self.writes || other.writes,
            not_idempotent: self.not_idempotent || other.not_idempotent,
        }
    }
}

impl Tool {
    /// Somebody says that its level is at least this. What a run has reached stays: a server could call its reader destructive, and the
    /// first call of a run would make every later one look ordinary.
    fn raise(&mut self, level: u8, by: Said) {
        let confirms = level == self.level && by > Said::Description && by > self.level_by;
        if level > self.level || confirms {
            self.level_by = by;
        }
        self.level = self.level.max(level);
    }
}

#[cfg(test)]
mod tests;
