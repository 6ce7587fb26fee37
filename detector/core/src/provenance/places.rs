//! Where the arguments of a call may lead: the one reading for whoever lets a call go because its address is known.
//!
//! Whether a name with a dot is a host or a file cannot be told by looking at it. Here a place that is not seen lets a call
//! run, so whatever may be one is one, but for the endings of files that end no host. Nothing is found because of it alone.

use martingale_schemas::{Step, StepId};

use super::index::Index;
use super::role::{self, Role};
use super::{fold, loopback, walk};
use crate::tools::words;

/// Words of names under which stands where a call goes, beside those that [`Role`] knows: whatever the value is.
const PLACES: [&str; 52] = [
    "attendee",
    "beneficiaries",
    "broker",
    "bucket",
    "buckets",
    "channel",
    "channels",
    "chat",
    "creditor",
    "debtor",
    "dest",
    "dst",
    "forward",
    "gateway",
    "group",
    "groups",
    "inbox",
    "invitee",
    "ip",
    "mailbox",
    "member",
    "members",
    "mirror",
    "network",
    "participant",
    "payee",
    "peer",
    "peers",
    "proxies",
    "proxy",
    "queue",
    "registry",
    "relay",
    "relays",
    "repo",
    "repository",
    "room",
    "rooms",
    "server",
    "servers",
    "sink",
    "site",
    "smtp",
    "socket",
    "subscriber",
    "subscribers",
    "target",
    "targets",
    "topic",
    "upstream",
    "via",
    "wallet",
];

/// Names under which a name with a dot is that of a file.
const OF_FILES: [&str; 7] = ["attachment", "attachments", "directory", "file", "filename", "folder", "path"];

/// Endings of files that no host on the Internet has. Of `md`, `py`, `sh`, `rs` and `zip` there are hosts.
const FILE_ENDINGS: [&str; 58] = [
    "bak", "bmp", "bz2", "cfg", "conf", "cpp", "css", "csv", "dll", "doc", "docx", "eml", "env", "exe", "gif", "gz",
    "htm", "html", "ics", "ini", "ipynb", "jar", "jpeg", "jpg", "js", "json", "jsonl", "jsx", "lock", "log", "mp3",
    "mp4", "odp", "ods", "odt", "parquet", "pdf", "png", "ppt", "pptx", "rtf", "sql", "svg", "tar", "tex", "tgz",
    "tiff", "tmp", "toml", "tsv", "tsx", "txt", "wav", "webp", "xls", "xlsx", "xml", "yaml",
];

/// Calls `visit` with each place that the value at a path may lead to, as it stands there; whether the whole of it is one.
pub(super) fn of<'t>(path: &str, text: &'t str, visit: &mut impl FnMut(&'t str)) -> bool {
    let text = text.trim();
    let name = path.rsplit('.').next().unwrap_or(path).trim_end_matches("[*]");
    let is_carried = Role::of_name(name) == Some(Role::Content);
    if role::is_address(text) || !is_carried && names_place(path) {
        visit(text);
        return true;
    }
    // Prose names places that it does not go to.
    if !is_carried || !text.contains(char::is_whitespace) {
        let is_file = OF_FILES.contains(&name);
        // Lists, names with addresses, headers and options, under whatever name: each goes there too.
        text.split(is_between).filter(|it| is_place(it, is_file)).for_each(visit);
    }
    false
}

/// Last words of a name that say by what it names a place.
const BY: [&str; 8] = ["code", "id", "ids", "name", "names", "number", "numbers", "path"];

/// Whether some name on the path is that of a place: `recipient.id` is one, and so are `recipient_id` and `hosts`.
fn names_place(path: &str) -> bool {
    path.split('.').map(|it| it.trim_end_matches("[*]")).any(is_of_place)
}

fn is_of_place(name: &str) -> bool {
    let is_listed = |word: &str| PLACES.iter().any(|it| it.eq_ignore_ascii_case(word));
    let is_role = |word: &str| Role::of_name(word) == Some(Role::Destination);
    if is_role(name) || words(name).any(is_listed) {
        return true;
    }
    let last = words(name).last().unwrap_or_default();
    let is_plural = last.strip_suffix(['s', 'S']).is_some_and(|it| is_role(it) || is_listed(it));
    // `to` is as often a word between others.
    let is_before = |word: &str| is_role(word) && !word.eq_ignore_ascii_case("to");
    is_plural || BY.iter().any(|it| it.eq_ignore_ascii_case(last)) && words(name).any(is_before)
}

/// What stands between the places of a text.
fn is_between(it: char) -> bool {
    it.is_whitespace()
        || matches!(it, ',' | ';' | '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | '"' | '\'' | '`' | '=' | '|' | '&')
}

/// Whether a text may name a place, however its characters are written.
fn is_place(text: &str, is_file: bool) -> bool {
    // Most words have nothing that a place has.
    if text.is_ascii() && !text.contains(['.', ':', '@']) {
        return false;
    }
    let plain = fold::plain(text);
    String::from_utf8_lossy(&plain).split(is_between).any(|it| leads(it, is_file))
}

fn leads(text: &str, is_file: bool) -> bool {
    let text = text.trim_end_matches(['.', ':', '!', '?']);
    // Somebody (`ada@host`, `@ada`), or a scheme.
    if text.contains('@') && text.len() > 1 || text.contains("://") {
        return true;
    }
    let is_local = text.starts_with(['/', '\\']) && !text.starts_with("//") && !text.starts_with("\\\\");
    let text = text.trim_start_matches(['/', '\\']);
    let host = text.split(['/', '\\', '?', '#']).next().unwrap_or(text);
    if is_local || host.is_empty() {
        return false;
    }
    if is_ipv6(host) {
        return true;
    }
    let (host, behind) = host.split_once(':').map_or((host, None), |(host, behind)| (host, Some(behind)));
    let is_number = |it: &str| !it.is_empty() && it.len() <= 5 && it.bytes().all(|it| it.is_ascii_digit());
    let is_ipv4 = host.split('.').count() == 4 && host.split('.').all(is_number);
    // Hours have no letters.
    let is_port = |it: &str| is_number(it) && it.len() > 1 && host.contains(char::is_alphabetic);
    let is_scheme = matches!(host, "mailto" | "sip" | "sips" | "sms" | "tel" | "xmpp");
    is_ipv4
        || behind.is_some_and(|it| is_scheme && !it.is_empty() || is_port(it))
        || is_host(host) && (behind.is_some() || !is_file)
}

/// Labels with dots, of which the last is of letters.
fn is_host(text: &str) -> bool {
    let Some((labels, last)) = text.rsplit_once('.') else { return false };
    let is_label = |it: &str| !it.is_empty() && it.chars().all(|it| it.is_alphanumeric() || matches!(it, '-' | '_'));
    let is_last = last.chars().nth(1).is_some() && last.chars().all(char::is_alphabetic) || last.starts_with("xn--");
    let is_ending = FILE_ENDINGS.iter().any(|it| it.eq_ignore_ascii_case(last));
    is_last && !is_ending && labels.split('.').all(is_label)
}

/// Eight groups of hexadecimal digits, or fewer where `::` stands for some. What has fewer colons is an hour.
fn is_ipv6(text: &str) -> bool {
    let text = text.split('%').next().unwrap_or(text);
    let has_digit = text.bytes().any(|it| it.is_ascii_hexdigit());
    let colons = text.bytes().filter(|it| *it == b':').count();
    has_digit
        && (text.contains("::") || colons == 7)
        && text.bytes().all(|it| it.is_ascii_hexdigit() || matches!(it, b':' | b'.'))
}

/// Steps of the path of an address that are looked at.
const AROUND_MAX: usize = 8;

/// The host of an address and all that it lies in: `a.test`, `a.test/b` and `a.test/b/c` of `https://u@a.test:80/b/c?d`.
fn around(place: &str) -> Vec<String> {
    let plain = fold::plain(place);
    let text = String::from_utf8_lossy(&plain);
    let (is_url, rest) = match text.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, text.trim_start_matches(['/', '\\'])),
    };
    let rest = rest.strip_prefix("mailto:").unwrap_or(rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = if is_url { host.rsplit('@').next().unwrap_or(host) } else { host };
    let mut whole = host.split(':').next().unwrap_or(host).to_owned();
    let mut out = vec![whole.clone()];
    for part in path.split('/').filter(|it| !it.is_empty()).take(AROUND_MAX) {
        whole.push('/');
        whole.push_str(part);
        out.push(whole.clone());
    }
    out
}

/// Calls `visit` with each place that a call may go to, in any of its values or names.
fn of_call(step: &Step<'_>, visit: &mut impl FnMut(&str)) {
    let Some(input) = step.input.as_ref() else { return };
    walk::all_leaves_and_names(input.get(), 3, &mut |leaf| match leaf.is_name {
        true if is_place(leaf.text, false) => visit(leaf.text),
        true => {}
        false => _ = of(leaf.path, leaf.text, &mut |it| visit(it)),
    });
}

/// Whether some value of a call is an address of the web, as a whole: one that text mentions was not read there.
pub(crate) fn is_of_the_web(step: &Step<'_>) -> bool {
    // Most calls have none.
    let input = step.input.as_ref().map(|it| it.get()).filter(|it| it.contains("//") || it.contains('\\'));
    let mut is = false;
    input.is_some_and(|it| {
        walk::leaves(it, &mut |leaf| is = is || loopback::is_elsewhere(leaf.text.trim()));
        is
    })
}

impl Index {
    /// Whether a call may go anywhere that neither user nor operator named.
    pub(crate) fn strays(&self, step: &Step<'_>) -> bool {
        let mut strays = step.input.is_some() && step.input_cut.is_some();
        of_call(step, &mut |it| strays = strays || !self.is_authored(it));
        strays
    }

    /// A place that a call may go to and that anybody could have named, while neither user nor operator did, nor what it lies in;
    /// and the step that read it.
    pub(crate) fn lure(&self, step: &Step<'_>) -> Option<(String, StepId<'static>)> {
        let mut lure = None;
        of_call(step, &mut |place| {
            if lure.is_some() || self.is_authored(place) {
                return;
            }
            let around = around(place);
            if !around.iter().any(|it| self.is_authored(it)) {
                let read = std::iter::once(place).chain(around.iter().map(String::as_str));
                lure = read.into_iter().find_map(|it| Some((it.to_owned(), self.strangers(it)?.clone())));
            }
        });
        lure
    }
}

#[cfg(test)]
mod tests {
    use super::{around, is_place, names_place, of};

    #[test]
    fn what_may_be_a_place() {
        for (text, expected) in [
            ("eve@evil.test", true),
            ("eve\u{ff20}evil.test", true),
            ("eve@evil", true),
            ("@eve", true),
            ("@", false),
            ("evil.test", true),
            ("EVIL.TEST.", true),
            ("evil\u{3002}test", true),
            ("evil\u{200b}.test", true),
            ("b\u{fc}cher.example", true),
            ("a.xn--p1ai", true),
            ("evil.test:3128", true),
            ("evil.test:/srv/x", true),
            ("evil.test/x", true),
            ("//evil.test/x", true),
            (r"\\evil.test\share", true),
            ("localhost:3000", true),
            ("203.0.113.9", true),
            ("203.0.113.9:80", true),
            ("2001:db8::9", true),
            ("::1", true),
            ("2001:db8:0:0:0:0:0:9", true),
            ("fe80::1%eth0", true),
            ("mailto:eve", true),
            ("notes.md", true),
            ("report.pdf", false),
            ("src/main.rs", false),
            ("/etc/evil.test", false),
            ("./evil.test", false),
            ("12:30:45", false),
            ("12:30", false),
            ("::", false),
            ("aa:bb:cc:dd:ee:ff", false),
            ("12.50", false),
            ("v1.2.3", false),
            ("e.g.", false),
            ("word", false),
            ("", false),
        ] {
            assert_eq!(is_place(text, false), expected, "{text}");
        }
        for (text, expected) in [("notes.md", false), ("evil.test", false), ("evil.test:80", true), ("10.0.0.1", true)]
        {
            assert_eq!(is_place(text, true), expected, "{text} as a file");
        }
    }

    #[test]
    fn places_of_values() {
        for (path, text, whole, expected) in [
            ("o", "--proxy evil.test -v", false, "evil.test"),
            ("o", "--proxy=evil.test, b@c.test", false, "evil.test b@c.test"),
            ("o", "--proxy=evil.test,b@c.test", true, "--proxy=evil.test,b@c.test"),
            ("o", "[2001:db8::9]:443", false, "2001:db8::9"),
            ("server", "db 7", true, "db 7"),
            ("smtp_server[*]", "x", true, "x"),
            ("recipient.id", "U-7", true, "U-7"),
            ("body", "write to eve@evil.test", false, ""),
            ("body", "evil.test", false, "evil.test"),
            ("body.to", "x", true, "x"),
            ("data", "https://evil.test/x", true, "https://evil.test/x"),
            ("path", "notes.md", false, ""),
            ("list[*]", "evil.test", false, "evil.test"),
            ("subject", "Lunch at 12:30, see menu.pdf", false, ""),
        ] {
            let mut places = Vec::new();
            assert_eq!(of(path, text, &mut |it| places.push(it)), whole, "{path}: {text}");
            assert_eq!(places.join(" "), expected, "{path}: {text}");
        }
    }

    #[test]
    fn what_a_place_lies_in() {
        for (place, expected) in [
            ("https://u:p@a.test:80/b//c/?d#e", "a.test a.test/b a.test/b/c"),
            ("a.test?d", "a.test"),
            ("//a.test/b", "a.test a.test/b"),
            ("mailto:eve@a.test", "eve@a.test"),
            ("u@a.test:/srv", "u@a.test u@a.test/srv"),
            ("\u{ff41}.test/b", "a.test a.test/b"),
            ("", ""),
            ("://", ""),
        ] {
            assert_eq!(around(place).join(" "), expected, "{place}");
        }
    }

    #[test]
    fn names_of_places() {
        for (path, expected) in [
            ("to", true),
            ("recipients[*].id", true),
            ("recipient.id", true),
            ("bucketName", true),
            ("http_proxy", true),
            ("Channel", true),
            ("body", false),
            ("a.b", false),
            ("", false),
        ] {
            assert_eq!(names_place(path), expected, "{path}");
        }
    }
}
