//! What the definitions say that a session's own steps show: those a model was given (`gen_ai.tool.definitions`), and what a
//! server answered to `tools/list` of the Model Context Protocol.
//!
//! Who writes them may be the attacker: a server describes itself, and may describe a tool of another one by its name. So they
//! are believed only where they warn, all of them together and for as long as the session lasts: what warned once is not taken
//! back by what is shown later. They say nothing of a tool that the operator has described, which is how an operator ends
//! false alarms that somebody else's definition makes. And they do not count towards how high a run has reached: a
//! reader that is called destructive would make everything after it look ordinary.
//!
//! Kept is what they add to the name: six bytes for a tool. Cost: a look at the names of a step's attributes; a list that was
//! the last one shown, as it is with every call of a model, is hashed and no more.

use martingale_schemas::Step;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Cautions, Flags, Hints, Said, Tool, heuristic};
use crate::bytes;
use crate::hash::{hash, hash_text};

/// Tools of one session of which something is kept. Full: no further one is, and it is counted.
const TOOLS_MAX: usize = 256;
/// Definitions of one list that are read. Longer: the first.
const LIST_MAX: usize = 1024;
/// What a tool is held to be of which nothing is kept in a session where something had to be left out: it may have been defined as
/// that, and who floods the table must not make another tool look harmless.
const UNKNOWN: Warning = Warning {
    hints: Cautions { destructive: true, open_world: true, reaches: true, writes: false, not_idempotent: false },
    words: Flags::NONE,
    level: 0,
};

/// Attribute of a model call: a list of definitions.
pub(crate) const DEFINITIONS: &str = "gen_ai.tool.definitions";
/// Attribute of what is said over the Model Context Protocol, and the value whose answer is a list of definitions.
pub(crate) const METHOD: &str = "mcp.method.name";
const LISTS_TOOLS: &str = "tools/list";

/// What a session's definitions warn of, once one was shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Defined(Option<Box<Table>>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Table {
    /// Hash of the list that was shown last.
    last: u64,
    /// Something was left out.
    overflown: bool,
    /// One after the other, in the order of their names' hashes.
    #[serde(with = "bytes")]
    entries: Vec<u8>,
}

/// What is kept of one tool.
type Entry = [u8; 6];

/// What of it warns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Warning {
    hints: Cautions,
    /// Of the words of its description.
    words: Flags,
    level: u8,
}

impl Defined {
    /// Takes in the definitions that a step shows, and answers of how many tools nothing could be kept.
    pub(crate) fn take_in(&mut self, step: &Step<'_>) -> u64 {
        let Some(list) = shown_by(step) else { return 0 };
        let hash = hash(list.as_bytes());
        let table = self.0.get_or_insert_default();
        if table.last == hash {
            return 0;
        }
        table.last = hash;
        let (definitions, left_out) = each(list);
        let warnings = definitions.into_iter().filter(|(name, it)| it.adds_to(name));
        let dropped = warnings.map(|(name, it)| u64::from(!table.keep(&name, it))).sum::<u64>() + left_out;
        table.overflown |= dropped > 0;
        dropped
    }

    /// What they warn of in a tool.
    pub(super) fn of(&self, name: &str) -> Option<Warning> {
        self.0.as_ref()?.of(name)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |it| size_of::<Table>() + it.entries.capacity())
    }
}

impl Table {
    fn at(&self, key: [u8; 4]) -> Result<usize, usize> {
        self.entries.as_chunks::<{ size_of::<Entry>() }>().0.binary_search_by_key(&key, |it| key_of(*it))
    }

    fn of(&self, name: &str) -> Option<Warning> {
        let kept = self.at(key(name)).ok().and_then(|at| self.entries.as_chunks().0.get(at));
        kept.map(|it| Warning::read(*it)).or(if self.overflown { Some(UNKNOWN) } else { None })
    }

    /// Whether there was room.
    fn keep(&mut self, name: &str, warning: Warning) -> bool {
        let key = key(name);
        let entries = self.entries.len() / size_of::<Entry>();
        match self.at(key) {
            Ok(at) => {
                if let Some(entry) = self.entries.as_chunks_mut::<{ size_of::<Entry>() }>().0.get_mut(at) {
                    *entry = Warning::read(*entry).and(warning).write(key);
                }
            }
            Err(_) if entries >= TOOLS_MAX => return false,
            Err(at) => {
                let at = at * size_of::<Entry>();
                self.entries.splice(at..at, warning.write(key));
            }
        }
        true
    }
}

/// Two names that share it share their warnings: whoever can choose a name can as well define the other one.
fn key(name: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = hash_text(name).to_be_bytes();
    [a, b, c, d]
}

const fn key_of([a, b, c, d, ..]: Entry) -> [u8; 4] {
    [a, b, c, d]
}

impl Warning {
    fn of(definition: &Definition<'_>) -> Self {
        let hints = definition.annotations.and_then(|it| Hints::read(it.get()));
        let hints = hints.map_or_else(Cautions::default, |it| it.cautions());
        let description = definition.description.and_then(|it| serde_json::from_str::<String>(it.get()).ok());
        let (words, level) = description.map_or((Flags::NONE, 0), |it| heuristic::of_description(&it));
        Self { hints, words: words.without(Flags::READ_ONLY | Flags::IDEMPOTENT), level }
    }

    /// Whether it says more than the name does.
    fn adds_to(self, name: &str) -> bool {
        let guess = heuristic::classify(name);
        let mut tool = guess.clone();
        self.caution(&mut tool);
        (tool.flags, tool.level, tool.described) != (guess.flags, guess.level, guess.described)
    }

    /// Answers what its annotations say.
    pub(super) fn caution(self, tool: &mut Tool) -> Cautions {
        let Self { hints, words, level } = self;
        tool.suggested = words.without(tool.flags);
        tool.flags |= words;
        if level > 1 {
            tool.flags = tool.flags.without(Flags::READ_ONLY | Flags::IDEMPOTENT);
        }
        tool.raise(level, Said::Description);
        if hints != Cautions::default() {
            hints.apply(tool, Said::Definition);
        }
        hints
    }

    fn and(self, other: Self) -> Self {
        Self { hints: self.hints.and(other.hints), words: self.words | other.words, level: self.level.max(other.level) }
    }

    /// Part of the stored form: another meaning of a bit is another version of it.
    fn write(self, [a, b, c, d]: [u8; 4]) -> Entry {
        let it = self.hints;
        let bits = [it.destructive, it.open_world, it.writes, it.not_idempotent, it.reaches];
        let hints = bits.into_iter().enumerate().map(|(at, it)| u8::from(it) << at).sum();
        let words = [Flags::DESTRUCTIVE, Flags::OPEN_WORLD].map(|it| u8::from(self.words.has(it)));
        [a, b, c, d, hints, self.level.min(7) | words[0] << 3 | words[1] << 4]
    }

    fn read([.., hints, words]: Entry) -> Self {
        let flag = |bit: u8, flag| if words & bit > 0 { flag } else { Flags::NONE };
        Self {
            hints: Cautions {
                destructive: hints & 1 > 0,
                open_world: hints & 2 > 0,
                writes: hints & 4 > 0,
                not_idempotent: hints & 8 > 0,
                // Of a session that was stored before there was such a bit, nobody said it.
                reaches: hints & 16 > 0,
            },
            words: flag(8, Flags::DESTRUCTIVE) | flag(16, Flags::OPEN_WORLD),
            level: (words & 7).min(4),
        }
    }
}

/// The list of definitions that a step shows, as it was sent.
fn shown_by<'s>(step: &'s Step<'_>) -> Option<&'s str> {
    attribute(step, DEFINITIONS).or_else(|| Some(step.output.as_ref().filter(|_| is_list_of_tools(step))?.get()))
}

/// Whether the output of a step is what a server answered to `tools/list`.
pub(crate) fn is_list_of_tools(step: &Step<'_>) -> bool {
    attribute(step, METHOD).is_some_and(|it| serde_json::from_str::<String>(it).is_ok_and(|it| it == LISTS_TOOLS))
}

fn attribute<'s>(step: &'s Step<'_>, name: &str) -> Option<&'s str> {
    step.attributes.iter().find(|(it, _)| it == name).map(|(_, value)| value.get())
}

/// One definition, also as `function` of one (the form of some providers). One that has another shape is left out, and hides
/// no other.
#[derive(Deserialize)]
struct Definition<'d> {
    name: Option<String>,
    #[serde(borrow)]
    description: Option<&'d RawValue>,
    #[serde(borrow)]
    annotations: Option<&'d RawValue>,
    #[serde(borrow)]
    function: Option<&'d RawValue>,
}

/// An answer to `tools/list`.
#[derive(Deserialize)]
struct Listed<'d> {
    #[serde(borrow)]
    tools: Vec<&'d RawValue>,
}

/// The tools of a list and what warns of them, and how many were not read; the list is JSON, or text that is.
fn each(list: &str) -> (Vec<(String, Warning)>, u64) {
    let decoded = serde_json::from_str::<String>(list);
    let list = decoded.as_deref().unwrap_or(list);
    let of_answer = || serde_json::from_str::<Listed<'_>>(list).map(|it| it.tools);
    let definitions = serde_json::from_str::<Vec<&RawValue>>(list).or_else(|_| of_answer()).unwrap_or_default();
    let left_out = definitions.len().saturating_sub(LIST_MAX) as u64;
    (definitions.into_iter().take(LIST_MAX).filter_map(|it| one(it.get())).collect(), left_out)
}

fn one(json: &str) -> Option<(String, Warning)> {
    let mut it: Definition<'_> = serde_json::from_str(json).ok()?;
    if let (None, Some(function)) = (&it.name, it.function) {
        it = serde_json::from_str(function.get()).ok()?;
    }
    let warning = Warning::of(&it);
    Some((it.name?, warning))
}
