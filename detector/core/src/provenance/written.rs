//! What a script only writes to files, and URLs in comments: neither is sent.
//!
//! Read strictly, since it lets a call run. A script of which every command is known to write, print or look and to do nothing
//! else sends nothing, whatever its words and heredocs say. In any other, what is written counts, since the same script may run it.

use std::cell::LazyCell;
use std::ops::{Deref, Range};

use super::shell::{Command, Script};

/// Commands that write, print or look, whatever they are given, and that begin no sentence.
const QUIET: [&str; 17] = [
    "apply_patch",
    "cat",
    "cd",
    "chmod",
    "cp",
    "echo",
    "egrep",
    "fgrep",
    "grep",
    "ls",
    "mkdir",
    "mv",
    "printf",
    "pwd",
    "rm",
    "tee",
    "wc",
];
/// Those that are words of a sentence as well: with an option or a number behind.
const QUIET_PROSE: [&str; 4] = ["head", "set", "sleep", "tail"];
const QUIET_GIT: [&str; 7] = ["add", "apply", "commit", "diff", "log", "show", "status"];
/// Those of them that go somewhere or write there.
const WRITERS: [&str; 5] = ["cd", "cp", "mkdir", "mv", "tee"];
/// Where a file is run, or its lines are, without anybody calling it.
const STARTED: [&str; 12] = [
    "/etc/",
    "/proc/",
    "/sys/",
    "/var/spool/",
    "LaunchAgents",
    "authorized_keys",
    "autostart/",
    "bash_profile",
    "bashrc",
    "systemd/",
    "zshenv",
    "zshrc",
];
/// Devices that a redirection may go to.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/stderr", "/dev/stdout", "/dev/tty"];

/// Whether a script sends and runs nothing.
pub(super) fn only_writes(code: &str, script: &Script) -> bool {
    let git_may_run =
        LazyCell::new(|| names_what_git_runs(code) || script.commands.iter().any(may_write_what_git_runs));
    script.is_plain && script.commands.iter().all(|it| is_quiet(it, &git_may_run))
}

/// Whether a command goes or writes where only a shell knows, or names what git runs in quotes that hide it.
fn may_write_what_git_runs(command: &Command) -> bool {
    let is_writer = command.words.first().is_some_and(|it| WRITERS.contains(&it.text.as_str()));
    let is_unknown = |it: &str| it.strip_prefix("$HOME/").unwrap_or(it).contains(['*', '?', '[', '{', '$']);
    is_writer && command.words.iter().any(|it| is_unknown(&it.text))
        || command.files.iter().any(|it| is_unknown(it))
        || command.words.iter().map(|it| &it.text).chain(&command.files).any(|it| names_what_git_runs(it))
}

/// The code without the addresses in comments that have a line of their own. All else stays where it is.
pub(super) fn without_addresses(code: &str, comments: &[Range<usize>]) -> String {
    let (mut out, mut from) = (String::with_capacity(code.len()), 0);
    for comment in comments {
        out.push_str(&code[from..comment.start]);
        // Programs in it still count: an interactive shell may not know comments.
        out.push_str(&code[comment.clone()].replace("://", ":  "));
        from = comment.end;
    }
    out.push_str(&code[from..]);
    out
}

/// Whether a script names a hook of git, or a setting that it may write.
fn names_what_git_runs(code: &str) -> bool {
    let is_inside = |(at, it): (usize, &str)| !code[at + it.len()..].starts_with(|it: char| it.is_alphanumeric());
    ["hook", "-commit", "commit-", "gitconfig", "git/config", "husky", "lintstaged", "lint-staged"]
        .iter()
        .any(|it| code.contains(it))
        || code.match_indices(".git").any(is_inside)
}

/// Whether what a redirection names is a file and not a way to another machine.
pub(super) fn is_file(target: &str) -> bool {
    let target = target.strip_prefix("$HOME/").unwrap_or(target);
    DEVICES.contains(&target) || !target.contains("/dev/") && !target.contains('$') && !is_started(target)
}

fn is_started(path: &str) -> bool {
    STARTED.iter().any(|it| path.contains(it)) || path.ends_with(".profile")
}

/// Whether a command is known to send and run nothing.
fn is_quiet(command: &Command, git_may_run: &impl Deref<Target = bool>) -> bool {
    let words: Vec<&str> = command.words.iter().map(|it| it.text.as_str()).collect();
    let is_number = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    let is_known = match words[..] {
        [] => true,
        ["git", command, ref behind @ ..] => {
            let runs = |it: &&str| ["--ext-diff", "--textconv", "--output"].iter().any(|option| it.starts_with(option));
            QUIET_GIT.contains(&command) && !**git_may_run && !behind.iter().any(runs)
        }
        ["patch", ref options @ ..] => {
            // `-e` runs what it reads.
            options.iter().all(|it| !it.starts_with('-') || it.strip_prefix("-p").is_some_and(is_number))
        }
        // A script of its own behind may run commands.
        ["sed", "-n", lines, ref files @ ..] => {
            let prints = |it: &str| it.bytes().all(|it| it.is_ascii_digit() || matches!(it, b',' | b'$'));
            lines.strip_suffix('p').is_some_and(prints) && files.iter().all(|it| !it.starts_with('-'))
        }
        // `-v` evaluates the name of its variable.
        ["printf", format, ..] => !format.starts_with('-'),
        [command, behind, ..] if QUIET_PROSE.contains(&command) => behind.starts_with('-') || is_number(behind),
        [command, ..] => QUIET.contains(&command),
    };
    // In other languages that names a variable.
    let is_assigned = words.get(1).is_some_and(|it| it.starts_with(['=', '?']) || it.ends_with('='));
    let starts = words.first().is_some_and(|it| WRITERS.contains(it)) && words.iter().any(|it| is_started(it));
    is_known
        && !is_assigned
        && !starts
        && command.files.iter().all(|it| is_file(it))
        && words.iter().all(|it| !it.contains("/dev/") || DEVICES.contains(it))
}
