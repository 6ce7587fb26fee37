//! One listener: accept, guard, serve, drain.
//!
//! Own loop and not `axum::serve`, for the limits that one lacks: how many connections there are, and how long one may
//! take to say what it wants.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use martingale_platform::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::guard::{Guard, admit};
use crate::unread;

/// Longest time from the connection to its first byte, and from there to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
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
            connections.spawn(converse(stream, router.clone(), stop.clone(), permit));
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain_max, ended).await.is_err() {
            tracing::warn!(%address, "requests were still under way and are cut off");
        }
    }
}

/// One connection, to its end: after `stop` it ends with the requests that are under way.
async fn converse(stream: TcpStream, router: Router, mut stop: Shutdown, _permit: OwnedSemaphorePermit) {
    tokio::select! {
        ready = ready(&stream) => if !ready { return },
        () = stop.stopping() => return,
    }
    let protocol = protocol();
    let connection = protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // A connection that breaks is its caller's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.stopping() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Waits for the first byte; answers are sent as they are written.
async fn ready(stream: &TcpStream) -> bool {
    let _ = stream.set_nodelay(true);
    matches!(tokio::time::timeout(HEAD_TIMEOUT, stream.peek(&mut [0])).await, Ok(Ok(1..)))
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
