//! Scopes as a principal declares them.

use martingale_schemas::step::Principal;
use serde::{Deserialize, Serialize};

/// Bytes of scopes kept of one grant. Full: it is not known which others there were, so none counts as lacking.
const SCOPES_BYTES_MAX: usize = 1024;

/// Those of one principal, each once, with a space between two, as OAuth writes them. None: nothing was declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scopes {
    text: Box<str>,
    /// There were more.
    cut: bool,
}

/// The scopes of a principal one by one; an entry with spaces is several.
pub(super) fn of<'p>(principal: &'p Principal<'_>) -> impl Iterator<Item = &'p str> {
    principal.scopes.iter().flat_map(|it| it.split_ascii_whitespace())
}

/// Whether one that is held gives another: the same characters, or all that begins with what stands before its last `*`.
pub(super) fn gives(held: &str, needed: &str) -> bool {
    held == needed || held.strip_suffix('*').is_some_and(|it| needed.starts_with(it))
}

impl Scopes {
    pub(super) fn new<'s>(scopes: impl Iterator<Item = &'s str>) -> Self {
        let mut out = Self::default();
        out.add(scopes);
        out
    }

    /// Takes in more of them.
    pub(super) fn add<'s>(&mut self, scopes: impl Iterator<Item = &'s str>) {
        let mut text = std::mem::take(&mut self.text).into_string();
        for scope in scopes {
            if text.split(' ').any(|it| it == scope) {
                continue;
            }
            if text.len() + scope.len() >= SCOPES_BYTES_MAX {
                self.cut = true;
                break;
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(scope);
        }
        self.text = text.into();
    }

    pub(super) fn are_declared(&self) -> bool {
        !self.text.is_empty() || self.cut
    }

    pub(super) fn give(&self, needed: &str) -> bool {
        self.cut || self.text.split_ascii_whitespace().any(|it| gives(it, needed))
    }

    /// As they are told to a person.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{SCOPES_BYTES_MAX, Scopes};

    #[test]
    fn what_is_held_gives_what_it_says_and_no_more() {
        for (held, needed, gives) in [
            ("mail:read", "mail:read", true),
            ("mail:read", "mail:send", false),
            ("mail:read", "mail:read:all", false),
            ("mail:read", "Mail:Read", false),
            ("mail:*", "mail:send", true),
            ("mail:*", "mail:*", true),
            ("mail:*", "mailbox", false),
            ("mail:send", "mail:*", false),
            ("*", "anything", true),
            ("a b", "b", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Scopes::new(held.split(' ').filter(|it| !it.is_empty())).give(needed),
                gives,
                "{held}: {needed}"
            );
        }
    }

    #[test]
    fn of_too_many_none_is_lacking() {
        let many: Vec<String> = (0..500).map(|it| format!("scope:{it}")).collect();
        let scopes = Scopes::new(many.iter().map(String::as_str));
        assert!(scopes.bytes() <= SCOPES_BYTES_MAX && scopes.give("another"), "{}", scopes.bytes());
        let twice = Scopes::new(["a", "b", "a"].into_iter());
        assert_eq!(twice.as_str(), "a b");
    }
}
