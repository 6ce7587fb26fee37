//! A name of another system points to ours.

use crate::policy::check_policies;
use crate::policy::misnomers::{BUDGET, DECISIONS, DELEGATION, MODES, PART, POLICY, THEN, THRESHOLD};
use crate::yaml::Misnomer;

/// Place, suggestion and beginning of what is said of the member at `path`.
fn said(yaml: &str, path: &str) -> (u32, u32, Option<String>, String) {
    let report = check_policies(&[("p.yaml", yaml)]);
    let found = report.errors.iter().find(|it| it.path == path);
    let it = found.unwrap_or_else(|| panic!("nothing is said of {path}: {:?}", report.errors));
    (it.line, it.column, it.suggestion.clone(), it.message.clone())
}

const HEAD: &str = "id: a\ntitle: T\nseverity: low\n";

#[test]
fn every_misnomer_is_told_at_its_place() {
    let objects: [(&str, &str, &[Misnomer]); 6] = [
        ("", "", POLICY),
        ("sequence:\n  - { where: 'true', ", "sequence[0].", PART),
        ("threshold: { ", "threshold.", THRESHOLD),
        ("budget: { ", "budget.", BUDGET),
        ("delegation: { ", "delegation.", DELEGATION),
        ("then: { ", "then.", THEN),
    ];
    for (open, path, misnomers) in objects {
        for (wrong, it) in misnomers.iter().flat_map(|it| it.wrong.iter().map(move |wrong| (*wrong, it))) {
            let close = if open.is_empty() { "" } else { " }" };
            let yaml = format!("{HEAD}{open}{wrong}: 1{close}\n");
            let (line, column, suggestion, message) = said(&yaml, &format!("{path}{wrong}"));
            let before = format!("{HEAD}{open}");
            let expected =
                (before.lines().count() + usize::from(open.is_empty()), before.len() - before.rfind('\n').unwrap());
            assert_eq!((line as usize, column as usize), expected, "{yaml}");
            assert_eq!(
                (suggestion.as_deref(), message),
                (it.right, format!("unknown name `{wrong}`: {}", it.how)),
                "{yaml}"
            );
            if let Some(right) = it.right {
                // What is suggested exists.
                let yaml = yaml.replace(&format!("{wrong}: 1"), &format!("{right}: 1"));
                let unknown = format!("unknown name `{right}`");
                assert!(check_policies(&[("p.yaml", &yaml)]).errors.iter().all(|it| !it.message.starts_with(&unknown)));
            }
        }
    }
}

#[test]
fn words_of_other_systems_are_understood() {
    let yaml = |mode: &str, decision: &str| {
        format!("{HEAD}mode: {mode}\nwhen: step.kind == \"plan\"\nthen: {{ decision: {decision} }}\n")
    };
    for (word, meant) in DECISIONS {
        let (line, column, suggestion, _) = said(&yaml("shadow", word), "then.decision");
        assert_eq!((line, column, suggestion.as_deref()), (6, 19, Some(*meant)), "{word}");
        assert!(check_policies(&[("p.yaml", yaml("shadow", meant))]).errors.is_empty(), "{meant}");
    }
    for (word, meant) in MODES {
        let (line, column, suggestion, _) = said(&yaml(word, "warn"), "mode");
        assert_eq!((line, column, suggestion.as_deref()), (4, 7, Some(*meant)), "{word}");
        assert!(check_policies(&[("p.yaml", yaml(meant, "warn"))]).errors.is_empty(), "{meant}");
    }
}

#[test]
fn a_number_of_steps_is_no_count() {
    let yaml = format!(
        "{HEAD}threshold: {{ where: step.kind == \"plan\", count: 10, within: 5m }}\nthen: {{ decision: warn }}\n"
    );
    let (line, column, suggestion, message) = said(&yaml, "threshold.count");
    assert_eq!((line, column, suggestion.as_deref()), (4, 49, Some("at_least")));
    assert!(message.contains("the number is `at_least`"), "{message}");
}

#[test]
fn faults_of_the_forms_over_calls() {
    for (rule, path, message) in [
        ("repeat: {}", "repeat", "decides nothing: write from which count on to warn, throttle, step_up, deny, halt"),
        ("repeat: { warn: 2 }", "repeat.warn", "is 2: write a whole number from 3 to 32"),
        ("repeat: { warn: 4, halt: 4 }", "repeat.halt", "comes at 4 and the milder `warn` at 4"),
        ("repeat: { warn: 3, between: 1 }", "repeat.between", "unknown name `between`"),
        ("cycle: { warn: 5 }", "cycle.warn", "is 5: write a whole number from 2 to 4"),
        ("cycle: { warn: 3, length_max: 9 }", "cycle.length_max", "is 9: write a whole number from 2 to 8"),
        ("near_duplicate: { warn: 3, bits_max: 64 }", "near_duplicate.bits_max", "is 64"),
        ("no_progress: [8]", "no_progress", "is a list: write an object"),
        ("repeat: { halt: 6 }\nthen: { decision: halt }", "then.decision", "is said in `repeat`, each with its count"),
        ("repeat: { halt: 6 }\nwithin: 5m", "within", "belongs to `sequence`, and this policy has `repeat`"),
        ("repeat: { halt: 6 }\nthen: { message: '{{step.tol}}' }", "then.message", "unknown field `step.tol`"),
    ] {
        let (_, _, _, said) = said(&format!("{HEAD}{rule}\n"), path);
        assert!(said.starts_with(message), "{rule}: {said}");
    }
    let sound = ["cycle: { warn: 16, length_max: 2 }", "no_progress: { warn: 1000 }\nthen: { notify: ops }"];
    for rule in sound {
        assert_eq!(check_policies(&[("p.yaml", format!("{HEAD}{rule}\n"))]).errors, [], "{rule}");
    }
}
