//! "Did you mean …?"

/// The known word closest to `word`, if it is close enough to be meant: it goes on where `word` ends, or a third of the
/// letters are wrong.
pub(crate) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let letters = word.chars().count();
    let rate = |it: &str| if letters > 2 && it.starts_with(word) { 1 } else { distance(word, it) };
    let (distance, best) = known.into_iter().map(|it| (rate(it), it)).min_by_key(|(distance, _)| *distance)?;
    (distance <= (letters / 3).max(1)).then(|| best.to_owned())
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) =
        (one.to_lowercase().chars().take(64).collect(), other.to_lowercase().chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *a == other[column - 1] && one[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn close_words_are_meant() {
        let known = ["kind", "tool", "status", "environment"];
        for (word, expected) in [
            ("knd", Some("kind")),
            ("knid", Some("kind")),
            ("Status", Some("status")),
            ("enviroment", Some("environment")),
            ("env", Some("environment")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known).as_deref(), expected, "{word}");
        }
    }
}
