//! What still stands against a session after its own halt was lifted.
//!
//! Read from history, which hears of an order a moment after it was applied, from each partition by itself. This only
//! informs: what cannot be found out is not told, and the order stands as it was given.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::sql::text;
use crate::output::{myself, plain};

/// Longest time until history has heard of the order: mostly less than one second, and more on a machine that is busy, where what
/// still stands must not go unsaid.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Farthest ancestor that is looked at.
const ANCESTORS_MAX: usize = 32;

/// A sentence about what still stands after `order`, as it was answered, if anything does.
pub(super) async fn after_resume(client: &Client, session: &str, order: &Value) -> Option<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let row = look(client, session).await?;
        if has_heard(&row, order) {
            let cause = above(client, &row).await;
            let stands = cause.is_some() || row["session"]["halted"] == true;
            return stands.then(|| sentence(session, cause.as_deref()));
        }
        if Instant::now() > until {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether an answer of history tells of the order as every partition applied it: before that, what it says of the session
/// may be of before the order.
fn has_heard(answer: &Value, order: &Value) -> bool {
    let applied = order["applied_before"].as_array().map_or(0, |it| it.len() as u64);
    let is_it =
        |it: &Value| it["control_id"] == order["control_id"] && it["applied_partitions"].as_u64() >= Some(applied);
    answer["controls"].as_array().is_some_and(|all| all.iter().any(is_it))
}

/// What to resume so that nothing above the session stands: its run, or the farthest session that is halted, since those
/// below that one follow from it.
async fn above(client: &Client, session: &Value) -> Option<String> {
    if let Some(root) = halted_run(session) {
        return Some(format!("--run {root}"));
    }
    let mut cause = None;
    let mut parent = text(&session["session"]["parent_session_id"]);
    for _ in 0..ANCESTORS_MAX {
        if parent.is_empty() {
            break;
        }
        let Some(row) = look(client, &parent).await else { break };
        if row["session"]["halted"] == true {
            cause = Some(parent);
        }
        parent = text(&row["session"]["parent_session_id"]);
    }
    cause
}

async fn look(client: &Client, session: &str) -> Option<Value> {
    client.get(&["v1", "sessions", session], &[]).await.ok()
}

/// The root, when the newest order for the whole run is a halt.
fn halted_run(answer: &Value) -> Option<String> {
    let newest = answer["controls"].as_array()?.iter().rfind(|it| it["scope"] == "run")?;
    (newest["action"] == "halt").then(|| text(&newest["scope_id"]))
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

    use super::{halted_run, has_heard, sentence};

    #[test]
    fn what_history_says_counts_once_it_has_heard_of_the_order_from_everywhere() {
        let order = json!({ "control_id": "c-2", "applied_before": [{ "partition": 0 }, { "partition": 1 }] });
        let seen = |id: &str, partitions: u64| json!({ "control_id": id, "applied_partitions": partitions });
        for (controls, heard) in [
            (json!([]), false),
            (json!([seen("c-1", 2)]), false),
            (json!([seen("c-1", 2), seen("c-2", 0)]), false),
            (json!([seen("c-1", 2), seen("c-2", 1)]), false),
            (json!([seen("c-1", 2), seen("c-2", 2)]), true),
        ] {
            let answer = json!({ "session": { "halted": true }, "controls": controls });
            assert_eq!(has_heard(&answer, &order), heard, "{answer}");
        }
    }

    #[test]
    fn the_newest_order_for_the_run_counts() {
        let order = |scope: &str, action: &str| json!({ "scope": scope, "scope_id": "r", "action": action });
        for (controls, root) in [
            (json!([]), None),
            (json!([order("session", "halt")]), None),
            (json!([order("run", "halt"), order("session", "resume")]), Some("r")),
            (json!([order("run", "halt"), order("run", "resume")]), None),
        ] {
            let answer = json!({ "session": {}, "controls": controls });
            assert_eq!(halted_run(&answer).as_deref(), root, "{answer}");
        }
    }

    #[test]
    fn what_stands_is_named_with_its_remedy() {
        let said = sentence("c", Some("p\u{1b}"));
        assert!(said.contains("session c is still halted") && said.contains("resume p␛`"), "{said}");
        assert!(sentence("c", None).contains("still halted"));
    }
}
