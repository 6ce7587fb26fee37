//! The steps of one session over the partitions that it was judged in.
//!
//! There is more than one where a session tells its root after its first steps: those were judged in the partition of its
//! own id, what follows in that of its root. Offsets of two partitions cannot be compared, and times of one need not rise
//! in the order of judging. So each partition keeps its order, and of the next step of each the earliest comes first.
//! What has been shown of each partition then says where to go on, whatever was judged meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use datafusion::prelude::{DataFrame, ident};
use martingale_schemas::Timestamp;

use super::read::{Object, fail, is, number, objects, part, text};
use crate::sql::{Context, Engine, Error};

/// Partitions that judged a step of the session.
pub(super) async fn partitions(engine: &Engine, context: &Context, id: &str) -> Result<Vec<i64>, Error> {
    let frame = part(context, "session_parts").await?.filter(is("session_id", id)).map_err(fail)?;
    let frame = frame.select(vec![ident("partition")]).and_then(DataFrame::distinct).map_err(fail)?;
    let mut partitions: Vec<i64> = objects(engine, frame).await?.iter().map(|it| number(it, "partition")).collect();
    partitions.sort_unstable();
    Ok(partitions)
}

/// How far each partition was shown: the offset of its last step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown(BTreeMap<i64, i64>);

impl Shown {
    /// The offset of the last step that was shown of a partition, -1 when there is none.
    pub(super) fn of(&self, partition: i64) -> i64 {
        self.0.get(&partition).copied().unwrap_or(-1)
    }

    /// Partitions of which a step was shown, with the offset of the last one.
    pub(super) fn places(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().map(|(partition, offset)| (*partition, *offset))
    }

    pub(super) fn note(&mut self, step: &Object) {
        self.0.insert(number(step, "partition"), number(step, "offset"));
    }
}

/// As `partition:offset`, separated by commas.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (partition, offset)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{offset}")?;
        }
        Ok(())
    }
}

/// Where a page goes on, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum After {
    Shown(Shown),
    /// An offset without its partition, as pages were asked for before: it says where to go on while there is one.
    Offset(i64),
}

impl After {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(offset) = text.parse() {
            return Some(Self::Offset(offset));
        }
        let mut places = BTreeMap::new();
        for place in text.split(',') {
            let (partition, offset) = place.split_once(':')?;
            let partition = i64::from(partition.parse::<u32>().ok()?);
            if places.insert(partition, offset.parse().ok()?).is_some() {
                return None;
            }
        }
        Some(Self::Shown(Shown(places)))
    }

    /// What was shown of these partitions; nothing when that cannot be told.
    pub(super) fn over(self, partitions: &[i64]) -> Option<Shown> {
        match (self, partitions) {
            (Self::Shown(shown), _) => Some(shown),
            (Self::Offset(offset), [only]) => Some(Shown(BTreeMap::from([(*only, offset)]))),
            (Self::Offset(offset), _) => (offset < 0).then(Shown::default),
        }
    }
}

/// The first steps over all partitions, and whether there are more. Of each partition the next ones are given in order, one
/// more than are wanted.
pub(super) fn merged(lanes: Vec<Vec<Object>>, wanted: usize) -> (Vec<Object>, bool) {
    let mut lanes: Vec<VecDeque<_>> =
        lanes.into_iter().map(|lane| lane.into_iter().map(|step| (Rank::of(&step), step)).collect()).collect();
    let mut steps = Vec::new();
    while steps.len() < wanted {
        let next = lanes.iter_mut().filter(|it| !it.is_empty()).min_by_key(|it| it.front().map(|(rank, _)| *rank));
        let Some((_, step)) = next.and_then(VecDeque::pop_front) else { return (steps, false) };
        steps.push(step);
    }
    (steps, lanes.iter().any(|it| !it.is_empty()))
}

/// Which of two steps of different partitions comes first: the earlier one, and at the same time the one of before the
/// session told its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    time: Option<Timestamp>,
    told: bool,
    partition: i64,
}

impl Rank {
    fn of(step: &Object) -> Self {
        Self {
            time: Timestamp::parse(text(step, "time")).ok(),
            told: text(step, "root_session_id") != text(step, "session_id"),
            partition: number(step, "partition"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{After, Object, Shown, merged};

    /// A step as `partition:offset@second`; those of partition 0 are of the root that was told.
    fn step(text: &str) -> Object {
        let (place, second) = text.split_once('@').expect("a time");
        let (partition, offset) = place.split_once(':').expect("a place");
        let number = |it: &str| it.parse::<i64>().expect("a number");
        let root = if partition == "0" { "root" } else { "kid" };
        match json!({ "session_id": "kid", "root_session_id": root, "partition": number(partition),
            "offset": number(offset), "time": format!("2026-01-01T10:00:{second:0>2}Z") })
        {
            Value::Object(step) => step,
            _ => Object::new(),
        }
    }

    #[test]
    fn partitions_keep_their_order_and_the_earlier_step_comes_first() {
        for (lanes, expected) in [
            (&[""][..], ""),
            (&["0:1@5 0:4@3 0:6@9"], "0:1 0:4 0:6"),
            // Told late, whichever partition has the larger offsets.
            (&["0:1@3 0:2@4", "1:70@1 1:80@2"], "1:70 1:80 0:1 0:2"),
            (&["0:70@3 0:80@4", "1:1@1 1:2@2"], "1:1 1:2 0:70 0:80"),
            // Forgotten in between, and told again.
            (&["0:1@3 0:2@4 0:3@8", "1:7@1 1:8@6"], "1:7 0:1 0:2 1:8 0:3"),
            // Not in the order of time by themselves.
            (&["0:1@10 0:2@5", "1:1@8 1:2@7"], "1:1 1:2 0:1 0:2"),
            // At the same time, what was judged before the root was told.
            (&["0:1@1 0:2@1", "1:1@1 1:2@1"], "1:1 1:2 0:1 0:2"),
        ] {
            let of = |lane: &str, shown: &Shown| {
                let steps = lane.split_whitespace().map(step);
                let later =
                    |it: &Object| it["offset"].as_i64() > Some(shown.of(it["partition"].as_i64().unwrap_or(-1)));
                steps.filter(later).collect::<Vec<_>>()
            };
            let total = expected.split_whitespace().count();
            for wanted in 1..=total + 1 {
                let (mut pages, mut after) = (Vec::new(), Shown::default());
                loop {
                    let lanes = lanes.iter().map(|it| of(it, &after).into_iter().take(wanted + 1).collect());
                    let (steps, more) = merged(lanes.collect(), wanted);
                    steps.iter().for_each(|it| after.note(it));
                    pages.extend(steps.iter().map(|it| format!("{}:{}", it["partition"], it["offset"])));
                    if !more {
                        break;
                    }
                    let told = After::parse(&after.to_string()).and_then(|it| it.over(&[0, 1]));
                    assert_eq!(told.as_ref(), Some(&after));
                }
                assert_eq!(pages.join(" "), expected, "{lanes:?} by {wanted}");
            }
        }
    }

    #[test]
    fn an_offset_alone_says_where_to_go_on_in_one_partition() {
        for (after, partitions, shown) in [
            ("7", &[3][..], Some("3:7")),
            ("7", &[0, 3], None),
            ("-1", &[0, 3], Some("")),
            ("3:7", &[3], Some("3:7")),
            ("3:7", &[0, 3], Some("3:7")),
            ("0:1,3:7", &[0, 3], Some("0:1,3:7")),
        ] {
            let over = After::parse(after).expect(after).over(partitions);
            assert_eq!(over.map(|it| it.to_string()).as_deref(), shown, "{after} {partitions:?}");
        }
        for text in ["", "x", "1:", ":1", "1:2,", "1:2,1:3", "-1:2", "1:2:3", "1.5"] {
            assert_eq!(After::parse(text), None, "{text}");
        }
    }
}
