//! # leakage, chain
//!
//! What values say of a step: where the arguments of a call come from, whether a secret would leave with it, and whether
//! it completes the three that are dangerous together: text of strangers was read, something to be kept was read, and
//! now something goes out.
//!
//! A secret on its way out is a fact and halts. It is one only as far as secrets are recognised and tools are described:
//! where the name of a tool alone says that it reaches out, the finding watches and its message says why. The user's own
//! secret is theirs to give, and asks for approval in shadow. Wrong where a credential is used for what it is for at an address that nobody named.
//! Misses what was encoded in a way that is not known, computed or translated (`docs/detection.md`).

use std::borrow::Cow;

use martingale_schemas::{Calibration, Column, Finding, Kind, Mode, Step, StepId, ValueEdge, ValueMatch};

use crate::policy::CoreRule;
use crate::provenance::{Argument, Bounds, Index, Integrity, Leak, Mark, Role, ToolTraits, error_of};
use crate::quote::{quoted, quoted_whole};
use crate::rules::{Rules, Values};
use crate::run::RunState;
use crate::secret::SecretKind;
use crate::sink::reaches_out;
use crate::tools::{Flags, Tool};

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
    index: Option<&'f Index>,
}

impl<'f> Sources<'f> {
    pub(crate) fn new(flow: &'f Flow, index: Option<&'f Index>) -> Self {
        Self { steps: &flow.steps, index }
    }

    /// Whether content came from a step. From one that is forgotten it may have, and so it counts.
    pub(crate) fn has(&self, step: &StepId<'_>) -> bool {
        self.steps.iter().any(|it| it.as_str() == step.as_str())
            || self.index.is_some_and(|it| it.is_lossy() && !it.knows(step))
    }
}

/// Takes in what a step reads, and follows what a call sends.
///
/// `is_root`: a message of the user is one, and not what another agent wrote.
pub(crate) fn observe(
    step: &Step<'_>,
    tool: &Tool,
    is_root: bool,
    index: &mut Option<Box<Index>>,
    run: &mut RunState,
    rules: &Rules,
) -> Flow {
    if rules.values == Values::Off {
        return Flow::default();
    }
    let traits = tool.traits();
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
    let mut flow = Flow::default();
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
    let authorised = destinations.authorised() && !index.is_some_and(|it| it.strays(step));
    flow.findings.extend(leakage(step, tool, guessed, &secrets, authorised, rules));
    if let (Some(untrusted), Some(sensitive)) = (&shared.untrusted, &shared.sensitive)
        && !authorised
    {
        let finding = chain(step, tool, guessed, untrusted, sensitive);
        flow.findings.extend(rules.in_mode(CoreRule::Trifecta, guessed.is_none(), finding));
    }
    flow
}

/// Whether the addresses of a call, where it says that they are, are all the user's own.
#[derive(Clone, Copy, Debug, Default)]
struct Destinations {
    named: u32,
    other: u32,
}

impl Destinations {
    fn take(&mut self, argument: &Argument<'_>) {
        if argument.role == Role::Destination {
            let named = argument.is_authored();
            self.named += u32::from(named);
            self.other += u32::from(!named);
        }
    }

    fn authorised(self) -> bool {
        self.named > 0 && self.other == 0
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

fn leakage(
    step: &Step<'_>,
    tool: &Tool,
    guessed: Option<&str>,
    secrets: &[(&Leak, &crate::provenance::Secret)],
    authorised: bool,
    rules: &Rules,
) -> Option<Finding> {
    // Its author gave it, or it is used as what it is at an address of theirs. One that is neither is not excused by others.
    let is_given = |leak: &Leak, secret: &crate::provenance::Secret| {
        secret.authored || authorised && crate::provenance::is_credential(&leak.path)
    };
    let worst = secrets.iter().find(|(leak, secret)| !is_given(leak, secret));
    let worst = worst.or_else(|| secrets.iter().find(|(_, secret)| !secret.authored));
    let (leak, secret) = worst.or_else(|| secrets.first())?;
    let given = is_given(leak, secret);
    let mut numbers: Vec<usize> = secrets.iter().map(|it| it.0.secret).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let rule = if given { CoreRule::SecretGiven } else { CoreRule::SecretLeak };
    let this = step.step_id.to_static();
    let same = secret.session.as_str() == step.session_id.as_str();
    let evidence: Vec<StepId<'static>> = same.then(|| secret.step.clone()).into_iter().chain([this.clone()]).collect();
    let place = if secret.path.is_empty() { String::new() } else { format!(", at `{}`", quoted(&secret.path, 60)) };
    let session = if same { String::new() } else { format!(" of session {}", quoted(secret.session.as_str(), 60)) };
    let others = match numbers.len() {
        1 => String::new(),
        n => format!(" So would {} more.", n - 1),
    };
    let by = guessed.map_or_else(|| stated(tool), |it| format!(", which reaches out by {it}"));
    // Why an enforced rule only watches here.
    let held_back = guessed.filter(|_| rules.modes.of(rule) == Mode::Enforce).map_or(String::new(), |it| {
        format!(
            " It is only watched, since nothing but {it} says that the tool reaches out: describe it as `open_world`."
        )
    });
    let message = format!(
        "{} from step {}{session}{place} would leave through {}{by}: argument `{}`, {}.{others}{held_back}",
        capital(secret.kind.as_str()),
        quoted(secret.step.as_str(), 60),
        quoted(step.tool.as_deref().unwrap_or("a tool"), 60),
        quoted(&leak.path, 60),
        if secret.kind == SecretKind::Hidden { "in whatever form it was sent" } else { how(leak.matched) },
    );
    let finding = Finding {
        column: Column::Leakage,
        rule: Cow::Borrowed(rule.id()),
        severity: rule.severity(),
        mode: rule.default_mode(),
        decision: rule.decision(),
        score: f64::from(u32::try_from(numbers.len()).unwrap_or(u32::MAX)),
        calibration: backing(guessed),
        bound: None,
        began_at: evidence.first().cloned().unwrap_or(this),
        evidence,
        message,
        notify: Vec::new(),
    };
    rules.in_mode(rule, guessed.is_none(), finding)
}

const fn how(matched: ValueMatch) -> &'static str {
    match matched {
        ValueMatch::Exact => "as it was read",
        ValueMatch::Case => "in other case",
        ValueMatch::Url => "percent-encoded",
        ValueMatch::Hex => "in hexadecimal",
        ValueMatch::Base64 => "in base64",
        ValueMatch::Nested => "encoded more than once",
        _ => "with other separators, or in pieces",
    }
}

fn capital(text: &str) -> String {
    let mut out = text.to_owned();
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    out
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
        ToolTraits::new(self.flags.has(Flags::OPEN_WORLD), self.level >= 4, &self.labels)
    }
}
