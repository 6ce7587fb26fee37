//! Weighs a row: a sum of small trees whose leaves are whole numbers, each number of a row bound to push one way only.

use std::sync::OnceLock;

use serde::Deserialize;

use super::features::Row;

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
    #[cfg_attr(not(test), expect(dead_code, reason = "what a test holds the trees to"))]
    ways: Vec<Option<i32>>,
    trees: Vec<Vec<Node>>,
}

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| serde_json::from_str(include_str!("../../embedding/model.json")).unwrap_or_default())
}

/// Deepest path that is followed: a file that goes in circles ends too.
const DEPTH_MAX: usize = 16;

/// Score of a row in thousandths of a logit: it ranks, and is no probability.
pub(super) fn score(row: &Row) -> i32 {
    model().trees.iter().map(|it| leaf(it, row)).fold(0, i32::saturating_add)
}

#[cfg(test)]
pub(super) fn ways() -> &'static [Option<i32>] {
    &model().ways
}

fn leaf(tree: &[Node], row: &Row) -> i32 {
    let mut at = 0;
    for _ in 0..DEPTH_MAX {
        match tree.get(at) {
            Some(Node::Leaf([value])) => return *value,
            Some(Node::Split(number, most, left, right)) => {
                at = if row.get(*number).is_some_and(|it| it <= most) { *left } else { *right };
            }
            None => return 0,
        }
    }
    0
}
