//! `control_events`: what became of each control, from which the view `controls` is made.
//!
//! A request is on every partition, the same each time; the copy of partition 0 stands for all of them.

use martingale_schemas::{Control, ControlState, Position};

use super::{Rows, integer};

pub(super) fn push(rows: &mut Rows, control: &Control, at: Position) {
    let (state, before, known, changed) = match control.state {
        ControlState::Requested if at.partition != 0 => return,
        ControlState::Requested => ("requested", None, None, None),
        ControlState::Applied { before, known, changed } => {
            ("applied", Some(integer(before.offset)), Some(known), changed)
        }
    };
    rows.text("control_id", Some(control.control_id.as_str()));
    rows.text("action", Some(control.action.as_str()));
    rows.text("scope", Some(control.scope.as_str()));
    rows.text("scope_id", Some(&control.scope.name()));
    rows.time("time", control.time);
    rows.text("given_by", control.by.as_deref());
    rows.text("reason", control.reason.as_deref());
    rows.text("state", Some(state));
    rows.integer("before_offset", before);
    rows.boolean("known", known);
    rows.integer("partition", Some(i64::from(at.partition)));
    rows.integer("offset", Some(integer(at.offset)));
    rows.boolean("changed", changed);
    rows.end();
}
