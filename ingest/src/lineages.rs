//! Which run a session is in, as its first step said.

use bytes::Bytes;
use martingale_platform::log::{self, Append, Log};
use martingale_schemas::lineage::{self, Lineage, Said};
use martingale_schemas::{Rejection, Step, topics};

/// What one request has looked up and told. Not kept longer: another door may hear of a session at any time, and the log
/// answers for all of them.
pub(crate) struct Lineages<'l> {
    log: &'l dyn Log,
    known: lineage::Lineages,
}

impl<'l> Lineages<'l> {
    pub(crate) fn new(log: &'l dyn Log) -> Self {
        Self { log, known: lineage::Lineages::default() }
    }

    /// Puts a step into its run. Answers the record of what it tells for the first time, which belongs before it on the log.
    pub(crate) async fn settle(
        &mut self,
        step: &mut Step<'_>,
        said: Said,
    ) -> Result<Result<Option<Append>, Rejection>, log::Error> {
        while let Some(session) = self.known.absent(step, said).map(str::to_owned) {
            let told = self.log.newest(topics::LINEAGES, session.as_bytes()).await?;
            self.known.load(session, told.and_then(|it| Lineage::from_log(&it)));
        }
        Ok(self.known.settle(step, said).map(|news| {
            let key = Bytes::copy_from_slice(step.session_id.as_str().as_bytes());
            news.map(|it| Append::new(topics::LINEAGES, key, Bytes::from(it.to_json())))
        }))
    }
}
