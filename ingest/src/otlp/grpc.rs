//! OTLP over gRPC: the trace and the logs service.

use std::sync::Arc;
use std::time::Instant;

use martingale_platform::log;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::http::{logs_answer, traces_answer};
use super::{aside, of_logs, of_traces, take};
use crate::metrics::Refused;
use crate::{Door, Parts};
use martingale_platform::budget::Share;

pub(crate) fn routes(parts: &Arc<Parts>) -> Routes {
    let max = parts.config.body_bytes_max;
    let doors = Doors(Arc::clone(parts));
    let traces = TraceServiceServer::new(doors.clone());
    let logs = LogsServiceServer::new(doors);
    Routes::new(traces.accept_compressed(Gzip).send_compressed(Gzip).max_decoding_message_size(max))
        .add_service(logs.accept_compressed(Gzip).send_compressed(Gzip).max_decoding_message_size(max))
}

#[derive(Clone)]
struct Doors(Arc<Parts>);

impl Doors {
    /// The message is decoded by the time it comes here, so its share is taken late; what is decoded and not yet
    /// counted is bounded by the streams of a connection.
    fn admit(&self, door: Door, bytes: usize) -> Result<Share, Status> {
        let mut share = self.0.budget.share();
        share.grow(bytes).map_err(|_| {
            self.0.metrics.refused(door, Refused::Inflight);
            Status::unavailable("too many bytes in progress: ask again later")
        })?;
        self.0.metrics.body(door, bytes);
        Ok(share)
    }
}

/// `UNAVAILABLE` and not `RESOURCE_EXHAUSTED`: exporters take only the first as a reason to send again.
fn unavailable(error: &log::Error) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl TraceService for Doors {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let since = Instant::now();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let _share = self.admit(Door::OtlpTraces, bytes)?;
        let limits = self.0.config.limits.clone();
        let steps = aside(bytes, move || of_traces(&request, &limits)).await.map_err(|error| unavailable(&error))?;
        let taken = take(&self.0, Door::OtlpTraces, steps).await;
        self.0.metrics.took(Door::OtlpTraces, since);
        taken.map(|partial| Response::new(traces_answer(partial))).map_err(|error| unavailable(&error))
    }
}

#[tonic::async_trait]
impl LogsService for Doors {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let since = Instant::now();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let _share = self.admit(Door::OtlpLogs, bytes)?;
        let limits = self.0.config.limits.clone();
        let steps = aside(bytes, move || of_logs(&request, &limits)).await.map_err(|error| unavailable(&error))?;
        let taken = take(&self.0, Door::OtlpLogs, steps).await;
        self.0.metrics.took(Door::OtlpLogs, since);
        taken.map(|partial| Response::new(logs_answer(partial))).map_err(|error| unavailable(&error))
    }
}
