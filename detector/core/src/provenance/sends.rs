//! Whether code that a tool is given to run sends something out.

use std::borrow::Cow;

use super::walk::{self, Leaf};
use super::{fold, loopback, shell, written};
use crate::tools::words;

/// Programs that send, as words of a command.
const PROGRAMS: [&str; 37] = [
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
    "lftp",
    "aria2c",
    "curlie",
    "grpcurl",
    "msmtp",
    "s3cmd",
    "smbclient",
    "swaks",
    "websocat",
    "ping",
    "ssh",
    "rsync",
    "telnet",
    "mailx",
    "dig",
    "nslookup",
    "invoke-webrequest",
    "invoke-restmethod",
    "iwr",
    "irm",
    "gsutil",
    "rclone",
    "mail",
    "mutt",
    "http",
    "https",
    "xh",
];
/// Those of them that are words of a sentence as well.
const PROSE: [&str; 6] = ["dig", "ssh", "ftp", "iwr", "irm", "ping"];
/// Those that are words of code as well: only as the first word of a command, with something to send to behind.
const COMMON: [&str; 5] = ["mail", "mutt", "http", "https", "xh"];
/// Programs that send when that is what they are told to do.
const TOLD: [(&str, &[&[&str]]); 19] = [
    ("git", &[&["push"], &["send-email"]]),
    (
        "aws",
        &[
            &["s3", "cp"],
            &["s3", "mv"],
            &["s3", "sync"],
            &["s3api", "put-object"],
            &["ses", "send-email"],
            &["sns", "publish"],
            &["sqs", "send-message"],
        ],
    ),
    ("az", &[&["storage", "blob", "upload"]]),
    ("gcloud", &[&["storage", "cp"], &["pubsub", "topics", "publish"]]),
    (
        "gh",
        &[
            &["api"],
            &["gist", "create"],
            &["issue", "comment"],
            &["issue", "create"],
            &["pr", "comment"],
            &["pr", "create"],
            &["pr", "review"],
            &["release", "create"],
            &["release", "upload"],
        ],
    ),
    ("docker", &[&["push"]]),
    ("podman", &[&["push"]]),
    ("getent", &[&["hosts"], &["ahosts"]]),
    ("hg", &[&["push"]]),
    ("helm", &[&["push"]]),
    ("gem", &[&["push"]]),
    ("poetry", &[&["publish"]]),
    ("uv", &[&["publish"]]),
    ("npm", &[&["publish"]]),
    ("pnpm", &[&["publish"]]),
    ("yarn", &[&["publish"], &["npm", "publish"]]),
    ("cargo", &[&["publish"]]),
    ("twine", &[&["upload"]]),
    ("openssl", &[&["s_client"]]),
];
/// What HTTPie is told to do.
const METHODS: [&str; 5] = ["delete", "get", "patch", "post", "put"];
/// Words before a command that is run.
const RUNNERS: [&str; 18] = [
    "!", "do", "else", "env", "exec", "if", "nice", "nohup", "ssh", "sshpass", "sudo", "then", "time", "timeout",
    "until", "watch", "while", "xargs",
];
/// Members that say what code is for.
const NOTES: [&str; 6] = ["description", "explanation", "reason", "reasoning", "thought", "title"];
/// Addresses, commands and libraries that do.
const SIGNS: [&str; 10] =
    ["http://", "https://", "ftp://", "ws://", "wss://", "sendmail", "smtplib", "socket.", "/dev/tcp/", "/dev/udp/"];
/// Libraries that send to whatever address they are given.
const LIBRARIES: [&str; 33] = [
    "from requests import",
    "requests.delete(",
    "requests.get(",
    "requests.patch(",
    "requests.post(",
    "requests.put(",
    "requests.request(",
    "requests.session(",
    "http.client",
    "urllib.request",
    "urllib3.",
    "ftplib",
    "paramiko",
    "websockets.connect(",
    "httpx.",
    "aiohttp.",
    "axios(",
    "axios.",
    "xmlhttprequest",
    "new websocket(",
    "sendbeacon(",
    "globalthis.fetch(",
    "window.fetch(",
    "net.webclient",
    "net::http",
    "node:http",
    "require('http')",
    "require(\"http\")",
    "require('https')",
    "require(\"https\")",
    "lwp::",
    "reqwest::",
    "\"net/http\"",
];
/// Bytes of an address that are looked at.
const TARGET_MAX: usize = 64;
/// Bytes behind a program in which is what it is told to do.
const COMMAND_MAX: usize = 192;
/// Bytes at the beginning of a command in which its first word is looked for.
const FIRST_MAX: usize = 128;
/// Shorter names of members hold none of them but `nc`, `ftp`, `scp`, `ssh` and `dig`.
const NAME_MIN: usize = 4;

/// Words in the names of tools that take keys, or a language in which heredocs and comments are others.
const TYPED: [&str; 6] = ["keys", "powershell", "pwsh", "repl", "send", "stdin"];

/// Members that hold code, whatever their tool is.
const CODE: [&str; 9] =
    ["cmd", "code", "command", "command_line", "commandline", "commands", "script", "shell_command", "shellcommand"];
/// Bytes of a command in a list that are looked at.
const LIST_MAX: usize = 256;

/// Whether the arguments of a call to a tool that runs code hold code that sends, however JSON writes its characters.
pub(crate) fn sends(tool: &str, input: &str) -> bool {
    any_sends(tool, input, |_| true)
}

/// The same for a tool of which nothing is known: only arguments that are named as code is.
pub(crate) fn named_code_sends(tool: &str, input: &str) -> bool {
    any_sends(tool, input, |key| CODE.iter().any(|it| key.eq_ignore_ascii_case(it)))
}

fn any_sends(tool: &str, input: &str, is_code: impl Fn(&str) -> bool) -> bool {
    let plain = fold::plain(tool);
    let tool = String::from_utf8_lossy(&plain);
    let is_word = |word: &str| TYPED.iter().any(|it| it.eq_ignore_ascii_case(word));
    let is_typed = tool.eq_ignore_ascii_case("cmd") || words(&tool).any(is_word);
    let (mut has_code, mut sends, mut applies, mut list) = (false, false, false, String::new());
    let cut = walk::leaves_and_names(input, NAME_MIN, &mut |leaf| {
        if sends || !is_code(leaf.key) {
            return;
        }
        has_code = true;
        let is_note = !leaf.is_name && NOTES.iter().any(|it| leaf.key.eq_ignore_ascii_case(it));
        let is_patch = applies && leaf.item == 1 && shell::is_patch(leaf.text);
        applies = leaf.item == 0 && leaf.text == "apply_patch" && leaf.path.ends_with("[*]");
        sends = !is_note
            && !is_patch
            && (has(leaf.text, is_typed) || leaf.path.ends_with("[*]") && is_told(&mut list, leaf));
    });
    // What was left out is in the text as it stands, but for escapes that few write.
    let raw = || input.replace("\\/", "/").replace("\\t", " ").replace("\\n", ";").replace("\\r", ";");
    sends || cut && has_code && has(&raw(), true)
}

/// Whether a command that is given as a list of words is told to send, as far as it goes.
fn is_told(list: &mut String, leaf: Leaf<'_>) -> bool {
    if leaf.item == 0 {
        list.clear();
    }
    if list.len() + leaf.text.len() >= LIST_MAX {
        return false;
    }
    // Words, and no text that is one of them.
    list.extend(
        leaf.text.chars().map(|it| if matches!(it, ';' | '|' | '&' | ' ') { '_' } else { it.to_ascii_lowercase() }),
    );
    list.push(' ');
    TOLD.iter().any(|(program, told)| does(list, program, told))
}

/// Whether code sends; `as_it_stands` where it is no whole script of a shell.
fn has(code: &str, as_it_stands: bool) -> bool {
    if !reaches(code, &LIBRARIES) {
        return false;
    }
    let script = shell::read(code).filter(|it| it.is_plain || !as_it_stands);
    let written = script.as_ref().filter(|_| !as_it_stands);
    if written.is_some_and(|it| written::only_writes(code, it)) {
        return false;
    }
    let code = written
        .filter(|it| !it.comments.is_empty())
        .map_or(Cow::Borrowed(code), |it| Cow::Owned(written::without_addresses(code, &it.comments)));
    let commands = script.as_ref().map_or_else(Default::default, |it| &it.commands[..]);
    // Code that names this machine is held to send there by libraries.
    reaches(&code, &LIBRARIES) && loopback::without(&code, commands).is_none_or(|rest| reaches(&rest, &[]))
}

fn reaches(code: &str, libraries: &[&str]) -> bool {
    let plain = fold::plain(code);
    let mut plain = String::from_utf8_lossy(&plain).to_ascii_lowercase();
    if plain.contains(|it: char| it.is_whitespace() && it != ' ') {
        // The end of a line ends a command.
        plain = plain.replace(['\n', '\r'], ";").replace(char::is_whitespace, " ");
    }
    SIGNS.iter().chain(libraries).any(|it| plain.contains(it))
        || !libraries.is_empty() && fetches(&plain)
        || PROGRAMS.iter().any(|it| is_run(&plain, it))
        || TOLD.iter().any(|(program, told)| does(&plain, program, told))
}

/// Whether the function of browsers is called, and no other that has its name.
fn fetches(code: &str) -> bool {
    code.match_indices("fetch(").any(|(at, _)| {
        let before = &code[..at];
        let defined = ["def ", "fn ", "func ", "function "].iter().any(|it| before.ends_with(it));
        !defined && is_begun(before)
    })
}

fn is_begun(before: &str) -> bool {
    !before.ends_with(|it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'))
}

/// Whether a program is told to do one of these things, with any options before.
fn does(code: &str, program: &str, told: &[&[&str]]) -> bool {
    code.match_indices(program).any(|(at, _)| {
        let behind = &code[at + program.len()..];
        let behind = behind.strip_prefix(".exe").unwrap_or(behind);
        if !is_begun(&code[..at]) || !behind.starts_with([' ', '"', '\'']) {
            return false;
        }
        let behind = &behind[..behind.floor_char_boundary(COMMAND_MAX)];
        let command = behind.split([';', '|', '&', '(', ')']).next().unwrap_or_default();
        told.iter().any(|it| follow(command, it))
    })
}

/// Whether these are the first words of a command but for options and what may be their values.
fn follow(command: &str, expected: &[&str]) -> bool {
    let (mut expected, mut is_option) = (expected.iter().peekable(), false);
    for word in command.split([' ', '"', '\'', ',']).filter(|it| !it.is_empty()) {
        if expected.next_if_eq(&&word).is_some() {
            is_option = false;
        } else if expected.peek().is_none() || !is_option && !word.starts_with('-') {
            break;
        } else {
            is_option = word.starts_with('-');
        }
    }
    expected.peek().is_none()
}

/// Whether a program stands there as a word, with something behind it or alone, as in a list of arguments.
fn is_run(code: &str, program: &str) -> bool {
    let (is_common, is_prose) = (COMMON.contains(&program), PROSE.contains(&program));
    let mut commands = Commands { code, begin: if is_common { "" } else { "\"'{" }, from: 0, seen: 0 };
    code.match_indices(program).any(|(at, _)| {
        let behind = &code[at + program.len()..];
        let behind = behind.strip_prefix(".exe").unwrap_or(behind);
        let is_ended =
            behind.is_empty() || behind.starts_with([' ', '$', '"', '\'', '`', ')', ';', '|', '&', '<', '>']);
        let mut is_command = || match () {
            () if is_common => (has_target(behind) || has_method(behind)) && commands.begins_at(at),
            () if is_prose => has_target(behind) || commands.begins_at(at),
            () => true,
        };
        is_begun(&code[..at]) && is_ended && !is_assigned(behind) && is_command()
    })
}

/// Where the commands of code begin. To be asked of ascending places: so all of them together read the code once.
struct Commands<'c> {
    code: &'c str,
    /// Commands begin behind these characters as well.
    begin: &'static str,
    /// Where the latest command begins, of what was seen.
    from: usize,
    seen: usize,
}

impl Commands<'_> {
    /// Whether what follows is what a shell runs: the first word of a command, or behind a word that runs others.
    fn begins_at(&mut self, at: usize) -> bool {
        let is_begin = |it: char| matches!(it, ';' | '|' | '&' | '(' | '`') || self.begin.contains(it);
        if let Some(it) = self.code[self.seen..at].rfind(is_begin) {
            self.from = self.seen + it + 1;
        }
        self.seen = at;
        let before = &self.code[self.from..at];
        let first = &before[..before.floor_char_boundary(FIRST_MAX)];
        let first = first.trim_start_matches(' ').split(' ').next().unwrap_or_default();
        let is_path = || before.trim_end_matches(' ').ends_with('/');
        first.is_empty() || first.contains('=') || RUNNERS.contains(&first) || is_path()
    }
}

/// Whether the word behind is what HTTPie is told to do.
fn has_method(behind: &str) -> bool {
    let behind = behind.trim_start_matches(' ');
    METHODS.iter().any(|it| behind.strip_prefix(it).is_some_and(|it| it.is_empty() || it.starts_with(' ')))
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
