//! The metrics of the product, as its `metrics.rs` files declare them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::{files, read};

const CRATES: &[&str] = &["platform/src", "ingest/src", "detector/src", "query-api/src", "server/src"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) labels: BTreeSet<String>,
    is_histogram: bool,
}

/// What a function of a file that makes metrics gives to each of them.
#[derive(Default)]
struct Maker {
    template: Option<String>,
    labels: Option<BTreeSet<String>>,
    is_histogram: bool,
}

static MAKER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^        let (\w+) = \|").unwrap());
static TEMPLATE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""(martingale_\w*\{name\}\w*)""#).unwrap());
static MADE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(\w+)(?:::new)?\(\s*"(\w+)""#).unwrap());
static LABELS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"&\[("[^\]]*")\]"#).unwrap());

fn labels(text: &str) -> Option<BTreeSet<String>> {
    let list = LABELS.captures(text)?;
    Some(list[1].split(',').map(|it| it.trim().trim_matches('"').to_owned()).collect())
}

/// Name by name, the makers of a file; each ends with the first line of its own indentation that ends a statement.
fn makers(text: &str) -> BTreeMap<&str, Maker> {
    let mut makers = BTreeMap::new();
    for found in MAKER.captures_iter(text) {
        let rest = &text[found.get(0).unwrap().start()..];
        let ends = |line: &str| line.ends_with(';') && !line.starts_with("         ");
        let lines = rest.split_inclusive('\n');
        let mut length = 0;
        for line in lines {
            length += line.len();
            if ends(line.trim_end()) {
                break;
            }
        }
        let body = &rest[..length];
        let template = TEMPLATE.captures(body).map(|it| it[1].to_owned());
        let maker = Maker { template, labels: labels(body), is_histogram: body.contains("Histogram") };
        makers.insert(found.get(1).unwrap().as_str(), maker);
    }
    makers
}

fn declared(text: &str) -> Vec<(String, Metric)> {
    let makers = makers(text);
    let made: Vec<_> = MADE
        .captures_iter(text)
        .filter_map(|found| {
            let (callee, name) = (found.get(1).unwrap().as_str(), &found[2]);
            let maker = makers.get(callee);
            let name = match maker.and_then(|it| it.template.as_ref()) {
                Some(template) => template.replace("{name}", name),
                None => name.to_owned(),
            };
            let is_histogram = callee == "HistogramOpts" || maker.is_some_and(|it| it.is_histogram);
            name.starts_with("martingale_").then(|| (found.get(0).unwrap(), name, maker, is_histogram))
        })
        .collect();
    let ends = made.iter().skip(1).map(|it| it.0.start()).chain([text.len()]);
    made.iter()
        .zip(ends)
        .map(|((found, name, maker, is_histogram), end)| {
            let own = labels(&text[found.end()..end]);
            let labels = maker.and_then(|it| it.labels.clone()).or(own).unwrap_or_default();
            (name.clone(), Metric { labels, is_histogram: *is_histogram })
        })
        .collect()
}

pub(crate) fn metrics() -> BTreeMap<String, Metric> {
    let mut all = BTreeMap::new();
    for path in CRATES.iter().flat_map(|it| files(it)).filter(|it| it.ends_with("/metrics.rs")) {
        let (text, known) = (read(&path), all.len());
        for (name, metric) in declared(&text) {
            let before = all.insert(name.clone(), metric.clone());
            assert!(before.is_none_or(|it| it == metric), "{path}: {name} has other labels elsewhere");
        }
        assert!(all.len() > known || path.contains("/log/"), "{path} declares nothing that is understood here");
    }
    all
}

/// What can be asked of Prometheus: each series with its labels.
pub(crate) fn series() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
    for (name, Metric { labels, is_histogram }) in metrics() {
        if is_histogram {
            let with_le = labels.iter().cloned().chain(["le".to_owned()]).collect();
            all.extend([(format!("{name}_sum"), labels.clone()), (format!("{name}_count"), labels)]);
            all.insert(format!("{name}_bucket"), with_le);
        } else {
            all.insert(name, labels);
        }
    }
    all
}

#[test]
fn metrics_are_found_with_their_labels() {
    let metrics = metrics();
    for (name, labels, is_histogram) in [
        ("martingale_log_appended_records_total", &["topic"][..], false),
        ("martingale_log_restore_seconds", &[], true),
        ("martingale_log_lines_lost_total", &[], false),
        ("martingale_ingest_rejected_total", &["door", "reason"], false),
        ("martingale_ingest_request_seconds", &["door"], true),
        ("martingale_detector_steps_judged_total", &[], false),
        ("martingale_detector_findings_total", &["column", "rule"], false),
        ("martingale_detector_lag_steps", &["partition"], false),
        ("martingale_detector_commit_seconds", &[], true),
        ("martingale_gate_seconds", &[], true),
        ("martingale_gate_answers_total", &["decision", "outcome"], false),
        ("martingale_gate_waiting", &[], false),
        ("martingale_store_unreadable", &["store"], false),
        ("martingale_history_unreadable_total", &["topic"], false),
        ("martingale_history_visible_seconds", &[], true),
    ] {
        let labels = labels.iter().map(ToString::to_string).collect();
        assert_eq!(metrics.get(name), Some(&Metric { labels, is_histogram }), "{name}");
    }
}

/// Whatever `docs/operations.md` calls a metric is one.
#[test]
fn documents_name_metrics_that_are() {
    let (series, metrics) = (series(), metrics());
    let name = Regex::new(r"\bmartingale_[a-z_]+\b").unwrap();
    for path in ["docs/operations.md", "docs/kafka.md", "docs/path-of-a-step.md"] {
        for found in name.find_iter(&read(path)) {
            let name = found.as_str();
            assert!(series.contains_key(name) || metrics.contains_key(name), "{path}: there is no metric `{name}`");
        }
    }
}
