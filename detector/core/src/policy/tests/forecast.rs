//! Budgets whose end is told before it comes.

use std::sync::Arc;

use martingale_schemas::{Calibration, Limits, Mode, Step, Timestamp};

use crate::testing::{BEGIN, check, check_with, ordinary, step_json};
use crate::{Detector, Observed, Rules};

fn policy(budget: &str, decision: &str) -> String {
    format!(
        "id: p\ntitle: T\nseverity: high\nmode: enforce\nbudget: {{ {budget} }}\nthen: {{ decision: {decision}, message: over }}\n"
    )
}

/// A line so many times.
fn times(count: usize, line: &str) -> String {
    format!("{line}\n").repeat(count)
}

#[test]
fn a_budget_is_slowed_down_before_its_end() {
    let tokens = "tokens: 1000, forecast: 5";
    let call = |tokens: u32| format!("model_call tokens={tokens}");
    let said = |tokens: u32| format!("model_call tokens={tokens} // throttle p\n");
    let cases = [
        // A steady pace: five steps before the end, once, and the end itself as ever.
        (tokens, times(14, &call(50)) + &said(50) + &times(5, &call(50)) + "model_call tokens=1 // deny p"),
        // One dear step is no pace; two are.
        (tokens, times(10, &call(10)) + &call(500) + "\n" + &said(200)),
        // A pace that drops: what it was is no reason any more.
        ("tokens: 1000, forecast: 2", times(12, &call(70)) + &times(30, "plan") + &times(1, &call(100)) + "plan"),
        ("tokens: 1000, forecast: 2", times(12, &call(70)) + &said(70)),
        // Few steps say nothing, however dear: the limit is there for them.
        (tokens, times(7, &call(140)) + "model_call tokens=140 // deny p"),
        // Beyond it in one step: nothing is left to be told.
        (tokens, times(9, &call(1)) + "model_call tokens=5000 // deny p\nmodel_call tokens=1 // deny p"),
        // Used up to the last: told, and not yet beyond.
        (tokens, times(8, &call(1)) + &said(992) + "plan\nmodel_call tokens=1 // deny p"),
        // Nothing is used: it never ends.
        (tokens, times(40, "plan")),
        // Steps are known to the step.
        ("steps: 6, forecast: 2", times(3, "plan") + "plan // throttle p\nplan\nplan\nplan // deny p"),
        ("tool_calls: 6, forecast: 3", times(4, "plan\ntool_call f {}") + "plan\ntool_call f {} // throttle p\nplan"),
        ("cost_usd: 1.0, forecast: 4", times(11, "model_call cost=0.0625") + "model_call cost=0.0625 // throttle p"),
        // Time: so many steps as it takes at the time between them.
        (
            "wall: 1m, forecast: 5",
            times(7, "+5s plan") + "+5s plan // throttle p\n" + &times(5, "+5s plan") + "+5s plan // deny p",
        ),
        // With a share as well, each is said once, and never two of one step.
        (
            "tokens: 1000, warn_at: 0.5, forecast: 5",
            times(9, &call(50)) + "model_call tokens=50 // warn p\n" + &times(4, &call(50)) + &said(50) + &call(50),
        ),
        ("tokens: 1000, warn_at: 0.75, forecast: 5", times(14, &call(50)) + &said(50) + &times(5, &call(50))),
        // As large as can be.
        ("tokens: 9223372036854775807, forecast: 1000", times(20, "model_call tokens=1000000000000")),
        (
            "tokens: 9000000000000, forecast: 1",
            times(7, "model_call tokens=1000000000000") + "model_call tokens=1000000000000 // throttle p",
        ),
    ];
    for (budget, script) in cases {
        check(&policy(budget, "deny"), &script);
    }
}

/// Who only warns beyond the limit is not slowed down before it.
#[test]
fn it_is_no_worse_than_what_is_beyond() {
    let script = |said: &str| times(3, "plan") + &format!("plan // {said} p\nplan\nplan\nplan // {said} p");
    check(&policy("steps: 6, forecast: 2", "warn"), &script("warn"));
    check(&policy("steps: 6, forecast: 2", "throttle"), &script("throttle"));
}

#[test]
fn a_resumed_session_and_run_begin_anew() {
    let halted = times(7, "model_call tokens=100")
        + "model_call tokens=100 // throttle p\n"
        + &times(2, "model_call tokens=100");
    let halted = halted + "model_call tokens=1 // halt p\nresume session s\n";
    // The pace that led to the halt is forgotten with it: eight steps are needed again.
    let again = times(7, "model_call tokens=100") + "model_call tokens=100 // throttle p";
    check(&policy("tokens: 1000, forecast: 2", "halt"), &(halted + &again));
    let of_run = policy("tokens: 1000, forecast: 3, of: run", "deny");
    let both = "root: model_call tokens=100\nkid<root: model_call tokens=100\n";
    // Each session is told, by what all have used; of a run that is resumed, as of a share, not again.
    let script = both.repeat(3)
        + "root: model_call tokens=100\nkid<root: model_call tokens=100 // throttle p\nroot: plan // throttle p\n"
        + "kid<root: model_call tokens=300 // deny p\nresume run root\n";
    check(&of_run, &(script + &both.repeat(5) + "other<root: plan // throttle p"));
}

/// What is said at the last step of a script.
fn said(budget: &str, lines: &[&str]) -> (String, Calibration) {
    let rules = Rules::load(&[("p.yaml", policy(budget, "deny"))]).unwrap();
    let (mut detector, mut now, mut found) = (Detector::new(Arc::new(rules)), BEGIN, Vec::new());
    for (number, line) in lines.iter().enumerate() {
        now += 1_000_000;
        let json = step_json(line, number, &mut now);
        let step = Step::from_topic(json.as_bytes(), Timestamp::from_micros(now), &Limits::DEFAULT).unwrap();
        let Observed::Judged(it) = detector.observe(&step) else { panic!("a new step") };
        found = it.findings.into_iter().filter(|it| it.mode == Mode::Enforce && it.rule == "p").collect();
    }
    let [finding] = found.try_into().unwrap();
    (finding.message, finding.calibration)
}

#[test]
fn it_tells_how_much_is_used_and_about_when_it_ends() {
    for (budget, step, count, last, expected) in [
        (
            "cost_usd: 1.0, forecast: 10",
            "+20s model_call cost=0.05",
            9,
            "+20s model_call cost=0.05",
            "T: 0.5 of 1 USD are used; at the pace of its latest steps the rest is used up in about 10 steps or 3 minutes.",
        ),
        (
            "tokens: 1000, forecast: 1, of: run",
            "model_call tokens=99",
            9,
            "model_call tokens=99",
            "T: 990 of 1000 tokens are used; at the pace of the run's latest steps the rest is used up in about one step or one second.",
        ),
        (
            "steps: 30, forecast: 10",
            "+3h plan",
            19,
            "+3h plan",
            "T: 20 of 30 steps are used; at the pace of its latest steps the rest is used up in about 10 steps or 30 hours.",
        ),
        (
            "wall: 10m, forecast: 4",
            "+1m plan",
            7,
            "+1m plan",
            "T: 420 of 600 seconds are used; at the pace of its latest steps the rest is used up in about 3 steps or 3 minutes.",
        ),
        (
            "tokens: 1000, forecast: 3",
            "+1ms model_call tokens=1",
            8,
            "model_call tokens=992",
            "T: 1000 of 1000 tokens are used; whatever comes goes beyond.",
        ),
        (
            "tool_calls: 9, forecast: 1",
            "+1ms tool_call f {}",
            7,
            "+1ms tool_call f {}",
            "T: 8 of 9 tool calls are used; at the pace of its latest steps the rest is used up in about one step.",
        ),
    ] {
        let lines = [vec![step; count], vec![last]].concat();
        assert_eq!(said(budget, &lines), (expected.to_owned(), Calibration::Uncalibrated), "{budget}");
    }
}

/// One end is foretold once, whichever foretells it first: the pace, or what past sessions used.
#[test]
fn a_session_is_slowed_down_once_for_a_limit() {
    let call = "model_call tokens=100\n";
    let (slow, over) = ("model_call tokens=100 // throttle p\n", "model_call tokens=1 // deny p");
    for (totals, before) in [
        // Past sessions at once, and the pace would as two steps are left.
        (&[1200][..], 0),
        // The pace as two steps are left, and past sessions would beyond 900.
        (&[900, 900, 900, 1200], 7),
        (&[900], 7),
    ] {
        let script = call.repeat(before) + slow + &call.repeat(9 - before) + over;
        check_with(under(totals, 80), &script);
    }
}

/// Under the baseline of an agent whose sessions use these many tokens, 300 a step.
fn under(totals: &[u32], runs: usize) -> Arc<Rules> {
    let scripts: Vec<Vec<&str>> = totals.iter().map(|it| vec!["model_call tokens=300"; *it as usize / 300]).collect();
    let scripts: Vec<&[&str]> = scripts.iter().map(Vec::as_slice).collect();
    let files = policy("tokens: 1000, forecast: 2", "deny") + "---\nid: drift\nmode: off\n";
    let rules = Rules::load(&[("p.yaml", files)]).unwrap().with_hijack(None);
    Arc::new(rules.with_baselines(ordinary(&scripts, runs)))
}

#[test]
fn what_past_sessions_used_is_held_against_it() {
    let call = "model_call tokens=300\n";
    let (plan, slow) = ("plan\n", "model_call tokens=300 // throttle p\n");
    for (totals, runs, script) in [
        // Three in four of forty went beyond: said at once, and only once.
        (&[1200, 1200, 1200, 300][..], 40, slow.to_owned() + plan + call + call + "model_call tokens=300 // deny p"),
        // One in four: said when this one has come as far as twenty of which more than half did.
        (&[300, 300, 300, 1200], 80, call.to_owned() + slow + call),
        (&[300, 300, 300, 1200], 76, call.to_owned() + call + call),
        // Half is not more than half; what reaches the limit does not go beyond.
        (&[300, 1200], 40, call.to_owned() + plan),
        (&[900], 40, call.to_owned() + call + call),
        // Fewer than twenty say nothing.
        (&[1200], 19, call.to_owned() + call + call),
        // Resumed, its budget begins anew, and the total of others says nothing of the rest.
        (&[600, 600, 600, 1200], 80, call.to_owned() + "halt session s\nresume session s\n" + call + call + call),
    ] {
        check_with(under(totals, runs), &script);
    }
    let (rules, mut now, mut found) = (under(&[300, 300, 300, 1200], 80), BEGIN, Vec::new());
    let mut detector = Detector::new(rules);
    for number in 0..2 {
        let json = step_json(call.trim(), number, &mut now);
        let step = Step::from_topic(json.as_bytes(), Timestamp::from_micros(now), &Limits::DEFAULT).unwrap();
        let Observed::Judged(it) = detector.observe(&step) else { panic!("a new step") };
        found = it.findings;
    }
    assert_eq!(
        found[0].message,
        "T: 600 of 1000 tokens are used. Of 20 past sessions of this agent that used as much or more, 20 went beyond the limit."
    );
}
