use martingale_platform::log::{Log, Offset, Partition};
use martingale_schemas::topics;
use serde_json::json;

use crate::testing::{Events, Rig, append_steps, holds, memory_log, step};

async fn ids(events: &mut Events, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let event = events.next().await.expect("an event");
        ids.push(format!("{}/{}", event.json()["session_id"].as_str().unwrap_or("-"), event.json()["step_id"]));
    }
    ids
}

#[tokio::test]
async fn each_stream_hears_what_it_asked_for() {
    let log = memory_log(2);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut warns = rig.events("/v1/stream", &[]).await;
    let mut all = rig.events("/v1/stream?min_decision=allow&session_id=s", &[]).await;
    let mut halts = rig.events("/v1/stream?min_decision=halt&agent=support-*", &[]).await;
    let mut nobody = rig.events("/v1/stream?agent=sales-*", &[]).await;
    for (session, id, tool) in [("s", "1", "ls"), ("t", "1", "curl"), ("s", "2", "curl"), ("s", "3", "rm")] {
        rig.post("/v1/gate", &step(session, id, tool)).await;
    }
    // Between partitions there is no order.
    let mut heard = ids(&mut warns, 3).await;
    heard.sort();
    assert_eq!(heard, ["s/\"2\"", "s/\"3\"", "t/\"1\""]);
    assert_eq!(ids(&mut all, 3).await, ["s/\"1\"", "s/\"2\"", "s/\"3\""]);
    assert_eq!(ids(&mut halts, 1).await, ["s/\"3\""]);
    // A control names no agent: it is what the stream without a matching agent hears first. One copy of each state,
    // whatever the number of partitions.
    rig.post("/v1/controls", r#"{"action":"resume","session_id":"s"}"#).await;
    for state in ["requested", "applied"] {
        let event = nobody.next().await.expect("an event");
        assert_eq!((event.event.as_str(), &event.json()["state"]), ("control", &json!(state)));
    }
    rig.post("/v1/controls", r#"{"action":"halt","session_id":"s"}"#).await;
    assert_eq!(nobody.next().await.expect("an event").json()["action"], "halt");
}

#[tokio::test]
async fn a_reader_that_comes_back_goes_on_where_it_was() {
    let log = memory_log(2);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut events = rig.events("/v1/stream?min_decision=allow", &[]).await;
    assert_eq!(events.block().await.expect("hello").id, "0.0.0.0");
    let steps: Vec<String> = (0..40).map(|it| step(&format!("s{}", it % 7), &it.to_string(), "ls")).collect();
    append_steps(&log, &steps).await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..15 {
        let event = events.next().await.expect("an event");
        seen.push(event.json()["verdict_id"].clone());
        cursor = event.id;
    }
    drop(events);
    let mut events = rig.events("/v1/stream?min_decision=allow&after=end", &[("last-event-id", &cursor)]).await;
    for _ in 15..40 {
        seen.push(events.next().await.expect("an event").json()["verdict_id"].clone());
    }
    let different: std::collections::BTreeSet<String> = seen.iter().map(ToString::to_string).collect();
    assert_eq!((seen.len(), different.len()), (40, 40));
}

#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut events = rig.events("/v1/stream?min_decision=allow", &[]).await;
    // Up to date, so that it listens and does not read the log.
    events.block().await.expect("hello");
    assert!(futures::FutureExt::now_or_never(events.block()).is_none());
    // More batches than the feed keeps for a reader that does not read.
    let count = 3 * crate::feed::BATCHES_MAX;
    for id in 0..count {
        rig.post("/v1/gate", &step("s", &id.to_string(), "ls")).await;
    }
    let expected: Vec<String> = (0..count).map(|id| format!("s/\"{id}\"")).collect();
    assert_eq!(ids(&mut events, count).await, expected);
    assert!(rig.metrics.stream_lagged.get() > 0, "the stream never fell behind: the test shows nothing");
}

#[tokio::test]
async fn a_verdict_published_again_is_told_once() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut events = rig.events("/v1/stream?min_decision=allow", &[]).await;
    rig.post("/v1/gate", &step("s", "1", "ls")).await;
    let limit = martingale_platform::log::ReadLimit { records_max: 1, bytes_max: 1 };
    let record = log.read(topics::VERDICTS, Partition(0), Offset::START, limit).await.expect("reads").remove(0);
    let again = martingale_platform::log::Append::new(topics::VERDICTS, record.key, record.value);
    log.append(vec![again]).await.expect("appended");
    rig.post("/v1/gate", &step("s", "2", "ls")).await;
    assert_eq!(ids(&mut events, 2).await, ["s/\"1\"", "s/\"2\""]);
}

#[tokio::test]
async fn what_retention_removed_is_announced() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    append_steps(&log, &(0..10).map(|it| step("s", &it.to_string(), "ls")).collect::<Vec<_>>()).await;
    holds(&log, topics::VERDICTS, 10).await;
    log.expire(topics::VERDICTS, Partition(0), Offset(4)).expect("expires");
    let mut events = rig.events("/v1/stream?min_decision=allow", &[("last-event-id", "1.0")]).await;
    let lost = events.next().await.expect("an event");
    assert_eq!((lost.event.as_str(), lost.id.as_str()), ("lost", "4.0"));
    assert!(lost.data.contains("offset 1 up to 4"), "{}", lost.data);
    assert_eq!(ids(&mut events, 1).await, ["s/\"4\""]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_and_shutdown_ends_it() {
    let log = memory_log(1);
    let rig = Rig::start(&log, |config| config.stream.streams_max = 1).await;
    let mut events = rig.events("/v1/stream", &[]).await;
    assert_eq!(rig.get("/v1/stream").await.reason(), (429, "busy".to_owned()));
    assert_eq!(rig.metrics.streams.get(), 1);
    events.block().await.expect("hello");
    let begun = tokio::time::Instant::now();
    let alive = events.block().await.expect("heartbeat");
    assert_eq!((alive.event.as_str(), alive.id.as_str(), begun.elapsed().as_secs()), ("", "0.0", 15));
    rig.trigger.stop();
    assert_eq!(events.block().await, None);
    drop(events);
    assert_eq!(rig.metrics.streams.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_filter_holds_back_is_silence_too() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut events = rig.events("/v1/stream", &[]).await;
    events.block().await.expect("hello");
    let mut heartbeat = None;
    for second in 0..16 {
        assert_eq!(heartbeat, None, "second {second}");
        rig.post("/v1/gate", &step("s", &second.to_string(), "ls")).await;
        heartbeat = futures::FutureExt::now_or_never(events.block()).flatten();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    // It carries how far the stream has come, so that a reader that comes back does not begin at the start.
    assert_eq!(heartbeat.map(|it| (it.event, it.id)), Some((String::new(), "16.0".to_owned())));
}

#[tokio::test]
async fn wrong_questions_name_the_field() {
    let log = memory_log(2);
    let rig = Rig::start(&log, |_| {}).await;
    for (path, field) in [
        ("/v1/stream?min_decision=bad", "min_decision"),
        ("/v1/stream?after=1.2", "after"),
        ("/v1/stream?after=9.9.9.9", "last-event-id"),
        ("/v1/stream?sesion_id=s", "sesion_id"),
    ] {
        let answer = rig.get(path).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["field"]), (400, &json!(field)), "{path}");
    }
}

#[tokio::test]
async fn what_several_streams_tell_is_rendered_once_and_goes_out_in_one_piece() {
    let log = memory_log(1);
    let rig = Rig::judged(&log, |_| {}).await;
    let mut streams = Vec::new();
    for path in ["/v1/stream", "/v1/stream", "/v1/stream?agent=support-*"] {
        let mut events = rig.events(path, &[]).await;
        events.piece().await.expect("hello");
        // Up to date, so that it listens and does not read the log.
        assert!(futures::FutureExt::now_or_never(events.piece()).is_none());
        streams.push(events);
    }
    append_steps(&log, &(0..20).map(|it| step("s", &it.to_string(), "curl")).collect::<Vec<_>>()).await;
    let mut pieces = Vec::new();
    for events in &mut streams {
        let piece = events.piece().await.expect("events");
        assert_eq!(piece.windows(7).filter(|it| it == b"event: ").count(), 20, "{}", String::from_utf8_lossy(&piece));
        pieces.push(piece);
    }
    assert_eq!(pieces[0].as_ptr(), pieces[1].as_ptr(), "two that ask for the same share one text");
    assert_eq!(pieces[0], pieces[2]);
    assert_ne!(pieces[0].as_ptr(), pieces[2].as_ptr(), "another question is answered by itself");
}
