//! `halt` and `resume`.

use std::process::ExitCode;

use anyhow::Result;
use martingale_schemas::ControlAction;
use serde_json::{Map, Value};

use crate::cli::Control;
use crate::client::Client;
use crate::output::{note, plain, say, say_json};

pub(crate) async fn run(args: Control, action: ControlAction) -> Result<ExitCode> {
    let client = Client::new(&args.output.server)?;
    let answer = client.post(&["v1", "controls"], &request(&args, action)).await?;
    if args.output.json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(sentence(&args, action, &answer))?;
    if answer["state"] == "applied" && answer["known"] == false {
        note("no step of it was seen yet: the order holds from its first one on");
    }
    Ok(ExitCode::SUCCESS)
}

fn request(args: &Control, action: ControlAction) -> Value {
    let fields = [
        ("action", Some(action.as_str())),
        ("session_id", args.session.as_deref()),
        ("root_session_id", args.run.as_deref()),
        ("reason", args.reason.as_deref()),
        ("by", args.by.as_deref()),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn sentence(args: &Control, action: ControlAction, answer: &Value) -> String {
    let of = |scope: &str, id: &str| format!("{scope} {}", plain(id, 200));
    let what = match (&args.session, &args.run) {
        (Some(session), _) => of("session", session),
        (None, Some(run)) => of("run", run),
        (None, None) => "nothing".to_owned(),
    };
    let id = answer["control_id"].as_str().map_or_else(String::new, |id| format!(" ({})", plain(id, 200)));
    match (answer["state"].as_str(), action) {
        (Some("applied"), ControlAction::Halt) => format!("halted: {what}{id}: no further step of it may run"),
        (Some("applied"), ControlAction::Resume) => format!("resumed: {what}{id}"),
        _ => format!("requested: {}, {what}{id}: on the log, and not yet applied everywhere", action.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use martingale_schemas::ControlAction;
    use serde_json::json;

    use super::{request, sentence};
    use crate::cli::{Cli, Command};

    fn args(line: &str) -> crate::cli::Control {
        match Cli::try_parse_from(line.split_whitespace()).map(|it| it.command) {
            Ok(Command::Halt(args) | Command::Resume(args)) => args,
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
            assert_eq!(request(&args(line), ControlAction::Halt), expected, "{line}");
        }
    }

    #[test]
    fn the_answer_says_what_holds_now() {
        let args = args("martingale halt s\u{1b}");
        for (answer, expected) in [
            (
                json!({ "state": "applied", "control_id": "c-1" }),
                "halted: session s␛ (c-1): no further step of it may run",
            ),
            (
                json!({ "state": "requested" }),
                "requested: halt, session s␛: on the log, and not yet applied everywhere",
            ),
        ] {
            assert_eq!(sentence(&args, ControlAction::Halt, &answer), expected);
        }
    }
}
