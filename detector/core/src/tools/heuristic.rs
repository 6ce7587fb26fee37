//! A guess from the name, for tools nobody has described. It says so (`tool.source == "heuristic"`).

use super::{Flags, Tool};

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
            "save", "put", "patch",
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
        &[
            "exec", "execute", "run", "bash", "shell", "sh", "terminal", "command", "python", "eval", "code", "sudo",
            "admin", "grant", "deploy", "ssh",
        ],
        Flags(Flags::DESTRUCTIVE.0 | Flags::OPEN_WORLD.0),
        4,
    ),
];

pub(super) fn classify(name: &str) -> Tool {
    let (mut flags, mut level) = (Flags::NONE, 0);
    for word in words(name) {
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
    Tool::guessed(flags, level)
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
