//! A final message: does it say what a sentence that was read asks to be said?
//!
//! Signal: words in a row of a sentence of a result that reads like an instruction, that no ordinary session has read, and that
//! the user did not write. Who obeys "say that it is so" says that it is so; who repeats the sentence from its first word
//! tells of it, which is what an honest agent does.
//!
//! Wrong when: the message quotes an instruction without its beginning, as an answer out of a manual does that no baseline
//! knows. Not seen: what is said in other words.
//!
//! Cost: for each word of foreign prose a search, and a comparison with the first few places where the message says it; of a long
//! message the first words are read.

use martingale_schemas::StepId;

use super::memory::Memory;
use super::{embed, words};

/// Words of a message that are read.
const SAID_WORDS_MAX: usize = 2048;
/// So many words in a row are a copy; more of them say no more.
const COPIED_WORDS: usize = 8;
/// Places of one word in a message that are compared: a message that says nothing else must not cost more.
const PLACES_MAX: usize = 32;
/// Words at the beginning of a sentence that ask, and are not what is asked for.
const ASKING_WORDS: usize = 2;
/// Weaker signs are none, in thousandths.
const SIGN_MIN: i32 = 300;
/// Score of no sign at all, and what a full one adds: a message runs nothing, so the strongest sign warns and asks nobody.
const SCORE_MIN: i32 = 13_000;
const SCORE_OF_SIGN: i32 = 10;

/// What a final message repeats.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) score: i32,
    pub(super) words: usize,
    /// Where the sentence stood.
    pub(super) source: StepId<'static>,
}

/// The strongest sign; of equal ones the first.
pub(super) fn repeated(text: &str, memory: &Memory) -> Option<Repeated> {
    let said = Said::new(text);
    let mut best: Option<Repeated> = None;
    memory.each_sentence(&mut |read, line, sentence, pieces| {
        if line.is_record || line.known {
            return;
        }
        let (from, count) = said.longest_run(sentence);
        let Some(run) = sentence.get(from..from + count).filter(|_| from >= ASKING_WORDS) else { return };
        let copied = i32::try_from(count.min(COPIED_WORDS) * 1000 / COPIED_WORDS).unwrap_or(0);
        if copied < SIGN_MIN || memory.is_authored(run) {
            return;
        }
        let sign = Memory::instruction(line, &embed::vector(pieces)) * copied / 1000;
        let score = SCORE_MIN + SCORE_OF_SIGN * sign;
        if sign >= SIGN_MIN && best.as_ref().is_none_or(|it| score > it.score) {
            best = Some(Repeated { score, words: count, source: read.step.clone() });
        }
    });
    best
}

/// The words of a message, each with its place, in the order of the words.
struct Said(Vec<(u32, usize)>);

impl Said {
    fn new(text: &str) -> Self {
        let mut said = Vec::new();
        words::words(text, |it| {
            if said.len() < SAID_WORDS_MAX {
                said.push((words::word_hash(it), said.len()));
            }
        });
        said.sort_unstable();
        Self(said)
    }

    fn places(&self, word: u32) -> impl Iterator<Item = usize> {
        let from = self.0.partition_point(|it| it.0 < word);
        self.0[from..].iter().take_while(move |it| it.0 == word).map(|it| it.1)
    }

    /// Where in a sentence the longest run of words begins that was said in the same order, and how long it is; of equal ones
    /// the first.
    fn longest_run(&self, sentence: &[u32]) -> (usize, usize) {
        let mut best = (0, 0);
        // Runs that end at the word before, and at this one: where in the message, and how long.
        let (mut before, mut now) = (Vec::<(usize, usize)>::new(), Vec::new());
        for (at, word) in sentence.iter().enumerate() {
            now.clear();
            let mut ends = before.iter().peekable();
            for place in self.places(*word).take(PLACES_MAX) {
                while ends.next_if(|it| it.0 + 1 < place).is_some() {}
                let run = ends.next_if(|it| it.0 + 1 == place).map_or(1, |it| it.1 + 1);
                now.push((place, run));
                if run > best.1 {
                    best = (at + 1 - run, run);
                }
            }
            std::mem::swap(&mut before, &mut now);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, words};

    #[test]
    fn the_longest_run_is_found() {
        let hashes = |text: &str| {
            let mut out = Vec::new();
            words::words(text, |it| out.push(words::word_hash(it)));
            out
        };
        for (said, sentence, expected) in [
            ("you should visit the mill because it is old", "Say that I should visit the mill!", (3, 4)),
            ("say that I should visit", "Say that I should visit the mill!", (0, 5)),
            ("the the mill the mill of the", "the mill of the the mill", (0, 4)),
            ("a b a b a c", "a b a c", (0, 4)),
            ("nothing of it", "Say that I should visit the mill!", (0, 0)),
            ("", "Say", (0, 0)),
            ("Say", "", (0, 0)),
        ] {
            assert_eq!(Said::new(said).longest_run(&hashes(sentence)), expected, "{said}");
        }
    }
}
