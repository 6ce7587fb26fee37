//! The log records of a request: GenAI events, each on its own.
//!
//! A message told by a log record has no place in its conversation: said again word by word it is the same step.

use std::cell::RefCell;
use std::sync::Arc;

use martingale_schemas::{Limits, Reason, Rejection, ids};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use serde_json::Value;

use super::calls::Asked;
use super::context::{Context, Home, Standing, named_session};
use super::conversation::Content;
use super::draft::{Draft, Who};
use super::events::{self, Meaning};
use super::genai::{self, Operation};
use super::view::{View, json};
use super::{Out, genai_legacy, hex};
use crate::otlp::room::Full;
use crate::otlp::weigh;

pub(super) fn map(request: &ExportLogsServiceRequest, limits: &Limits, out: &mut Out<'_>) -> Result<(), Full> {
    let asked = RefCell::default();
    let mut number = 0;
    for resource in &request.resource_logs {
        let home = Home::of(resource.resource.as_ref());
        for scope in &resource.scope_logs {
            for record in &scope.log_records {
                let weight = weigh::attributes(&record.attributes) + record.body.as_ref().map_or(0, weigh::value);
                let mapped = match out.room.unpack(weight)? {
                    Err(rejection) => Err(rejection),
                    // Held while its value trees are.
                    Ok(_share) => steps(record, &home, limits, &asked, out.room.steps_left())
                        .map_err(|message| Rejection::new(Reason::InvalidOtlp, message))
                        .and_then(|steps| out.room.take_steps(steps.len()).map(|()| steps)),
                };
                match mapped {
                    Ok(steps) if steps.is_empty() => out.ignored(number)?,
                    Ok(steps) => out.steps(number, steps)?,
                    Err(rejection) => {
                        let bytes = alone_bytes(resource, scope) + record.encoded_len();
                        out.refused(number, rejection, bytes, || alone(resource, scope, record))?;
                    }
                }
                number += 1;
            }
        }
    }
    Ok(())
}

fn steps(
    record: &LogRecord,
    home: &Home,
    limits: &Limits,
    asked: &RefCell<Asked>,
    steps_max: usize,
) -> Result<Vec<Draft>, &'static str> {
    let mut view = View::new(&record.attributes);
    let of_attribute = view.text(&["event.name"]);
    let name = Some(record.event_name.as_str()).filter(|it| !it.is_empty()).or(of_attribute.as_deref());
    let Some((name, meaning)) = name.and_then(|name| Some((name, Meaning::of(name)?))) else { return Ok(Vec::new()) };
    let body = record.body.as_ref().and_then(|it| it.value.as_ref()).and_then(|it| events::body(json(it, 0)));

    let trace = hex::<16>(&record.trace_id);
    let session = named_session(&view).map(str::to_owned).or_else(|| trace.clone());
    let session = session
        .ok_or("no session: a log record needs `gen_ai.conversation.id`, `session.id` or a trace id of 16 bytes")?;
    let who = Who::take(&mut view, home, None, session);
    let nanos = if record.time_unix_nano > 0 { record.time_unix_nano } else { record.observed_time_unix_nano };
    let base = match (&trace, hex::<8>(&record.span_id)) {
        (Some(trace), Some(span)) => format!("{trace}-{span}"),
        _ => {
            let shown = body.as_ref().map(Value::to_string).unwrap_or_default();
            ids::derive("log-", &[name.as_bytes(), &nanos.to_le_bytes(), shown.as_bytes()])
        }
    };
    genai_legacy::modernise(&mut view);
    let trace = trace.unwrap_or_else(|| who.session_id.clone());
    let standing = Standing { who: Arc::new(who), trace, asked, base, parent: None, top: false, steps_max };
    let context = |view: &mut View<'_>| Context::of_moment(view, standing, nanos);
    Ok(match meaning {
        Meaning::Evaluation => vec![events::evaluation(&context(&mut View::default()), view, limits)],
        Meaning::Exception => vec![events::exception(&context(&mut View::default()), view, limits)],
        Meaning::Details => {
            let context = context(&mut view);
            if let Some(Value::Object(fields)) = body {
                view.fill(fields);
            }
            let operation = view.peek("gen_ai.operation.name").map_or(Operation::Inference, Operation::of);
            let mut content = Content::default();
            genai::take_content(&mut view, &mut content);
            genai::steps(operation, &context, view, content, limits)
        }
        _ => {
            let context = context(&mut view);
            let mut content = Content::default();
            events::said(meaning, &mut view, body, &mut content);
            let mut steps = content.said(&context, &context.base).steps;
            if let Some(first) = steps.first_mut() {
                first.attributes = view.rest(limits);
            }
            steps
        }
    })
}

/// Size of what a dead letter repeats beside its log record.
fn alone_bytes(resource: &ResourceLogs, scope: &ScopeLogs) -> usize {
    let own = resource.resource.as_ref().map_or(0, Message::encoded_len);
    own + scope.scope.as_ref().map_or(0, Message::encoded_len) + resource.schema_url.len() + scope.schema_url.len()
}

/// A request that holds one log record only.
fn alone(resource: &ResourceLogs, scope: &ScopeLogs, record: &LogRecord) -> Vec<u8> {
    let scope = ScopeLogs {
        log_records: vec![record.clone()],
        scope: scope.scope.clone(),
        schema_url: scope.schema_url.clone(),
    };
    let resource = ResourceLogs {
        resource: resource.resource.clone(),
        scope_logs: vec![scope],
        schema_url: resource.schema_url.clone(),
    };
    // Cannot fail: the messages are plain structs.
    serde_json::to_vec(&ExportLogsServiceRequest { resource_logs: vec![resource] }).unwrap_or_default()
}
