//! Where a record stands on the log, and the records that are neither step, verdict nor control.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Decision, Finding, Reason, Rejection, Timestamp, VerdictId, ids};

/// Position of a step on the log: partition of its topic and offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    pub partition: u32,
    pub offset: u64,
}

/// What stands against a step that was judged before: the answer to a gate that is asked about it again. Lives as long as
/// that gate waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Of the verdict the step was given. First, so that it is found without a parse.
    pub verdict_id: VerdictId<'static>,
    /// `halt` while a halt stands against the session, an ancestor or the run; otherwise `allow`.
    pub standing: Decision,
    /// Says which halt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
}

/// A record that could not be accepted, with what is needed to mend and replay it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// Derived from the record, its source and its arrival: each arrival of a bad record is listed, once.
    pub id: String,
    /// When it arrived.
    pub time: Timestamp,
    /// Through which door: `http_steps`, `gate`, `otlp_traces`, `otlp_logs`, or `log_` and the topic it was found on.
    pub source: String,
    pub reason: Reason,
    /// Field at fault, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub message: String,
    /// The record as it was sent, in base64 when it is not UTF-8; cut at a limit, and then it cannot be replayed.
    pub payload: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payload_is_base64: bool,
    /// Bytes of the whole payload when it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_truncated_from: Option<u64>,
}

/// That a dead letter was fed in again, and what came of it: a record of the same topic, after its letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LetterReplay {
    /// Id of the letter.
    pub replay_of: String,
    pub time: Timestamp,
    /// Steps that came out of it, by outcome.
    pub accepted: u64,
    pub duplicate: u64,
    pub rejected: u64,
}

impl LetterReplay {
    /// Nothing of the letter is left to mend.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.rejected == 0
    }
}

impl DeadLetter {
    /// The letter of a `payload` that came through `source` and was rejected. `identity` tells it from every other one of
    /// its source. The payload is cut where it takes more than `payload_bytes_max` as JSON writes it, so that a letter is no
    /// larger whatever is in it.
    #[must_use]
    pub fn new(
        source: impl Into<String>,
        identity: &[&[u8]],
        time: Timestamp,
        rejection: Rejection,
        payload: &[u8],
        payload_bytes_max: usize,
    ) -> Self {
        let source = source.into();
        let parts: Vec<&[u8]> = std::iter::once(source.as_bytes()).chain(identity.iter().copied()).collect();
        let (kept, payload_is_base64) = match std::str::from_utf8(payload) {
            Ok(text) => (&text.as_bytes()[..fits(text, payload_bytes_max)], false),
            Err(_) => (&payload[..payload.len().min(payload_bytes_max / 4 * 3)], true),
        };
        let is_cut = kept.len() < payload.len();
        let text = if payload_is_base64 { BASE64.encode(kept) } else { String::from_utf8_lossy(kept).into_owned() };
        Self {
            id: ids::derive("dl-", &parts),
            time,
            source,
            reason: rejection.reason,
            field: rejection.field.map(std::borrow::Cow::into_owned),
            message: rejection.message,
            payload: text,
            payload_is_base64,
            payload_truncated_from: is_cut.then_some(payload.len() as u64),
        }
    }

    /// The payload as it came.
    ///
    /// # Errors
    /// A sentence that says why it cannot be had.
    pub fn payload(&self) -> Result<Vec<u8>, String> {
        if let Some(whole) = self.payload_truncated_from {
            return Err(format!("the payload had {whole} bytes and was cut: send it again from its source"));
        }
        if self.payload_is_base64 {
            return BASE64.decode(&self.payload).map_err(|error| format!("the payload is no base64: {error}"));
        }
        Ok(self.payload.clone().into_bytes())
    }
}

/// How many bytes of a text JSON writes in at most `bytes_max`: a control character takes six, a quote two.
fn fits(text: &str, bytes_max: usize) -> usize {
    let mut left = bytes_max;
    for (at, character) in text.char_indices() {
        let takes = match character {
            '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        match left.checked_sub(takes) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::DeadLetter;
    use crate::{Reason, Rejection, Timestamp};

    fn letter(identity: u64, bytes: &[u8], max: usize) -> DeadLetter {
        let rejection = Rejection::field(Reason::MissingField, "kind", "`kind` is required");
        DeadLetter::new("http_steps", &[&identity.to_le_bytes()], Timestamp::from_micros(1), rejection, bytes, max)
    }

    #[test]
    fn a_payload_comes_back_as_it_was_unless_it_was_cut() {
        for bytes in [&b"{\"a\":1}"[..], b"", b"\xff\xfe\x00", "größer".as_bytes()] {
            assert_eq!(letter(0, bytes, 64).payload().as_deref(), Ok(bytes));
        }
        let cut = letter(0, "größer".as_bytes(), 3);
        assert_eq!((cut.payload.as_str(), cut.payload_truncated_from), ("gr", Some(8)));
        assert!(cut.payload().is_err_and(|message| message.contains("8 bytes")));
        assert!(letter(0, b"\xff\xfe\x00", 2).payload().is_err());
        assert_eq!((cut.reason, cut.field.as_deref()), (Reason::MissingField, Some("kind")));
    }

    #[test]
    fn a_letter_is_no_larger_whatever_is_in_it() {
        const MAX: usize = 1_000;
        let empty = serde_json::to_vec(&letter(0, b"", MAX)).expect("JSON").len();
        for (unit, kept) in [
            ("x", 1_000),
            ("\u{1}", 166),
            ("\0", 166),
            ("\"", 500),
            ("\\", 500),
            ("\n", 500),
            ("\u{7f}", 1_000),
            ("ß", 1_000),
        ] {
            let payload = unit.repeat(2_000);
            let letter = letter(0, payload.as_bytes(), MAX);
            assert_eq!(letter.payload.len(), kept, "{unit:?}");
            let bytes = serde_json::to_vec(&letter).expect("JSON").len();
            assert!(bytes <= empty + MAX + 40, "{bytes} bytes of {unit:?}");
        }
        let letter = letter(0, &[0xff; 2_000], MAX);
        assert!(letter.payload.len() <= MAX && letter.payload_truncated_from == Some(2_000));
    }

    #[test]
    fn its_identity_is_its_id() {
        assert_eq!(letter(1, b"a", 9).id, letter(1, b"b", 9).id);
        assert_ne!(letter(1, b"a", 9).id, letter(2, b"a", 9).id);
    }
}
