//! Who waits for the verdict of which step, one table a partition.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use martingale_platform::log::Record;
use tokio::sync::oneshot;

use super::event::step_key;

/// As many waiters of a partition as may be: nobody was registered.
#[derive(Debug, thiserror::Error)]
#[error("{0} steps of this partition wait for their verdict already, as many as may (`gate.waiting_max`)")]
pub(crate) struct TooMany(pub(crate) usize);

#[derive(Debug)]
pub(crate) struct Waiters {
    table: Mutex<HashMap<[u8; 16], Vec<oneshot::Sender<Bytes>>>>,
    waiting_max: usize,
}

/// A place in the table. Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'w> {
    waiters: &'w Waiters,
    step: [u8; 16],
    verdict: oneshot::Receiver<Bytes>,
}

impl Waiters {
    pub(crate) fn new(waiting_max: usize) -> Self {
        Self { table: Mutex::default(), waiting_max }
    }

    pub(crate) fn register(&self, step: [u8; 16]) -> Result<Waiting<'_>, TooMany> {
        let (sender, verdict) = oneshot::channel();
        let mut table = self.lock();
        if table.len() >= self.waiting_max {
            return Err(TooMany(self.waiting_max));
        }
        table.entry(step).or_default().push(sender);
        Ok(Waiting { waiters: self, step, verdict })
    }

    /// Hands each record to whoever waits for it.
    pub(crate) fn complete(&self, records: &[Record]) {
        let mut table = self.lock();
        for record in records {
            if table.is_empty() {
                return;
            }
            let Some(senders) = step_key(&record.value).and_then(|step| table.remove(&step)) else { continue };
            for sender in senders {
                // Who went away meanwhile does not want it.
                let _ = sender.send(record.value.clone());
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Vec<oneshot::Sender<Bytes>>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// The verdict's record; `None` when the feed has stopped.
    pub(crate) async fn verdict(&mut self) -> Option<Bytes> {
        (&mut self.verdict).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.verdict.close();
        let mut table = self.waiters.lock();
        if let Some(senders) = table.get_mut(&self.step) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                table.remove(&self.step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use martingale_platform::log::{Offset, Record};
    use martingale_schemas::{SessionId, StepId, VerdictId, ids};

    use super::Waiters;

    fn verdict(session: &str, step: &str) -> Record {
        let id = VerdictId::of(&SessionId::from(session), &StepId::from(step));
        let value = format!("{{\"verdict_id\":\"{id}\",\"decision\":\"allow\"}}").into_bytes().into();
        Record { offset: Offset(0), appended_at: 0, key: bytes::Bytes::new(), value }
    }

    fn key(session: &str, step: &str) -> [u8; 16] {
        ids::step_key(&SessionId::from(session), &StepId::from(step))
    }

    #[tokio::test]
    async fn all_who_wait_for_a_step_get_its_verdict_and_nobody_else() {
        let waiters = Waiters::new(8);
        let mut first = waiters.register(key("s", "1")).expect("room");
        let mut second = waiters.register(key("s", "1")).expect("room");
        let mut other = waiters.register(key("s", "2")).expect("room");
        waiters.complete(&[verdict("s", "1"), verdict("s", "3")]);
        assert_eq!(first.verdict().await, Some(verdict("s", "1").value));
        assert_eq!(second.verdict().await, Some(verdict("s", "1").value));
        assert!(futures::FutureExt::now_or_never(other.verdict()).is_none());
        drop((first, second));
        assert_eq!(waiters.len(), 1);
        drop(other);
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn one_who_leaves_does_not_take_the_others_along() {
        let waiters = Waiters::new(8);
        let stays = waiters.register(key("s", "1")).expect("room");
        drop(waiters.register(key("s", "1")).expect("room"));
        assert_eq!(waiters.len(), 1);
        drop(stays);
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn a_full_table_refuses() {
        let waiters = Waiters::new(1);
        let _waiting = waiters.register(key("s", "1")).expect("room");
        assert!(waiters.register(key("s", "2")).is_err());
    }
}
