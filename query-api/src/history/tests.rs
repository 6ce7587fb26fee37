//! The writer over a log in memory: exact counts, crashes at any moment, verdicts that come twice.

mod objects;
mod shared;

use std::sync::Arc;

use martingale_platform::config::Span;
use martingale_platform::log::{Log, MemoryLog, Offset, Partition};
use martingale_schemas::{
    Control, ControlAction, ControlId, ControlState, Limits, Position, Scope, SessionId, StepReader, Timestamp, topics,
};
use serde_json::json;

use super::lane::{Lane, Pass};
use super::metrics::Metrics;
use super::{CONSUMER, Error, History};
use crate::tables::Pending;
use crate::world::{World, checked, step, verdict};

const STEPS: &str = "SELECT count(*) FROM steps";

/// A small generator: the same seed, the same crashes.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[tokio::test]
async fn rows_are_visible_before_they_are_on_disk_and_after() {
    let world = World::new(2);
    let process = world.start().await;
    world
        .judge(&[
            step("a", 1, "user_message", json!({ "text": "hello" })),
            step("a", 2, "tool_call", json!({ "tool": "search", "input": { "q": "x" }, "causes": ["s1"] })),
            step("b", 1, "tool_call", json!({ "tool": "danger" })),
        ])
        .await;
    process.until(STEPS, 3).await;
    assert!(process.history.snapshot().tables.iter().all(|it| it.stored.snapshot.version() == 0), "nothing on disk");
    let question = "SELECT session_id, step_id, seq, time, kind, agent_version, tool, input, causes, decision \
                    FROM steps ORDER BY session_id, seq";
    let from_memory = process.rows(question).await;
    assert_eq!(
        from_memory[1],
        [
            json!("a"),
            json!("s2"),
            json!(2),
            json!("2023-11-14T22:13:22Z"),
            json!("tool_call"),
            json!("1.0"),
            json!("search"),
            json!(r#"{"q":"x"}"#),
            json!(["s1"]),
            json!("allow")
        ]
    );
    assert_eq!(from_memory[2][9], json!("halt"));
    process.stop().await;

    let process = world.start().await;
    assert_eq!(process.rows(question).await, from_memory, "the same from disk, before a record is read");
    assert!(process.history.snapshot().tables.iter().all(|it| it.fresh.is_empty()));
    assert_eq!(process.one("SELECT count(*) FROM findings WHERE rule = 'no-danger'").await, json!(1));
    process.stop().await;
}

#[tokio::test]
async fn a_crash_at_any_moment_loses_nothing_and_doubles_nothing() {
    for seed in 1..=4 {
        let mut random = Random(seed);
        let mut world = World::new(2);
        // Flushes all the time, so that crashes fall before, into and after them.
        world.config.flush_steps = 7;
        world.config.publish_every = Span::from_millis(1);
        world.config.compact_every = 5;
        let (mut sent, mut process) = (0, world.start().await);
        for _ in 0..12 {
            let more = 1 + random.below(20);
            let tool = |n: u64| if n.is_multiple_of(2) { "ok" } else { "danger" };
            let steps: Vec<_> = (sent..sent + more)
                .map(|n| step(&format!("session-{}", n % 5), n, "tool_call", json!({ "tool": tool(n) })))
                .collect();
            sent += more;
            world.judge(&steps).await;
            for _ in 0..random.below(200) {
                tokio::task::yield_now().await;
            }
            if random.below(2) == 0 {
                process.until(STEPS, sent).await;
            }
            process.kill(&mut world).await;
            process = world.start().await;
        }
        process.until(STEPS, sent).await;
        for (table, id, rows) in [
            ("steps", "session_id || '/' || step_id", sent),
            ("verdicts", "verdict_id", sent),
            ("findings", "finding_id", sent / 2),
        ] {
            let counts = process.rows(&format!("SELECT count(*), count(DISTINCT {id}) FROM {table}")).await;
            assert_eq!(counts[0], [json!(rows), json!(rows)], "{table}, seed {seed}");
        }
        let sums = process.rows("SELECT sum(steps), sum(findings), count(*) FROM sessions").await;
        assert_eq!(sums[0], [json!(sent), json!(sent / 2), json!(5.min(sent))], "seed {seed}");
        process.stop().await;
    }
}

/// Breaks off the flush of one table, so that some tables have what others have not, and dies.
#[tokio::test]
async fn what_was_visible_before_a_crash_between_two_tables_is_visible_in_the_first_answer_after_it() {
    for broken in ["steps", "verdicts", "findings", "session_parts"] {
        let mut world = World::new(2);
        world.config.flush_steps = 50;
        world.config.compact_every = 3;
        let process = world.start().await;
        let steps = |from: u64, to: u64| -> Vec<_> {
            let tool = |n: u64| if n.is_multiple_of(2) { "odd" } else { "danger" };
            (from..to).map(|n| step(&format!("s{}", n % 7), n, "tool_call", json!({ "tool": tool(n) }))).collect()
        };
        world.judge(&steps(0, 240)).await;
        process.until(STEPS, 240).await;
        process.stop().await;

        let process = world.start().await;
        process.until(STEPS, 240).await;
        // A folder where the next commits should be. Compactions commit, too, so it is not known which is the next.
        let stored = process.history.snapshot().tables[0].stored.snapshot.version();
        for version in 0..60 {
            let at = world.tables().join(broken).join("_delta_log").join(format!("{version:020}.json"));
            let _ = std::fs::create_dir(at);
        }
        world.judge(&steps(240, 400)).await;
        process.until(STEPS, 400).await;
        process.kill(&mut world).await;
        for version in 0..60 {
            let at = world.tables().join(broken).join("_delta_log").join(format!("{version:020}.json"));
            let _ = std::fs::remove_dir(at);
        }

        let process = world.start().await;
        let sql = "SELECT (SELECT count(*) FROM steps) AS a, (SELECT count(*) FROM verdicts) AS b, \
                   (SELECT count(*) FROM findings) AS c, (SELECT sum(steps) FROM sessions) AS d";
        assert_eq!(json!(process.rows(sql).await), json!([[400, 400, 400, 400]]), "{broken}, at {stored}");
        assert!(process.history.is_current());
        process.stop().await;
    }
}

#[tokio::test]
async fn until_the_log_is_read_queries_wait_and_history_is_not_ready() {
    let world = World::new(1);
    world.judge(&[step("a", 1, "plan", json!({})), step("a", 2, "plan", json!({}))]).await;
    let log: Arc<dyn Log> = world.log.clone();
    let history =
        History::open(world.config.clone(), &Limits::DEFAULT, log, Default::default(), &Default::default()).await;
    let history = history.expect("opens");
    assert!(history.trouble().is_some_and(|it| it.contains("at start")), "{:?}", history.trouble());
    let config = crate::sql::Config { time_max: Span::from_millis(1_000), ..Default::default() };
    let impatient = crate::sql::Engine::new(Arc::clone(&history), config).expect("threads");
    let error = impatient.query(STEPS).await.expect_err("cannot be answered yet");
    assert_eq!(error.status(), 503, "{error}");
    impatient.query("EXPLAIN SELECT count(*) FROM steps").await.expect("a plan needs no rows");

    let engine = crate::sql::Engine::new(Arc::clone(&history), Default::default()).expect("threads");
    let (trigger, shutdown) = martingale_platform::shutdown::channel();
    let running = tokio::spawn(Arc::clone(&history).run(shutdown));
    let (answer, task) = tokio::join!(engine.query(STEPS), std::future::ready(running));
    assert_eq!((answer.expect("answers").rows, history.trouble()), (vec![vec![json!(2)]], None));
    trigger.stop();
    task.await.expect("no panic").expect("stops");
}

#[tokio::test]
async fn rows_are_visible_as_they_come() {
    let mut world = World::new(1);
    world.config.flush_steps = 50;
    world.config.compact_every = 3;
    let process = world.start().await;
    process.until(STEPS, 0).await;
    for n in 1..=200 {
        world.judge(&[step("a", n, "plan", json!({}))]).await;
        // One that never comes ends the test; how long one takes is for a bench to say.
        let visible = tokio::time::timeout(std::time::Duration::from_secs(30), process.holds_steps(n));
        visible.await.unwrap_or_else(|_| panic!("step {n} is not visible"));
    }
    process.stop().await;
}

#[tokio::test]
async fn a_verdict_published_twice_is_one_row_even_across_a_restart() {
    let world = World::new(1);
    let process = world.start().await;
    let sent = step("a", 1, "tool_call", json!({ "tool": "danger" }));
    world.judge(std::slice::from_ref(&sent)).await;
    let text = sent.to_string();
    let again = verdict(&checked(&text), Position { partition: 0, offset: 0 });
    world.publish(&again).await;
    process.until(STEPS, 1).await;
    process.stop().await;

    let process = world.start().await;
    world.publish(&again).await;
    world.judge(&[step("a", 2, "tool_call", json!({}))]).await;
    process.until(STEPS, 2).await;
    for table in ["verdicts", "findings"] {
        let rows = process.one(&format!("SELECT count(*) FROM {table} WHERE step_id = 's1'")).await;
        assert_eq!(rows, json!(1), "{table}");
    }
    assert_eq!(process.one("SELECT steps FROM sessions").await, json!(2));
    process.stop().await;
}

#[tokio::test]
async fn progress_is_committed_after_the_rows_are_on_disk() {
    let world = World::new(1);
    let process = world.start().await;
    let committed = || async {
        let mut next = Vec::new();
        for topic in [topics::VERDICTS, topics::STEPS, topics::CONTROLS] {
            next.push(world.log.committed(CONSUMER, topic, Partition(0)).await.expect("reads").map(|it| it.0));
        }
        next
    };
    world.judge(&[step("a", 1, "plan", json!({})), step("a", 2, "plan", json!({}))]).await;
    process.until(STEPS, 2).await;
    assert_eq!(committed().await, [Some(0), Some(0), Some(0)]);
    process.stop().await;
    assert_eq!(committed().await, [Some(2), Some(2), Some(0)]);
}

fn halt() -> Control {
    Control {
        control_id: ControlId::from("c1"),
        action: ControlAction::Halt,
        scope: Scope::Session { session_id: SessionId::from("a".to_owned()) },
        time: Timestamp::from_micros(1),
        by: Some("ana".to_owned()),
        reason: None,
        state: ControlState::Requested,
    }
}

#[tokio::test]
async fn a_control_is_one_row_and_says_who_applied_it() {
    let world = World::new(2);
    let process = world.start().await;
    let mut control = halt();
    for partition in 0..2 {
        world.control(&control, partition).await;
    }
    process.until("SELECT count(*) FROM controls WHERE state = 'requested'", 1).await;
    for partition in 0..2 {
        let before = Position { partition, offset: 7 };
        control.state = ControlState::Applied { before, known: partition == 1, changed: Some(true) };
        world.control(&control, partition).await;
    }
    process.until("SELECT applied_partitions FROM controls", 2).await;
    let sql = "SELECT control_id, action, scope, scope_id, given_by, state, known, changed FROM controls";
    assert_eq!(json!(process.rows(sql).await), json!([["c1", "halt", "session", "a", "ana", "applied", true, true]]));
    process.stop().await;
}

/// As `GET /v1/controls/{id}` says it: by the partitions that know the session, if there are any.
#[tokio::test]
async fn whether_a_control_changed_anything_is_what_its_answer_says() {
    let world = World::new(2);
    let process = world.start().await;
    let board = crate::controls::Board::new(2, 8);
    let cases = [
        [(false, Some(true)), (true, Some(false))],
        [(true, Some(false)), (true, Some(true))],
        [(false, Some(false)), (false, Some(true))],
        [(false, Some(false)), (false, Some(false))],
        [(true, None), (false, Some(true))],
        [(false, None), (false, None)],
    ];
    let mut wanted = Vec::new();
    for (at, answers) in cases.into_iter().enumerate() {
        let mut control = Control { control_id: ControlId::from(format!("c{at}")), ..halt() };
        for (partition, (known, changed)) in (0..).zip(answers) {
            control.state = ControlState::Applied { before: Position { partition, offset: 7 }, known, changed };
            board.note(Partition(partition), &control);
            world.control(&control, partition).await;
        }
        wanted.push(json!(board.get(control.control_id.as_str()).expect("noted").changed));
    }
    process.until("SELECT sum(applied_partitions) FROM controls", 2 * cases.len() as u64).await;
    let told = process.rows("SELECT changed FROM controls ORDER BY control_id").await;
    assert_eq!(told.into_iter().flatten().collect::<Vec<_>>(), wanted);
    assert_eq!(wanted, [json!(false), json!(true), json!(true), json!(false), json!(null), json!(null)]);
    process.stop().await;
}

#[tokio::test]
async fn records_that_are_gone_or_broken_are_passed_over() {
    let world = World::new(1);
    world
        .judge(&[step("a", 1, "plan", json!({})), step("a", 2, "plan", json!({})), step("a", 3, "plan", json!({}))])
        .await;
    world.log.expire(topics::STEPS, Partition(0), Offset(1)).expect("expires");
    let broken = martingale_platform::log::Append::new(topics::VERDICTS, "k".into(), "{".into());
    world.log.append(vec![broken]).await.expect("appends");
    world.judge(&[step("a", 4, "plan", json!({}))]).await;
    let process = world.start().await;
    process.until("SELECT count(*) FROM verdicts", 4).await;
    assert_eq!(process.one(STEPS).await, json!(3), "the first step is gone, its verdict is not");
    assert_eq!(process.one("SELECT steps FROM sessions").await, json!(4));
    process.stop().await;
}

/// What was read before the log failed is shown, so it counts for how late history is.
#[tokio::test]
async fn a_pass_that_fails_tells_of_what_it_took_in() {
    let world = World::new(1);
    world.judge(&[step("a", 1, "plan", json!({})), step("a", 2, "plan", json!({}))]).await;
    world.control(&halt(), 0).await;
    let metrics = Metrics::new(&Default::default()).expect("registers");
    let (mut lane, mut rows) = (Lane::new(Partition(0), Default::default()), Pending::new());
    let reader = StepReader::new(false, &Limits::DEFAULT);
    lane.begin(&*world.log).await.expect("begins");
    for (failing, records) in [(topics::CONTROLS, 0), (topics::VERDICTS, 1), (topics::STEPS, 0)] {
        world.log.faults(|it| it.fail_reads_of = Some(failing));
        let mut pass = Pass::default();
        let error = lane.read(&*world.log, &reader, &mut rows, &metrics, &mut pass).await.expect_err(failing);
        assert!(error.is_transient(), "{error}");
        let appended_at = (records > 0).then_some(0);
        assert_eq!(pass, Pass { records, appended_at }, "{failing}");
    }
    world.log.faults(|it| it.fail_reads_of = None);
    let mut pass = Pass::default();
    lane.read(&*world.log, &reader, &mut rows, &metrics, &mut pass).await.expect("reads");
    assert_eq!(pass, Pass { records: 2, appended_at: Some(0) });
}

#[tokio::test]
async fn a_folder_of_another_log_is_refused() {
    let mut world = World::new(1);
    let process = world.start().await;
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    process.until(STEPS, 1).await;
    process.stop().await;
    let right = std::mem::replace(&mut world.log, World::new(1).log);
    let open = async |log: &Arc<MemoryLog>| {
        let (config, log) = (world.config.clone(), log.clone());
        History::open(config, &Limits::DEFAULT, log, Default::default(), &Default::default()).await.err()
    };
    world.log.faults(|it| it.identity = Some("new"));
    let error = open(&world.log).await.expect("is refused before anybody is answered");
    assert!(matches!(error, Error::AheadOfLog { next: 1, end: 0, .. }), "{error}");
    // What was refused has claimed nothing.
    right.faults(|it| it.identity = Some("right"));
    assert!(open(&right).await.is_none());
    let error = open(&world.log).await.expect("belongs to another now");
    assert!(matches!(error, Error::OtherLog { .. }), "{error}");
}

#[tokio::test]
async fn a_disk_that_fails_keeps_rows_visible_and_stops_reading_at_the_limit() {
    let mut world = World::new(1);
    world.config.flush_steps = 1;
    world.config.memory_bytes_max = 1;
    let process = world.start().await;
    // A folder where the table's next commit should be: it cannot be written.
    let in_the_way = world.tables().join("steps/_delta_log/00000000000000000001.json");
    std::fs::create_dir(&in_the_way).expect("creates");
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    process.until(STEPS, 1).await;
    world.judge(&[step("a", 2, "plan", json!({}))]).await;
    assert_eq!(process.one(STEPS).await, json!(1));
    std::fs::remove_dir(&in_the_way).expect("removes");
    process.until(STEPS, 2).await;
    process.stop().await;
}

#[tokio::test]
async fn a_table_whose_log_is_garbage_is_named_with_the_way_out() {
    let world = World::new(1);
    world.start().await.stop().await;
    let entry = world.tables().join("verdicts/_delta_log/00000000000000000000.json");
    for garbage in ["{\"commitInfo\":{}}\nnot JSON\n", ""] {
        std::fs::write(&entry, garbage).expect("written");
        let registry = prometheus::Registry::new();
        let opened =
            History::open(world.config.clone(), &Limits::DEFAULT, world.log.clone(), Default::default(), &registry)
                .await;
        let said = crate::http::with_causes(&opened.err().expect("is refused"));
        for word in ["00000000000000000000.json cannot be read", "verdicts from a backup, or move it away"] {
            assert!(said.contains(word), "{word} in: {said}");
        }
        assert!(!said.contains("0: "), "a backtrace in: {said}");
    }
    std::fs::remove_dir_all(world.tables().join("verdicts")).expect("moved away");
    world.start().await.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_named_by_queries_and_readiness() {
    let mut world = World::new(1);
    world.config.flush_steps = 1;
    let process = world.start().await;
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    process.until(STEPS, 1).await;
    process.stop().await;
    let parquet = |it: &std::path::PathBuf| it.extension().is_some_and(|it| it == "parquet");
    let mut files = std::fs::read_dir(world.tables().join("steps")).expect("a folder").flatten().map(|it| it.path());
    let file = files.find(parquet).expect("a file");
    let whole = std::fs::read(&file).expect("reads");
    for (damaged, says) in [(Some(20), "has 20 bytes"), (None, "is missing")] {
        match damaged {
            Some(bytes) => std::fs::write(&file, &whole[..bytes]).expect("written"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
        // Found at start, and by a query after it.
        let process = world.start().await;
        let found = process.history.damage().expect("is found").to_string();
        let error = process.engine.query("SELECT * FROM steps").await.expect_err("cannot be read");
        assert_eq!((error.status(), error.to_string()), (500, found.clone()));
        for word in ["`steps/part-", says, "backup"] {
            assert!(found.contains(word), "{word} in: {found}");
        }
        assert!(!found.contains(&world.folder().display().to_string()), "{found}");
        assert_eq!(process.history.damage().map(|it| it.to_string()), Some(found), "asked again");
        std::fs::write(&file, &whole).expect("restored");
        while process.history.damage().is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(process.rows("SELECT count(*) FROM (SELECT * FROM steps)").await, [[json!(1)]]);
        process.stop().await;
    }
}

#[tokio::test]
async fn a_file_that_is_lost_while_the_server_runs_is_found_by_a_query() {
    let world = World::new(1);
    let process = world.start().await;
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    process.until(STEPS, 1).await;
    process.stop().await;
    let process = world.start().await;
    assert_eq!(process.history.damage(), None);
    for entry in std::fs::read_dir(world.tables().join("steps")).expect("a folder").flatten() {
        if entry.path().is_file() {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
    let error = process.engine.query("SELECT * FROM steps").await.expect_err("cannot be read");
    assert!(matches!(error, crate::sql::Error::Damaged(_)), "{error:?}");
    assert!(process.history.damage().is_some());
    process.stop().await;
}
