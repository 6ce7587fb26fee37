//! The newest rows of partitions that another process writes down.
//!
//! Every process that answers queries holds them, read from the log, so that all answer alike. They begin where the
//! tables end: when those have moved on, because the writer of a partition has flushed, the rows are read anew from
//! there, and shown together with the tables they follow on. So a row is counted once whichever process is asked.

use martingale_platform::log::{Log, Offset, Partition};
use tokio::sync::watch;
use tokio::time::Instant;

use super::lane::{Lane, Pass};
use super::store::{Mark, Store};
use super::tail::Tail;
use super::{Error, History, Stores, marks_of};
use crate::tables::{Pending, TABLES};

/// See the module.
pub(super) struct Replica {
    pub(super) lanes: Vec<Lane>,
    pub(super) tail: Tail,
    pending: Pending,
    /// Where the tables ended when the rows began.
    began: Vec<[Mark; TABLES]>,
    /// Versions of the tables that were looked at last.
    versions: Vec<u64>,
}

impl Replica {
    /// Rows of these partitions from where the tables end.
    async fn start(log: &dyn Log, stores: &Stores, partitions: &[Partition]) -> Result<Self, Error> {
        let mut it = Self::empty(stores, partitions).await?;
        for lane in &mut it.lanes {
            lane.begin(log).await?;
        }
        Ok(it)
    }

    async fn empty(stores: &Stores, partitions: &[Partition]) -> Result<Self, Error> {
        let mut began = Vec::with_capacity(partitions.len());
        for partition in partitions {
            began.push(marks_of(&stores[..], *partition).await?);
        }
        let lanes = partitions.iter().zip(&began).map(|(partition, marks)| Lane::new(*partition, *marks)).collect();
        let versions = versions(stores)?;
        Ok(Self { lanes, tail: Tail::default(), pending: Pending::new(), began, versions })
    }

    pub(super) fn grown(&self, log: &dyn Log) -> Vec<watch::Receiver<Offset>> {
        self.lanes.iter().flat_map(|lane| lane.grown(log)).collect()
    }

    pub(super) fn has_caught_up(&self) -> bool {
        self.pending.is_empty() && self.lanes.iter().all(Lane::has_caught_up)
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Lanes to read, with where their rows go.
    pub(super) fn parts(&mut self) -> (&mut [Lane], &mut Pending) {
        (&mut self.lanes, &mut self.pending)
    }

    /// Makes what was read part of what is shown.
    pub(super) fn absorb(&mut self) -> Result<(), Error> {
        Ok(self.tail.absorb(&mut self.pending, Instant::now())?)
    }

    /// Follows the tables where another process has moved them on; whether they changed. What is shown before and after
    /// holds the same rows.
    pub(super) async fn follow(&mut self, history: &History, stores: &Stores) -> Result<bool, Error> {
        let now = versions(stores)?;
        if now == self.versions {
            return Ok(false);
        }
        let partitions: Vec<Partition> = self.lanes.iter().map(|it| it.partition).collect();
        let mut anew = Self::empty(stores, &partitions).await?;
        if anew.began == self.began {
            self.versions = now;
            return Ok(true);
        }
        for (lane, before) in anew.lanes.iter_mut().zip(&self.lanes) {
            lane.follows(before);
            while !lane.has_reached(before) {
                let mut pass = Pass::default();
                match lane.read(&*history.log, &history.reader, &mut anew.pending, &history.metrics, &mut pass).await {
                    Ok(()) if pass.records == 0 => break,
                    Ok(()) => {}
                    // The writer's next read says so. What is shown stays until all of it can be read again.
                    Err(error) if error.is_transient() => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        anew.absorb()?;
        *self = anew;
        Ok(true)
    }
}

/// Lanes of the partitions that are this process's own, and what it holds of the others, from where the tables end.
pub(super) async fn begin(
    history: &History,
    stores: &mut Stores,
    owned: &[Partition],
) -> Result<(Vec<Lane>, Replica), Error> {
    let log = &*history.log;
    for store in stores.iter_mut() {
        store.refresh().await?;
    }
    let mut lanes = Vec::with_capacity(owned.len());
    for partition in owned {
        let mut lane = Lane::new(*partition, marks_of(&stores[..], *partition).await?);
        lane.begin(log).await?;
        lanes.push(lane);
    }
    let others: Vec<_> = (0..log.partitions()).map(Partition).filter(|it| !owned.contains(it)).collect();
    Ok((lanes, Replica::start(log, stores, &others).await?))
}

fn versions(stores: &Stores) -> Result<Vec<u64>, Error> {
    stores.iter().map(Store::version).collect()
}
