//! What an argument does for its tool, guessed from its name and, where that says nothing, from its value.

use std::sync::LazyLock;

/// Part an argument plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Where something goes: a recipient, a URL, an account.
    Destination,
    /// Which thing: an id.
    Handle,
    /// What is to run.
    Command,
    /// A short text that names something.
    Name,
    /// What is carried along.
    Content,
}

/// Words of argument names. The last word of a name decides, then the first.
const WORDS: &[(Role, &[&str])] = &[
    (
        Role::Destination,
        &[
            "to",
            "cc",
            "bcc",
            "recipient",
            "recipients",
            "url",
            "uri",
            "link",
            "href",
            "email",
            "emails",
            "iban",
            "host",
            "hostname",
            "domain",
            "endpoint",
            "webhook",
            "address",
            "addresses",
            "destination",
            "participants",
            "attendees",
            "invitees",
            "phone",
            "receiver",
            "beneficiary",
            "account",
            "owner",
            "remote",
            "callback",
        ],
    ),
    (
        Role::Handle,
        &["id", "ids", "uuid", "guid", "key", "number", "no", "code", "reference", "ref", "sku", "ticket", "token"],
    ),
    (
        Role::Command,
        &["command", "cmd", "script", "code", "shell", "sql", "python", "expression", "program", "exec", "commands"],
    ),
    (
        Role::Content,
        &[
            "body",
            "content",
            "contents",
            "text",
            "message",
            "html",
            "description",
            "data",
            "payload",
            "note",
            "notes",
            "comment",
            "summary",
            "prompt",
            "input",
            "markdown",
            "attachments",
            "thought",
            "answer",
            "reason",
        ],
    ),
    (
        Role::Name,
        &[
            "name",
            "title",
            "subject",
            "file",
            "filename",
            "path",
            "channel",
            "user",
            "username",
            "folder",
            "directory",
            "city",
            "hotel",
            "restaurant",
            "company",
            "person",
            "sender",
            "topic",
            "query",
            "label",
            "tag",
        ],
    ),
];

/// The longest of them, in bytes.
const WORD_BYTES_MAX: usize = 12;
/// Words of a name that are looked at.
const NAME_WORDS_MAX: usize = 6;

/// In order. A word that is in two lists is of the first.
static BY_WORD: LazyLock<Vec<(u128, Role)>> = LazyLock::new(|| {
    let all = WORDS.iter().flat_map(|(role, words)| words.iter().filter_map(|word| Some((number(word)?, *role))));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|it| it.0);
    all.dedup_by_key(|it| it.0);
    all
});

/// A short word in lower case as a number, which is compared at once where text is compared by a call.
fn number(word: &str) -> Option<u128> {
    let mut small = [0; size_of::<u128>()];
    small[..WORD_BYTES_MAX].get_mut(..word.len())?.copy_from_slice(word.as_bytes());
    small.make_ascii_lowercase();
    Some(u128::from_le_bytes(small))
}

/// Values longer than that are content unless their name says otherwise.
const NAME_MAX: usize = 80;

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Handle => "handle",
            Self::Command => "command",
            Self::Name => "name",
            Self::Content => "content",
        }
    }

    /// Of an argument by its name and value; `runs_code` when its tool runs what it is given.
    pub fn of(name: &str, value: &str, runs_code: bool) -> Self {
        let named = Self::of_name(name);
        match named {
            Some(Self::Handle) if runs_code && value.len() > NAME_MAX => Self::Command,
            Some(role) => role,
            None if is_address(value) => Self::Destination,
            None if runs_code => Self::Command,
            None if value.len() <= NAME_MAX => Self::Name,
            None => Self::Content,
        }
    }

    /// What the name alone says: its last word, or else its first.
    pub fn of_name(name: &str) -> Option<Self> {
        if name.bytes().all(|it| it.is_ascii_lowercase()) {
            return Self::of_word(name);
        }
        let mut words = Words { name, at: 0 }.take(NAME_WORDS_MAX);
        let first = words.next()?;
        words.last().and_then(Self::of_word).or_else(|| Self::of_word(first))
    }

    fn of_word(word: &str) -> Option<Self> {
        let at = BY_WORD.binary_search_by_key(&number(word)?, |it| it.0).ok()?;
        Some(BY_WORD[at].1)
    }
}

/// Words of `snake_case`, `kebab-case` and `camelCase`.
struct Words<'n> {
    name: &'n str,
    at: usize,
}

impl<'n> Iterator for Words<'n> {
    type Item = &'n str;

    fn next(&mut self) -> Option<&'n str> {
        let rest = self.name.as_bytes().get(self.at..)?;
        let from = self.at + rest.iter().position(u8::is_ascii_alphanumeric)?;
        let mut before = b' ';
        let ends = |it: &u8| {
            let begins_another = it.is_ascii_uppercase() && before.is_ascii_lowercase();
            before = *it;
            begins_another || !it.is_ascii_alphanumeric()
        };
        let bytes = &self.name.as_bytes()[from..];
        self.at = from + bytes.iter().position(ends).unwrap_or(bytes.len());
        self.name.get(from..self.at)
    }
}

/// An e-mail address, a URL or a bare host with a path.
pub(super) fn is_address(value: &str) -> bool {
    // Asked for bytes that are in few values first: most are no address, and all the rest takes longer.
    let may_be =
        value.len() <= 2048 && (value.bytes().any(|it| matches!(it, b'@' | b':')) || value.starts_with("www."));
    if !may_be {
        return false;
    }
    let one_word = !value.contains(char::is_whitespace);
    let mail = value.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    // In threes: values are short, and a searcher would take longer to make than to use.
    one_word && (mail || value.as_bytes().windows(3).any(|it| it == b"://") || value.starts_with("www."))
}

#[cfg(test)]
mod tests {
    use super::{Role, WORD_BYTES_MAX, WORDS};

    #[test]
    fn every_word_has_the_role_of_the_first_list_it_is_in() {
        let mut known: Vec<&str> = Vec::new();
        for (role, words) in WORDS {
            for word in *words {
                assert!(word.len() <= WORD_BYTES_MAX, "{word}");
                if !known.contains(word) {
                    assert_eq!(Role::of_name(&word.to_uppercase()), Some(*role), "{word}");
                    known.push(word);
                }
            }
        }
    }

    #[test]
    fn names_then_values() {
        for (name, value, runs_code, expected) in [
            ("recipient", "x", false, Role::Destination),
            ("recipientEmail", "x", false, Role::Destination),
            ("file_id", "13", false, Role::Handle),
            ("id_", "13", false, Role::Handle),
            ("event-id", "13", false, Role::Handle),
            ("command", "ls", true, Role::Command),
            ("code", "E17", false, Role::Handle),
            ("body", "x", false, Role::Content),
            ("channel", "general", false, Role::Name),
            ("whatever", "ada@example.com", false, Role::Destination),
            ("whatever", "https://example.com/a", false, Role::Destination),
            ("whatever", "Lily White", false, Role::Name),
            ("whatever", "rm -rf /", true, Role::Command),
            ("", "", false, Role::Name),
        ] {
            assert_eq!(Role::of(name, value, runs_code), expected, "{name} = {value}");
        }
        assert_eq!(Role::of("whatever", &"word ".repeat(40), false), Role::Content);
    }
}
