use crate::Rules;
use crate::policy::{STARTER, check_policies, run_tests};

#[test]
fn the_pack_is_sound_and_its_cases_pass() {
    let report = check_policies(STARTER);
    assert_eq!(report.errors, []);
    let failed: Vec<_> = run_tests(STARTER).unwrap().into_iter().filter(|it| !it.passed()).collect();
    assert_eq!(failed, []);
    assert!(report.policies >= 12);
    assert_eq!(Rules::starter().policies(), report.policies);
}

/// Only what states a fact may decide anything before an operator says so.
#[test]
fn only_facts_are_enforced() {
    let rules = Rules::starter();
    let enforced = rules.policies.all.iter().filter(|it| it.mode == martingale_schemas::Mode::Enforce);
    let enforced: Vec<&str> = enforced.map(|it| it.id.as_str()).collect();
    assert_eq!(enforced, ["delegation-depth", "refused-then-done"]);
}
