//! What is remembered of sessions so that a halt stays over whoever it reached.

use martingale_schemas::lineage::Basis;

use super::*;

/// The order of a person is known to every run, so a session goes with its parent; whatever the halt of a rule reached stays.
#[test]
fn a_halt_of_a_rule_keeps_its_run_whatever_else_is_in_the_batch() {
    simulated(async {
        let mut bench = Bench::new();
        // Named as what says that an order stands: the cause counts, and no name.
        let rule = "id: halted_by_control\ntitle: T\nseverity: low\nmode: enforce\nwhen: step.text == \"no\"\nthen: { decision: halt }\n";
        bench.rules = Arc::new(Rules::load(&[("p.yaml", rule)]).expect("a rule"));
        let mother = Lineage::of_root(&SessionId::from("mother"));
        let parent_session_id = Some(SessionId::from("mother"));
        let told = Lineage { parent_session_id, basis: Basis::Implied, ..mother.clone() };
        let record = Append::new(topics::LINEAGES, Bytes::from_static(b"kid"), Bytes::from(told.to_json()));
        bench.log.append(vec![record]).await.expect("append");
        bench.order("halt", "mother").await;
        for (n, more) in [(0, ""), (1, r#""text":"no","#)] {
            let lineage = format!(r#"{{{more}"parent_session_id":"mother","root_session_id":"mother","#);
            bench.append(topics::STEPS, step("kid", n).replacen('{', &lineage, 1)).await;
        }
        let running = bench.start();
        bench.until(topics::VERDICTS, 2).await;
        assert_eq!(bench.metric("batch_steps_count"), 1, "both in one");
        let kid = Lineage { basis: Basis::Unchecked, ..told.clone() };
        assert_eq!(bench.read::<Lineage>(topics::LINEAGES).await, [told, kid, mother]);
        bench.stop(running).await;
    });
}

/// A halt of a rule is known in its run alone: where the run of its session is not settled, it is ordered everywhere, once.
#[test]
fn a_halt_of_a_rule_is_ordered_where_the_run_is_not_settled() {
    for basis in ["implied", "unchecked", "settled"] {
        simulated(async {
            let mut bench = Bench::new();
            let rule =
                "id: p\ntitle: T\nseverity: low\nmode: enforce\nwhen: step.text == \"no\"\nthen: { decision: halt }\n";
            bench.rules = Arc::new(Rules::load(&[("p.yaml", rule)]).expect("a rule"));
            let told = format!(r#"{{"root_session_id":"mother","parent_session_id":"mother","basis":"{basis}"}}"#);
            let record = Append::new(topics::LINEAGES, Bytes::from_static(b"kid"), Bytes::from(told));
            bench.log.append(vec![record]).await.expect("append");
            for n in 0..2 {
                let lineage = r#"{"text":"no","parent_session_id":"mother","root_session_id":"mother","#;
                bench.append(topics::STEPS, step("kid", n).replacen('{', lineage, 1)).await;
            }
            let running = bench.start();
            bench.until(topics::VERDICTS, 2).await;
            settle().await;
            let orders = bench.read::<Control>(topics::CONTROLS).await;
            let scopes: Vec<_> = orders.iter().map(|it| (it.scope.key(), it.state)).collect();
            if basis == "settled" {
                assert_eq!(scopes, []);
            } else {
                assert_eq!(scopes.len(), 2, "asked and answered: {scopes:?}");
                assert_eq!(scopes[0], ("kid", ControlState::Requested));
            }
            bench.stop(running).await;
        });
    }
}

/// Also where nothing of it was seen: its first step stays in it. Where none was heard of before the halt is lifted, there is nothing
/// to stay in.
#[test]
fn the_root_of_a_run_that_is_halted_is_remembered() {
    simulated(async {
        let mut bench = Bench::new();
        let order = async |bench: &Bench, n: usize, action: &str| {
            let order = format!(
                r#"{{"control_id":"c{n}","action":"{action}","scope":{{"type":"run","root_session_id":"r"}},"time":"2026-01-01T00:00:00Z","state":"requested"}}"#
            );
            bench.append(topics::CONTROLS, order).await;
        };
        let running = bench.start();
        let root = Lineage::of_root(&SessionId::from("r"));
        // `heard`: a door has taken in a first step, which may be judged later.
        for (n, (action, expected)) in [
            ("halt", Some(true)),
            ("resume", None),
            ("halt", Some(true)),
            ("heard", Some(false)),
            ("resume", Some(false)),
            ("halt", Some(false)),
        ]
        .into_iter()
        .enumerate()
        {
            match action {
                "heard" => {
                    let record = Append::new(topics::LINEAGES, Bytes::from_static(b"r"), Bytes::from(root.to_json()));
                    bench.log.append(vec![record]).await.expect("append");
                }
                action => order(&bench, n, action).await,
            }
            settle().await;
            let left = bench.log.latest(topics::LINEAGES, None, 9).await.expect("latest");
            let left: Vec<_> = left.into_iter().filter_map(|(_, it)| Lineage::from_log(&it)).collect();
            let unheard = left.first().map(|it| it.unheard_since.is_some());
            assert_eq!((left.len(), unheard), (usize::from(expected.is_some()), expected), "{n} {action}");
            assert!(left.iter().all(|it| Lineage { unheard_since: None, ..it.clone() } == root), "{left:?}");
        }
        bench.stop(running).await;
    });
}

#[test]
fn what_a_session_under_a_halt_showed_of_its_parent_is_remembered_as_told() {
    simulated(async {
        let mut bench = Bench::new();
        bench.order("halt", "mother").await;
        for (n, lineage) in [
            (0, ""),
            (1, r#""parent_session_id":"mother","root_session_id":"mother","#),
            (2, r#""parent_session_id":"mother","root_session_id":"mother","#),
        ] {
            bench.append(topics::STEPS, step("kid", n).replacen('{', &format!("{{{lineage}"), 1)).await;
        }
        bench.step("mother", 3).await;
        bench.step("other", 4).await;
        let running = bench.start();
        bench.until(topics::VERDICTS, 5).await;
        let [halt, allow] = [Decision::Halt, Decision::Allow];
        assert_eq!(bench.decisions().await, [allow, halt, halt, halt, allow]);
        let mother = Lineage::of_root(&SessionId::from("mother"));
        let parent_session_id = Some(SessionId::from("mother"));
        let kid = Lineage { parent_session_id, basis: Basis::Implied, ..mother.clone() };
        assert_eq!(bench.read::<Lineage>(topics::LINEAGES).await, [kid, mother], "once for each, in one commit");
        // What is remembered is not written again.
        bench.step("mother", 5).await;
        bench.until(topics::VERDICTS, 6).await;
        bench.stop(running).await;
        assert_eq!(bench.read::<Lineage>(topics::LINEAGES).await.len(), 2);
    });
}
