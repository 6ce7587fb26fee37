//! `halt` and `resume`.
//!
//! An order may be given twice: a halt of what is halted and a resume of what is not change nothing, and both say so.

mod standing;

use std::process::ExitCode;

use anyhow::Result;
use martingale_schemas::ControlAction;
use serde_json::Value;

use crate::cli::control::{Halt, Order, Resume};
use crate::client::Client;
use crate::output::{note, plain, say, say_json};

pub(crate) async fn halt(args: Halt) -> Result<ExitCode> {
    give(&args.order, ControlAction::Halt).await
}

pub(crate) async fn resume(args: Resume) -> Result<ExitCode> {
    give(&args.order, ControlAction::Resume).await
}

async fn give(order: &Order, action: ControlAction) -> Result<ExitCode> {
    let client = Client::new(&order.signed.output.server)?;
    let answer = client.post(&["v1", "controls"], &request(order, action)).await?;
    if order.signed.output.json {
        say_json(&answer)?;
        return Ok(code(action, &answer));
    }
    say(sentence(order, action, &answer))?;
    if answer["state"] != "applied" {
        return Ok(code(action, &answer));
    }
    match (action, answer["known"] == false, &order.scope.session) {
        (ControlAction::Halt, true, _) => note("no step of it was seen yet: the order holds from its first one on"),
        (ControlAction::Resume, true, _) if answer["changed"] == true => {
            note("no step of it was seen: the halt was given ahead of its first one");
        }
        (ControlAction::Resume, true, _) => note("is the name right? `sessions` lists those there are"),
        (ControlAction::Resume, false, Some(session)) => {
            if let Some(why) = standing::after_resume(&client, session, &answer).await {
                note(why);
            }
        }
        _ => {}
    }
    Ok(code(action, &answer))
}

/// An order that changed nothing is no failure: what was wanted holds. But to resume what nobody has heard of is most
/// likely a slip of the pen.
fn code(action: ControlAction, answer: &Value) -> ExitCode {
    let unknown = answer["state"] == "applied" && nobody_knows(answer);
    if action == ControlAction::Resume && unknown { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether it was for something that no step was seen of and no order stood for.
fn nobody_knows(answer: &Value) -> bool {
    answer["known"] == false && answer["changed"] == false
}

fn request(order: &Order, action: ControlAction) -> Value {
    order.signed.order(&[
        ("action", Some(action.as_str())),
        ("session_id", order.scope.session.as_deref()),
        ("root_session_id", order.scope.run.as_deref()),
    ])
}

fn sentence(order: &Order, action: ControlAction, answer: &Value) -> String {
    let of = |scope: &str, id: &str| format!("{scope} {}", plain(id, 200));
    let what = match (&order.scope.session, &order.scope.run) {
        (Some(session), _) => of("session", session),
        (None, Some(run)) => of("run", run),
        (None, None) => "nothing".to_owned(),
    };
    let id = answer["control_id"].as_str().map_or_else(String::new, |id| format!(" ({})", plain(id, 200)));
    match (answer["state"].as_str(), action) {
        (Some("applied"), ControlAction::Halt) if answer["changed"] == false => {
            format!("halted already: {what}{id}: no further step of it may run")
        }
        (Some("applied"), ControlAction::Halt) => format!("halted: {what}{id}: no further step of it may run"),
        (Some("applied"), ControlAction::Resume) if nobody_knows(answer) => {
            format!("nothing to resume: no step of {what} was ever seen{id}")
        }
        (Some("applied"), ControlAction::Resume) if answer["changed"] == false => match &order.scope.run {
            Some(_) => format!("nothing to resume: no halt of {what} stood{id}, and its budgets had counted nothing"),
            None => format!("nothing to resume: no halt of {what} stood{id}"),
        },
        // With a halt or without one: the answer does not say, and both are so now.
        (Some("applied"), ControlAction::Resume) if order.scope.run.is_some() => {
            format!("resumed: {what}{id}: no halt of it stands, and its budgets begin anew")
        }
        (Some("applied"), ControlAction::Resume) => format!("resumed: {what}{id}"),
        _ => format!("requested: {}, {what}{id}: on the log, and not yet applied everywhere", action.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use martingale_schemas::ControlAction;
    use serde_json::json;

    use super::{ExitCode, code, request, sentence};
    use crate::cli::control::Order;
    use crate::cli::{Cli, Command};

    fn order(line: &str) -> Order {
        match Cli::try_parse_from(line.split_whitespace()).map(|it| it.command) {
            Ok(Command::Halt(args)) => args.order,
            Ok(Command::Resume(args)) => args.order,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_order_names_its_scope() {
        for (line, expected) in [
            (
                "martingale halt s --by me --reason r",
                json!({ "action": "halt", "session_id": "s", "by": "me", "reason": "r" }),
            ),
            ("martingale halt --run r --by me", json!({ "action": "halt", "root_session_id": "r", "by": "me" })),
        ] {
            assert_eq!(request(&order(line), ControlAction::Halt), expected, "{line}");
        }
    }

    #[test]
    fn the_answer_says_what_holds_now() {
        let order = order("martingale halt s\u{1b}");
        use ControlAction::{Halt, Resume};
        for (action, answer, expected) in [
            (
                Halt,
                json!({ "state": "applied", "known": true, "control_id": "c-1" }),
                "halted: session s␛ (c-1): no further step of it may run",
            ),
            (
                Halt,
                json!({ "state": "applied", "changed": false }),
                "halted already: session s␛: no further step of it may run",
            ),
            (Resume, json!({ "state": "applied", "known": true, "changed": true }), "resumed: session s␛"),
            // A server of before it was told.
            (Resume, json!({ "state": "applied", "known": true }), "resumed: session s␛"),
            (
                Resume,
                json!({ "state": "applied", "known": true, "changed": false, "control_id": "c-1" }),
                "nothing to resume: no halt of session s␛ stood (c-1)",
            ),
            (
                Resume,
                json!({ "state": "applied", "known": false, "changed": false }),
                "nothing to resume: no step of session s␛ was ever seen",
            ),
            (Resume, json!({ "state": "applied", "known": false, "changed": true }), "resumed: session s␛"),
            (
                Halt,
                json!({ "state": "requested" }),
                "requested: halt, session s␛: on the log, and not yet applied everywhere",
            ),
        ] {
            assert_eq!(sentence(&order, action, &answer), expected);
        }
        let order = self::order("martingale resume --run nosuch");
        for (known, expected) in [
            (false, "nothing to resume: no step of run nosuch was ever seen"),
            (true, "nothing to resume: no halt of run nosuch stood, and its budgets had counted nothing"),
        ] {
            let answer = json!({ "state": "applied", "known": known, "changed": false });
            assert_eq!(sentence(&order, Resume, &answer), expected);
        }
    }

    #[test]
    fn only_a_resume_of_what_nobody_knows_fails() {
        use ControlAction::{Halt, Resume};
        for (action, known, changed, fails) in [
            (Resume, true, Some(true), false),
            (Resume, true, Some(false), false),
            // A halt that was given ahead was lifted.
            (Resume, false, Some(true), false),
            (Resume, false, Some(false), true),
            (Resume, false, None, false),
            (Halt, false, Some(false), false),
        ] {
            let answer = json!({ "state": "applied", "known": known, "changed": changed });
            let expected = if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            assert_eq!(format!("{:?}", code(action, &answer)), format!("{expected:?}"), "{action:?} {answer}");
        }
    }
}
