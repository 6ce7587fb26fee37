//! The step wire format, v1, as a producer sends it.
//!
//! Read by hand-driven visitors and not by derive, for three things derive cannot do at once: borrow `input` and
//! `output` as they stand, keep unknown fields (flattening would copy every value into a tree first), and refuse a
//! field that comes twice.

mod check;
mod content;
mod fault;
mod object;
#[cfg(test)]
mod properties;
mod scan;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use serde_json::value::RawValue;

use crate::lineage::Said;
use crate::{Reason, Rejection, Step};
use fault::Fault;
use object::object;
pub use values::Text;
use values::{Attributes, Count, Texts};

object! {
    /// `agent` of a step.
    AgentV1 { id: Text<'a>, name: Text<'a>, version: Text<'a> }
}

object! {
    /// `principal` of a step.
    PrincipalV1 { id: Text<'a>, kind("type"): Text<'a>, on_behalf_of: Text<'a>, scopes: Texts<'a> }
}

object! {
    /// One of `alternatives`.
    AlternativeV1 { action: Text<'a>, score: f64, reason: Text<'a> }
}

object! {
    /// `error` of a step.
    ErrorV1 { kind("type"): Text<'a>, message: Text<'a> }
}

object! {
    /// `usage` of a step.
    UsageV1 { input_tokens: Count, output_tokens: Count, cached_tokens: Count, cost_usd: f64 }
}

object! {
    /// A step as sent: every field optional, `null` the same as absent, unknown fields kept in `extra`.
    StepFieldsV1 {
        session_id: Text<'a>,
        root_session_id: Text<'a>,
        parent_session_id: Text<'a>,
        step_id: Text<'a>,
        seq: Count,
        time: Text<'a>,
        time_clamped_from: Text<'a>,
        kind: Text<'a>,
        agent: AgentV1<'a>,
        environment: Text<'a>,
        principal: PrincipalV1<'a>,
        owner: Text<'a>,
        causes: Texts<'a>,
        tool: Text<'a>,
        model: Text<'a>,
        input: &'a RawValue,
        input_truncated_from: Count,
        input_fingerprint: Text<'a>,
        output: &'a RawValue,
        output_truncated_from: Count,
        output_fingerprint: Text<'a>,
        text: Text<'a>,
        text_truncated_from: Count,
        text_fingerprint: Text<'a>,
        alternatives: Vec<AlternativeV1<'a>>,
        status: Text<'a>,
        error: ErrorV1<'a>,
        usage: UsageV1<'a>,
        duration_ms: f64,
        attributes: Attributes<'a>
    }
}

/// A step as sent, with the bytes it was read from.
#[derive(Debug)]
pub struct StepV1<'a> {
    pub fields: StepFieldsV1<'a>,
    /// A step without an id takes its identity from these, so that a resend of the same bytes is the same step.
    source: &'a [u8],
}

impl<'a> StepV1<'a> {
    /// Reads one JSON object. Nothing but JSON and the types of known fields is checked.
    ///
    /// # Errors
    /// [`Rejection`] with the field and, for broken JSON, line and column.
    pub fn parse(json: &'a [u8]) -> Result<Self, Rejection> {
        let mut step = Self { fields: StepFieldsV1::default(), source: json };
        step.fill()?;
        Ok(step)
    }

    /// Reads a record of the log. Beside [`Self::parse`] because the fields are moved nowhere on this path.
    pub(crate) fn logged(json: &'a [u8]) -> Result<Step<'a>, Rejection> {
        let mut step = Self { fields: StepFieldsV1::default(), source: json };
        step.fill()?;
        step.check_logged()
    }

    fn fill(&mut self) -> Result<(), Rejection> {
        let json = self.source;
        let text = std::str::from_utf8(json).map_err(|error| {
            let at = error.valid_up_to();
            Rejection::new(Reason::InvalidUtf8, format!("byte {at} is not valid UTF-8: send JSON encoded as UTF-8"))
        })?;
        let fault = Fault::default();
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = self.fields.fill(&mut deserializer, &fault).and_then(|()| deserializer.end());
        read.map_err(|error| fault.rejection(&error))
    }

    /// What it says of its lineage, for [`crate::Lineage::settle`].
    #[must_use]
    pub const fn said(&self) -> Said {
        Said::Told { root: self.fields.root_session_id.is_some(), parent: self.fields.parent_session_id.is_some() }
    }
}
