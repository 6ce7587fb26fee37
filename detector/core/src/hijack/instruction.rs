//! How much a sentence is like something a user would ask for.
//!
//! A linear rule learnt from sentences of users against sentences of tool results of ordinary sessions: no attack was needed
//! to fit it. It ranks; by itself it decides nothing.

use std::sync::OnceLock;

use serde::Deserialize;

use super::embed::Vector;

#[derive(Debug, Default, Deserialize)]
struct Weights {
    bias: i32,
    vector: Vec<i32>,
    surface: Vec<i32>,
}

fn weights() -> &'static Weights {
    static WEIGHTS: OnceLock<Weights> = OnceLock::new();
    WEIGHTS.get_or_init(|| serde_json::from_str(include_str!("../../embedding/instruction.json")).unwrap_or_default())
}

/// What the form of a sentence says, in thousandths of a logit.
pub(crate) fn surface(text: &str) -> i16 {
    let score: i32 = form(text).iter().zip(&weights().surface).map(|(form, weight)| form * weight / 1000).sum();
    i16::try_from(score.clamp(-30_000, 30_000)).unwrap_or(0)
}

/// Properties of the form, in thousandths.
pub(crate) fn form(text: &str) -> [i32; 8] {
    let (mut chars, mut letters, mut marks, mut commas) = (0_usize, 0, 0, 0);
    let (mut asks, mut counts) = (false, false);
    for it in text.chars() {
        chars += 1;
        letters += usize::from(it.is_alphabetic() || it == ' ');
        match it {
            '{' | '}' | '[' | ']' | '_' | '/' | '\\' | '|' | '=' | '<' | '>' => marks += 1,
            ',' => commas += 1,
            '?' => asks = true,
            '0'..='9' => counts = true,
            _ => {}
        }
    }
    let words = text.split_whitespace().count();
    let share = |count: usize| i32::try_from(count * 1000 / chars.max(1)).unwrap_or(1000);
    let flag = |it: bool| i32::from(it) * 1000;
    [
        i32::try_from(words * 50).unwrap_or(i32::MAX).min(2000),
        flag(text.starts_with(char::is_uppercase)),
        flag(text.ends_with(':')),
        flag(asks),
        flag(counts),
        share(letters),
        share(marks),
        share(commas) * 10,
    ]
}

/// Likeness in thousandths, from the meaning and the form.
pub(crate) fn likeness(vector: &Vector, surface: i16) -> i32 {
    let weights = weights();
    let meaning: i32 = vector.iter().zip(&weights.vector).map(|(value, weight)| i32::from(*value) * weight).sum();
    sigmoid(weights.bias + meaning / 127 + i32::from(surface))
}

/// The logistic function on thousandths, linear between its values at whole numbers.
fn sigmoid(logit: i32) -> i32 {
    const AT: [i32; 13] = [2, 7, 18, 47, 119, 269, 500, 731, 881, 953, 982, 993, 998];
    let shifted = (logit + 6000).clamp(0, 11_999);
    let (whole, rest) = ((shifted / 1000).unsigned_abs() as usize, shifted % 1000);
    AT[whole] + (AT[whole + 1] - AT[whole]) * rest / 1000
}

#[cfg(test)]
mod tests {
    use super::sigmoid;

    #[test]
    fn likeness_grows() {
        let values: Vec<i32> = (-8..=8).map(|it| sigmoid(it * 1000)).collect();
        assert!(values.is_sorted(), "{values:?}");
        assert_eq!((values[0], values[8], values[16]), (2, 500, 997));
    }
}
