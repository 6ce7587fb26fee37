//! Queries that are short to write and long to answer: each is answered or refused, and the next one is answered.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use martingale_platform::config::Span;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{small, small_with};
use crate::sql::{Config, router};

/// With what surrounds them in a query, and how they go on.
fn chains(n: usize) -> Vec<String> {
    let chain = |begin: &str, part: &str, end: &str| format!("{begin}{}{end}", part.repeat(n));
    let steps = "SELECT count(*) FROM steps WHERE ";
    vec![
        chain("SELECT 1", "+1", ""),
        chain("SELECT 1", "::int", ""),
        chain("SELECT 'a'", "||'a'", ""),
        chain("SELECT ", "- ", "1"),
        chain(&format!("{steps} seq = 0"), " OR seq = 1", ""),
        chain(&format!("{steps} seq > 0"), " AND seq <> 100", ""),
        chain(steps, "NOT ", "true"),
        chain(&format!("{steps} seq IN (1"), ", 2", ")"),
        chain(&format!("{steps} seq IN (1"), ", seq + 2", ")"),
        chain("SELECT ", "CASE WHEN 1 = 2 THEN 3 ELSE ", &format!("4{}", " END".repeat(n))),
        chain("SELECT CASE 1", " WHEN 2 THEN 3", " END"),
        chain("SELECT 1", " UNION ALL SELECT 1", ""),
        chain("SELECT 1", " UNION SELECT 1", ""),
        chain("SELECT 1", " INTERSECT SELECT 1", ""),
        chain("SELECT count(*) FROM (SELECT 1) a", " CROSS JOIN (SELECT 1) b", ""),
        format!(
            "SELECT 1 FROM steps s{}",
            (0..n).map(|it| format!(" JOIN steps s{it} USING (offset)")).collect::<String>()
        ),
        format!("SELECT count(*) FROM {}", (0..n).map(|it| format!("(SELECT 1) t{it}")).collect::<Vec<_>>().join(", ")),
        chain("", "SELECT * FROM (", &format!("SELECT 1{}", ")".repeat(n))),
        chain("SELECT ", "(SELECT ", &format!("1{}", ")".repeat(n))),
        chain("SELECT ", "abs(", &format!("1{}", ")".repeat(n))),
        chain("SELECT ", "[", &format!("1{}", "]".repeat(n))),
        chain("", "EXPLAIN ", "SELECT 1"),
        chain("VALUES (1)", ", (1)", ""),
        chain("SELECT concat('a'", ", 'a'", ")"),
        format!(
            "WITH t0 AS (SELECT 1 AS x){} SELECT x FROM t{n}",
            (1..=n).map(|it| format!(", t{it} AS (SELECT x + 1 + 1 AS x FROM t{})", it - 1)).collect::<String>()
        ),
        format!(
            "WITH t0 AS (SELECT 1 AS x){} SELECT count(*) FROM t{n}",
            (1..=n)
                .map(|it| format!(", t{it} AS (SELECT * FROM t{0} a CROSS JOIN t{0} b)", it - 1))
                .collect::<String>()
        ),
        format!(
            "WITH t0 AS (SELECT 1 AS x){} SELECT x FROM t{n}",
            (1..=n).map(|it| format!(", t{it} AS (SELECT struct(x, x) AS x FROM t{})", it - 1)).collect::<String>()
        ),
        format!(
            "WITH t0 AS (SELECT 'abc' AS x){} SELECT octet_length(x) FROM t{n}",
            (1..=n).map(|it| format!(", t{it} AS (SELECT concat(x, x) AS x FROM t{})", it - 1)).collect::<String>()
        ),
    ]
}

#[tokio::test]
async fn no_chain_is_too_long_for_the_process() {
    // Views are inlined at planning: nested the deepest that is let through, and far beyond.
    let config = Config { query_bytes_max: 1 << 20, ..Config::default() };
    let (_world, process) = small_with(config).await;
    for n in [9, 20, 45, 95, 190, 5_000] {
        for sql in chains(n) {
            if let Err(error) = process.engine.query(&sql).await {
                assert!((400..500).contains(&error.status()), "{n}: {}: {error:?}", &sql[..sql.len().min(80)]);
            }
        }
    }
    assert_eq!(process.one("SELECT count(*) FROM steps").await, json!(3));
    process.stop().await;
}

#[tokio::test]
async fn functions_that_make_much_of_little_are_refused() {
    let (_world, process) = small().await;
    let tenfold =
        |n: usize| (0..n).fold("'aaaaaaaaaa'".to_owned(), |it, _| format!("replace({it}, 'a', 'aaaaaaaaaa')"));
    for (sql, status) in [
        ("SELECT length(repeat('x', 2000000000))".to_owned(), 400),
        ("SELECT lpad('x', 2000000000)".to_owned(), 400),
        ("SELECT rpad('x', 2000000000, 'y')".to_owned(), 400),
        ("SELECT array_repeat(1, 2000000000)".to_owned(), 400),
        ("SELECT array_resize([1], 2000000000)".to_owned(), 400),
        ("SELECT range(1, 2000000000)".to_owned(), 400),
        ("SELECT generate_series(1, 2000000000)".to_owned(), 400),
        ("SELECT levenshtein('a', 'b')".to_owned(), 400),
        ("SELECT overlay('a' PLACING 'b' FROM 1)".to_owned(), 400),
        ("SELECT struct(1, 2)".to_owned(), 400),
        ("SELECT (1, 2)".to_owned(), 400),
        ("SELECT {'a': 1}".to_owned(), 400),
        ("SELECT MAP {'a': 1}".to_owned(), 400),
        ("SELECT [1] || [2]".to_owned(), 400),
        ("SELECT [1, 2] @> [2]".to_owned(), 400),
        ("SELECT encode('a', 'hex')".to_owned(), 400),
        ("SELECT arrow_cast(NULL, 'FixedSizeBinary(2000000000)')".to_owned(), 400),
        ("SELECT CAST(NULL AS INT[2000000000])".to_owned(), 400),
        ("SELECT array_agg(value) OVER (ORDER BY value) FROM generate_series(1, 100000)".to_owned(), 400),
        ("SELECT 'a' ~ '((a{100}){100}){100}'".to_owned(), 400),
        (format!("SELECT regexp_like('a', '{}')", "a".repeat(2_000)), 400),
        (format!("SELECT 'a' LIKE '{}'", "%a".repeat(2_000)), 400),
        ("SELECT tool LIKE text FROM steps".to_owned(), 400),
        (format!("SELECT octet_length({})", tenfold(12)), 413),
        (format!("SELECT count(*) FROM generate_series(1, octet_length({}))", tenfold(12)), 400),
        (
            format!(
                "SELECT sum(octet_length({})) FROM generate_series(1, 10000)",
                tenfold(5).replace("'aaaaaaaaaa'", "concat(value, 'aaaaaaaaaa')")
            ),
            413,
        ),
        (
            "SELECT string_agg(value, 'and a long separator of many letters') FROM generate_series(1, 100000000)"
                .to_owned(),
            413,
        ),
    ] {
        let error = process.engine.query(&sql).await.err().unwrap_or_else(|| panic!("{sql}"));
        assert_eq!(error.status(), status, "{sql}: {error:?}");
    }
    process.stop().await;
}

/// Numbers as large as they can be written are added to others somewhere inside: none may end a query but with a reason.
#[tokio::test]
async fn no_number_is_too_large_for_the_process() {
    let (_world, process) = small().await;
    let mut queries = Vec::new();
    let rows = "FROM generate_series(1, 5)";
    for n in ["18446744073709551615", "9223372036854775807", "9223372036854775808", "1000000000000"] {
        for frame in [
            "ROWS BETWEEN # PRECEDING AND CURRENT ROW",
            "ROWS BETWEEN CURRENT ROW AND # FOLLOWING",
            "ROWS BETWEEN # FOLLOWING AND # FOLLOWING",
            "ROWS BETWEEN # PRECEDING AND # PRECEDING",
            "ROWS BETWEEN 1 PRECEDING AND # FOLLOWING",
            "GROUPS BETWEEN CURRENT ROW AND # FOLLOWING",
            "GROUPS BETWEEN # PRECEDING AND 1 FOLLOWING",
            "RANGE BETWEEN # PRECEDING AND # FOLLOWING",
            "ROWS BETWEEN 99999999999999999999 PRECEDING AND # FOLLOWING",
        ] {
            for what in ["sum(value)", "max(value)", "nth_value(value, 2)", "count(*)"] {
                queries.push(format!("SELECT {what} OVER (ORDER BY value {}) {rows}", frame.replace('#', n)));
            }
        }
    }
    for n in ["18446744073709551615", "9223372036854775807", "-9223372036854775808", "0", "-1"] {
        for what in [
            "SELECT lag(value, #) OVER (ORDER BY value) ROWS",
            "SELECT lead(value, #) OVER (ORDER BY value) ROWS",
            "SELECT nth_value(value, #) OVER (ORDER BY value) ROWS",
            "SELECT ntile(#) OVER (ORDER BY value) ROWS",
            "SELECT value ROWS ORDER BY value LIMIT # OFFSET #",
            "SELECT substr('abc', #, #), left('abc', #)",
            "SELECT right('abc', #), split_part('a,b', ',', #)",
            "SELECT # + #, abs(#), # / -1, # % -1",
            "SELECT round(1.5, #), trunc(1.5, #)",
            "SELECT [1, 2][#]",
            "SELECT array_slice([1, 2], #, #)",
            "SELECT array_slice([1, 2], 1, 2, #)",
            "SELECT [1, 2][1:2:#]",
            "SELECT array_slice([1, 2], 1, 2, value + #) ROWS",
            "SELECT to_timestamp(#), from_unixtime(#), make_date(#, 1, 1)",
            "SELECT date_trunc('month', CAST(# AS TIMESTAMP))",
            "SELECT now() + INTERVAL '# days', now() - INTERVAL '# months'",
            "SELECT date_bin(INTERVAL '# seconds', now())",
            "SELECT sum(value + #), avg(#) ROWS",
            "SELECT 1 << #, 1 >> #, #::smallint",
            "SELECT count(*) FROM generate_series(#, #)",
            "SELECT count(*) FROM generate_series(1, 5, #)",
        ] {
            queries.push(what.replace("ROWS", rows).replace('#', n));
        }
    }
    for sql in &queries {
        if let Err(error) = process.engine.query(sql).await {
            assert!((400..500).contains(&error.status()), "{sql}: {error:?}");
        }
    }
    let error = process.engine.query(&queries[4]).await.expect_err("too far").to_string();
    assert!(error.contains("18446744073709551615 rows") && error.contains("UNBOUNDED"), "{error}");
    process.stop().await;
}

/// What no check foresaw is answered, too, and takes nothing with it: neither its thread nor its place.
#[tokio::test]
async fn a_query_that_panics_is_answered_and_the_next_one_as_well() {
    let config = Config { queries_max: 1, ..Config::default() };
    let (_world, process) = small_with(config).await;
    for _ in 0..3 {
        let panics = process.engine.run(|_| async { panic!("a defect that is tested for") });
        let answer: Result<(), crate::sql::Error> =
            tokio::time::timeout(Duration::from_secs(60), panics).await.expect("its place is free");
        let error = answer.expect_err("panics");
        assert_eq!(error.status(), 500);
        assert!(error.to_string().contains("failed inside the server"), "{error}");
        assert_eq!(process.one("SELECT count(*) FROM steps").await, json!(3));
    }
    process.stop().await;
}

/// What is kept and put together is there twice, and what a window looks over is kept: neither is what the operators ask for.
#[tokio::test]
async fn joins_and_windows_ask_for_what_they_hold() {
    let config = Config { memory_bytes_max: 64 << 20, ..Config::default() };
    let (_world, process) = small_with(config).await;
    let text = "concat('a text that is long enough to fill memory with, given enough rows of it, ', value)";
    // Some 95 bytes a row: twice 250,000 rows fit into 64 MiB, twice 450,000 do not, once they would.
    for (rows, status) in [(250_000, None), (450_000, Some(413))] {
        let kept = format!("(SELECT {text} AS t, value AS v FROM generate_series(1, {rows}))");
        for sql in [
            format!("SELECT count(t), max(n) FROM (SELECT t, count(*) OVER () AS n FROM {kept})"),
            format!("SELECT max(t) FROM {kept} CROSS JOIN (SELECT value FROM generate_series(1, 3))"),
        ] {
            let asked = process.engine.query(&sql).await;
            let got = asked.as_ref().err().map(crate::sql::Error::status);
            assert_eq!(got, status, "{rows}: {sql}: {asked:?}");
        }
    }
    process.stop().await;
}

#[tokio::test]
async fn answers_under_way_count_as_memory_and_hold_their_place() {
    let config =
        Config { memory_bytes_max: 40 << 20, queries_max: 2, time_max: Span::from_millis(5_000), ..Config::default() };
    let (_world, process) = small_with(config).await;
    let sql = "SELECT concat('a text that is long enough to fill memory with, given enough rows of it, ', value) AS t \
               FROM generate_series(1, 100000)";
    let post = || {
        let request =
            Request::post("/v1/sql").body(Body::from(json!({ "query": sql }).to_string())).expect("a request");
        router(process.engine.clone()).oneshot(request)
    };
    let held = post().await.expect("answers");
    assert_eq!(held.status(), StatusCode::OK);
    let mut held = held.into_body().into_data_stream();
    let first = held.next().await.expect("a piece").expect("good");
    assert!(first.len() < 1 << 20, "{}", first.len());

    // Each answer takes some ten million bytes; those that nobody has read yet count.
    let mut others = Vec::new();
    let refused = loop {
        let response = post().await.expect("answers");
        if response.status() != StatusCode::OK {
            break response.status();
        }
        others.push(response);
        assert!(others.len() < 2, "places are held");
    };
    assert!(matches!(refused, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT), "{refused}");
    drop(others);

    let mut whole = first.to_vec();
    while let Some(piece) = held.next().await {
        let piece = piece.expect("good");
        assert!(piece.len() < 8 << 20, "{}", piece.len());
        whole.extend_from_slice(&piece);
    }
    let answer: Value = serde_json::from_slice(&whole).expect("JSON");
    assert_eq!((answer["rows"].as_array().map(Vec::len), &answer["truncated"]), (Some(100_000), &json!(false)));
    assert_eq!(process.one("SELECT count(*) FROM steps").await, json!(3));
    process.stop().await;
}

#[tokio::test]
async fn a_query_that_timed_out_ends_and_history_goes_on_meanwhile() {
    let config = Config { time_max: Span::from_millis(300), queries_max: 1, ..Config::default() };
    let (world, process) = small_with(config).await;
    for sql in [
        "SELECT count(*) FROM generate_series(1, 10000) a JOIN generate_series(1, 1000000) b ON a.value < b.value * 2",
        "SELECT max(md5(concat(a.value, b.value))) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
        "SELECT sum(a.value) OVER (ORDER BY b.value) FROM generate_series(1, 3000) a, generate_series(1, 1000000) b",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
        // Joins that look at 10¹² pairs and give none out: in a loop, over one hash, and one side told of once.
        "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON a.value + b.value < 0",
        "SELECT count(*) FROM generate_series(1, 1000000) a LEFT JOIN generate_series(1, 1000000) b \
         ON a.value + b.value < 0",
        "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b \
         ON a.value % 2 = b.value % 2 AND a.value + b.value < 0",
        "SELECT count(*) FROM generate_series(1, 1000000) a WHERE a.value % 2 IN \
         (SELECT b.value % 2 FROM generate_series(1, 1000000) b)",
        "SELECT count(*) FROM generate_series(1, 1000000) a WHERE NOT EXISTS \
         (SELECT 1 FROM generate_series(1, 1000000) b WHERE a.value + b.value < 0)",
    ] {
        let error = process.engine.query(sql).await.expect_err(sql);
        assert!(matches!(error.status(), 408 | 413), "{sql}: {error:?}");
        // The one place is free once the work has ended.
        let free = tokio::time::timeout(Duration::from_secs(20), process.engine.0.running.acquire());
        drop(free.await.unwrap_or_else(|_| panic!("{sql} goes on")).expect("open"));
    }
    let before = process.history.snapshot().tables[0].fresh.iter().map(|it| it.num_rows()).sum::<usize>();
    let busy = process.engine.query(
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a.value + b.value < 0",
    );
    let rows = async {
        world.judge(&[crate::world::step("z", 1, "plan", json!({}))]).await;
        let mut changes = process.history.changes();
        while process.history.snapshot().tables[0].fresh.iter().map(|it| it.num_rows()).sum::<usize>() == before {
            assert!(changes.changed().await);
        }
    };
    let (busy, ()) = tokio::join!(busy, rows);
    assert_eq!(busy.expect_err("takes longer").status(), 408);
    process.stop().await;
}
