//! A guess from the name, and from how a definition begins, for tools nobody has described. It says so
//! (`tool.source == "heuristic"`).

use super::{Flags, Tool};
use crate::provenance::fold;

/// Verbs and nouns, what they suggest, and the privilege level. The strongest word of a name wins the level; flags add up.
const WORDS: &[(&[&str], Flags, u8)] = &[
    (
        &[
            "get",
            "list",
            "search",
            "read",
            "find",
            "fetch",
            "lookup",
            "query",
            "show",
            "view",
            "describe",
            "count",
            "check",
            "calculate",
            "think",
            "browse",
            "grep",
            "cat",
            "ls",
        ],
        Flags(Flags::READ_ONLY.0 | Flags::IDEMPOTENT.0),
        1,
    ),
    (
        &[
            "create", "add", "write", "update", "edit", "set", "insert", "append", "modify", "move", "rename", "book",
            "save", "put", "patch", "replace",
        ],
        Flags::NONE,
        2,
    ),
    (
        &[
            "send", "post", "email", "mail", "http", "https", "upload", "transfer", "publish", "webhook", "sms",
            "tweet", "message", "notify", "invite", "share", "pay", "payment", "wire", "curl", "request", "forward",
            "reply", "push",
        ],
        Flags::OPEN_WORLD,
        3,
    ),
    (&["web", "webpage", "url", "browser", "internet", "wikipedia"], Flags::OPEN_WORLD, 1),
    (
        &[
            "delete",
            "remove",
            "drop",
            "destroy",
            "erase",
            "purge",
            "truncate",
            "wipe",
            "kill",
            "terminate",
            "cancel",
            "revoke",
            "overwrite",
            "rm",
        ],
        Flags::DESTRUCTIVE,
        3,
    ),
    (
        &["exec", "execute", "run", "command", "code", "admin", "grant", "deploy"],
        Flags(Flags::DESTRUCTIVE.0 | Flags::OPEN_WORLD.0),
        4,
    ),
    (&INTERPRETERS, Flags(Flags::DESTRUCTIVE.0 | Flags::OPEN_WORLD.0), 4),
];

/// What runs whatever it is given, under any name of an argument.
const INTERPRETERS: [&str; 15] = [
    "bash",
    "eval",
    "ipython",
    "powershell",
    "pwsh",
    "python",
    "repl",
    "sh",
    "shell",
    "ssh",
    "subprocess",
    "sudo",
    "terminal",
    "tmux",
    "zsh",
];

/// Nouns of what strangers write, in either number. Some are of things inside too: a company's tickets are its customers' words.
const NOUNS_OUTSIDE: [&str; 37] = [
    "article",
    "attachment",
    "blog",
    "channel",
    "chat",
    "comment",
    "conversation",
    "discussion",
    "dm",
    "email",
    "feed",
    "feedback",
    "forum",
    "inbox",
    "invitation",
    "issue",
    "mail",
    "mailbox",
    "mention",
    "message",
    "news",
    "newsletter",
    "notification",
    "page",
    "post",
    "pr",
    "reply",
    "request",
    "review",
    "rss",
    "sms",
    "thread",
    "ticket",
    "transcript",
    "tweet",
    "website",
    "wiki",
];
/// What reads nothing else.
const READERS_OUTSIDE: [&str; 7] = ["browse", "crawl", "navigate", "playwright", "puppeteer", "scrape", "selenium"];
/// Verbs that are said of things inside as well: alone they are of the web.
const READERS_ALONE: [&str; 3] = ["download", "fetch", "visit"];

/// Whole names of what runs code, behind that of a server, of words that say nothing of the kind in other names.
const SHELLS: [&[&str]; 18] = [
    &["browser", "evaluate"],
    &["cmd"],
    &["evaluate", "script"],
    &["interpreter"],
    &["javascript"],
    &["javascript", "tool"],
    &["jupyter"],
    &["jupyter", "cell"],
    &["launch", "process"],
    &["node"],
    &["page", "evaluate"],
    &["playwright", "evaluate"],
    &["process", "start"],
    &["puppeteer", "evaluate"],
    &["send", "keys"],
    &["start", "process"],
    &["write", "stdin"],
    &["write", "to", "stdin"],
];

pub(super) fn classify(name: &str) -> Tool {
    let plain = fold::plain(name);
    let name = String::from_utf8_lossy(&plain);
    let own = own_name(&name);
    let (flags, level) = suggested(words(&name).chain(is_interpreter_by_whole_name(own).then_some("shell")));
    Tool::guessed(flags | outside_of(&name, level), level)
}

/// Whether a name says that its tool gives what strangers write.
pub(super) fn outside(name: &str) -> Flags {
    let plain = fold::plain(name);
    let name = String::from_utf8_lossy(&plain);
    outside_of(&name, suggested(words(&name)).1)
}

fn outside_of(name: &str, level: u8) -> Flags {
    if level <= 1 && is_outside(name, own_name(name), level) { Flags::OUTSIDE } else { Flags::NONE }
}

/// A name without that of its server.
fn own_name(name: &str) -> &str {
    let own = name.rsplit("__").next().unwrap_or_default();
    own.strip_suffix(".exe").unwrap_or(own).rsplit(['.', '/', ':']).next().unwrap_or_default()
}

fn is_interpreter_by_whole_name(own: &str) -> bool {
    SHELLS.iter().any(|it| words(own).map(str::to_ascii_lowercase).eq(it.iter().copied()))
}

/// Words that say that something is run.
const RUNS: [&str; 7] = ["cmd", "command", "commands", "exec", "execute", "interpreter", "run"];
/// Words beside them that say nothing else.
const OF_RUNNING: [&str; 25] = [
    "args",
    "block",
    "browser",
    "cell",
    "cmd",
    "code",
    "command",
    "commands",
    "exec",
    "execute",
    "function",
    "in",
    "insert",
    "interpreter",
    "javascript",
    "js",
    "jupyter",
    "node",
    "notebook",
    "process",
    "program",
    "run",
    "script",
    "shell",
    "snippet",
];

/// Whether the name of a tool says that it runs whatever it is given: an interpreter, or nothing but that something is run. Not the name
/// of its server, which has tools of other kinds too. `execute_sql`, `write_code_file` and `deploy_service` may run something as well,
/// but most of what they are given is no code.
pub(crate) fn is_interpreter(name: &str) -> bool {
    let plain = fold::plain(name);
    let name = String::from_utf8_lossy(&plain);
    let own = own_name(&name);
    let is_of = |list: &[&str], word: &str| list.iter().any(|it| it.eq_ignore_ascii_case(word));
    is_interpreter_by_whole_name(own)
        || words(own).any(|it| is_of(&INTERPRETERS, it))
        || words(own).any(|it| is_of(&RUNS, it)) && words(own).all(|it| it.is_empty() || is_of(&OF_RUNNING, it))
}

/// Whether what only reads gives what strangers write: what writes gives back what the agent wrote.
fn is_outside(name: &str, own: &str, level: u8) -> bool {
    let is_of = |list: &[&str], word: &str| forms(&word.to_ascii_lowercase()).any(|it| list.contains(&it.as_str()));
    let mut of_own = words(own).filter(|it| !it.is_empty());
    let (first, is_alone) = (of_own.next(), of_own.next().is_none());
    // Not of its server, which has tools of other kinds too.
    let tool = name.rsplit("__").next().unwrap_or_default();
    // Where no word says that it reads, a noun at the beginning is a verb: `issue_refund`.
    let verb = first.filter(|_| level == 0 && !is_alone);
    words(name).any(|it| is_of(&READERS_OUTSIDE, it))
        || words(tool).any(|it| Some(it) != verb && is_of(&NOUNS_OUTSIDE, it))
        || is_alone && first.is_some_and(|it| is_of(&READERS_ALONE, it))
}

fn suggested<'w>(words: impl Iterator<Item = &'w str>) -> (Flags, u8) {
    let (mut flags, mut level) = (Flags::NONE, 0);
    for word in words {
        for (known, suggests, at) in WORDS {
            if known.iter().any(|it| it.eq_ignore_ascii_case(word)) {
                flags |= *suggests;
                level = level.max(*at);
            }
        }
    }
    // "get_and_delete" is no reader, and "send_money" with "get" in it is none either.
    if level > 1 {
        flags = flags.without(Flags::READ_ONLY | Flags::IDEMPOTENT);
    }
    (flags, level)
}

/// What a description begins with before it says what the tool does.
const OPENERS: [&str; 16] = [
    "allows", "api", "can", "function", "is", "it", "lets", "method", "that", "this", "to", "tool", "use", "used",
    "will", "you",
];
/// Before one of those. Before any other word they begin the name of a thing: "The mail of a user".
const ARTICLES: [&str; 3] = ["a", "an", "the"];
/// Words of a description that are looked at.
const DESCRIPTION_WORDS_MAX: usize = 24;

/// What a description suggests by the verb that it begins with, and those beside that: "Sends an email", "Creates, updates or
/// deletes". Not by every word: in prose "get the zip code" and "list messages" would run code and reach out.
pub(super) fn of_description(text: &str) -> (Flags, u8) {
    let mut verbs: Vec<String> = Vec::new();
    let (mut goes_on, mut article) = (true, false);
    let is_of = |list: &[&str], token: &str| list.iter().any(|it| it.eq_ignore_ascii_case(token));
    for token in text.split_whitespace().take(DESCRIPTION_WORDS_MAX) {
        if verbs.is_empty() && (is_of(&OPENERS, token) || !article && is_of(&ARTICLES, token)) {
            article = is_of(&ARTICLES, token);
            continue;
        }
        if !verbs.is_empty() && matches!(token, "and" | "or" | "then" | "&") {
            goes_on = true;
            continue;
        }
        if !goes_on || article {
            break;
        }
        words(token).filter(|it| !it.is_empty()).for_each(|it| verbs.extend(forms(&it.to_ascii_lowercase())));
        goes_on = token.ends_with([',', '/']);
    }
    suggested(verbs.iter().map(String::as_str))
}

/// A verb as it stands in the list, where it may be in the third person.
fn forms(word: &str) -> impl Iterator<Item = String> {
    let of_y = word.strip_suffix("ies").map(|it| format!("{it}y"));
    let shorter = ["s", "es"].map(|it| word.strip_suffix(it).map(str::to_owned));
    [Some(word.to_owned()), of_y].into_iter().chain(shorter).flatten()
}

/// Words of `snake_case`, `kebab-case`, `dotted.names` and `camelCase`.
pub(crate) fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|it: char| !it.is_ascii_alphanumeric()).flat_map(|part| {
        let bytes = part.as_bytes();
        let mut from = 0;
        let starts = move |at: usize| bytes[at].is_ascii_uppercase() && bytes[at - 1].is_ascii_lowercase();
        let ends = (1..bytes.len()).filter(move |at| starts(*at)).chain(std::iter::once(bytes.len()));
        ends.map(move |to| {
            let word = &part[from..to];
            from = to;
            word
        })
    })
}
