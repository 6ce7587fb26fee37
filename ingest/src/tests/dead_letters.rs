//! Listing and replaying what was rejected.

use serde_json::{Value, json};

use super::{Bench, step};

const OLD: &str = r#"{"session_id":"s-1","step_id":"late","kind":"dance","agent":{"id":"a"}}"#;

fn ids(listed: &Value) -> Vec<String> {
    listed["dead_letters"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test]
async fn pages_cover_everything_once_and_the_cursor_stays_good() {
    let bench = Bench::new();
    let many: Vec<String> = (0..7).map(|n| format!(r#"{{"session_id":"s-{n}"}}"#)).collect();
    bench.steps(many.join("\n")).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    for expected in [3, 3, 1, 0] {
        let cursor = if after.is_empty() { String::new() } else { format!("&after={after}") };
        let page = bench.get(&format!("/v1/dead-letters?limit=3{cursor}")).await.json();
        assert_eq!(ids(&page).len(), expected, "{page}");
        seen.extend(ids(&page));
        after = page["next"].as_str().expect("a cursor").to_owned();
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 7);
    bench.steps("{}").await;
    assert_eq!(ids(&bench.get(&format!("/v1/dead-letters?after={after}")).await.json()).len(), 1);
}

#[tokio::test]
async fn the_few_of_a_state_are_found_among_many_of_another() {
    let bench = Bench::new();
    let many: Vec<String> = (0..300).map(|n| format!(r#"{{"session_id":"s-{n}"}}"#)).collect();
    bench.steps(many.join("\n")).await;
    let open = bench.get("/v1/dead-letters?state=replayed&limit=1").await.json();
    assert_eq!((ids(&open).len(), &open["open"]), (0, &json!(300)), "one answer looks past the first letters");
    let behind = format!("/v1/dead-letters?state=replayed&limit=1&after={}", open["next"].as_str().expect("a cursor"));
    assert_eq!(bench.get(&behind).await.json()["next"], open["next"], "nothing is behind it");
}

#[tokio::test]
async fn what_is_no_cursor_is_refused() {
    let bench = Bench::new();
    for query in ["after=x", "after=1.2", "after=", "after=-1.0.0.0", "limit=x", "page=1", "state=mended"] {
        let reply = bench.get(&format!("/v1/dead-letters?{query}")).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["reason"]),
            (400, &json!("invalid_request")),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_letter_is_replayed_by_id_and_still_rejected_while_its_fault_stands() {
    let bench = Bench::with(|config| config.dead_letter_bytes_max = 100);
    let long = format!(r#"{{"session_id":"s-1","text":"{}"}}"#, "x".repeat(100));
    bench.steps(format!("{OLD}\n{long}")).await;
    let listed = bench.get("/v1/dead-letters").await.json();
    let letters = listed["dead_letters"].as_array().expect("a list");
    let id_of = |reason: &str| letters.iter().find(|it| it["reason"] == reason).expect("listed")["id"].clone();
    let (old, cut) = (id_of("unknown_kind"), id_of("missing_field"));
    let reply = bench.post("/v1/dead-letters/replay", &[], json!({ "ids": [old, cut, "dl-none"] }).to_string()).await;
    let answer = reply.json();
    assert_eq!(reply.status.as_u16(), 200, "{answer}");
    assert_eq!((&answer["replayed"], &answer["accepted"]), (&json!(1), &json!(0)));
    assert_eq!((&answer["rejected"][0]["id"], &answer["rejected"][0]["reason"]), (&old, &json!("unknown_kind")));
    assert_eq!(answer["not_replayable"][0]["id"], cut);
    assert!(answer["not_replayable"][0]["message"].as_str().is_some_and(|it| it.contains("was cut")), "{answer}");
    assert_eq!(answer["unknown"], json!(["dl-none"]));
    let letters = bench.records("dead_letter").await.iter().filter(|it| it["payload"].is_string()).count();
    assert_eq!(letters, 2, "a letter that is rejected again is not a second letter");
    let listed = bench.get("/v1/dead-letters").await.json();
    assert_eq!((&listed["open"], &listed["replayed"]), (&json!(2), &json!(0)), "it is as open as before: {listed}");
    let again = listed["dead_letters"].as_array().expect("a list").iter().find(|it| it["id"] == old).expect("listed");
    let outcomes = json!({ "time": "2026-01-31T12:00:00Z", "accepted": 0, "duplicate": 0, "rejected": 1 });
    assert_eq!((&again["state"], &again["last_replay"]), (&json!("open"), &outcomes));
    assert_eq!(bench.outcomes("replay"), [0, 0, 1, 0, 0]);
}

#[tokio::test]
async fn once_the_fault_is_gone_all_are_taken_with_the_time_they_came() {
    let strict = Bench::with(|config| config.limits.id_bytes_max = 3);
    assert_eq!(strict.steps(step("too-long")).await.summary().0, 400);
    strict.ingest.0.clock.advance(60_000_000);
    let config = crate::Config::default();
    let bench = Bench::over(strict.log.reopen(), config);
    bench.ingest.0.clock.advance(120_000_000);
    let answer = bench.post("/v1/dead-letters/replay", &[], r#"{"all":true}"#).await.json();
    assert_eq!((&answer["replayed"], &answer["accepted"]), (&json!(1), &json!(1)), "{answer}");
    // What came of it lies on the log now, and is gone over; then the end is reached.
    let mut next = answer["next"].clone();
    for end in [false, true] {
        let body = json!({ "all": true, "after": next }).to_string();
        let answer = bench.post("/v1/dead-letters/replay", &[], body).await.json();
        assert_eq!((&answer["replayed"], answer["next"].is_null()), (&json!(0), end), "{answer}");
        next = answer["next"].clone();
    }
    let again = bench.post("/v1/dead-letters/replay", &[], r#"{"all":true}"#).await.json();
    assert_eq!((&again["replayed"], &again["duplicate"]), (&json!(0), &json!(0)), "none is open");
    assert_eq!(ids(&bench.get("/v1/dead-letters").await.json()), [] as [String; 0]);
    let settled = bench.get("/v1/dead-letters?state=replayed").await.json();
    let letter = &settled["dead_letters"][0];
    assert_eq!((&letter["state"], &letter["last_replay"]["accepted"]), (&json!("replayed"), &json!(1)), "{settled}");
    assert_eq!((&settled["open"], &settled["replayed"]), (&json!(0), &json!(1)));
    // One that is named is fed in whatever became of it, and what came of it last is told.
    let named = json!({ "ids": [letter["id"]] }).to_string();
    let again = bench.post("/v1/dead-letters/replay", &[], named).await.json();
    assert_eq!((&again["accepted"], &again["duplicate"]), (&json!(0), &json!(1)));
    assert_eq!(bench.records("steps").await[0]["time"], "2026-01-31T12:00:00Z");
    // Another process finds the same.
    let other = Bench::over(bench.log.reopen(), crate::Config::default());
    let all = other.get("/v1/dead-letters?state=all").await.json();
    assert_eq!(all["dead_letters"][0]["last_replay"]["duplicate"], 1, "{all}");
    assert_eq!((&all["open"], &all["replayed"], ids(&all).len()), (&json!(0), &json!(1), 1));
}

/// Letters of the other state do not count towards a page.
#[tokio::test]
async fn a_page_is_of_what_was_asked_for() {
    let strict = Bench::with(|config| config.limits.id_bytes_max = 3);
    for n in 0..5 {
        strict.steps(step(&format!("too-long-{n}"))).await;
    }
    let bench = Bench::over(strict.log.reopen(), crate::Config::default());
    let all = ids(&bench.get("/v1/dead-letters").await.json());
    let body = json!({ "ids": [all[0], all[1], all[3]] }).to_string();
    assert_eq!(bench.post("/v1/dead-letters/replay", &[], body).await.json()["accepted"], 3);
    let first = bench.get("/v1/dead-letters?limit=1").await.json();
    assert_eq!(ids(&first), [all[2].clone()]);
    assert_eq!((&first["open"], &first["replayed"]), (&json!(2), &json!(3)), "of all, whatever the page");
    let after = first["next"].as_str().expect("a cursor");
    let second = bench.get(&format!("/v1/dead-letters?limit=1&after={after}")).await.json();
    assert_eq!(ids(&second), [all[4].clone()]);
    assert_eq!(ids(&bench.get("/v1/dead-letters?state=all").await.json()), all);
}

#[tokio::test]
async fn a_call_says_which_letters() {
    let bench = Bench::new();
    for body in [
        "",
        "{}",
        "[]",
        r#"{"ids":[]}"#,
        r#"{"all":true,"ids":["x"]}"#,
        r#"{"all":true,"after":"x"}"#,
        r#"{"every":true}"#,
    ] {
        let reply = bench.post("/v1/dead-letters/replay", &[], body).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["reason"]),
            (400, &json!("invalid_request")),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_full_log_stops_a_replay() {
    let bench = Bench::with(|config| config.limits.id_bytes_max = 3);
    bench.steps(step("too-long")).await;
    let open = Bench::over(bench.log.reopen(), crate::Config::default());
    open.log.faults(|faults| faults.full = true);
    let reply = open.post("/v1/dead-letters/replay", &[], r#"{"all":true}"#).await;
    assert_eq!((reply.status.as_u16(), reply.headers.contains_key("retry-after")), (429, true));
}
