//! `edges`: where the arguments of calls come from.

use martingale_schemas::Verdict;

use super::{Rows, integer};

pub(super) fn push(rows: &mut Rows, verdict: &Verdict<'_>) {
    for edge in &verdict.edges {
        rows.text("session_id", Some(verdict.session_id.as_str()));
        rows.text("root_session_id", Some(verdict.root_session_id.as_str()));
        rows.text("step_id", Some(verdict.step_id.as_str()));
        rows.time("time", verdict.time);
        rows.text("agent_id", Some(verdict.agent_id.as_str()));
        rows.text("tool", verdict.tool.as_deref());
        rows.text("argument", Some(&edge.argument));
        rows.text("from_step_id", Some(edge.from.as_str()));
        rows.text("path", edge.path.as_deref());
        rows.text("match_kind", Some(edge.matched.as_str()));
        rows.boolean("part", Some(edge.part));
        rows.boolean("authored", Some(edge.authored));
        rows.integer("partition", Some(i64::from(verdict.position.partition)));
        rows.integer("offset", Some(integer(verdict.position.offset)));
        rows.end();
    }
}
