//! History in a bucket of a real S3-compatible server, by configuration.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{BINARY, Server, step};
use crate::services::s3::{ObjectServer, PASSWORD};

fn command(server: &ObjectServer, bucket: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.env("MARTINGALE__HISTORY__DIR", format!("s3://{bucket}/history"));
    for (name, value) in server.options() {
        // As the provider names its variables, where it has one.
        let variable = match name {
            "aws_access_key_id" | "aws_secret_access_key" => name.to_uppercase(),
            other => format!("MARTINGALE__HISTORY__OPTIONS__{}", other.to_uppercase()),
        };
        command.env(variable, value);
    }
    command
}

fn start(server: &ObjectServer, bucket: &str, data: &Path) -> Result<Server, String> {
    Server::try_start(command(server, bucket), data, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn history_in_a_bucket_is_there_after_a_restart() {
    let Some(objects) = ObjectServer::shared() else { return };
    let (bucket, data) = (objects.bucket(), tempfile::tempdir().expect("a folder"));
    let server = start(objects, &bucket, data.path()).expect("starts");
    let steps: String = (0..500)
        .map(|n| format!("{}\n", step(&format!("s{}", n % 9), &n.to_string(), "plan", json!({ "seq": n }))))
        .collect();
    let request = server.client.post(server.url("/v1/steps")).header("content-type", "application/x-ndjson");
    let answer = request.body(steps).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
    server.count_reaches("SELECT count(*) FROM steps", 500).await;
    server.terminate();
    assert!(!data.path().join("history").exists(), "nothing of it is in the data folder");
    assert!(objects.files(&bucket).join("history/steps/_delta_log").is_dir());

    let server = start(objects, &bucket, data.path()).expect("starts again");
    let counts = "SELECT (SELECT count(*) FROM steps) AS a, (SELECT count(DISTINCT step_id) FROM verdicts) AS b, \
                  (SELECT sum(steps) FROM sessions) AS c";
    assert_eq!(server.sql(counts).await, [[json!(500), json!(500), json!(500)]]);
    let (status, ready) = server.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    server.kill_9();

    // Another log has nothing to do with this history.
    let other = tempfile::tempdir().expect("a folder");
    let said = start(objects, &bucket, other.path()).err().expect("is refused");
    assert!(said.contains(&format!("s3://{bucket}/history was made from the log")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_ends_the_start_with_a_word() {
    let Some(objects) = ObjectServer::shared() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let said = start(objects, "nowhere", data.path()).err().expect("is refused");
    for word in ["history in s3://nowhere/history cannot be opened", "`history.dir`", "no such bucket"] {
        assert!(said.contains(word), "{word} in: {said}");
    }
    assert!(!said.contains(PASSWORD), "{said}");
}

#[test]
fn of_the_options_secrets_are_masked() {
    let mut command = Command::new(BINARY);
    command.args(["up", "--dump-config"]).env("MARTINGALE__HISTORY__DIR", "s3://bucket/x/");
    command.env("MARTINGALE__HISTORY__OPTIONS__ALLOW_HTTP", "true");
    command.env("MARTINGALE__HISTORY__OPTIONS__AWS_SECRET_ACCESS_KEY", PASSWORD);
    let dump = command.output().expect("runs");
    let shown = String::from_utf8(dump.stdout).expect("UTF-8");
    for line in
        ["dir = \"s3://bucket/x\"", "[history.options]", "allow_http = \"true\"", "aws_secret_access_key = \"***\""]
    {
        assert!(shown.lines().any(|it| it == line), "{line} in: {shown}");
    }
    assert!(!shown.contains(PASSWORD));
}
