//! What a connection is doing: how many of its requests are under way, and whether its caller takes what is written.

use std::time::Duration;

use axum::body::Body;
use tokio::sync::watch;

use super::hooked::{Hook, hooked};

/// Of one connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Activity {
    under_way: watch::Sender<usize>,
    written: watch::Sender<()>,
}

/// Counted from a request to the end of its answer.
pub(super) struct UnderWay(watch::Sender<usize>);

impl Activity {
    pub(super) fn new() -> Self {
        Self { under_way: watch::Sender::new(0), written: watch::Sender::new(()) }
    }

    pub(super) fn begin(&self) -> UnderWay {
        self.under_way.send_modify(|it| *it += 1);
        UnderWay(self.under_way.clone())
    }

    /// Bytes went out.
    pub(super) fn wrote(&self) {
        self.written.send_replace(());
    }

    /// Returns once nothing was under way for so long. Pings, and their answers, are nothing.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut seen = self.under_way.subscribe();
        loop {
            // It cannot be closed: its sender is here.
            let _ = seen.wait_for(|it| *it == 0).await;
            if tokio::time::timeout(time, seen.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Returns once nothing was under way and nothing was written for so long. An answer may still be on its way when its
    /// body is no more, since that waits in the connection's buffer for a caller who is slow to take it.
    pub(super) async fn quiet_for(&self, time: Duration) {
        let mut written = self.written.subscribe();
        loop {
            tokio::select! {
                () = self.idle_for(time) => return,
                _ = written.changed() => {}
            }
        }
    }
}

impl UnderWay {
    /// The body of the answer, which is under way until it is dropped.
    pub(super) fn until_the_end_of(self, body: Body) -> Body {
        hooked(body, self)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|it| *it -= 1);
    }
}

impl Hook for UnderWay {}
