//! The command line, as a newcomer meets it.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{BINARY, Server, json_of, martingale, step};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/samples/fleet.jsonl");

#[test]
fn every_command_teaches_itself() {
    let help = martingale(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success(), "{text}");
    for command in [
        "up", "demo", "replay", "sql", "timeline", "why", "blame", "baseline", "eval", "tail", "halt", "resume",
        "grant", "revoke", "grants", "policy", "bench",
    ] {
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
    let steps = path("steps.jsonl", &step("s", "1", "plan", json!({ "text": "go" })).to_string());
    let capture = path("capture.toml", "[capture]\noverrides = [{ agent = \"hr\", mode = \"fingerprint\" }]\n");
    let data = folder.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let free = ["--http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"];
    for (args, expected) in [
        (vec!["up", "--data", data, "--config", &config], vec!["webhok"]),
        (vec!["up", "--data", data, "--config", "/nowhere.toml"], vec!["/nowhere.toml"]),
        (vec!["up", "--data", data, "--http", "0.0.0.0:0"], vec!["auth"]),
        ([&["up", "--data", "/proc/nowhere"], &free[..]].concat(), vec!["/proc/nowhere"]),
        (vec!["policy", "check", &policy], vec!["bad.yaml", "critcal", "critical"]),
        (vec!["policy", "show", "nonsense"], vec!["nonsense", "policy list"]),
        (vec!["halt"], vec!["SESSION", "--run"]),
        (vec!["dead-letters", "replay"], vec!["ID", "--all"]),
        (vec!["replay", "/nowhere.jsonl", "--offline"], vec!["/nowhere.jsonl"]),
        (vec!["replay", &steps, "--offline", "--baselines", &policy], vec!["nothing was learnt", "--baselines"]),
        ([&["up", "--data", data, "--config", &capture], &free[..]].concat(), vec!["capture.key_file", "openssl rand"]),
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

#[test]
fn a_folder_is_added_to_the_shipped_policies() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writes");
    let listed = |args: &[&str]| {
        let answer = json_of(&martingale(&[&["policy", "list", "--json"], args].concat()));
        answer["policies"].as_array().expect("policies").clone()
    };
    let shipped = listed(&[]);
    let of = |source: &str| shipped.iter().filter(|it| it["source"] == source).count();
    let built_in = of("built-in");
    assert!(built_in == 14 && of("shipped") == shipped.len() - 14 && shipped.len() > 14, "{shipped:?}");
    for id in ["secret_leak", "secret_given", "trifecta", "hijack", "drift", "scope_widened", "confused_deputy"] {
        let shown = martingale(&["policy", "show", id]);
        write("core.yaml", &String::from_utf8_lossy(&shown.stdout).replace("mode: shadow", "mode: enforce"));
        let all = listed(&[path]);
        let set = all.iter().find(|it| it["id"] == id).expect("listed");
        assert_eq!((all.len(), &set["mode"], &set["replaces"]), (shipped.len(), &"enforce".into(), &"built-in".into()));
        assert!(
            martingale(&["policy", "test", path, "--require-cases"]).status.success(),
            "a rule of the core has no cases"
        );
    }
    std::fs::remove_file(folder.path().join("core.yaml")).expect("removed");
    write("tools.yaml", "tools: [{ name: send_email, level: 1 }]\n");
    assert_eq!(listed(&[path]), shipped, "tools alone replace nothing");

    write(
        "mine.yaml",
        "id: ping-pong\ntitle: Mine\nseverity: low\nwhen: step.kind == \"handoff\"\nthen: { decision: warn }\n",
    );
    let all = listed(&[path]);
    let mine = all.iter().find(|it| it["title"] == "Mine").expect("listed");
    assert_eq!((all.len(), &mine["replaces_shipped"]), (shipped.len(), &Value::Bool(true)), "{all:?}");
    assert_eq!(listed(&[path, "--no-shipped"]).len(), 1 + built_in);
    let shown = martingale(&["policy", "show", "ping-pong", path]);
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("title: Mine"), "{shown:?}");

    let checked = json_of(&martingale(&["policy", "check", path, "--json"]));
    assert_eq!(checked["policies"], 1, "{checked}");
    for (args, good) in [(&["policy", "test", path][..], true), (&["policy", "test", path, "--require-cases"], false)] {
        let tested = martingale(args);
        let said = String::from_utf8_lossy(&tested.stdout).into_owned();
        assert_eq!(tested.status.success(), good, "{said}");
        assert!(said.contains("ping-pong: no case") && !said.contains("spawn-burst"), "{said}");
    }
}

#[test]
fn a_replay_says_what_each_rule_found_and_which_lines_are_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    let offline = json_of(&martingale(&["replay", SAMPLE, "--offline", "--json"]));
    let live = json_of(&server.martingale(&["replay", SAMPLE, "--json"]));
    assert_eq!(offline["outcomes"]["accepted"], offline["steps"], "{offline}");
    assert_eq!((&offline["findings"], &offline["decisions"]), (&live["findings"], &live["decisions"]));
    let findings = offline["findings"].as_array().expect("findings");
    let would = |rule: &str, mode: &str, decision: &str| {
        findings.iter().any(|it| it["rule"] == rule && it["mode"] == mode && it["decision"] == decision)
    };
    assert!(would("secret-then-egress", "shadow", "halt") && would("repeat", "enforce", "halt"), "{findings:?}");

    let wrong = folder.path().join("wrong.jsonl");
    let good = std::fs::read_to_string(SAMPLE).expect("reads").lines().next().expect("a line").to_owned();
    std::fs::write(&wrong, format!("{good}\nnonsense\n\n{{\"session_id\":\"s\"}}\n")).expect("writes");
    let wrong = wrong.to_str().expect("UTF-8");
    let (offline, live) = (martingale(&["replay", wrong, "--offline"]), server.martingale(&["replay", wrong]));
    let faults = |output: &std::process::Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("2 lines rejected"), "{output:?}");
        said.lines().filter(|line| line.contains("wrong.jsonl:")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (offline, live) = (faults(&offline), faults(&live));
    assert!(
        offline[0].starts_with(&format!("{wrong}:2: ")) && offline[1].starts_with(&format!("{wrong}:4: ")),
        "{offline:?}"
    );
    assert_eq!(offline, live);
}

#[test]
fn orders_that_change_nothing_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    let steps = folder.path().join("steps.jsonl");
    std::fs::write(&steps, "{\"session_id\":\"s\",\"step_id\":\"1\",\"kind\":\"plan\",\"agent\":{\"id\":\"a\"}}\n")
        .expect("writes");
    assert!(server.martingale(&["replay", steps.to_str().expect("UTF-8")]).status.success());
    for (args, good, expected) in [
        (&["resume", "nosuch"][..], false, "nothing to resume: no step of session nosuch was ever seen"),
        (&["resume", "s"], true, "nothing to resume: no halt of session s stood"),
        (&["resume", "--run", "s"], true, "no halt of it stands, and its budgets begin anew"),
        (&["resume", "--run", "s"], true, ", and its budgets had counted nothing"),
        (&["halt", "s"], true, "halted: session s"),
        (&["halt", "s"], true, "halted already: session s"),
        (&["resume", "s"], true, "resumed: session s"),
        (&["resume", "s"], true, "nothing to resume: no halt of session s stood"),
        // One that was given ahead of the first step.
        (&["halt", "later"], true, "halted: session later"),
        (&["resume", "later"], true, "resumed: session later"),
    ] {
        let output = server.martingale(args);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() == good && said.contains(expected), "{args:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_of_a_halted_parent_stays_halted_and_resume_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    let steps = folder.path().join("steps.jsonl");
    let line = |session: &str, more: &str| {
        format!(
            "{{\"session_id\":\"{session}\",\"step_id\":\"1\",\"kind\":\"user_message\",\"agent\":{{\"id\":\"a\"}}{more}}}\n"
        )
    };
    let text = line("p", "") + &line("c", ",\"parent_session_id\":\"p\",\"root_session_id\":\"p\"");
    std::fs::write(&steps, text).expect("writes");
    assert!(server.martingale(&["replay", steps.to_str().expect("UTF-8")]).status.success());
    assert!(server.martingale(&["halt", "p"]).status.success());
    server.count_reaches("SELECT count(*) FROM sessions WHERE halted", 2).await;
    let said = |args: &[&str]| {
        let output = server.martingale(args);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let listed = said(&["sessions"]);
    assert_eq!(listed.lines().filter(|line| line.contains(" halted ")).count(), 3, "the header and two rows: {listed}");
    let child = said(&["resume", "c"]);
    assert!(child.contains("still halted") && child.contains("resume p"), "{child}");
    let parent = said(&["resume", "p"]);
    assert!(parent.contains("resumed: session p") && !parent.contains("still"), "{parent}");

    // One whose parent says only afterwards which run it is in has been judged in two partitions, the first of them the
    // busier.
    let gate = async |id: &str| {
        server.post("/v1/gate", step("kid", id, "tool_call", json!({})).to_string()).await.1["decision"].clone()
    };
    let busy: String = (2..9).map(|n| line("b", "").replace("\"1\"", &format!("\"{n}\""))).collect();
    let (kid, mother) = (line("kid", ",\"parent_session_id\":\"s\""), line("s", ",\"root_session_id\":\"p\""));
    // One after the other: lines of different runs may overtake each other.
    for lines in [busy + &kid, mother] {
        std::fs::write(&steps, lines).expect("writes");
        assert!(server.martingale(&["replay", steps.to_str().expect("UTF-8")]).status.success());
    }
    assert_eq!(gate("2").await, "allow");
    server.count_reaches("SELECT count(DISTINCT partition) FROM steps WHERE session_id = 'kid'", 2).await;
    assert!(server.martingale(&["halt", "kid"]).status.success());
    assert_eq!(gate("3").await, "halt");
    let kid = said(&["resume", "kid"]);
    assert!(kid.contains("resumed: session kid") && !kid.contains("still"), "{kid}");
    assert_eq!(gate("4").await, "allow");
    server.count_reaches("SELECT count(*) FROM steps WHERE session_id = 'kid'", 4).await;
    let shown = said(&["timeline", "kid"]);
    // Behind the orders for its parent, which were given before it came.
    let own = shown.lines().skip(2).filter(|it| !it.contains(" session p"));
    let firsts: Vec<_> = own.filter_map(|it| it.split_whitespace().next()).collect();
    assert!(
        matches!(firsts[..], ["1", "2", halt, "3", resume, "4"] if halt.starts_with("c-") && resume.starts_with("c-")),
        "{shown}"
    );
}

#[test]
fn what_the_readme_runs_without_a_server_runs_in_a_clone() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).expect("reads");
    let commands = readme.lines().filter_map(|line| line.strip_prefix("cargo martingale "));
    let commands: Vec<&str> = commands.filter(|it| it.starts_with("policy ") || it.starts_with("replay ")).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        let args = command.split('#').next().expect("a command").split_whitespace();
        let output = Command::new(BINARY).args(args).current_dir(root).output().expect("runs");
        assert!(output.status.success(), "{command}: {output:?}");
    }
}
