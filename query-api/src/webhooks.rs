//! A signed call to the operator's endpoint on every halt and every change of a fleet alert (Standard Webhooks).
//!
//! What is to be delivered is found on the log and written down together with the position that was read, so that a
//! crash neither loses a delivery nor adds one: its id is derived from the verdict or control it tells of. A receiver may
//! see the same id twice (an answer got lost) and never two ids for one halt.

mod address;
mod book;
mod config;
mod delivery;
mod follow;
mod http;
mod message;
mod orders;
mod queue;
mod secret;
mod send;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use martingale_platform::clock::Clock;
use martingale_platform::log::{self, Consumer, Log, Partition, StateChange, Store};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{Timestamp, ids};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::http::with_causes;
use crate::metrics::Metrics;
use crate::store;
use book::Book;
pub use config::{Config, ConfigError};
use delivery::{Delivery, Endpoint, VERSION};
pub(crate) use http::router;
pub(crate) use message::{Message, PAYLOAD_BYTES_MAX, Topic as MessageKind};
pub use queue::Full;
pub use secret::Secret;
use send::Target;
pub(crate) use send::client;

/// Name under which positions are committed.
pub const CONSUMER: Consumer = "webhooks";
/// Deliveries by `d/` and id, those of verdicts on their partition, the others on the first; the endpoint's state by `e/`
/// and its digest, on the first.
pub const STORE: Store = "webhooks";

const DELIVERY: &str = "d/";
const ENDPOINT: &str = "e/";
const FIRST: Partition = Partition(0);

/// Deliveries: found, kept, sent.
pub struct Webhooks {
    config: Config,
    /// None: nothing is delivered, but positions move on, so that retention is not held up by an endpoint of the past.
    target: Option<Target>,
    log: Arc<dyn Log>,
    clock: Clock,
    book: Book,
    /// Held by whoever queues or settles deliveries.
    turn: Mutex<()>,
    metrics: Metrics,
}

/// Why webhooks cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the log cannot be used")]
    Log(#[from] log::Error),
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// Looks whether deliveries could be sent, without sending or reading any.
///
/// # Errors
/// When the configuration does not hold.
pub(crate) fn check(config: &Config) -> Result<(), Error> {
    Ok(Target::open(config).map(drop)?)
}

impl Webhooks {
    /// Reads what is kept of deliveries.
    ///
    /// # Errors
    /// [`Error`] when the configuration does not hold or the log cannot be read.
    pub(crate) async fn open(
        config: Config,
        log: Arc<dyn Log>,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Error> {
        let target = Target::open(&config)?;
        let book = Book::new(config.kept_max);
        for partition in (0..log.partitions()).map(Partition) {
            load(&*log, partition, &book).await?;
        }
        let mut unreadable = book.unreadable().len();
        if let Some(target) = &target {
            match load_endpoint(&*log, target).await? {
                Some(endpoint) => book.set_endpoint(endpoint),
                None => unreadable += 1,
            }
        }
        metrics.unreadable.with_label_values(&[STORE]).set(unreadable.try_into().unwrap_or(i64::MAX));
        let webhooks = Self { config, target, log, clock, book, turn: Mutex::default(), metrics };
        webhooks.count_pending();
        Ok(Arc::new(webhooks))
    }

    /// Follows the log and sends, in `tasks`, until shutdown.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn start(self: &Arc<Self>, shutdown: &Shutdown, tasks: &mut JoinSet<()>) -> Result<(), Error> {
        follow::start(self, shutdown, tasks).await?;
        if self.target.is_some() {
            tasks.spawn(send::run(Arc::clone(self), shutdown.clone()));
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.now_micros())
    }

    fn count_pending(&self) {
        self.metrics.deliveries_pending.set(self.book.pending().try_into().unwrap_or(i64::MAX));
    }
}

async fn load(log: &dyn Log, partition: Partition, book: &Book) -> Result<(), log::Error> {
    for (key, entry) in store::entries(log, STORE, partition, DELIVERY).await? {
        match store::read(VERSION, &entry) {
            Ok(delivery) => book.put(partition, delivery),
            Err(error) => {
                let id = String::from_utf8_lossy(&key[DELIVERY.len()..]).into_owned();
                let error = with_causes(&error);
                tracing::error!(delivery = %id, %error, "kept delivery unreadable, not sent and left alone");
                book.put_unreadable(id, error);
            }
        }
    }
    Ok(())
}

/// What stands against the endpoint; `None` when that cannot be read, and then it is written anew with the next attempt.
async fn load_endpoint(log: &dyn Log, target: &Target) -> Result<Option<Endpoint>, log::Error> {
    let Some(entry) = log.state(STORE, FIRST, endpoint_key(target).as_bytes()).await? else {
        return Ok(Some(Endpoint::default()));
    };
    let read = store::read(VERSION, &entry).inspect_err(|error| {
        tracing::error!(error = with_causes(error), "kept state of the endpoint unreadable, taken as enabled");
    });
    Ok(read.ok())
}

fn put(partition: Partition, delivery: &Delivery) -> StateChange {
    change(partition, format!("{DELIVERY}{}", delivery.id), Some(store::write(VERSION, delivery)))
}

fn change(partition: Partition, key: String, value: Option<Bytes>) -> StateChange {
    StateChange { store: STORE, partition, key: key.into(), value }
}

/// Another address or another secret is another endpoint: what stood against the old one does not hold for it.
fn endpoint_key(target: &Target) -> String {
    ids::derive(ENDPOINT, &target.identity())
}
