//! One partition of the log, read into rows.

use std::collections::VecDeque;

use martingale_platform::log::{self, Log, Offset, Partition, ReadLimit, Record, Topic};
use martingale_schemas::{Control, Position, StepReader, Timestamp, Verdict, topics};
use tokio::sync::watch;

use super::metrics::Metrics;
use super::store::Mark;
use crate::tables::{Judged, Pending, TABLES, Table};

const READ: ReadLimit = ReadLimit { records_max: 1024, bytes_max: 4 << 20 };

/// Tables made from verdicts and the steps they judge.
const JUDGED: [Table; 5] = [Table::Steps, Table::Verdicts, Table::Findings, Table::SessionParts, Table::Edges];

pub(super) struct Lane {
    pub(super) partition: Partition,
    /// How far each table is, counting the rows in memory. Behind one another only after a crash between two commits.
    pub(super) marks: [Mark; TABLES],
    verdicts: Offset,
    controls: Offset,
    /// Steps read ahead of their verdicts.
    steps: VecDeque<Record>,
    steps_next: Offset,
    /// Where verdicts and controls ended when this began.
    began_at: [Offset; 2],
    /// A read has found nothing more. Offsets do not say it: the last of a partition may belong to no record.
    at_end: bool,
}

/// What one pass over partitions brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) records: usize,
    /// When the newest record was appended, by the clock of the log.
    pub(super) appended_at: Option<i64>,
}

impl Pass {
    fn note(&mut self, record: &Record) {
        self.records += 1;
        self.appended_at = self.appended_at.max(Some(record.appended_at));
    }
}

impl Lane {
    /// Starts where the table that is furthest behind left off.
    pub(super) fn new(partition: Partition, marks: [Mark; TABLES]) -> Self {
        let verdicts = JUDGED.iter().map(|it| marks[*it as usize].next).min().unwrap_or(0);
        let next_step = JUDGED.iter().map(|it| marks[*it as usize].next_step).min().unwrap_or(0);
        Self {
            partition,
            marks,
            verdicts: Offset(verdicts),
            controls: Offset(marks[Table::ControlEvents as usize].next),
            steps: VecDeque::new(),
            steps_next: Offset(next_step),
            began_at: [Offset::START; 2],
            at_end: false,
        }
    }

    /// Whether everything was read that was on the log when this began.
    pub(super) fn has_caught_up(&self) -> bool {
        let [verdicts, controls] = self.began_at;
        self.at_end || (self.verdicts >= verdicts && self.controls >= controls)
    }

    /// Goes on where another lane of the partition is, also in what it has to read before it has caught up.
    pub(super) fn follows(&mut self, other: &Self) {
        self.began_at = other.began_at;
    }

    /// Whether it holds all that another lane of the partition has read.
    pub(super) fn has_reached(&self, other: &Self) -> bool {
        self.verdicts >= other.verdicts && self.controls >= other.controls
    }

    /// Changes when there is more to read.
    pub(super) fn grown(&self, log: &dyn Log) -> [watch::Receiver<Offset>; 2] {
        [topics::VERDICTS, topics::CONTROLS].map(|topic| {
            let mut receiver = log.grown(topic, self.partition);
            receiver.mark_changed();
            receiver
        })
    }

    /// Next offset of each topic, for the log's own record of progress.
    pub(super) fn progress(marks: &[Mark; TABLES]) -> [(Topic, Offset); 3] {
        let least = |of: fn(&Mark) -> u64| JUDGED.iter().map(|it| of(&marks[*it as usize])).min().unwrap_or(0);
        [
            (topics::VERDICTS, Offset(least(|it| it.next))),
            (topics::STEPS, Offset(least(|it| it.next_step))),
            (topics::CONTROLS, Offset(marks[Table::ControlEvents as usize].next)),
        ]
    }

    /// Looks where the log ends. Fails when a table is ahead of it: then its rows came from another one, or from an end
    /// that it has lost.
    pub(super) async fn begin(&mut self, log: &dyn Log) -> Result<(), super::Error> {
        let mut ends = [0; 3];
        for (end, topic) in ends.iter_mut().zip([topics::VERDICTS, topics::CONTROLS, topics::STEPS]) {
            *end = log.bounds(topic, self.partition).await?.end.0;
        }
        let [verdicts, controls, steps] = ends;
        self.began_at = [Offset(verdicts), Offset(controls)];
        for table in Table::ALL {
            let Mark { next, next_step } = self.marks[table as usize];
            let made_from = if table == Table::ControlEvents { controls } else { verdicts };
            for (next, end) in [(next, made_from), (next_step, steps)] {
                if next > end {
                    return Err(super::Error::AheadOfLog { table: table.name(), partition: self.partition, next, end });
                }
            }
        }
        Ok(())
    }

    /// Reads what there is, up to a limit. What was taken in is noted also when the log cannot be read any further.
    pub(super) async fn read(
        &mut self,
        log: &dyn Log,
        reader: &StepReader,
        into: &mut Pending,
        metrics: &Metrics,
        pass: &mut Pass,
    ) -> Result<(), log::Error> {
        let controls = read(log, topics::CONTROLS, self.partition, &mut self.controls, metrics).await?;
        for record in &controls {
            self.control(record, into, metrics);
            pass.note(record);
        }
        let verdicts = read(log, topics::VERDICTS, self.partition, &mut self.verdicts, metrics).await?;
        for record in &verdicts {
            self.verdict(log, reader, record, into, metrics).await?;
            pass.note(record);
        }
        self.at_end |= controls.is_empty() && verdicts.is_empty();
        Ok(())
    }

    fn control(&mut self, record: &Record, into: &mut Pending, metrics: &Metrics) {
        match serde_json::from_slice::<Control>(&record.value) {
            Ok(control) => {
                into.control(&control, Position { partition: self.partition.0, offset: record.offset.0 });
            }
            Err(error) => metrics.unreadable(topics::CONTROLS, self.partition, record.offset, &error),
        }
        self.controls = record.offset.next();
        self.marks[Table::ControlEvents as usize].next = record.offset.next().0;
    }

    async fn verdict(
        &mut self,
        log: &dyn Log,
        reader: &StepReader,
        record: &Record,
        into: &mut Pending,
        metrics: &Metrics,
    ) -> Result<(), log::Error> {
        match serde_json::from_slice::<Verdict<'_>>(&record.value) {
            Ok(verdict) => {
                let at = Offset(verdict.position.offset);
                if JUDGED.iter().any(|it| at.0 >= self.marks[*it as usize].next_step) {
                    let step = self.step(log, at, metrics).await?;
                    self.judged(record.offset, &verdict, step.as_ref(), reader, into, metrics);
                }
            }
            Err(error) => metrics.unreadable(topics::VERDICTS, self.partition, record.offset, &error),
        }
        self.verdicts = record.offset.next();
        for table in JUDGED {
            let mark = &mut self.marks[table as usize];
            mark.next = mark.next.max(record.offset.next().0);
        }
        Ok(())
    }

    /// Adds the rows of tables that do not have them yet. A table has them when it is past the verdict's offset, or past
    /// the step's: then the verdict was published twice.
    fn judged(
        &mut self,
        at: Offset,
        verdict: &Verdict<'_>,
        step: Option<&Record>,
        reader: &StepReader,
        into: &mut Pending,
        metrics: &Metrics,
    ) {
        let step = step.and_then(|record| {
            reader
                .read(&record.key, &record.value, Timestamp::from_micros(record.appended_at))
                .map_err(|error| metrics.unreadable(topics::STEPS, self.partition, record.offset, &error))
                .ok()
        });
        let judged = Judged { verdict, step: step.as_ref() };
        for table in JUDGED {
            let mark = &mut self.marks[table as usize];
            if at.0 >= mark.next && verdict.position.offset >= mark.next_step {
                into.judged(table, &judged);
                mark.next_step = verdict.position.offset + 1;
            }
        }
    }

    /// The step at an offset. Verdicts follow the order of their steps, so this reads on from the last one; a step
    /// without a verdict was a duplicate and is passed over.
    async fn step(&mut self, log: &dyn Log, at: Offset, metrics: &Metrics) -> Result<Option<Record>, log::Error> {
        loop {
            while let Some(record) = self.steps.pop_front() {
                if record.offset == at {
                    return Ok(Some(record));
                }
                if record.offset > at {
                    self.steps.push_front(record);
                    metrics.steps_missing.inc();
                    return Ok(None);
                }
            }
            self.steps_next = self.steps_next.max(at);
            self.steps = read(log, topics::STEPS, self.partition, &mut self.steps_next, metrics).await?.into();
            match self.steps.back() {
                Some(last) => self.steps_next = last.offset.next(),
                // Its verdict came first: what a process has fetched of two topics is not equally far.
                None if at < log.bounds(topics::STEPS, self.partition).await?.end => {
                    let message = format!("the step at {at} is on the log and has not been fetched yet");
                    return Err(log::Error::Storage(message.into()));
                }
                None => {
                    metrics.steps_missing.inc();
                    return Ok(None);
                }
            }
        }
    }
}

/// Reads from `from` on. What retention has removed is counted and passed over.
async fn read(
    log: &dyn Log,
    topic: Topic,
    partition: Partition,
    from: &mut Offset,
    metrics: &Metrics,
) -> Result<Vec<Record>, log::Error> {
    match log.read(topic, partition, *from, READ).await {
        Err(log::Error::Expired { asked, start }) => {
            tracing::warn!(topic, %partition, %asked, %start, "records were removed before history had them");
            metrics.expired.inc_by(start.0.saturating_sub(asked.0));
            *from = start;
            log.read(topic, partition, start, READ).await
        }
        other => other,
    }
}
