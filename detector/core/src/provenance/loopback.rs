//! What code sends to the machine that it runs on: an agent that tries the server that it works on sends nothing out.
//!
//! Read strictly, since it lets a call run: a `curl` of which every option is known and every address is of this machine, an `nc -z`
//! that asks for its ports, and its URLs and devices in other code. Whatever is not understood counts as sending, as without this.

use super::shell::{Command, Word};
use super::written::is_file;

/// Options of `curl` that take nothing and change nothing about where it goes. `-L` follows what this machine answers.
const BARE: &str = "sSfvikgGNI#0123L";
/// Those that take a value, which is no address.
const VALUED: &str = "HXdoubcAemwFTrD";
const LONG_BARE: [&str; 14] = [
    "compressed",
    "fail",
    "fail-with-body",
    "get",
    "globoff",
    "head",
    "include",
    "insecure",
    "ipv4",
    "location",
    "no-buffer",
    "show-error",
    "silent",
    "verbose",
];
const LONG_VALUED: [&str; 22] = [
    "connect-timeout",
    "cookie",
    "cookie-jar",
    "data",
    "data-ascii",
    "data-binary",
    "data-raw",
    "data-urlencode",
    "dump-header",
    "form",
    "form-string",
    "header",
    "json",
    "max-time",
    "output",
    "referer",
    "request",
    "retry",
    "retry-delay",
    "user",
    "user-agent",
    "write-out",
];
/// Bytes of a URL that are looked at: a longer one is none of this machine.
const URL_MAX: usize = 256;
/// Of URLs. What ends another stands behind it.
const SCHEMES: [&str; 4] = ["https", "http", "wss", "ws"];
/// What may stand before a command that is waited for.
const KEYWORDS: [&str; 6] = ["!", "do", "if", "then", "until", "while"];
/// Programs that with `-z` send nothing.
const PROBES: [&str; 3] = ["nc", "ncat", "netcat"];

/// The code but for what stays on this machine: of its commands, and the schemes of URLs. `None` where nothing may.
pub(super) fn without(code: &str, commands: &[Command]) -> Option<String> {
    let names_it = ["localhost", "127.", "0.0.0.0", "[::1]"].iter().any(|it| contains_ignoring_case(code, it));
    // A proxy goes before every address, a server of names or a list of hosts says which machine one is, and settings may name
    // another.
    if !names_it
        || ["prox", "resolve", "etc/hosts", "curlrc", "curl_home"].iter().any(|it| contains_ignoring_case(code, it))
    {
        return None;
    }
    let (mut out, mut from) = (String::with_capacity(code.len()), 0);
    for command in commands.iter().filter(|it| stays(it)) {
        push_without_urls(&code[from..command.at.start], &mut out);
        from = command.at.end;
    }
    push_without_urls(&code[from..], &mut out);
    Some(without_devices(&out))
}

/// Code without the devices by which a shell connects to this machine.
fn without_devices(code: &str) -> String {
    const DEVICE: &str = "/dev/tcp/";
    let (mut out, mut rest) = (String::with_capacity(code.len()), code);
    while let Some(at) = rest.find(DEVICE) {
        let (before, target) = (&rest[..at], &rest[at + DEVICE.len()..]);
        let port = own_host(target).and_then(|it| it.strip_prefix('/')).unwrap_or_default();
        let behind = port.trim_start_matches(|it: char| it.is_ascii_digit());
        let is_own = behind.len() < port.len()
            && !behind.starts_with(|it: char| it.is_alphanumeric() || matches!(it, '.' | '-' | '_' | '$' | '`' | '\\'));
        out.push_str(before);
        out.push_str(if is_own { "" } else { DEVICE });
        rest = target;
    }
    out.push_str(rest);
    out
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|it| it.eq_ignore_ascii_case(part.as_bytes()))
}

/// Whether a command is a `curl` to this machine and nothing else, or asks whether one of its ports is open.
fn stays(command: &Command) -> bool {
    if !command.is_literal || !command.files.iter().all(|it| is_file(it)) {
        return false;
    }
    let mut words = command.words.iter().skip_while(|it| KEYWORDS.contains(&it.text.as_str()));
    match words.next().map(|it| it.text.as_str()) {
        // What answers there may go where it is told to: a browser that is driven, a proxy.
        Some("curl") => words.clone().all(|it| names_no_other(&it.text)) && asks(&mut words),
        Some(program) if PROBES.contains(&program) => {
            words.clone().all(|it| it.expands_from.is_none()) && probes(&mut words.map(|it| it.text.as_str()))
        }
        _ => false,
    }
}

/// Whether a `curl` with these words goes to this machine alone.
fn asks<'w>(words: &mut impl Iterator<Item = &'w Word>) -> bool {
    let mut reached = 0;
    while let Some(word) = words.next() {
        let mut is_value = || words.next().is_some_and(|it| it.expands_from.is_none());
        let known = if let Some(name) = word.text.strip_prefix("--") {
            LONG_BARE.contains(&name) || LONG_VALUED.contains(&name) && is_value()
        } else if let Some(letters) = word.text.strip_prefix('-') {
            let bare = letters.trim_start_matches(|it| BARE.contains(it));
            let mut rest = bare.chars();
            match rest.next() {
                None => !letters.is_empty(),
                Some(it) => VALUED.contains(it) && (!rest.as_str().is_empty() || is_value()),
            }
        } else {
            reached += 1;
            // The names of files that it stands for begin as it does.
            let head = word.expands_from.map(|it| own_path(&word.text[..it]));
            is_own(&word.text) && head.is_none_or(|it| it.is_some_and(|it| it.starts_with('/')))
        };
        if !known {
            return false;
        }
    }
    reached > 0
}

/// Whether an `nc` with these words only asks whether ports of this machine are open.
fn probes<'w>(words: &mut impl Iterator<Item = &'w str>) -> bool {
    let (mut only_asks, mut host) = (false, None);
    while let Some(word) = words.next() {
        let known = if let Some(letters) = word.strip_prefix('-') {
            let bare = letters.trim_start_matches(|it| "zvnu46".contains(it));
            only_asks |= letters[..letters.len() - bare.len()].contains('z');
            match bare.strip_prefix('w') {
                Some("") => words.next().is_some_and(is_number),
                Some(seconds) => is_number(seconds),
                None => bare.is_empty() && !letters.is_empty(),
            }
        } else if host.is_none() {
            host = Some(word);
            own_host(word) == Some("")
        } else {
            word.split('-').all(is_number)
        };
        if !known {
            return false;
        }
    }
    only_asks && host.is_some()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

/// Whether every URL in a text is of this machine.
fn names_no_other(text: &str) -> bool {
    let mut rest = String::new();
    push_without_urls(text, &mut rest);
    !rest.contains("://")
}

/// Whether an address, with or without a scheme, is one of this machine.
fn is_own(address: &str) -> bool {
    own_path(address).is_some_and(|rest| {
        // Readers of URLs disagree on what is before a `@` or behind a `\`.
        let is_plain = rest.starts_with('/') && !rest.starts_with("//") || !rest.contains('@');
        is_plain && !rest.contains('\\')
    })
}

/// What follows the host of an address, with or without a scheme, if that is this machine.
fn own_path(address: &str) -> Option<&str> {
    let behind = |it| strip_prefix_ignoring_case(address, it)?.strip_prefix("://");
    own_host(SCHEMES.into_iter().find_map(behind).unwrap_or(address))
}

/// Whether a text is an address of the web, and of another machine.
pub(super) fn is_elsewhere(text: &str) -> bool {
    let behind = |it| strip_prefix_ignoring_case(text, it)?.strip_prefix("://");
    ["https", "http"].into_iter().find_map(behind).is_some() && !text.contains(char::is_whitespace) && !is_own(text)
}

/// What follows a host of this machine and its port, where both end there.
fn own_host(text: &str) -> Option<&str> {
    let named = ["localhost", "0.0.0.0", "[::1]"].into_iter().find_map(|it| strip_prefix_ignoring_case(text, it));
    let rest = named.or_else(|| loopback_v4(text))?;
    let rest = match rest.strip_prefix(':') {
        Some(port) => {
            let behind = port.trim_start_matches(|it: char| it.is_ascii_digit());
            (behind.len() < port.len()).then_some(behind)?
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

/// What follows `127.x.y.z`.
fn loopback_v4(text: &str) -> Option<&str> {
    let end = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
    let address: core::net::Ipv4Addr = text[..end].parse().ok()?;
    address.is_loopback().then(|| &text[end..])
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Appends code without the schemes of URLs of this machine.
fn push_without_urls(code: &str, out: &mut String) {
    let mut rest = code;
    while let Some(at) = rest.find("://") {
        let (before, url) = (&rest[..at], &rest[at + 3..]);
        let head = &url[..url.floor_char_boundary(URL_MAX)];
        let end = head.find(|it: char| it.is_whitespace() || matches!(it, '"' | '\'' | '`' | '<' | '>' | ')'));
        let whole = end.or_else(|| (head.len() == url.len()).then_some(url.len())).map(|end| &head[..end]);
        let scheme = SCHEMES.into_iter().find(|it| ends_with_ignoring_case(before, it));
        match scheme.filter(|_| whole.is_some_and(is_own)) {
            Some(scheme) => out.push_str(&before[..before.len() - scheme.len()]),
            None => out.push_str(&rest[..at + 3]),
        }
        rest = url;
    }
    out.push_str(rest);
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    text.len().checked_sub(end.len()).and_then(|at| text.get(at..)).is_some_and(|it| it.eq_ignore_ascii_case(end))
}
