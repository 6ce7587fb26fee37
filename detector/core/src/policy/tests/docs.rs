//! What the documentation shows is what the engine takes.

use crate::policy::{check_policies, run_tests};

const PAGE: &str = include_str!("../../../../../docs/policies.md");

fn examples() -> Vec<(String, &'static str)> {
    let blocks = PAGE.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").expect("a block that ends").0);
    blocks.enumerate().map(|(at, text)| (format!("example {}", at + 1), text)).collect()
}

#[test]
fn every_example_compiles_and_its_cases_pass() {
    let examples = examples();
    assert!(examples.len() >= 7, "the page has lost its examples");
    assert_eq!(check_policies(&examples).errors, []);
    let cases = run_tests(&examples).expect("sound policies");
    assert!(!cases.is_empty(), "no example shows a case");
    let failed: Vec<_> = cases.into_iter().filter(|it| !it.passed()).collect();
    assert_eq!(failed, []);
}
