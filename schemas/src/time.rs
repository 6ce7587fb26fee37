//! Time as a value. Nothing here reads a clock.

use std::fmt;

use jiff::fmt::temporal::DateTimeParser;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since the Unix epoch, UTC. RFC 3339 in JSON, a plain integer in binary state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

static PARSER: DateTimeParser = DateTimeParser::new();

impl Timestamp {
    /// 2000-01-01T00:00:00Z. No agent ran before it: an earlier event time is a broken clock.
    pub const EARLIEST_PLAUSIBLE: Self = Self(946_684_800_000_000);

    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this; negative if this is the earlier one.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339, as `2025-01-01T00:30:00.5Z` or with an offset. A time beyond the calendar's range, as the
    /// `9999-12-31T23:59:59Z` that some write for "never", reads as the last moment of that range.
    ///
    /// # Errors
    /// The parser's own words when the text is no such time.
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        if let Some(at) = plain(text.as_bytes()) {
            return Ok(at);
        }
        let at = PARSER.parse_timestamp(text).or_else(|error| match PARSER.parse_pieces(text) {
            Ok(it) if it.offset().is_some() && it.time().is_some() => {
                Ok(if it.date().year() > 0 { jiff::Timestamp::MAX } else { jiff::Timestamp::MIN })
            }
            _ => Err(error),
        })?;
        Ok(Self(at.as_microsecond()))
    }
}

/// Reads the form that a [`Timestamp`] is written in, such as `2026-01-31T12:00:00.5Z`, in a fraction of the time that any
/// form takes. Whatever looks different is `None`, right or wrong.
fn plain(text: &[u8]) -> Option<Timestamp> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let (b'Z', fraction) = rest.split_last()? else { return None };
    if [4, 7, 10, 13, 16].map(|at| date_time[at]) != *b"--T::" {
        return None;
    }
    let number = |digits: &[u8]| {
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0, |sum, it| sum * 10 + i64::from(it - b'0')))
    };
    let part = |from: usize, to: usize| number(&date_time[from..to]);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let micros = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=6).contains(&digits.len()) => {
            (digits.len()..6).fold(number(digits)?, |micros, _| micros * 10)
        }
        _ => return None,
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // The calendar of the parser ends within the year 9999.
    if !(1970..9999).contains(&year) || !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years begin in March here, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    const DAYS_TO_1970: i64 = 719_468;
    let seconds = (days - DAYS_TO_1970) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000_000 + micros))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            // Out of the calendar's range: only a hostile binary state can hold it.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            Self::parse(&text).map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PARSER, Timestamp, plain};

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        for text in [
            "",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00.1234567Z",
            "2026-01-31T12:00:00+00:00",
            "2026-02-29T12:00:00Z",
            "2100-02-29T12:00:00Z",
            "2026-04-31T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-01-00T12:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T12:60:00Z",
            "2016-12-31T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
            "2O26-01-31T12:00:00Z",
            "2026-01-31T12:00:0é",
        ] {
            assert_eq!(plain(text.as_bytes()), None, "{text}");
        }
    }

    /// Every day that has a plain form, and none that has not.
    #[test]
    fn every_day_is_the_parser_s() {
        for year in (1970..2110).chain([2400, 9998]) {
            for (month, day) in (1..=12).flat_map(|month| (1..=31).map(move |day| (month, day))) {
                let text = format!("{year}-{month:02}-{day:02}T23:05:09.25Z");
                let expected = PARSER.parse_timestamp(&text).ok().map(|it| Timestamp(it.as_microsecond()));
                assert_eq!(plain(text.as_bytes()), expected, "{text}");
            }
        }
    }

    proptest! {
        /// Every time in the form it is written in.
        #[test]
        fn what_is_written_is_plain(micros in 0..253_370_764_800_000_000_i64) {
            let time = Timestamp(micros);
            prop_assert_eq!(plain(time.to_string().as_bytes()), Some(time));
        }
    }
}
