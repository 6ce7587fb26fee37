//! OTLP over gRPC: the trace and the logs service, each with its one unary call.
//!
//! The message is read here and not by a codec, for three things a codec cannot do: its bytes count against the budget
//! while they come, it has to come in time, and one that is too large, broken or no OTLP is counted like any other.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::post;
use bytes::{BufMut as _, Bytes};
use tonic::codec::{EncodeBody, EncodeBuf, Encoder};
use tonic::service::Routes;
use tonic::{Code, Status};

use super::status::{Encoding, with_retry};
use super::{Partial, Signal};
use crate::http::Problem;
use crate::{Parts, body};

pub(crate) fn routes(parts: &Arc<Parts>) -> Routes {
    let router = Router::new()
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            post(async |State(parts): State<Arc<Parts>>, request: Request| {
                answer(&parts, Signal::Traces, request).await
            }),
        )
        .route(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            post(async |State(parts): State<Arc<Parts>>, request: Request| answer(&parts, Signal::Logs, request).await),
        )
        .fallback(async || Status::unimplemented("no such method: traces and logs are taken").into_http::<Body>())
        .with_state(Arc::clone(parts));
    Routes::from(router)
}

async fn answer(parts: &Parts, signal: Signal, request: Request) -> Response {
    let since = Instant::now();
    let answer = match take(parts, signal, request).await {
        Ok(partial) => message(Encoding::Protobuf.write_answer(signal, partial)),
        Err(problem) => status(problem).into_http(),
    };
    parts.metrics.took(signal.door(), since);
    answer
}

async fn take(parts: &Parts, signal: Signal, request: Request) -> Result<Partial, Problem> {
    let (head, body) = request.into_parts();
    let received = body::receive_message(&head.headers, body, &parts.config, &parts.budget).await.map_err(|fault| {
        parts.metrics.refused(signal.door(), fault.cause());
        Problem::of_body(&fault, parts.config.retry_after_secs())
    })?;
    super::take(parts, signal, Encoding::Protobuf, received).await
}

/// Back-pressure is `UNAVAILABLE` and not `RESOURCE_EXHAUSTED`: some exporters take only the first as a reason to send
/// again. The second is what does not fit, however often it is sent.
fn status(problem: Problem) -> Status {
    let code = match problem.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::Unimplemented,
        _ => Code::InvalidArgument,
    };
    match problem.retry_after {
        Some(seconds) => {
            let details = with_retry(code as i32, &problem.message, seconds);
            Status::with_details(code, problem.message, details.into())
        }
        None => Status::new(code, problem.message),
    }
}

fn message(protobuf: Vec<u8>) -> Response {
    struct Raw;

    impl Encoder for Raw {
        type Item = Bytes;
        type Error = Status;

        fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
            to.put(item);
            Ok(())
        }
    }

    let one = futures::stream::iter([Ok(Bytes::from(protobuf))]);
    let body = EncodeBody::new_server(Raw, one, None, Default::default(), None);
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
