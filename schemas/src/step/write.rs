//! A checked step as JSON: what the log holds.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{ANCESTORS, Cut, Step};
use crate::{Capture, Reason, Rejection};

/// More than a record has beside what a producer sent: its key, root and time, and the ids of up to 31 sessions above it.
const SETTLED_BYTES: usize = 8 << 10;

impl Step<'_> {
    /// Whether a log that takes records of at most so many bytes, key and value together, takes it; `sent`: bytes of JSON
    /// that it came in. Only what came large is written to see.
    ///
    /// # Errors
    /// [`Reason::TooLarge`], with both numbers.
    pub fn fits(&self, sent: usize, record_bytes_max: usize) -> Result<(), Rejection> {
        if sent.saturating_add(SETTLED_BYTES) <= record_bytes_max {
            return Ok(());
        }
        let bytes = self.to_json().len() + SETTLED_BYTES;
        if bytes <= record_bytes_max {
            return Ok(());
        }
        let message = format!(
            "as a record of the log the step takes up to {bytes} bytes, at most {record_bytes_max} are taken: send less, or \
             raise message.max.bytes of kafka.properties and max.message.bytes of the topics"
        );
        Err(Rejection::new(Reason::TooLarge, message))
    }

    /// The step as one JSON object, defaults filled in. [`Step::from_log`] reads it back.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        // Cannot fail: the writer is memory and every map key is a string.
        let _ = serde_json::to_writer(&mut out, self);
        out
    }
}

impl Serialize for Step<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("session_id", &self.session_id)?;
        if self.root_session_id != self.session_id || self.parent_session_id.is_some() {
            map.serialize_entry("root_session_id", &self.root_session_id)?;
        }
        optional(&mut map, "parent_session_id", self.parent_session_id.as_ref())?;
        map.serialize_entry("step_id", &self.step_id)?;
        optional(&mut map, "seq", self.seq.as_ref())?;
        map.serialize_entry("time", &self.time)?;
        optional(&mut map, "time_clamped_from", self.time_clamped_from.as_ref())?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("agent", &self.agent)?;
        optional(&mut map, "environment", self.environment.as_ref())?;
        optional(&mut map, "principal", self.principal.as_ref())?;
        optional(&mut map, "owner", self.owner.as_ref())?;
        if !self.causes.is_empty() {
            map.serialize_entry("causes", &self.causes)?;
        }
        optional(&mut map, "tool", self.tool.as_ref())?;
        optional(&mut map, "model", self.model.as_ref())?;
        optional(&mut map, "input", self.input.as_ref())?;
        cut(&mut map, "input_truncated_from", "input_fingerprint", self.input_cut)?;
        optional(&mut map, "output", self.output.as_ref())?;
        cut(&mut map, "output_truncated_from", "output_fingerprint", self.output_cut)?;
        optional(&mut map, "text", self.text.as_ref())?;
        cut(&mut map, "text_truncated_from", "text_fingerprint", self.text_cut)?;
        if !self.alternatives.is_empty() {
            map.serialize_entry("alternatives", &self.alternatives)?;
        }
        optional(&mut map, "status", self.status.as_ref())?;
        optional(&mut map, "error", self.error.as_ref())?;
        optional(&mut map, "usage", self.usage.as_ref())?;
        optional(&mut map, "duration_ms", self.duration_ms.as_ref())?;
        optional(&mut map, "gated", self.gated.as_ref())?;
        if self.capture != Capture::Full {
            map.serialize_entry("capture", &self.capture)?;
        }
        if !self.ancestors.is_empty() {
            map.serialize_entry(ANCESTORS, &self.ancestors)?;
        }
        if !self.attributes.is_empty() {
            map.serialize_entry("attributes", &AsMap(self))?;
        }
        map.end()
    }
}

struct AsMap<'s>(&'s Step<'s>);

impl Serialize for AsMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.attributes.iter().map(|(name, value)| (name, value)))
    }
}

fn optional<M: SerializeMap, T: Serialize>(map: &mut M, name: &'static str, value: Option<&T>) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, value),
        None => Ok(()),
    }
}

fn cut<M: SerializeMap>(
    map: &mut M,
    size: &'static str,
    print: &'static str,
    cut: Option<Cut>,
) -> Result<(), M::Error> {
    let Some(Cut { bytes, fingerprint }) = cut else { return Ok(()) };
    map.serialize_entry(size, &bytes)?;
    match fingerprint {
        Some(bytes) => map.serialize_entry(print, &format_args!("{:032x}", u128::from_be_bytes(bytes))),
        None => Ok(()),
    }
}
