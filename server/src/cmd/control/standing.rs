//! What still stands against a session after its own halt was lifted.
//!
//! Read from history, which hears of an order a moment after it was applied. This only informs: what cannot be found out
//! is not told, and the order stands as it was given.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::sql::text;
use crate::output::{myself, plain};

/// Longest time until history has heard of the order.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Farthest ancestor that is looked at.
const ANCESTORS_MAX: usize = 32;

/// A sentence about what still stands, if anything does.
pub(super) async fn after_resume(client: &Client, session: &str) -> Option<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let row = look(client, session).await?;
        let cause = above(client, &row).await;
        if cause.is_some() {
            return Some(sentence(session, cause.as_deref()));
        }
        if row["session"]["standing"] != "halt" {
            return None;
        }
        if Instant::now() > until {
            return Some(sentence(session, None));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What to resume so that nothing above the session stands: its run, or the farthest session that is halted, since those
/// below that one follow from it.
async fn above(client: &Client, session: &Value) -> Option<String> {
    if let Some(order) = halt_of("run", session) {
        return Some(format!("--run {}", text(&order["scope_id"])));
    }
    let mut cause = None;
    let mut parent = text(&session["session"]["parent_session_id"]);
    for _ in 0..ANCESTORS_MAX {
        if parent.is_empty() {
            break;
        }
        let Some(row) = look(client, &parent).await else { break };
        if row["session"]["standing"] == "halt" || halt_of("session", &row).is_some() {
            cause = Some(parent);
        }
        parent = text(&row["session"]["parent_session_id"]);
    }
    cause
}

async fn look(client: &Client, session: &str) -> Option<Value> {
    client.get(&["v1", "sessions", session], &[]).await.ok()
}

/// The newest order of this scope, when it is a halt.
fn halt_of<'v>(scope: &str, answer: &'v Value) -> Option<&'v Value> {
    let newest = answer["controls"].as_array()?.iter().rfind(|it| it["scope"] == *scope)?;
    (newest["action"] == "halt").then_some(newest)
}

fn sentence(session: &str, cause: Option<&str>) -> String {
    let session = plain(session, 200);
    match cause {
        Some(cause) => {
            let cause = plain(cause, 200);
            format!(
                "session {session} is still halted, by what stands above it: `{} resume {cause}` lifts that",
                myself()
            )
        }
        None => {
            format!("session {session} is still halted: another order stands, of its run or of one it descends from")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{halt_of, sentence};

    #[test]
    fn the_newest_order_of_a_scope_counts() {
        let order = |scope: &str, action: &str| json!({ "scope": scope, "scope_id": "r", "action": action });
        for (controls, session, run) in [
            (json!([]), false, false),
            (json!([order("session", "halt")]), true, false),
            (json!([order("run", "halt"), order("session", "resume")]), false, true),
            (json!([order("session", "halt"), order("run", "halt"), order("run", "resume")]), true, false),
        ] {
            let answer = json!({ "session": {}, "controls": controls });
            let halted = ["session", "run"].map(|scope| halt_of(scope, &answer).is_some());
            assert_eq!(halted, [session, run], "{answer}");
        }
    }

    #[test]
    fn what_stands_is_named_with_its_remedy() {
        let said = sentence("c", Some("p\u{1b}"));
        assert!(said.contains("session c is still halted") && said.contains("resume p␛`"), "{said}");
        assert!(sentence("c", None).contains("still halted"));
    }
}
