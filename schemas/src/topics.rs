//! Names of the log's topics. With a prefix (default `martingale.`) they are an interface: agents may produce to
//! `steps`, anyone may consume `verdicts` and `controls`.
//!
//! All are co-partitioned: every topic has the same number of partitions and the key is the run's `root_session_id`, so
//! that one detector sees a run whole and in order. [`LINEAGES`] has another key, and [`BASELINES`]
//! lie in the first partition.

/// Accepted steps, [`crate::Step`] as JSON.
pub const STEPS: &str = "steps";
/// One [`crate::Verdict`] as JSON for each judged step.
pub const VERDICTS: &str = "verdicts";
/// [`crate::Control`] as JSON: requested, then applied. A request goes to every partition.
pub const CONTROLS: &str = "controls";
/// What could not be accepted, [`crate::record::DeadLetter`] as JSON.
pub const DEAD_LETTER: &str = "dead_letter";
/// State changes of fleet alerts, as JSON.
pub const ALERTS: &str = "alerts";
/// A [`crate::Step`] as JSON that a gate was asked about again: it is on the log, and what stands against it now is
/// wanted. Never judged.
pub const ASKS: &str = "asks";
/// A [`crate::record::Standing`] as JSON for each of `asks`, and for each step of `steps` that was judged before.
pub const STANDINGS: &str = "standings";

/// Root and parent of each session, and who is above that, [`crate::Lineage`] as JSON: the newest by `session_id`, its key. Written by
/// the door that its first step came through, together with it, and by the detector that finds a halt against it, or whose run it is
/// the root of; removed by the one that forgets it.
pub const LINEAGES: &str = "lineages";

/// Baselines by their [`crate::BaselinesId`], in pieces.
pub const BASELINES: &str = "baselines";

/// Every topic.
pub const ALL: [&str; 9] = [STEPS, VERDICTS, CONTROLS, DEAD_LETTER, ALERTS, ASKS, STANDINGS, LINEAGES, BASELINES];

/// Whether the newest record of each key is all that is wanted of a topic. Controls and alerts are kept as the rest: history
/// tells of each, and what stands is in the detector's state.
#[must_use]
pub fn is_compacted(topic: &str) -> bool {
    matches!(topic, LINEAGES | BASELINES)
}
