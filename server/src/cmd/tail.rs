//! `tail`: verdicts and controls as they are given.

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
/// The server says that it is alive more often than this.
const SILENCE_MAX: Duration = Duration::from_secs(90);

pub(crate) async fn run(args: Tail) -> Result<ExitCode> {
    let client = Client::new(&args.output.server)?;
    let mut place = None;
    // The first connection must be made; later ones are tried again for as long as it takes.
    let mut stream = open(&client, &args, None).await?;
    loop {
        let cut = follow(stream, &mut place, args.output.json).await?;
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
async fn follow(mut stream: Response, place: &mut Option<String>, json: bool) -> Result<String> {
    let mut parser = Parser::default();
    loop {
        let piece = match tokio::time::timeout(SILENCE_MAX, stream.chunk()).await {
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None)) => return Ok("the server ended it".to_owned()),
            Ok(Err(error)) => return Ok(error.without_url().to_string()),
            Err(_) => return Ok(format!("nothing for {} s", SILENCE_MAX.as_secs())),
        };
        let printed = parser.push(&piece, |event| print(&event, json));
        if let Some(id) = parser.last_id() {
            *place = Some(id.to_owned());
        }
        printed?;
    }
}

fn print(event: &Event, json: bool) -> Result<()> {
    if json {
        return Ok(say(&event.data)?);
    }
    let Ok(value) = serde_json::from_str::<Value>(&event.data) else { return Ok(()) };
    let text = |field: &str| plain(value[field].as_str().unwrap_or(""), 120).into_owned();
    let line = match event.name.as_deref() {
        Some("lost") => painted(&format!("some events were lost: {}", plain(&event.data, 400)), decision_paint("halt")),
        Some("control") => {
            let scope = value["scope"]["session_id"].as_str().or_else(|| value["scope"]["root_session_id"].as_str());
            let reason = value["reason"].as_str().map_or_else(String::new, |it| format!(": {}", plain(it, 400)));
            let what = painted(&format!("{:<8}", text("action")), decision_paint(&text("action")));
            let scope = plain(scope.unwrap_or(""), 200);
            format!("{} {what} {scope} control {}, {}{reason}", text("time"), text("control_id"), text("state"))
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
    Ok(say(line.trim_end())?)
}
