//! Baselines as they are stored: everything that is looked up by a fingerprint in the order of the fingerprints, so that
//! equal baselines are equal bytes.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::{Baselines, Counts, Profile, Request, Usage, Who};
use crate::drift::{Standard, StandardV1};
use crate::hijack::embed::{DIMENSIONS, Vector};

type Pairs<T> = Vec<(u64, T)>;

#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    agents: Pairs<StoredProfile>,
}

#[derive(Serialize, Deserialize)]
struct StoredProfile {
    who: Who,
    all: StoredCounts,
    commands: Commands,
    usage: Pairs<(u32, i64, Commands)>,
    requests: Vec<(Vec<i8>, StoredCounts)>,
    by_print: Pairs<usize>,
    drift: Option<Standard>,
}

/// Reads what version 1 wrote. What it learnt of drift is left out: its figures are of other streams.
#[derive(Debug, Deserialize)]
#[serde(try_from = "StoredV1")]
pub struct BaselinesV1(pub Baselines);

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct StoredV1 {
    agents: Pairs<StoredProfileV1>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct StoredProfileV1 {
    who: Who,
    all: StoredCounts,
    commands: Commands,
    usage: Pairs<(u32, i64, Commands)>,
    requests: Vec<(Vec<i8>, StoredCounts)>,
    by_print: Pairs<usize>,
    #[cfg_attr(not(test), expect(dead_code, reason = "read to know where it ends"))]
    drift: Option<StandardV1>,
}

impl TryFrom<StoredV1> for BaselinesV1 {
    type Error = &'static str;

    fn try_from(stored: StoredV1) -> Result<Self, Self::Error> {
        let profile = |it: StoredProfileV1| {
            let StoredProfileV1 { who, all, commands, usage, requests, by_print, drift: _ } = it;
            StoredProfile { who, all, commands, usage, requests, by_print, drift: None }
        };
        let agents = stored.agents.into_iter().map(|(agent, it)| (agent, profile(it))).collect();
        Baselines::try_from(Stored { agents }).map(Self)
    }
}

type Commands = [u32; super::BINS];

#[derive(Serialize, Deserialize)]
struct StoredCounts {
    sessions: u32,
    seen: Pairs<u32>,
    most: Pairs<u32>,
}

fn sorted<K: Ord + Hash, V>(map: HashMap<K, V>) -> Vec<(K, V)> {
    let mut pairs: Vec<(K, V)> = map.into_iter().collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

impl From<Baselines> for Stored {
    fn from(it: Baselines) -> Self {
        Self { agents: sorted(it.agents).into_iter().map(|(agent, profile)| (agent, profile.into())).collect() }
    }
}

impl TryFrom<Stored> for Baselines {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let agents = stored.agents.into_iter().map(|(agent, profile)| Ok((agent, profile.try_into()?)));
        Ok(Self { agents: agents.collect::<Result<_, Self::Error>>()? })
    }
}

impl From<Profile> for StoredProfile {
    fn from(it: Profile) -> Self {
        let usage = |(tool, it): (u64, Usage)| (tool, (it.sessions, it.user_to_tool, it.commands));
        Self {
            who: it.who,
            all: it.all.into(),
            commands: it.commands,
            usage: sorted(it.usage).into_iter().map(usage).collect(),
            requests: it.requests.into_iter().map(|it| (it.vector.to_vec(), it.counts.into())).collect(),
            by_print: sorted(it.by_print),
            drift: it.drift.map(|it| *it),
        }
    }
}

impl TryFrom<StoredProfile> for Profile {
    type Error = &'static str;

    fn try_from(it: StoredProfile) -> Result<Self, Self::Error> {
        let usage = |(tool, (sessions, user_to_tool, commands))| (tool, Usage { sessions, user_to_tool, commands });
        let request = |(vector, counts): (Vec<i8>, StoredCounts)| {
            let vector: Vector = vector.try_into().map_err(|_| "a request has another number of dimensions")?;
            Ok(Request { vector, counts: counts.into() })
        };
        Ok(Self {
            who: it.who,
            all: it.all.into(),
            commands: it.commands,
            usage: it.usage.into_iter().map(usage).collect(),
            requests: it.requests.into_iter().map(request).collect::<Result<_, Self::Error>>()?,
            by_print: it.by_print.into_iter().collect(),
            drift: it.drift.map(Box::new),
        })
    }
}

const _: () = assert!(DIMENSIONS == 128, "another number of dimensions is another version of what is stored");

impl From<Counts> for StoredCounts {
    fn from(it: Counts) -> Self {
        Self { sessions: it.sessions, seen: sorted(it.seen), most: sorted(it.most) }
    }
}

impl From<StoredCounts> for Counts {
    fn from(it: StoredCounts) -> Self {
        Self { sessions: it.sessions, seen: it.seen.into_iter().collect(), most: it.most.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Baselines, BaselinesV1, StandardV1, Stored, StoredProfile, StoredProfileV1, StoredV1};
    use crate::testing::ordinary;

    /// What an earlier version learnt is read, without what it learnt of drift.
    #[test]
    fn the_first_version_is_read() {
        let script = ["user_message \"find it\"", "tool_call search {\"q\":\"it\"}", "tool_result search \"it\""];
        let baselines = Baselines::clone(&ordinary(&[&script[..]], 9));
        let mut expected = Stored::from(baselines.clone());
        expected.agents.iter_mut().for_each(|it| it.1.drift = None);
        let earlier = |it: StoredProfile| {
            let StoredProfile { who, all, commands, usage, requests, by_print, drift } = it;
            let drift = drift.map(|_| StandardV1::default());
            StoredProfileV1 { who, all, commands, usage, requests, by_print, drift }
        };
        let agents = Stored::from(baselines).agents.into_iter().map(|(agent, it)| (agent, earlier(it)));
        let earlier = StoredV1 { agents: agents.collect() };
        assert!(earlier.agents.iter().any(|it| it.1.drift.is_some()));
        let bytes = postcard::to_allocvec(&earlier).unwrap();
        let BaselinesV1(read) = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(read, Baselines::try_from(expected).unwrap());
    }
}
