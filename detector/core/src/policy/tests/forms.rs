use crate::testing::check;

/// A policy with the rule, enforced.
fn policy(rule: &str, decision: &str) -> String {
    format!("id: p\ntitle: T\nseverity: high\nmode: enforce\n{rule}\nthen: {{ decision: {decision} }}\n")
}

#[test]
fn one_step() {
    let rule = r#"when: step.kind == "tool_call" && tool.destructive && !step.input.path.startsWith("/sandbox/")"#;
    let detector = check(
        &policy(rule, "deny"),
        r#"
        tool_call delete_file {"path":"/etc/passwd"}      // deny p
        tool_call delete_file {"path":"/sandbox/a"}
        tool_call read_file {"path":"/etc/passwd"}
        tool_call delete_file {"file":1}
        tool_call delete_file
        user_message "delete_file"
        "#,
    );
    assert_eq!(detector.tally().condition_errors, 2, "a missing field is no match, and counted");
}

#[test]
fn names_of_a_step() {
    for (condition, step, expected) in [
        (r#"step.kind in ["plan", "reasoning"]"#, r#"plan "x""#, true),
        (r#"step.kind in ["plan", "reasoning"]"#, r#"user_message "x""#, false),
        (r#"step.text.contains("secret")"#, r#"user_message "a secret""#, true),
        (r#"step.text.matches("^a+$")"#, r#"user_message "aaa""#, true),
        (r#"step.text.matches("^a+$")"#, r#"user_message "aab""#, false),
        (r#"step.status == "error""#, "tool_result f status=error", true),
        (r#"step.tool == """#, r#"plan "x""#, true),
        (r#"step.tool in ["", "f"] && step.kind == "plan""#, r#"plan "x""#, true),
        ("has(step.tool)", "tool_call f", true),
        ("has(step.tool)", r#"user_message "x""#, false),
        ("!has(step.input.to)", r#"tool_call f {"a":1}"#, true),
        ("has(step.input.to)", r#"tool_call f {"to":1}"#, true),
        ("has(step.usage.cost_usd)", "model_call cost=0.5", true),
        ("step.usage.cost_usd > 0.4", "model_call cost=0.5", true),
        ("step.usage.output_tokens >= 7", "model_call tokens=7", true),
        (r#"step.version == "2""#, "plan version=2", true),
        (r#"step.environment == "production""#, "plan environment=production", true),
        ("step.seq == 5", "plan seq=5", true),
        (r#"step.attributes["a.b"] == 1"#, r#"plan attributes={"a.b":1}"#, true),
        (
            r#"step.input.to.exists(it, it.endsWith("@evil.example"))"#,
            r#"tool_call f {"to":["a@b.c","x@evil.example"]}"#,
            true,
        ),
        (r#"step.input.to.all(it, it.endsWith("@b.c"))"#, r#"tool_call f {"to":["a@b.c","x@evil.example"]}"#, false),
        (r#"step.input.amount > 100"#, r#"tool_call f {"amount":100.5}"#, true),
        (r#"step.output.size() == 2"#, r#"tool_result f [1,2]"#, true),
        (r#"tool.name == "f" && tool.source == "heuristic""#, "tool_call f", true),
        (r#"tool.level >= 3"#, "tool_call send_email", true),
        ("labels.secret", r#"tool_result f {"password":"hunter22x"}"#, true),
        ("labels.secret", r#"tool_result f {"password":""}"#, false),
        ("session.steps == 1 && session.tool_calls == 1 && run.sessions == 1", "tool_call f", true),
        ("session.elapsed_s < 1.0 && session.depth == 0", "plan", true),
        ("step.truncated", "plan", false),
        (r#"size(step.text) > 2 ? true : false"#, r#"plan "abc""#, true),
    ] {
        let expected = if expected { format!("{step} // warn p") } else { step.to_owned() };
        let yaml = policy(&format!("when: '{condition}'"), "warn");
        check(&yaml, &expected);
    }
}

#[test]
fn shadow_and_off() {
    let yaml = policy(r#"when: step.kind == "plan""#, "halt");
    check(&yaml.replace("mode: enforce\n", ""), "plan // allow shadow:p\nplan // allow shadow:p");
    check(&yaml.replace("enforce", "off"), "plan");
}

#[test]
fn scope() {
    let scoped = |scope: &str| policy(&format!("scope: {scope}\nwhen: 'step.kind == \"tool_call\"'"), "warn");
    for (scope, step, hit) in [
        ("{ agent: 'support-*' }", "tool_call f agent=support-eu", true),
        ("{ agent: 'support-*' }", "tool_call f agent=sales", false),
        ("{ version: '2.*' }", "tool_call f version=2.1", true),
        ("{ version: '2.*' }", "tool_call f", false),
        ("{ environment: [production, staging] }", "tool_call f environment=staging", true),
        ("{ environment: production }", "tool_call f environment=test", false),
        ("{ tool: f }", "tool_call f", true),
        ("{ tool: 'g*' }", "tool_call f", false),
        ("{ tool: 'f*' }", "tool_call ff", true),
    ] {
        check(&scoped(scope), &if hit { format!("{step} // warn p") } else { step.to_owned() });
    }
}

const SEQUENCE: &str = r#"
sequence:
  - { as: read, where: 'step.kind == "tool_result" && step.tool == "read_file"' }
  - { as: send, where: 'step.kind == "tool_call" && tool.open_world && flows(read, send)' }
within: 10m
"#;

#[test]
fn a_sequence_in_its_window() {
    check(
        &policy(SEQUENCE, "deny"),
        r#"
        tool_call send_email {"to":"a","body":"INV-2044817"}
        tool_result read_file "invoice INV-2044817 is due"
        tool_call search {"q":"INV-2044817"}
        tool_call send_email {"to":"b","body":"nothing of it"}
        tool_call send_email {"to":"b","body":"about inv_2044817"}    // deny p
        tool_call send_email {"to":"c","body":"SU5WLTIwNDQ4MTcgaXMgZHVl"}    // deny p
        +10m tool_call send_email {"to":"d","body":"INV-2044817"}
        tool_result read_file "invoice INV-2044817 is due"
        tool_call send_email {"to":"e","body":"INV-2044817"}    // deny p
        "#,
    );
}

#[test]
fn absence_cancels() {
    let rule = format!("{SEQUENCE}unless: 'step.kind == \"approval\" && step.status == \"ok\"'\n");
    check(
        &policy(&rule, "deny"),
        r#"
        tool_result read_file "invoice INV-2044817 is due"
        approval send_email status=error
        tool_call send_email {"to":"a","body":"INV-2044817"}    // deny p
        approval send_email status=ok
        tool_call send_email {"to":"b","body":"INV-2044817"}
        "#,
    );
}

#[test]
fn later_parts_know_earlier_ones() {
    let rule = r#"
sequence:
  - { as: first, where: 'step.kind == "tool_call"' }
  - { as: second, where: 'step.kind == "tool_call" && second.tool == first.tool && second.id != first.id' }
within: 1m
"#;
    let detector = check(
        &policy(rule, "warn").replace("decision: warn", "decision: warn, message: \"{{first.tool}} at {{first.id}}\""),
        "tool_call f {}\ntool_call g {}\ntool_call h {}\ntool_call g {\"a\":1} // warn p",
    );
    assert_eq!(detector.tally().condition_errors, 0);
}

#[test]
fn one_step_is_not_two_parts() {
    let rule = "sequence: [{ where: 'step.kind == \"plan\"' }, { where: 'step.kind == \"plan\"' }]\nwithin: 1m";
    check(&policy(rule, "warn"), "plan\nplan // warn p\n+2m plan\nplan // warn p");
}

#[test]
fn counting_in_a_window() {
    let rule =
        "threshold: { where: 'step.kind == \"tool_result\" && step.status == \"error\"', at_least: 3, within: 1m }";
    check(
        &policy(rule, "throttle"),
        r#"
        tool_result f "1" status=error
        tool_result f "2" status=error
        tool_result f "3"
        tool_result f "4" status=error      // throttle p
        tool_result f "5" status=error      // throttle p
        +2m tool_result f "6" status=error
        "#,
    );
}

#[test]
fn summing_in_a_window() {
    let rule =
        "threshold: { where: 'step.kind == \"model_call\"', sum: step.usage.cost_usd, at_least: 1.0, within: 1h }";
    check(
        &policy(rule, "warn"),
        "model_call cost=0.5\nmodel_call cost=0.4\nmodel_call\nmodel_call cost=0.2 // warn p\n+2h model_call cost=0.5",
    );
}

/// Far more steps than a window keeps one by one: none of their amounts is lost, and none stays much too long.
#[test]
fn a_sum_counts_every_step() {
    let rule =
        "threshold: { where: 'step.kind == \"model_call\"', sum: step.usage.cost_usd, at_least: 10.0, within: 10m }";
    // A sixteenth of a dollar every two seconds: 10 USD are spent by the 160th call.
    let mut script = String::new();
    for n in 1..=600 {
        script += &format!("+2s model_call cost=0.0625{}\n", if n >= 160 { " // deny p" } else { "" });
    }
    // Half of them leave within five minutes, and all within ten: no more than one part of the window stays too long.
    script += "+5m model_call cost=0.25\n+295s model_call cost=0.25\n+10s model_call cost=9.0\n+1s model_call cost=0.5 // deny p";
    check(&policy(rule, "deny"), &script);
}

#[test]
fn a_tool_that_is_named_twice_counts_once() {
    let rule = r#"threshold: { where: 'step.tool in ["bash", "bash"]', at_least: 2, within: 1m }"#;
    check(&policy(rule, "warn"), "tool_call bash {}\ntool_call bash {\"a\":1} // warn p");
}

#[test]
fn a_pattern_of_tools_and_a_tool_together() {
    let one = policy("scope: { tool: 'db_*' }\nwhen: 'step.tool in [\"db_read\", \"search\"]'", "warn");
    let two = policy("scope: { tool: 'db_*' }\nwhen: 'step.kind == \"tool_call\"'", "deny").replace("id: p", "id: q");
    let three = policy("scope: { tool: '*' }\nwhen: 'step.kind == \"plan\"'", "warn").replace("id: p", "id: r");
    let four = policy("when: 'step.tool == \"db_read\"'", "warn").replace("id: p", "id: s");
    check(
        &format!("{one}---\n{two}---\n{three}---\n{four}"),
        "tool_call db_read {} // deny p q s\ntool_call db_x {} // deny q\ntool_call search {}\nplan // warn r\ntool_result db_read \"x\" // warn p s",
    );
}

#[test]
fn budgets() {
    check(&policy("budget: { steps: 2 }", "deny"), "plan\nplan\nplan // deny p\nplan // deny p");
    check(&policy("budget: { steps: 2 }", "warn"), "plan\nplan\nplan // warn p\nplan");
    check(
        &policy("budget: { tool_calls: 1 }", "deny"),
        "plan\ntool_call f\nplan\ntool_call g // deny p\nplan // deny p",
    );
    check(&policy("budget: { tokens: 10 }", "deny"), "model_call tokens=10\nmodel_call tokens=1 // deny p");
    check(
        &policy("budget: { cost_usd: 0.3 }", "deny"),
        "model_call cost=0.1\nmodel_call cost=0.2\nmodel_call cost=0.01 // deny p",
    );
    check(&policy("budget: { wall: 1m }", "deny"), "plan\n+60s plan\n+1s plan // deny p");
    check(&policy("budget: { steps: 4, warn_at: 0.5 }", "halt"), "plan\nplan\nplan // warn p\nplan\nplan // halt p");
    let of_run = policy("budget: { steps: 3, of: run }", "deny");
    check(&of_run, "root: plan\nkid<root: plan\nkid<root: plan\nroot: plan // deny p");
}

#[test]
fn a_resume_grants_the_budget_anew() {
    check(
        &policy("budget: { steps: 2 }", "halt"),
        "plan\nplan\nplan // halt p\nplan // halt halted_by_rule p\nresume session s\nplan\nplan\nplan // halt p",
    );
}

#[test]
fn delegation() {
    check(
        &policy("delegation: { depth_max: 1 }", "deny"),
        r#"
        root: plan
        root: spawn
        a<root: plan
        a<root: spawn           // deny p
        b<a: plan               // deny p
        b<a: plan               // deny p
        "#,
    );
    check(&policy("delegation: { depth_max: 1 }", "warn"), "root: plan\na<root: plan\nb<a: plan // warn p\nb<a: plan");
    check(
        &policy("delegation: { fan_out_max: 2 }", "deny"),
        "root: spawn\nroot: spawn\nroot: spawn // deny p\nroot: plan",
    );
}

#[test]
fn the_worst_decides_and_order_is_that_of_the_files() {
    let one = policy(r#"when: step.tool == "f""#, "warn");
    let two = policy(r#"when: step.kind == "tool_call""#, "deny").replace("id: p", "id: q");
    let three = policy(r#"when: step.tool == "f" && step.kind == "tool_call""#, "step_up").replace("id: p", "id: r");
    check(&format!("{one}---\n{two}---\n{three}"), "tool_call f // deny p q r\ntool_call g // deny q");
}

#[test]
fn unless_knows_the_first_part() {
    let rule = r#"
sequence:
  - { as: refused, where: 'step.kind == "approval" && step.status == "error"' }
  - { as: attempt, where: 'attempt.kind == "tool_call" && attempt.tool == refused.tool' }
within: 1h
unless: 'step.kind == "approval" && step.status == "ok" && step.tool == refused.tool'
"#;
    check(
        &policy(rule, "deny"),
        r#"
        approval f status=error
        approval g status=error
        approval f status=ok
        tool_call f {}
        tool_call g {}          // deny p
        "#,
    );
}

/// Many agents, versions and environments, more than are kept ready.
#[test]
fn reach_is_per_step() {
    let yaml = policy("scope: { agent: 'a1*', version: '2', environment: e }\nwhen: step.kind == \"plan\"", "warn");
    let mut script = String::new();
    for n in 0..1200 {
        let (version, environment) = (n % 3, if n % 2 == 0 { "e" } else { "f" });
        let hit = format!("a{n}").starts_with("a1") && version == 2 && environment == "e";
        let expected = if hit { " // warn p" } else { "" };
        script += &format!("plan agent=a{n} version={version} environment={environment}{expected}\n");
    }
    check(&yaml, &script);
}
