//! Weighs a row: a sum of small trees whose leaves are whole numbers, each number of a row bound to push one way only.

use std::sync::OnceLock;

use serde::Deserialize;

use super::features::Row;
use crate::hash::mix;

/// A tree as a list of nodes, the root first.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Node {
    /// Number of the row, and the largest value that goes left; then where left and right are.
    Split(usize, i32, usize, usize),
    Leaf([i32; 1]),
}

#[derive(Debug, Default, Deserialize)]
struct Model {
    /// Which way each number of a row pushes; none for one that is not used.
    #[serde(default)]
    ways: Vec<Option<i32>>,
    trees: Vec<Vec<Node>>,
}

/// Trees as the product walks them: filled up to the same depth, the two branches of node `n` at `2n + 1` and `2n + 2`. So a
/// walk is three comparisons and no branch that a processor could guess wrong.
#[derive(Debug, Default)]
struct Trees {
    #[cfg_attr(not(test), expect(dead_code, reason = "what a test holds the trees to"))]
    ways: Vec<Option<i32>>,
    trees: Vec<Full>,
}

const DEPTH: usize = 3;

#[derive(Debug)]
struct Full {
    /// Number of the row, and the largest value that goes left.
    splits: [(u8, i32); (1 << DEPTH) - 1],
    leaves: [i32; 1 << DEPTH],
}

/// A row with a place for every number that a split can name, so that none has to be checked.
type Wide = [i32; 1 << u8::BITS];

fn wide(row: &Row) -> Wide {
    // Less than any bound: who asks for what no row has goes left.
    let mut wide = [i32::MIN; _];
    wide[..row.len()].copy_from_slice(row);
    wide
}

fn trees() -> &'static Trees {
    static TREES: OnceLock<Trees> = OnceLock::new();
    TREES.get_or_init(|| {
        let model: Model = serde_json::from_str(include_str!("../../embedding/model.json")).unwrap_or_default();
        Trees { ways: model.ways, trees: model.trees.iter().map(|it| Full::new(it)).collect() }
    })
}

impl Full {
    /// A tree that ends early has the same leaf below either branch.
    fn new(nodes: &[Node]) -> Self {
        let mut full = Self { splits: [(0, i32::MAX); _], leaves: [0; _] };
        full.put(nodes, 0, 0);
        full
    }

    fn put(&mut self, nodes: &[Node], from: usize, to: usize) {
        let here = nodes.get(from);
        if let Some(leaf) = to.checked_sub(self.splits.len()) {
            if let (Some(Node::Leaf([value])), Some(leaf)) = (here, self.leaves.get_mut(leaf)) {
                *leaf = *value;
            }
            return;
        }
        let (left, right) = match here {
            Some(Node::Split(number, most, left, right)) => {
                self.splits[to] = (u8::try_from(*number).unwrap_or(u8::MAX), *most);
                (*left, *right)
            }
            _ => (from, from),
        };
        self.put(nodes, left, 2 * to + 1);
        self.put(nodes, right, 2 * to + 2);
    }

    /// Written out level by level: so no index has to be checked.
    fn value(&self, row: &Wide) -> i32 {
        let goes_right = |at: usize| {
            let (number, most) = self.splits[at];
            usize::from(row[usize::from(number)] > most)
        };
        let first = goes_right(0);
        let second = goes_right(1 + first);
        let third = goes_right(3 + 2 * first + second);
        self.leaves[4 * first + 2 * second + third]
    }
}

/// Scores of rows that were weighed lately: values of one origin, and calls of one session, often have the same row, and to
/// find one takes a tenth of weighing it. A row has one place; what was there before is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    known: Vec<Option<(Row, i32)>>,
}

const SCORES_MAX: u64 = 256;

impl Scores {
    pub(super) fn of(&mut self, row: &Row) -> i32 {
        let (pairs, last) = row.as_chunks::<2>();
        let number = |a: i32, b: i32| u64::from(a.cast_unsigned()) << 32 | u64::from(b.cast_unsigned());
        let print = pairs.iter().fold(1, |print, [a, b]| mix(print, number(*a, *b)));
        let print = last.iter().fold(print, |print, it| mix(print, number(*it, 0)));
        let at = usize::try_from(print % SCORES_MAX).unwrap_or(0);
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        match &self.known[at] {
            Some((known, score)) if known == row => *score,
            _ => {
                let score = score(row);
                self.known[at] = Some((*row, score));
                score
            }
        }
    }
}

/// Score of a row in thousandths of a logit: it ranks, and is no probability.
pub(super) fn score(row: &Row) -> i32 {
    let row = wide(row);
    trees().trees.iter().map(|it| it.value(&row)).fold(0, i32::saturating_add)
}

#[cfg(test)]
pub(super) fn ways() -> &'static [Option<i32>] {
    &trees().ways
}

#[cfg(test)]
mod tests {
    use super::{DEPTH, Full, Model, Node, SCORES_MAX, Scores, score, trees};
    use crate::hijack::features::{NAMES, Row};

    fn slow(tree: &[Node], row: &Row, at: usize, depth: usize) -> i32 {
        match tree[at] {
            Node::Leaf([value]) => value,
            Node::Split(number, most, left, right) => {
                assert!(depth < DEPTH, "a tree is deeper than it is walked");
                slow(tree, row, if row[number] <= most { left } else { right }, depth + 1)
            }
        }
    }

    /// Also of rows that share a place, and when one comes back.
    #[test]
    fn a_score_that_is_remembered_is_the_one_of_the_row() {
        let mut scores = Scores::default();
        let rows = 4 * i32::try_from(SCORES_MAX).unwrap();
        for number in (0..rows).chain((0..rows).rev()) {
            let mut row: Row = [0; NAMES.len()];
            (row[0], row[7], row[NAMES.len() - 1]) = (number - 500, number % 7 * 150, number % 2);
            assert_eq!((scores.of(&row), scores.of(&row)), (score(&row), score(&row)), "{row:?}");
        }
        assert_eq!(scores.known.len(), usize::try_from(SCORES_MAX).unwrap());
    }

    /// Filled up, a tree says the same.
    #[test]
    fn trees_are_walked_as_they_were_fitted() {
        let model: Model = serde_json::from_str(include_str!("../../embedding/model.json")).unwrap();
        assert_eq!((model.trees.len(), trees().trees.len()), (80, 80));
        let mut state = 3_u64;
        for _ in 0..500 {
            let mut row: Row = [0; NAMES.len()];
            for it in &mut row {
                state = crate::hash::mix(state, 5);
                *it = i32::try_from(state % 2_200).unwrap() - 1_000;
            }
            for tree in &model.trees {
                assert_eq!(Full::new(tree).value(&super::wide(&row)), slow(tree, &row, 0, 0));
            }
        }
    }
}
