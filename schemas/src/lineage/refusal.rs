//! Why a step cannot be in the run that it tells, or below the session that it names, and what to send instead.

use crate::rejection::shown;
use crate::{Reason, Rejection, SessionId, Step};

/// The root is not that of the session above.
pub(super) fn other_run(
    step: &Step<'_>,
    parent: &SessionId<'_>,
    root: &SessionId<'_>,
    root_above: &SessionId<'_>,
) -> Rejection {
    let message = format!(
        "session \"{}\" cannot be in run \"{run}\", since \"{}\", which is above it, is in run \"{}\": send that root or \
         the parent alone, or name a parent of run \"{run}\"",
        shown(step.session_id.as_str()),
        shown(parent.as_str()),
        shown(root_above.as_str()),
        run = shown(root.as_str()),
    );
    Rejection::field(Reason::Contradiction, "root_session_id", message)
}

/// The root is the child of another session.
pub(super) fn no_root(step: &Step<'_>, root: &SessionId<'_>) -> Rejection {
    let message = format!(
        "session \"{}\" cannot be in run \"{root}\": another session started session \"{root}\", as that says, so it is the root of no \
         run; send the root of its run, or the parent alone",
        shown(step.session_id.as_str()),
        root = shown(root.as_str()),
    );
    Rejection::field(Reason::Contradiction, "root_session_id", message)
}

/// The parent is below the session.
pub(super) fn circle(step: &Step<'_>, above: &SessionId<'_>) -> Rejection {
    let message = format!(
        "session \"{}\" cannot be below \"{}\", which is below it, as those between them say; name the session that started it",
        shown(step.session_id.as_str()),
        shown(above.as_str()),
    );
    Rejection::field(Reason::Contradiction, "parent_session_id", message)
}

/// A session above is refused itself.
pub(super) fn torn(step: &Step<'_>, parent: &SessionId<'_>, root: &SessionId<'_>) -> Rejection {
    let message = format!(
        "session \"{}\" cannot go on in run \"{}\": a session above it is in another run than its own parent, and is refused, \
         so that a halt there reaches whoever is below it; start another session under one that goes on, in place of \"{}\"",
        shown(step.session_id.as_str()),
        shown(root.as_str()),
        shown(parent.as_str()),
    );
    Rejection::field(Reason::Contradiction, "parent_session_id", message)
}

/// Something else was told, or made certain, before.
pub(super) fn differs(
    step: &Step<'_>,
    field: &'static str,
    now: &SessionId<'_>,
    before: Option<&SessionId<'_>>,
) -> Rejection {
    let before = before.map_or_else(|| "none".to_owned(), |it| format!("\"{}\"", shown(it.as_str())));
    let message = format!(
        "`{field}` is \"{}\", and that of session \"{}\" is {before} since its first step, or since a halt in \
         its run: send that, or nothing, and tell root and parent on the first step; what runs elsewhere is another session",
        shown(now.as_str()),
        shown(step.session_id.as_str()),
    );
    Rejection::field(Reason::Contradiction, field, message)
}
