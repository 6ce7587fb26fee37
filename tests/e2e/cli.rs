//! The command line, as a newcomer meets it.

use std::process::Command;

use crate::harness::{BINARY, Server, martingale};

#[test]
fn every_command_teaches_itself() {
    let help = martingale(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success(), "{text}");
    for command in ["up", "demo", "replay", "sql", "timeline", "why", "tail", "halt", "resume", "policy", "bench"] {
        assert!(text.contains(command), "{command} in:\n{text}");
        let help = martingale(&[command, "--help"]);
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.status.success() && text.to_lowercase().contains("example"), "{command}:\n{text}");
    }
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.to_str().expect("UTF-8").to_owned()
    };
    let config = path("config.toml", "[webhok]\nurl = \"http://localhost\"\n");
    let policy =
        path("bad.yaml", "id: x\nseverity: critcal\nwhen: step.knd == \"tool_call\"\nthen: { decision: halt }\n");
    let data = folder.path().join("data");
    let data = data.to_str().expect("UTF-8");
    for (args, expected) in [
        (vec!["up", "--data", data, "--config", &config], vec!["webhok"]),
        (vec!["up", "--data", data, "--config", "/nowhere.toml"], vec!["/nowhere.toml"]),
        (vec!["up", "--data", data, "--http", "0.0.0.0:0"], vec!["auth"]),
        (vec!["up", "--data", "/proc/nowhere"], vec!["/proc/nowhere"]),
        (vec!["policy", "check", &policy], vec!["bad.yaml", "critcal", "critical"]),
        (vec!["replay", "/nowhere.jsonl", "--offline"], vec!["/nowhere.jsonl"]),
        (vec!["sql", "SELECT 1", "--server", "http://127.0.0.1:1"], vec!["127.0.0.1:1"]),
        (vec!["timeline", "x", "--server", "nonsense"], vec!["nonsense"]),
    ] {
        let output = martingale(&args);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{args:?} should fail: {said}");
        for word in expected {
            assert!(said.contains(word), "{args:?} should name {word}: {said}");
        }
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn the_configuration_can_be_shown_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8").to_owned();
    let shown = Command::new(BINARY)
        .args(["up", "--data", &data, "--dump-config"])
        .env("MARTINGALE__WEBHOOK__SECRET", "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
        .env("MARTINGALE__LOG__DURABILITY", "fsync")
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("fsync") && !text.contains("c2VjcmV0"), "{text}{shown:?}");
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("bound").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let error = Server::try_start(Command::new(BINARY), folder.path(), &["--http", &address]).err();
    // The flag is given twice; the last one counts, or clap says so: either way it must be an error that helps.
    let error = error.expect("refused");
    assert!(error.contains(&address) || error.contains("--http"), "{error}");
}

#[test]
fn the_shipped_policies_pass_their_own_tests() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policies");
    for verb in ["check", "test"] {
        let output = martingale(&["policy", verb, folder]);
        assert!(output.status.success(), "{output:?}");
    }
}
