//! The forms over tool calls: `repeat`, `cycle`, `near_duplicate` and `no_progress`.
//!
//! Each says from which count on it decides what: `repeat: { warn: 3, step_up: 4, halt: 6 }`.

use martingale_schemas::Decision;

use super::document::DECISIONS;
use super::rule::Rule;
use crate::columns::{Form, Levels, LoopRule};
use crate::yaml::{Faults, Object};

pub(super) const LOOPS: [&str; 4] = ["repeat", "cycle", "near_duplicate", "no_progress"];

/// `None`, with a fault, when it is no sound rule; `name` is one of [`LOOPS`].
pub(super) fn read(policy: &mut Object<'_>, name: &'static str, faults: &mut Faults<'_>) -> Option<Rule> {
    let mut it = policy.object(name, faults)?;
    let before = faults.len();
    let mut own = |name, range, default| it.whole(name, range, faults).unwrap_or(default);
    let form = match name {
        "repeat" => Form::Repeat { between_max: small(own("between_max", 0..=16, 2)) },
        "cycle" => Form::Cycle { length_max: small(own("length_max", 2..=8, 8)) },
        "near_duplicate" => Form::NearDuplicate { bits_max: small(own("bits_max", 0..=32, 6)) },
        _ => Form::NoProgress,
    };
    let levels = levels(&mut it, form, faults);
    it.finish(faults);
    let levels = levels.filter(|_| faults.len() == before)?;
    Some(Rule::Loop(LoopRule { form, levels }))
}

fn levels(it: &mut Object<'_>, form: Form, faults: &mut Faults<'_>) -> Option<Levels> {
    let mut levels: Vec<(u32, Decision)> = Vec::new();
    let mut asked = false;
    let range = wide(form.count_min())..=wide(form.count_max());
    for (name, decision) in DECISIONS {
        asked |= it.get(name).is_some();
        let Some(count) = it.whole(name, range.clone(), faults).and_then(|it| u32::try_from(it).ok()) else { continue };
        match levels.last() {
            Some((milder, at)) if *milder >= count => {
                let message = format!(
                    "comes at {count} and the milder `{}` at {milder}: write a higher count, or leave one out",
                    at.as_str()
                );
                it.fault(name, message, faults);
            }
            _ => levels.push((count, *decision)),
        }
    }
    if !asked {
        let known: Vec<&str> = DECISIONS.iter().map(|(name, _)| *name).collect();
        let message = format!("decides nothing: write from which count on to {}, as `warn: 3`", known.join(", "));
        it.fault("", message, faults);
    }
    Levels::new(levels)
}

fn wide(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A number that was checked to be small.
fn small<T: TryFrom<i64> + Default>(number: i64) -> T {
    T::try_from(number).unwrap_or_default()
}
