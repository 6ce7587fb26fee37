//! Whether a call that reaches higher than its run has does so by what a stranger wrote.

use martingale_schemas::{Step, StepId};

use super::{Authority, Found};
use crate::provenance::{Index, Integrity, Mark, Role, sent};
use crate::quote::quoted;
use crate::run::RunState;
use crate::tools::{Tool, words};

/// Shorter words of a tool's name name nothing: `to`, `by`, `in`.
const WORD_BYTES_MIN: usize = 3;

impl Authority {
    /// A call that reaches higher than all before it, and is not questioned.
    pub(super) fn reach(&mut self, step: &Step<'_>, level: u8) {
        self.level = level;
        self.reached = Some(Mark { session: step.session_id.to_static(), step: step.step_id.to_static() });
    }
}

/// What speaks against a call of a tool that is higher than its run has reached; `None` where nothing does.
pub(super) fn of(step: &Step<'_>, tool: &Tool, index: Option<&Index>, run: &RunState) -> Option<Found> {
    let untrusted = run.shared.as_deref()?.untrusted.as_ref()?;
    let index = index?;
    let name = step.tool.as_deref()?;
    if index.is_named(name)
        || words(name).any(|it| it.len() >= WORD_BYTES_MIN && forms(it).any(|it| index.is_named(&it)))
    {
        return None;
    }
    let carried = Carried::of(step, tool, index);
    let (argument, source) = carried.suspect()?;
    let own = |it: &Mark| it.session.as_str() == step.session_id.as_str();
    let read = own(untrusted).then(|| untrusted.step.clone());
    let evidence = read.into_iter().chain([source.clone()]).collect();
    let before = run.authority.as_deref().map_or(0, |it| it.level);
    let reached = run.authority.as_deref().and_then(|it| it.reached.as_ref());
    let reached = reached.map_or_else(
        || "no call of this run so far is known to do anything".to_owned(),
        |it| format!("calls of this run so far could {} at most (step {})", does(before), shown(it, step)),
    );
    let against = carried.authored.as_ref().map_or(String::new(), |it| format!(" Against it: {it} is the user's own."));
    let message = format!(
        "{} can {}, {}; {reached}. Neither user nor operator named it, and {argument} stood in text that anybody could have written (step {}).{against}",
        quoted(name, 60),
        does(tool.level),
        tool.level_by.words(),
        quoted(source.as_str(), 60),
    );
    Some(Found::judgement(evidence, tool.level - before, message))
}

/// What the arguments of a call carry.
#[derive(Default)]
struct Carried {
    /// The first argument with something of a stranger's that decides what the call does, and the step that read it.
    outside: Option<(String, StepId<'static>)>,
    /// The same of what it only carries along.
    content: Option<(String, StepId<'static>)>,
    /// The first argument that is an author's own.
    authored: Option<String>,
    /// It goes to an address that an author gave, and to one that none did.
    to_authors: bool,
    elsewhere: bool,
    /// It may go to more than the addresses that it names as such.
    strays: bool,
}

impl Carried {
    fn of(step: &Step<'_>, tool: &Tool, index: &Index) -> Self {
        let mut out = Self::default();
        index.probe(step, tool.traits(), &mut |argument| {
            let authored = argument.is_authored();
            if argument.role == Role::Destination {
                out.to_authors |= authored;
                out.elsewhere |= !authored;
            }
            if authored {
                out.authored.get_or_insert_with(|| sent::argument(&argument.shown_path(), step));
                return;
            }
            let place = if argument.role == Role::Content { &mut out.content } else { &mut out.outside };
            if place.is_none() {
                let outside = argument.traces().find(|it| it.source.integrity == Integrity::Untrusted);
                *place = outside.map(|it| (sent::argument(&argument.shown_path(), step), it.source.step.clone()));
            }
        });
        out.strays = out.to_authors && !out.elsewhere && index.strays(step);
        out
    }

    /// What is a stranger's of a call that does not go where an author said. What is only carried along counts where it goes
    /// to an address that none gave.
    fn suspect(&self) -> Option<&(String, StepId<'static>)> {
        if self.to_authors && !self.elsewhere && !self.strays {
            return None;
        }
        self.outside.as_ref().or_else(|| self.content.as_ref().filter(|_| self.elsewhere))
    }
}

/// A step in a sentence, with its session where that is another one.
fn shown(mark: &Mark, step: &Step<'_>) -> String {
    let id = quoted(mark.step.as_str(), 60);
    match mark.session.as_str() == step.session_id.as_str() {
        true => id,
        false => format!("{id} of session {}", quoted(mark.session.as_str(), 60)),
    }
}

/// A word as a request may have it.
fn forms(word: &str) -> impl Iterator<Item = String> {
    let stem = word.strip_suffix('e').unwrap_or(word);
    let singular = word.strip_suffix('s').unwrap_or(word);
    [word.to_owned(), singular.to_owned(), format!("{word}s"), format!("{stem}ed"), format!("{stem}ing")].into_iter()
}

const fn does(level: u8) -> &'static str {
    match level {
        0 | 1 => "read",
        2 => "write",
        3 => "reach out or destroy",
        _ => "run code or administer",
    }
}
