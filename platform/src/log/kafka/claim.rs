//! A consumer's claim on a partition: who may publish, change state and make progress for it.
//!
//! A claim is a pair of transactional producers whose ids are made of consumer and partition. Who claims later fences
//! who claimed before: from then on the brokers refuse whatever the earlier one sends, published records included,
//! because those are sent in the transaction too.
//!
//! Records are published in an open transaction, and seen by uncommitted readers as soon as they are acknowledged; the
//! transaction ends up to `settle_every` later, and makes state and progress durable at once. While one producer ends
//! its transaction, the other takes the commits that follow: no commit waits for the end of another. They end in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::changelog::{self, Own, Restoring, View};
use super::client::{Clients, Producer};
use super::delivery::{self, Placed};
use super::tail::{Tail, blocking};
use super::{Consumer, ConsumerSpec, Error, Partition, Progress, Settle, Settled, StateChange};

/// A transaction with so many bytes ends without waiting for its time: those it has published, and those of state and
/// progress that it will write at its end.
const SETTLE_BYTES: usize = 8 << 20;

/// A claim that holds.
pub(super) struct Claim {
    clients: Clients,
    consumer: Consumer,
    partition: Partition,
    settle: Settle,
    view: Mutex<View>,
    work: tokio::sync::Mutex<Work>,
    /// How many transactions have ended well.
    settled: watch::Sender<u64>,
    /// Why it does not hold any more.
    broken: watch::Sender<Option<Broken>>,
}

/// The producers, and which of them has a transaction open.
struct Work {
    lanes: Vec<Lane>,
    /// Number of the next transaction; its lane is the remainder.
    next: u64,
    open: Option<Open>,
}

struct Lane {
    producer: Arc<Producer>,
    /// Ends its last transaction.
    ending: Option<JoinHandle<()>>,
}

struct Open {
    number: u64,
    bytes: usize,
    /// State and progress by key, sent when the transaction ends: what changes in each commit is written once.
    changelog: HashMap<Bytes, Placed>,
}

/// Why a claim does not hold.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) is_fenced: bool,
    pub(super) at: Instant,
    why: KafkaError,
}

/// One partition's part of a commit.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) publish: Vec<Placed>,
    pub(super) changelog: Vec<Placed>,
    pub(super) state: Vec<StateChange>,
    pub(super) progress: Vec<Progress>,
}

impl Claim {
    /// Fences whoever held it, then restores the state that is there from then on. Blocks, for as long as that takes.
    pub(super) fn establish(
        clients: &Clients,
        tail: &Tail,
        (changelog, own): (&Arc<str>, &Own),
        spec: ConsumerSpec,
        partition: Partition,
        progress: &Restoring,
    ) -> Result<Arc<Self>, Error> {
        let ConsumerSpec { consumer, settle, .. } = spec;
        let lanes = match settle {
            Settle::Behind => 2,
            Settle::AtOnce => 1,
        };
        let lane = |lane: u64| {
            let id = format!("{}{consumer}-{partition}-{lane}", clients.config.topic_prefix);
            let producer = clients.transactional(&id)?;
            // A transaction that another left open is ended first: that takes some seconds at worst.
            let timeout = clients.config.write_timeout.0.max(clients.request_timeout()) * 3;
            producer
                .init_transactions(timeout)
                .map_err(|error| clients.failed(format_args!("partition {partition} cannot be claimed"), error))?;
            Ok(Lane { producer: Arc::new(producer), ending: None })
        };
        let lanes: Vec<Lane> = (0..lanes).map(lane).collect::<Result<_, Error>>()?;
        // What the one before published is on the log now, and no more of it will come: the next reads have to see it.
        tail.forget(partition);
        let view = changelog::restore(clients, changelog, own, partition, progress)?;
        Ok(Arc::new(Self {
            clients: clients.clone(),
            consumer,
            partition,
            settle,
            view: Mutex::new(view),
            work: tokio::sync::Mutex::new(Work { lanes, next: 0, open: None }),
            settled: watch::Sender::new(0),
            broken: watch::Sender::new(None),
        }))
    }

    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        self.broken.borrow().clone()
    }

    /// # Errors
    /// Why it does not hold any more.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.broken().map_or(Ok(()), |it| Err(self.error(&it)))
    }

    fn error(&self, broken: &Broken) -> Error {
        if broken.is_fenced {
            return Error::Fenced(self.partition);
        }
        let (consumer, partition) = (self.consumer, self.partition);
        self.clients.failed(format_args!("`{consumer}` cannot commit on partition {partition}"), broken.why.clone())
    }

    /// From now on nothing is taken; what was is undone at the next restore, unless its transaction has ended.
    fn fail(&self, producer: &Producer, why: KafkaError) -> Error {
        let is_fenced = is_fenced(&why) || producer.client().fatal_error().is_some_and(|(code, _)| is_fencing(code));
        let broken = Broken { is_fenced, at: Instant::now(), why };
        self.broken.send_if_modified(|it| {
            let is_first = it.is_none();
            if is_first {
                *it = Some(broken.clone());
            }
            is_first
        });
        self.error(&broken)
    }

    /// Publishes, and keeps state and progress for the end of the same transaction. Published is what is acknowledged when this
    /// returns; the offsets of it in their order.
    pub(super) async fn commit(self: &Arc<Self>, part: Part) -> Result<Vec<i64>, Error> {
        let mut work = self.work.lock().await;
        self.check()?;
        let producer = self.begin(&mut work).await?;
        let published = delivery::wait(delivery::send(&producer, &part.publish)).await;
        let offsets = published.map_err(|error| self.fail(&producer, error))?;
        self.view().apply(part.state, &part.progress);
        if let Some(open) = &mut work.open {
            open.bytes += part.publish.iter().map(Placed::bytes).sum::<usize>();
            for record in part.changelog {
                open.bytes += record.bytes();
                if let Some(replaced) = open.changelog.insert(record.key.clone(), record) {
                    open.bytes -= replaced.bytes();
                }
            }
        }
        let is_due = work.open.as_ref().is_some_and(|it| it.bytes > SETTLE_BYTES);
        match self.settle {
            Settle::AtOnce => {
                let number = self.end(&mut work);
                drop(work);
                self.ended(number).await?;
            }
            Settle::Behind if is_due => {
                self.end(&mut work);
            }
            Settle::Behind => {}
        }
        Ok(offsets)
    }

    /// How far its transactions have ended well.
    pub(super) async fn settled(&self) -> Result<Settled, Error> {
        let work = self.work.lock().await;
        self.check()?;
        let ended = *self.settled.borrow();
        Ok(match ended {
            _ if work.open.is_none() && ended >= work.next => Settled::All,
            0 => Settled::Nothing,
            _ => Settled::Some,
        })
    }

    /// The producer with the open transaction; opens one when there is none.
    async fn begin(self: &Arc<Self>, work: &mut Work) -> Result<Arc<Producer>, Error> {
        let lanes = work.lanes.len() as u64;
        let number = work.open.as_ref().map_or(work.next, |it| it.number);
        let index = usize::try_from(number % lanes).unwrap_or_default();
        let lane = &mut work.lanes[index];
        let producer = Arc::clone(&lane.producer);
        if work.open.is_some() {
            return Ok(producer);
        }
        if let Some(ending) = lane.ending.take() {
            // A panic there was reported when it happened.
            let _ = ending.await;
            self.check()?;
        }
        producer.begin_transaction().map_err(|error| self.fail(&producer, error))?;
        work.open = Some(Open { number, bytes: 0, changelog: HashMap::new() });
        work.next = number + 1;
        if self.settle == Settle::Behind {
            let claim = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(claim.clients.config.settle_every.0).await;
                let mut work = claim.work.lock().await;
                if work.open.as_ref().is_some_and(|it| it.number == number) {
                    claim.end(&mut work);
                }
            });
        }
        Ok(producer)
    }

    /// Ends the open transaction behind those before it; how many have to have ended then.
    fn end(self: &Arc<Self>, work: &mut Work) -> u64 {
        let Some(open) = work.open.take() else { return work.next };
        let index = usize::try_from(open.number % work.lanes.len() as u64).unwrap_or_default();
        let lane = &mut work.lanes[index];
        let (claim, producer, number) = (Arc::clone(self), Arc::clone(&lane.producer), open.number);
        lane.ending = Some(tokio::spawn(async move {
            // What was published in part must not become visible without its progress: left open, it is undone by whoever
            // claims the partition next.
            if claim.ended(number).await.is_err() || claim.check().is_err() {
                return;
            }
            let changelog: Vec<Placed> = open.changelog.into_values().collect();
            if let Err(error) = delivery::wait(delivery::send(&producer, &changelog)).await {
                claim.fail(&producer, error);
                return;
            }
            let timeout = claim.clients.config.write_timeout.0;
            let ending = Arc::clone(&producer);
            let outcome = blocking(move || Ok(ending.commit_transaction(timeout))).await;
            match outcome {
                Ok(Ok(())) => {
                    claim.settled.send_replace(number + 1);
                }
                Ok(Err(error)) => drop(claim.fail(&producer, error)),
                // The runtime ends.
                Err(_) => {}
            }
        }));
        number + 1
    }

    /// Waits until so many transactions have ended.
    async fn ended(&self, count: u64) -> Result<(), Error> {
        let (mut settled, mut broken) = (self.settled.subscribe(), self.broken.subscribe());
        tokio::select! {
            biased;
            _ = settled.wait_for(|it| *it >= count) => Ok(()),
            _ = broken.wait_for(Option::is_some) => {
                self.check()?;
                Err(Error::Closed)
            }
        }
    }

    /// Ends what is open and takes nothing more.
    pub(super) async fn retire(self: &Arc<Self>) -> Result<(), Error> {
        let number = {
            let mut work = self.work.lock().await;
            self.check()?;
            self.end(&mut work)
        };
        let outcome = self.ended(number).await;
        let why = KafkaError::Global(RDKafkaErrorCode::Fenced);
        self.broken.send_if_modified(|it| {
            it.get_or_insert(Broken { is_fenced: true, at: Instant::now(), why });
            true
        });
        outcome
    }
}

fn is_fencing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::InvalidProducerIdMapping)
}

fn is_fenced(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(is_fencing)
}
