//! Deliveries and alerts belong to one process of all that answer queries: the one that the log gives them to.
//!
//! It reads what is kept of them when it begins, so that what another began is gone on with, and lets go when they are
//! given to another. The others stand by, and say so to whoever asks them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use martingale_platform::clock::Clock;
use martingale_platform::log::{Log, Partition};
use martingale_platform::shutdown::{self, Shutdown, Trigger};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Error;
use crate::alerts::{self, Alerts};
use crate::http::{Failure, with_causes};
use crate::metrics::Metrics;
use crate::sql;
use crate::webhooks::{self, Webhooks};

/// Before it is tried again to begin.
const AGAIN: Duration = Duration::from_secs(1);

/// A part that this process has only while it leads.
pub(crate) struct Current<T>(Arc<Mutex<Option<Arc<T>>>>);

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Current<T> {
    fn none() -> Self {
        Self(Arc::default())
    }

    #[cfg(test)]
    pub(crate) fn of(part: Arc<T>) -> Self {
        Self(Arc::new(Mutex::new(Some(part))))
    }

    fn set(&self, part: Option<Arc<T>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = part;
    }

    /// # Errors
    /// 503 while another process has it.
    pub(crate) fn get(&self) -> Result<Arc<T>, Failure> {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        current.ok_or_else(|| {
            Failure::unavailable(
                "deliveries and alerts are kept by another process of the role query-api just now: ask that one, or \
                 again in some seconds",
            )
        })
    }
}

/// What is needed to begin.
pub(crate) struct Lead {
    pub(crate) webhook: webhooks::Config,
    pub(crate) alerts: alerts::Config,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) engine: sql::Engine,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

/// The two parts while they run.
struct Led {
    webhooks: Arc<Webhooks>,
    alerts: Arc<Alerts>,
    stop: Trigger,
    tasks: JoinSet<()>,
}

impl Lead {
    /// Begins where this process leads already; else when it does, in `tasks`.
    ///
    /// # Errors
    /// When the configuration cannot work, whoever leads, or what is kept cannot be read.
    pub(crate) async fn start(
        self,
        shutdown: &Shutdown,
        tasks: &mut JoinSet<()>,
    ) -> Result<(Current<Webhooks>, Current<Alerts>), Error> {
        webhooks::check(&self.webhook)?;
        alerts::check(&self.alerts, &self.engine).await?;
        let current = (Current::none(), Current::none());
        let assigned = self.log.assigned(webhooks::CONSUMER);
        let led = if leads(&assigned) { Some(self.begin(&current).await?) } else { None };
        tasks.spawn(self.follow(led, assigned, current.clone(), shutdown.clone()));
        Ok(current)
    }

    async fn begin(&self, current: &(Current<Webhooks>, Current<Alerts>)) -> Result<Led, Error> {
        let (log, clock, metrics) = (&self.log, &self.clock, &self.metrics);
        let webhooks = Webhooks::open(self.webhook.clone(), Arc::clone(log), clock.clone(), metrics.clone()).await?;
        let alerts = Alerts::open(
            self.alerts.clone(),
            Arc::clone(log),
            self.engine.clone(),
            clock.clone(),
            Arc::clone(&webhooks),
            metrics.clone(),
        )
        .await?;
        let (stop, stopping) = shutdown::channel();
        let mut tasks = JoinSet::new();
        webhooks.start(&stopping, &mut tasks).await?;
        alerts.start(&stopping, &mut tasks);
        current.0.set(Some(Arc::clone(&webhooks)));
        current.1.set(Some(Arc::clone(&alerts)));
        Ok(Led { webhooks, alerts, stop, tasks })
    }

    async fn follow(
        self,
        mut led: Option<Led>,
        mut assigned: watch::Receiver<Arc<[Partition]>>,
        current: (Current<Webhooks>, Current<Alerts>),
        mut shutdown: Shutdown,
    ) {
        loop {
            if let Some(led) = led.take() {
                tracing::info!("deliveries and alerts are this process's");
                let mut led = led;
                tokio::select! {
                    () = shutdown.stopping() => {}
                    _ = assigned.wait_for(|it| it.is_empty()) => {}
                    // They end when they are stopped, and otherwise by a panic.
                    Some(Err(ended)) = led.tasks.join_next() => std::panic::resume_unwind(ended.into_panic()),
                }
                current.0.set(None);
                current.1.set(None);
                led.end().await;
                if !shutdown.is_stopping() {
                    tracing::info!("deliveries and alerts are another process's");
                }
            }
            tokio::select! {
                biased;
                () = shutdown.stopping() => return,
                is_given = given(&mut assigned) => if !is_given { return shutdown.stopping().await },
            }
            match self.begin(&current).await {
                Ok(begun) => led = Some(begun),
                Err(error) => {
                    tracing::error!(error = with_causes(&error), "deliveries and alerts cannot begin, tried again");
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        () = shutdown.stopping() => return,
                    }
                }
            }
        }
    }
}

impl Led {
    async fn end(mut self) {
        self.stop.stop();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        drop((self.webhooks, self.alerts));
    }
}

/// Waits until this process leads; false when it never will.
async fn given(assigned: &mut watch::Receiver<Arc<[Partition]>>) -> bool {
    assigned.wait_for(|it| !it.is_empty()).await.is_ok()
}

/// All partitions or none are given.
fn leads(assigned: &watch::Receiver<Arc<[Partition]>>) -> bool {
    !assigned.borrow().is_empty()
}
