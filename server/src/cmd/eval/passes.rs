//! The readings of the files: once to see who is there, then twice for each fold, to learn and to judge. Steps are never
//! kept; of a session that is judged its state stays in memory until its fold is done.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use martingale_detector_core::Rules;
use martingale_platform::clock::Clock;
use martingale_schemas::{Step, Timestamp, ids};

use super::seen::Seen;
use super::split::{Fold, Role};
use crate::cmd::replay::Faults;
use crate::cmd::replay::line::{self, Line};
use crate::cmd::replay::offline::{Judge, learn_some};
use crate::cmd::replay::source::Source;
use crate::cmd::replay::steps::{Lines, each_step};

/// A session of the files.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// The largest number of a step, or place where steps have none.
    pub(super) last: u64,
    steps: u64,
    /// Fingerprints of what it said is the root of its run; of itself too.
    pub(super) runs: Vec<[u8; 16]>,
}

/// The files, and who is in them.
#[derive(Debug)]
pub(super) struct Recording {
    files: Vec<PathBuf>,
    arrival: Timestamp,
    /// In the order in which they begin.
    pub(super) sessions: Vec<Met>,
    pub(super) places: HashMap<String, usize>,
    pub(super) lines: Lines,
}

impl Recording {
    /// Reads everything once. Lines that are no step are told here, and passed over in silence later.
    pub(super) fn open(files: Vec<PathBuf>) -> Result<Self> {
        let arrival = Timestamp::from_micros(Clock::System.now_micros());
        let mut it = Self { files, arrival, sessions: Vec::new(), places: HashMap::new(), lines: Lines::default() };
        let source = it.source("sessions")?;
        let faults = Faults::new(source.progress());
        let (sessions, places) = (&mut it.sessions, &mut it.places);
        it.lines = each_step(source, arrival, &faults, |step| {
            let id = step.session_id.as_str();
            let at = match places.get(id) {
                Some(at) => *at,
                None => {
                    sessions.push(Met { runs: vec![ids::digest(&[id.as_bytes()])], ..Met::default() });
                    places.insert(id.to_owned(), sessions.len() - 1);
                    sessions.len() - 1
                }
            };
            let met: &mut Met = &mut sessions[at];
            met.last = met.last.max(step.seq.unwrap_or(met.steps));
            met.steps += 1;
            let run = ids::digest(&[step.root_session_id.as_str().as_bytes()]);
            if !met.runs.contains(&run) {
                met.runs.push(run);
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Learns from those of the fold that teach, then judges those that calibrate or are judged.
    pub(super) fn judge(
        &self,
        fold: &Fold,
        rules: Rules,
        title: &str,
        mut out: Option<&mut BufWriter<File>>,
    ) -> Result<BTreeMap<usize, Seen>> {
        let item = |step: &Step<'_>| self.places.get(step.session_id.as_str()).copied();
        let role = |item: Option<usize>| item.map_or(Role::Aside, |it| fold.roles[it]);
        let source = Source::open(&self.files)?;
        let silent = Faults::told_before(source.progress());
        let is_learnt = |step: &Step<'_>| role(item(step)) == Role::Learnt;
        let (baselines, _) = learn_some(source, &format!("{title}, "), &rules, self.arrival, &silent, is_learnt)?;
        let rules = rules.with_baselines(Arc::new(baselines));
        let (mut judge, mut seen) = (Judge::new(Arc::new(rules)), BTreeMap::<usize, Seen>::new());
        let source = self.source(&format!("{title}, judging"))?;
        let lines = each_step(source, self.arrival, &silent, |step| {
            let Some(item) = item(step) else { return Ok(()) };
            let role = fold.roles[item];
            if matches!(role, Role::Aside | Role::Learnt) {
                return Ok(());
            }
            let Some(judgement) = judge.judge(step) else { return Ok(()) };
            if role == Role::Beside {
                return Ok(());
            }
            seen.entry(item).or_default().take(step.seq, &judgement);
            if role == Role::Judged
                && let Some(out) = &mut out
            {
                line::write(out, &Line::of(step, &judgement))?;
            }
            Ok(())
        })?;
        if lines.read != self.lines.read {
            let (now, before) = (lines.read, self.lines.read);
            bail!(
                "the files had {before} lines and now have {now}: eval reads them several times, so name files that stay"
            );
        }
        Ok(seen)
    }

    fn source(&self, doing: &str) -> Result<Source> {
        let source = Source::open(&self.files)?;
        source.progress().set_prefix(format!("{doing}: "));
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use martingale_detector_core::Rules;

    use super::Recording;
    use crate::cmd::eval::split::{Fold, Role};

    fn line(session: &str, seq: u64, more: &str) -> String {
        format!(
            r#"{{"session_id":"{session}","step_id":"{seq}","seq":{seq},"kind":"plan","agent":{{"id":"a"}}{more}}}"#
        ) + "\n"
    }

    #[test]
    fn sessions_are_met_once_and_judged_by_their_role() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("steps.jsonl");
        let child = r#","root_session_id":"b","parent_session_id":"b""#;
        let text = line("b", 3, "") + &line("a", 0, "") + "nonsense\n" + &line("c", 0, child) + &line("a", 7, "");
        std::fs::write(&path, &text).expect("writes");
        let recording = Recording::open(vec![path.clone()]).expect("reads");
        assert_eq!((recording.sessions.len(), recording.lines.rejected), (3, 1));
        let at = |id: &str| recording.places[id];
        let met = |id: &str| &recording.sessions[at(id)];
        assert_eq!([met("b").last, met("a").last], [3, 7]);
        assert!(met("c").runs.contains(&met("b").runs[0]) && met("a").runs.len() == 1);

        let mut roles = vec![Role::Aside; 3];
        (roles[at("a")], roles[at("b")], roles[at("c")]) = (Role::Judged, Role::Beside, Role::Calibrates);
        let fold = Fold { name: "1".to_owned(), roles };
        let seen = recording.judge(&fold, Rules::starter(), "fold 1 of 1", None).expect("judges");
        let steps: Vec<_> = seen.iter().map(|(at, it)| (*at, it.steps)).collect();
        assert_eq!(steps, [(at("a"), 2), (at("c"), 1)]);

        // A pipe that was read has nothing the second time.
        std::fs::write(&path, "").expect("writes");
        let error = recording.judge(&fold, Rules::starter(), "fold 1 of 1", None).expect_err("refused").to_string();
        assert!(error.contains("had 5 lines and now have 0"), "{error}");
    }
}
