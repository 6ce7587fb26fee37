use expect_test::{Expect, expect};

use crate::policy::{check_policies, run_tests};

fn check(yaml: &str, expected: &Expect) {
    let report = check_policies(&[("p.yaml", yaml)]);
    let errors = report.errors.iter().map(|it| format!("{it}\n"));
    let notes = report.notes.iter().map(|it| format!("note: {it}\n"));
    expected.assert_eq(&errors.chain(notes).collect::<String>());
}

/// A policy with the rule and all else in order.
fn check_rule(rule: &str, expected: &Expect) {
    check(&format!("id: a\ntitle: T\nseverity: low\n{rule}\nthen: {{ decision: warn }}\n"), expected);
}

#[test]
fn every_fault_is_found() {
    check(
        "id: a\ntitle: T\nseverity: hihg\nmod: shadow\nwhen: step.knd == \"plan\" && tol.name == 1\nthen: { decision: stop, notfy: x }\n",
        &expect![[r#"
            p.yaml:3:11: policy a: severity: unknown word `hihg`: expected one of info, low, medium, high, critical; did you mean `high`?
            p.yaml:5:7: policy a: when: unknown field `step.knd`: expected one of id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated; did you mean `step.kind`?
            p.yaml:5:29: policy a: when: unknown name `tol`: expected one of step, tool, labels, session, run; did you mean `tool`?
            p.yaml:6:19: policy a: then.decision: unknown word `stop`: expected one of warn, throttle, step_up, deny, halt; did you mean `halt`?
            p.yaml:6:25: policy a: then.notfy: unknown name `notfy`: expected one of decision, message, notify; did you mean `notify`?
            p.yaml:4:1: policy a: mod: unknown name `mod`: expected one of budget, cycle, delegation, description, id, mode, near_duplicate, no_progress, repeat, scope, sequence, severity, tests, then, threshold, title, unless, when, within; did you mean `mode`?
        "#]],
    );
}

#[test]
fn places_in_a_condition() {
    for (yaml, expected) in [
        (
            "when: step.kind == \"tool_cal\"",
            expect![[r#"
            p.yaml:4:20: policy a: when: unknown word `tool_cal`: expected one of session_start, system_prompt, user_message, plan, reasoning, model_call, assistant_message, tool_call, tool_result, retrieval, memory_read, memory_write, state, handoff, spawn, approval, guardrail, error, final_message, session_end; did you mean `tool_call`?
        "#]],
        ),
        (
            "when: |\n  step.kind == \"plan\" &&\n    step.tex == \"x\"",
            expect![[r#"
                p.yaml:6:5: policy a: when: unknown field `step.tex`: expected one of id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated; did you mean `step.text`?
            "#]],
        ),
        (
            "when: 'step.kind == \"plan\" && foo(step.text)'",
            expect![[r#"
            p.yaml:4:34: policy a: when: unknown function `foo`: expected one of contains, startsWith, endsWith, matches, flows, size, int, uint, double, string, bool, min, max, has, all, exists, exists_one, map, filter
        "#]],
        ),
        (
            "when: step.kind ==",
            expect![[r#"
            p.yaml:4:19: policy a: when: the condition cannot be read: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
        "#]],
        ),
        (
            "when: step",
            expect![[r#"
                p.yaml:4:7: policy a: when: `step` is not a value: name one of its fields id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated
            "#]],
        ),
        (
            "when: step.text",
            expect![[r#"
            p.yaml:4:7: policy a: when: the condition is text: write a comparison
        "#]],
        ),
        (
            "when: step.seq == \"x\"",
            expect![[r#"
            p.yaml:4:16: policy a: when: compares a whole number with text: it never holds
        "#]],
        ),
        (
            "when: session.cost_usd * 2 > 1.0",
            expect![[r#"
            p.yaml:4:24: policy a: when: whole numbers and fractions do not mix here: write `2.0`, or `double(…)`
        "#]],
        ),
    ] {
        check_rule(yaml, &expected);
    }
}

#[test]
fn places_of_less_common_faults() {
    for (yaml, expected) in [
        (
            "when: step.text.matches(\"(\")",
            expect![[r#"
            p.yaml:4:25: policy a: when: the pattern of `matches` is not valid: error: unclosed group
        "#]],
        ),
        (
            "when: step.text.matches(step.tool)",
            expect![[r#"
            p.yaml:4:29: policy a: when: the pattern of `matches` must be written here: it is compiled once
        "#]],
        ),
        (
            "when: step.kind.name == \"x\"",
            expect![[r#"
            p.yaml:4:7: policy a: when: `step.kind` is text: it has no members
        "#]],
        ),
        (
            "when: has(step.too)",
            expect![[r#"
                p.yaml:4:11: policy a: when: unknown field `step.too`: expected one of id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated; did you mean `step.tool`?
            "#]],
        ),
        (
            "when: step.input.a.exists(x, step.input.b.exists(y, x == y))",
            expect![[r#"
            p.yaml:4:49: policy a: when: a loop inside a loop is not taken, unless it runs over a list written here
        "#]],
        ),
        (
            "when: step.kind in [\"plan\", \"tol_call\"]",
            expect![[r#"
            p.yaml:4:29: policy a: when: unknown word `tol_call`: expected one of session_start, system_prompt, user_message, plan, reasoning, model_call, assistant_message, tool_call, tool_result, retrieval, memory_read, memory_write, state, handoff, spawn, approval, guardrail, error, final_message, session_end; did you mean `tool_call`?
        "#]],
        ),
        (
            "when: step.usage.cost > 1.0",
            expect![[r#"
                p.yaml:4:7: policy a: when: unknown field `step.usage.cost`: expected one of id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated; did you mean `step.usage.cost_usd`?
            "#]],
        ),
        (
            "when: flows(a, b)",
            expect![[r#"
            p.yaml:4:12: policy a: when: `flows` compares parts of a `sequence`, and there are none here
        "#]],
        ),
        (
            "when: step.text == \"a\" && 3",
            expect![[r#"
            p.yaml:4:27: policy a: when: this is a whole number: write a comparison
        "#]],
        ),
    ] {
        check_rule(yaml, &expected);
    }
}

#[test]
fn shapes() {
    for (yaml, expected) in [
        (
            "- 1",
            expect![[r#"
            p.yaml:1:1: is a list: write an object of `name: value` members
        "#]],
        ),
        (
            "id: [",
            expect![[r#"
            p.yaml:1:5: unclosed bracket '[' at line 1, column 5
        "#]],
        ),
        (
            "id: A B\ntitle: T\nseverity: low\nthen: { decision: allow }\n",
            expect![[r#"
                p.yaml:1:5: policy A B: id: holds other characters than `a-z 0-9 - _ .`, or more than 64: it names the policy everywhere
                p.yaml:1:1: policy A B: there is no rule: write one of when, sequence, threshold, budget, delegation, repeat, cycle, near_duplicate, no_progress
                p.yaml:4:19: policy A B: then.decision: unknown word `allow`: expected one of warn, throttle, step_up, deny, halt
            "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\nwhen: 'true'\nbudget: { steps: 1 }\nthen: { decision: warn }",
            expect![[r#"
            p.yaml:1:1: policy a: there are 2 rules (when, budget): keep one, and make a policy of each other
        "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\nbudget: { steps: 0, wall: 5, warn_at: 2 }\nwithin: 5m\nthen: { decision: warn }",
            expect![[r#"
            p.yaml:5:9: policy a: within: belongs to `sequence`, and this policy has `budget`
            p.yaml:4:18: policy a: budget.steps: is 0: write a whole number from 1 to 9223372036854775807
            p.yaml:4:27: policy a: budget.wall: is a whole number: write a span such as `10m`
            p.yaml:4:9: policy a: budget: has 2 limits: write exactly one of steps, tool_calls, tokens, cost_usd, wall
            p.yaml:4:39: policy a: budget.warn_at: is a share of the limit: write a number below 1, as 0.8
        "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\nbudget: { steps: 20, forecast: 20 }\nthen: { decision: deny }",
            expect![[r#"
            p.yaml:4:32: policy a: budget.forecast: looks 20 steps ahead, and the whole budget is 20: write fewer
        "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\nbudget: { tokens: 20, forecast: 0.8 }\nthen: { decision: deny }",
            expect![[r#"
                p.yaml:4:33: policy a: budget.forecast: is a number: write a whole number
            "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\nbudget: { tokens: 20, forecast: 1001, forcast: 5 }\nthen: { decision: deny }",
            expect![[r#"
                p.yaml:4:33: policy a: budget.forecast: is 1001: write a whole number from 1 to 1000
                p.yaml:4:39: policy a: budget.forcast: unknown name `forcast`: expected one of cost_usd, forecast, of, steps, tokens, tool_calls, wall, warn_at; did you mean `forecast`?
            "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\nsequence:\n  - { as: step, were: 'true' }\nthen: { decision: warn }",
            expect![[r#"
            p.yaml:5:3: policy a: sequence: has 1 parts: write 2 to 8; for one step there is `when`
            p.yaml:5:11: policy a: sequence[0].as: `step` cannot name a part: write a new word of `a-z 0-9 _` that is no other name
            p.yaml:5:5: policy a: sequence[0]: `where` is missing
            p.yaml:5:17: policy a: sequence[0].were: unknown name `were`: expected one of as, where; did you mean `where`?
            p.yaml:1:1: policy a: `within` is missing: how far the last step may be from the first, as `10m`
        "#]],
        ),
    ] {
        check(yaml, &expected);
    }
}

#[test]
fn shapes_of_other_rules() {
    for (yaml, expected) in [
        (
            "id: a\ntitle: T\nseverity: low\nthreshold: { where: step.kind == \"plan\", at_least: 1000, within: soon }\nthen: { decision: warn }",
            expect![[r#"
            p.yaml:4:52: policy a: threshold.at_least: counts at most 128 steps: use a `budget` for more
            p.yaml:4:66: policy a: threshold.within: `soon` is no span of time: write e.g. `30s`, `10m`, `2h`, `1h30m` or `7d`
        "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\ndelegation: {}\nthen: { decision: warn, message: '{{valu}} {{' }",
            expect![[r#"
                p.yaml:4:13: policy a: delegation: there is no limit: write `depth_max`, `fan_out_max` or both
                p.yaml:5:37: policy a: then.message: unknown name `valu`: expected one of step, tool, labels, session, run
                p.yaml:5:34: policy a: then.message: `{{` without `}}`: close it, or write one brace
            "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\nwhen: step.kind == \"plan\"\nthen: { decision: warn }\n---\nid: a\ntitle: T\nseverity: low\nwhen: step.kind == \"plan\"\nthen: { decision: warn }",
            expect![[r#"
            p.yaml:7:1: policy a: id: policy `a` is in p.yaml already: an id stands for one policy
        "#]],
        ),
        (
            "tools:\n  - { nam: x, read_only: 1, level: 9 }\n  - { name: y, read_only: true, destructive: true }\n  - { name: z }\n  - { name: z }",
            expect![[r#"
            p.yaml:2:5: tools[0]: `name` is missing
            p.yaml:2:26: tools[0].read_only: is a whole number: write `true` or `false`
            p.yaml:2:36: tools[0].level: is 9: write a whole number from 0 to 4
            p.yaml:2:7: tools[0].nam: unknown name `nam`: expected one of destructive, idempotent, labels, level, name, open_world, read_only, scopes; did you mean `name`?
            p.yaml:3:5: tools[1]: is both `read_only` and `destructive`: keep one
            p.yaml:5:13: tools[3].name: tool `z` is described twice: keep one
        "#]],
        ),
        (
            "tools:\n  - { name: a, scopes: [\"x y\"] }\n  - { name: b, scopes: ['x:*'] }\n  - { name: c, scopes: [x, y, x] }\n  - { name: d, scopes: x }\n  - { name: e, scopes: [''] }\n  - { name: f, scopes: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q] }",
            expect![[r#"
                p.yaml:2:24: tools[0].scopes: `x y` is no scope: write each by itself, without spaces
                p.yaml:3:24: tools[1].scopes: `x:*` stands for many scopes: only who holds it may write that, a call needs certain ones
                p.yaml:4:24: tools[2].scopes: names a scope twice: keep one
                p.yaml:6:24: tools[4].scopes: `` is no scope: write each by itself, without spaces
                p.yaml:7:24: tools[5].scopes: are 17: at most 16 are read
            "#]],
        ),
        (
            "id: a\ntitle: T\nseverity: low\nwhen: step.kind == \"plan\"\nthen: { decision: warn }\ntests:\n  - { name: x, steps: [{ tol_call: f }, { plan: x, expect: hlt }, { plan: y, seq: -1 }, { plan: z, enviroment: e, expct: deny, reasoning: r, session: 1 }] }",
            expect![[r#"
                p.yaml:7:24: policy a: tests[0].steps[0]: the step has no kind: begin with one, as `tool_call: send_email` or `user_message: hello`; did you mean `tool_call`?
                p.yaml:7:60: policy a: tests[0].steps[1].expect: unknown decision `hlt`: expected one of allow, warn, throttle, modify, step_up, deny, halt; did you mean `halt`?
                p.yaml:7:67: policy a: tests[0].steps[2]: is no valid step: field `seq`: invalid value: integer `-1`, expected a whole number that is not negative at line 1 column 70
                p.yaml:7:151: policy a: tests[0].steps[3].session: is a whole number: write a text, in quotes where it is a number
                p.yaml:7:100: policy a: tests[0].steps[3].enviroment: unknown name `enviroment`: no field of a step; an attribute goes under `attributes`; did you mean `environment`?
                p.yaml:7:115: policy a: tests[0].steps[3].expct: unknown name `expct`: no field of a step; an attribute goes under `attributes`; did you mean `expect`?
                p.yaml:7:128: policy a: tests[0].steps[3].reasoning: `reasoning` is a second kind: write it as a step of its own
            "#]],
        ),
    ] {
        check(yaml, &expected);
    }
}

/// However YAML folds, indents or quotes the condition.
#[test]
fn places_follow_the_text() {
    for (rule, expected) in [
        (
            "when: >\n  step.kind == \"plan\" &&\n  step.tex == \"x\"",
            expect![[r#"
            p.yaml:6:3: policy a: when: unknown field `step.tex`: expected one of id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated; did you mean `step.text`?
        "#]],
        ),
        (
            "when: step.kind == \"plan\" &&\n    step.tex == \"x\"",
            expect![[r#"
            p.yaml:5:5: policy a: when: unknown field `step.tex`: expected one of id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated; did you mean `step.text`?
        "#]],
        ),
        (
            "when: \"step.text == 'it\\\"s' && step.tex == 'x'\"",
            expect![[r#"
            p.yaml:4:32: policy a: when: unknown field `step.tex`: expected one of id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated; did you mean `step.text`?
        "#]],
        ),
        (
            "when: 'step.text == ''it'' && step.tex == \"x\"'",
            expect![[r#"
            p.yaml:4:31: policy a: when: unknown field `step.tex`: expected one of id, kind, tool, seq, status, text, input, output, content, attributes, agent, agent_name, version, model, environment, principal, on_behalf_of, scopes, owner, error, error_type, duration_ms, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd, truncated; did you mean `step.text`?
        "#]],
        ),
    ] {
        check_rule(rule, &expected);
    }
}

#[test]
fn notes() {
    for (rule, expected) in [
        (
            "when: step.text.contains(\"x\")",
            expect![[r#"
            note: p.yaml:4: policy a: when: looks at every step: name `step.kind` or `step.tool` with `&&` and others cost nothing
        "#]],
        ),
        (
            "when: step.kind == \"plan\" && step.kind == \"tool_call\"",
            expect![[r#"
            note: p.yaml:4: policy a: when: no step can match: its kinds or tools contradict each other
        "#]],
        ),
        (
            "scope: { tool: g }\nwhen: step.tool == \"f\"",
            expect![[r#"
            note: p.yaml:5: policy a: when: no step can match: its kinds or tools contradict each other
        "#]],
        ),
        (
            "sequence:\n  - { as: a, where: step.kind == \"plan\" }\n  - { as: b, where: step.kind == \"plan\" }\n  - { as: c, where: 'flows(a, b)' }\nwithin: 5m",
            expect![[r#"
                p.yaml:7:27: policy a: sequence[2].where: `flows` is asked where its second part is at hand: write it in the condition of `b`
            "#]],
        ),
        (
            "sequence:\n  - { as: a, where: step.kind == \"plan\" }\n  - { as: b, where: 'b.text == a.text' }\nwithin: 5m",
            expect![[r#"
            p.yaml:6:32: policy a: sequence[1].where: `a.text` is not kept after its step: of an earlier part there are id, kind, tool, seq, status, agent, agent_name, principal
        "#]],
        ),
    ] {
        check_rule(rule, &expected);
    }
}

#[test]
fn cases_beside_a_policy() {
    let yaml = r#"
id: a
title: T
severity: low
when: step.kind == "tool_call" && step.input.n > 1
then: { decision: deny }
tests:
  - name: right
    steps:
      - { tool_call: f, input: { n: 1 } }
      - { tool_call: f, input: { n: 2 }, expect: deny }
  - name: wrong
    steps:
      - { tool_call: f, input: { n: 2 } }
"#;
    let results = run_tests(&[("p.yaml", yaml)]).unwrap();
    let shown: Vec<_> = results.iter().map(|it| (it.name.as_str(), it.failures.clone())).collect();
    assert_eq!(
        shown,
        [("right", vec![]), ("wrong", vec!["step 1 (tool_call f): expected allow, got deny".to_owned()])]
    );
}
