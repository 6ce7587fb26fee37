//! The Dockerfile.

use std::collections::BTreeMap;

use crate::{configuration, read};

/// Instructions in their order, continued lines put together.
fn instructions() -> Vec<(String, String)> {
    let text = read("deploy/Dockerfile");
    let lines = text.lines().filter(|it| !it.starts_with('#') && !it.is_empty());
    let whole = lines.fold(String::new(), |all, line| match line.strip_suffix('\\') {
        Some(more) => all + more,
        None => all + line + "\n",
    });
    let word = |line: &str| line.split_once(' ').map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()));
    whole.lines().map(|line| word(line).unwrap_or_else(|| panic!("{line}: no instruction"))).collect()
}

fn of<'i>(instructions: &'i [(String, String)], word: &str) -> Vec<&'i str> {
    instructions.iter().filter(|it| it.0 == word).map(|it| it.1.as_str()).collect()
}

/// The number of the user that the image runs as.
pub(crate) fn user() -> u64 {
    let instructions = instructions();
    let user = of(&instructions, "USER").last().copied().expect("a user");
    user.split(':').next().and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("USER {user}: no number"))
}

pub(crate) fn environment() -> BTreeMap<String, String> {
    let instructions = instructions();
    let pairs = of(&instructions, "ENV").into_iter().flat_map(str::split_whitespace);
    let pairs = pairs.map(|it| it.split_once('=').unwrap_or_else(|| panic!("ENV {it}")));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn it_is_built_by_the_compiler_of_the_workspace_and_runs_as_nobody_in_particular() {
    let instructions = instructions();
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let rust = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
    let from = of(&instructions, "FROM");
    assert!(from[0].starts_with(&format!("rust:{rust}.")), "{from:?}: the workspace says {rust}");
    assert!(from[0].contains("-trixie ") && from[1].contains(":trixie-"), "{from:?}: one libc for both");
    assert!(user() >= 10_000);
    let last = instructions.iter().rposition(|it| it.0 == "USER").unwrap();
    assert!(instructions[last..].iter().all(|it| it.0 != "RUN" && it.0 != "COPY"));
    let copied = of(&instructions, "COPY");
    for source in copied.iter().filter(|it| !it.contains("--from") && **it != ". .") {
        let file = source.split_whitespace().find(|it| !it.starts_with("--")).expect("a file");
        assert!(!read(file).is_empty());
    }
}

#[test]
fn it_listens_where_it_says() {
    let (instructions, environment) = (instructions(), environment());
    for (name, value) in &environment {
        configuration::check_variable("Dockerfile", name, &value.as_str().into());
    }
    let mut ports = Vec::new();
    for key in ["server.http", "server.otlp_grpc", "server.otlp_http"] {
        let name = format!("{}{}", configuration::PREFIX, key.to_ascii_uppercase().replace('.', "__"));
        let port = configuration::port(key);
        assert_eq!(environment[&name], format!("0.0.0.0:{port}"), "{name}");
        ports.push(port.to_string());
    }
    assert_eq!(of(&instructions, "EXPOSE"), [ports.join(" ")]);
    let probe = of(&instructions, "HEALTHCHECK").join(" ");
    let command = probe.split("CMD ").nth(1).expect("a command");
    let command: Vec<&str> = serde_json::from_str(command).expect("a list");
    configuration::check_probe("HEALTHCHECK", &command);
}

/// What the build is given holds every member of the workspace.
#[test]
fn what_is_left_out_is_not_compiled() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().expect("members");
    let ignored = read(".dockerignore");
    let patterns: Vec<&str> = ignored.lines().filter(|it| !it.starts_with('#')).collect();
    assert!(patterns.contains(&"deploy/secrets") && patterns.contains(&"target"));
    for member in members.iter().filter_map(toml::Value::as_str) {
        assert!(!patterns.iter().any(|it| member == *it || member.starts_with(&format!("{it}/"))), "{member}");
    }
}
