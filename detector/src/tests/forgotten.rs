//! What goes with a session that was silent for too long, and what stays.

use super::*;

#[test]
fn a_silent_session_is_forgotten_unless_it_is_halted() {
    simulated(async {
        let mut bench = Bench::new();
        bench.config.session_idle = Span::from_millis(3_600_000);
        bench.config.sessions_in_memory_max = 2;
        for session in ["quiet", "halted", "busy"] {
            bench.step(session, 0).await;
        }
        bench.order("halt", "halted").await;
        let running = bench.start();
        for (n, after) in [(1, HOUR_MICROS / 2), (2, HOUR_MICROS / 2), (3, HOUR_MICROS / 4)] {
            settle().await;
            bench.clock.advance(after);
            bench.step("busy", n).await;
        }
        settle().await;
        assert_eq!(bench.state().await, ["r/busy", "r/halted", "s/busy", "s/halted", "tick"]);
        assert_eq!(bench.metric("states_forgotten_total"), 2);
        // The same step again: known to the sessions that are remembered, new to the one that is not.
        for session in ["quiet", "halted", "busy"] {
            bench.step(session, 0).await;
        }
        bench.until(topics::VERDICTS, 7).await;
        settle().await;
        assert_eq!(bench.metric("duplicates_total"), 2);
        assert_eq!(bench.metric("steps_judged_total"), 7);
        bench.stop(running).await;
    });
}

/// What a session told of its lineage goes with it, but for a session whose run is halted: it must not get out of that by
/// silence. It goes when the halt is lifted.
#[test]
fn what_a_session_told_goes_with_it_once_its_run_is_not_halted() {
    simulated(async {
        let mut bench = Bench::new();
        bench.config.session_idle = Span::from_millis(3_600_000);
        for (session, told, seen) in [
            ("quiet", "calm", "calm"),
            ("held", "halted", "halted"),
            ("moved", "elsewhere", "moved"),
            ("untold", "", "calm"),
        ] {
            if !told.is_empty() {
                let lineage = Bytes::from(format!(r#"{{"root_session_id":"{told}"}}"#));
                let record = Append::new(topics::LINEAGES, Bytes::from_static(session.as_bytes()), lineage);
                bench.log.append(vec![record]).await.expect("append");
            }
            let step = step(session, 0).replacen('{', &format!(r#"{{"root_session_id":"{seen}","#), 1);
            bench.append(topics::STEPS, step).await;
        }
        bench.order("halt", "halted").await;
        let running = bench.start();
        bench.until(topics::VERDICTS, 4).await;
        bench.clock.advance(2 * HOUR_MICROS);
        bench.step("busy", 0).await;
        settle().await;
        let left = async |bench: &Bench| {
            let left = bench.log.latest(topics::LINEAGES, None, 9).await.expect("latest");
            left.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(bench.state().await, ["r/busy", "r/halted", "s/busy", "s/halted", "s/held", "tick"]);
        assert_eq!(left(&bench).await, ["held", "moved"]);
        assert_eq!(bench.log.bounds(topics::LINEAGES, ONLY).await.expect("bounds").end.0, 4, "one was removed");

        bench.order("resume", "halted").await;
        settle().await;
        assert_eq!(left(&bench).await, ["held", "moved"]);
        bench.clock.advance(2 * HOUR_MICROS);
        bench.step("busy", 1).await;
        settle().await;
        assert_eq!(bench.state().await, ["r/busy", "s/busy", "tick"]);
        assert_eq!(left(&bench).await, ["moved"]);
        bench.stop(running).await;
    });
}

/// Who goes on keeps those above it, whatever they do: a halt of one of them, or of the run, has to reach it.
#[test]
fn a_silent_session_stays_while_one_that_it_started_goes_on() {
    simulated(async {
        let mut bench = Bench::new();
        bench.config.session_idle = Span::from_millis(3_600_000);
        bench.config.sessions_in_memory_max = 1;
        let of_run = |session: &str, parent: &str, n: u64| {
            let lineage = format!(r#"{{"root_session_id":"r","parent_session_id":"{parent}","#);
            step(session, n).replacen('{', &lineage, 1)
        };
        bench.step("r", 0).await;
        for (session, parent) in [("mother", "r"), ("kid", "mother"), ("other", "r")] {
            let lineage = Bytes::from(format!(r#"{{"root_session_id":"r","parent_session_id":"{parent}"}}"#));
            let record = Append::new(topics::LINEAGES, Bytes::from_static(session.as_bytes()), lineage);
            bench.log.append(vec![record]).await.expect("append");
            bench.append(topics::STEPS, of_run(session, parent, 0)).await;
        }
        let running = bench.start();
        bench.until(topics::VERDICTS, 4).await;
        for n in 1..6 {
            bench.clock.advance(HOUR_MICROS / 2);
            bench.append(topics::STEPS, of_run("kid", "mother", n)).await;
            settle().await;
        }
        assert_eq!(bench.state().await, ["r/r", "s/kid", "s/mother", "s/r", "tick"]);
        let left = bench.log.latest(topics::LINEAGES, None, 9).await.expect("latest");
        assert_eq!(left.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [&b"kid"[..], b"mother"]);
        bench.order("halt", "mother").await;
        bench.append(topics::STEPS, of_run("kid", "mother", 6)).await;
        bench.until(topics::VERDICTS, 10).await;
        assert_eq!(bench.decisions().await.last(), Some(&Decision::Halt));
        bench.stop(running).await;
    });
}

/// Of a session whose run is not settled, those below it may go on in the run of another partition: the doors are asked for as long
/// as a session may be silent, and one that hears of somebody takes the question away.
#[test]
fn what_a_session_told_goes_when_no_door_hears_of_one_below_it() {
    simulated(async {
        let mut bench = Bench::new();
        bench.config.session_idle = Span::from_millis(3_600_000);
        let implied = r#"{"root_session_id":"mother","parent_session_id":"mother","basis":"implied"}"#;
        let tell = async |bench: &Bench, session: &'static str| {
            let record = Append::new(topics::LINEAGES, Bytes::from_static(session.as_bytes()), Bytes::from(implied));
            bench.log.append(vec![record]).await.expect("append");
        };
        for session in ["kept", "silent"] {
            tell(&bench, session).await;
            let lineage = r#"{"root_session_id":"mother","parent_session_id":"mother","#;
            bench.append(topics::STEPS, step(session, 0).replacen('{', lineage, 1)).await;
        }
        let running = bench.start();
        bench.until(topics::VERDICTS, 2).await;
        let rest = ["r/busy", "s/busy"];
        for (n, (quarters, is_heard, asked)) in [
            (8, true, &["s/kept", "s/silent"][..]),
            (3, false, &["s/kept", "s/silent"]),
            (2, false, &["s/kept"]),
            (8, false, &[]),
        ]
        .into_iter()
        .enumerate()
        {
            bench.clock.advance(quarters * HOUR_MICROS / 4);
            bench.step("busy", n as u64).await;
            settle().await;
            assert_eq!(bench.state().await, [&rest[..], asked, &["tick"]].concat(), "{n}");
            let left = bench.log.latest(topics::LINEAGES, None, 9).await.expect("latest");
            assert_eq!(left.len(), asked.len(), "{n}");
            let is_asked = |it: &Bytes| Lineage::from_log(it).is_some_and(|it| it.unheard_since.is_some());
            assert!(left.iter().all(|(_, it)| is_asked(it)), "{n}");
            if is_heard {
                tell(&bench, "kept").await;
            }
        }
        bench.stop(running).await;
    });
}

/// A halt keeps a session that says nothing, and an order renews it, but neither keeps those above it. Its next step names them
/// again, and a halt of one of them reaches it, whether that comes before or after.
#[test]
fn who_was_forgotten_above_one_that_stayed_is_named_again() {
    for halts_first in [false, true] {
        for stays in ["halted", "ordered"] {
            simulated(async {
                let mut bench = Bench::new();
                bench.config.session_idle = Span::from_millis(3_600_000);
                let of_run = |session: &str, parent: &str, n: u64| {
                    let lineage = format!(r#"{{"root_session_id":"r","parent_session_id":"{parent}","#);
                    step(session, n).replacen('{', &lineage, 1)
                };
                bench.append(topics::STEPS, of_run("mother", "r", 0)).await;
                bench.append(topics::STEPS, of_run("kid", "mother", 0)).await;
                let running = bench.start();
                bench.until(topics::VERDICTS, 2).await;
                bench.order("halt", "kid").await;
                settle().await;
                if stays == "ordered" {
                    bench.clock.advance(HOUR_MICROS * 3 / 4);
                    bench.step("other", 0).await;
                    settle().await;
                    bench.order("resume", "kid").await;
                    settle().await;
                    bench.clock.advance(HOUR_MICROS * 3 / 4);
                } else {
                    bench.clock.advance(HOUR_MICROS * 3);
                }
                bench.step("other", 1).await;
                settle().await;
                if stays == "halted" {
                    bench.order("resume", "kid").await;
                    settle().await;
                }
                if halts_first {
                    bench.order("halt", "mother").await;
                }
                bench.append(topics::STEPS, of_run("kid", "mother", 1)).await;
                settle().await;
                if !halts_first {
                    bench.order("halt", "mother").await;
                }
                bench.append(topics::STEPS, of_run("kid", "mother", 2)).await;
                settle().await;
                let expected = [if halts_first { Decision::Halt } else { Decision::Allow }, Decision::Halt];
                let decisions = bench.decisions().await;
                assert_eq!(decisions[decisions.len() - 2..], expected, "{stays}, {halts_first}");
                bench.stop(running).await;
            });
        }
    }
}

/// A session so long that its state has parts: they are read back with it, also when it halted and silent, written only when
/// they change, and go when it is forgotten.
#[test]
fn the_parts_of_a_session_come_and_go_with_it() {
    simulated(async {
        let mut bench = Bench::new();
        bench.config.session_idle = Span::from_millis(3_600_000);
        for session in ["a", "halted"] {
            for n in 0..70 {
                bench.step(session, n).await;
            }
        }
        bench.order("halt", "halted").await;
        let running = bench.start();
        bench.until(topics::VERDICTS, 140).await;
        bench.stop(running).await;
        let parts = ["p/a/r00", "p/a/r01", "p/halted/r00", "p/halted/r01"];
        let heads = ["r/a", "r/halted", "s/a", "s/halted", "tick"];
        assert_eq!(bench.state().await, [&parts[..], &heads].concat());

        // The oldest is in a part, and known.
        let running = bench.start();
        for session in ["a", "halted"] {
            bench.step(session, 0).await;
        }
        settle().await;
        assert_eq!(bench.metric("duplicates_total"), 2);
        bench.clock.advance(HOUR_MICROS / 2);
        bench.step("a", 1).await;
        settle().await;
        bench.clock.advance(2 * HOUR_MICROS);
        // Found silent for too long by its own next step, before the sweep comes by: it begins anew, without its old parts.
        bench.step("a", 2).await;
        bench.until(topics::VERDICTS, 141).await;
        settle().await;
        assert_eq!(bench.state().await, [&parts[2..], &heads].concat());
        bench.step("halted", 69).await;
        settle().await;
        assert_eq!(bench.metric("duplicates_total"), 4);
        for n in 3..40 {
            bench.step("a", n).await;
        }
        bench.until(topics::VERDICTS, 178).await;
        bench.clock.advance(2 * HOUR_MICROS);
        bench.step("b", 0).await;
        bench.until(topics::VERDICTS, 179).await;
        settle().await;
        let left = ["p/halted/r00", "p/halted/r01", "r/b", "r/halted", "s/b", "s/halted", "tick"];
        assert_eq!(bench.state().await, left);
        bench.stop(running).await;
    });
}

/// Pages of what a session read and of what its run shares: stored, read back, and gone with their heads.
#[test]
fn what_was_read_goes_with_its_session_and_run() {
    simulated(async {
        let mut bench = Bench::new();
        bench.config.session_idle = Span::from_millis(3_600_000);
        let reads = |n: u64| {
            format!(
                r#"{{"session_id":"a","root_session_id":"a","step_id":"{n}","time":"2026-01-01T00:00:00Z","kind":"tool_result","agent":{{"id":"a"}},"tool":"get_user","output":{{"mail":"user{n}@example.com","password":"hunter{n}xyz"}}}}"#
            )
        };
        bench.append(topics::STEPS, reads(0)).await;
        let running = bench.start();
        bench.until(topics::VERDICTS, 1).await;
        bench.stop(running).await;
        let stored = ["p/a/e00", "p/a/l00", "p/a/p00", "p/a/s00", "p/a/v00", "r/a", "s/a", "tick"];
        assert_eq!(bench.state().await, stored);

        let running = bench.start();
        bench.append(topics::STEPS, reads(1)).await;
        bench.until(topics::VERDICTS, 2).await;
        settle().await;
        assert_eq!(bench.state().await, stored, "read back, and written where it was");
        bench.clock.advance(3 * HOUR_MICROS);
        bench.step("b", 0).await;
        bench.until(topics::VERDICTS, 3).await;
        settle().await;
        assert_eq!(bench.state().await, ["r/b", "s/b", "tick"]);
        bench.stop(running).await;
    });
}
