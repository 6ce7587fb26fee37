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
        let at = PARSER.parse_timestamp(text).or_else(|error| match PARSER.parse_pieces(text) {
            Ok(it) if it.offset().is_some() && it.time().is_some() => {
                Ok(if it.date().year() > 0 { jiff::Timestamp::MAX } else { jiff::Timestamp::MIN })
            }
            _ => Err(error),
        })?;
        Ok(Self(at.as_microsecond()))
    }
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
