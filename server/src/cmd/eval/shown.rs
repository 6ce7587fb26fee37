//! Figures for people and for programs.

use serde::Serialize;

use super::measure::{Caught, Share};
use super::report::{Alarms, Column, Figures, Group, Rate};
use crate::output::{Paint, Table, grouped, plain};
use crate::policies::count;

/// Fewer sessions than this are told as a count: their share says nothing.
const SHARE_MIN: usize = 20;

/// What the thresholds rest on.
pub(super) const ASSUMES: &str = "a threshold keeps its share if clusters are exchangeable: those it is met with later are \
    of the kind of those that calibrated, in the same mix; it is a mean over draws of them, and of sessions that nobody \
    attacked";

/// What became of the sessions before any was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    pub(super) normal: usize,
    pub(super) resisted: usize,
    pub(super) bad: usize,
    pub(super) left_out: LeftOutCounts,
    /// Labelled, and no step of them is in the files.
    pub(super) without_steps: usize,
    /// In the files, and not labelled.
    pub(super) unlabelled: usize,
    /// Bad sessions that end before their first bad step.
    pub(super) ended_before_first_bad_step: usize,
    pub(super) rejected_lines: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct LeftOutCounts {
    pub(super) asked: usize,
    pub(super) failed: usize,
    pub(super) unlocated: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) sessions: Counted,
    pub(super) clusters: usize,
    pub(super) split: Option<String>,
    pub(super) by: Option<String>,
    pub(super) leave_one_out: bool,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) assumes: &'static str,
}

impl Report {
    pub(super) fn text(&self) -> String {
        let mut out = self.head();
        for group in &self.figures.groups {
            let name = match (&group.group, &self.by) {
                (Some(name), Some(by)) => format!("{} {}", plain(by, 80), plain(name, 200)),
                _ => "all".to_owned(),
            };
            let Group { normal, resisted, bad, .. } = group;
            out.push_str(&format!("\n{name}: {normal} normal, {resisted} resisted, {bad} bad\n\n"));
            out.push_str(&scores(group));
            out.push('\n');
            out.push_str(&configured(group));
        }
        out.push_str(&format!("\n{LEGEND}\nAssumed: {ASSUMES}.\n"));
        out
    }

    fn head(&self) -> String {
        let Counted { normal, resisted, bad, left_out, without_steps, unlabelled, .. } = &self.sessions;
        let mut facts = vec![
            ("normal sessions", grouped(*normal as u64)),
            ("resisted an attack", grouped(*resisted as u64)),
            ("bad sessions", grouped(*bad as u64)),
        ];
        let folds = &self.figures.folds;
        let range = |f: fn(&super::report::FoldFigures) -> usize| {
            let (least, most) = (folds.iter().map(f).min().unwrap_or(0), folds.iter().map(f).max().unwrap_or(0));
            if least == most { grouped(most as u64) } else { format!("{least} to {most}") }
        };
        facts.extend([
            ("clusters", format!("{} ({})", grouped(self.clusters as u64), self.split.as_deref().unwrap_or("runs"))),
            (
                "folds",
                if self.leave_one_out { format!("{} (leave one out)", folds.len()) } else { folds.len().to_string() },
            ),
            ("learnt from, a fold", range(|it| it.learnt)),
            (
                "calibrating, a fold",
                format!("{} in {} clusters", range(|it| it.calibrating), range(|it| it.calibrating_clusters)),
            ),
        ]);
        for (name, number) in [
            ("left out: label.use", left_out.asked),
            ("left out: failed", left_out.failed),
            ("left out: nobody says where", left_out.unlocated),
            ("labelled, without steps", *without_steps),
            ("in the files, unlabelled", *unlabelled),
            ("end before their first bad step", self.sessions.ended_before_first_bad_step),
        ] {
            if number > 0 {
                facts.push((name, grouped(number as u64)));
            }
        }
        Table::facts(facts).to_string()
    }
}

const LEGEND: &str = "\
normal, resisted: good sessions that were alarmed on; by cluster, the mean of the clusters' shares. in time: bad sessions
alarmed on at or before their first bad step, early of them before it; late: only after it, delay in steps. Behind a share
its 95 % interval in percent, which counts alike sessions as less than many. scored: sessions with any score, the others
count as 0; auc: by the highest score until the first bad step, whole: of the session. afterwards: in time at the threshold
that the good sessions shown would have chosen, which nobody knows beforehand.";

const SCORES: [&str; 13] = [
    "column",
    "scored",
    "auc",
    "whole",
    "wanted",
    "normal",
    "resisted",
    "in time",
    "early",
    "late",
    "delay",
    "afterwards",
    "note",
];

/// Each column's scores against thresholds.
fn scores(group: &Group) -> String {
    if group.columns.is_empty() {
        return "no column scored anything\n".to_owned();
    }
    let mut table = Table::with_sentences(SCORES, &["note"]);
    for column in &group.columns {
        for (at, rate) in column.rates.iter().enumerate() {
            table.row(row(column, rate, at == 0).map(|it| (it, Paint::Plain)));
        }
    }
    table.to_string()
}

fn row(column: &Column, rate: &Rate, is_first: bool) -> [String; SCORES.len()] {
    let auc = |it: Option<f64>| it.filter(|_| is_first).map_or_else(String::new, |it| format!("{it:.3}"));
    let afterwards = rate.afterwards.as_ref().map(|it| share(it.alarms.bad.in_time(), it.alarms.bad.sessions));
    let [normal, resisted, in_time, early, late, delay] = match &rate.calibrated {
        Some(alarms) => cells(alarms),
        None => Default::default(),
    };
    let note = match rate.calibrated {
        None => format!("too few clusters calibrate: {} at least", rate.clusters_needed),
        Some(_) => String::new(),
    };
    let [name, scored] = match is_first {
        true => [column.column.clone(), grouped((column.scored_good + column.scored_bad) as u64)],
        false => Default::default(),
    };
    let wanted = percent(rate.wanted);
    let afterwards = afterwards.unwrap_or_default();
    [
        name,
        scored,
        auc(column.auc),
        auc(column.auc_whole),
        wanted,
        normal,
        resisted,
        in_time,
        early,
        late,
        delay,
        afterwards,
        note,
    ]
}

/// What was decided, and what each rule found.
fn configured(group: &Group) -> String {
    let mut table =
        Table::with_sentences(["as configured", "normal", "resisted", "in time", "early", "late", "delay"], &[]);
    let decided = group.decisions.iter().map(|it| (it.decided.to_owned(), &it.alarms));
    let rules = group.rules.iter().map(|it| (format!("rule {} ({})", it.rule, it.mode), &it.alarms));
    for (name, alarms) in decided.chain(rules) {
        let mut cells = vec![(name, Paint::Plain)];
        cells.extend(self::cells(alarms).map(|it| (it, Paint::Plain)));
        table.row(cells);
    }
    table.to_string()
}

fn cells(alarms: &Alarms) -> [String; 6] {
    let Caught { sessions, before, after, median_delay, .. } = alarms.bad;
    let delay = median_delay.map_or_else(String::new, |it| it.to_string());
    let number = |it: usize| if sessions > 0 { grouped(it as u64) } else { String::new() };
    let in_time = within(alarms.bad.in_time(), sessions, alarms.bad.in_time_interval);
    [good(&alarms.normal), good(&alarms.resisted), in_time, number(before), number(after), delay]
}

fn good(it: &Share) -> String {
    let of_sessions = percent(it.alarmed as f64 / it.sessions.max(1) as f64);
    let by_cluster = it.share_of_cluster.map(percent).filter(|by| it.clusters >= SHARE_MIN && *by != of_sessions);
    let by_cluster = by_cluster.map_or_else(String::new, |it| format!(", {it} by cluster"));
    within(it.alarmed, it.sessions, it.interval) + &by_cluster
}

/// A share with its interval, in whole percents that hold it.
fn within(number: usize, of: usize, interval: Option<[f64; 2]>) -> String {
    let share = share(number, of);
    match interval.filter(|_| of >= SHARE_MIN) {
        Some([low, high]) => format!("{share} {:.0}–{:.0}", (low * 100.0).floor(), (high * 100.0).ceil()),
        None => share,
    }
}

fn share(number: usize, of: usize) -> String {
    match of {
        0 => String::new(),
        1..SHARE_MIN => format!("{number} of {of}"),
        _ => format!("{} ({number}/{of})", percent(number as f64 / of as f64)),
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if (percent - percent.round()).abs() < 1e-9 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// What is to be told of sessions that figures miss, as sentences.
pub(super) fn remarks(counted: &Counted) -> Vec<String> {
    let mut remarks = Vec::new();
    if counted.without_steps > 0 {
        let sessions = count(counted.without_steps, "labelled session");
        remarks.push(format!("{sessions} without a step in the files: are these the files that the labels are of?"));
    }
    if counted.unlabelled > 0 {
        remarks.push(format!("{} without a label: not measured", count(counted.unlabelled, "session")));
    }
    if counted.ended_before_first_bad_step > 0 {
        let sessions = count(counted.ended_before_first_bad_step, "bad session");
        remarks.push(format!("{sessions} with a `label.first_bad_step` after the last step: it is the step's `seq`"));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::{ASSUMES, Counted, Report, percent, remarks, share};
    use crate::cmd::eval::report::tests::example;

    #[test]
    fn few_sessions_are_told_as_a_count() {
        for (number, of, shown) in
            [(0, 0, ""), (1, 7, "1 of 7"), (0, 19, "0 of 19"), (1, 20, "5 % (1/20)"), (1, 30, "3.3 % (1/30)")]
        {
            assert_eq!(share(number, of), shown);
        }
        assert_eq!([0.01, 0.05, 0.1, 0.005].map(percent), ["1 %", "5 %", "10 %", "0.5 %"]);
    }

    fn report() -> Report {
        let sessions = Counted { normal: 3, resisted: 1, bad: 4, without_steps: 2, ..Counted::default() };
        let (split, by) = (None, Some("info.kind\u{1b}".to_owned()));
        Report { sessions, clusters: 8, split, by, leave_one_out: false, figures: example(), assumes: ASSUMES }
    }

    #[test]
    fn people_see_every_figure_with_its_number() {
        let shown = report().text();
        let lines: Vec<&str> = shown.lines().map(str::trim).collect();
        let row = |begin: &str| {
            let line = lines.iter().find(|it| it.starts_with(begin)).unwrap_or_else(|| panic!("{begin} in\n{shown}"));
            line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(
            row("c "),
            ["c", "8", "0.438", "0.625", "5 %", "1 of 3", "1 of 1", "2 of 4", "1", "1", "3", "0 of 4"]
        );
        assert_eq!(row("1 %")[1..], ["0 of 4", "too few clusters calibrate: 99 at least"]);
        assert_eq!(row("stopped"), ["stopped", "0 of 3", "1 of 1", "1 of 4", "0", "0", "0"]);
        assert_eq!(row("calibrating"), ["calibrating, a fold", "19 in 19 clusters"]);
        assert_eq!(row("labelled, without"), ["labelled, without steps", "2"]);
        assert!(shown.contains("info.kind␛ x: 2 normal, 0 resisted, 2 bad\n") && !shown.contains('\u{1b}'), "{shown}");
        assert!(shown.contains("exchangeable"), "{shown}");
    }

    #[test]
    fn programs_get_stable_names() {
        let json = serde_json::to_value(report()).expect("JSON");
        let rate = &json["groups"][0]["columns"][0]["rates"][0];
        assert_eq!(rate["wanted"], 0.05);
        assert_eq!(rate["calibrated"]["normal"]["alarmed"], 1);
        assert_eq!(rate["calibrated"]["bad"]["median_delay"], 3);
        assert_eq!(rate["afterwards"]["threshold"], 30.0);
        assert_eq!((&json["folds"][1]["judged"], &json["groups"][1]["group"]), (&5.into(), &"x".into()));
        assert_eq!(json["groups"][0]["decisions"][1]["decided"], "stopped");
        assert_eq!(json["groups"][0]["columns"][0]["rates"][2]["calibrated"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_missed_is_said() {
        assert_eq!(remarks(&Counted::default()), Vec::<String>::new());
        let counted = Counted { without_steps: 1, unlabelled: 2, ended_before_first_bad_step: 3, ..Counted::default() };
        let said = remarks(&counted);
        assert!(said[0].starts_with("1 labelled session without a step") && said[1].starts_with("2 sessions without"));
        assert!(said[2].starts_with("3 bad sessions with"), "{said:?}");
    }
}
