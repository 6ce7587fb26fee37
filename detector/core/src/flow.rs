//! # leakage, chain
//!
//! What values say of a step: where the arguments of a call come from, whether a secret would leave with it, and whether
//! it completes the three that are dangerous together: text of strangers was read, something to be kept was read, and
//! now something goes out.
//!
//! A secret on its way out is a fact and halts. It is one only as far as secrets are recognised and tools are described:
//! where the name of a tool alone says that it reaches out, the finding watches and its message says why. The user's own
//! secret is theirs to give, and asks for approval in shadow, unless a stranger's text said where to. What was cut off a call
//! may be anything: in a run that has read a secret such a call is denied. Wrong where a credential is used for what it is
//! for at an address that nobody named, or that a stranger named as well.
//! Misses what was encoded in a way that is not known, computed or translated (`docs/detection.md`).

mod secrets;

use std::borrow::Cow;

use martingale_schemas::{Calibration, Column, Finding, Kind, Step, StepId, ValueEdge, ValueMatch};

use crate::policy::CoreRule;
use crate::provenance::{Argument, Bounds, Index, Integrity, Mark, Role, ToolTraits, error_of, named_code_sends, sent};
use crate::quote::{quoted, quoted_whole};
use crate::rules::{Rules, Values};
use crate::run::RunState;
use crate::sink::{Ground, reaches_out};
use crate::tools::{Flags, Tool};
use secrets::{Excuse, leakage, unread};

/// Edges of one verdict: the strongest of each argument, the first arguments.
const EDGES_MAX: usize = 16;
/// Longest path in an edge, in characters.
const PATH_CHARS_MAX: usize = 120;

/// What the values of a step say.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) edges: Vec<ValueEdge>,
    pub(crate) findings: Vec<Finding>,
    /// Steps of the session that what is sent came from.
    steps: Vec<StepId<'static>>,
    /// Whether a part of what is sent was cut off: it may have come from any step.
    cut: bool,
}

/// Steps kept of those that what is sent came from.
const STEPS_MAX: usize = 64;

impl Flow {
    fn came_from(&mut self, step: &StepId<'static>) {
        if self.steps.len() < STEPS_MAX && !self.steps.contains(step) {
            self.steps.push(step.clone());
        }
    }
}

/// What the content of a step came from, for conditions that ask.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sources<'f> {
    steps: &'f [StepId<'static>],
    cut: bool,
    index: Option<&'f Index>,
}

impl<'f> Sources<'f> {
    pub(crate) fn new(flow: &'f Flow, index: Option<&'f Index>) -> Self {
        Self { steps: &flow.steps, cut: flow.cut, index }
    }

    /// Whether content came from a step. From one that is forgotten it may have, and so may what was cut off from any: both count.
    pub(crate) fn has(&self, step: &StepId<'_>) -> bool {
        let may_have = |it: &Index| if it.knows(step) { self.cut } else { it.is_lossy() };
        self.steps.iter().any(|it| it.as_str() == step.as_str()) || self.index.is_some_and(may_have)
    }
}

/// Takes in what a step reads, and follows what a call sends.
///
/// `is_root`: a message of the user is one, and not what another agent wrote. `of_the_web`: the call that it is, or that it answers,
/// was given an address of the web.
pub(crate) fn observe(
    step: &Step<'_>,
    tool: &Tool,
    is_root: bool,
    of_the_web: bool,
    index: &mut Option<Box<Index>>,
    run: &mut RunState,
    rules: &Rules,
) -> Flow {
    if rules.values == Values::Off {
        return Flow::default();
    }
    let mut traits = tool.traits();
    // Whatever it is called; but what the operator says of it holds.
    traits.outside |= of_the_web && !tool.says_whose_words();
    let is_call =
        matches!(step.kind, Kind::ToolCall | Kind::MemoryWrite | Kind::Handoff | Kind::Spawn | Kind::FinalMessage);
    let flow = if is_call { call(step, tool, is_root, index.as_deref(), run, rules) } else { Flow::default() };
    // Also of a call: what it says of its failure, its tool said.
    let failed = || error_of(step).map(|_| Integrity::of_tool(traits));
    if let Some(integrity) = Integrity::of(step, traits, is_root).or_else(failed) {
        let index = index.get_or_insert_default();
        let shared = run.shared.get_or_insert_default();
        index.ingest(step, traits, integrity, &Bounds::DEFAULT, &mut shared.reading(step, integrity, traits));
    }
    flow
}

fn call(step: &Step<'_>, tool: &Tool, is_root: bool, index: Option<&Index>, run: &mut RunState, rules: &Rules) -> Flow {
    let mut flow = Flow { cut: sent::is_cut(step), ..Flow::default() };
    let mut destinations = Destinations::default();
    if let Some(index) = index {
        index.probe(step, tool.traits(), &mut |argument| {
            destinations.take(argument);
            argument.author.into_iter().for_each(|it| flow.came_from(&it.step));
            argument.traces().for_each(|it| flow.came_from(&it.source.step));
            if flow.edges.len() < EDGES_MAX {
                flow.edges.extend(edge(argument, |it| index.path_of(it)));
            }
        });
    }
    // What a session says last is for the one that started it.
    let hands_over = matches!(step.kind, Kind::MemoryWrite | Kind::Handoff | Kind::Spawn)
        || step.kind == Kind::FinalMessage && !is_root;
    if let Some(index) = index
        && hands_over
    {
        run.shared.get_or_insert_default().hand_over(step, index);
    }
    let Some(shared) = run.shared.as_deref() else { return flow };
    let leaks = shared.leaks(step);
    let secrets: Vec<_> = leaks.iter().filter_map(|it| Some((it, shared.vault().get(it.secret)?))).collect();
    let own = secrets.iter().filter(|(_, it)| it.session.as_str() == step.session_id.as_str());
    own.for_each(|(_, it)| flow.came_from(&it.step));
    if rules.values != Values::Judge || step.kind != Kind::ToolCall {
        return flow;
    }
    let Some(ground) = reaches_out(step, tool) else { return flow };
    let guessed = ground.guessed();
    let asks = destinations.named > 0 || !secrets.is_empty();
    let stays = destinations.other == 0 && asks && !index.is_some_and(|it| it.strays(step));
    let authorised = stays && destinations.named > 0;
    let has_own = secrets.iter().any(|(_, it)| it.authored);
    let excuse = Excuse {
        step,
        index,
        named: destinations.named_by.filter(|_| authorised),
        authorised,
        stays: stays && !may_run_code(step, tool),
        lure: index.filter(|_| has_own).and_then(|it| it.lure(step)),
    };
    let leak = leakage(step, tool, guessed, &secrets, &excuse, rules);
    if leak.as_ref().is_none_or(|it| it.rule != CoreRule::SecretLeak.id())
        && ground == Ground::Stated
        && let (Some(cut), Some(secret)) = (step.input_cut.as_ref(), shared.secret_of_others())
    {
        flow.findings.extend(rules.in_mode(CoreRule::SecretLeak, true, unread(step, tool, cut, secret)));
    }
    flow.findings.extend(leak);
    if let (Some(untrusted), Some(sensitive)) = (&shared.untrusted, &shared.sensitive)
        && !authorised
    {
        let finding = chain(step, tool, guessed, untrusted, sensitive);
        flow.findings.extend(rules.in_mode(CoreRule::Trifecta, guessed.is_none(), finding));
    }
    flow
}

/// Whether a call has code run, or what may be code that sends what stands beside it anywhere.
fn may_run_code(step: &Step<'_>, tool: &Tool) -> bool {
    let (name, input) = (step.tool.as_deref().unwrap_or_default(), step.input.as_ref().map_or("", |it| it.get()));
    tool.runs_code() || named_code_sends(name, input)
}

/// The addresses of a call, where it says that they are, and whether they are the user's own.
#[derive(Clone, Debug, Default)]
struct Destinations {
    named: u32,
    other: u32,
    /// The first step that named one, where it is remembered.
    named_by: Option<StepId<'static>>,
}

impl Destinations {
    fn take(&mut self, argument: &Argument<'_>) {
        if argument.role == Role::Destination {
            let named = argument.is_authored();
            self.named += u32::from(named);
            self.other += u32::from(!named);
            if self.named_by.is_none() {
                self.named_by = argument.author.map(|it| it.step.clone());
            }
        }
    }
}

/// The edge to the strongest trace of an argument, or to who named it.
fn edge(argument: &Argument<'_>, path_of: impl Fn(&crate::provenance::Trace<'_>) -> String) -> Option<ValueEdge> {
    let name = || quoted_whole(argument.shown_path(), PATH_CHARS_MAX);
    if let Some(author) = argument.author {
        let (from, path) = (author.step.clone(), None);
        return Some(ValueEdge {
            argument: name(),
            from,
            path,
            matched: ValueMatch::Exact,
            part: false,
            authored: true,
        });
    }
    let trace = argument.traces().next()?;
    let path = Some(quoted_whole(path_of(trace), PATH_CHARS_MAX)).filter(|it| !it.is_empty());
    let from = trace.source.step.clone();
    Some(ValueEdge { argument: name(), from, path, matched: trace.matched, part: !trace.whole, authored: false })
}

/// What backs a finding on a tool that reaches out.
const fn backing(guessed: Option<&str>) -> Calibration {
    if guessed.is_none() { Calibration::Fact } else { Calibration::Uncalibrated }
}

/// What backs that a tool reaches out, where it is no guess.
fn stated(tool: &Tool) -> String {
    match tool.described.has(Flags::OPEN_WORLD) {
        true => format!(", which reaches out {}", tool.open_by.words()),
        false => ", by the code that it is given".to_owned(),
    }
}

fn chain(step: &Step<'_>, tool: &Tool, guessed: Option<&str>, untrusted: &Mark, sensitive: &Mark) -> Finding {
    let this = step.step_id.to_static();
    let own = |it: &&Mark| it.session.as_str() == step.session_id.as_str();
    let mut evidence: Vec<StepId<'static>> =
        [untrusted, sensitive].into_iter().filter(own).map(|it| it.step.clone()).collect();
    evidence.dedup();
    evidence.push(this.clone());
    let shown = |it: &Mark| {
        let session = if own(&it) { String::new() } else { format!(" of session {}", quoted(it.session.as_str(), 60)) };
        format!("{}{session}", quoted(it.step.as_str(), 60))
    };
    let message = format!(
        "Text that anybody could have written (step {}) and something to be kept (step {}) were read, and {}{} sends to an address that the user did not name.",
        shown(untrusted),
        shown(sensitive),
        quoted(step.tool.as_deref().unwrap_or("a tool"), 60),
        guessed.map_or_else(|| format!("{},", stated(tool)), |it| format!(", by {it},")),
    );
    Finding {
        column: Column::Chain,
        rule: Cow::Borrowed(CoreRule::Trifecta.id()),
        severity: CoreRule::Trifecta.severity(),
        mode: CoreRule::Trifecta.default_mode(),
        decision: CoreRule::Trifecta.decision(),
        score: 1.0,
        calibration: backing(guessed),
        bound: None,
        began_at: evidence.first().cloned().unwrap_or(this),
        evidence,
        message,
        notify: Vec::new(),
    }
}

impl Tool {
    /// What matters of it to the index of values.
    pub(crate) fn traits(&self) -> ToolTraits {
        let outside = self.flags.has(Flags::OPEN_WORLD) || self.flags.has(Flags::OUTSIDE);
        ToolTraits::new(outside, self.runs_code(), &self.labels)
    }
}
