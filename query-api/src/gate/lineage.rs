//! The run of a step that asks, as the first step of its session said.

use bytes::Bytes;
use martingale_platform::log::{self, Append, Log};
use martingale_schemas::lineage::{Lineage, Lineages, Said};
use martingale_schemas::{Rejection, Step, topics};

/// Puts a step into its run. Answers the record of what it tells for the first time, which belongs before it on the log.
pub(super) async fn settle(
    log: &dyn Log,
    step: &mut Step<'_>,
    said: Said,
) -> Result<Result<Option<Append>, Rejection>, log::Error> {
    let mut known = Lineages::default();
    while let Some(session) = known.absent(step, said).map(str::to_owned) {
        let told = log.newest(topics::LINEAGES, session.as_bytes()).await?;
        known.load(session, told.and_then(|it| Lineage::from_log(&it)));
    }
    Ok(known.settle(step, said).map(|news| {
        let key = Bytes::copy_from_slice(step.session_id.as_str().as_bytes());
        news.map(|it| Append::new(topics::LINEAGES, key, Bytes::from(it.to_json())))
    }))
}
