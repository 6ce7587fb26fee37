use crate::Rules;
use crate::policy::{BUILT_IN, STARTER, check_policies, run_tests};

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
    assert_eq!((rules.policies.all.len(), rules.policies()), (report.policies, 0));
}

/// Only what states a fact may decide anything before an operator says so.
#[test]
fn only_facts_are_enforced() {
    let rules = Rules::starter();
    let enforced = rules.policies.all.iter().filter(|it| it.mode == martingale_schemas::Mode::Enforce);
    let enforced: Vec<&str> = enforced.map(|it| it.id.as_str()).collect();
    // Nearness and staleness are no facts, however exactly they are counted.
    let built_in = ["cycle", "repeat"];
    assert_eq!(enforced, [&built_in[..], &["delegation-depth", "refused-then-done"]].concat());
}
