//! Which run a session is in, as its first step said. The gate asks the same way (`query-api/src/gate/lineage.rs`): services share no
//! code, and neither the schemas, which know no log, nor the platform, which knows no step, can hold it.

use bytes::Bytes;
use martingale_platform::log::{self, Append, Log};
use martingale_schemas::lineage::{self, Lineage, News, Said};
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

    /// Puts a step into its run. Answers the records of what is heard for the first time, which belong before it on the log.
    pub(crate) async fn settle(
        &mut self,
        step: &mut Step<'_>,
        said: Said,
    ) -> Result<Result<Vec<Append>, Rejection>, log::Error> {
        while let Some(session) = self.known.absent(step, said).map(str::to_owned) {
            let told = self.log.newest(topics::LINEAGES, session.as_bytes()).await?;
            self.known.load(session, told.and_then(|it| Lineage::from_log(&it)));
        }
        Ok(self.known.settle(step, said).map(|news| {
            let records = news.into_iter().map(News::into_record);
            records.map(|(key, value)| Append::new(topics::LINEAGES, Bytes::from(key), Bytes::from(value))).collect()
        }))
    }
}
