//! Addresses spelled out: "ada at example dot com".

use super::words::Words;

/// Longest address that is put together.
pub(super) const SPELLED_MAX: usize = 64;

/// The address as far as it was read.
#[derive(Clone, Copy)]
pub(super) struct Spelled {
    text: [u8; SPELLED_MAX],
    length: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    /// The latest word was "at" or, if so, "dot".
    Joint {
        dot: bool,
    },
    /// The latest word was one of its parts.
    Part,
}

impl Spelled {
    pub(super) const NONE: Self = Self { text: [0; SPELLED_MAX], length: 0, state: State::Outside };

    fn push(&mut self, word: &[u8]) {
        let to = (self.length + word.len()).min(SPELLED_MAX);
        self.text[self.length..to].copy_from_slice(&word[..to - self.length]);
        self.length = to;
    }
}

/// The address that ends with the latest word, its parts joined; called for every word.
pub(super) fn address(words: &mut Words) -> Option<([u8; SPELLED_MAX], usize)> {
    let latest = words.latest();
    let joint = match latest {
        [b'd' | b'D', b'o' | b'O', b't' | b'T'] => Some(true),
        [b'a' | b'A', b't' | b'T'] => Some(false),
        _ => None,
    };
    match (words.spelled.state, joint) {
        (State::Outside, None) => None,
        (State::Outside, Some(dot)) => {
            let previous = words.before();
            if !previous.is_empty() {
                let mut it = Spelled::NONE;
                it.push(previous);
                it.state = State::Joint { dot };
                words.spelled = it;
            }
            None
        }
        (State::Joint { dot }, None) if !latest.is_empty() => {
            let mut it = words.spelled;
            it.push(latest);
            it.state = State::Part;
            words.spelled = it;
            dot.then_some((it.text, it.length))
        }
        (State::Part, Some(true)) => {
            words.spelled.state = State::Joint { dot: true };
            None
        }
        _ => {
            words.spelled.state = State::Outside;
            None
        }
    }
}
