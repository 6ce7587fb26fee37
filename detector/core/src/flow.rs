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

use std::borrow::Cow;

use martingale_schemas::step::Cut;
use martingale_schemas::{
    Calibration, Column, Decision, Finding, Kind, Mode, Severity, Step, StepId, ValueEdge, ValueMatch,
};

use crate::policy::CoreRule;
use crate::provenance::{
    Argument, Bounds, Index, Integrity, Leak, Mark, Role, Secret, ToolTraits, error_of, is_credential,
    named_code_sends, same_name, sent,
};
use crate::quote::{quoted, quoted_whole};
use crate::rules::{Rules, Values};
use crate::run::RunState;
use crate::secret::SecretKind;
use crate::sink::{Ground, reaches_out};
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
    traits.outside |= of_the_web && !tool.is_described();
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
        stays: stays && !runs_code(step, tool),
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

/// Names of what a server gives to have it back. Not `password` or `api_key`: who shows files shows those, and wants none back.
const OF_SESSIONS: [&str; 14] = [
    "accesstoken",
    "authenticitytoken",
    "authtoken",
    "bearertoken",
    "csrftoken",
    "idtoken",
    "jwt",
    "refreshtoken",
    "sessiontoken",
    "sessionid",
    "sessionkey",
    "sessionsecret",
    "token",
    "xsrftoken",
];

fn is_of_session(name: &str) -> bool {
    let letters = || name.bytes().filter(u8::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase());
    OF_SESSIONS.iter().any(|it| letters().eq(it.bytes()))
}

/// Whether a call has code run, which may send what stands beside it anywhere.
fn runs_code(step: &Step<'_>, tool: &Tool) -> bool {
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

/// What speaks for it that a secret may go where a call sends it.
struct Excuse<'i> {
    step: &'i Step<'i>,
    index: Option<&'i Index>,
    /// Whether the call goes nowhere that anybody else than an author named.
    stays: bool,
    /// Whether all that the call may go to was named by an author, and the step that did where it is remembered.
    authorised: bool,
    named: Option<StepId<'static>>,
    /// A place that a stranger named and no author did, and the step that read it.
    lure: Option<(String, StepId<'static>)>,
}

impl Excuse<'_> {
    /// Its author gave it and nobody else said where to, or it is used as what it is: at an address of theirs, or by who gave it.
    fn covers(&self, leak: &Leak, secret: &Secret) -> bool {
        secret.authored && self.lure.is_none()
            || self.authorised && is_credential(&leak.path)
            || self.giver(leak, secret).is_some()
    }

    /// The step that gave a token which goes as a whole, as it was, under the name that it had, and nowhere that anybody named. As an
    /// argument of its own: within another, such as a document, it would be shown to whoever reads that.
    fn gave(&self, leak: &Leak, secret: &Secret) -> Option<StepId<'static>> {
        let is_argument = !leak.path.contains(['.', '[']) && is_of_session(&leak.path);
        let is_same = leak.whole && is_argument && same_name(&leak.path, &secret.path);
        own_step(secret, self.step).filter(|_| self.stays && is_same)
    }

    /// Who has one back that it gave.
    fn giver(&self, leak: &Leak, secret: &Secret) -> Option<&'static str> {
        self.index?.giver(&self.gave(leak, secret)?, self.step.tool.as_deref()?)
    }

    /// Whether it may have it back: who gave it is forgotten.
    fn may_give_back(&self, leak: &Leak, secret: &Secret) -> bool {
        self.gave(leak, secret).is_some_and(|it| self.index.is_some_and(|index| !index.knows(&it)))
    }

    /// That in a sentence, with the steps that show it beside the one that read the secret.
    fn said(&self, leak: &Leak, secret: &Secret) -> (String, Option<StepId<'static>>) {
        let who = |step: Option<&StepId<'_>>| match step.and_then(|it| self.index?.author(it)) {
            Some(Integrity::User) => "the user",
            Some(_) => "the operator",
            None => "its author",
        };
        match &self.lure {
            Some((place, read)) if secret.authored => {
                let said = format!(
                    " Its author gave it, but did not name `{}`, which stands in what step {} read and anybody could have written.",
                    quoted(place, 60),
                    quoted(read.as_str(), 60),
                );
                (said, Some(read.clone()))
            }
            _ if secret.authored => {
                (format!(" Against it: {} gave it in that step.", who(own_step(secret, self.step).as_ref())), None)
            }
            _ if let Some(giver) = self.giver(leak, secret) => {
                let step = quoted(secret.step.as_str(), 60);
                (format!(" Against it: the same {giver} gave it under that name in step {step}."), None)
            }
            _ if self.covers(leak, secret) => {
                let by = self.named.as_ref().map_or_else(
                    || "its author named the address".to_owned(),
                    |it| format!("{} named the address in step {}", who(Some(it)), quoted(it.as_str(), 60)),
                );
                (format!(" Against it: {by}, and that argument is for a credential."), self.named.clone())
            }
            _ if self.may_give_back(leak, secret) => {
                (" Whether it goes back to who gave it, under that name, is too long ago to tell.".to_owned(), None)
            }
            _ => (String::new(), None),
        }
    }
}

fn leakage(
    step: &Step<'_>,
    tool: &Tool,
    guessed: Option<&str>,
    secrets: &[(&Leak, &Secret)],
    excuse: &Excuse<'_>,
    rules: &Rules,
) -> Option<Finding> {
    // One that nothing excuses is not excused by others.
    let worst = secrets.iter().find(|(leak, secret)| !excuse.covers(leak, secret));
    let worst = worst.or_else(|| secrets.iter().find(|(_, secret)| !secret.authored));
    let (leak, secret) = worst.or_else(|| secrets.first())?;
    let given = excuse.covers(leak, secret);
    let mut numbers: Vec<usize> = secrets.iter().map(|it| it.0.secret).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let rule = if given { CoreRule::SecretGiven } else { CoreRule::SecretLeak };
    let this = step.step_id.to_static();
    let (said, steps) = excuse.said(leak, secret);
    let mut evidence: Vec<_> = own_step(secret, step).into_iter().chain(steps).chain([this.clone()]).collect();
    evidence.dedup();
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
        "{} would leave through {}{by}: {}, {}.{others}{said}{held_back}",
        capital(&origin(secret, step)),
        quoted(step.tool.as_deref().unwrap_or("a tool"), 60),
        place(&leak.path, step),
        if secret.kind == SecretKind::Hidden { "in whatever form it was sent" } else { how(leak.matched) },
    );
    let finding = Finding {
        column: Column::Leakage,
        rule: Cow::Borrowed(rule.id()),
        severity: rule.severity(),
        mode: rule.default_mode(),
        // Whose secret it is may say that it is meant: a manual that was read names the right address as well.
        decision: if secret.authored || excuse.may_give_back(leak, secret) {
            Decision::StepUp
        } else {
            rule.decision()
        },
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

/// A call of which a part was not read, in a run that has read a secret which its author did not give: that may be in it.
fn unread(step: &Step<'_>, tool: &Tool, cut: &Cut, secret: &Secret) -> Finding {
    let this = step.step_id.to_static();
    let evidence: Vec<_> = own_step(secret, step).into_iter().chain([this.clone()]).collect();
    let read = step
        .input
        .as_ref()
        .map_or(0, |it| serde_json::from_str(it.get()).map_or_else(|_| it.get().len(), |it: String| it.len()));
    let bytes = match cut.bytes.saturating_sub(read as u64) {
        0 => "a part was".to_owned(),
        bytes => format!("{bytes} bytes were"),
    };
    let reaches = if tool.described.has(Flags::OPEN_WORLD) { stated(tool) } else { ", whose code sends".to_owned() };
    let message = format!(
        "Of this call of {}{reaches}, {bytes} cut off and not read, and the run has read {}. Whether that would leave is not known: send less in one call.",
        quoted(step.tool.as_deref().unwrap_or("a tool"), 60),
        origin(secret, step),
    );
    Finding {
        column: Column::Leakage,
        rule: Cow::Borrowed(CoreRule::SecretLeak.id()),
        severity: Severity::High,
        mode: CoreRule::SecretLeak.default_mode(),
        decision: Decision::Deny,
        score: 1.0,
        calibration: Calibration::Uncalibrated,
        bound: None,
        began_at: evidence.first().cloned().unwrap_or(this),
        evidence,
        message,
        notify: Vec::new(),
    }
}

/// The step that read a secret, if that is of the same session.
fn own_step(secret: &Secret, step: &Step<'_>) -> Option<StepId<'static>> {
    (secret.session.as_str() == step.session_id.as_str()).then(|| secret.step.clone())
}

/// A secret in a sentence, with where it was read.
fn origin(secret: &Secret, step: &Step<'_>) -> String {
    let session = match own_step(secret, step) {
        Some(_) => String::new(),
        None => format!(" of session {}", quoted(secret.session.as_str(), 60)),
    };
    let place = if secret.path.is_empty() { String::new() } else { format!(", at `{}`", quoted(&secret.path, 60)) };
    format!("{} from step {}{session}{place}", secret.kind.as_str(), quoted(secret.step.as_str(), 60))
}

/// Where in a call a secret stands. Each value of an object has a path, its own names have none.
fn place(path: &str, step: &Step<'_>) -> String {
    let is_object = step.input.as_ref().is_some_and(|it| it.get().starts_with('{'));
    match path {
        "" if is_object => "a member's name".to_owned(),
        "" => sent::argument(path, step),
        path => format!("argument `{}`", quoted(path, 60)),
    }
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
        let outside = self.flags.has(Flags::OPEN_WORLD) || self.flags.has(Flags::OUTSIDE);
        ToolTraits::new(outside, self.runs_code(), &self.labels)
    }
}
