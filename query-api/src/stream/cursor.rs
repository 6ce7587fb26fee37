//! Where a reader of several partitions stands, as text a client can keep: the next offsets joined by `.`.

use std::fmt;

use martingale_platform::log;
use martingale_platform::log::{Bounds, Log, Offset, Partition, Topic};
use martingale_schemas::rejection::shown;

/// Next offset of each partition of each topic, topic after topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor(pub(crate) Vec<Offset>);

/// Where a reader asks to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The oldest record that is kept.
    Start,
    /// What comes from now on.
    End,
    At(Cursor),
}

impl Cursor {
    /// # Errors
    /// One sentence when the text is no cursor of `parts` parts.
    pub(crate) fn parse(text: &str, parts: usize) -> Result<Self, String> {
        let offsets: Result<Vec<Offset>, _> = text.split('.').map(|part| part.parse().map(Offset)).collect();
        match offsets {
            Ok(offsets) if offsets.len() == parts => Ok(Self(offsets)),
            Ok(offsets) => Err(format!(
                "cursor \"{}\" has {} parts where {parts} belong: it comes from another log or another path",
                shown(text),
                offsets.len()
            )),
            Err(_) => {
                Err(format!("\"{}\" is no cursor: send one as it was answered, or `end`, or `start`", shown(text)))
            }
        }
    }
}

impl After {
    /// # Errors
    /// One sentence when the text is none of `start`, `end` and a cursor of `parts` parts.
    pub(crate) fn parse(text: &str, parts: usize) -> Result<Self, String> {
        match text {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            _ => Cursor::parse(text, parts).map(Self::At),
        }
    }

    /// The cursor this stands for on `log`, and what the log holds of each of its parts.
    pub(crate) async fn on(self, log: &dyn Log, topics: &[Topic]) -> Result<(Cursor, Vec<Bounds>), log::Error> {
        let mut bounds = Vec::new();
        for topic in topics {
            for partition in (0..log.partitions()).map(Partition) {
                bounds.push(log.bounds(topic, partition).await?);
            }
        }
        let cursor = match self {
            Self::Start => Cursor(bounds.iter().map(|it| it.start).collect()),
            Self::End => Cursor(bounds.iter().map(|it| it.end).collect()),
            Self::At(cursor) => cursor,
        };
        Ok((cursor, bounds))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, offset) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "." };
            write!(f, "{separator}{offset}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use martingale_platform::log::Offset;

    use super::{After, Cursor};

    #[test]
    fn cursors_read_and_write() {
        for (text, expected) in [
            ("1.2", Ok(After::At(Cursor(vec![Offset(1), Offset(2)])))),
            ("end", Ok(After::End)),
            ("start", Ok(After::Start)),
            ("1", Err("1 parts where 2 belong")),
            ("1.2.3", Err("3 parts where 2 belong")),
            ("1.x", Err("no cursor")),
            ("", Err("no cursor")),
            ("1.-2", Err("no cursor")),
        ] {
            match (After::parse(text, 2), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected),
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        assert_eq!(Cursor(vec![Offset(1), Offset(20)]).to_string(), "1.20");
    }
}
