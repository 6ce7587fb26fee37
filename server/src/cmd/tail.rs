//! `tail`: verdicts and controls as they are given.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::cli::Tail;
use crate::client::sse::{Event, Parser};
use crate::client::{Client, refusal};
use crate::output::{decision_paint, note, painted, plain, say};

/// Pause before a stream that was cut is taken up again; doubled while there is no server.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Orders whose progress is remembered, more than are under way at once. Full: the oldest is forgotten, and told again should
/// another partition apply it.
const TOLD_MAX: usize = 64;
/// The server says that it is alive more often than this.
const SILENCE_MAX: Duration = Duration::from_secs(90);

pub(crate) async fn run(args: Tail) -> Result<ExitCode> {
    let client = Client::new(&args.output.server)?;
    let mut place = None;
    let mut told = Told::default();
    // The first connection must be made; later ones are tried again for as long as it takes.
    let mut stream = open(&client, &args, None).await?;
    loop {
        let cut = follow(stream, &mut place, &mut told, args.output.json).await?;
        note(format_args!("the stream was cut ({cut}); taking it up again"));
        let mut pause = PAUSE;
        stream = loop {
            tokio::time::sleep(pause).await;
            match open(&client, &args, place.as_deref()).await {
                Ok(stream) => break stream,
                Err(error) if error.downcast_ref::<reqwest::Error>().is_some() => pause = (pause * 2).min(PAUSE_MAX),
                Err(error) => return Err(error),
            }
        };
    }
}

async fn open(client: &Client, args: &Tail, place: Option<&str>) -> Result<Response> {
    let query = [
        ("session_id", args.session.as_deref()),
        ("agent", args.agent.as_deref()),
        ("min_decision", Some(args.min_decision.as_str())),
    ];
    let mut request = client.request(Method::GET, &["v1", "stream"], &query);
    if let Some(place) = place {
        request = request.header("last-event-id", place);
    }
    let answer = client.send_any(request).await?;
    if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
}

/// Prints events until the stream is cut, and says how that was.
async fn follow(mut stream: Response, place: &mut Option<String>, told: &mut Told, json: bool) -> Result<String> {
    let mut parser = Parser::default();
    loop {
        let piece = match tokio::time::timeout(SILENCE_MAX, stream.chunk()).await {
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None)) => return Ok("the server ended it".to_owned()),
            Ok(Err(error)) => return Ok(error.without_url().to_string()),
            Err(_) => return Ok(format!("nothing for {} s", SILENCE_MAX.as_secs())),
        };
        let printed = parser.push(&piece, |event| match line(&event, told, json) {
            Some(line) => Ok(say(line)?),
            None => Ok(()),
        });
        if let Some(id) = parser.last_id() {
            *place = Some(id.to_owned());
        }
        printed?;
    }
}

/// Orders whose progress was told: each partition tells of it, and a person wants to read it once.
#[derive(Default)]
struct Told(VecDeque<(String, String)>);

impl Told {
    /// Whether this state of the order is new.
    fn note(&mut self, order: &Value) -> bool {
        let of = |field: &str| order[field].as_str().unwrap_or("").to_owned();
        let progress = (of("control_id"), of("state"));
        if self.0.contains(&progress) {
            return false;
        }
        if self.0.len() == TOLD_MAX {
            self.0.pop_front();
        }
        self.0.push_back(progress);
        true
    }
}

/// What is printed of an event, if anything is. With `json` it is every event as it came.
fn line(event: &Event, told: &mut Told, json: bool) -> Option<String> {
    if json {
        return Some(event.data.clone());
    }
    let value = serde_json::from_str::<Value>(&event.data).ok()?;
    if event.name.as_deref() == Some("control") && !told.note(&value) {
        return None;
    }
    let text = |field: &str| plain(value[field].as_str().unwrap_or(""), 120).into_owned();
    let line = match event.name.as_deref() {
        Some("lost") => painted(&format!("some events were lost: {}", plain(&event.data, 400)), decision_paint("halt")),
        Some("control") => {
            let of = |word, field: &str| Some((word, value["scope"][field].as_str()?));
            let (scope, id) = of("session", "session_id").or_else(|| of("run", "root_session_id")).unwrap_or(("", ""));
            let flow = (value["scope"]["type"] == "flow").then(|| super::grant::shown(&value["scope"]));
            let reason = value["reason"].as_str().map_or_else(String::new, |it| format!(": {}", plain(it, 400)));
            let what = painted(&format!("{:<8}", text("action")), decision_paint(&text("action")));
            let id = flow.map_or_else(|| plain(id, 200), Into::into);
            format!("{} {what} {scope} {id} control {}, {}{reason}", text("time"), text("control_id"), text("state"))
        }
        _ => {
            let decision = text("decision");
            let what = painted(&format!("{decision:<8}"), decision_paint(&decision));
            let (session, step, kind, tool) = (text("session_id"), text("step_id"), text("kind"), text("tool"));
            let why = value["findings"].as_array().and_then(|all| all.first()).map_or_else(String::new, |finding| {
                let rule = plain(finding["rule"].as_str().unwrap_or(""), 120).into_owned();
                format!(": {rule}: {}", plain(finding["message"].as_str().unwrap_or(""), 400))
            });
            let asked = if value["gated"] == true { " (gate)" } else { "" };
            format!("{} {what} {session} {step} {kind} {tool}{asked}{why}", text("time"))
        }
    };
    Some(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Event, TOLD_MAX, Told, line};

    fn control(id: &str, state: &str, known: bool) -> Event {
        control_of(&json!({ "type": "session", "session_id": "s\u{1b}" }), id, state, known)
    }

    fn control_of(scope: &Value, id: &str, state: &str, known: bool) -> Event {
        let data = json!({ "control_id": id, "action": "halt", "scope": scope, "reason": "r", "state": state,
            "known": known, "time": "2026-01-01T10:00:00Z" });
        Event { name: Some("control".to_owned()), data: data.to_string(), ..Event::default() }
    }

    #[test]
    fn an_order_says_whether_it_is_for_a_session_or_a_run() {
        for (scope, expected) in [
            (json!({ "type": "session", "session_id": "s\u{1b}" }), "session s␛ control c, applied: r"),
            (json!({ "type": "run", "root_session_id": "s" }), "run s control c, applied: r"),
            (json!({ "type": "flow", "agent_id": "a", "tool": "t" }), "* → t → *, agent a control c, applied: r"),
        ] {
            let line = line(&control_of(&scope, "c", "applied", true), &mut Told::default(), false).expect("a line");
            assert!(line.ends_with(expected), "{line}");
        }
    }

    #[test]
    fn an_order_is_told_once_in_each_state() {
        let mut told = Told::default();
        for (id, state, known, shown) in [
            ("a", "requested", false, true),
            ("a", "applied", false, true),
            ("a", "applied", true, false),
            ("b", "applied", true, true),
            ("a", "applied", true, false),
        ] {
            let line = line(&control(id, state, known), &mut told, false);
            assert_eq!(line.is_some(), shown, "{id} {state} {known}: {line:?}");
            assert!(line.is_none_or(|it| it.ends_with(&format!("s␛ control {id}, {state}: r"))));
        }
        // In JSON nothing is left out.
        assert!(line(&control("a", "applied", true), &mut told, true).is_some());
        // What is remembered is bounded.
        for n in 0..TOLD_MAX * 2 {
            assert!(line(&control(&format!("c{n}"), "applied", true), &mut told, false).is_some());
        }
        assert_eq!(told.0.len(), TOLD_MAX);
    }
}
