//! What sessions told of their root and parent before, for steps that leave it away.

use std::collections::HashMap;

use bytes::Bytes;
use martingale_platform::log::{self, Append, Log};
use martingale_schemas::lineage::{Lineage, Said};
use martingale_schemas::{Rejection, Step, topics};

/// What one request has looked up and told. Not kept longer: another door may hear of a session at any time, and the log
/// answers for all of them.
pub(crate) struct Lineages<'l> {
    log: &'l dyn Log,
    /// By session. At most one for each step of the request, and one for its parent.
    known: HashMap<String, Option<Lineage>>,
}

impl<'l> Lineages<'l> {
    pub(crate) fn new(log: &'l dyn Log) -> Self {
        Self { log, known: HashMap::new() }
    }

    /// Puts a step into its run. Answers the record of what it tells for the first time, which belongs before it on the log.
    pub(crate) async fn settle(
        &mut self,
        step: &mut Step<'_>,
        said: Said,
    ) -> Result<Result<Option<Append>, Rejection>, log::Error> {
        let session = step.session_id.as_str();
        self.look_up(session).await?;
        let known = self.of(session);
        let parent = said.asks(step, known).map(|it| it.as_str().to_owned());
        if let Some(parent) = &parent {
            self.look_up(parent).await?;
        }
        let above = parent.as_deref().and_then(|it| self.of(it));
        let news = match Lineage::settle(step, said, self.of(step.session_id.as_str()), above) {
            Ok(Some(news)) => news,
            Ok(None) => return Ok(Ok(None)),
            Err(rejection) => return Ok(Err(rejection)),
        };
        let key = Bytes::copy_from_slice(step.session_id.as_str().as_bytes());
        let append = Append::new(topics::LINEAGES, key, Bytes::from(news.to_json()));
        self.known.insert(step.session_id.as_str().to_owned(), Some(news));
        Ok(Ok(Some(append)))
    }

    async fn look_up(&mut self, session: &str) -> Result<(), log::Error> {
        if !self.known.contains_key(session) {
            let told = self.log.newest(topics::LINEAGES, session.as_bytes()).await?;
            self.known.insert(session.to_owned(), told.and_then(|it| Lineage::from_log(&it)));
        }
        Ok(())
    }

    fn of(&self, session: &str) -> Option<&Lineage> {
        self.known.get(session)?.as_ref()
    }
}
