//! How the embedded log is configured.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Span;
use crate::log::Error;

/// Configuration of the embedded log. Every field has a default but none is optional: `Default` is the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// Folder the log owns. Created when missing; one process at a time.
    pub dir: PathBuf,
    /// Partitions of every topic. Fixed when the folder is created, because it decides where a key's records are.
    pub partitions: u32,
    pub durability: Durability,
    pub group_commit: GroupCommit,
    /// Bytes of appends and commits that may wait to be written; beyond it they are refused. One alone is always taken.
    pub queue_bytes_max: usize,
    /// Records older than this are removed, except the newest of each key of a compacted topic.
    pub retention_age: Span,
    /// Bytes of records kept over all topics that are not compacted; beyond it the oldest are removed.
    pub retention_bytes: u64,
    /// Retention removes whole segments: this much of a partition at a time.
    pub segment_bytes: u64,
    /// Memory for reading: half for the newest records, half for blocks of the files.
    pub cache_bytes: usize,
}

/// What "durable" means when an append or commit is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Handed to the operating system, and brought to the disk every second. Survives the death of the process in any
    /// form; a power cut may take the last second, whole commits from the end, never part of one.
    #[default]
    Os,
    /// On the disk (`fdatasync`). Survives a power cut.
    Fsync,
}

/// The most one write to disk carries. A group is what has queued while the previous one was written; nothing lingers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupCommit {
    pub records_max: usize,
    pub bytes_max: usize,
}

const MIB: usize = 1 << 20;

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data/log"),
            partitions: 4,
            durability: Durability::Os,
            group_commit: GroupCommit::default(),
            queue_bytes_max: 64 * MIB,
            retention_age: Span::from_millis(30 * 86_400_000),
            retention_bytes: 64 << 30,
            segment_bytes: 8 << 20,
            cache_bytes: 128 * MIB,
        }
    }
}

impl Default for GroupCommit {
    fn default() -> Self {
        Self { records_max: 8_192, bytes_max: 8 * MIB }
    }
}

impl EmbeddedConfig {
    /// # Errors
    /// A sentence that names the field, its value and what it may be.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least_one = [
            ("group_commit.records_max", self.group_commit.records_max as u64),
            ("group_commit.bytes_max", self.group_commit.bytes_max as u64),
            ("queue_bytes_max", self.queue_bytes_max as u64),
            ("retention_bytes", self.retention_bytes),
            ("segment_bytes", self.segment_bytes),
        ];
        if let Some((field, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(Error::Open(format!("log: {field} is 0, give at least 1")));
        }
        if !(1..=1_024).contains(&self.partitions) {
            return Err(Error::Open(format!("log: partitions is {}, give 1 to 1024", self.partitions)));
        }
        if self.retention_age.0.is_zero() {
            return Err(Error::Open("log: retention_age is 0, give for example 30d".to_owned()));
        }
        Ok(())
    }
}
