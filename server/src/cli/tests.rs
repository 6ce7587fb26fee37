use clap::CommandFactory;

use super::{Cli, Command, OVERVIEW};

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::read(line.split_whitespace()).map(|it| it.command)
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_shows_an_example() {
    fn check(command: &mut clap::Command) {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Example"), "{}:\n{help}", command.get_name());
        command.get_subcommands_mut().for_each(check);
    }
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    root.get_subcommands_mut().for_each(check);
}

#[test]
fn the_overview_has_an_example_of_every_command() {
    for command in Cli::command().get_subcommands().map(clap::Command::get_name) {
        assert!(OVERVIEW.contains(&format!("\n  martingale {command}")), "{command}");
    }
}

#[test]
fn what_is_missing_is_named_with_its_alternative() {
    for (line, words) in [
        ("martingale halt", ["SESSION", "--run <ROOT>"]),
        ("martingale resume", ["SESSION", "--run <ROOT>"]),
        ("martingale dead-letters replay", ["ID", "--all"]),
        ("martingale blame", ["FILES", "--session <SESSION>"]),
        ("martingale revoke", ["GRANT", "--agent <AGENT>"]),
    ] {
        let said = parse(line).expect_err("refused").to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{line}: {said}");
    }
}

#[test]
fn lines_are_taken_or_refused() {
    for (line, good) in [
        ("martingale up --data d --http 127.0.0.1:0 --http 127.0.0.1:1 --json", true),
        ("martingale up --http localhost", false),
        ("martingale replay", false),
        ("martingale replay a b --offline --policies p --no-shipped --verdicts v", true),
        ("martingale replay a --server http://h:1 --concurrency 2", true),
        ("martingale replay a --concurrency 0", false),
        ("martingale grant --agent a --tool t --from s --for 7d", true),
        ("martingale grant --agent a --tool t --to d --until 2026-01-31T12:00:00Z", true),
        ("martingale grant --agent a --tool t --from s", false),
        ("martingale grant --agent a --tool t --for 7d --until 2026-01-31T12:00:00Z", false),
        ("martingale grant --tool t --for 7d", false),
        ("martingale revoke c-1", true),
        ("martingale revoke --agent a --tool t --from s", true),
        ("martingale revoke --agent a", false),
        ("martingale revoke c-1 --agent a --tool t", false),
        ("martingale revoke", false),
        ("martingale grants --json", true),
        ("martingale halt s --reason r", true),
        ("martingale halt --run r", true),
        ("martingale halt", false),
        ("martingale halt s --run r", false),
        ("martingale tail --min-decision step_up", true),
        ("martingale tail --min-decision stepup", false),
        ("martingale dead-letters replay", false),
        ("martingale dead-letters replay --all", true),
        ("martingale dead-letters replay --all dl-1", false),
        ("martingale resume --run r", true),
        ("martingale timeline s --limit 0", false),
        ("martingale baseline", false),
        ("martingale baseline learn a b --out o --policies p --json", true),
        ("martingale baseline learn a", false),
        ("martingale baseline show", false),
        ("martingale baseline show f --json", true),
        ("martingale baseline remove b --json", true),
        ("martingale baseline remove", false),
        ("martingale up --baselines b", true),
        ("martingale blame", false),
        ("martingale blame --session s", true),
        ("martingale blame --session s --server http://h:1 --token t --json", true),
        ("martingale blame --session s --policies p", false),
        ("martingale blame --session s --baselines b", false),
        ("martingale blame a b --session s --session t --top 5 --ranked r --policies p --baselines b", true),
        ("martingale blame a --server http://h:1", false),
        ("martingale blame a --token t", false),
        ("martingale blame a --top 0", false),
        ("martingale eval a", false),
        ("martingale eval --labels l", false),
        ("martingale eval --labels l a", true),
        ("martingale eval a b --labels l --labels m --split info.task --by info.kind --folds 3 --json", true),
        ("martingale eval --labels l --by x --leave-one-out --alarms 0.01,0.2 --calibrate 0.3 a", true),
        ("martingale eval --labels l --leave-one-out a", false),
        ("martingale eval --labels l --by x --leave-one-out --folds 3 a", false),
        ("martingale eval --labels l --folds 1 a", false),
        ("martingale eval --labels l --alarms 0.01,1 a", false),
        ("martingale eval --labels l --alarms NaN a", false),
        ("martingale eval --labels l --calibrate 0 a", false),
        ("martingale policy check", false),
        ("martingale policy list", true),
        ("martingale policy show x ./policies", true),
        ("martingale policy test p --require-cases --no-shipped", true),
        ("martingale bench detect --steps 1000 --json", true),
        ("martingale bench gate --rate 0", false),
    ] {
        assert_eq!(parse(line).is_ok(), good, "{line}");
    }
}

#[test]
fn a_contradiction_in_replay_is_told_with_its_remedy() {
    for (line, words) in [
        ("martingale replay a --offline --server http://h:1", ["--server has no meaning", "--offline judges in this"]),
        ("martingale replay a --server http://h:1 --offline", ["--server has no meaning", "leave out one"]),
        ("martingale replay a --offline --token t", ["--token has no meaning", "leave out one"]),
        ("martingale replay a --offline --concurrency 2", ["--concurrency has no meaning", "leave out one"]),
        ("martingale replay a --policies p", ["--policies is for --offline", "martingale up --policies DIR"]),
        ("martingale replay a --no-shipped", ["--no-shipped is for --offline", "add --offline"]),
    ] {
        let refused = parse(line).expect_err("refused");
        assert_eq!(refused.exit_code(), 2, "{line}");
        let said = refused.to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{line}: {said}");
    }
}

#[test]
fn of_a_flag_given_twice_the_last_counts() {
    let Ok(Command::Up(up)) = parse("martingale up --http 127.0.0.1:0 --http 127.0.0.1:81") else {
        panic!("not taken")
    };
    assert_eq!(up.http.map(|it| it.port()), Some(81));
}
