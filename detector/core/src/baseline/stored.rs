//! Baselines as they are stored: everything that is looked up by a fingerprint in the order of the fingerprints, so that
//! equal baselines are equal bytes.

use std::collections::HashMap;
use std::hash::Hash;

use martingale_schemas::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Baselines, Counts, Finals, Profile, Request, Usage, Who};
use crate::drift::{Standard, StandardV1};
use crate::hijack::embed::{DIMENSIONS, Vector};
use crate::hijack::ordinary::Ordinary;

type Pairs<T> = Vec<(u64, T)>;

#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    agents: Pairs<StoredProfile>,
}

#[derive(Serialize, Deserialize)]
struct StoredProfile {
    counted: Counted,
    drift: Option<Standard>,
    hijack: Option<Ordinary>,
    began: Option<(Timestamp, Timestamp)>,
    finals: Finals,
}

/// The same in every version.
#[derive(Serialize, Deserialize)]
struct Counted {
    who: Who,
    all: StoredCounts,
    commands: Commands,
    usage: Pairs<(u32, i64, Commands)>,
    requests: Vec<(Vec<i8>, StoredCounts)>,
    by_print: Pairs<usize>,
}

/// Reads what version 1 wrote. What it learnt of drift is left out: its figures are of other streams. It knew nothing of what its
/// sessions reach in the column `hijack`, nor of how many there are a day.
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
    counted: Counted,
    #[cfg_attr(not(test), expect(dead_code, reason = "read to know where it ends"))]
    drift: Option<StandardV1>,
}

impl TryFrom<StoredV1> for BaselinesV1 {
    type Error = &'static str;

    fn try_from(stored: StoredV1) -> Result<Self, Self::Error> {
        let profile = |it: StoredProfileV1| StoredProfile {
            counted: it.counted,
            drift: None,
            hijack: None,
            began: None,
            finals: Finals::default(),
        };
        let agents = stored.agents.into_iter().map(|(agent, it)| (agent, profile(it))).collect();
        Baselines::try_from(Stored { agents }).map(Self)
    }
}

/// Reads what version 2 wrote. It did not know what its sessions used.
#[derive(Debug, Deserialize)]
#[serde(try_from = "StoredV2")]
pub struct BaselinesV2(pub Baselines);

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct StoredV2 {
    agents: Pairs<StoredProfileV2>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct StoredProfileV2 {
    counted: Counted,
    drift: Option<Standard>,
    hijack: Option<Ordinary>,
    began: Option<(Timestamp, Timestamp)>,
}

impl TryFrom<StoredV2> for BaselinesV2 {
    type Error = &'static str;

    fn try_from(stored: StoredV2) -> Result<Self, Self::Error> {
        let profile = |it: StoredProfileV2| {
            let StoredProfileV2 { counted, drift, hijack, began } = it;
            StoredProfile { counted, drift, hijack, began, finals: Finals::default() }
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
        let counted = Counted {
            who: it.who,
            all: it.all.into(),
            commands: it.commands,
            usage: sorted(it.usage).into_iter().map(usage).collect(),
            requests: it.requests.into_iter().map(|it| (it.vector.to_vec(), it.counts.into())).collect(),
            by_print: sorted(it.by_print),
        };
        let (drift, hijack) = (it.drift.map(|it| *it), it.hijack.map(|it| *it));
        Self { counted, drift, hijack, began: it.began, finals: it.finals }
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
        let counted = it.counted;
        Ok(Self {
            who: counted.who,
            all: counted.all.into(),
            commands: counted.commands,
            usage: counted.usage.into_iter().map(usage).collect(),
            requests: counted.requests.into_iter().map(request).collect::<Result<_, Self::Error>>()?,
            by_print: counted.by_print.into_iter().collect(),
            drift: it.drift.map(Box::new),
            hijack: it.hijack.map(Box::new),
            began: it.began,
            finals: it.finals,
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
    use super::{
        Baselines, BaselinesV1, BaselinesV2, Finals, StandardV1, Stored, StoredProfile, StoredProfileV1,
        StoredProfileV2, StoredV1, StoredV2,
    };
    use crate::testing::ordinary;

    /// What an earlier version learnt is read, without what it learnt of drift.
    #[test]
    fn the_first_version_is_read() {
        let script = ["user_message \"find it\"", "tool_call search {\"q\":\"it\"}", "tool_result search \"it\""];
        let baselines = Baselines::clone(&ordinary(&[&script[..]], 9));
        let mut expected = Stored::from(baselines.clone());
        for (_, it) in &mut expected.agents {
            (it.drift, it.hijack, it.began, it.finals) = (None, None, None, Finals::default());
        }
        let earlier =
            |it: StoredProfile| StoredProfileV1 { counted: it.counted, drift: it.drift.map(|_| StandardV1::default()) };
        let agents = Stored::from(baselines).agents.into_iter().map(|(agent, it)| (agent, earlier(it)));
        let earlier = StoredV1 { agents: agents.collect() };
        assert!(earlier.agents.iter().any(|it| it.1.drift.is_some()));
        let bytes = postcard::to_allocvec(&earlier).unwrap();
        let BaselinesV1(read) = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(read, Baselines::try_from(expected).unwrap());
    }

    /// What the second version learnt is read, and nothing is known of what its sessions used.
    #[test]
    fn the_second_version_is_read() {
        let script = ["user_message \"find it\"", "tool_call search {\"q\":\"it\"}", "tool_result search \"it\""];
        let baselines = Baselines::clone(&ordinary(&[&script[..]], 9));
        let earlier = |it: StoredProfile| {
            assert_ne!(it.finals, Finals::default());
            StoredProfileV2 { counted: it.counted, drift: it.drift, hijack: it.hijack, began: it.began }
        };
        let agents = Stored::from(baselines.clone()).agents.into_iter().map(|(agent, it)| (agent, earlier(it)));
        let bytes = postcard::to_allocvec(&StoredV2 { agents: agents.collect() }).unwrap();
        let BaselinesV2(read) = postcard::from_bytes(&bytes).unwrap();
        let mut expected = baselines;
        expected.agents.values_mut().for_each(|it| it.finals = Finals::default());
        assert_eq!(read, expected);
    }
}
