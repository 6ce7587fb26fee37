//! Queries over a small history: what they may do, and what they are told when they may not.

mod hostile;
mod memory;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use martingale_platform::config::Span;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Config, Error, router};
use crate::world::{Process, World, step};

async fn small() -> (World, Process) {
    small_with(Config::default()).await
}

async fn small_with(config: Config) -> (World, Process) {
    let world = World::new(1);
    let process = world.start_with(config).await;
    world
        .judge(&[
            step("a", 1, "user_message", json!({ "text": "find, then \"mail\"" })),
            step("a", 2, "tool_call", json!({ "tool": "odd", "usage": { "input_tokens": 7, "cost_usd": 0.25 } })),
            step("b", 1, "tool_call", json!({ "tool": "danger", "agent": { "id": "other" } })),
        ])
        .await;
    let mut changes = process.history.changes();
    // Unlike a query this also works under limits too small for one.
    while process.history.snapshot().tables[0].fresh.iter().map(|it| it.num_rows()).sum::<usize>() < 3 {
        assert!(changes.changed().await);
    }
    (world, process)
}

#[tokio::test]
async fn queries_answer() {
    let (_world, process) = small().await;
    for (sql, rows) in [
        ("SELECT count(*) FROM steps", json!([[3]])),
        ("SELECT 1 AS one, NULL, 1.5, true, 'x', [1, 2]", json!([[1, null, 1.5, true, "x", [1, 2]]])),
        ("VALUES (1), (2)", json!([[1], [2]])),
        (
            "WITH t AS (SELECT tool FROM steps) SELECT tool FROM t WHERE tool IS NOT NULL ORDER BY tool",
            json!([["danger"], ["odd"]]),
        ),
        ("SELECT offset, partition FROM steps WHERE session_id = 'b'", json!([[2, 0]])),
        ("SELECT agent_id, count(*) FROM steps GROUP BY ALL ORDER BY 1", json!([["bot", 2], ["other", 1]])),
        (
            "SELECT session_id, agent_id, title, steps, tool_calls, findings, input_tokens, cost_usd, decision, halted, ended \
          FROM sessions ORDER BY session_id",
            json!([
                ["a", "bot", "find, then \"mail\"", 2, 1, 1, 7, 0.25, "allow", false, false],
                ["b", "other", null, 1, 1, 1, 0, 0.0, "halt", true, false],
            ]),
        ),
        (
            "SELECT detector, rule, mode, decision, evidence, notify FROM findings ORDER BY offset",
            json!([
                ["policy", "no-danger", "shadow", "warn", ["s2"], ["security"]],
                ["policy", "no-danger", "enforce", "halt", ["s1"], ["security"]],
            ]),
        ),
        (
            "SELECT scores, time FROM verdicts WHERE step_id = 's2'",
            json!([[r#"{"policy":1.0}"#, "2023-11-14T22:13:22Z"]]),
        ),
        ("SELECT date_trunc('minute', min(time)) FROM steps", json!([["2023-11-14T22:13:00Z"]])),
        (
            "SELECT 'a' || 1 || NULL, 'a' || 1, concat('a', NULL), array_to_string([1, 2], '-')",
            json!([[null, "a1", "a", "1-2"]]),
        ),
        ("SELECT tool || '!' FROM steps WHERE tool IS NOT NULL ORDER BY 1", json!([["danger!"], ["odd!"]])),
        ("SELECT replace(tool, 'd', 'DD') FROM steps WHERE tool ~ '^o' OR tool LIKE 'x%'", json!([["oDDDD"]])),
        // Integers wrap around, as `docs/operations.md` says.
        ("SELECT sum(n) FROM (VALUES (9223372036854775807), (1)) AS t(n)", json!([[i64::MIN]])),
        (
            "SELECT sum(CAST(n AS DECIMAL(38, 0))) FROM (VALUES (9223372036854775807), (1)) AS t(n)",
            json!([["9223372036854775808"]]),
        ),
        ("SELECT n + 1 FROM (VALUES (9223372036854775807)) AS t(n)", json!([[i64::MIN]])),
        (
            "SELECT CAST('nan' AS DOUBLE), CAST(1.10 AS DECIMAL(5,2)), CAST(18446744073709551615 AS BIGINT UNSIGNED)",
            json!([[null, "1.10", 18446744073709551615_u64]]),
        ),
    ] {
        assert_eq!(json!(process.rows(sql).await), rows, "{sql}");
    }
    let tables = process.rows("SHOW TABLES").await;
    let public: Vec<_> = tables.iter().filter(|it| it[1] == "public").map(|it| it[2].as_str().unwrap_or("")).collect();
    assert_eq!(
        {
            let mut it = public;
            it.sort_unstable();
            it
        },
        ["controls", "edges", "findings", "sessions", "steps", "verdicts"]
    );
    assert!(!json!(tables).to_string().contains("session_parts"), "partial rows are not shown");
    process.stop().await;
}

#[tokio::test]
async fn what_writes_is_forbidden() {
    let (world, process) = small().await;
    for sql in [
        "INSERT INTO steps SELECT * FROM steps",
        "DELETE FROM steps",
        "UPDATE steps SET tool = 'x'",
        "DROP TABLE steps",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "COPY steps TO '/tmp/stolen.csv'",
        "COPY (SELECT 1) TO 'stolen.parquet' STORED AS PARQUET",
        "SET datafusion.execution.batch_size = 1",
        "BEGIN",
        "EXPLAIN INSERT INTO steps SELECT * FROM steps",
        "EXPLAIN ANALYZE DROP TABLE steps",
        "SELECT * INTO t FROM steps",
        "PREPARE p AS SELECT 1",
    ] {
        let error = process.engine.query(sql).await.expect_err(sql);
        assert_eq!(error.status(), 403, "{sql}: {error}");
    }
    assert_eq!(process.one("SELECT count(*) FROM steps").await, json!(3));
    assert!(!world.folder().join("stolen.parquet").exists());
    process.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (world, process) = small().await;
    for (sql, says) in [
        ("", "statement"),
        ("SELEC 1", "selec"),
        ("SELECT * FROM steps\n WHERE", "expected: an expression, found: the end of the query, at line 2, column 7"),
        ("SELECT *\nFROM steps WHERE )", "found: ), at line 2, column 18"),
        ("SELECT 'it", "unterminated string literal, at line 1, column 8"),
        ("SELECT array_slice([1], 1, 1, 0)", "invalid stride: 0"),
        ("SELECT seq FROM steps LIMIT 18446744073709551615", "18446744073709551615"),
        ("SELECT left('abc', 18446744073709551615)", "`left(utf8, uint64)` cannot be called"),
        ("SELECT substr('abc')", "substring without for/from is not valid"),
        ("SELECT substr(session_id) FROM steps", "substring without for/from is not valid"),
        ("SELECT split_part('a', 'b')", "`split_part(utf8, utf8)` cannot be called with arguments of these types"),
        ("SELECT sum(kind) FROM steps", "`sum` takes decimal, uint64, int64, float64, duration, interval and no utf8"),
        ("SELECT sum(kind) OVER () FROM steps", "`sum` takes"),
        ("SELECT sum(seq, seq) FROM steps", "function 'sum' expects 1 arguments but received 2"),
        ("SELECT date_trunc(1, 2)", "`date_trunc` takes string and no int64"),
        ("SELECT substr()", "`substr()` cannot be called with arguments of these types: there is `substr("),
        ("SELECT gcd(1, 2)", "invalid function 'gcd'"),
        ("SELECT * FROM step", "steps, sessions, verdicts, findings, edges, controls"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT sesion_id FROM steps", "session_id"),
        ("SELECT nonsense(tool) FROM steps", "nonsense"),
        ("SELECT 1; DROP TABLE steps", "single sql statement"),
        ("SELECT 1 / 0", "zero"),
        ("SELECT CAST('x' AS BIGINT)", "x"),
        ("SELECT * FROM session_parts", "session_parts"),
        ("SELECT regexp_like('a', '(')", "unclosed group"),
        ("SELECT regexp_like(tool, '(') FROM steps", "unclosed group"),
        ("SELECT 'a' ~ '['", "unclosed character class"),
        ("SELECT tool SIMILAR TO '(' FROM steps", "unclosed group"),
        ("SELECT regexp_replace('aaa', 'a*', 'b', 'zz')", "unrecognized flag"),
        ("SELECT regexp_replace(session_id, 'a*', 'b', 'zz') FROM steps", "unrecognized flag"),
        ("SELECT regexp_like('a', '(', 'i')", "unclosed group"),
        ("SELECT regexp_like('a', '(', 'x')", "regular expression"),
        ("SELECT regexp_replace(session_id, '(', 'x') FROM steps", "unclosed group"),
        ("SELECT regexp_count('a', '(', 1)", "regular expression"),
    ] {
        let error = process.engine.query(sql).await.expect_err(sql);
        assert_eq!(error.status(), 400, "{sql}: {error:?}");
        let text = error.to_string();
        assert!(text.to_lowercase().contains(says), "{sql}: {text}");
        assert!(!text.contains(&world.folder().display().to_string()), "{text}");
        for inside in [
            "ParserError",
            "TokenizerError",
            "SQL error",
            "Error during planning",
            "Execution error",
            "Arrow error",
            "Optimizer rule",
            "caused by",
            "OneOf(",
            "Coercible",
            "Exact",
            "Signature",
            "Native",
            "UserDefined",
            "EOF",
            "Span",
            "None)",
            "\n",
        ] {
            assert!(!text.contains(inside), "{inside} in: {text}");
        }
    }
    process.stop().await;
}

#[tokio::test]
async fn no_answer_shows_where_history_is() {
    let (world, process) = small().await;
    process.stop().await;
    let process = world.start().await;
    for sql in [
        "EXPLAIN SELECT * FROM steps",
        "EXPLAIN ANALYZE SELECT count(*) FROM steps",
        "SELECT * FROM information_schema.df_settings",
        "SHOW ALL",
    ] {
        let shown = json!(process.rows(sql).await).to_string();
        assert!(!shown.contains(world.folder().to_str().unwrap_or_default().trim_start_matches('/')), "{sql}: {shown}");
    }
    process.stop().await;
}

#[tokio::test]
async fn limits_hold() {
    let series = "SELECT value, concat('a text that is some twenty times as long as the number, in front of it: ', value) \
                  FROM generate_series(1, 100000)";
    let config = Config { rows_max: 10, ..Config::default() };
    let (_world, process) = small_with(config).await;
    let answer = process.engine.query(series).await.expect("is cut");
    assert_eq!((answer.rows.len(), answer.truncated), (10, true));
    let whole = process.engine.query("SELECT * FROM generate_series(1, 10)").await.expect("fits");
    assert_eq!((whole.rows.len(), whole.truncated), (10, false));
    process.stop().await;

    for (config, sql, status) in [
        (Config { answer_bytes_max: 100_000, ..Config::default() }, series, 413),
        (
            Config { memory_bytes_max: 1_000_000, ..Config::default() },
            "SELECT value, count(*) FROM generate_series(1, 10000000) GROUP BY value ORDER BY 2",
            413,
        ),
        (
            Config { time_max: Span::from_millis(20), ..Config::default() },
            "SELECT count(*) FROM generate_series(1, 100000) a JOIN generate_series(1, 100000) b ON a.value < b.value * 2",
            408,
        ),
        (Config { query_bytes_max: 10, ..Config::default() }, "SELECT 1 + 1 + 1", 400),
    ] {
        let (_world, process) = small_with(config).await;
        let error = process.engine.query(sql).await.expect_err(sql);
        assert_eq!(error.status(), status, "{sql}: {error}");
        process.stop().await;
    }
}

#[tokio::test]
async fn http_answers_in_three_forms() {
    let (_world, process) = small().await;
    let post = |body: &'static str, accept: &'static str| {
        let request = Request::post("/v1/sql").header("accept", accept).body(Body::from(body)).expect("a request");
        let router = router(process.engine.clone());
        async move {
            let response = router.oneshot(request).await.expect("answers");
            let (status, kind) =
                (response.status(), response.headers()["content-type"].to_str().unwrap_or("").to_owned());
            (status, kind, axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body"))
        }
    };
    let query = r#"{"query": "SELECT session_id, seq FROM steps ORDER BY offset LIMIT 2"}"#;
    let (status, _, body) = post(query, "*/*").await;
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    let columns = json!([{ "name": "session_id", "type": "Utf8" }, { "name": "seq", "type": "Int64" }]);
    assert_eq!((status, &answer["columns"], &answer["rows"]), (StatusCode::OK, &columns, &json!([["a", 1], ["a", 2]])));
    let (_, kind, body) = post(query, "text/csv").await;
    assert_eq!((kind.as_str(), &body[..]), ("text/csv; charset=utf-8", &b"session_id,seq\r\na,1\r\na,2\r\n"[..]));
    let (_, kind, body) = post(query, "application/vnd.apache.arrow.stream").await;
    assert_eq!(kind, "application/vnd.apache.arrow.stream");
    let mut stream = arrow::ipc::reader::StreamReader::try_new(&body[..], None).expect("a stream");
    assert_eq!(stream.next().expect("a batch").expect("good").num_rows(), 2);
    for (body, wanted) in [
        (r#"{"sql": "SELECT 1"}"#, StatusCode::BAD_REQUEST),
        ("SELECT 1", StatusCode::BAD_REQUEST),
        (r#"{"query": "DROP TABLE steps"}"#, StatusCode::FORBIDDEN),
        (r#"{"query": "SELECT x"}"#, StatusCode::BAD_REQUEST),
    ] {
        let (status, _, answer) = post(body, "*/*").await;
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(status, wanted, "{body}: {answer}");
        assert!(answer["error"]["message"].is_string(), "{answer}");
    }
    process.stop().await;
}

#[tokio::test]
async fn a_query_sees_one_moment() {
    let world = World::new(1);
    let process = world.start().await;
    let mut n = 0;
    let mut seen = 0;
    while seen < 300 {
        let steps: Vec<_> = (n..n + 10).map(|it| step("a", it, "tool_call", json!({ "tool": "odd" }))).collect();
        n += 10;
        world.judge(&steps).await;
        let sql = "SELECT (SELECT count(*) FROM steps) AS a, (SELECT count(*) FROM verdicts) AS b, \
                   (SELECT count(*) FROM findings) AS c, (SELECT coalesce(sum(steps), 0) FROM sessions) AS d";
        let row = &process.rows(sql).await[0];
        assert!(row.iter().all(|it| it == &row[0]), "{row:?}");
        seen = row[0].as_u64().unwrap_or(0);
    }
    assert!(matches!(process.engine.query("SELECT count(x) FROM steps").await, Err(Error::Invalid { .. })));
    process.stop().await;
}

/// Rows that were asked about once are not kept when the tables have them.
#[tokio::test]
async fn a_moment_that_has_passed_is_forgotten() {
    let (world, process) = small().await;
    assert_eq!(process.one("SELECT count(*) FROM steps").await, json!(3));
    let asked = std::sync::Arc::downgrade(&process.history.snapshot());
    assert!(asked.upgrade().is_some());
    world.judge(&[step("z", 1, "plan", json!({}))]).await;
    let forgotten = async {
        while asked.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), forgotten).await.expect("nobody keeps it");
    process.stop().await;
}
