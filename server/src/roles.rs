//! Everything in one process: bind, open, start; and the way back.
//!
//! Sockets are bound before anything is opened, so that a port in use changes nothing on disk; they are served after
//! everything runs, so that the first request finds it whole. On the way down the sockets close first, requests under way
//! get their verdicts, then the services end, and history writes down what it holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use martingale_detector_core::Rules;
use martingale_ingest::Ingest;
use martingale_platform::clock::Clock;
use martingale_platform::log::{Cleanup, EmbeddedLog, Log, TopicSpec};
use martingale_platform::shutdown::{self, Trigger};
use martingale_query_api::history::History;
use martingale_query_api::http::no_such_method;
use martingale_query_api::sql::Engine;
use martingale_query_api::{Parts, QueryApi};
use martingale_schemas::topics;
use prometheus::Registry;
use serde::Serialize;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::config::Config;
use crate::guard::Guard;
use crate::serve::Bound;

/// Between the signal to stop and the end of the services: requests under way usually take a thousandth of it, and only
/// streams, which the end of the services ends, take it up.
const GRACE: Duration = Duration::from_secs(1);

/// Where a running server is reached.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) otlp_grpc: SocketAddr,
    pub(crate) otlp_http: SocketAddr,
}

/// A server that serves.
pub(crate) struct Running {
    pub(crate) addresses: Addresses,
    listeners: Listeners,
    services: Services,
    log: Arc<EmbeddedLog>,
    drain_max: Duration,
}

struct Listeners {
    stop: Trigger,
    tasks: JoinSet<()>,
}

struct Services {
    stop: Trigger,
    detector: JoinHandle<Result<(), martingale_detector::Error>>,
    query_api: JoinHandle<Result<(), martingale_query_api::Error>>,
}

/// Starts a server and returns when it serves. `registry` holds what the process measures besides.
///
/// # Errors
/// The first part that cannot be had, with what to change. Nothing is left running.
pub(crate) async fn start(config: Config, rules: Rules, registry: Registry) -> Result<Running> {
    let server = &config.server;
    let guard = |address, flag| Guard::for_listener(address, flag, &config.auth);
    let guards = [
        (server.http, "--http", guard(server.http, "--http")?),
        (server.otlp_grpc, "--otlp-grpc", guard(server.otlp_grpc, "--otlp-grpc")?),
        (server.otlp_http, "--otlp-http", guard(server.otlp_http, "--otlp-http")?),
    ];
    let mut bound = Vec::with_capacity(guards.len());
    for (address, flag, guard) in guards {
        bound.push(Bound::new(address, flag, guard).await?);
    }
    let addresses = Addresses { http: bound[0].address, otlp_grpc: bound[1].address, otlp_http: bound[2].address };

    let (connections_max, drain_max) = (server.connections_max, server.drain_max.0);
    let Open { log, routers, services } = open(config, rules, registry).await?;

    let (stop, stopping) = shutdown::channel();
    let mut tasks = JoinSet::new();
    for (bound, router) in bound.into_iter().zip(routers) {
        tasks.spawn(bound.serve(router, connections_max, stopping.clone(), drain_max));
    }
    Ok(Running { addresses, listeners: Listeners { stop, tasks }, services, log, drain_max })
}

/// Everything behind the listeners, running.
struct Open {
    log: Arc<EmbeddedLog>,
    routers: [Router; 3],
    services: Services,
}

/// Each part says by itself what it cannot have: which folder, file or key.
async fn open(config: Config, rules: Rules, registry: Registry) -> Result<Open> {
    let clock = Clock::System;
    let query_api_config = config.query_api();
    let embedded = {
        let (config, clock, registry) = (config.log, clock.clone(), registry.clone());
        let topics = topics::ALL.map(|topic| TopicSpec { topic, cleanup: Cleanup::of(topics::is_compacted(topic)) });
        tokio::task::spawn_blocking(move || EmbeddedLog::open(config, &topics, clock, &registry))
            .await
            .context("the log broke while it was opened")?
            .context("the log cannot be opened")?
    };
    let log: Arc<dyn Log> = Arc::clone(&embedded) as Arc<dyn Log>;
    let limits = config.ingest.limits.clone();
    let ingest = Ingest::new(config.ingest, Arc::clone(&log), clock.clone(), &registry)?;
    let folder = config.history.dir.clone();
    let history = History::open(config.history, Arc::clone(&log), clock.clone(), &registry)
        .await
        .with_context(|| format!("history in {} cannot be opened", folder.display()))?;
    let engine = Engine::new(Arc::clone(&history), config.sql)?;

    let (stop, stopping) = shutdown::channel();
    let parts = Parts { log: Arc::clone(&log), history, engine, clock, registry: registry.clone(), limits };
    let query_api = QueryApi::start(query_api_config, parts, stopping.clone()).await?;
    let routers = [
        // The query side has the fallback for unknown paths.
        query_api.router().merge(ingest.http_router().method_not_allowed_fallback(no_such_method)),
        ingest.otlp_grpc().prepare().into_axum_router(),
        ingest.otlp_http_router(),
    ];
    let detector = tokio::spawn(async move {
        martingale_detector::run(config.detector, log, Arc::new(rules), &registry, stopping).await
    });
    let query_api = tokio::spawn(query_api.join());
    Ok(Open { log: embedded, routers, services: Services { stop, detector, query_api } })
}

impl Running {
    /// Returns when a service has ended although nobody stopped it, with why.
    pub(crate) async fn broken(&mut self) -> anyhow::Error {
        let Services { detector, query_api, .. } = &mut self.services;
        tokio::select! {
            ended = detector => ended_early("the detector", ended),
            ended = query_api => ended_early("history and queries", ended),
        }
    }

    /// Closes the sockets, lets requests under way end, ends the services, closes the log; within `server.drain_max`.
    ///
    /// # Errors
    /// When a service did not end well, or not in time; what was acknowledged is on the log nevertheless.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { listeners: Listeners { stop: close, mut tasks }, services, log, drain_max, .. } = self;
        let Services { stop, mut detector, mut query_api } = services;
        let end = Instant::now() + drain_max;
        close.stop();
        let drained = tokio::time::timeout(GRACE.min(drain_max), async { while tasks.join_next().await.is_some() {} });
        let _ = drained.await;
        stop.stop();
        let services = async { tokio::join!(&mut detector, &mut query_api) };
        let ended = tokio::time::timeout_at(end, services).await;
        // Also when it is late already: they end at `end` by themselves, or had all the time there is.
        let _ = tokio::time::timeout_at(end, async { while tasks.join_next().await.is_some() {} }).await;
        tasks.abort_all();
        if ended.is_err() {
            // What they had not committed is read from the log again by the next process.
            detector.abort();
            query_api.abort();
        }
        let closed = tokio::task::spawn_blocking(move || log.close()).await;
        closed.context("the log broke")?.context("the log did not close well")?;
        let Ok((detector, query_api)) = ended else {
            return Err(anyhow!("the services did not end within `server.drain_max` and were cut off"));
        };
        detector.context("the detector broke")?.context("the detector did not end well")?;
        query_api.context("history and queries broke")?.context("history and queries did not end well")
    }
}

fn ended_early<E: std::error::Error + Send + Sync + 'static>(
    what: &str,
    ended: Result<Result<(), E>, tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("{what} ended"),
        Ok(Err(error)) => anyhow::Error::new(error).context(format!("{what} ended")),
        Err(error) => anyhow::Error::new(error).context(format!("{what} broke")),
    }
}

#[cfg(test)]
mod tests;
