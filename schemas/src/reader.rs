//! How records of the `steps` topic become steps, the same for everybody who reads them.

use crate::{Limits, Reason, Rejection, Step, Timestamp};

/// Reads records of `steps`. Whoever reads a record, whenever that is, has to come to the same step: its id, its time and
/// what is cut of it follow from the record alone.
#[derive(Clone, Debug)]
pub struct StepReader {
    /// None where only ingest writes.
    open: Option<Limits>,
}

impl StepReader {
    /// `is_open`: whether others write to the topic as well.
    #[must_use]
    pub fn new(is_open: bool, limits: &Limits) -> Self {
        Self { open: is_open.then(|| limits.clone()) }
    }

    /// # Errors
    /// A [`Rejection`] for the dead letter.
    pub fn read<'a>(&self, key: &[u8], value: &'a [u8], appended_at: Timestamp) -> Result<Step<'a>, Rejection> {
        let Some(limits) = &self.open else { return Step::from_log(value) };
        if key.is_empty() {
            let message = "the record has no key, so it stands in a partition by chance: send it with its \
                           `root_session_id` as the key, which is the `session_id` where there is no other";
            return Err(Rejection::field(Reason::MissingField, "key", message));
        }
        if key.len() > limits.id_bytes_max {
            let message = format!(
                "the key has {} bytes, at most {} are taken: send the record with its `root_session_id` as the key",
                key.len(),
                limits.id_bytes_max
            );
            return Err(Rejection::field(Reason::TooLong, "key", message));
        }
        Step::from_topic(value, appended_at, limits)
    }
}

#[cfg(test)]
mod tests {
    use super::StepReader;
    use crate::{Limits, Reason, Timestamp};

    const AT: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    #[test]
    fn what_anybody_writes_is_checked_as_ingest_does() {
        let reader = StepReader::new(true, &Limits { content_bytes_max: 8, ..Limits::DEFAULT });
        let raw = |more: &str| format!(r#"{{"session_id":"s","kind":"tool_call","agent":{{"id":"a"}}{more}}}"#);
        let bare = raw("");
        let step = reader.read(b"s", bare.as_bytes(), AT).expect("a step");
        assert_eq!((step.time, step.step_id.as_str().starts_with("d-")), (AT, true));
        assert_eq!(step.step_id, reader.read(b"s", bare.as_bytes(), AT).expect("a step").step_id, "by its bytes");
        let absurd = raw(r#","step_id":"1","time":"2999-01-01T00:00:00Z","text":"123456789""#);
        let step = reader.read(b"s", absurd.as_bytes(), AT).expect("a step");
        assert_eq!((step.time, step.time_clamped_from.as_deref()), (AT, Some("2999-01-01T00:00:00Z")));
        assert_eq!((step.text.as_deref(), step.text_cut.is_some()), (Some("12345678"), true));
        for (sent, gated, attributes) in
            [(r#","gated":true"#, Some(true), 0), (r#","gated":false"#, Some(false), 0), (r#","gated":"x""#, None, 1)]
        {
            let sent = raw(sent);
            let step = reader.read(b"s", sent.as_bytes(), AT).expect("a step");
            assert_eq!((step.gated, step.attributes.len()), (gated, attributes), "{sent}");
        }
        let large = raw(&format!(r#","x":"{}""#, "x".repeat(Limits::DEFAULT.step_bytes_max + 70_000)));
        for (key, value, reason) in [
            ("s", "", Reason::InvalidJson),
            ("s", "[]", Reason::NotAnObject),
            ("s", r#"{"session_id":"s","kind":"tool_call"}"#, Reason::MissingField),
            ("s", &large, Reason::TooLarge),
            ("", &bare, Reason::MissingField),
        ] {
            let rejection = reader.read(key.as_bytes(), value.as_bytes(), AT).expect_err("refused");
            assert_eq!(rejection.reason, reason, "{rejection:?}");
        }
    }

    #[test]
    fn who_is_above_the_parent_is_a_list_of_ids() {
        let reader = StepReader::new(true, &Limits::DEFAULT);
        for (sent, ancestors) in [
            (r#"["p","q"]"#.to_owned(), 2),
            ("[]".to_owned(), 0),
            ("true".to_owned(), 0),
            (r#"[1]"#.to_owned(), 0),
            (r#"[""]"#.to_owned(), 0),
            (format!(r#"["{}"]"#, "x".repeat(Limits::DEFAULT.id_bytes_max + 1)), 0),
            (format!("[{}]", [r#""p""#; 17].join(",")), 0),
        ] {
            let raw =
                format!(r#"{{"session_id":"s","kind":"plan","agent":{{"id":"a"}},"ancestor_session_ids":{sent}}}"#);
            let step = reader.read(b"s", raw.as_bytes(), AT).expect("a step");
            assert_eq!(
                (step.ancestors.len(), step.attributes.len()),
                (ancestors, usize::from(ancestors == 0 && sent != "[]")),
                "{sent}"
            );
        }
    }

    #[test]
    fn where_ingest_alone_writes_nothing_is_filled_in() {
        let reader = StepReader::new(false, &Limits::DEFAULT);
        let bare = r#"{"session_id":"s","kind":"tool_call","agent":{"id":"a"}}"#;
        assert_eq!(reader.read(b"s", bare.as_bytes(), AT).expect_err("incomplete").reason, Reason::MissingField);
    }
}
