//! The run of a step that asks: as it says, or as its session told before.

use bytes::Bytes;
use martingale_platform::log::{self, Append, Log};
use martingale_schemas::lineage::{Lineage, Said};
use martingale_schemas::{Rejection, SessionId, Step, topics};

/// Puts a step into its run. Answers the record of what it tells for the first time, which belongs before it on the log.
pub(super) async fn settle(
    log: &dyn Log,
    step: &mut Step<'_>,
    said: Said,
) -> Result<Result<Option<Append>, Rejection>, log::Error> {
    let known = told(log, &step.session_id).await?;
    let above = match said.asks(step, known.as_ref()) {
        Some(parent) => told(log, parent).await?,
        None => None,
    };
    Ok(Lineage::settle(step, said, known.as_ref(), above.as_ref()).map(|news| {
        let key = Bytes::copy_from_slice(step.session_id.as_str().as_bytes());
        news.map(|it| Append::new(topics::LINEAGES, key, Bytes::from(it.to_json())))
    }))
}

async fn told(log: &dyn Log, session: &SessionId<'_>) -> Result<Option<Lineage>, log::Error> {
    let told = log.newest(topics::LINEAGES, session.as_str().as_bytes()).await?;
    Ok(told.and_then(|it| Lineage::from_log(&it)))
}
