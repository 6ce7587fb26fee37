//! One listener: accept, guard, serve, drain.
//!
//! Own loop and not `axum::serve`, for the limits that one lacks: how many connections there are, and how long one may
//! take to say what it wants.

mod activity;
mod hooked;
mod unread;
mod worded;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use martingale_platform::shutdown::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::guard::{Guard, admit};
use activity::Activity;
use worded::Worded;

/// Longest time from the connection to the end of its first request's head. A place among `server.connections_max` is
/// held meanwhile by somebody who has shown nothing, so it is shorter than the other.
const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time from a request to the end of the next one's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time that a connection is kept without a request under way. One of HTTP/1 ends earlier, by the limit above; one of
/// HTTP/2 has no head to wait for, and would be held by answers to pings alone.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Longest time that a connection which was told to end goes on without a request under way: half a head is not waited for.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// Requests under way at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Pause when the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens and is not served yet.
pub(crate) struct Bound {
    listener: TcpListener,
    guard: Guard,
    pub(crate) address: SocketAddr,
}

impl Bound {
    /// # Errors
    /// When the address is taken or cannot be had, with the flag that changes it.
    pub(crate) async fn new(address: SocketAddr, flag: &str, guard: Guard) -> Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| {
            format!("cannot listen on {address}: choose another address with {flag}, or port 0 for a free one")
        })?;
        let address = listener.local_addr().with_context(|| format!("cannot listen on {address}"))?;
        Ok(Self { listener, guard, address })
    }

    /// Serves until `stop`, then lets requests under way end, for at most `drain_max`.
    pub(crate) async fn serve(self, router: Router, connections_max: usize, mut stop: Shutdown, drain_max: Duration) {
        let Self { listener, guard, address } = self;
        let router = router.layer(axum::middleware::from_fn_with_state(guard, admit));
        let router = router.layer(axum::middleware::from_fn(unread::closes));
        let room = Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        loop {
            // Beyond the limit nobody is accepted: callers wait in the system's queue.
            let accepted = tokio::select! {
                biased;
                () = stop.stopping() => break,
                accepted = async {
                    let permit = Arc::clone(&room).acquire_owned().await;
                    (permit, listener.accept().await)
                } => accepted,
            };
            let (Ok(permit), Ok((stream, _))) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Answers are sent as they are written.
            let _ = stream.set_nodelay(true);
            let (router, stop) = (router.clone(), stop.clone());
            connections.spawn(async move {
                converse(stream, router, stop).await;
                drop(permit);
            });
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain_max, ended).await.is_err() {
            tracing::warn!(%address, "requests were still under way and are cut off");
        }
    }
}

/// One connection, to its end: after `stop`, or when it was idle for too long, it ends with the requests that are under way,
/// and at once if it has not said in time what it wants.
///
/// These deadlines are ours because nobody below has one for all of it: which protocol is spoken is found out without a timer,
/// and HTTP/2 may shake hands and then never ask, or never ask again.
async fn converse<S>(stream: S, router: Router, mut stop: Shutdown)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let asked = Arc::new(Notify::new());
    let activity = Activity::new();
    let service = {
        let (asked, activity) = (Arc::clone(&asked), activity.clone());
        tower::service_fn(move |request: Request<_>| {
            asked.notify_one();
            let under_way = activity.begin();
            let answer = router.clone().oneshot(request);
            async move { answer.await.map(|it| it.map(|body| under_way.until_the_end_of(body))) }
        })
    };
    let protocol = protocol();
    let connection = protocol
        .serve_connection(TokioIo::new(Worded::new(stream, activity.clone())), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    // A connection that breaks is its caller's affair.
    let first_head = async {
        if tokio::time::timeout(FIRST_HEAD_TIMEOUT, asked.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = first_head => return,
        () = activity.idle_for(IDLE_MAX) => {}
        () = stop.stopping() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = activity.quiet_for(LINGER_MAX) => {}
    }
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(HEAD_TIMEOUT)
        .keep_alive_timeout(HEAD_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests;
