//! Room for sessions, shared by agents.

use std::cmp::Reverse;
use std::collections::HashMap;

/// What its place among those of its agent follows from.
struct Placed<T> {
    ended: Reverse<i64>,
    which: u64,
    session: T,
}

/// Orders sessions so that the newest of every agent come first, then the second of every one, and so on: whoever takes the first
/// of them takes from all alike. Of more than `agents_max` agents those with the most sessions stay: made-up names have few each.
/// `of`: the agent, when it ended, and what tells it from another.
pub(super) fn by_turns<T>(
    sessions: impl IntoIterator<Item = T>,
    agents_max: usize,
    of: impl Fn(&T) -> (u64, i64, u64),
) -> Vec<T> {
    let mut agents: HashMap<u64, Vec<Placed<T>>> = HashMap::new();
    for session in sessions {
        let (agent, ended, which) = of(&session);
        agents.entry(agent).or_default().push(Placed { ended: Reverse(ended), which, session });
    }
    let mut agents: Vec<_> = agents.into_iter().collect();
    if agents.len() > agents_max {
        tracing::warn!(
            agents = agents.len(),
            agents_max,
            "more agents than baselines have room for: those with few sessions get none"
        );
        agents.sort_unstable_by_key(|(agent, all)| Reverse((all.len(), *agent)));
        agents.truncate(agents_max);
    }
    let mut turns: Vec<(u64, Placed<T>)> = Vec::new();
    for (_, mut all) in agents {
        all.sort_unstable_by_key(|it| (it.ended, it.which));
        turns.extend((0..).zip(all));
    }
    turns.sort_unstable_by_key(|(turn, it)| (*turn, it.ended, it.which));
    turns.into_iter().map(|(_, it)| it.session).collect()
}
