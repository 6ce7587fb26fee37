//! Reading the members of an object, with a fault for each that is missing, unknown or of the wrong type.

use std::ops::RangeInclusive;

use super::{Faults, Node, Value, closest};

/// Names that stand for one that is known, and how that is written.
#[derive(Debug)]
pub(crate) struct Misnomer {
    pub(crate) wrong: &'static [&'static str],
    /// Absent: it belongs elsewhere, as `how` says.
    pub(crate) right: Option<&'static str>,
    pub(crate) how: &'static str,
}

/// An object being read. [`Object::finish`] reports the members nobody asked for.
pub(crate) struct Object<'n> {
    node: &'n Node,
    path: String,
    asked: Vec<&'static str>,
}

impl<'n> Object<'n> {
    /// `None`, with a fault, when the node is no object.
    pub(crate) fn of(node: &'n Node, path: &str, faults: &mut Faults<'_>) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            return Some(Self { node, path: path.to_owned(), asked: Vec::new() });
        }
        let message = format!("is {}: write an object of `name: value` members", node.value.type_name());
        faults.error(path, (node.line, node.column), message, None);
        None
    }

    pub(crate) fn path(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }

    pub(crate) fn place(&self) -> (u32, u32) {
        (self.node.line, self.node.column)
    }

    /// A fault about the member `name`, or about the object itself when it has none of that name.
    pub(crate) fn fault(&self, name: &str, message: impl Into<String>, faults: &mut Faults<'_>) {
        let at = self.peek(name).map_or_else(|| self.place(), |it| (it.line, it.column));
        faults.error(&self.path(name), at, message, None);
    }

    /// The same, with what was probably meant.
    pub(crate) fn fault_meaning(&self, name: &str, message: &str, meant: &str, faults: &mut Faults<'_>) {
        let at = self.peek(name).map_or_else(|| self.place(), |it| (it.line, it.column));
        faults.error(&self.path(name), at, message, Some(meant.to_owned()));
    }

    fn peek(&self, name: &str) -> Option<&'n Node> {
        let Value::Map(members) = &self.node.value else { return None };
        members.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The member, unless it is absent or null.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        self.peek(name).filter(|it| !matches!(it.value, Value::Null))
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        faults: &mut Faults<'_>,
        read: impl FnOnce(&'n Value) -> Option<T>,
    ) -> Option<T> {
        let node = self.get(name)?;
        let value = read(&node.value);
        if value.is_none() {
            self.fault(name, format!("is {}: write {expected}", node.value.type_name()), faults);
        }
        value
    }

    pub(crate) fn text(&mut self, name: &'static str, faults: &mut Faults<'_>) -> Option<&'n str> {
        self.typed(name, "text", faults, |it| match it {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(crate) fn required_text(&mut self, name: &'static str, faults: &mut Faults<'_>) -> Option<&'n str> {
        let present = self.peek(name).is_some_and(|it| !matches!(it.value, Value::Null));
        if !present {
            self.asked.push(name);
            self.fault("", format!("`{name}` is missing"), faults);
            return None;
        }
        let text = self.text(name, faults)?;
        if text.trim().is_empty() {
            self.fault(name, "is empty", faults);
            return None;
        }
        Some(text)
    }

    pub(crate) fn boolean(&mut self, name: &'static str, faults: &mut Faults<'_>) -> Option<bool> {
        self.typed(name, "`true` or `false`", faults, |it| match it {
            Value::Bool(it) => Some(*it),
            _ => None,
        })
    }

    pub(crate) fn whole(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
        faults: &mut Faults<'_>,
    ) -> Option<i64> {
        let value = self.typed(name, "a whole number", faults, |it| match it {
            Value::Int(it) => Some(*it),
            _ => None,
        })?;
        if !range.contains(&value) {
            let (from, to) = (range.start(), range.end());
            self.fault(name, format!("is {value}: write a whole number from {from} to {to}"), faults);
            return None;
        }
        Some(value)
    }

    /// A number above 0.
    #[expect(clippy::cast_precision_loss, reason = "limits of a policy are far below 2^52")]
    pub(crate) fn amount(&mut self, name: &'static str, faults: &mut Faults<'_>) -> Option<f64> {
        let value = self.typed(name, "a number", faults, |it| match it {
            Value::Int(it) => Some(*it as f64),
            Value::Float(it) => Some(*it),
            _ => None,
        })?;
        if !(value.is_finite() && value > 0.0) {
            self.fault(name, format!("is {value}: write a number above 0"), faults);
            return None;
        }
        Some(value)
    }

    /// A span such as `10m`, in microseconds.
    pub(crate) fn span(&mut self, name: &'static str, faults: &mut Faults<'_>) -> Option<i64> {
        let text = self.typed(name, "a span such as `10m`", faults, |it| match it {
            Value::Text(it) => Some(it.as_str()),
            _ => None,
        })?;
        let micros = span(text);
        if micros.is_none() {
            self.fault(
                name,
                format!("`{text}` is no span of time: write e.g. `30s`, `10m`, `2h`, `1h30m` or `7d`"),
                faults,
            );
        }
        micros
    }

    /// One of a closed set of words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&'static str, T)],
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        self.word_or_meant(name, words, &[], faults)
    }

    /// The same, given words of other systems and what they mean here.
    pub(crate) fn word_or_meant<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&'static str, T)],
        meant: &[(&str, &str)],
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let text = self.text(name, faults)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let at = self.peek(name).map_or_else(|| self.place(), |it| (it.line, it.column));
        let message = format!("unknown word `{text}`: expected one of {}", known.join(", "));
        let meant = meant.iter().find(|(word, _)| *word == text).map(|(_, meant)| (*meant).to_owned());
        faults.error(&self.path(name), at, message, meant.or_else(|| closest(text, known)));
        None
    }

    /// Text, or a list of text.
    pub(crate) fn texts(&mut self, name: &'static str, faults: &mut Faults<'_>) -> Option<Vec<&'n str>> {
        self.typed(name, "text or a list of text", faults, |it| match it {
            Value::Text(text) => Some(vec![text.as_str()]),
            Value::List(items) => items
                .iter()
                .map(|it| match &it.value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// Items of a list; none, with a fault, for anything else.
    pub(crate) fn list(&mut self, name: &'static str, faults: &mut Faults<'_>) -> Vec<&'n Node> {
        let items = self.typed(name, "a list", faults, |it| match it {
            Value::List(items) => Some(items.iter().collect()),
            _ => None,
        });
        items.unwrap_or_default()
    }

    pub(crate) fn object(&mut self, name: &'static str, faults: &mut Faults<'_>) -> Option<Self> {
        let node = self.get(name)?;
        Self::of(node, &self.path(name), faults)
    }

    /// Reports the members nobody asked for.
    pub(crate) fn finish(&self, faults: &mut Faults<'_>) {
        self.finish_knowing(&[], faults);
    }

    /// The same, given names that are often written for others.
    pub(crate) fn finish_knowing(&self, misnomers: &[Misnomer], faults: &mut Faults<'_>) {
        let Value::Map(members) = &self.node.value else { return };
        for (key, _) in members.iter().filter(|(key, _)| !self.asked.contains(&key.name.as_str())) {
            let mut known = self.asked.clone();
            known.sort_unstable();
            known.dedup();
            let misnomer = misnomers.iter().find(|it| it.wrong.contains(&key.name.as_str()));
            let (message, suggestion) = match misnomer {
                Some(it) => (format!("unknown name `{}`: {}", key.name, it.how), it.right.map(str::to_owned)),
                None => {
                    let message = format!("unknown name `{}`: expected one of {}", key.name, known.join(", "));
                    (message, closest(&key.name, known))
                }
            };
            faults.error(&self.path(&key.name), (key.line, key.column), message, suggestion);
        }
    }
}

/// Microseconds of `90s`, `10m`, `1h30m`, `7d`; `None` for anything else and for no time at all.
pub(crate) fn span(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 5] =
        [("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
    let mut rest = text.trim();
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|it: char| !it.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, micros) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(micros)?)?;
        rest = after;
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans() {
        for (text, expected) in [
            ("10m", Some(600_000_000)),
            ("1h30m", Some(5_400_000_000)),
            (" 250ms ", Some(250_000)),
            ("7d", Some(604_800_000_000)),
            ("10", None),
            ("m", None),
            ("0s", None),
            ("-1s", None),
            ("1x", None),
            ("", None),
            ("99999999999999999999d", None),
            ("9999999999999d", None),
        ] {
            assert_eq!(span(text), expected, "{text}");
        }
    }
}
