//! The detector core over the same lines.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use martingale_detector_core::policy::STARTER;
use martingale_detector_core::{Detector, Observed, Rules, Values};
use martingale_schemas::Step;

use crate::Found;
use crate::steps::Lines;

const RULES: &str = include_str!("../rules/martingale.yaml");
/// Steps between two hand-overs of what changed; a shell would store it then.
const BATCH: usize = 512;
/// Each rule that is there without a file.
const BUILT_IN: [&str; 9] =
    ["repeat", "cycle", "near_duplicate", "no_progress", "secret_leak", "secret_given", "trifecta", "hijack", "drift"];

/// How much besides the sequences is judged.
#[derive(Clone, Copy)]
pub enum Columns {
    /// Nothing: built-in rules off, no values followed, no hijack score.
    Off,
    /// What a policy can switch off is: built-in rules, but values are followed and calls scored.
    OffByPolicy,
    /// The rules that ship.
    All,
}

pub fn rules(columns: Columns) -> Result<Arc<Rules>> {
    let mut files = vec![("sequences.yaml".to_owned(), RULES.to_owned())];
    match columns {
        Columns::All => files.extend(STARTER.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))),
        Columns::Off | Columns::OffByPolicy => files.extend(BUILT_IN.iter().map(|it| off(it))),
    }
    let rules = Rules::load(&files).map_err(|errors| anyhow!("{errors:?}"))?;
    Ok(Arc::new(match columns {
        Columns::Off => rules.with_values(Values::Off).with_hijack(None),
        Columns::OffByPolicy | Columns::All => rules,
    }))
}

fn off(id: &str) -> (String, String) {
    let form = match id {
        "repeat" => "title: Off\nseverity: high\nrepeat: { halt: 6 }\n",
        "cycle" => "title: Off\nseverity: high\ncycle: { halt: 4 }\n",
        "near_duplicate" => "title: Off\nseverity: low\nnear_duplicate: { warn: 4 }\n",
        "no_progress" => "title: Off\nseverity: low\nno_progress: { warn: 8 }\n",
        _ => "",
    };
    (format!("{id}.yaml"), format!("id: {id}\nmode: off\n{form}"))
}

pub fn pass(rules: &Arc<Rules>, lines: &Lines, mut found: Option<&mut Found>) -> Result<()> {
    let mut detector = Detector::new(Arc::clone(rules));
    for (at, line) in lines.iter().enumerate() {
        let step = Step::from_log(line)?;
        loop {
            let absent = detector.absent(&step);
            if absent.is_empty() {
                break;
            }
            for key in absent {
                detector.load(key, None);
            }
        }
        let Observed::Judged(judgement) = black_box(detector.observe(&step)) else {
            return Err(anyhow!("step {} of {} was taken for a duplicate", step.step_id, step.session_id));
        };
        if let Some(found) = found.as_deref_mut() {
            for finding in judgement.findings {
                *found.entry((finding.rule.into_owned(), step.session_id.to_string())).or_default() += 1;
            }
        }
        if at % BATCH == BATCH - 1 {
            detector.drain_changed(|key, state| {
                black_box((key, state));
            });
        }
    }
    Ok(())
}
