//! A tool call taken apart: its arguments, and for each where its value comes from.

use std::collections::HashMap;

use martingale_schemas::Step;

use super::embed::{self, Vector};
use super::memory::Memory;
use super::model::Scores;
use super::reads::{Carrier, Fresh};
use super::words;
use crate::hash::{hash_text, mix};
use crate::tools::{Flags, Tool};

/// Parts of arguments that are looked at; longer lists are cut, but for as many addresses.
const PARTS_MAX: usize = 48;
/// Arguments longer than this are looked up sentence by sentence, in bytes.
const CONTENT_BYTES_MIN: usize = 60;
const CONTENT_PARTS_MAX: usize = 12;
/// Addresses in one of them.
const LINKS_MAX: usize = 8;
/// Tells the addresses in an argument from the argument, for baselines.
const LINK: u64 = 0x6c69_6e6b;
const CARRIERS_MAX: usize = 24;
const NAMES_MAX: usize = 24;

/// Where a value was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    User,
    Operator,
    /// In a field of a record of a tool result, wherever else.
    Record,
    /// In prose of tool results only.
    Prose,
    Nowhere,
}

/// What of an argument a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// A sentence of a longer text.
    Sentence,
    /// An address of the web or of mail in a longer text: a link in a message, what a command fetches.
    Link,
}

/// One argument value, or one sentence of a long one, or an address in it.
#[derive(Debug)]
pub(crate) struct Part {
    /// Which of the call's values it is, or is of.
    at: usize,
    pub(crate) argument: u64,
    pub(crate) value: u64,
    pub(crate) origin: Origin,
    pub(crate) form: Form,
    /// Looks like an address: of mail, the web, an account, a path.
    pub(crate) is_address: bool,
    is_url: bool,
    pub(crate) carriers: Vec<Carrier>,
    /// Tools whose results carried it.
    sources: Vec<u64>,
    /// Likeness to an instruction times likeness to the tool of the carrying sentence, in thousandths, 0 of one that ordinary
    /// sessions have read: of the carrier that is least so, and of the one that is most.
    pub(crate) command_min: i32,
    pub(crate) command_max: i32,
    /// Likeness to the tool of the most similar carrying sentence; none in records.
    pub(crate) carrier_to_tool: Option<i32>,
    /// Other values of the call that the same sentence carried, at most.
    pub(crate) together: i32,
}

/// What is about to run.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tool: u64,
    /// How often the tool was called, this time included.
    pub(crate) count: u32,
    /// Likeness of tool and arguments' names to what the user asked.
    pub(crate) user_to_tool: i32,
    /// The tool only reads, and from no address that somebody else chose.
    pub(crate) only_reads: bool,
    pub(crate) parts: Vec<Part>,
    values: Values,
}

/// The values of a call under the names of their arguments, in one text.
#[derive(Debug, Default)]
struct Values {
    text: String,
    /// Where in it each name ends, and each value after it.
    ends: Vec<(usize, usize)>,
}

impl Values {
    fn push(&mut self, name: &str, value: &str) {
        let count = self.ends.len();
        if count < PARTS_MAX || count < 2 * PARTS_MAX && reaches_somebody(value) {
            self.text.push_str(name);
            let end = self.text.len();
            self.text.push_str(value);
            self.ends.push((end, self.text.len()));
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|it| it.1));
        begins.zip(&self.ends).map(|(begin, (name, value))| (&self.text[begin..*name], &self.text[*name..*value]))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|it| it.0)
    }

    /// With the place of each. Where there may be more parts than are looked at, addresses come first and content last, so that no
    /// filler stands before where a call goes.
    fn telling_first(&self, mut visit: impl FnMut(usize, (&str, &str))) {
        let most = |text: &str| if text.len() > CONTENT_BYTES_MIN { CONTENT_PARTS_MAX } else { 1 };
        if self.iter().map(|it| most(it.1)).sum::<usize>() <= PARTS_MAX {
            return self.iter().enumerate().for_each(|(at, it)| visit(at, it));
        }
        let rank = |text: &str| if reaches_somebody(text) { 0 } else { 1 + u8::from(text.len() > CONTENT_BYTES_MIN) };
        let mut all: Vec<_> = self.iter().enumerate().collect();
        all.sort_by_cached_key(|it| rank(it.1.1));
        all.into_iter().for_each(|(at, it)| visit(at, it));
    }
}

impl Call {
    /// Takes a call apart and counts it.
    pub(crate) fn new(step: &Step<'_>, tool: &Tool, memory: &mut Memory, meanings: &mut Meanings) -> Self {
        let name = step.tool.as_deref().unwrap_or_default();
        let mut values = Values::default();
        if let Some(input) = &step.input {
            values.text.reserve(input.get().len());
            words::leaves(input.get(), &mut |name, text| values.push(name, text));
        }
        let vector = meanings.of(name, &values);
        let mut parts: Vec<Part> = Vec::with_capacity(values.ends.len());
        values.telling_first(|at, (argument, text)| {
            let is_content = text.len() > CONTENT_BYTES_MIN;
            let mut put = |text: &str, form: Form| {
                if parts.len() < PARTS_MAX {
                    parts.extend(part((at, argument), text, form, &vector, (memory, meanings)));
                }
            };
            if is_content {
                let mut left = CONTENT_PARTS_MAX;
                words::sentences(text, &mut |text, _| {
                    if left > 0 {
                        left -= 1;
                        put(text, Form::Sentence);
                    }
                });
                // Where it sends whoever reads or runs it.
                links(text).take(LINKS_MAX).for_each(|it| put(it, Form::Link));
            } else {
                put(text, Form::Whole);
            }
        });
        count_together(&mut parts);
        let tool_hash = hash_text(name);
        let chosen = parts.iter().any(|it| it.is_url && it.form == Form::Whole && !it.is_authored());
        Self {
            tool: tool_hash,
            count: memory.called(tool_hash),
            user_to_tool: memory.likeness_to_user(&vector),
            only_reads: tool.flags.has(Flags::READ_ONLY) && !chosen,
            parts,
            values,
        }
    }

    /// Name of the argument that a part is of.
    pub(crate) fn name(&self, part: &Part) -> &str {
        self.values.names().nth(part.at).unwrap_or_default()
    }

    /// Strongest sign that a sentence of a result commands this call, in thousandths.
    pub(crate) fn command(&self) -> i32 {
        self.parts.iter().filter(|it| !it.is_authored()).map(|it| it.command_min).max().unwrap_or(0)
    }
}

impl Part {
    /// Tools whose results carried it; 0 for none.
    pub(crate) fn sources(&self) -> &[u64] {
        if self.sources.is_empty() { &[0] } else { &self.sources }
    }

    pub(crate) fn is_authored(&self) -> bool {
        matches!(self.origin, Origin::User | Origin::Operator)
    }
}

/// What tools mean by their names and those of their arguments, once computed. Full: all are forgotten and computed anew.
#[derive(Debug, Default)]
pub(crate) struct Meanings {
    known: HashMap<Box<str>, Vector>,
    /// The names that are looked up, each with a byte at its end that is in no name of a tool.
    names: String,
    /// Room for what is read of one step.
    pub(crate) fresh: Fresh,
    pub(crate) scores: Scores,
    lower: String,
    value: Vec<u32>,
}

const MEANINGS_MAX: usize = 1024;
/// Longer names than these together are not kept, in bytes.
const MEANING_BYTES_MAX: usize = 1024;

impl Meanings {
    fn of(&mut self, name: &str, values: &Values) -> Vector {
        self.names.clear();
        let mut last = "";
        for it in std::iter::once(name).chain(values.names()) {
            // A list is many values of one name.
            if it != last {
                self.names.push_str(it);
                self.names.push('\0');
            }
            last = it;
        }
        if let Some(it) = self.known.get(self.names.as_str()) {
            return *it;
        }
        let vector = of_tool(name, values);
        if self.names.len() <= MEANING_BYTES_MAX {
            if self.known.len() >= MEANINGS_MAX {
                self.known.clear();
            }
            self.known.insert(self.names.as_str().into(), vector);
        }
        self.names.shrink_to(MEANING_BYTES_MAX);
        vector
    }
}

fn of_tool(name: &str, values: &Values) -> Vector {
    let mut names: Vec<&str> = values.names().collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(NAMES_MAX);
    let text = std::iter::once(name).chain(names).map(words::name_words).collect::<Vec<_>>().join(" ");
    embed::of(&text)
}

fn part(
    (at, argument): (usize, &str),
    text: &str,
    form: Form,
    tool: &Vector,
    (memory, meanings): (&Memory, &mut Meanings),
) -> Option<Part> {
    let Meanings { lower, value, .. } = meanings;
    lower.clear();
    let text = text.trim();
    if text.is_ascii() {
        lower.push_str(text);
        lower.make_ascii_lowercase();
    } else {
        lower.push_str(&text.to_lowercase());
    }
    value.clear();
    words::value_words(lower, value);
    let says_nothing =
        value.is_empty() || (lower.chars().nth(1).is_none() && !lower.starts_with(|it: char| it.is_ascii_digit()));
    if says_nothing {
        return None;
    }
    let print = value.iter().fold(1, |print, it| mix(print, u64::from(*it)));
    let mut carriers = memory.carriers(value, CARRIERS_MAX);
    let code = words::code_of(lower);
    if let Some(code) = code
        && !memory.is_authored(value)
        && (carriers.is_empty() || memory.is_authored(&[code]))
    {
        value.clear();
        value.push(code);
        carriers = memory.carriers(value, CARRIERS_MAX);
    }
    let origin = if memory.is_users(value) {
        Origin::User
    } else if memory.is_authored(value) {
        Origin::Operator
    } else if carriers.is_empty() {
        Origin::Nowhere
    } else if carriers.iter().any(|it| it.line.is_record) {
        Origin::Record
    } else {
        Origin::Prose
    };
    let mut sources: Vec<u64> = carriers.iter().filter_map(|it| memory.result(it)).map(|it| it.tool).collect();
    sources.sort_unstable();
    sources.dedup();
    let (mut command_min, mut command_max, mut carrier_to_tool) = (i32::MAX, 0, None);
    for carrier in &carriers {
        let mut command = 0;
        if carrier.line.is_sentence() {
            let vector = memory.vector(carrier);
            let alike = embed::likeness(&vector, tool);
            if !carrier.line.is_record {
                carrier_to_tool = carrier_to_tool.max(Some(alike));
            }
            // What ordinary sessions have read too commands nothing.
            if !carrier.line.known {
                command = Memory::instruction(&carrier.line, &vector) * alike.max(0) / 1000;
            }
        }
        command_min = command_min.min(command);
        command_max = command_max.max(command);
    }
    let is_url = is_url(lower);
    Some(Part {
        at,
        argument: hash_text(argument) ^ if form == Form::Link { LINK } else { 0 },
        value: print,
        origin,
        form,
        is_address: form != Form::Sentence && (is_url || code.is_some() || is_address(lower)),
        is_url,
        command_min: if carriers.is_empty() { 0 } else { command_min },
        command_max,
        carrier_to_tool,
        carriers,
        sources,
        together: 0,
    })
}

/// Values of one call out of one sentence of prose: who dictates a call tends to do it in one.
fn count_together(parts: &mut [Part]) {
    let named: Vec<usize> = parts
        .iter()
        .filter(|it| it.form != Form::Sentence && !it.is_authored())
        .flat_map(|it| it.carriers.iter().filter(|it| !it.line.is_record).map(|it| it.number))
        .collect();
    for part in parts {
        let most = part.carriers.iter().map(|it| named.iter().filter(|other| **other == it.number).count()).max();
        part.together = i32::try_from(most.unwrap_or(0).min(3)).unwrap_or(0);
    }
}

/// Addresses of the web and of mail in a longer text, as they stand.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let is_between = |it: char| {
        it.is_whitespace() || matches!(it, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | '|')
    };
    text.split(is_between)
        .map(|it| it.trim_matches(|it: char| matches!(it, '.' | ',' | ';' | ':' | '!' | '?' | '*' | '=')))
        .filter(|it| {
            let is_mail = || {
                it.split_once('@').is_some_and(|(user, host)| !user.is_empty() && is_url(&host.to_ascii_lowercase()))
            };
            it.contains("://") || it.starts_with("www.") || is_mail()
        })
}

/// Whether a value that is no content says where a call goes.
fn reaches_somebody(value: &str) -> bool {
    value.len() <= CONTENT_BYTES_MIN && (is_url(value) || is_address(value))
}

/// Whether a value that is no URL is of the form that reaches somebody or something: an `@`, a path, a long number.
fn is_address(value: &str) -> bool {
    let mut digits = 0;
    value.bytes().any(|it| {
        digits = if it.is_ascii_digit() { digits + 1 } else { 0 };
        digits >= 5 || matches!(it, b'@' | b'/')
    })
}

/// An address of the web, or a host with or without a path.
fn is_url(value: &str) -> bool {
    let bytes = value.as_bytes();
    // Values are short: a searcher would take longer to make than to use.
    if bytes.contains(&b':') && bytes.windows(3).any(|it| it == b"://") {
        return true;
    }
    let host = &value[..bytes.iter().position(|it| *it == b'/').unwrap_or(bytes.len())];
    let Some(dot) = host.bytes().rposition(|it| it == b'.') else { return false };
    let ending = &host.as_bytes()[dot + 1..];
    ending.len() >= 2 && ending.iter().all(u8::is_ascii_alphabetic) && !host.contains(char::is_whitespace)
}
