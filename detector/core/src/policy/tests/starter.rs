use martingale_schemas::Mode;

use crate::Rules;
use crate::policy::{BUILT_IN, CoreRule, STARTER, check_policies, run_tests};

#[test]
fn the_pack_is_sound_and_its_cases_pass() {
    let report = check_policies(STARTER);
    assert_eq!(report.errors, []);
    let failed: Vec<_> = run_tests(STARTER).unwrap().into_iter().filter(|it| !it.passed()).collect();
    assert_eq!(failed, []);
    assert!(report.policies >= 12);
    assert_eq!(Rules::starter().policies(), report.policies);
}

#[test]
fn what_is_built_in_is_sound_and_its_cases_pass() {
    let report = check_policies(BUILT_IN);
    assert_eq!((report.errors, report.notes), (vec![], vec![]));
    let failed: Vec<_> = run_tests(BUILT_IN).unwrap().into_iter().filter(|it| !it.passed()).collect();
    assert_eq!(failed, []);
    let rules = Rules::load::<&str, &str>(&[]).unwrap();
    // The others only name rules of the core, with the modes that those have anyway.
    assert_eq!((rules.policies.all.len() + CoreRule::ALL.len(), rules.policies()), (report.policies, 0));
    let said = Rules::load(BUILT_IN).unwrap();
    let modes = |rules: &Rules| CoreRule::ALL.map(|it| (it, rules.modes.of(it)));
    assert_eq!((said.modes.len(), modes(&said)), (CoreRule::ALL.len(), modes(&rules)));
}

/// What a document of the id of a rule of the core may say.
#[test]
fn of_a_rule_of_the_core_only_the_mode_is_set() {
    let load = |text: &str| Rules::load(&[("p.yaml", text)]).map_err(|it| it[0].to_string());
    let rules = load("id: trifecta\nmode: enforce\n---\nid: hijack\ntitle: Mine\nmode: off\n").unwrap();
    assert_eq!((rules.modes.of(CoreRule::Trifecta), rules.modes.of(CoreRule::Hijack)), (Mode::Enforce, Mode::Off));
    assert_eq!((rules.modes.of(CoreRule::SecretLeak), rules.policies()), (Mode::Enforce, 2));
    for (text, says) in [
        ("id: trifecta\n", "`mode` is missing"),
        ("id: trifecta\nmode: block\n", "mode"),
        (
            "id: trifecta\nmode: off\nwhen: 'true'\n",
            "p.yaml:3:7: policy trifecta: when: `trifecta` is a rule of the core",
        ),
        ("id: trifecta\nmode: off\nthen: { decision: warn }\n", "another id"),
        ("id: hijack\nmode: off\nscore: 3\n", "unknown name `score`"),
        ("id: hijack\nmode: off\n---\nid: hijack\nmode: shadow\n", "an id stands for one policy"),
    ] {
        let said = load(text).unwrap_err();
        assert!(said.contains(says), "{text}: {said}");
    }
}

/// Only what states a fact may decide anything before an operator says so.
#[test]
fn only_facts_are_enforced() {
    let rules = Rules::starter();
    let enforced = rules.policies.all.iter().filter(|it| it.mode == Mode::Enforce);
    let enforced: Vec<&str> = enforced.map(|it| it.id.as_str()).collect();
    // Nearness and staleness are no facts, however exactly they are counted.
    let built_in = ["cycle", "repeat"];
    assert_eq!(enforced, [&built_in[..], &["delegation-depth", "refused-then-done", "refused-then-run"]].concat());
}
