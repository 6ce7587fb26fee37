//! What waits to be written: bounded by bytes, drained in groups by one thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

use bytes::Bytes;
use prometheus::IntGauge;
use tokio::sync::oneshot;

use super::config::GroupCommit;
use super::topics::Slot;
use crate::log::{Append, Appended, Error, Offset};

/// One append, commit or trim: made durable whole or not at all.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) publish: Vec<(Slot, Append)>,
    /// Changes of the state store by their keys on disk; no value removes.
    pub(super) state: Vec<(Vec<u8>, Option<Bytes>)>,
    /// Positions of consumers by their keys on disk.
    pub(super) progress: Vec<(Vec<u8>, Offset)>,
    pub(super) trim: Vec<Trim>,
    pub(super) bytes: usize,
    /// Who asked may have gone: then nobody is told.
    pub(super) answer: oneshot::Sender<Result<Vec<Appended>, Error>>,
}

impl Request {
    /// Asks for nothing, and answers nobody.
    pub(super) fn empty() -> Self {
        Self {
            publish: Vec::new(),
            state: Vec::new(),
            progress: Vec::new(),
            trim: Vec::new(),
            bytes: 0,
            answer: oneshot::channel().0,
        }
    }
}

/// What retention removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trim {
    /// Everything before `start`.
    Before { slot: Slot, start: Offset },
    /// One superseded record of a compacted topic.
    Superseded { slot: Slot, offset: Offset, id: Option<[u8; 16]> },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    bytes_max: usize,
    gauge: IntGauge,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    /// Of what waits and of the group being written.
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, gauge: IntGauge) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), bytes_max, gauge }
    }

    /// Takes a request in, or refuses at once. A request alone is taken however large it is, or it never would be.
    pub(super) fn push(&self, request: Request) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        let bytes = state.bytes.saturating_add(request.bytes);
        if bytes > self.bytes_max && state.bytes > 0 {
            return Err(Error::Full { queued_bytes: state.bytes, queued_bytes_max: self.bytes_max });
        }
        state.bytes = bytes;
        state.waiting.push_back(request);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for the next group; `None` when the queue is closed and drained.
    pub(super) fn take(&self, limits: GroupCommit) -> Option<Vec<Request>> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state = self.ready.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        self.gauge.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        let (mut records, mut bytes) = (0, 0);
        let mut fits = |request: &Request| {
            records += request.publish.len();
            bytes += request.bytes;
            records <= limits.records_max && bytes <= limits.bytes_max
        };
        let n = state.waiting.iter().take_while(|request| fits(request)).count().max(1);
        Some(state.waiting.drain(..n).collect())
    }

    /// Makes room again: a group was written, or refused.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        self.gauge.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
    }

    /// Refuses from now on; what waits is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        super::lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GroupCommit = GroupCommit { records_max: 3, bytes_max: 100 };

    fn queue() -> Queue {
        Queue::new(100, IntGauge::new("bytes", "bytes").expect("gauge"))
    }

    fn request(records: usize, bytes: usize) -> Request {
        let record = Append::new("t", Bytes::new(), Bytes::new());
        Request { publish: vec![(Slot(0), record); records], bytes, ..Request::empty() }
    }

    #[test]
    fn full_is_said_at_once_and_counts_what_is_being_written() {
        let queue = queue();
        queue.push(request(1, 500)).expect("alone, however large");
        let full = queue.push(request(1, 1)).expect_err("full");
        assert!(matches!(full, Error::Full { queued_bytes: 500, queued_bytes_max: 100 }), "{full:?}");
        assert_eq!(queue.take(LIMITS).expect("group").len(), 1);
        queue.push(request(1, 1)).expect_err("still being written");
        queue.release(500);
        queue.push(request(1, 60)).expect("room again");
        queue.push(request(1, 60)).expect_err("over together");
    }

    type Sizes = &'static [(usize, usize)];

    #[test]
    fn groups_end_at_the_limits_and_at_the_end() {
        let cases: [(Sizes, &[usize]); 4] = [
            (&[(1, 1), (1, 1), (1, 1), (1, 1)], &[3, 1]),
            (&[(9, 1), (1, 1)], &[1, 1]),
            (&[(1, 50), (1, 40), (1, 10)], &[3]),
            (&[(0, 1), (0, 1), (0, 1), (0, 1), (0, 1)], &[5]),
        ];
        for (requests, groups) in cases {
            let queue = queue();
            for (records, bytes) in requests {
                queue.push(request(*records, *bytes)).expect("room");
            }
            queue.close();
            let taken: Vec<usize> = std::iter::from_fn(|| queue.take(LIMITS)).map(|group| group.len()).collect();
            assert_eq!(taken, groups, "{requests:?}");
            assert!(matches!(queue.push(request(1, 1)), Err(Error::Closed)));
        }
    }
}
