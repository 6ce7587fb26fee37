//! Baselines that the simulated operators have used: each learnt from other agents of the same world.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use martingale_detector::{read_baselines, write_baselines};
use martingale_detector_core::{Baselines, Learner, Rules};
use martingale_platform::clock::Clock;
use martingale_schemas::{BaselinesId, Step};

use crate::random::Random;
use crate::world::World;

/// By name: what they are, and how they are stored.
pub type Learnt = BTreeMap<BaselinesId, (Arc<Baselines>, Bytes)>;

const SEEDS: [u64; 2] = [1, 2];
/// Enough for some eighty sessions.
const STEPS: u64 = 2_000;

/// The same in every run.
pub fn learnt() -> &'static Learnt {
    static LEARNT: OnceLock<Learnt> = OnceLock::new();
    LEARNT.get_or_init(|| SEEDS.into_iter().map(learn).collect())
}

fn learn(seed: u64) -> (BaselinesId, (Arc<Baselines>, Bytes)) {
    let (mut learner, rules) = (Learner::default(), Rules::starter());
    let mut world = World::new(Random::new(seed), Clock::manual(1_767_225_600_000_000), Vec::new());
    let steps = world.steps(STEPS);
    let steps = || steps.iter().filter_map(|it| Step::from_log(it.json()).ok());
    steps().for_each(|it| learner.observe(&it, &rules));
    let mut calibrator = learner.into_calibrator();
    steps().for_each(|it| calibrator.observe(&it, &rules));
    let stored = write_baselines(&calibrator.finish()).unwrap_or_default();
    match read_baselines(&stored) {
        Ok((baselines, id)) if baselines.agents() > 0 => (id, (Arc::new(baselines), stored.into())),
        other => panic!("baselines of the simulation: {other:?}"),
    }
}
