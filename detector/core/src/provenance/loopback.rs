//! What code sends to the machine that it runs on: an agent that tries the server that it works on sends nothing out.
//!
//! Read strictly, since it lets a call run: a `curl` of which every option is known and every address is of this machine, an `nc -z`
//! that asks for its ports, and its URLs and devices in other code. Whatever is not understood counts as sending, as without this.

use std::ops::Range;

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
/// What runs or opens something else within a command.
const INNER: [&str; 6] = ["$(", "`", "<(", ">(", "/dev/tcp", "/dev/udp"];
/// Bytes of a URL that are looked at: a longer one is none of this machine.
const URL_MAX: usize = 256;
/// What may stand before a command that is waited for.
const KEYWORDS: [&str; 6] = ["! ", "do ", "if ", "then ", "until ", "while "];
/// Programs that with `-z` send nothing.
const PROBES: [&str; 3] = ["nc ", "ncat ", "netcat "];

/// The code but for what stays on this machine: commands, and the schemes of URLs. `None` where nothing may.
pub(super) fn without(code: &str) -> Option<String> {
    let names_it = ["localhost", "127.", "0.0.0.0", "[::1]"].iter().any(|it| contains_ignoring_case(code, it));
    // A proxy goes before every address, a server of names or a list of hosts says which machine one is, and settings may name
    // another.
    if !names_it
        || ["prox", "resolve", "etc/hosts", "curlrc", "curl_home"].iter().any(|it| contains_ignoring_case(code, it))
    {
        return None;
    }
    let mut out = String::with_capacity(code.len());
    for command in commands(code) {
        let (text, end) = (&code[command.clone()], &code[command.end..]);
        if !stays(text) {
            push_without_urls(text, &mut out);
        }
        out.extend(end.chars().next());
    }
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

/// Where the commands of a script stand. One character is between two.
fn commands(code: &str) -> Vec<Range<usize>> {
    let (mut out, mut begin, mut quote, mut before) = (Vec::new(), 0, None, ' ');
    for (at, it) in code.char_indices() {
        let is_escaped = before == '\\' && quote != Some('\'');
        match quote {
            _ if is_escaped => {}
            Some(open) if it == open => quote = None,
            Some(_) => {}
            None if matches!(it, '"' | '\'') => quote = Some(it),
            // `2>&1` is none.
            None if matches!(it, ';' | '|' | '\n') || it == '&' && before != '>' => {
                out.push(begin..at);
                begin = at + 1;
            }
            None => {}
        }
        before = if is_escaped { ' ' } else { it };
    }
    out.push(begin..code.len());
    out
}

/// Whether a shell may make several words of one: of a variable outside quotes, of `"$@"`, of `$'…'`.
fn may_become_words(command: &str) -> bool {
    let is_name = |it: &str| it.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    let names_one = |behind: &str| match behind.strip_prefix('{').map(|it| it.split_once('}')) {
        Some(inner) => {
            inner.is_some_and(|(it, _)| is_name(it) && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_'))
        }
        None => is_name(behind),
    };
    let (mut quote, mut is_escaped) = (None, false);
    command.char_indices().any(|(at, it)| {
        match (quote, it) {
            _ if is_escaped => is_escaped = false,
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => is_escaped = true,
            (None, '\'' | '"') => quote = Some(it),
            (_, '$') => return quote.is_none() || !names_one(&command[at + 1..]),
            _ => {}
        }
        false
    })
}

/// Whether a command is a `curl` to this machine and nothing else, or asks whether one of its ports is open.
fn stays(command: &str) -> bool {
    let mut command = command.trim_start();
    while let Some(behind) = KEYWORDS.iter().find_map(|it| command.strip_prefix(it)) {
        command = behind.trim_start();
    }
    let is_probe = PROBES.iter().any(|it| command.starts_with(it));
    if !is_probe && !command.starts_with("curl ") {
        return false;
    }
    if INNER.iter().any(|it| command.contains(it)) || may_become_words(command) {
        return false;
    }
    let Some(words) = shlex::split(command) else { return false };
    let mut words = words.iter().skip(1).map(String::as_str);
    if is_probe { probes(&mut words) } else { asks(&mut words) }
}

/// Whether these are words of a redirection that goes to no address.
fn redirects<'w>(word: &str, words: &mut impl Iterator<Item = &'w str>) -> bool {
    matches!(word, "2>&1" | ">/dev/null" | "2>/dev/null" | "&>/dev/null")
        || matches!(word, ">" | ">>" | "2>") && words.next().is_some()
}

/// Whether a `curl` with these words goes to this machine alone.
fn asks<'w>(words: &mut impl Iterator<Item = &'w str>) -> bool {
    let mut reached = 0;
    while let Some(word) = words.next() {
        let known = if let Some(name) = word.strip_prefix("--") {
            LONG_BARE.contains(&name) || LONG_VALUED.contains(&name) && words.next().is_some()
        } else if let Some(letters) = word.strip_prefix('-') {
            let bare = letters.trim_start_matches(|it| BARE.contains(it));
            let mut rest = bare.chars();
            match rest.next() {
                None => !letters.is_empty(),
                Some(it) => VALUED.contains(it) && (!rest.as_str().is_empty() || words.next().is_some()),
            }
        } else if redirects(word, words) {
            true
        } else {
            reached += 1;
            is_own(word)
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
        } else if redirects(word, words) {
            true
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

/// Whether an address, with or without a scheme, is one of this machine.
fn is_own(address: &str) -> bool {
    let scheme = ["http://", "https://"].into_iter().find_map(|it| strip_prefix_ignoring_case(address, it));
    own_host(scheme.unwrap_or(address)).is_some_and(|rest| {
        // Readers of URLs disagree on what is before a `@` or behind a `\`.
        let is_plain = rest.starts_with('/') && !rest.starts_with("//") || !rest.contains('@');
        is_plain && !rest.contains('\\')
    })
}

/// Whether a text is an address of the web, and of another machine.
pub(super) fn is_elsewhere(text: &str) -> bool {
    let is_of_the_web = ["http://", "https://"].iter().any(|it| strip_prefix_ignoring_case(text, it).is_some());
    is_of_the_web && !text.contains(char::is_whitespace) && !is_own(text)
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
        let scheme = ["https", "http"].into_iter().find(|it| ends_with_ignoring_case(before, it));
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
