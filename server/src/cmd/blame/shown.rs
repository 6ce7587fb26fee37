//! A ranking for people, for programs, and for a scorer.

use martingale_detector_core::{Reason, Suspect};
use serde_json::{Value, json};

use super::Session;
use crate::output::{Paint, Table, decision_paint, painted, plain};
use crate::policies::count;

/// Steps by their `seq`, those of producers that send none by their place in the session.
pub(super) fn ranked(session: &Session) -> Value {
    let number = |it: &Suspect| it.seq.unwrap_or(it.index as u64);
    json!({ "session_id": session.id, "ranked": session.blame.suspects().iter().map(number).collect::<Vec<_>>() })
}

pub(super) fn to_json(sessions: &[Session], top: usize, all: usize) -> Value {
    let sessions: Vec<Value> = sessions.iter().map(|it| session_json(it, top)).collect();
    json!({ "truncated": sessions.len() < all, "sessions": sessions })
}

fn session_json(session: &Session, top: usize) -> Value {
    let suspects = session.blame.suspects();
    let reason = |it: &Reason| json!({ "speaks_for": it.speaks_for(), "reason": it.to_string() });
    let shown: Vec<Value> = suspects
        .iter()
        .take(top)
        .map(|it| {
            json!({
                "step_id": it.step_id,
                "seq": it.seq,
                "index": it.index,
                "kind": it.kind,
                "actor": it.actor,
                "tool": it.tool,
                "score": it.score,
                "reasons": it.reasons.iter().map(reason).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "session_id": session.id,
        "decision": session.decision,
        "steps": suspects.len(),
        "suspects": shown,
    })
}

pub(super) fn text(session: &Session, top: usize) -> String {
    let suspects = session.blame.suspects();
    let mut table = Table::with_sentences(["rank", "step", "kind", "tool", "score", "why"], &["why"]);
    for (rank, it) in (1..).zip(suspects.iter().take(top)) {
        let kind = match &it.actor {
            Some(actor) => format!("{} ({actor})", it.kind),
            None => it.kind.to_string(),
        };
        let why: Vec<String> = it.reasons.iter().map(ToString::to_string).collect();
        let cells = [
            rank.to_string(),
            it.step_id.to_string(),
            kind,
            it.tool.as_deref().unwrap_or_default().to_owned(),
            it.score.to_string(),
            why.join("; "),
        ];
        table.row(cells.map(|it| (it, Paint::Plain)));
    }
    let steps = count(suspects.len(), "step");
    let decision = session.decision.as_str();
    let head = format!("session {}: {steps}, decided", plain(&session.id, 400));
    format!("{head} {}\n{table}", painted(decision, decision_paint(decision)))
}

#[cfg(test)]
mod tests {
    use martingale_schemas::wire::StepV1;
    use martingale_schemas::{Limits, Timestamp};
    use serde_json::json;

    use super::{ranked, text, to_json};
    use crate::cmd::blame::Session;

    fn session(with_seq: bool) -> Session {
        let mut session = Session::new("s\u{1b}".to_owned());
        for (at, (kind, said)) in
            [("user_message", "hello"), ("assistant_message", "looking"), ("tool_call", "x"), ("tool_result", "gone")]
                .into_iter()
                .enumerate()
        {
            let mut step = json!({ "session_id": "s", "step_id": format!("n{at}"), "kind": kind, "text": said,
                "agent": { "id": "a", "name": "eve" }, "time": "2026-01-01T10:00:00Z" });
            if with_seq {
                step["seq"] = json!(10 + at);
            }
            if kind.starts_with("tool") {
                step["tool"] = json!("search");
            }
            let step = step.to_string();
            let step = StepV1::parse(step.as_bytes())
                .and_then(|it| it.check(Timestamp::from_micros(0), &Limits::DEFAULT))
                .expect("a step");
            session.blame.observe(&step, &[]);
        }
        session
    }

    #[test]
    fn every_step_is_ranked_by_its_number() {
        assert_eq!(ranked(&session(true))["ranked"], json!([12, 10, 11, 13]));
        assert_eq!(ranked(&session(false))["ranked"], json!([2, 0, 1, 3]));
    }

    #[test]
    fn people_and_programs_are_told_the_same() {
        let told = to_json(&[session(true)], 2, 1);
        assert_eq!(told["truncated"], false);
        let session_told = &told["sessions"][0];
        assert_eq!((&session_told["steps"], &session_told["decision"]), (&json!(4), &json!("allow")));
        let suspects = session_told["suspects"].as_array().expect("a list");
        assert_eq!((suspects.len(), &suspects[0]["seq"]), (2, &json!(12)));
        let shown = text(&session(true), 2);
        assert!(shown.starts_with("session s␛: 4 steps, decided allow\n"), "{shown}");
        for suspect in suspects {
            for reason in suspect["reasons"].as_array().expect("a list") {
                assert!(shown.contains(reason["reason"].as_str().expect("text")), "{reason} in\n{shown}");
            }
        }
        assert!(shown.contains("tool_call (eve)") && !shown.contains('\u{1b}'), "{shown}");
    }
}
