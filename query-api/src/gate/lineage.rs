//! The run of a step that asks, as the first step of its session said. As ingest asks it (`ingest/src/lineages.rs`), which says why it is
//! written twice.

use bytes::Bytes;
use martingale_platform::log::{self, Append, Log};
use martingale_schemas::lineage::{Lineage, Lineages, News, Said};
use martingale_schemas::{Rejection, Step, topics};

/// Puts a step into its run. Answers the records of what is heard for the first time, which belong before it on the log.
pub(super) async fn settle(
    log: &dyn Log,
    step: &mut Step<'_>,
    said: Said,
) -> Result<Result<Vec<Append>, Rejection>, log::Error> {
    let mut known = Lineages::default();
    while let Some(session) = known.absent(step, said).map(str::to_owned) {
        let told = log.newest(topics::LINEAGES, session.as_bytes()).await?;
        known.load(session, told.and_then(|it| Lineage::from_log(&it)));
    }
    Ok(known.settle(step, said).map(|news| {
        let records = news.into_iter().map(News::into_record);
        records.map(|(key, value)| Append::new(topics::LINEAGES, Bytes::from(key), Bytes::from(value))).collect()
    }))
}
