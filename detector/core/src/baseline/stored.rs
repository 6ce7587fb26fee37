//! Baselines as they are stored: everything that is looked up by a fingerprint in the order of the fingerprints, so that
//! equal baselines are equal bytes.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use martingale_schemas::Timestamp;

use super::{Baselines, Counts, Profile, Request, Usage, Who};
use crate::drift::Standard;
use crate::hijack::embed::{DIMENSIONS, Vector};
use crate::hijack::ordinary::Ordinary;

type Pairs<T> = Vec<(u64, T)>;

#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    agents: Pairs<StoredProfile>,
}

/// Baselines as version 1 stored them: nothing of what their sessions reach in the column `hijack`, nor of how many there
/// are a day.
#[derive(Debug, Deserialize)]
#[serde(try_from = "StoredV1")]
pub struct BaselinesV1(pub Baselines);

#[derive(Deserialize)]
struct StoredV1 {
    agents: Pairs<ProfileV1>,
}

impl TryFrom<StoredV1> for BaselinesV1 {
    type Error = &'static str;

    fn try_from(stored: StoredV1) -> Result<Self, Self::Error> {
        let agents = stored.agents.into_iter().map(|(agent, v1)| Ok((agent, v1.try_into()?)));
        Ok(Self(Baselines { agents: agents.collect::<Result<_, Self::Error>>()? }))
    }
}

#[derive(Serialize, Deserialize)]
struct StoredProfile {
    v1: ProfileV1,
    hijack: Option<Ordinary>,
    began: Option<(Timestamp, Timestamp)>,
}

#[derive(Serialize, Deserialize)]
struct ProfileV1 {
    who: Who,
    all: StoredCounts,
    commands: Commands,
    usage: Pairs<(u32, i64, Commands)>,
    requests: Vec<(Vec<i8>, StoredCounts)>,
    by_print: Pairs<usize>,
    drift: Option<Standard>,
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
        let v1 = ProfileV1 {
            who: it.who,
            all: it.all.into(),
            commands: it.commands,
            usage: sorted(it.usage).into_iter().map(usage).collect(),
            requests: it.requests.into_iter().map(|it| (it.vector.to_vec(), it.counts.into())).collect(),
            by_print: sorted(it.by_print),
            drift: it.drift.map(|it| *it),
        };
        Self { v1, hijack: it.hijack.map(|it| *it), began: it.began }
    }
}

impl TryFrom<StoredProfile> for Profile {
    type Error = &'static str;

    fn try_from(it: StoredProfile) -> Result<Self, Self::Error> {
        Ok(Self { hijack: it.hijack.map(Box::new), began: it.began, ..it.v1.try_into()? })
    }
}

impl TryFrom<ProfileV1> for Profile {
    type Error = &'static str;

    fn try_from(it: ProfileV1) -> Result<Self, Self::Error> {
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
            ..Self::default()
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
