//! How deliveries come into the book: one writer at a time, so that the room that was found is still there when it is
//! taken, and no two outcomes are written over each other.

use martingale_platform::log::{self, Commit, Partition, Progress, StateChange};
use martingale_platform::shutdown::Shutdown;
use tokio::sync::MutexGuard;

use super::delivery::{Delivery, Endpoint};
use super::message::Message;
use super::{CONSUMER, DELIVERY, FIRST, Webhooks, change, endpoint_key, put};
use crate::http::with_causes;
use crate::store;

/// No room for more deliveries. Nothing was queued.
#[derive(Debug, thiserror::Error)]
#[error(
    "{pending} deliveries wait and {more} more would be over `webhook.pending_max`, {pending_max}: see GET /v1/deliveries"
)]
pub struct Full {
    pending: usize,
    more: usize,
    pending_max: usize,
}

/// Deliveries that are about to be committed. While it lives, nobody else queues or settles one.
#[must_use = "commit `state`, then call `committed`"]
pub(crate) struct Queued<'w> {
    webhooks: &'w Webhooks,
    _turn: MutexGuard<'w, ()>,
    partition: Partition,
    deliveries: Vec<Delivery>,
    pruned: Vec<(Partition, String)>,
}

impl Webhooks {
    /// Messages of another part of this service, for the commit that makes what they tell of durable: all or none. More
    /// than `pending_max` at once are taken when nothing else waits, or they never could be.
    ///
    /// # Errors
    /// [`Full`] when there is no room.
    pub(crate) async fn queue(&self, mut messages: Vec<Message>) -> Result<Queued<'_>, Full> {
        let turn = self.turn.lock().await;
        self.drop_known(&mut messages);
        let (pending, more, pending_max) = (self.book.pending(), messages.len(), self.config.pending_max);
        if more > 0 && pending > 0 && pending + more > pending_max {
            return Err(Full { pending, more, pending_max });
        }
        Ok(self.queued(turn, FIRST, messages))
    }

    /// Writes deliveries as there is room for them, waiting where there is none, and progress with the last of them: whether
    /// it came so far before `stop`. Ended before that, it is repeated from the progress of before, and finds what it wrote
    /// already. It is not to be dropped under way: what the log may have by then the book would not.
    pub(super) async fn keep(
        &self,
        partition: Partition,
        mut messages: Vec<Message>,
        progress: Vec<Progress>,
        stop: &mut Shutdown,
    ) -> Result<bool, log::Error> {
        let mut settled = self.book.changes();
        loop {
            settled.mark_unchanged();
            let turn = self.turn.lock().await;
            self.drop_known(&mut messages);
            let room = self.config.pending_max.saturating_sub(self.book.pending());
            if room == 0 && !messages.is_empty() {
                drop(turn);
                tokio::select! {
                    changed = settled.changed() => changed.map_err(|_| log::Error::Closed)?,
                    () = stop.stopping() => return Ok(false),
                }
                continue;
            }
            let rest = messages.split_off(room.min(messages.len()));
            let queued = self.queued(turn, partition, messages);
            let progress = if rest.is_empty() { progress.clone() } else { Vec::new() };
            self.log
                .commit(Commit { consumer: CONSUMER, publish: Vec::new(), state: queued.state(), progress })
                .await?;
            queued.committed();
            if rest.is_empty() {
                return Ok(true);
            }
            messages = rest;
        }
    }

    /// Changes a delivery and the endpoint as they stand now, and writes both. None when there is no such delivery.
    pub(super) async fn settle(
        &self,
        id: &str,
        change_both: impl FnOnce(&mut Delivery, &mut Endpoint),
    ) -> Option<Delivery> {
        let _turn = self.turn.lock().await;
        let (partition, mut delivery) = self.book.get(id)?;
        let mut endpoint = self.book.endpoint();
        change_both(&mut delivery, &mut endpoint);
        let mut state = vec![put(partition, &delivery)];
        if let Some(target) = &self.target {
            let entry = store::write(super::VERSION, &endpoint);
            state.push(change(FIRST, endpoint_key(target), Some(entry)));
        }
        let commit = Commit { consumer: CONSUMER, publish: Vec::new(), state, progress: Vec::new() };
        if let Err(error) = self.log.commit(commit).await {
            // Known in memory; after a restart it is sent once more under the same id.
            let error = with_causes(&error);
            tracing::error!(delivery = %delivery.id, %error, "outcome of a delivery cannot be written");
        }
        self.book.set_endpoint(endpoint);
        self.book.put(partition, delivery.clone());
        self.count_pending();
        Some(delivery)
    }

    /// What is kept already is not queued again; without an endpoint, nothing is.
    fn drop_known(&self, messages: &mut Vec<Message>) {
        messages.retain(|it| self.target.is_some() && !self.book.holds(&it.id));
    }

    fn queued<'w>(&'w self, turn: MutexGuard<'w, ()>, partition: Partition, messages: Vec<Message>) -> Queued<'w> {
        let now = self.now();
        let deliveries: Vec<Delivery> = messages.into_iter().map(|it| Delivery::new(it, now)).collect();
        let pruned = self.book.to_prune(deliveries.len());
        Queued { webhooks: self, _turn: turn, partition, deliveries, pruned }
    }
}

impl Queued<'_> {
    /// What the commit has to carry.
    pub(crate) fn state(&self) -> Vec<StateChange> {
        let puts = self.deliveries.iter().map(|it| put(self.partition, it));
        let prunes = self.pruned.iter().map(|(partition, id)| change(*partition, format!("{DELIVERY}{id}"), None));
        puts.chain(prunes).collect()
    }

    /// Once it is durable: lets the sender see them.
    pub(crate) fn committed(self) {
        let book = &self.webhooks.book;
        book.forget(&self.pruned);
        for delivery in self.deliveries {
            tracing::info!(delivery = %delivery.id, kind = delivery.kind.as_str(), "delivery queued");
            book.put(self.partition, delivery);
        }
        self.webhooks.count_pending();
    }
}
