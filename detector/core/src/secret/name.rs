//! What the name of a value says of it.

use crate::tools::words;

/// Names under which a value is secret, in lower case without separators; matched at the end of the name.
pub(super) const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "secretkey",
    "privatekey",
    "accesstoken",
    "authtoken",
    "clientsecret",
    "securitycode",
    "pincode",
    "bearertoken",
    "refreshtoken",
    "signingkey",
    "encryptionkey",
    "accesskey",
    "pwd",
    "requirepass",
    // In other languages.
    "adgangskode",
    "contrasena",
    "haslo",
    "heslo",
    "kennwort",
    "losenord",
    "passord",
    "passwort",
    "senha",
    "wachtwoord",
];

/// The end of a name under which there is a secret, or the name of a resource that holds one.
const RESOURCE: &[&str] = &["secret"];

/// Names that hint at one: the value must look random as well.
pub(super) const HINTS: &[&str] =
    &["token", "key", "auth", "authorization", "bearer", "credential", "credentials", "pass"];

/// Ends of names that hint at none: places in a list, keys that everybody may know, keys of records, and what a form sends back to who
/// gave it.
pub(super) const OTHERS: &[&str] = &[
    "cachekey",
    "continuationtoken",
    "csrfmiddlewaretoken",
    "csrftoken",
    "deltatoken",
    "doctoken",
    "filekey",
    "filetoken",
    "foldertoken",
    "foreignkey",
    "idempotencykey",
    "nextkey",
    "nexttoken",
    "nodetoken",
    "objectkey",
    "objtoken",
    "pagetoken",
    "paginationtoken",
    "partitionkey",
    "primarykey",
    "publickey",
    "publishablekey",
    "resourcekey",
    "resumetoken",
    "sequencetoken",
    "sitekey",
    "skiptoken",
    "sortkey",
    "startingtoken",
    "synctoken",
    "xsrftoken",
];

/// Words of a name that say what a token is for which a tool gives to have it back: a place in a list, work that goes on, an offer, a step of
/// somebody's that is to happen once.
const TOKENS_GIVEN_BACK: &[&str] = &[
    "batch",
    "booking",
    "cancellation",
    "change",
    "changes",
    "checkpoint",
    "confirm",
    "confirmation",
    "continuation",
    "continue",
    "cursor",
    "dedup",
    "deduplication",
    "delta",
    "departure",
    "draft",
    "fencing",
    "form",
    "hold",
    "idempotency",
    "job",
    "lease",
    "lock",
    "next",
    "offer",
    "operation",
    "order",
    "page",
    "pagination",
    "poll",
    "polling",
    "prev",
    "previous",
    "property",
    "quote",
    "request",
    "reservation",
    "resume",
    "resumption",
    "return",
    "scroll",
    "search",
    "section",
    "sequence",
    "skip",
    "start",
    "starting",
    "story",
    "sync",
    "task",
    "topic",
    "topics",
    "upload",
];

/// The same of a key: of what a store or a list has something under it.
const KEYS_GIVEN_BACK: &[&str] = &[
    "attachment",
    "blob",
    "cache",
    "conversation",
    "dedup",
    "deduplication",
    "document",
    "event",
    "file",
    "folder",
    "foreign",
    "idempotency",
    "image",
    "issue",
    "item",
    "last",
    "media",
    "message",
    "next",
    "object",
    "page",
    "partition",
    "primary",
    "project",
    "record",
    "request",
    "resource",
    "row",
    "s3",
    "sort",
    "start",
    "task",
    "thread",
    "upload",
];

/// Names that make a secret of what stands under them in the query of a link, by their ends.
const IN_LINKS: &[&str] = &["apikey", "clientsecret", "passphrase", "passwd", "password"];

/// Last words of a name that say for what the value is, and not what it is; a number does too.
const QUALIFIERS: &[&str] =
    &["base", "default", "dev", "live", "main", "new", "old", "prod", "production", "staging", "test"];

/// What there are passes for.
const PASSES: &[&str] = &["boarding", "bus", "day", "guest", "lift", "rail", "season", "ski", "travel", "visitor"];

/// What a name says of the value under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Telling {
    Nothing,
    /// It may be secret, if it looks so: [`HINTS`].
    Hint,
    /// It is, unless it is the name of what holds one: [`RESOURCE`].
    Resource,
    /// It is, if it looks chosen: [`NAMES`]. Whatever looks random does.
    Name,
}

/// Longest of all names that are known.
pub(super) const NAME_MAX: usize = 19;
/// Bytes of the end of a name that are looked at: all that stands in a list is under the same name, which may be as long as that.
const NAME_END: usize = 256;

impl Telling {
    pub(super) fn of(name: &[u8]) -> Self {
        // Where the shell is and was.
        if matches!(name, b"PWD" | b"OLDPWD") || is_key(name) {
            return Self::Nothing;
        }
        match Self::by_end(name) {
            Self::Nothing if is_short(name) => Self::Name,
            Self::Nothing => unqualified(name).map_or(Self::Nothing, Self::by_end),
            Self::Hint if is_pass(name) => Self::Name,
            it => it,
        }
    }

    fn by_end(name: &[u8]) -> Self {
        let mut letters = [0; NAME_MAX];
        let letters = last_letters(name, &mut letters);
        let ends_with = |known: &[&str]| ends_with(letters, known);
        if ends_with(NAMES) {
            Self::Name
        } else if ends_with(RESOURCE) {
            Self::Resource
        } else if ends_with(HINTS) && !ends_with(OTHERS) && !is_given_back(name) {
            Self::Hint
        } else {
            Self::Nothing
        }
    }
}

/// The last letters and digits of a name, backwards: read once, and compared with each that is known.
fn last_letters<'l>(name: &[u8], letters: &'l mut [u8; NAME_MAX]) -> &'l [u8] {
    let mut length = 0;
    for (to, it) in letters.iter_mut().zip(name.iter().rev().take(NAME_END).filter(|it| it.is_ascii_alphanumeric())) {
        *to = it.to_ascii_lowercase();
        length += 1;
    }
    &letters[..length]
}

fn ends_with(letters: &[u8], known: &[&str]) -> bool {
    known.iter().any(|it| it.len() <= letters.len() && it.bytes().rev().zip(letters).all(|(a, b)| a == *b))
}

/// `resumptionToken`, `booking_token`, `s3_key`: whoever has it back gave it. In capitals it is a setting, which nobody gives back.
pub(super) fn is_given_back(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(&name[name.len() - name.len().min(NAME_END)..]);
    let last = words(&name).last().unwrap_or_default();
    let known = match () {
        () if last.eq_ignore_ascii_case("token") => TOKENS_GIVEN_BACK,
        () if last.eq_ignore_ascii_case("key") => KEYS_GIVEN_BACK,
        () => return false,
    };
    name.bytes().any(|it| it.is_ascii_lowercase())
        && words(&name).any(|word| known.iter().any(|it| it.eq_ignore_ascii_case(word)))
}

/// Whether what stands under this name in the query of a link is secret all the same: links are forwarded and followed with what they
/// hold, and that is how they work.
pub(super) fn counts_in_links(name: &[u8]) -> bool {
    ends_with(last_letters(name, &mut [0; NAME_MAX]), IN_LINKS)
}

/// `pw` and `psk` as whole words: there are hosts that end in `.pw`.
fn is_short(name: &[u8]) -> bool {
    let last = name.rsplit(|it| matches!(it, b'_' | b'-')).next().unwrap_or_default();
    last.eq_ignore_ascii_case(b"pw") || last.eq_ignore_ascii_case(b"psk")
}

/// `SMTP_PASS`, `become_pass`, `bindPass`, and not the pass of somebody who travels.
fn is_pass(name: &[u8]) -> bool {
    let Some((before, pass)) = name.split_at_checked(name.len().saturating_sub(4)) else { return false };
    let of = before.strip_suffix(b"_").or_else(|| before.strip_suffix(b"-")).unwrap_or(before);
    let is_part = of.len() < before.len() || pass == b"Pass" && before.last().is_some_and(u8::is_ascii_lowercase);
    let is_ticket =
        PASSES.iter().any(|it| of.len() >= it.len() && of[of.len() - it.len()..].eq_ignore_ascii_case(it.as_bytes()));
    pass.eq_ignore_ascii_case(b"pass") && !of.is_empty() && is_part && !is_ticket
}

/// `key` alone is that of a record, and `signingkey` the name of one.
pub(super) fn is_key(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"key") || name == b"signingkey"
}

/// A name without its qualifier.
fn unqualified(name: &[u8]) -> Option<&[u8]> {
    let from = name.len() - name.len().min(NAME_END);
    let end = from + name[from..].iter().rposition(|it| matches!(it, b'_' | b'-' | b'.'))?;
    let last = &name[end + 1..];
    let is_qualifier = QUALIFIERS.iter().any(|it| last.eq_ignore_ascii_case(it.as_bytes()))
        || last.len() <= 2 && last.iter().all(u8::is_ascii_digit);
    is_qualifier.then(|| &name[..end])
}

/// Whether the last name of a path says that what stands there is a credential.
#[must_use]
pub fn is_credential(path: &str) -> bool {
    Telling::of(path.rsplit('.').next().unwrap_or(path).as_bytes()) > Telling::Nothing
}

pub(super) fn is_value(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"value")
}

pub(super) fn is_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"name") || name.eq_ignore_ascii_case(b"key")
}

/// Leaves in their order, of which one called `value` stands under what the one before it says, if that is called `name` or `key`:
/// `{"name": "DB_PASSWORD", "value": …}`.
#[derive(Debug, Default)]
pub(crate) struct Named(Option<Box<str>>);

impl Named {
    /// The name that a text under `name` stands under.
    pub(crate) fn of<'n>(&'n mut self, name: &'n str, text: &str) -> &'n str {
        let before = self.0.take();
        if is_value(name.as_bytes()) {
            self.0 = before;
            return self.0.as_deref().unwrap_or(name);
        }
        if is_name(name.as_bytes()) && Telling::of(text.as_bytes()) > Telling::Nothing {
            self.0 = Some(text[text.floor_char_boundary(text.len().saturating_sub(NAME_END))..].into());
        }
        name
    }
}
