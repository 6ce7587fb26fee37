use martingale_platform::log::{self, Partition};

use crate::state;

/// Why the detector stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the detector cannot use the log")]
    Log(#[from] log::Error),
    /// Going on without it would forget what was decided, a halt for one.
    #[error("state `{key}` of partition {partition} cannot be read")]
    State { partition: Partition, key: String, source: state::Error },
    #[error("detector `{field}` is {value}: {remedy}")]
    Config { field: &'static str, value: String, remedy: &'static str },
    #[error("the metrics of the detector cannot be registered")]
    Metrics(#[from] prometheus::Error),
    #[error("the baselines that were learnt cannot be written")]
    Unwritten(#[source] crate::BaselinesError),
    #[error("the loop of a partition broke off")]
    Broken(#[source] tokio::task::JoinError),
}

impl Error {
    /// Whether the partition may start again from what is committed, or from what retention has kept.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_transient() || matches!(error, log::Error::Expired { .. }))
    }
}
