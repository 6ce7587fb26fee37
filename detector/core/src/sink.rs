//! Calls whose effect cannot be taken back: they send something out of the system, or destroy something in it.

use martingale_schemas::Step;

use crate::provenance::{named_code_sends, sends};
use crate::tools::{Flags, Tool, is_interpreter};

/// Why a call is held to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Somebody said so of its tool, or the code that it runs sends.
    Stated,
    /// The words of a definition of its tool suggest it, and nothing else.
    Definition,
    /// The name of its tool does, and nothing else.
    Name,
}

impl Ground {
    /// For what says that it has a property.
    fn of(tool: &Tool, property: Flags) -> Option<Self> {
        let guess = if tool.suggested.has(property) { Self::Definition } else { Self::Name };
        let ground = if tool.described.has(property) { Self::Stated } else { guess };
        tool.flags.has(property).then_some(ground)
    }

    /// What it was guessed from, unless it was stated.
    pub(crate) const fn guessed(self) -> Option<&'static str> {
        match self {
            Self::Stated => None,
            Self::Definition => Some("the words of its definition"),
            Self::Name => Some("its name"),
        }
    }
}

/// Whether a call sends something out of the system, and what says so. A tool that runs code does when its code says so,
/// however it is described, and so does one of which nothing is known when it is given code by that name. What nothing but a word such as
/// `run` or `deploy` holds to run code is given code by that name as well; where anything else that it is given sends, that is a guess.
pub(crate) fn reaches_out(step: &Step<'_>, tool: &Tool) -> Option<Ground> {
    let ground = Ground::of(tool, Flags::OPEN_WORLD);
    let is_unknown = tool.level == 0 && tool.is_guessed();
    if ground == Some(Ground::Stated) || !tool.runs_code() && !is_unknown {
        return ground;
    }
    let (Some(name), Some(input)) = (step.tool.as_deref(), step.input.as_ref().map(|it| it.get())) else {
        return ground.filter(|_| is_unknown);
    };
    if is_unknown {
        return named_code_sends(name, input).then_some(Ground::Stated).or(ground);
    }
    if !sends(name, input) {
        return None;
    }
    let is_code = !tool.is_guessed() || is_interpreter(name) || named_code_sends(name, input);
    if is_code { Some(Ground::Stated) } else { ground }
}

/// Whether what a call does cannot be taken back, what that is, and what says so; the surer of both.
pub(crate) fn is_final(step: &Step<'_>, tool: &Tool) -> Option<(Ground, &'static str)> {
    let destroys = Ground::of(tool, Flags::DESTRUCTIVE);
    let reaches = reaches_out(step, tool).map(|it| (it, "sends something out"));
    let destroys = destroys.map(|it| (it, "destroys something"));
    let stated = |it: &(Ground, &str)| it.0 == Ground::Stated;
    reaches.filter(stated).or_else(|| destroys.filter(stated)).or(reaches).or(destroys)
}
