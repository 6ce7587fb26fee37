//! What happened, kept for ever: the history writer and the tables it keeps.
//!
//! The writer follows the verdicts, takes the judged steps from their topic, and turns both into rows. Rows are visible
//! from memory at once ([`Snapshot`]) and move to Delta tables in large batches, each with the position it reaches in the
//! same commit. So a crash loses nothing and doubles nothing: what was in memory is read from the log again, from where
//! each table is.
//!
//! Where several processes share the tables, each partition is written down by the one that owns it, and all of them hold
//! its newest rows (`replica`).

mod config;
mod damage;
mod disk;
mod lane;
mod location;
mod metrics;
mod origin;
mod place;
mod replica;
mod runtime;
mod standing;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use deltalake::DeltaTableError;
use martingale_platform::clock::Clock;
use martingale_platform::log::{self, Log, Partition};
use martingale_platform::shutdown::Shutdown;
use martingale_schemas::{Limits, StepReader};
use tokio::sync::watch;

use crate::tables::{TABLES, Table};
use lane::Lane;
use metrics::Metrics;
use place::Place;
use runtime::Background;
use standing::Standing;
use store::{Mark, Store};

pub use config::Config;
pub use damage::{Damage, Said};
pub use location::{Bucket, Location, Options};
pub(crate) use store::Stored;

/// Name under which the writer commits its position.
pub const CONSUMER: log::Consumer = "history";

/// The tables of history: Delta in files, the newest rows in memory.
pub struct History {
    config: Config,
    place: Place,
    log: Arc<dyn Log>,
    reader: StepReader,
    clock: Clock,
    metrics: Metrics,
    /// Taken by [`History::run`].
    stores: Mutex<Option<Stores>>,
    seen: watch::Sender<Arc<Snapshot>>,
    standing: watch::Sender<Standing>,
    /// As it was found last.
    damage: Mutex<Option<Damage>>,
    /// Whether it is being looked whether that still is.
    looks_again: AtomicBool,
    background: Background,
}

type Stores = Box<[Store; TABLES]>;

/// All tables at one moment.
pub(crate) struct Snapshot {
    pub(crate) tables: [Seen; TABLES],
}

/// One table at one moment: files of a version, and rows that are not in them.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) stored: Stored,
    pub(crate) fresh: Vec<RecordBatch>,
}

/// Why history cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the log cannot be read")]
    Log(#[from] log::Error),
    #[error("the folder {folder} of history cannot be used", folder = folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("`history.dir` is {bucket}: {why}")]
    Bucket { bucket: String, why: String },
    #[error("the Delta table `{table}` cannot be used")]
    Delta { table: &'static str, source: Said },
    #[error(
        "{file} cannot be read: restore {folder} from a backup, or move it away, and the table is built anew from what \
         the log holds"
    )]
    Damaged { file: String, folder: String, source: Said },
    #[error("rows cannot be built")]
    Rows(#[from] arrow::error::ArrowError),
    #[error(
        "the Delta table `{table}` was written by another version (columns {columns}): use that version or another folder"
    )]
    OtherVersion { table: &'static str, columns: String },
    #[error(
        "the Delta table `{table}` is at offset {next} of partition {partition}, the log ends at {end}: \
         history and log are not of the same installation, or the log lost its end, and with it what it had acknowledged \
         and the halts that stood; restore both from one backup, or move the folder of history away: it is begun anew with \
         what the log holds"
    )]
    AheadOfLog { table: &'static str, partition: Partition, next: u64, end: u64 },
    #[error(
        "{place} was made from the log {made_from}, and this log is {log}: history and log are not of the same \
         installation, or the log was removed, and with it what it had acknowledged and the halts that stood; restore the \
         log that belongs to it, or move {place} away: history is begun anew with what this log holds"
    )]
    OtherLog { place: String, made_from: String, log: String },
    #[error("another process has written rows of a partition to the Delta table `{table}` meanwhile")]
    Overtaken { table: &'static str },
    #[error("metrics of history cannot be registered")]
    Metrics(#[from] prometheus::Error),
    #[error("history is already being written in this process")]
    Running,
    #[error("threads of history cannot be started")]
    Threads(#[source] std::io::Error),
    #[error("a task of history ended unexpectedly")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether it may go well from what is on disk: brokers or a bucket were away for a while, or another was faster.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Log(error) => error.is_transient(),
            Self::Delta { .. } | Self::Overtaken { .. } => true,
            _ => false,
        }
    }

    fn delta(table: Table) -> impl Fn(DeltaTableError) -> Self + Copy {
        move |source| Self::Delta { table: table.name(), source: Said::of(&source) }
    }
}

impl History {
    /// Opens or creates the tables in `config.dir`. What is on disk can be asked for from here on.
    ///
    /// # Errors
    /// [`Error`] when a table or the log cannot be read, or was written by another version or for another log.
    pub async fn open(
        config: Config,
        limits: &Limits,
        log: Arc<dyn Log>,
        clock: Clock,
        registry: &prometheus::Registry,
    ) -> Result<Arc<Self>, Error> {
        let metrics = Metrics::new(registry)?;
        let background = Background::start()?;
        let place = Place::open(&config.dir, &config.options, background.handle()).await?;
        origin::check(&place, log.identity()).await?;
        let mut stores = Vec::with_capacity(TABLES);
        for table in Table::ALL {
            stores.push(Store::open(&place, table).await?);
        }
        // Now, and not when the writer begins: nobody may be answered by a log that has lost its end.
        for partition in (0..log.partitions()).map(Partition) {
            Lane::new(partition, marks_of(&stores, partition).await?).begin(&*log).await?;
        }
        origin::claim(&place, log.identity()).await?;
        let tables = stores
            .iter()
            .map(|it| Ok(Seen { stored: it.stored()?, fresh: Vec::new() }))
            .collect::<Result<Vec<_>, Error>>()?;
        let (Ok(stores), Ok(tables)) = (stores.try_into(), tables.try_into()) else {
            unreachable!("one of each for every table");
        };
        let (seen, _) = watch::channel(Arc::new(Snapshot { tables }));
        let (standing, _) = watch::channel(Standing::CatchingUp);
        let stores = Mutex::new(Some(stores));
        let reader = StepReader::new(log.is_open(), limits);
        let history = Arc::new(Self {
            config,
            place,
            log,
            reader,
            clock,
            metrics,
            stores,
            seen,
            standing,
            damage: Mutex::default(),
            looks_again: AtomicBool::new(false),
            background,
        });
        if let Some(damage) = history.look_for_damage().await? {
            tracing::error!(%damage, "history is damaged");
        }
        Ok(history)
    }

    /// Follows the log until shutdown, then flushes what is in memory.
    ///
    /// # Errors
    /// [`Error`] when the log or a table fails in a way that does not pass.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> Result<(), Error> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Error::Running)?;
        let handle = self.background.handle();
        handle.spawn(writer::run(self, stores, shutdown)).await?
    }

    /// All tables as they are now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.seen.borrow())
    }

    /// Returns once everything is visible that was on the log when the writer started. Before that the tables may lack rows
    /// that the last process showed, and each of them other ones.
    pub(crate) async fn current(&self) {
        // It cannot be closed: its sender is here.
        let _ = self.standing.subscribe().wait_for(|it| *it != Standing::CatchingUp).await;
    }

    pub(crate) fn is_current(&self) -> bool {
        *self.standing.borrow() != Standing::CatchingUp
    }

    /// Why what is asked of history may lack the newest rows.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        self.standing.borrow().trouble()
    }

    /// Whether the files of the tables are what they were. It lists all of them.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) async fn look_for_damage(&self) -> Result<Option<Damage>, Error> {
        let found = Damage::find(&self.place, &self.snapshot()).await.map_err(|error| self.place.failed(&error))?;
        self.metrics.files_damaged.set(found.as_ref().map_or(0, |it| i64::try_from(it.files).unwrap_or(i64::MAX)));
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
        Ok(found)
    }

    /// Damage that was found. Meanwhile it is looked whether it is still there, since a file may have been restored: at one
    /// file, and at the others when that one was.
    pub(crate) fn damage(self: &Arc<Self>) -> Option<Damage> {
        let known = self.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        if !self.looks_again.swap(true, Ordering::AcqRel) {
            let (history, damage) = (Arc::clone(self), known.clone());
            drop(self.background.handle().spawn(async move {
                history.look_again(&damage).await;
                history.looks_again.store(false, Ordering::Release);
            }));
        }
        Some(known)
    }

    async fn look_again(&self, known: &Damage) {
        // Who cannot be asked now has not said that it is mended.
        if known.stands(&self.place, &self.snapshot()).await.is_ok_and(|stands| !stands) {
            let _ = self.look_for_damage().await;
        }
    }

    /// Changes whenever rows become visible.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.seen.subscribe())
    }

    /// Where the tables are, as plans of queries show it: without the leading separator.
    pub(crate) fn shown_in_plans(&self) -> String {
        self.place.shown_in_plans()
    }

    /// Ends everything where it is, as a crash would.
    #[cfg(test)]
    pub(crate) fn kill(&self) {
        self.background.kill();
    }
}

/// How far all tables are in a partition.
async fn marks_of(stores: &[Store], partition: Partition) -> Result<[Mark; TABLES], Error> {
    let mut marks = [Mark::default(); TABLES];
    for (mark, store) in marks.iter_mut().zip(stores) {
        *mark = store.mark(partition).await?;
    }
    Ok(marks)
}

/// Waits for rows to become visible.
pub struct Changes(watch::Receiver<Arc<Snapshot>>);

impl Changes {
    /// Returns when rows have become visible since the last call; `false` when none will any more.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
