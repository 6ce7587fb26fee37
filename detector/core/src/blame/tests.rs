use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use martingale_schemas::wire::StepV1;
use martingale_schemas::{Calibration, Column, Decision, Finding, Limits, Mode, Severity, Step, StepId, Timestamp};
use proptest::prelude::*;

use super::row::{BLAME_NUMBERS, Number};
use super::{Blame, weigh};
use crate::testing::{BEGIN, step_json};
use crate::{Detector, Observed, Rules};

/// Judges a script ([`crate::testing`]) and blames.
fn blame(script: &str) -> Blame {
    static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| Arc::new(Rules::starter()));
    let mut detector = Detector::new(Arc::clone(&RULES));
    follow(script, |step| match detector.observe(step) {
        Observed::Judged(judgement) => judgement.findings,
        Observed::Duplicate => Vec::new(),
    })
}

fn follow(script: &str, mut judge: impl FnMut(&Step<'_>) -> Vec<Finding>) -> Blame {
    let (mut blame, mut now) = (Blame::default(), BEGIN);
    for (number, line) in script.lines().map(str::trim).filter(|it| !it.is_empty()).enumerate() {
        now += 1_000_000;
        let json = step_json(line, number, &mut now);
        let step =
            StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(now), &Limits::DEFAULT).unwrap();
        blame.observe(&step, &judge(&step));
    }
    blame
}

/// The three most suspect steps, and the reasons of the first.
#[track_caller]
fn check(script: &str, expected: &str) {
    let suspects = blame(script).suspects();
    let mut shown: String = suspects.iter().take(3).map(|it| format!("{} ", it.step_id)).collect();
    for reason in suspects.first().map(|it| it.reasons.as_slice()).unwrap_or_default() {
        write!(shown, "\n{reason}").unwrap();
    }
    let lines = |text: &str| text.lines().map(|it| it.trim().to_owned()).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&shown), lines(expected.trim()));
}

#[test]
fn a_call_that_fails_first_is_blamed_before_those_after_it() {
    check(
        r#"
        user_message "what does the flight to Oslo cost"
        tool_call search {"q":"flight Oslo"}
        tool_result search "SK 12, SK 14"
        tool_call price {"flight":"SK 99"}
        tool_result price "no such flight" status=error
        tool_call price {"flight":"SK 98"}
        tool_result price "no such flight" status=error
        final_message "I do not know"
        "#,
        "4 6 1
        nothing failed before it did: step 5 shows the error
        it acted, where others only spoke
        it brought in 1 word that no step before it had",
    );
}

#[test]
fn a_large_claim_out_of_nothing_is_blamed_before_what_repeats_it() {
    check(
        r#"
        user_message "what do passes cost"
        reasoning "first look up daily passes then annual passes then compare both"
        assistant_message "adults pay 20.00 children pay 18.00 and an annual pass for everybody is 90.00 including parking"
        assistant_message "so adults pay 20.00 and an annual pass is 90.00"
        final_message "20.00"
        "#,
        "3 4 1
        no other step of an agent is as large: 16 words
        it brought in 15 words that no step before it had, and later steps took up 9 of them",
    );
}

#[test]
fn an_agent_that_was_handed_something_answers_for_it() {
    let asked = r#""please find out what a pass costs" tool=web"#;
    for (asks, first, expected) in [("handoff", asked, "3"), ("tool_call", r#"web {"q":"what a pass costs"}"#, "2")] {
        let script = format!(
            r#"
            assistant_message "find out what it costs"
            {asks} {first}
            tool_result web "I typed pass costs into the search field of the museum and it says nothing of any price"
            final_message "unknown"
            "#
        );
        let first = blame(&script).suspects()[0].step_id.to_string();
        assert_eq!(first, expected, "{asks}");
    }
}

#[test]
fn a_call_that_is_denied_is_blamed_before_the_person_who_refused_it() {
    let script = r#"
        user_message "restart the web service in staging"
        tool_call list_services {"env":"staging"}
        tool_result list_services "web, billing"
        approval delete_database "no" status=error
        tool_call delete_database {"name":"billing"}
        tool_result delete_database "done"
        final_message "done"
        "#;
    let suspects = blame(script).suspects();
    assert_eq!(suspects[0].step_id.as_str(), "5", "{suspects:#?}");
}

#[test]
fn what_a_finding_says_began_somewhere_is_blamed() {
    let call = "tool_call search {\"q\":\"the same\"}\ntool_result search \"nothing\"\n";
    let script = format!(
        "user_message \"look\"\ntool_call open {{\"page\":\"a page with more words\"}}\ntool_result open \"a page\"\n{}",
        call.repeat(8)
    );
    let suspects = blame(&script).suspects();
    assert_eq!(suspects[0].step_id.as_str(), "4", "{suspects:#?}");
    assert!(suspects[0].reasons[0].to_string().starts_with("what `repeat"), "{:#?}", suspects[0].reasons);
}

/// What is found of a step itself is blamed on that step, the first time; a course on where it began.
#[test]
fn a_finding_of_the_step_itself_is_blamed_on_it() {
    let call = "tool_call send {\"to\":\"x\"}\ntool_result send \"sent\"\n";
    let script = format!("user_message \"go\"\nassistant_message \"going\"\n{}", call.repeat(3));
    let finding = |column, rule: &'static str, step: &Step<'_>| Finding {
        column,
        rule: rule.into(),
        severity: Severity::High,
        mode: Mode::Shadow,
        decision: Decision::Deny,
        score: 1.0,
        calibration: Calibration::Fact,
        bound: None,
        evidence: vec![StepId::from("3".to_owned()), step.step_id.to_static()],
        began_at: StepId::from("3".to_owned()),
        message: "so it is".to_owned(),
        notify: Vec::new(),
    };
    for (column, expected) in [
        (Column::Leakage, [("3", "what `rule` found begins here: so it is"), ("5", "`rule` found something")]),
        (Column::Loop, [("3", "what `rule` found begins here: so it is"), ("5", "it acted")]),
    ] {
        let of = |step: &Step<'_>| match step.step_id.as_str() {
            "5" | "7" => vec![finding(column, "rule", step)],
            _ => Vec::new(),
        };
        let suspects = follow(&script, of).suspects();
        for (at, (step, reason)) in expected.into_iter().enumerate() {
            assert_eq!(suspects[at].step_id.as_str(), step, "{column:?} {suspects:#?}");
            let first = suspects[at].reasons[0].to_string();
            assert!(first.starts_with(reason), "{column:?} {step}: {first}");
        }
    }
}

#[test]
fn steps_that_did_not_lead_to_the_end_speak_for_themselves_less() {
    let script = |causes: &str| {
        format!(
            r#"
            user_message "go"
            assistant_message "going"
            tool_call a {{"x":"one two three four"}} causes=2
            tool_call b {{"x":"five six seven eight"}} causes=2
            final_message "done" {causes}
            "#
        )
    };
    for (causes, expected) in [("", "3"), ("causes=3", "3"), ("causes=4", "4")] {
        let suspects = blame(&script(causes)).suspects();
        assert_eq!(suspects[0].step_id.as_str(), expected, "{causes}: {suspects:#?}");
        let against = suspects.iter().filter(|it| it.reasons.contains(&super::Reason::Aside)).count();
        assert_eq!(against > 0, !causes.is_empty(), "{causes}");
    }
}

#[test]
fn an_empty_session_has_no_suspect() {
    check("", "");
    check("session_start", "1\nagainst it: it came from outside, and no agent did it");
}

/// Every number has a weight, and each pushes the way that its reason says.
#[test]
fn weights_push_one_way() {
    for ((number, name), weight) in Number::ALL.iter().zip(BLAME_NUMBERS).zip(weigh::weights()) {
        let way = match number {
            Number::Acts | Number::Size | Number::New | Number::FailsFirst | Number::Begun | Number::Caught => 1,
            Number::Told
            | Number::Asked
            | Number::Opens
            | Number::Thinks
            | Number::Concludes
            | Number::Late
            | Number::Aside => -1,
        };
        assert!(weight * way > 0, "{name}: {weight}");
    }
}

proptest! {
    /// Each step once, whatever comes, and the same whether a step came once or twice.
    #[test]
    fn each_step_is_ranked_once(
        steps in prop::collection::vec(
            ("user_message|tool_call|tool_result|handoff|reasoning|assistant_message|session_end", "[a-c ]{0,12}", any::<bool>()),
            0..20,
        )
    ) {
        let line = |(at, (kind, text, fails)): (usize, &(String, String, bool))| {
            let tool = if kind.starts_with("tool") { "t " } else { "" };
            let status = if *fails { "status=error" } else { "" };
            format!("{kind} {tool}\"{text}\" {status} id=n{at}\n")
        };
        let lines: Vec<String> = steps.iter().enumerate().map(line).collect();
        let once = blame(&lines.concat()).suspects();
        let mut places: Vec<usize> = once.iter().map(|it| it.index).collect();
        places.sort_unstable();
        prop_assert_eq!(places, (0..steps.len()).collect::<Vec<_>>());
        prop_assert!(once.is_sorted_by_key(|it| (std::cmp::Reverse(it.score), it.index)));
        let twice: String = lines.iter().map(|it| it.repeat(2)).collect();
        prop_assert_eq!(once, blame(&twice).suspects());
    }
}
