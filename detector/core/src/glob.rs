//! Patterns of names: `*` stands for any run of characters, all else for itself.

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Box<str>>);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.split('*').map(|it| it.into()).collect())
    }

    /// The name, when the pattern stands for one name only.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Linear in the name for each part: parts are matched leftmost first, which suffices without alternatives.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.literal() == Some(name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_ref()) else { return false };
        for part in middle {
            match rest.find(part.as_ref()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("support", "support", true),
            ("support", "support2", false),
            ("support-*", "support-eu", true),
            ("support-*", "sales", false),
            ("*", "", true),
            ("*-eu", "support-eu", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*ba", "aba", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }
}
