//! The loop against a log in memory. Faults in every order are the simulation's part (`tests/sim.rs`).

mod forgotten;
mod held;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use martingale_detector_core::Rules;
use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{
    Append, Cleanup, Log, MemoryLog, Offset, Partition, ReadLimit, StateChange, Topic, TopicSpec,
};
use martingale_platform::shutdown::{self, Trigger};
use martingale_schemas::record::{DeadLetter, Standing};
use martingale_schemas::{Control, ControlState, Decision, Limits, Lineage, Reason, SessionId, Verdict, topics};
use prometheus::{Registry, TextEncoder};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{Config, Error, Health, STORE, Watched, run};

const ONLY: Partition = Partition(0);
const HOUR_MICROS: i64 = 3_600_000_000;

pub(crate) struct Bench {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) clock: Clock,
    registry: Registry,
    health: Health,
    config: Config,
    pub(crate) rules: Arc<Rules>,
    stop: Option<Trigger>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = Clock::manual(1_767_225_600_000_000);
        let topics = topics::ALL.map(|topic| TopicSpec { topic, cleanup: Cleanup::of(topics::is_compacted(topic)) });
        let log = MemoryLog::new(1, &topics, clock.clone());
        let (config, rules) = (Config::default(), Arc::new(Rules::starter()));
        Self { log, clock, registry: Registry::new(), health: Health::default(), config, rules, stop: None }
    }

    pub(crate) fn start(&mut self) -> JoinHandle<Result<(), Error>> {
        let (trigger, shutdown) = shutdown::channel();
        self.stop = Some(trigger);
        self.registry = Registry::new();
        let (config, log, registry) = (self.config.clone(), Arc::clone(&self.log), self.registry.clone());
        let (rules, health) = (Arc::clone(&self.rules), self.health.clone());
        tokio::spawn(async move {
            let watched = Watched { registry: &registry, health };
            run(config, &Limits::DEFAULT, log, rules, watched, shutdown).await
        })
    }

    pub(crate) async fn stop(&mut self, running: JoinHandle<Result<(), Error>>) {
        self.stop.take().expect("running").stop();
        running.await.expect("no panic").expect("stops in order");
    }

    pub(crate) async fn append(&self, topic: Topic, value: impl Into<Bytes>) {
        self.log.append(vec![Append::new(topic, Bytes::from_static(b"k"), value.into())]).await.expect("append");
    }

    async fn step(&self, session: &str, n: u64) {
        self.append(topics::STEPS, step(session, n)).await;
    }

    async fn order(&self, action: &str, session: &str) {
        let order = format!(
            r#"{{"control_id":"c-{action}","action":"{action}","scope":{{"type":"session","session_id":"{session}"}},"time":"2026-01-01T00:00:00Z","state":"requested"}}"#
        );
        self.append(topics::CONTROLS, order).await;
    }

    pub(crate) async fn read<T: serde::de::DeserializeOwned>(&self, topic: Topic) -> Vec<T> {
        let limit = ReadLimit { records_max: 1_000, bytes_max: usize::MAX };
        let records = self.log.read(topic, ONLY, Offset::START, limit).await.expect("read");
        records.iter().map(|it| serde_json::from_slice(&it.value).expect("own JSON")).collect()
    }

    pub(crate) async fn verdicts(&self) -> Vec<Verdict<'static>> {
        self.read(topics::VERDICTS).await
    }

    async fn decisions(&self) -> Vec<Decision> {
        self.verdicts().await.iter().map(|it| it.decision).collect()
    }

    /// Waits until a topic reaches so many records.
    pub(crate) async fn until(&self, topic: Topic, records: u64) {
        let mut grown = self.log.grown(topic, ONLY);
        let reached = tokio::time::timeout(Duration::from_secs(60), grown.wait_for(|end| end.0 >= records)).await;
        reached.unwrap_or_else(|_| panic!("{topic} does not reach {records}")).expect("open");
    }

    fn metric(&self, line: &str) -> u64 {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).expect("text");
        let found = text.lines().find_map(|it| it.strip_prefix(&format!("martingale_detector_{line} ")));
        found.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse().expect("a number")
    }

    pub(crate) async fn state(&self) -> Vec<String> {
        let entries = self.log.scan(STORE, ONLY, None, 100).await.expect("scan");
        entries.into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
    }
}

fn step(session: &str, n: u64) -> String {
    format!(
        r#"{{"session_id":"{session}","step_id":"s{n}","time":"2026-01-01T00:00:00Z","kind":"reasoning","agent":{{"id":"a"}}}}"#
    )
}

/// Lets everything run that can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// On a clock that moves only when nobody has anything else to do.
pub(crate) fn simulated<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("runtime")
        .block_on(future)
}

#[test]
fn steps_that_were_removed_before_they_were_read_are_counted_and_passed_over() {
    simulated(async {
        let mut bench = Bench::new();
        let running = bench.start();
        bench.step("a", 0).await;
        bench.until(topics::VERDICTS, 1).await;
        bench.stop(running).await;
        for n in 1..5 {
            bench.step("a", n).await;
        }
        bench.log.expire(topics::STEPS, ONLY, Offset(3)).expect("removed");
        let running = bench.start();
        bench.until(topics::VERDICTS, 3).await;
        assert_eq!(bench.metric(r#"expired_total{topic="steps"}"#), 2);
        let judged: Vec<_> = bench.verdicts().await.iter().map(|it| it.step_id.as_str().to_owned()).collect();
        assert_eq!(judged, ["s0", "s3", "s4"]);
        bench.stop(running).await;
    });
}

#[test]
fn a_step_is_judged_without_waiting() {
    simulated(async {
        let mut bench = Bench::new();
        let running = bench.start();
        settle().await;
        for n in 0..3 {
            let before = Instant::now();
            bench.step("a", n).await;
            bench.until(topics::VERDICTS, n + 1).await;
            assert_eq!(before.elapsed(), Duration::ZERO);
        }
        bench.stop(running).await;
        assert_eq!(bench.decisions().await, [Decision::Allow; 3]);
        let positions: Vec<_> = bench.verdicts().await.iter().map(|it| it.position.offset).collect();
        assert_eq!(positions, [0, 1, 2]);
    });
}

#[test]
fn an_order_is_in_force_for_the_steps_after_it_and_is_answered() {
    simulated(async {
        let mut bench = Bench::new();
        bench.step("a", 0).await;
        let running = bench.start();
        bench.until(topics::VERDICTS, 1).await;
        bench.order("halt", "a").await;
        bench.step("a", 1).await;
        bench.until(topics::VERDICTS, 2).await;
        bench.order("resume", "a").await;
        bench.step("a", 2).await;
        bench.until(topics::VERDICTS, 3).await;
        bench.stop(running).await;
        assert_eq!(bench.decisions().await, [Decision::Allow, Decision::Halt, Decision::Allow]);
        let answers: Vec<_> = bench.read::<Control>(topics::CONTROLS).await.into_iter().map(|it| it.state).collect();
        let applied = |offset| {
            let before = martingale_schemas::Position { partition: 0, offset };
            ControlState::Applied { before, known: true, changed: Some(true) }
        };
        assert_eq!(answers, [ControlState::Requested, applied(1), ControlState::Requested, applied(2)]);
        assert_eq!(bench.metric("orders_applied_total"), 2);
    });
}

#[test]
fn a_halt_stands_after_a_restart() {
    simulated(async {
        let mut bench = Bench::new();
        bench.order("halt", "a").await;
        let running = bench.start();
        bench.until(topics::CONTROLS, 2).await;
        settle().await;
        bench.stop(running).await;
        bench.log = bench.log.reopen();
        let running = bench.start();
        bench.step("a", 0).await;
        bench.until(topics::VERDICTS, 1).await;
        bench.stop(running).await;
        assert_eq!(bench.decisions().await, [Decision::Halt]);
        assert_eq!(bench.metric("decisions_total{decision=\"halt\"}"), 1);
        assert_eq!(bench.metric("findings_total{column=\"control\",rule=\"halted_by_control\"}"), 1);
    });
}

#[test]
fn a_busy_log_is_asked_again_for_the_same_commit() {
    simulated(async {
        let mut bench = Bench::new();
        bench.step("a", 0).await;
        bench.log.faults(|it| it.full = true);
        let running = bench.start();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(bench.metric("commit_retries_total") > 10);
        bench.log.faults(|it| it.full = false);
        bench.until(topics::VERDICTS, 1).await;
        settle().await;
        assert_eq!((bench.metric("restarts_total"), bench.metric("steps_judged_total")), (0, 1));
        assert_eq!(bench.metric("lag_steps{partition=\"0\"}"), 0);
        bench.stop(running).await;
        assert_eq!(bench.verdicts().await.len(), 1);
    });
}

#[test]
fn a_busy_log_does_not_hold_up_the_end() {
    simulated(async {
        let mut bench = Bench::new();
        bench.step("a", 0).await;
        bench.log.faults(|it| it.full = true);
        let running = bench.start();
        settle().await;
        bench.stop(running).await;
        assert!(bench.verdicts().await.is_empty());
    });
}

#[test]
fn a_lost_commit_is_made_again_from_the_last() {
    for crash in [false, true] {
        simulated(async {
            let mut bench = Bench::new();
            bench.step("a", 0).await;
            let running = bench.start();
            bench.until(topics::VERDICTS, 1).await;
            settle().await;
            bench.log.faults(|it| {
                it.fail_commit_after = (!crash).then_some(0);
                it.crash_between_publish_and_commit = crash;
            });
            bench.order("halt", "a").await;
            bench.step("a", 1).await;
            settle().await;
            // What arrives before the second attempt must not change what was published at the first.
            bench.order("resume", "a").await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            bench.step("a", 2).await;
            bench.until(topics::VERDICTS, if crash { 4 } else { 3 }).await;
            settle().await;
            assert_eq!(bench.metric("restarts_total"), 1);
            bench.stop(running).await;
            let expected: &[Decision] = match crash {
                false => &[Decision::Allow, Decision::Allow, Decision::Allow],
                true => &[Decision::Allow, Decision::Halt, Decision::Halt, Decision::Allow],
            };
            assert_eq!(bench.decisions().await, expected);
        });
    }
}

/// A log that makes state and progress durable behind what it publishes may lose those of several commits at once. Their
/// steps are judged again to the same verdicts, under the orders that were in force then.
#[test]
fn commits_that_never_settled_are_made_again_alike() {
    simulated(async {
        let mut bench = Bench::new();
        bench.step("a", 0).await;
        let running = bench.start();
        bench.until(topics::VERDICTS, 1).await;
        settle().await;
        bench.log.faults(|it| it.settle_never = true);
        for (n, action) in [(1, "halt"), (2, "resume")] {
            bench.order(action, "a").await;
            bench.until(topics::CONTROLS, 2 * n).await;
            bench.step("a", n).await;
            bench.until(topics::VERDICTS, n + 1).await;
        }
        bench.step("a", 3).await;
        bench.until(topics::VERDICTS, 4).await;
        settle().await;
        bench.log = bench.log.reopen();
        running.await.expect("no panic").expect_err("its log is gone");
        let running = bench.start();
        bench.until(topics::VERDICTS, 7).await;
        settle().await;
        bench.stop(running).await;
        let verdicts: Vec<_> = bench.verdicts().await.iter().map(|it| format!("{it:?}")).collect();
        assert_eq!(verdicts[1..4], verdicts[4..7], "the same verdicts");
        let expected = [Decision::Allow, Decision::Halt, Decision::Allow, Decision::Allow];
        assert_eq!(bench.decisions().await[..4], expected);
        bench.until(topics::CONTROLS, 4).await;
        assert_eq!(bench.read::<serde_json::Value>(topics::CONTROLS).await.len(), 4, "no order is answered twice");
    });
}

/// A commit is lost, so an order that waits for what it published is queued. An order that comes meanwhile is read before
/// the steps and questions behind it.
#[test]
fn an_order_behind_one_that_waits_is_in_force_for_what_follows_it() {
    simulated(async {
        let mut bench = Bench::new();
        bench.config.batch_steps_max = 2;
        bench.log.faults(|it| it.settle_never = true);
        bench.step("a", 0).await;
        bench.step("a", 1).await;
        let running = bench.start();
        bench.until(topics::VERDICTS, 2).await;
        settle().await;
        bench.log = bench.log.reopen();
        running.await.expect("no panic").expect_err("its log is gone");
        bench.order("resume", "b").await;
        // Holds the turn that judges both steps again after it has read, and before it ends.
        bench.log.faults(|it| it.full = true);
        let running = bench.start();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(bench.metric("commit_retries_total") > 0);
        bench.log.faults(|it| it.full = false);
        bench.order("halt", "a").await;
        bench.append(topics::ASKS, step("a", 0)).await;
        bench.step("a", 2).await;
        bench.until(topics::VERDICTS, 5).await;
        bench.until(topics::STANDINGS, 1).await;
        bench.until(topics::CONTROLS, 4).await;
        bench.stop(running).await;
        let before: Vec<_> = bench.read::<Control>(topics::CONTROLS).await.into_iter().map(|it| it.state).collect();
        let before_2 = martingale_schemas::Position { partition: 0, offset: 2 };
        let applied = |known, changed| ControlState::Applied { before: before_2, known, changed: Some(changed) };
        // Nothing stood against `b`: its resume changes nothing, and says so.
        assert_eq!(before[2..], [applied(false, false), applied(true, true)]);
        let expected = [Decision::Allow, Decision::Allow, Decision::Allow, Decision::Allow, Decision::Halt];
        assert_eq!(bench.decisions().await, expected);
        assert_eq!(bench.read::<Standing>(topics::STANDINGS).await[0].standing, Decision::Halt);
    });
}

#[test]
fn a_record_that_is_no_step_is_set_aside() {
    simulated(async {
        let mut bench = Bench::new();
        bench.append(topics::STEPS, "{\"kind\":\"plan\"}").await;
        bench.append(topics::CONTROLS, "stop everything").await;
        bench.step("a", 0).await;
        let running = bench.start();
        bench.until(topics::VERDICTS, 1).await;
        settle().await;
        assert_eq!(bench.metric("dead_letters_total{topic=\"steps\"}"), 1);
        assert_eq!(bench.metric("dead_letters_total{topic=\"controls\"}"), 1);
        bench.stop(running).await;
        let mut letters = bench.read::<DeadLetter>(topics::DEAD_LETTER).await;
        letters.sort_by(|a, b| a.source.cmp(&b.source));
        let letters: Vec<_> = letters.iter().map(|it| (it.source.as_str(), it.reason, it.payload.as_str())).collect();
        assert_eq!(
            letters,
            [
                ("log_controls", Reason::InvalidJson, "stop everything"),
                ("log_steps", Reason::MissingField, "{\"kind\":\"plan\"}"),
            ]
        );
        assert_eq!(bench.verdicts().await[0].position.offset, 1);
    });
}

/// Whoever asks whether it is ready hears of a partition that starts again, until it gets on.
#[test]
fn a_partition_that_starts_again_is_told_until_it_gets_on() {
    simulated(async {
        let mut bench = Bench::new();
        bench.log.faults(|it| it.fail_commit_after = Some(0));
        bench.step("a", 0).await;
        let running = bench.start();
        let moment = || tokio::time::sleep(Duration::from_millis(1));
        while bench.health.trouble().is_none() {
            moment().await;
        }
        let told = bench.health.trouble().expect("just seen");
        assert!(told.starts_with("partition 0 does not go on: ") && told.contains("commit"), "{told}");
        let shown = bench.registry.gather().into_iter().any(|it| it.name() == "martingale_detector_lag_steps");
        assert!(shown, "the lag is shown while it starts again");
        while bench.health.trouble().is_some() {
            moment().await;
        }
        assert_eq!(bench.verdicts().await.len(), 1);
        bench.stop(running).await;
    });
}

#[test]
fn state_that_cannot_be_read_ends_it_with_the_key() {
    for (value, says) in [
        (vec![11, 0, 0], "it has version 11, this program reads up to 10"),
        (vec![1, 0, 0], "it has 3 bytes, too few for its header"),
        (vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 9], "it is damaged"),
    ] {
        simulated(async {
            let mut bench = Bench::new();
            let (key, value) = (Bytes::from_static(b"s/a"), Some(value.into()));
            let change = StateChange { store: STORE, partition: ONLY, key, value };
            let commit =
                martingale_platform::log::Commit { consumer: "test", state: vec![change], ..Default::default() };
            bench.log.commit(commit).await.expect("commit");
            bench.step("a", 0).await;
            let error = bench.start().await.expect("no panic").expect_err("unreadable");
            let Error::State { source, .. } = &error else { panic!("{error:?}") };
            assert_eq!(error.to_string(), "state `s/a` of partition 0 cannot be read");
            assert!(source.to_string().starts_with(says), "{source}");
            assert!(bench.verdicts().await.is_empty());
        });
    }
}

/// A part that is lost would be forgotten steps and calls, so it ends the partition and names the key: for the session's
/// next step, and for a question about one that was judged.
#[test]
fn a_part_that_is_lost_ends_it_with_the_key() {
    for ask in [false, true] {
        simulated(async {
            let mut bench = Bench::new();
            for n in 0..40 {
                bench.step("a", n).await;
            }
            let running = bench.start();
            bench.until(topics::VERDICTS, 40).await;
            bench.stop(running).await;
            assert!(bench.state().await.contains(&"p/a/r00".to_owned()));
            let change =
                StateChange { store: STORE, partition: ONLY, key: Bytes::from_static(b"p/a/r00"), value: None };
            let commit =
                martingale_platform::log::Commit { consumer: "test", state: vec![change], ..Default::default() };
            bench.log.commit(commit).await.expect("commit");
            let running = bench.start();
            settle().await;
            bench.append(if ask { topics::ASKS } else { topics::STEPS }, step("a", 0)).await;
            let error = running.await.expect("no panic").expect_err("a lost part");
            let Error::State { source, .. } = &error else { panic!("{error:?}") };
            assert_eq!(error.to_string(), "state `p/a/r00` of partition 0 cannot be read");
            assert!(source.to_string().starts_with("it is not in the store"), "{source}");
            assert_eq!(bench.verdicts().await.len(), 40);
        });
    }
}

#[test]
fn partitions_are_followed_as_they_come_and_go() {
    simulated(async {
        let mut bench = Bench::new();
        bench.log.set_assigned(crate::CONSUMER, &[]);
        bench.step("a", 0).await;
        let running = bench.start();
        settle().await;
        assert!(bench.verdicts().await.is_empty());
        bench.log.set_assigned(crate::CONSUMER, &[ONLY]);
        bench.until(topics::VERDICTS, 1).await;
        settle().await;
        bench.log.set_assigned(crate::CONSUMER, &[]);
        settle().await;
        bench.step("a", 1).await;
        settle().await;
        assert_eq!(bench.verdicts().await.len(), 1);
        bench.log.set_assigned(crate::CONSUMER, &[ONLY]);
        bench.until(topics::VERDICTS, 2).await;
        bench.stop(running).await;
    });
}

#[test]
fn a_question_is_answered_under_every_order_before_it_and_leaves_no_trace() {
    simulated(async {
        let mut bench = Bench::new();
        bench.step("a", 0).await;
        for (at, (orders, standing)) in
            [(&[][..], Decision::Allow), (&["halt"], Decision::Halt), (&["resume"], Decision::Allow)]
                .into_iter()
                .enumerate()
        {
            let running = bench.start();
            bench.until(topics::VERDICTS, 1).await;
            settle().await;
            let state = bench.state().await;
            // All on the log before the loop has a turn.
            for action in orders {
                bench.order(action, "a").await;
            }
            bench.append(topics::ASKS, step("a", 0)).await;
            bench.until(topics::STANDINGS, at as u64 + 1).await;
            bench.stop(running).await;
            let answers: Vec<Standing> = bench.read(topics::STANDINGS).await;
            let answer = answers.last().expect("an answer");
            assert_eq!(answer.standing, standing, "after {orders:?}");
            assert_eq!(answer.finding.is_some(), standing == Decision::Halt);
            assert_eq!((bench.verdicts().await.len(), bench.state().await), (1, state));
        }
    });
}

#[test]
fn a_question_that_is_no_step_is_passed_over() {
    simulated(async {
        let mut bench = Bench::new();
        let running = bench.start();
        settle().await;
        bench.append(topics::ASKS, "{").await;
        bench.append(topics::ASKS, step("unknown", 0)).await;
        bench.until(topics::STANDINGS, 1).await;
        bench.stop(running).await;
        let answers: Vec<Standing> = bench.read(topics::STANDINGS).await;
        assert_eq!((answers.len(), answers[0].standing), (1, Decision::Allow));
        assert_eq!(bench.state().await, [] as [&str; 0]);
    });
}
