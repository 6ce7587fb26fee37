//! The roles of a process, all or some: bind, open, start; and the way back.
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
use martingale_platform::log::Log;
use martingale_platform::shutdown::{self, Trigger};
use martingale_query_api::health::{self, Check};
use martingale_query_api::history::History;
use martingale_query_api::http::no_such_method;
use martingale_query_api::sql::Engine;
use martingale_query_api::{Parts, QueryApi, http};
use martingale_schemas::Redact;
use prometheus::Registry;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Config, Role};
use crate::guard::{Guard, OTLP_HTTP};
use crate::log::Opened;
use crate::metrics;
use crate::serve::Bound;

/// Between the signal to stop and the end of the services: requests under way usually take a thousandth of it, and only
/// streams, which the end of the services ends, take it up.
const GRACE: Duration = Duration::from_secs(1);

/// Where a running server is reached. A listener that its roles do not have is left out.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp_grpc: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp_http: Option<SocketAddr>,
}

/// A server that serves.
pub(crate) struct Running {
    pub(crate) addresses: Addresses,
    listeners: Listeners,
    services: Services,
    log: Opened,
    drain_max: Duration,
}

struct Listeners {
    stop: Trigger,
    tasks: JoinSet<()>,
}

struct Services {
    stop: Trigger,
    /// Each with its name, for messages.
    tasks: JoinSet<(&'static str, Result<()>)>,
}

/// Starts a server and returns when it serves. `registry` holds what the process measures besides.
///
/// # Errors
/// The first part that cannot be had, with what to change. Nothing is left running.
pub(crate) async fn start(config: Config, rules: Rules, registry: Registry) -> Result<Running> {
    let server = &config.server;
    let mut listeners = vec![(server.http, "--http")];
    if server.has(Role::Ingest) {
        listeners.extend([(server.otlp_grpc, "--otlp-grpc"), (server.otlp_http, OTLP_HTTP)]);
    }
    let mut guarded = Vec::with_capacity(listeners.len());
    for (address, flag) in listeners {
        guarded.push((address, flag, Guard::for_listener(address, flag, &config.auth)?));
    }
    let mut bound = Vec::with_capacity(guarded.len());
    for (address, flag, guard) in guarded {
        bound.push(Bound::new(address, flag, guard).await?);
    }
    let address = |at: usize| bound.get(at).map(|it: &Bound| it.address);
    let addresses = Addresses { http: bound[0].address, otlp_grpc: address(1), otlp_http: address(2) };

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
    log: Opened,
    /// Of the listeners in their order: HTTP, then those of OTLP where they are.
    routers: Vec<Router>,
    services: Services,
}

/// Each part says by itself what it cannot have: which folder, file or key.
async fn open(config: Config, rules: Rules, registry: Registry) -> Result<Open> {
    let clock = Clock::System;
    let opened = Opened::open(&config, clock.clone(), &registry).await?;
    let log = opened.log();
    let has = |role| config.server.has(role);
    let takes_steps = has(Role::Ingest) || has(Role::QueryApi);
    let redactor = if takes_steps { config.capture.redactor(&config.ingest.limits)?.map(Arc::new) } else { None };
    if let Some(redactor) = &redactor {
        metrics::watch(Arc::clone(redactor), &registry)?;
    }
    let redact = redactor.map(|it| it as Arc<dyn Redact>);
    let (stop, stopping) = shutdown::channel();
    let mut tasks = JoinSet::new();

    let mut checks = Vec::new();
    let judging = martingale_detector::Health::default();
    if has(Role::Detector) {
        let (log, judging) = (Arc::clone(&log), judging.clone());
        let trouble = move || log.gaining(martingale_detector::CONSUMER).or_else(|| judging.trouble());
        checks.push(Check::new("detector", trouble));
    }
    let mut router = if has(Role::QueryApi) {
        let doors = Doors { redact: redact.clone(), checks };
        let query_api = query_api(&config, Arc::clone(&log), clock.clone(), &registry, doors, &stopping).await?;
        let router = query_api.router();
        tasks.spawn(async { ("history and queries", query_api.join().await.map_err(Into::into)) });
        router
    } else {
        http::with_fallbacks(health::router(Arc::clone(&log), registry.clone(), checks))
    };
    let mut routers = Vec::new();
    if has(Role::Ingest) {
        let ingest = Ingest::new(config.ingest.clone(), Arc::clone(&log), clock, &registry, redact)?;
        // The other side has the fallback for unknown paths.
        router = router.merge(ingest.http_router().method_not_allowed_fallback(no_such_method));
        routers = vec![ingest.otlp_grpc().prepare().into_axum_router(), ingest.otlp_http_router()];
        // Last, since it begins to read at once.
        #[cfg(feature = "kafka")]
        if config.on_kafka()
            && let Some(inlet) = crate::bridge::open(&config.kafka, &ingest)?
        {
            let run = crate::bridge::run(inlet, ingest, stopping.clone());
            tasks.spawn(async {
                run.await;
                ("the reader of OTLP topics", Ok(()))
            });
        }
    }
    routers.insert(0, router);
    if has(Role::Detector) {
        let rules = Arc::new(rules);
        if config.learning.enabled {
            let (config, limits) = (config.learning.clone(), config.ingest.limits.clone());
            let (log, rules, stopping) = (Arc::clone(&log), Arc::clone(&rules), stopping.clone());
            tasks.spawn(async move {
                let ended = martingale_detector::learn(config, Clock::System, &limits, log, rules, stopping).await;
                ("learning", ended.map_err(Into::into))
            });
        }
        tasks.spawn(async move {
            let (config, limits) = (config.detector, config.ingest.limits);
            let watched = martingale_detector::Watched { registry: &registry, health: judging };
            let ended = martingale_detector::run(config, &limits, log, rules, watched, stopping).await;
            ("the detector", ended.map_err(Into::into))
        });
    }
    Ok(Open { log: opened, routers, services: Services { stop, tasks } })
}

/// What the doors of the query side are given.
struct Doors {
    redact: Option<Arc<dyn Redact>>,
    checks: Vec<Check>,
}

async fn query_api(
    config: &Config,
    log: Arc<dyn Log>,
    clock: Clock,
    registry: &Registry,
    Doors { redact, checks }: Doors,
    stopping: &shutdown::Shutdown,
) -> Result<QueryApi> {
    let limits = config.ingest.limits.clone();
    let history = History::open(config.history.clone(), &limits, Arc::clone(&log), clock.clone(), registry)
        .await
        .with_context(|| format!("history in {} cannot be opened", config.history.dir))?;
    let engine = Engine::new(Arc::clone(&history), config.sql.clone())?;
    let parts = Parts { log, history, engine, clock, registry: registry.clone(), limits, redact, checks };
    Ok(QueryApi::start(config.query_api(), parts, stopping.clone()).await?)
}

impl Running {
    /// Returns when a service has ended although nobody stopped it, with why.
    pub(crate) async fn broken(&mut self) -> anyhow::Error {
        match self.services.tasks.join_next().await {
            Some(Ok((what, Ok(())))) => anyhow!("{what} ended"),
            Some(Ok((what, Err(error)))) => error.context(format!("{what} ended")),
            Some(Err(error)) => anyhow::Error::new(error).context("a service broke"),
            // A role without a service lives in its listeners.
            None => std::future::pending().await,
        }
    }

    /// Closes the sockets, lets requests under way end, ends the services, closes the log; within `server.drain_max`.
    ///
    /// # Errors
    /// When a service did not end well, or not in time; what was acknowledged is on the log nevertheless.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { listeners: Listeners { stop: close, mut tasks }, services, log, drain_max, .. } = self;
        let Services { stop, tasks: mut running } = services;
        let end = Instant::now() + drain_max;
        close.stop();
        let drained = tokio::time::timeout(GRACE.min(drain_max), async { while tasks.join_next().await.is_some() {} });
        let _ = drained.await;
        stop.stop();
        let mut outcome = Ok(());
        let services = async {
            while let Some(ended) = running.join_next().await {
                let ended = match ended {
                    Ok((what, ended)) => ended.with_context(|| format!("{what} did not end well")),
                    Err(error) => Err(anyhow::Error::new(error).context("a service broke")),
                };
                outcome = std::mem::replace(&mut outcome, Ok(())).and(ended);
            }
        };
        let ended = tokio::time::timeout_at(end, services).await;
        // Also when it is late already: they end at `end` by themselves, or had all the time there is.
        let _ = tokio::time::timeout_at(end, async { while tasks.join_next().await.is_some() {} }).await;
        tasks.abort_all();
        // What those had not committed is read from the log again by the next process.
        running.abort_all();
        log.close().await?;
        if ended.is_err() {
            return Err(anyhow!("the services did not end within `server.drain_max` and were cut off"));
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
