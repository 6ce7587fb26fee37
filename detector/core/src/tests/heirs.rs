//! Whom a halt reaches beside its own session: whoever descends from it, in a tree that may be full, cut or wrong.

use std::sync::Arc;

use crate::Rules;
use crate::testing::{check, check_with};

#[test]
fn descendants_inherit_and_others_do_not() {
    check(
        "",
        r#"
        root: plan
        a<root: plan
        b<a: plan
        c<root: plan
        halt session a
        b<a: plan               // halt halted_by_control
        a<root: plan            // halt halted_by_control
        c<root: plan
        root: plan
        late<b: plan            // halt halted_by_control
        resume session b
        b<a: plan               // halt halted_by_control
        resume session a
        b<a: plan
        late<b: plan
        "#,
    );
}

/// A session that told its root alone is right below it, and under its parent once it tells that.
#[test]
fn a_parent_that_is_told_late_counts_from_then_on() {
    check(
        "",
        r#"
        root: plan
        p<root: plan
        kid: plan
        kid<p: plan
        halt session p
        kid<p: plan        // halt halted_by_control
        grandkid<kid: plan // halt halted_by_control
        resume session p
        kid<p: plan
        grandkid<kid: plan
        halt session other      // unknown
        late: plan
        late<other: plan   // halt halted_by_control
        "#,
    );
}

/// A parent that has not spoken in this run stands where the door says: a halt above it reaches its children.
#[test]
fn a_parent_that_is_known_by_its_children_alone_stands_where_they_say() {
    check(
        "",
        r#"
        root: plan
        a<root: plan
        d<b: plan
        c<b<a: plan
        g<f<e<c<b<a: plan
        other<root: plan
        halt session a
        c<b<a: plan             // halt halted_by_control
        d<b: plan               // halt halted_by_control
        e<c: plan               // halt halted_by_control
        g<f<e<c<b<a: plan       // halt halted_by_control
        h<f: plan               // halt halted_by_control
        other<root: plan
        resume session a
        c<b<a: plan
        b<a: plan
        g<f<e<c<b<a: plan
        halt session b
        g<f: plan               // halt halted_by_control
        c<b<a: plan             // halt halted_by_control
        a<root: plan
        "#,
    );
    // Who was there before that was known, and circles.
    check(
        "id: p\ntitle: T\nseverity: low\nmode: enforce\ndelegation: { fan_out_max: 1 }\nthen: { decision: halt }\n",
        r#"
        c<b: plan
        c<b<a: plan
        c<b<a: plan
        b<a: plan
        halt session a
        c<b<a: plan             // halt halted_by_control
        resume session a
        c<b<c<a: plan
        x<y<x<z<y: plan
        x<y<x<z<y: plan
        halt session z
        x<y: plan               // halt halted_by_control
        "#,
    );
}

/// Children of two runs may name the same parent before it begins: it stands in both, and so does a halt of it, until it is lifted.
#[test]
fn a_halt_counts_in_every_run_in_which_its_session_stands() {
    let script = r#"
        a<p: plan
        b<p: plan root_session_id=other
        halt session p
        a<p: plan                               // halt halted_by_control
        b<p: plan root_session_id=other         // halt halted_by_control
        c<p: plan root_session_id=third         // halt halted_by_control
        resume session p
        a<p: plan
        b<p: plan root_session_id=other
        c<p: plan root_session_id=third
        p<q: plan root_session_id=fourth
        halt session p
        a<p: plan                               // halt halted_by_control
        c<p: plan root_session_id=third         // halt halted_by_control
        d<p: plan root_session_id=fourth        // halt halted_by_control
        resume session p
        a<p: plan
        b<p: plan root_session_id=other
        "#;
    check("", script);
    // Of as many as are remembered, the latest.
    let many: Vec<String> = (0..40).map(|n| format!("k{n}<p: plan root_session_id=r{n}")).collect();
    let halted = (8..40).map(|n| format!("k{n}<p: plan root_session_id=r{n} // halt halted_by_control"));
    let lines = many.into_iter().chain(["halt session p".to_owned()]).chain(halted);
    check("", &lines.collect::<Vec<_>>().join("\n"));
}

/// A run that is full makes room, and nobody loses a halt by it.
#[test]
fn making_room_keeps_halts() {
    let mut rules = Rules::load::<&str, &str>(&[]).unwrap();
    rules.limits.run_sessions_max = 4;
    check_with(
        Arc::new(rules),
        r#"
        root: plan
        grand<root: plan
        mid<grand: plan
        leaf<mid: plan
        mid<grand: session_end
        halt session grand
        one<root: plan
        leaf<mid: plan          // halt halted_by_control
        late<mid: plan          // halt halted_by_control
        resume session grand
        two<root: plan
        halt session grand
        leaf<mid: plan          // halt halted_by_control
        "#,
    );
}

fn run_of(sessions_max: usize, policies: &str) -> Arc<Rules> {
    let mut rules = Rules::load(&[("p.yaml", policies)]).unwrap();
    rules.limits.run_sessions_max = sessions_max;
    Arc::new(rules)
}

const STOPS: &str =
    "id: p\ntitle: T\nseverity: high\nmode: enforce\nwhen: step.tool == \"f\"\nthen: { decision: halt }\n";

/// The session that no longer fits into the tree of its run halts, and its children inherit.
#[test]
fn a_full_run_loses_no_halt() {
    let filler: String = (0..512).map(|it| format!("s{it}<root: plan\n")).collect();
    for sessions_max in [3, 4, 512] {
        check_with(
            run_of(sessions_max, STOPS),
            &format!(
                r#"
                root: plan
                {filler}
                x<root: plan
                early<x: plan
                x<root: tool_call f         // halt p
                y<x: plan                   // halt halted_by_rule
                early<x: plan               // halt halted_by_rule
                grand<y: plan               // halt halted_by_rule
                s3<root: plan
                kid<s3: plan
                halt session s3
                kid<s3: plan                // halt halted_by_control
                s4<root: plan
                resume session x
                grand<y: plan
                kid<s3: plan                // halt halted_by_control
                resume session s3
                kid<s3: plan
                "#
            ),
        );
    }
}

/// More halts than the tree has room for: then the run is halted, until a person resumes it.
#[test]
fn halts_that_find_no_room_halt_the_run() {
    check_with(
        run_of(3, ""),
        r#"
        root: plan
        a<root: plan
        b<root: plan
        c<root: plan
        other<root: plan
        halt session a
        halt session b
        other<root: plan
        halt session c
        kid<c: plan                 // halt halted_by_control
        other<root: plan            // halt halted_by_control
        resume session c
        resume run root
        other<root: plan
        a<root: plan                // halt halted_by_control
        "#,
    );
}

#[test]
fn an_ended_root_still_passes_on_its_halt() {
    check_with(
        run_of(3, ""),
        r#"
        root: plan
        a<root: plan
        root: session_end
        b<a: plan
        c<b: plan
        d<b: plan
        halt session root
        a<root: plan                // halt halted_by_control
        c<b: plan                   // halt halted_by_control
        d<b: plan                   // halt halted_by_control
        late<d: plan                // halt halted_by_control
        "#,
    );
}

/// Depth is a session's own: it does not depend on whether its parent is kept.
#[test]
fn depth_is_known_in_a_full_run() {
    let policy = "id: p\ntitle: T\nseverity: high\nmode: enforce\ndelegation: { depth_max: 3, fan_out_max: 2 }\nthen: { decision: deny }\n";
    check_with(
        run_of(2, policy),
        r#"
        root: plan
        other<root: plan
        a<root: plan
        b<a: plan
        c<b: plan
        d<c: plan                   // deny p
        b<a: spawn
        b<a: spawn
        b<a: spawn                  // deny p
        "#,
    );
}

/// A session too deep to name its ancestors takes any halt of its run for one above it.
#[test]
fn the_deepest_sessions_inherit_every_halt() {
    let mut script = "root: plan\naside<root: plan\ns0<root: plan\n".to_owned();
    for n in 1..40 {
        script += &format!("s{n}<s{}: plan\n", n - 1);
    }
    script += "halt session aside\ns39<s38: plan // halt halted_by_control\ns20<s19: plan\nresume session aside\ns39<s38: plan\n";
    script += "halt session s0\ns39<s38: plan // halt halted_by_control\ns20<s19: plan // halt halted_by_control";
    check_with(run_of(4, ""), &script);
    check("", &script);
}

/// A session that names its parent and no root is in a run of its parent's; orders for the parent reach it there.
#[test]
fn orders_reach_children_that_name_no_root() {
    check(
        "",
        r#"
        root: plan
        a<root: plan
        b<a: plan root_session_id=a
        halt session a
        b<a: plan root_session_id=a     // halt halted_by_control
        c<a: plan root_session_id=a     // halt halted_by_control
        a<root: plan                    // halt halted_by_control
        resume session a
        b<a: plan root_session_id=a
        c<a: plan root_session_id=a
        halt session a
        d<a: plan root_session_id=a     // halt halted_by_control
        resume session a
        d<a: plan root_session_id=a
        "#,
    );
}

/// A circle that cuts sessions off from their root does not cut them off from its halt.
#[test]
fn a_circle_still_descends_from_its_root() {
    check(
        "",
        r#"
        b<c: plan
        a<b: plan
        halt session root
        b: plan                 // halt halted_by_control
        c<a: plan               // halt halted_by_control
        b<c: plan               // halt halted_by_control
        "#,
    );
}

/// Two parents that claim each other: a circle ends the search and nothing else.
#[test]
fn circles_of_parents_end() {
    check("", "a<b: plan\nb<a: plan\na<b: plan\nhalt session a\nb<a: plan // halt halted_by_control");
}

#[test]
fn a_halt_by_a_rule_is_inherited_and_lifted_the_same_way() {
    let policy = "id: p\ntitle: T\nseverity: high\nmode: enforce\nwhen: step.tool == \"f\"\nthen: { decision: halt }\n";
    check(
        policy,
        r#"
        root: plan
        a<root: plan
        root: tool_call f       // halt p
        root: plan              // halt halted_by_rule
        a<root: plan            // halt halted_by_rule
        resume session root
        a<root: plan
        root: plan
        "#,
    );
}
