//! How the calls of a session are stored: the latest few with the head of its state, those before them in parts.

use std::collections::VecDeque;

use martingale_schemas::StepId;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{CALLS, Call, Calls, PART, Parts};
use crate::bytes;

/// Hashes as plain bytes: as numbers of varying length they take a quarter more, and many times as long to write.
#[derive(Serialize, Deserialize)]
struct Hashes(#[serde(with = "bytes")] [u8; 32]);

impl Serialize for Call {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut hashes = [0; 32];
        let words = [self.key, self.tool, self.result, self.simhash];
        hashes.as_chunks_mut::<8>().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
        (Hashes(hashes), &self.step).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Call {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (Hashes(hashes), step) = Deserialize::deserialize(deserializer)?;
        let mut words = hashes.as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it));
        let mut next = || words.next().unwrap_or_default();
        Ok(Self { key: next(), tool: next(), result: next(), simhash: next(), step })
    }
}

impl Serialize for Calls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.parts.total(), self.stale, Open(self)).serialize(serializer)
    }
}

/// The calls that are in no part.
struct Open<'c>(&'c Calls);

impl Serialize for Open<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Calls { ring, parts, .. } = self.0;
        serializer.collect_seq(ring.range(ring.len() - parts.open()..))
    }
}

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (total, stale, open): (_, _, Vec<Call>) = Deserialize::deserialize(deserializer)?;
        let parts = Parts::stored(total);
        if open.len() != parts.open() {
            return Err(D::Error::invalid_length(open.len(), &"as many calls as are in no part"));
        }
        let mut ring = VecDeque::from(vec![Call::unread(); parts.len() - open.len()]);
        ring.extend(open);
        Ok(Self { ring, parts, stale })
    }
}

impl Call {
    pub(crate) fn of_hashes([key, tool, result, simhash]: [u64; 4], step: StepId<'static>) -> Self {
        Self { key, tool, result, simhash, step }
    }

    /// Stands for a call whose part was not read: equal to no call, open to no result.
    fn unread() -> Self {
        // Results of calls have the first bit set.
        Self { key: 0, tool: 0, result: super::GIVEN | 4, simhash: 0, step: StepId::from(String::new()) }
    }
}

impl Calls {
    /// Of the form of before there were parts.
    pub(crate) fn of_ring(ring: Vec<Call>, stale: u32) -> Option<Self> {
        let parts = Parts::unstored(ring.len() as u64);
        (ring.len() <= CALLS).then(|| Self { ring: ring.into(), parts, stale })
    }

    pub(crate) fn parts(&self) -> &Parts<CALLS, PART> {
        &self.parts
    }

    /// Where in the ring the call is that stands at this position of its parts.
    fn at(&self, position: usize) -> usize {
        let first = Parts::<CALLS, PART>::position(self.first());
        (position + CALLS - first) % CALLS
    }

    /// The part at `place`.
    pub(crate) fn part(&self, place: usize) -> Vec<&Call> {
        (place * PART..(place + 1) * PART).filter_map(|it| self.ring.get(self.at(it))).collect()
    }

    /// Takes a stored part in; without one, its calls are as if they had never been made.
    pub(crate) fn attach(&mut self, place: usize, stored: Vec<Call>) {
        let own = self.parts.attach(place);
        for (n, call) in stored.into_iter().enumerate().filter(|(n, _)| own.contains(n)) {
            let at = self.at(place * PART + n);
            if let Some(it) = self.ring.get_mut(at) {
                *it = call;
            }
        }
    }

    /// Places of parts that changed since the last call; `true` where there is one.
    pub(crate) fn drain_changed(&mut self) -> impl Iterator<Item = (usize, bool)> + use<> {
        self.parts.drain_changed()
    }
}
