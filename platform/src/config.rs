//! Values that configuration files write in a way people read.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time as `"250ms"`, `"30s"`, `"10m"`, `"2h"` or `"14d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Span {
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Whole microseconds, saturating.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad =
            || format!("`{text}` is no span of time: write a whole number and a unit, as 250ms, 30s, 10m, 2h or 14d");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let (_, millis) = UNITS.iter().find(|(unit, _)| *unit == &text[digits..]).ok_or_else(bad)?;
        number.checked_mul(*millis).map(Self::from_millis).ok_or_else(bad)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, size) =
            UNITS.iter().rev().find(|(_, size)| millis >= *size && millis.is_multiple_of(*size)).unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", millis / size)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InQuotes;
        impl serde::de::Visitor<'_> for InQuotes {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of time in quotes, as \"10s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(InQuotes)
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn spans_read_and_write() {
        for (text, millis, shown) in [
            ("250ms", 250, "250ms"),
            ("30s", 30_000, "30s"),
            ("60s", 60_000, "1m"),
            ("14d", 1_209_600_000, "14d"),
            ("0s", 0, "0ms"),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!((span, span.to_string().as_str()), (Span::from_millis(millis), shown));
        }
        for text in ["", "30", "s", "-1s", "1.5h", "5 s", "99999999999999999999d", "18446744073709551615d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
