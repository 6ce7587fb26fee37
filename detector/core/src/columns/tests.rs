use std::sync::Arc;

use martingale_schemas::{Decision, Limits, Step, Timestamp};

use super::ordinal;
use crate::Rules;
use crate::testing::check;

#[test]
fn the_same_call_with_the_same_result() {
    check(
        "",
        r#"
        tool_call search {"q":"x"}
        tool_result search "none"
        tool_call search {"q":"x"}
        tool_result search "none"
        tool_call search { "q" : "x" }       // warn repeat
        tool_result search "none"
        tool_call search {"q":"x"}           // step_up repeat
        tool_result search "none"
        tool_call search {"q":"x"}           // step_up repeat
        tool_result search "none"
        tool_call search {"q":"x"}           // halt repeat
        tool_result search "none"            // halt halted_by_rule
        user_message "go on"                 // halt halted_by_rule
        "#,
    );
}

/// A call that was not let through has no result. Asking again, with a person's yes or after their no, leads to no halt.
#[test]
fn what_a_person_was_asked_about_is_no_repetition() {
    let same = "tool_call search {\"q\":\"x\"}\ntool_result search \"none\"\n";
    let third = same.replacen('\n', "   // warn repeat\n", 1);
    let begin = format!("{same}{same}{third}");
    let asked = "tool_call search {\"q\":\"x\"}    // step_up repeat\n";
    check("", &format!("{begin}{}", asked.repeat(5)));
    let named = asked.replace("}    //", "} id=asked  //");
    for yes in ["approval search status=ok causes=asked\n", "approval search status=ok\n"] {
        check("", &format!("{begin}{named}{yes}{begin}{asked}"));
    }
    // Of another call, of another tool, of none that is known, and a no.
    for other in ["search status=ok causes=99", "list status=ok", "search status=error causes=asked"] {
        check("", &format!("{begin}{named}approval {other}\n{asked}"));
    }
    // What runs all the same counts, whoever said yes to it.
    let yes = "approval search status=ok\n";
    let ran = |said: &str| format!("tool_call search {{\"q\":\"x\"}}{said}\n{yes}tool_result search \"none\"\n");
    let asks = ran("   // step_up repeat");
    let end = "tool_call search {\"q\":\"x\"}   // halt repeat\n";
    check("", &format!("{}{}{}{asks}{asks}{end}", ran(""), ran(""), ran("   // warn repeat")));
    // A cycle of four calls, which `repeat` does not see: a retry is asked about too, until somebody says yes.
    let calls = |names: &[&str]| {
        names.iter().map(|it| format!("tool_call {it} {{}}\ntool_result {it} \"{it}\"\n")).collect::<String>()
    };
    let (round, head) = (calls(&["a", "b", "c", "d"]), calls(&["a", "b", "c"]));
    let warned = |it: &str| it.replace("{}\n", "{}   // warn cycle\n");
    let rounds = format!("{round}{round}{head}{}", warned(&format!("{}{head}", calls(&["d"]))));
    let asked = "tool_call d {}    // step_up cycle\n";
    let yes = "tool_call d {} id=asked    // step_up cycle\napproval d status=ok causes=asked\ntool_call d {}\n";
    check("", &format!("{rounds}{asked}{asked}{yes}"));
    // Results that are lost prove nothing of those that are there.
    let lost = |said: &str| format!("tool_call search {{\"q\":\"x\"}}   // {said}\n");
    let (warned, halted) = (lost("warn repeat"), lost("halt repeat"));
    let patient = set("repeat", "enforce", "{ warn: 3, halt: 6 }");
    check(&patient, &format!("{same}{same}{warned}{warned}{warned}{halted}"));
}

#[test]
fn a_new_result_or_other_work_starts_the_count_anew() {
    check(
        "",
        r#"
        tool_call search {"q":"x"}
        tool_result search "none"
        tool_call search {"q":"x"}
        tool_result search "none"
        tool_call search {"q":"x"}           // warn repeat
        tool_result search "one"
        tool_call search {"q":"x"}
        tool_result search "one"
        tool_call a {}
        tool_result a "1"
        tool_call b {}
        tool_result b "2"
        tool_call c {}
        tool_result c "3"
        tool_call search {"q":"x"}
        "#,
    );
}

/// "Continue" between the rounds of a cycle changes nothing.
#[test]
fn a_cycle_goes_on_though_the_user_says_so() {
    let round =
        "user_message \"Continue.\"\ntool_call a {}\ntool_result a \"1\"\ntool_call b {}\ntool_result b \"2\"\n";
    let last = "user_message \"Continue.\"\ntool_call a {}\ntool_result a \"1\"\ntool_call b {}    // warn cycle\n";
    check("", &(round.repeat(2) + last));
}

/// Who checks after each new change, and who is asked again, does not repeat itself; who does the same things does.
#[test]
fn what_changes_or_is_asked_starts_the_count_anew() {
    let work: String = (0..8)
        .map(|n| {
            format!(
                "tool_call edit_file {{\"path\":\"{n}.py\"}}\ntool_result edit_file \"File written.\"\n\
                 tool_call bash {{\"command\":\"ruff check\"}}\ntool_result bash \"All checks passed!\"\n"
            )
        })
        .collect();
    check("", &work);
    let chat = "user_message \"anything new?\"\ntool_call list_inbox {}\ntool_result list_inbox \"No unread messages.\"\n\
                final_message \"No.\"\n";
    let chat: String = (0..8).map(|n| chat.replace("new?", &format!("new, {n}?"))).collect();
    check("", &chat);
    check(
        "",
        r#"
        tool_call edit_file {"path":"a"}
        tool_result edit_file "ok"
        tool_call bash {"command":"ruff check"}
        tool_result bash "failed"
        tool_call edit_file {"path":"a"}
        tool_result edit_file "ok"
        tool_call bash {"command":"ruff check"}
        tool_result bash "failed"
        tool_call edit_file {"path":"a"}
        tool_result edit_file "ok"
        tool_call bash {"command":"ruff check"}    // warn repeat
        tool_result bash "failed"
        tool_call edit_file {"path":"a"}           // warn repeat
        tool_result edit_file "ok"
        tool_call bash {"command":"ruff check"}    // step_up repeat
        "#,
    );
}

/// Worst that is decided where these calls are made in turn twelve times: tool, arguments and result, `N` the number of the round.
#[track_caller]
fn check_rounds(calls: &[(&str, &str, &str)], expected: Decision) {
    let mut detector = crate::Detector::new(Arc::new(Rules::load::<&str, &str>(&[]).expect("built in")));
    let mut now = crate::testing::BEGIN;
    let line = |(tool, input, result): &(&str, &str, &str), n: usize| {
        let of_round = |it: &str| it.replace('N', &n.to_string());
        [format!("tool_call {tool} {}", of_round(input)), format!("tool_result {tool} \"{}\"", of_round(result))]
    };
    let lines = (0..12).flat_map(|n| calls.iter().flat_map(move |it| line(it, n)));
    let decided = lines.enumerate().map(|(number, line)| {
        let json = crate::testing::step_json(&line, number, &mut now);
        let step = Step::from_topic(json.as_bytes(), Timestamp::from_micros(now), &Limits::DEFAULT).unwrap();
        detector.observe(&step).judgement().map_or(Decision::Allow, |it| it.decision)
    });
    assert_eq!(decided.max(), Some(expected), "{calls:?}");
}

/// Who changes something between equal calls, by a tool of whatever name, or reads something new.
#[test]
fn whoever_gets_on_does_not_repeat_itself() {
    let test = ("bash", r#"{"command":"pytest -q"}"#, "1 failed");
    for edit in
        ["str_replace_editor", "search_replace", "apply_diff", "git_commit", "restart", "fill_form", "browser_type"]
    {
        check_rounds(&[(edit, r#"{"v":N}"#, "ok"), test], Decision::Allow);
    }
    for calls in [
        [("computer", r#"{"key":"Page_Down"}"#, ""), ("screenshot", "{}", "frame-N")],
        [("next_item", "{}", "ok"), ("read_item", "{}", "item-N")],
        [("get_time", "{}", "noon"), ("lookup", r#"{"sku":N}"#, "price-N")],
        [("answer", r#"{"choice":"a"}"#, "recorded"), ("get_question", "{}", "question-N")],
        // An agent that is stuck beside a clock looks the same.
        [("search", r#"{"q":"x"}"#, "none"), ("get_time", "{}", "12:0N")],
    ] {
        check_rounds(&calls, Decision::Allow);
    }
}

#[test]
fn the_same_calls_over_and_over_are_new_once() {
    for calls in [
        [("str_replace_editor", r#"{"v":1}"#, "edited"), ("bash", r#"{"command":"pytest -q"}"#, "1 failed")],
        [("computer", r#"{"key":"Page_Down"}"#, ""), ("screenshot", "{}", "the_same_frame")],
        // A new search changes nothing, and finds nothing new.
        [("search", r#"{"q":"N"}"#, "none"), ("list_files", "{}", "a.py")],
        // Said in other words, to a tool of which nobody knows what it does, and answered alike.
        [
            ("calculator", r#"{"e":"N"}"#, "Error: invalid syntax in line 0"),
            ("calculator", "{}", "Error: invalid syntax in line 0"),
        ],
        [("get_order_status", "{}", "shipped"), ("search", r#"{"q":"x"}"#, "none")],
    ] {
        check_rounds(&calls, Decision::Halt);
    }
}

/// Nothing proves it useless to wait for somebody else.
#[test]
fn waiting_is_only_warned_of() {
    for calls in [
        &[("bash", r#"{"command":["sleep","300"]}"#, "")][..],
        &[("get_job_status", r#"{"id":7}"#, "running")],
        &[("wait", r#"{"seconds":30}"#, "done"), ("list_pods", "{}", "pending")],
        &[("wait", "{}", "done"), ("list_pods", "{}", "pending"), ("list_jobs", "{}", "queued")],
    ] {
        check_rounds(calls, Decision::Warn);
    }
}

#[test]
fn the_same_text_with_another_status_is_another_result() {
    check(
        "",
        r#"
        tool_call f {}
        tool_result f "x" status=ok
        tool_call f {}
        tool_result f "x" status=error
        tool_call f {}
        "#,
    );
}

#[test]
fn calls_without_results_only_warn() {
    for input in ["{}", r#"{"url":"https://a.test/x"}"#] {
        let call = format!("tool_call f {input}");
        check("", &format!("{}{}", format!("{call}\n").repeat(5), format!("{call}    // warn repeat\n").repeat(2)));
    }
}

#[test]
fn results_find_their_call_by_cause_then_by_tool() {
    check(
        "",
        r#"
        tool_call f {"n":1} id=a
        tool_call f {"n":2} id=b
        tool_result f "one" causes=a
        tool_result f "two" causes=b
        tool_call f {"n":1} id=c
        tool_call f {"n":2} id=d
        tool_result f "two"
        tool_result f "one"
        tool_call f {"n":1} id=e
        tool_result f "one"
        tool_call f {"n":1}      // warn repeat
        "#,
    );
}

#[test]
fn polling_is_exempt() {
    let call = "tool_call job_status {\"id\":1}\ntool_result job_status \"running\"\n";
    check("tools: [{ name: job_status, labels: [poll] }]", &call.repeat(20));
}

#[test]
fn a_cycle_of_calls() {
    let round = r#"
        tool_call a {}
        tool_result a "1"
        tool_call b {}
        tool_result b "2"
        tool_call c {}
        tool_result c "3"
        tool_call d {}
        tool_result d "4"
    "#;
    let third = r#"
        tool_call a {}
        tool_result a "1"
        tool_call b {}
        tool_result b "2"
        tool_call c {}
        tool_result c "3"
        tool_call d {}      // warn cycle
        tool_result d "4"
    "#;
    check("", &format!("{round}{round}{third}"));
    let changed = third.replace("\"2\"", "\"5\"").replace(" // warn cycle", "");
    check("", &format!("{round}{round}{changed}"));
}

#[test]
fn nearly_the_same_call() {
    let words: Vec<String> = (0..240).map(|it| format!("word{it}")).collect();
    let call = |n: u32| format!("tool_call find {{\"q\":\"{} {n}\"}}", words.join(" "));
    let result = "tool_result find \"nothing like it was found\"";
    check(
        "",
        &format!(
            "{}\n{result}\n{}\n{result}\n{}\n{result}\n{} // allow shadow:near_duplicate\n{result}\ntool_call find {{\"q\":\"else\"}}",
            call(1),
            call(2),
            call(3),
            call(4)
        ),
    );
}

#[test]
fn results_that_bring_nothing_new() {
    let mut script = String::new();
    for n in 0..9 {
        let expected = if n == 8 { " // allow shadow:no_progress" } else { "" };
        script += &format!("tool_call f{n} {{}}\ntool_result f{n} \"the same long answer again\"{expected}\n");
    }
    check("", &script);
    check("", &script.replace("the same long answer again", "ok").replace(" // allow shadow:no_progress", ""));
}

/// What was cut is compared by the fingerprint of the whole, not by its beginning.
#[test]
fn contents_that_differ_after_the_cut_differ() {
    let head = "x".repeat(200 * 1024);
    let calls = |differ: bool, expected: [&str; 6]| -> String {
        let lines = expected.into_iter().enumerate().map(|(n, expected)| {
            let tail = if differ { n } else { 0 };
            format!(
                "tool_call write_file {{\"content\":\"{head}{tail}\"}}{expected}\ntool_result write_file \"written\"\n"
            )
        });
        lines.collect()
    };
    check("", &calls(true, [""; 6]));
    let repeated = ["", "", " // warn repeat", " // step_up repeat", " // step_up repeat", " // halt repeat"];
    check("", calls(false, repeated).trim_end().trim_end_matches("tool_result write_file \"written\""));
}

#[test]
fn results_that_differ_after_the_cut_differ() {
    let call = "tool_call read_log {}\n";
    for name in ["output", "text"] {
        let result = |more: &str| {
            format!("{call}tool_result read_log {name}=the_same_beginning_of_it {name}_truncated_from=200000{more}\n")
        };
        let changing = |n| result(&format!(" {name}_fingerprint=a23456789012345678901234{n:0>8}"));
        check("", &(0..12).map(changing).collect::<String>());
        // A producer that cut its own content and sent no fingerprint: nothing shows that they are equal.
        check("", &result("").repeat(12));
    }
}

/// An agent that asks the gate and reports no results: nobody knows what its calls gave, and nobody says so.
#[test]
fn a_cycle_without_results_only_warns() {
    let round = "tool_call a {}\ntool_call b {}\n";
    let fourth = "tool_call a {}\ntool_call b {} // warn cycle\n";
    check("", &format!("{}{fourth}", round.repeat(3)));
    // Results of one of the two prove nothing of the other.
    let round =
        |of_a: &str, of_b: &str| format!("tool_call a {{}}{of_a}\ntool_result a \"1\"\ntool_call b {{}}{of_b}\n");
    let fourth = round(" // warn repeat", " // warn cycle");
    check("", &format!("{}{fourth}", round("", "").repeat(3)));
}

/// What several rules see at once is decided by the worst of them.
#[test]
fn the_worst_rule_decides() {
    // The call that ends the fourth round of two is the fourth of its own: both ask, and `repeat` says it. Of `a` the first is
    // not counted, as `b` was new after it.
    let round = "tool_call a {}\ntool_result a \"1\"\ntool_call b {}\ntool_result b \"2\"\n";
    let third = "tool_call a {}\ntool_result a \"1\"\ntool_call b {} // warn repeat\ntool_result b \"2\"\n";
    let fourth = "tool_call a {} // warn repeat\ntool_result a \"1\"\ntool_call b {} // step_up repeat\n";
    check("", &format!("{}{third}{fourth}", round.repeat(2)));
    // Where `repeat` is more patient, the cycle is worse.
    let patient = set("repeat", "enforce", "{ warn: 3, step_up: 9 }");
    let fourth = "tool_call a {} // warn repeat\ntool_result a \"1\"\ntool_call b {} // step_up cycle\n";
    check(&patient, &format!("{}{third}{fourth}", round.repeat(2)));
    // One that only watches does not hide one that decides, and is said beside it.
    let watching = set("repeat", "shadow", "{ warn: 3, halt: 4 }");
    let third = third.replace("warn repeat", "allow shadow:repeat").replacen("b {} // allow", "b {} // warn cycle", 1);
    let fourth = fourth.replace("warn repeat", "warn cycle shadow:repeat").replace("cycle\n", "cycle shadow:repeat\n");
    check(&watching, &format!("{}{third}{fourth}", round.repeat(2)));
}

/// Rules that count different calls are about different things, and both are said: here a call that is repeated without a
/// result, and others, answered alike, that it is near to.
#[test]
fn rules_that_count_different_calls_are_all_said() {
    let words: Vec<String> = (0..240).map(|it| format!("word{it}")).collect();
    let call = |n: u32| format!("tool_call find {{\"q\":\"{} {n}\"}}\n", words.join(" "));
    let near: String = (1..=3).map(|n| call(n) + "tool_result find \"nothing like it was found\"\n").collect();
    let again = call(4).trim_end().to_owned();
    let script =
        |third: &str| format!("{near}{again} // warn near_duplicate\n{again} // warn near_duplicate\n{again}{third}\n");
    let patient = set("repeat", "enforce", "{ warn: 3 }");
    let warning = format!("{patient}---\n{}", set("near_duplicate", "enforce", "{ warn: 4 }"));
    check(&warning, &script(" // warn repeat near_duplicate"));
    // Also where one of them is worse, and where both watch.
    let asking = format!("{patient}---\n{}", set("near_duplicate", "enforce", "{ step_up: 4 }"));
    let asked = script(" // step_up near_duplicate repeat").replace("warn near_duplicate", "step_up near_duplicate");
    check(&asking, &asked);
    let watching = asking.replace("mode: enforce", "mode: shadow");
    let watched = script(" // allow shadow:near_duplicate shadow:repeat");
    check(&watching, &watched.replace("warn near_duplicate", "allow shadow:near_duplicate"));
}

/// Of two rules that see the same the worse is said, and the other only if it tells somebody whom the worse does not.
#[test]
fn whoever_is_to_be_told_is_told() {
    let off = set("repeat", "off", "{ warn: 3 }");
    let own = |id: &str, level: &str, notify: &str| {
        let rule = set("repeat", "enforce", level).replace("id: repeat", &format!("id: {id}"));
        format!("---\n{rule}then: {{ notify: {notify} }}\n")
    };
    for (of_mild, of_strict, expected) in [
        ("[]", "[]", "deny strict"),
        ("[]", "[ops]", "deny strict"),
        ("[ops]", "[]", "deny strict mild"),
        ("[ops]", "[security, ops]", "deny strict"),
        ("[ops]", "[security]", "deny strict mild"),
    ] {
        let rules = off.clone() + &own("mild", "{ warn: 3 }", of_mild) + &own("strict", "{ deny: 3 }", of_strict);
        check(&rules, &repeated(3, &[(3, expected)]));
    }
}

/// The document that takes the place of a built-in one.
fn set(form: &str, mode: &str, levels: &str) -> String {
    format!("id: {form}\ntitle: T\nseverity: critical\nmode: {mode}\n{form}: {levels}\n")
}

const REPEATED: &str = "tool_call f {}\ntool_result f \"the same long answer again\"\n";

/// A script of calls of one kind, and what is decided at those that are not allowed.
fn repeated(calls: usize, decided: &[(usize, &str)]) -> String {
    let call = |n: usize| match decided.iter().find(|(at, _)| *at == n) {
        Some((_, what)) => REPEATED.replacen('\n', &format!(" // {what}\n"), 1),
        None => REPEATED.to_owned(),
    };
    (1..=calls).map(call).collect()
}

#[test]
fn a_rule_is_set_otherwise_by_a_policy_of_its_id() {
    check(&set("repeat", "off", "{ halt: 3 }"), &repeated(7, &[]));
    let watched: Vec<(usize, &str)> = (3..=7).map(|n| (n, "allow shadow:repeat")).collect();
    check(&set("repeat", "shadow", "{ halt: 3 }"), &repeated(7, &watched));
    let levels = "{ warn: 3, throttle: 4, step_up: 5, deny: 6 }";
    let decided = ["warn repeat", "throttle repeat", "step_up repeat", "deny repeat", "deny repeat"];
    check(&set("repeat", "enforce", levels), &repeated(7, &(3..).zip(decided).collect::<Vec<_>>()));
    // Of the others each stands as it was.
    let round = "tool_call a {}\ntool_result a \"1\"\ntool_call b {}\ntool_result b \"2\"\n";
    let third = "tool_call a {}\ntool_result a \"1\"\ntool_call b {} // warn cycle\n";
    check(&set("repeat", "off", "{ halt: 3 }"), &format!("{}{third}", round.repeat(2)));
}

/// A second rule of a form, for the agents and tools of its scope; its severity is that of its worst decision.
#[test]
fn a_rule_has_a_scope() {
    let strict = "id: impatient\ntitle: T\nseverity: high\nmode: enforce\nscope: { agent: 'batch-*', tool: f }\nrepeat: { step_up: 3 }\n";
    let script = |agent: &str, third: &str| {
        let call = |expected: &str| format!("tool_call f agent={agent}{expected}\ntool_result f \"x\" agent={agent}\n");
        format!("{}{}{}", call(""), call(""), call(third))
    };
    check(strict, &script("batch-1", " // step_up impatient"));
    check(strict, &script("other", " // warn repeat"));
    check(strict, &script("batch-1", " // warn repeat").replace("call f", "call g").replace("result f", "result g"));
}

#[test]
fn a_message_and_whom_to_tell() {
    use martingale_schemas::Severity;
    use martingale_schemas::wire::StepV1;

    let policy = format!(
        "{}then: {{ message: '{{{{step.tool}}}} {{{{value}}}} of {{{{limit}}}}', notify: ops }}\n",
        set("repeat", "enforce", "{ warn: 3, halt: 9 }")
    );
    let rules = Rules::load(&[("p.yaml", &policy)]).expect("sound");
    let mut detector = crate::Detector::new(Arc::new(rules));
    let mut now = crate::testing::BEGIN;
    let mut said = Vec::new();
    for (number, line) in ["tool_call f {}", "tool_result f \"1\""].repeat(4).into_iter().enumerate() {
        let json = crate::testing::step_json(line, number, &mut now);
        let step = StepV1::parse(json.as_bytes()).unwrap();
        let step = step.check(Timestamp::from_micros(now), &Limits::DEFAULT).unwrap();
        said.extend(detector.observe(&step).judgement().into_iter().flat_map(|it| it.findings));
    }
    let [_, fourth] = &said[..] else { panic!("{said:?}") };
    assert_eq!((fourth.message.as_str(), fourth.notify.as_slice()), ("f 4 of 3", &["ops".to_owned()][..]));
    assert_eq!((fourth.score, fourth.severity), (4.0, Severity::Low), "a warning of a rule that also halts");
}

#[test]
fn no_progress_may_do_more_than_warn() {
    let script: String = (1..=8)
        .map(|n| {
            let expected = match n {
                1..=2 | 4 => "",
                3 => " // warn no_progress",
                _ => " // deny no_progress",
            };
            format!("tool_call f{n} {{}}\ntool_result f{n} \"the same long answer again\"{expected}\n")
        })
        .collect();
    check(&set("no_progress", "enforce", "{ warn: 2, deny: 4 }"), &script);
    let between = script.replacen(
        "the same long answer again\"\ntool_call f5",
        "the same long answer again\" // deny no_progress\ntool_call f5",
        1,
    );
    check(&set("no_progress", "enforce", "{ warn: 2, deny: 3 }"), &between);
}

#[test]
fn ordinals() {
    let shown: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 101, 111, 112].into_iter().map(ordinal).collect();
    let expected =
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "101st", "111th", "112th"];
    assert_eq!(shown, expected);
}
