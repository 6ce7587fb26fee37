//! Whether a call that reaches higher than its run has does so by what a stranger wrote.

use martingale_schemas::{Step, StepId};

use super::{Authority, Found};
use crate::provenance::{Index, Integrity, Mark, Role};
use crate::quote::quoted;
use crate::run::RunState;
use crate::tools::{Said, Tool, words};

/// Shorter words of a tool's name name nothing: `to`, `by`, `in`.
const WORD_BYTES_MIN: usize = 3;

/// Whether anything but its name says how high a tool is.
pub(super) fn is_described(tool: &Tool) -> bool {
    tool.level_by != Said::Name
}

impl Authority {
    /// A call that reaches higher than all before it, and is not questioned.
    pub(super) fn reach(&mut self, step: &Step<'_>, level: u8) {
        self.level = level;
        self.reached =
            Some(Mark { session: step.session_id.to_static(), step: step.step_id.to_static() });
    }
}

/// What speaks against a call of a tool that is higher than its run has reached; `None` where nothing does.
pub(super) fn of(step: &Step<'_>, tool: &Tool, index: Option<&Index>, run: &RunState) -> Option<Found> {
    let untrusted = run.shared.as_deref()?.untrusted.as_ref()?;
    let index = index?;
    let name = step.tool.as_deref()?;
    if index.is_named(name) || words(name).any(|it| it.len() >= WORD_BYTES_MIN && forms(it).any(|it| index.is_named(&it)))
    {
        return None;
    }
    let carried = Carried::of(step, tool, index);
    let (argument, source) = carried.outside.filter(|_| carried.asks_elsewhere || !carried.asks)?;
    let own = |it: &Mark| it.session.as_str() == step.session_id.as_str();
    let read = own(untrusted).then(|| untrusted.step.clone());
    let evidence = read.into_iter().chain([source.clone()]).collect();
    let (before, reached) = match run.authority.as_deref() {
        Some(Authority { level, reached: Some(it), .. }) => (*level, format!(", step {}", quoted(it.step.as_str(), 60))),
        _ => (0, String::new()),
    };
    let against = carried.authored.map_or(String::new(), |it| format!(" Against it: `{}` is the user's own.", quoted(&it, 60)));
    let message = format!(
        "{} {} ({}), and the run has not gone beyond what {}{reached}. Neither user nor operator named it, and `{}` stood in text that anybody could have written (step {}).{against}",
        quoted(name, 60),
        does(tool.level),
        says(tool.level_by),
        does(before),
        quoted(&argument, 60),
        quoted(source.as_str(), 60),
    );
    Some(Found::judgement(evidence, tool.level - before, message))
}

/// What the arguments of a call carry.
#[derive(Default)]
struct Carried {
    /// The first argument with something of a stranger's, and the step that read it.
    outside: Option<(String, StepId<'static>)>,
    /// The first one that is an author's own.
    authored: Option<String>,
    /// It goes to some address, and to one that no author gave.
    asks: bool,
    asks_elsewhere: bool,
}

impl Carried {
    fn of(step: &Step<'_>, tool: &Tool, index: &Index) -> Self {
        let mut out = Self::default();
        index.probe(step, tool.traits(), &mut |argument| {
            let authored = argument.named || argument.words > 0 && argument.words == argument.words_named;
            let is_address = argument.role == Role::Destination;
            out.asks |= is_address;
            out.asks_elsewhere |= is_address && !authored;
            if authored {
                out.authored.get_or_insert_with(|| argument.shown_path());
            } else if out.outside.is_none() {
                let outside = argument.traces().find(|it| it.source.integrity == Integrity::Untrusted);
                out.outside = outside.map(|it| (argument.shown_path(), it.source.step.clone()));
            }
        });
        out
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
        0 => "does what is not known",
        1 => "reads",
        2 => "writes",
        3 => "reaches out or destroys",
        _ => "runs code or administers",
    }
}

const fn says(by: Said) -> &'static str {
    match by {
        Said::Name => "by its name alone",
        Said::Annotations => "as its server says",
        Said::Catalogue => "as the operator says",
    }
}
