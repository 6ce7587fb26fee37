//! Bad input from outside: a clear answer with the right status, nothing lost, the server unharmed.

use std::io::{Read as _, Write as _};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{BINARY, Random, Server, skip, step};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

struct Bad {
    what: &'static str,
    body: Vec<u8>,
    encoding: Option<&'static str>,
    status: u16,
    /// Must stand in the answer.
    says: &'static str,
}

fn bad(what: &'static str, body: impl Into<Vec<u8>>, status: u16, says: &'static str) -> Bad {
    Bad { what, body: body.into(), encoding: None, status, says }
}

fn with(field: &str, value: Value) -> String {
    let mut it = step("h", "1", "tool_call", json!({}));
    it[field] = value;
    it.to_string()
}

fn cases() -> Vec<Bad> {
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let mut broken = gzip(with("text", json!("x")).as_bytes());
    broken.truncate(12);
    vec![
        bad("invalid JSON", "{\"session_id\": ", 400, "invalid_json"),
        bad("not an object", "42", 400, "not_an_object"),
        bad("empty", "", 400, "empty"),
        bad("wrong type", with("seq", json!("one")), 400, "seq"),
        bad("missing field", r#"{"session_id":"h","agent":{"id":"e2e"}}"#, 400, "kind"),
        bad("unknown kind", with("kind", json!("wish")), 400, "tool_call"),
        bad("huge id", with("session_id", json!("x".repeat(10_000))), 400, "session_id"),
        bad("NUL in an id", with("session_id", json!("a\0b")), 400, "session_id"),
        bad("no such time", with("time", json!("yesterday")), 400, "time"),
        bad("negative cost", with("usage", json!({ "cost_usd": -1.0 })), 400, "cost_usd"),
        bad(
            "duplicate key",
            r#"{"session_id":"h","session_id":"i","kind":"plan","agent":{"id":"e"}}"#,
            400,
            "session_id",
        ),
        bad(
            "deep nesting",
            format!(r#"{{"session_id":"h","kind":"plan","agent":{{"id":"e"}},"input":{deep}}}"#),
            400,
            "nested",
        ),
        bad("invalid UTF-8", b"{\"session_id\":\"\xff\"}".to_vec(), 400, "utf"),
        Bad { encoding: Some("gzip"), ..bad("broken gzip", broken, 400, "gzip") },
        Bad { encoding: Some("gzip"), ..bad("zip bomb", gzip(&vec![b' '; 300_000_000]), 413, "decompressed") },
        Bad { encoding: Some("br"), ..bad("unknown encoding", "{}", 415, "gzip") },
        bad("100 MB", vec![b' '; 100_000_000], 413, "bytes"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_steps_get_a_clear_answer_and_harm_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    for case in cases() {
        let mut request = server.client.post(server.url("/v1/steps")).header("content-type", "application/json");
        if let Some(encoding) = case.encoding {
            request = request.header("content-encoding", encoding);
        }
        let answer = match request.body(case.body).send().await {
            Ok(answer) => answer,
            // A server that answers before it has read everything may close while the client still writes.
            Err(error) if case.status == 413 && (error.is_request() || error.is_body()) => continue,
            Err(error) => panic!("{}: {error:?}", case.what),
        };
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap_or_default());
        assert_eq!(status, case.status, "{}: {text}", case.what);
        assert!(text.to_lowercase().contains(case.says), "{} should say {}: {text}", case.what, case.says);
        let (status, text) = server.get("/readyz").await;
        assert_eq!(status, 200, "after {}: {text}", case.what);
    }

    // What is odd but lawful is kept, and flagged.
    let odd = json!([
        step("odd", "1", "plan", json!({ "time": "9999-01-01T00:00:00Z", "text": "NUL \u{0} and \u{202e}" })),
        step("odd", "2", "plan", json!({ "time": "1970-01-01T00:00:00Z", "shoe_size": 44 })),
        step("odd", "3", "tool_call", json!({ "tool": "x'; DROP TABLE steps; --" })),
    ]);
    let (status, answer) = server.post("/v1/steps", odd.to_string()).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(3)), "{answer}");
    server.count_reaches("SELECT count(*) FROM steps WHERE session_id = 'odd'", 3).await;
    assert_eq!(server.count("SELECT count(*) FROM steps WHERE attributes LIKE '%shoe_size%'").await, 1);
    assert_eq!(server.count("SELECT count(*) FROM steps WHERE time > now() + INTERVAL '2' DAY").await, 0, "clamped");
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_that_is_no_otlp_is_refused_in_its_own_terms() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    let url = |path: &str| format!("http://{}{path}", server.otlp_http);
    let empty_ids = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"chat","traceId":"","spanId":""}]}]}]}"#;
    for (path, content_type, body, status) in [
        ("/v1/traces", "application/json", b"{".to_vec(), 400),
        ("/v1/traces", "application/x-protobuf", vec![0xff; 64], 400),
        ("/v1/traces", "text/plain", b"hello".to_vec(), 415),
        ("/v2/traces", "application/json", b"{}".to_vec(), 404),
        ("/v1/logs", "application/json", b"[]".to_vec(), 400),
        ("/v1/traces", "application/json", b"{}".to_vec(), 200),
        ("/v1/traces", "application/json", empty_ids.as_bytes().to_vec(), 200),
    ] {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let request = server.client.post(url(path)).header("content-type", content_type).body(body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{path} {content_type} {shown}");
    }
    // Nor is who asks, or how.
    for (method, origin, status, code) in
        [(reqwest::Method::POST, "https://evil.example", 403, 7), (reqwest::Method::GET, "", 405, 12)]
    {
        let request = server.client.request(method, url("/v1/traces")).header("content-type", "application/json");
        let request = if origin.is_empty() { request } else { request.header("origin", origin) };
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status);
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!((&answer["code"], answer["message"].is_string()), (&json!(code), true), "{answer}");
    }
    let request = server.client.post(url("/v1/traces")).header("content-type", "application/json").body(empty_ids);
    let partial: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let rejected = &partial["partialSuccess"]["rejectedSpans"];
    assert!(rejected == "1" || rejected == 1, "{partial}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_reads_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    let passwd = "SELECT * FROM '/etc/passwd'";
    for query in [
        "DELETE FROM steps",
        "INSERT INTO steps VALUES (1)",
        "UPDATE steps SET kind = 'x'",
        "DROP TABLE steps",
        "CREATE TABLE t AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "COPY steps TO '/tmp/out.csv'",
        "SET datafusion.execution.batch_size = 1",
        "SELECT nonsense FROM steps",
        "SELECT * FROM nowhere",
        "SELEC 1",
        "SELECT 1; DROP TABLE steps",
        passwd,
        "",
    ] {
        let (status, answer) = server.post("/v1/sql", json!({ "query": query }).to_string()).await;
        assert!((400..500).contains(&status), "{query}: {status} {answer}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty() && !message.contains(&*folder.path().to_string_lossy()), "{query}: {answer}");
    }
    let blank = |bytes: usize| " ".repeat(bytes);
    for body in ["", "{}", "{\"query\": 1}", "[]", "{\"query\"", &blank(500_000), &blank(2_500_000), &blank(6_000_000)]
    {
        let (status, answer) = server.post("/v1/sql", body.to_owned()).await;
        let body = &body[..body.len().min(20)];
        assert_eq!(answer["error"]["message"].as_str().map(str::is_empty), Some(false), "{body}: {answer}");
        assert!((400..500).contains(&status), "{body}: {status} {answer}");
    }
    assert_eq!(server.count("SELECT count(*) FROM steps").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_and_gates_that_make_no_sense_are_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    for (path, body, says) in [
        ("/v1/controls", json!({ "action": "explode", "session_id": "x" }), "action"),
        ("/v1/controls", json!({ "action": "halt" }), "session_id"),
        ("/v1/controls", json!({ "action": "halt", "session_id": "x", "root_session_id": "y" }), "root_session_id"),
        ("/v1/controls", json!({ "action": "halt", "session_id": "" }), "session_id"),
        ("/v1/controls", json!({ "action": "halt", "sesion_id": "x" }), "session_id"),
        ("/v1/gate", json!({ "session_id": "x" }), "kind"),
        ("/v1/gate", json!([]), "object"),
    ] {
        let (status, answer) = server.post(path, body.to_string()).await;
        assert!((400..=422).contains(&status) && answer.to_string().contains(says), "{path} {body}: {status} {answer}");
    }
    for (path, status) in [
        ("/v1/nothing", 404),
        ("/v1/sessions/none", 404),
        ("/v1/verdicts?after=x.y", 400),
        ("/v1/sessions?limit=-1", 400),
    ] {
        let (got, answer) = server.get(path).await;
        assert_eq!(got, status, "{path}: {answer}");
    }
}

/// A client that sends all of a body before it reads: most libraries are like that.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_client_reads_why_its_body_is_refused() {
    const BYTES: usize = 100_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    for path in ["/v1/steps", "/v1/sql", "/v1/gate"] {
        let mut stream = std::net::TcpStream::connect(&server.http).expect("connects");
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {BYTES}\r\n\r\n", server.http);
        stream.write_all(head.as_bytes()).expect("takes the head");
        stream.write_all(&vec![b' '; BYTES]).unwrap_or_else(|error| panic!("{path} takes the body: {error}"));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{path} answers: {error}"));
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"message\""), "{path}: {answer}");
    }
}

/// A page in a browser cannot reach the server behind the person's back.
#[tokio::test(flavor = "multi_thread")]
async fn browsers_of_other_sites_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "evil.example"),
    ] {
        let request = server.client.post(server.url("/v1/controls")).header(name, value);
        let answer =
            request.body(json!({ "action": "halt", "session_id": "x" }).to_string()).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 403, "{name}: {value}");
    }
}

/// A file system of a few megabytes in memory, gone with the value. `None` where mounting is not permitted.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Self(folder);
        disk.mount("size=160m", &["-t", "tmpfs", "tmpfs"]).then_some(disk)
    }

    fn mount(&self, options: &str, what: &[&str]) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", options]).args(what).arg(self.0.path());
        mount.output().is_ok_and(|it| it.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

/// A disk that is full: no acknowledgement, a clear answer, and service again once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_answered_and_survived() {
    let Some(disk) = SmallDisk::new() else {
        skip("a full disk: no file system of a given size can be mounted here (that takes privileges)");
        return;
    };
    let data = disk.0.path().join("data");
    let server = Server::start(&data);
    let mut acknowledged = 0_u64;
    let mut refused = None;
    for n in 0..4_000 {
        // Different in every step, so that compression does not make room.
        let noise: String =
            (0..3_000).map(|at| format!("{:016x}", Random::seeded_quietly(n * 3_000 + at).below(u64::MAX))).collect();
        let (status, answer) =
            server.post("/v1/steps", step("full", &n.to_string(), "plan", json!({ "text": noise })).to_string()).await;
        if status != 200 {
            refused = Some((status, answer));
            break;
        }
        acknowledged += answer["accepted"].as_u64().expect("a number");
    }
    let (status, answer) = refused.expect("a disk of 160 MB takes no 4,000 steps of 48 kB");
    assert!([429, 503, 507].contains(&status), "{status} {answer}");
    assert!(answer["error"]["message"].is_string(), "{answer}");
    server.kill_9();

    assert!(disk.mount("remount,size=1g", &[]), "more room");
    let server = Server::start(&data);
    let (status, answer) = server.post("/v1/steps", step("full", "after", "plan", json!({})).to_string()).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    // The refused step may be on the log, and only that one.
    let stored = server.count_settles("SELECT count(*) FROM steps", acknowledged + 1).await;
    assert!(
        (acknowledged + 1..=acknowledged + 2).contains(&stored),
        "acknowledged {acknowledged} and one, stored {stored}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_write_log_lines_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full", BINARY]).env("MARTINGALE__TELEMETRY__FILTER", "debug");
    let server = Server::try_start(command, folder.path(), &[]).expect("starts");
    for id in ["1", "2"] {
        let (status, answer) = server.post("/v1/gate", step("s", id, "tool_call", json!({})).to_string()).await;
        assert_eq!((status, &answer["decision"]), (200, &json!("allow")), "{answer}");
    }
    let metrics =
        server.client.get(server.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    let lost = metrics.lines().find_map(|it| it.strip_prefix("martingale_log_lines_lost_total "));
    assert!(lost.is_some_and(|it| it != "0"), "no line was lost, so this shows nothing: {lost:?}");
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_end_is_refused_before_anybody_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, older) = (folder.path().join("log"), folder.path().join("older"));
    Server::start(folder.path()).terminate();
    assert!(Command::new("cp").arg("-r").args([&log, &older]).status().expect("cp").success());
    let server = Server::start(folder.path());
    server.post("/v1/steps", step("s", "1", "tool_call", json!({})).to_string()).await;
    server.count_reaches("SELECT count(*) FROM steps", 1).await;
    server.terminate();
    std::fs::remove_dir_all(&log).expect("lost");
    std::fs::rename(older, log).expect("an older one in its place");
    let error = Server::try_start(Command::new(BINARY), folder.path(), &[]).err().expect("refused");
    assert!(error.contains("first line \"\""), "it said that it is ready: {error}");
    for word in ["the log lost its end", "restore both from one backup"] {
        assert!(error.contains(word), "{word} in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_removed_before_anything_was_written_of_it_is_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    Server::start(folder.path()).terminate();
    std::fs::remove_dir_all(folder.path().join("log")).expect("lost");
    // The second time there is a log again, but not the one that was lost.
    for time in ["first", "second"] {
        let error = Server::try_start(Command::new(BINARY), folder.path(), &[]).err().expect("refused");
        for word in ["history was made from the log", "the log was removed", "move"] {
            assert!(error.contains(word), "{time}: {word} in: {error}");
        }
    }
    std::fs::remove_dir_all(folder.path().join("history")).expect("moved away");
    Server::start(folder.path()).terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    Server::start(folder.path()).terminate();
    let format = find(folder.path(), "FORMAT").expect("a format file");
    let text = std::fs::read_to_string(&format).expect("reads");
    std::fs::write(&format, text.replacen('1', "999", 1)).expect("writes");
    let error = Server::try_start(Command::new(BINARY), folder.path(), &[]).err().expect("refused");
    assert!(error.contains("999") && error.contains("newer"), "{error}");
}

fn find(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|it| it.path()).collect();
    entries
        .iter()
        .find(|it| it.file_name().is_some_and(|it| it == name))
        .cloned()
        .or_else(|| entries.iter().filter(|it| it.is_dir()).find_map(|it| find(it, name)))
}
