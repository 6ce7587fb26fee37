//! One line for each judged step, byte for byte the same whoever judged it.

use martingale_detector_core::Judgement;
use martingale_schemas::{Decision, Finding, Scores, SessionId, Step, StepId, ids};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::tally::Found;

/// A line from a judgement of this process.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    session_id: &'a SessionId<'a>,
    seq: Option<u64>,
    step_id: &'a StepId<'a>,
    decision: Decision,
    scores: &'a Scores,
    findings: &'a [Finding],
}

impl<'a> Line<'a> {
    pub(crate) fn of(step: &'a Step<'_>, judgement: &'a Judgement) -> Self {
        let (session_id, seq, step_id) = (&step.session_id, step.seq, &step.step_id);
        let Judgement { decision, scores, findings, .. } = judgement;
        Self { session_id, seq, step_id, decision: *decision, scores, findings }
    }
}

/// The same fields of a verdict as the server exports it. Texts and numbers are passed on as they stand: reading a
/// number and writing it again could change its last digit.
#[derive(Serialize, Deserialize)]
pub(crate) struct Exported<'a> {
    #[serde(borrow)]
    session_id: &'a RawValue,
    seq: Option<u64>,
    #[serde(borrow)]
    step_id: &'a RawValue,
    pub(crate) decision: Decision,
    #[serde(borrow, default, serialize_with = "or_empty_object")]
    scores: Option<&'a RawValue>,
    #[serde(borrow, default, serialize_with = "or_empty_list")]
    findings: Option<&'a RawValue>,
}

/// What tells which step a verdict is of.
#[derive(Deserialize)]
pub(crate) struct Identity {
    session_id: SessionId<'static>,
    step_id: StepId<'static>,
}

impl Identity {
    /// Of the step.
    pub(crate) fn key(&self) -> [u8; 16] {
        ids::step_key(&self.session_id, &self.step_id)
    }

    pub(crate) fn session(&self) -> [u8; 16] {
        ids::digest(&[self.session_id.as_str().as_bytes()])
    }
}

impl<'a> Exported<'a> {
    /// The fields of a line, and the step's identity.
    pub(crate) fn parse(verdict: &'a [u8]) -> Result<(Self, Identity), serde_json::Error> {
        Ok((serde_json::from_slice(verdict)?, serde_json::from_slice(verdict)?))
    }

    pub(super) fn found(&self) -> Result<Vec<Found<'a>>, serde_json::Error> {
        self.findings.map_or_else(|| Ok(Vec::new()), |it| serde_json::from_str(it.get()))
    }
}

fn or_empty_object<S: Serializer>(value: &Option<&RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_map(Some(0))?.end(),
    }
}

fn or_empty_list<S: Serializer>(value: &Option<&RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_seq(Some(0))?.end(),
    }
}

/// # Errors
/// When it cannot be written.
pub(crate) fn write(out: &mut impl std::io::Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use martingale_schemas::step::Kind;
    use martingale_schemas::{
        AgentId, Calibration, Column, Decision, Finding, Mode, Position, SessionId, Severity, StepId, Timestamp,
        Verdict, VerdictId,
    };

    use super::{Exported, Line, write};

    fn verdict(findings: Vec<Finding>, seq: Option<u64>) -> Verdict<'static> {
        let (session_id, step_id) = (SessionId::from("s \"ü\""), StepId::from("1"));
        let scores = findings.iter().map(|it| (it.column.as_str().into(), it.score)).collect::<BTreeMap<_, _>>();
        Verdict {
            verdict_id: VerdictId::of(&session_id, &step_id),
            root_session_id: session_id.clone(),
            session_id,
            step_id,
            seq,
            kind: Kind::ToolCall,
            agent_id: AgentId::from("a"),
            agent_version: None,
            environment: None,
            tool: None,
            gated: Some(true),
            time: Timestamp::default(),
            position: Position { partition: 0, offset: 0 },
            decision: Decision::Warn,
            standing: Decision::Allow,
            scores,
            findings,
            edges: Vec::new(),
        }
    }

    fn finding(score: f64) -> Finding {
        Finding {
            column: Column::Loop,
            rule: "repeat".into(),
            severity: Severity::High,
            mode: Mode::Enforce,
            decision: Decision::Warn,
            score,
            calibration: Calibration::Fact,
            bound: None,
            evidence: vec![StepId::from("1")],
            began_at: StepId::from("1"),
            message: "said \u{1b}[0m \u{2028} \"x\"".into(),
            notify: Vec::new(),
        }
    }

    #[test]
    fn live_and_offline_write_the_same_bytes() {
        for verdict in [
            verdict(Vec::new(), None),
            verdict(vec![finding(3.0)], Some(7)),
            // Not every reader of numbers brings this one back as it was.
            verdict(vec![finding(0.1 + 0.2), finding(1.797_693_134_862_315_7e308)], Some(u64::MAX)),
        ] {
            let offline = Line {
                session_id: &verdict.session_id,
                seq: verdict.seq,
                step_id: &verdict.step_id,
                decision: verdict.decision,
                scores: &verdict.scores,
                findings: &verdict.findings,
            };
            let exported = serde_json::to_vec(&verdict).expect("JSON");
            let (live, identity) = Exported::parse(&exported).expect("a verdict");
            let (mut a, mut b) = (Vec::new(), Vec::new());
            write(&mut a, &offline).expect("memory");
            write(&mut b, &live).expect("memory");
            assert_eq!(String::from_utf8_lossy(&a), String::from_utf8_lossy(&b));
            assert_eq!(identity.key(), martingale_schemas::ids::step_key(&verdict.session_id, &verdict.step_id));
            assert_eq!(live.found().expect("findings").len(), verdict.findings.len());
        }
    }

    #[test]
    fn the_line_keeps_its_shape() {
        let exported = serde_json::to_vec(&verdict(Vec::new(), None)).expect("JSON");
        let (line, _) = Exported::parse(&exported).expect("a verdict");
        let mut out = Vec::new();
        write(&mut out, &line).expect("memory");
        let expected =
            r#"{"session_id":"s \"ü\"","seq":null,"step_id":"1","decision":"warn","scores":{},"findings":[]}"#;
        assert_eq!(String::from_utf8_lossy(&out), format!("{expected}\n"));
    }
}
