//! Whether code that a tool is given to run sends something out.

use super::{fold, loopback, walk, written};
use crate::tools::words;

/// Programs that send, as words of a command.
const PROGRAMS: [&str; 18] = [
    "curl",
    "wget",
    "nc",
    "ncat",
    "netcat",
    "socat",
    "scp",
    "sftp",
    "ftp",
    "tftp",
    "ssh",
    "rsync",
    "telnet",
    "mailx",
    "dig",
    "nslookup",
    "invoke-webrequest",
    "invoke-restmethod",
];
/// Those of them that are words of a sentence as well.
const PROSE: [&str; 3] = ["dig", "ssh", "ftp"];
/// Words before a command that is run.
const RUNNERS: [&str; 18] = [
    "!", "do", "else", "env", "exec", "if", "nice", "nohup", "ssh", "sshpass", "sudo", "then", "time", "timeout",
    "until", "watch", "while", "xargs",
];
/// Members that say what code is for.
const NOTES: [&str; 6] = ["description", "explanation", "reason", "reasoning", "thought", "title"];
/// Addresses, commands and libraries that do.
const SIGNS: [&str; 9] =
    ["http://", "https://", "ftp://", "git push", "sendmail", "smtplib", "socket.", "/dev/tcp/", "/dev/udp/"];
/// Bytes of an address that are looked at.
const TARGET_MAX: usize = 64;
/// Shorter names of members hold none of them but `nc`, `ftp`, `scp`, `ssh` and `dig`.
const NAME_MIN: usize = 4;

/// Words in the names of tools that take keys, or a language in which heredocs and comments are others.
const TYPED: [&str; 6] = ["keys", "powershell", "pwsh", "repl", "send", "stdin"];

/// Whether the arguments of a call to a tool hold code that sends, however JSON writes its characters.
pub(crate) fn sends(tool: &str, input: &str) -> bool {
    let is_typed = tool == "cmd" || words(tool).any(|word| TYPED.iter().any(|it| it.eq_ignore_ascii_case(word)));
    let (mut sends, mut applies) = (false, false);
    let cut = walk::leaves_and_names(input, NAME_MIN, &mut |leaf| {
        let is_note = !leaf.is_name && NOTES.iter().any(|it| leaf.key.eq_ignore_ascii_case(it));
        let is_patch = applies && leaf.item == 1 && written::is_patch(leaf.text);
        applies = leaf.item == 0 && leaf.text == "apply_patch" && leaf.path.ends_with("[*]");
        sends = sends || !is_note && !is_patch && has(leaf.text, is_typed);
    });
    // What was left out is in the text as it stands, but for escapes that few write.
    let raw = || input.replace("\\/", "/").replace("\\t", " ").replace("\\n", ";").replace("\\r", ";");
    sends || cut && has(&raw(), true)
}

/// Whether code sends; `as_it_stands` where it is no whole script of a shell.
fn has(code: &str, as_it_stands: bool) -> bool {
    if !reaches(code) {
        return false;
    }
    let written = if as_it_stands { None } else { written::without(code) };
    let code = written.as_deref().unwrap_or(code);
    reaches(code) && loopback::without(code).is_none_or(|rest| reaches(&rest))
}

fn reaches(code: &str) -> bool {
    let plain = fold::plain(code);
    let mut plain = String::from_utf8_lossy(&plain).to_ascii_lowercase();
    if plain.contains(|it: char| it.is_whitespace() && it != ' ') {
        // The end of a line ends a command.
        plain = plain.replace(['\n', '\r'], ";").replace(char::is_whitespace, " ");
    }
    SIGNS.iter().any(|it| plain.contains(it)) || PROGRAMS.iter().any(|it| is_run(&plain, it))
}

/// Whether a program stands there as a word, with something behind it or alone, as in a list of arguments.
fn is_run(code: &str, program: &str) -> bool {
    code.match_indices(program).any(|(at, _)| {
        let (before, behind) = (&code[..at], &code[at + program.len()..]);
        let is_begun = !before.ends_with(|it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'));
        let is_ended =
            behind.is_empty() || behind.starts_with([' ', '$', '"', '\'', '`', ')', ';', '|', '&', '<', '>']);
        let is_command = || !PROSE.contains(&program) || begins_command(before) || has_target(behind);
        is_begun && is_ended && !is_assigned(behind) && is_command()
    })
}

/// Whether what follows is what a shell runs: the first word of a command, or behind a word that runs others.
fn begins_command(before: &str) -> bool {
    let before = before.trim_end_matches(' ');
    let command = before.rsplit([';', '|', '&', '(', '`', '"', '\'', '{']).next().unwrap_or_default();
    let first = command.trim_start_matches(' ').split(' ').next().unwrap_or_default();
    first.is_empty() || before.ends_with('/') || first.contains('=') || RUNNERS.contains(&first)
}

/// Whether the word behind is an option or may be an address.
fn has_target(behind: &str) -> bool {
    let behind = behind.trim_start_matches(' ');
    let behind = &behind[..behind.floor_char_boundary(TARGET_MAX)];
    let word = behind.split(' ').next().unwrap_or_default();
    word.starts_with(['-', '+', '$']) || word.trim_end_matches(['.', ':', ',']).contains(['.', '@', ':'])
}

/// Whether a variable that has the name of a program is given a value, or compared with one.
fn is_assigned(behind: &str) -> bool {
    let behind = behind.trim_start_matches(' ');
    ["=", "+=", "-="].iter().any(|it| behind.starts_with(it))
}

#[cfg(test)]
mod tests;
