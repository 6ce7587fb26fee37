//! One policy document, read and compiled with every fault it has.

use martingale_schemas::{Decision, Mode, Severity};

use super::budget;
use super::loops::{self, LOOPS};
use super::message::Message;
use super::misnomers;
use super::rule::{Policy, Reach, Role, Rule, Then};
use super::test_cases;
use crate::condition::{Condition, Names, Want, reserved};
use crate::glob::Glob;
use crate::hash::hash;
use crate::limits::StateLimits;
use crate::yaml::{Faults, Node, Object, Value};

const SEVERITIES: &[(&str, Severity)] = &[
    ("info", Severity::Info),
    ("low", Severity::Low),
    ("medium", Severity::Medium),
    ("high", Severity::High),
    ("critical", Severity::Critical),
];

pub(super) const MODES: &[(&str, Mode)] = &[("off", Mode::Off), ("shadow", Mode::Shadow), ("enforce", Mode::Enforce)];

/// `allow` decides nothing, and arguments cannot be rewritten yet.
pub(super) const DECISIONS: &[(&str, Decision)] = &[
    ("warn", Decision::Warn),
    ("throttle", Decision::Throttle),
    ("step_up", Decision::StepUp),
    ("deny", Decision::Deny),
    ("halt", Decision::Halt),
];

pub(super) const RULES: [&str; 9] =
    ["when", "sequence", "threshold", "budget", "delegation", "repeat", "cycle", "near_duplicate", "no_progress"];

/// Most parts of a sequence: a session may have to remember a step for each.
const PARTS_MAX: usize = 8;

/// Reads one document; `None` when it has any fault.
pub(super) fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Policy> {
    let before = faults.len();
    let mut it = Object::of(node, "", faults)?;
    let id = it.required_text("id", faults);
    faults.policy = id.map(str::to_owned);
    let valid = |it: &char| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, '-' | '_' | '.');
    if id.is_some_and(|id| id.len() > 64 || !id.chars().all(|it| valid(&it))) {
        it.fault(
            "id",
            "holds other characters than `a-z 0-9 - _ .`, or more than 64: it names the policy everywhere",
            faults,
        );
    }
    let title = it.required_text("title", faults);
    it.text("description", faults);
    let severity = it.word("severity", SEVERITIES, faults);
    if it.get("severity").is_none() {
        it.fault("", "`severity` is missing: info, low, medium, high or critical", faults);
    }
    let mode = it.word_or_meant("mode", MODES, misnomers::MODES, faults).unwrap_or_default();
    let reach = reach(&mut it, faults);
    let (rule, names) = rule(&mut it, faults).unzip();
    let names = names.unwrap_or_default();
    let then = then(&mut it, &names, rule.as_ref(), faults);
    let tests = test_cases::read(&mut it, faults);
    it.finish_knowing(misnomers::POLICY, faults);
    if faults.len() > before {
        return None;
    }
    let (id, title, rule) = (id?.to_owned(), title?.to_owned(), rule?);
    notes(&rule, &reach, node, faults);
    let key = hash(node.to_json().to_string().as_bytes()) | 1;
    let file = faults.file().to_owned();
    Some(Policy { id, key, title, severity: severity?, mode, reach, rule, then: then?, file, tests })
}

fn reach(it: &mut Object<'_>, faults: &mut Faults<'_>) -> Reach {
    let Some(mut scope) = it.object("scope", faults) else { return Reach::default() };
    let reach = Reach {
        agent: scope.text("agent", faults).map(Glob::new),
        version: scope.text("version", faults).map(Glob::new),
        environments: scope.texts("environment", faults).unwrap_or_default().into_iter().map(str::to_owned).collect(),
        tool: scope.text("tool", faults).map(Glob::new),
    };
    scope.finish(faults);
    reach
}

/// The rule and the names of its parts.
fn rule(it: &mut Object<'_>, faults: &mut Faults<'_>) -> Option<(Rule, Vec<String>)> {
    let present: Vec<&str> = RULES.into_iter().filter(|name| it.get(name).is_some()).collect();
    let [kind] = present.as_slice() else {
        let message = match present.as_slice() {
            [] => format!("there is no rule: write one of {}", RULES.join(", ")),
            many => format!(
                "there are {} rules ({}): keep one, and make a policy of each other",
                many.len(),
                many.join(", ")
            ),
        };
        it.fault("", message, faults);
        for name in ["within", "unless"] {
            it.get(name);
        }
        return None;
    };
    if *kind != "sequence" {
        for name in ["within", "unless"] {
            if it.get(name).is_some() {
                it.fault(name, format!("belongs to `sequence`, and this policy has `{kind}`"), faults);
            }
        }
    }
    let rule = match *kind {
        "when" => Rule::When(condition(it, "when", Names::default(), faults)?),
        "sequence" => return sequence(it, faults),
        "threshold" => threshold(&mut it.object("threshold", faults)?, faults)?,
        "budget" => Rule::Budget(budget::read(&mut it.object("budget", faults)?, faults)?),
        "delegation" => delegation(&mut it.object("delegation", faults)?, faults)?,
        of_calls => loops::read(it, of_calls, faults)?,
    };
    Some((rule, Vec::new()))
}

fn condition(it: &mut Object<'_>, name: &'static str, names: Names<'_>, faults: &mut Faults<'_>) -> Option<Condition> {
    expression(it, name, (Want::Truth, names), faults)
}

fn expression(
    it: &mut Object<'_>,
    name: &'static str,
    wanted: (Want, Names<'_>),
    faults: &mut Faults<'_>,
) -> Option<Condition> {
    let node = it.get(name);
    let source = it.text(name, faults)?;
    Condition::compile(source, node?, &it.path(name), wanted, faults)
}

fn sequence(it: &mut Object<'_>, faults: &mut Faults<'_>) -> Option<(Rule, Vec<String>)> {
    let nodes = it.list("sequence", faults);
    if !(2..=PARTS_MAX).contains(&nodes.len()) {
        let message = format!("has {} parts: write 2 to {PARTS_MAX}; for one step there is `when`", nodes.len());
        it.fault("sequence", message, faults);
    }
    let (mut parts, mut names): (Vec<Condition>, Vec<String>) = (Vec::new(), Vec::new());
    for (at, node) in nodes.iter().enumerate() {
        let Some(mut part) = Object::of(node, &format!("sequence[{at}]"), faults) else { continue };
        let name = part.text("as", faults).map_or_else(|| format!("part{}", at + 1), str::to_owned);
        let is_word = name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_');
        if !is_word || reserved(&name) || names.contains(&name) {
            let message = format!("`{name}` cannot name a part: write a new word of `a-z 0-9 _` that is no other name");
            part.fault("as", message, faults);
        }
        if part.get("where").is_none() {
            part.fault("", "`where` is missing", faults);
        }
        let known = Names { current: Some(&name), earlier: &names, amounts: false };
        if let Some(condition) = condition(&mut part, "where", known, faults) {
            parts.push(condition);
        }
        part.finish_knowing(misnomers::PART, faults);
        names.push(name);
    }
    let within = it.span("within", faults);
    if it.get("within").is_none() {
        it.fault("", "`within` is missing: how far the last step may be from the first, as `10m`", faults);
    }
    // Whatever has begun has its first part, so that is what `unless` may name.
    let first = names.get(..1).unwrap_or_default();
    let unless = condition(it, "unless", Names { earlier: first, ..Names::default() }, faults);
    let rule = Rule::Sequence { parts, names: names.clone(), unless, within: within? };
    Some((rule, names))
}

fn threshold(it: &mut Object<'_>, faults: &mut Faults<'_>) -> Option<Rule> {
    let filter = condition(it, "where", Names::default(), faults);
    if it.get("where").is_none() {
        it.fault("", "`where` is missing", faults);
    }
    let sum = expression(it, "sum", (Want::Number, Names::default()), faults);
    let sums = it.get("sum").is_some();
    // Counting is the default, and may be said.
    match it.get("count").map(|it| &it.value) {
        Some(Value::Int(_)) => {
            it.fault_meaning("count", "says what is counted: the number is `at_least`", "at_least", faults);
        }
        _ => {
            it.word("count", &[("steps", ())], faults);
        }
    }
    if sums && it.get("count").is_some() {
        it.fault("count", "there is a `sum` too: keep one", faults);
    }
    let at_least = it.amount("at_least", faults);
    let counted_max = StateLimits::DEFAULT.window_events_max;
    #[expect(clippy::cast_precision_loss, reason = "a small limit")]
    if !sums && at_least.is_some_and(|it| it > counted_max as f64) {
        it.fault("at_least", format!("counts at most {counted_max} steps: use a `budget` for more"), faults);
    }
    if it.get("at_least").is_none() {
        it.fault("", "`at_least` is missing", faults);
    }
    let within = it.span("within", faults);
    if it.get("within").is_none() {
        it.fault("", "`within` is missing: the length of the window, as `5m`", faults);
    }
    it.finish_knowing(misnomers::THRESHOLD, faults);
    Some(Rule::Threshold { filter: filter?, sum, at_least: at_least?, within: within? })
}

fn delegation(it: &mut Object<'_>, faults: &mut Faults<'_>) -> Option<Rule> {
    let mut max = |name| it.whole(name, 0..=10_000, faults).and_then(|it| u32::try_from(it).ok());
    let (depth_max, fan_out_max) = (max("depth_max"), max("fan_out_max"));
    if it.get("depth_max").is_none() && it.get("fan_out_max").is_none() {
        it.fault("", "there is no limit: write `depth_max`, `fan_out_max` or both", faults);
    }
    it.finish_knowing(misnomers::DELEGATION, faults);
    Some(Rule::Delegation { depth_max, fan_out_max })
}

fn then(it: &mut Object<'_>, names: &[String], rule: Option<&Rule>, faults: &mut Faults<'_>) -> Option<Then> {
    let of_calls = LOOPS.into_iter().find(|name| it.get(name).is_some());
    if it.get("then").is_none() {
        if of_calls.is_some() {
            return Some(Then { decision: worst(rule), message: None, notify: Vec::new() });
        }
        it.fault("", "`then` is missing: write at least `then: { decision: warn }`", faults);
        return None;
    }
    let mut then = it.object("then", faults)?;
    let decision = match of_calls {
        None => then.word_or_meant("decision", DECISIONS, misnomers::DECISIONS, faults),
        Some(_) => Some(worst(rule)),
    };
    match (of_calls, then.get("decision")) {
        (None, None) => then.fault("", "`decision` is missing: warn, throttle, step_up, deny or halt", faults),
        (Some(name), Some(_)) => {
            let message = format!("is said in `{name}`, each with its count: write e.g. `{name}: {{ warn: 3 }}`");
            then.fault("decision", message, faults);
        }
        _ => {}
    }
    let amounts =
        of_calls.is_some() || matches!(rule, Some(Rule::Threshold { .. } | Rule::Budget(_) | Rule::Delegation { .. }));
    let (current, earlier) = names.split_last().map_or((None, names), |(last, rest)| (Some(last.as_str()), rest));
    let node = then.get("message");
    let message = then.text("message", faults).zip(node).map(|(text, node)| {
        Message::compile(text, node, &then.path("message"), Names { current, earlier, amounts }, faults)
    });
    let notify = then.texts("notify", faults).unwrap_or_default().into_iter().map(str::to_owned).collect();
    then.finish_knowing(misnomers::THEN, faults);
    Some(Then { decision: decision?, message, notify })
}

/// What a rule that names its decisions itself comes to.
fn worst(rule: Option<&Rule>) -> Decision {
    if let Some(Rule::Loop(it)) = rule { it.levels.worst() } else { Decision::Allow }
}

/// What is allowed and worth knowing.
fn notes(rule: &Rule, reach: &Reach, node: &Node, faults: &mut Faults<'_>) {
    let path = |role| match (rule, role) {
        (Rule::Sequence { .. }, Role::Part(at)) => format!("sequence[{at}].where"),
        (Rule::Sequence { .. }, _) => "unless".to_owned(),
        (Rule::Threshold { .. }, _) => "threshold.where".to_owned(),
        _ => "when".to_owned(),
    };
    let line = |member: &str| {
        let Value::Map(members) = &node.value else { return node.line };
        members.iter().find(|(key, _)| member.starts_with(&key.name)).map_or(node.line, |(key, _)| key.line)
    };
    if !matches!(rule, Rule::Budget(_) | Rule::Delegation { .. } | Rule::Loop(_)) {
        for (role, trigger) in rule.triggers() {
            let path = path(role);
            let reaches = |tool: &String| reach.tool.as_ref().is_none_or(|it| it.matches(tool));
            if trigger.is_empty() || trigger.tools.as_ref().is_some_and(|it| !it.iter().any(reaches)) {
                faults.note(&path, line(&path), "no step can match: its kinds or tools contradict each other");
            } else if trigger.is_unindexed() && reach.tool.is_none() {
                let message = "looks at every step: name `step.kind` or `step.tool` with `&&` and others cost nothing";
                faults.note(&path, line(&path), message);
            }
        }
    }
}
