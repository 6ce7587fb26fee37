//! Figures from what was said of each session.

use std::collections::{BTreeMap, BTreeSet};

use martingale_detector_core::conformal::{clusters_needed, threshold};
use serde::Serialize;

use super::labels::Kind;
use super::measure::{Caught, Share, auc, chosen_afterwards};
use super::seen::{Level, Seen};

/// A session that was judged.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) by: Option<String>,
    pub(super) cluster: usize,
    pub(super) fold: usize,
    pub(super) seen: Seen,
}

/// What a fold was judged by.
#[derive(Clone, Debug, Default)]
pub(super) struct Basis {
    pub(super) name: String,
    /// Sessions that were learnt from.
    pub(super) learnt: usize,
    /// Sessions that calibrate, with their clusters.
    pub(super) calibrating: Vec<(usize, Seen)>,
}

#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) folds: Vec<FoldFigures>,
    /// All sessions first, then those of each value of `--by`.
    pub(super) groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
pub(super) struct FoldFigures {
    pub(super) fold: String,
    pub(super) learnt: usize,
    pub(super) calibrating: usize,
    pub(super) calibrating_clusters: usize,
    pub(super) judged: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Group {
    /// Nothing for all sessions.
    pub(super) group: Option<String>,
    pub(super) normal: usize,
    pub(super) resisted: usize,
    pub(super) bad: usize,
    pub(super) columns: Vec<Column>,
    pub(super) decisions: Vec<Decided>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
pub(super) struct Column {
    pub(super) column: String,
    /// Sessions with any score; the others count as 0.
    pub(super) scored_good: usize,
    pub(super) scored_bad: usize,
    /// By the highest score up to the first bad step.
    pub(super) auc: Option<f64>,
    /// By the highest score of the whole session.
    pub(super) auc_whole: Option<f64>,
    pub(super) rates: Vec<Rate>,
}

#[derive(Debug, Serialize)]
pub(super) struct Rate {
    pub(super) wanted: f64,
    pub(super) clusters_needed: usize,
    /// Of each fold; nothing where too few clusters calibrate.
    pub(super) thresholds: Vec<Option<f64>>,
    /// Of the sessions whose fold has a threshold; nothing where none has.
    pub(super) calibrated: Option<Alarms>,
    /// At the threshold that these very sessions would have chosen.
    pub(super) afterwards: Option<Afterwards>,
}

#[derive(Debug, Serialize)]
pub(super) struct Afterwards {
    pub(super) threshold: f64,
    #[serde(flatten)]
    pub(super) alarms: Alarms,
}

#[derive(Debug, Serialize)]
pub(super) struct Alarms {
    pub(super) normal: Share,
    pub(super) resisted: Share,
    pub(super) bad: Caught,
}

#[derive(Debug, Serialize)]
pub(super) struct Decided {
    pub(super) decided: &'static str,
    #[serde(flatten)]
    pub(super) alarms: Alarms,
}

#[derive(Debug, Serialize)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) mode: &'static str,
    #[serde(flatten)]
    pub(super) alarms: Alarms,
}

/// `wanted`: shares of false alarms.
pub(super) fn figures(records: &[Record], bases: &[Basis], wanted: &[f64]) -> Figures {
    let columns: BTreeSet<&str> = records.iter().flat_map(|it| it.seen.columns()).collect();
    let by_column: Vec<(&str, Vec<Vec<Option<f64>>>)> =
        columns.into_iter().map(|it| (it, bases.iter().map(|basis| thresholds(basis, it, wanted)).collect())).collect();
    let folds = bases.iter().enumerate().map(|(fold, basis)| FoldFigures {
        fold: basis.name.clone(),
        learnt: basis.learnt,
        calibrating: basis.calibrating.len(),
        calibrating_clusters: basis.calibrating.iter().map(|it| it.0).collect::<BTreeSet<_>>().len(),
        judged: records.iter().filter(|it| it.fold == fold).count(),
    });
    let mut members = BTreeMap::<&str, Vec<&Record>>::new();
    for record in records {
        members.entry(record.by.as_deref().unwrap_or_default()).or_default().push(record);
    }
    let all: Vec<&Record> = records.iter().collect();
    let mut groups = vec![group(None, &all, &by_column, wanted)];
    if records.iter().any(|it| it.by.is_some()) {
        groups.extend(members.iter().map(|(name, members)| group(Some(name), members, &by_column, wanted)));
    }
    Figures { folds: folds.collect(), groups }
}

/// For each wanted share.
fn thresholds(basis: &Basis, column: &str, wanted: &[f64]) -> Vec<Option<f64>> {
    let mut clusters = BTreeMap::<usize, Vec<f64>>::new();
    for (cluster, seen) in &basis.calibrating {
        clusters.entry(*cluster).or_default().push(peak(seen, column));
    }
    let clusters: Vec<Vec<f64>> = clusters.into_values().collect();
    wanted.iter().map(|it| threshold(&clusters, *it)).collect()
}

fn peak(seen: &Seen, column: &str) -> f64 {
    seen.scores(column).and_then(|it| it.peak()).unwrap_or(0.0)
}

fn first_over(record: &Record, column: &str, threshold: f64) -> Option<u64> {
    record.seen.scores(column)?.first_over(threshold)
}

fn group(
    name: Option<&str>,
    records: &[&Record],
    by_column: &[(&str, Vec<Vec<Option<f64>>>)],
    wanted: &[f64],
) -> Group {
    let number = |f: fn(Kind) -> bool| records.iter().filter(|it| f(it.kind)).count();
    let rules: BTreeSet<_> = records.iter().flat_map(|it| it.seen.rules()).collect();
    let decided = |level: Level| Decided {
        decided: level.as_str(),
        alarms: alarms(records.iter().map(|it| (*it, it.seen.decided(level)))),
    };
    let rule = |rule: &(String, &'static str)| Rule {
        rule: rule.0.clone(),
        mode: rule.1,
        alarms: alarms(records.iter().map(|it| (*it, it.seen.found(rule)))),
    };
    Group {
        group: name.map(str::to_owned),
        normal: number(|it| it == Kind::Normal),
        resisted: number(|it| it == Kind::Resisted),
        bad: number(|it| matches!(it, Kind::Bad { .. })),
        columns: by_column.iter().map(|(column, by_fold)| column_of(column, records, by_fold, wanted)).collect(),
        decisions: Level::ALL.into_iter().map(decided).collect(),
        rules: rules.into_iter().map(rule).collect(),
    }
}

fn column_of(column: &str, records: &[&Record], by_fold: &[Vec<Option<f64>>], wanted: &[f64]) -> Column {
    let (mut good, mut bad, mut bad_whole) = (Vec::new(), Vec::new(), Vec::new());
    let (mut scored_good, mut scored_bad) = (0, 0);
    for record in records {
        let stairs = record.seen.scores(column);
        let whole = peak(&record.seen, column);
        match record.kind {
            Kind::Bad { first } => {
                bad.push(stairs.and_then(|it| it.peak_until(first)).unwrap_or(0.0));
                bad_whole.push(whole);
                scored_bad += usize::from(stairs.is_some());
            }
            Kind::Normal | Kind::Resisted => {
                good.push(whole);
                scored_good += usize::from(stairs.is_some());
            }
        }
    }
    let rate = |(at, wanted): (usize, &f64)| {
        let over = |it: &&'_ Record| by_fold[it.fold][at].map(|t| first_over(it, column, t));
        let calibrated: Vec<(&Record, Option<u64>)> =
            records.iter().filter_map(|it| over(it).map(|first| (*it, first))).collect();
        let afterwards = chosen_afterwards(&good, *wanted).map(|threshold| Afterwards {
            threshold,
            alarms: alarms(records.iter().map(|it| (*it, first_over(it, column, threshold)))),
        });
        Rate {
            wanted: *wanted,
            clusters_needed: clusters_needed(*wanted),
            thresholds: by_fold.iter().map(|it| it[at]).collect(),
            calibrated: (!calibrated.is_empty()).then(|| alarms(calibrated)),
            afterwards,
        }
    };
    Column {
        column: column.to_owned(),
        scored_good,
        scored_bad,
        auc: auc(&bad, &good),
        auc_whole: auc(&bad_whole, &good),
        rates: wanted.iter().enumerate().map(rate).collect(),
    }
}

/// Of each session the step of its first alarm.
fn alarms<'r>(first: impl IntoIterator<Item = (&'r Record, Option<u64>)>) -> Alarms {
    let (mut normal, mut resisted, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (record, alarm) in first {
        match record.kind {
            Kind::Normal => normal.push((record.cluster, alarm.is_some())),
            Kind::Resisted => resisted.push((record.cluster, alarm.is_some())),
            Kind::Bad { first } => bad.push((record.cluster, first, alarm)),
        }
    }
    Alarms { normal: Share::of(normal), resisted: Share::of(resisted), bad: Caught::of(bad) }
}

#[cfg(test)]
pub(super) mod tests {
    use martingale_schemas::Decision;

    use super::{Basis, Figures, Record, figures};
    use crate::cmd::eval::labels::Kind;
    use crate::cmd::eval::seen::tests::seen;

    /// Two folds with nineteen calibrating sessions each, of scores 1 to 19, and three calibrated shares of which the last
    /// asks for more sessions than there are.
    pub(in crate::cmd::eval) fn example() -> Figures {
        let basis = |name: &str| Basis {
            name: name.to_owned(),
            learnt: 20,
            calibrating: (0..19).map(|it| (100 + it, seen(&[(0, Decision::Allow, (it + 1) as f64)]))).collect(),
        };
        let record = |cluster, fold, kind, by: &str, steps: &[(u64, Decision, f64)]| Record {
            kind,
            by: Some(by.to_owned()),
            cluster,
            fold,
            seen: seen(steps),
        };
        let (allow, warn, halt) = (Decision::Allow, Decision::Warn, Decision::Halt);
        let bad = |first| Kind::Bad { first };
        let records = [
            record(1, 0, Kind::Normal, "x", &[(0, allow, 3.0), (1, warn, 19.5)]),
            record(1, 0, Kind::Normal, "x", &[(0, allow, 2.0)]),
            record(2, 1, Kind::Normal, "y", &[(0, allow, 18.0)]),
            record(3, 1, Kind::Resisted, "y", &[(0, halt, 30.0)]),
            record(4, 0, bad(1), "x", &[(0, allow, 1.0), (1, halt, 25.0), (2, halt, 26.0)]),
            record(5, 1, bad(1), "x", &[(0, allow, 1.0), (1, allow, 5.0), (4, warn, 40.0)]),
            record(6, 1, bad(2), "y", &[(0, warn, 20.0), (2, allow, 1.0)]),
            record(7, 1, bad(0), "y", &[(0, allow, 1.0)]),
        ];
        figures(&records, &[basis("1"), basis("2")], &[0.05, 0.1, 0.01])
    }

    #[test]
    fn figures_of_all_and_of_each_group() {
        let figures = example();
        assert_eq!(figures.folds.iter().map(|it| it.judged).collect::<Vec<_>>(), [3, 5]);
        assert_eq!((figures.folds[0].calibrating, figures.folds[0].calibrating_clusters), (19, 19));
        let names: Vec<_> = figures.groups.iter().map(|it| it.group.as_deref()).collect();
        assert_eq!(names, [None, Some("x"), Some("y")]);
        let all = &figures.groups[0];
        assert_eq!((all.normal, all.resisted, all.bad), (3, 1, 4));

        let column = &all.columns[0];
        assert_eq!((column.column.as_str(), column.scored_good, column.scored_bad), ("c", 4, 4));
        // Good: 19.5, 2, 18, 30. Bad up to the first bad step: 25, 5, 20, 1; of the whole session 26, 40, 20, 1.
        assert_eq!((column.auc, column.auc_whole), (Some(7.0 / 16.0), Some(10.0 / 16.0)));
        let calibrated = column.rates[0].calibrated.as_ref().expect("nineteen are enough");
        assert_eq!((calibrated.normal.alarmed, calibrated.resisted.alarmed), (1, 1));
        assert_eq!(calibrated.normal.share_of_cluster, Some(0.25));
        let bad = &calibrated.bad;
        assert_eq!((bad.before, bad.at, bad.after, bad.never, bad.median_delay), (1, 1, 1, 1, Some(3)));
        assert!(column.rates[2].calibrated.is_none() && column.rates[2].clusters_needed == 99);
        let afterwards = column.rates[2].afterwards.as_ref().expect("of these very scores");
        assert_eq!((afterwards.threshold, afterwards.alarms.bad.in_time()), (30.0, 0));

        let decided: Vec<_> = all.decisions.iter().map(|it| (it.decided, it.alarms.normal.alarmed)).collect();
        assert_eq!(decided, [("warned", 1), ("stopped", 0), ("halted", 0)]);
        let stopped = &all.decisions[1].alarms;
        assert_eq!((stopped.resisted.alarmed, stopped.bad.at, stopped.bad.never), (1, 1, 3));
        assert!(figures.groups[1].columns[0].auc.is_some() && figures.groups[2].bad == 2);
    }
}
