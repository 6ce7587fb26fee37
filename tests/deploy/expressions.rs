//! PromQL: that it parses, that what it asks for is there, and which labels its answer has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use rusty_promql_parser::{
    Aggregation, BinaryExpr, Call, Expr, GroupingAction, LabelMatchOp, VectorMatchingOp, VectorSelector, expr,
};

use crate::{files, read, registered};

type Labels = BTreeSet<String>;

/// What scraping adds; `role` is put there by the configurations beside the rules.
const SCRAPED: &[&str] = &["job", "instance", "role"];

static SERIES: LazyLock<BTreeMap<String, Labels>> = LazyLock::new(registered::series);
static WORDS: LazyLock<String> = LazyLock::new(|| {
    let folders = ["schemas/src", "platform/src", "ingest/src", "detector/src", "query-api/src", "server/src"];
    folders.iter().flat_map(|it| files(it)).filter(|it| it.ends_with(".rs")).map(|it| read(&it)).collect()
});

/// The labels that the answer of an expression may have, or what is wrong with it.
pub(crate) fn labels(text: &str) -> Result<Labels, String> {
    let text = text.replace("$__rate_interval", "5m");
    match expr(text.trim()) {
        Ok(("", expression)) => of(&expression),
        Ok((rest, _)) => Err(format!("it ends before `{rest}`")),
        Err(error) => Err(error.to_string()),
    }
}

fn of(expression: &Expr) -> Result<Labels, String> {
    match expression {
        Expr::Number(_) | Expr::String(_) => Ok(Labels::new()),
        Expr::VectorSelector(it) => selected(it),
        Expr::MatrixSelector(it) => selected(&it.selector),
        Expr::Call(it) => called(it),
        Expr::Aggregation(it) => aggregated(it),
        Expr::Binary(it) => combined(it),
        Expr::Unary(it) => of(&it.expr),
        Expr::Paren(it) => of(it),
        Expr::Subquery(it) => of(&it.expr),
    }
}

fn selected(selector: &VectorSelector) -> Result<Labels, String> {
    let name = selector.name.as_deref().ok_or("a selector without a metric's name")?;
    let own = SERIES.get(name).ok_or_else(|| format!("there is no series `{name}`"))?;
    let labels: Labels = own.iter().cloned().chain(SCRAPED.iter().map(ToString::to_string)).collect();
    for matcher in &selector.matchers {
        if !labels.contains(&matcher.name) {
            return Err(format!("`{name}` has no label `{}`", matcher.name));
        }
        let job = matcher.name == "job" && matcher.value == "martingale";
        for value in matcher.value.split('|').filter(|_| !job) {
            if !WORDS.contains(&format!("\"{value}\"")) {
                return Err(format!("`{}` of `{name}` is never `{value}`", matcher.name));
            }
        }
    }
    Ok(labels)
}

fn called(call: &Call) -> Result<Labels, String> {
    let argument = call.args.last().ok_or_else(|| format!("{}() of nothing", call.name))?;
    let mut labels = of(argument)?;
    match (call.name.as_str(), argument) {
        ("rate" | "increase", Expr::MatrixSelector(it)) => {
            let name = it.selector.name.as_deref().unwrap_or_default();
            if !["_total", "_bucket", "_sum", "_count"].iter().any(|it| name.ends_with(it)) {
                return Err(format!("{}() of `{name}`, which is no counter", call.name));
            }
        }
        ("changes" | "max_over_time", Expr::MatrixSelector(_)) => {}
        ("histogram_quantile", _) => {
            if !labels.remove("le") {
                return Err("histogram_quantile() of what has no `le`".into());
            }
        }
        ("absent", Expr::VectorSelector(it)) => {
            let equal = it.matchers.iter().filter(|it| it.op == LabelMatchOp::Equal);
            labels = equal.map(|it| it.name.clone()).collect();
        }
        (other, _) => return Err(format!("{other}() of that is not known to this test: add it here if it is meant")),
    }
    Ok(labels)
}

fn aggregated(it: &Aggregation) -> Result<Labels, String> {
    let mut labels = of(&it.expr)?;
    let Some(grouping) = &it.grouping else {
        return Ok(if matches!(it.op.as_str(), "topk" | "bottomk") { labels } else { Labels::new() });
    };
    if let Some(missing) = grouping.labels.iter().find(|it| !labels.contains(*it)) {
        return Err(format!("grouped by `{missing}`, which is no label of what is grouped"));
    }
    labels.retain(|it| grouping.labels.contains(it) == (grouping.action == GroupingAction::By));
    Ok(labels)
}

fn combined(it: &BinaryExpr) -> Result<Labels, String> {
    let (left, right) = (of(&it.lhs)?, of(&it.rhs)?);
    let matching = it.modifier.as_ref().and_then(|it| it.matching.as_ref());
    if let Some(missing) =
        matching.and_then(|on| on.labels.iter().find(|it| !left.contains(*it) || !right.contains(*it)))
    {
        return Err(format!("matched on `{missing}`, which both sides must have"));
    }
    if it.op.is_set_operator() {
        return Ok(if it.op.as_str() == "or" { left.union(&right).cloned().collect() } else { left });
    }
    let is_number = |it: &Expr| matches!(it.unwrap_parens(), Expr::Number(_));
    Ok(match matching {
        _ if is_number(&it.lhs) => right,
        _ if is_number(&it.rhs) => left,
        Some(on) if on.op == VectorMatchingOp::On => on.labels.iter().cloned().collect(),
        _ => left.intersection(&right).cloned().collect(),
    })
}

#[test]
fn expressions_are_understood() {
    for (text, expected) in [
        ("up == 0", Ok("instance job role")),
        ("sum by (partition) (martingale_detector_lag_steps) > 5", Ok("partition")),
        ("sum(rate(martingale_gate_answers_total[5m])) / sum(rate(martingale_gate_answers_total[5m]))", Ok("")),
        ("histogram_quantile(0.9, sum by (le, role) (rate(martingale_gate_seconds_bucket[5m])))", Ok("role")),
        ("absent(up{job=\"martingale\", role=\"ingest\"})", Ok("job role")),
        ("topk(3, sum by (rule) (martingale_alerts_firing))", Ok("rule")),
        ("sum by (role) (up) and on (role) (martingale_log_healthy == 1)", Ok("role")),
        ("martingale_lag", Err("no series `martingale_lag`")),
        ("martingale_gate_seconds", Err("no series")),
        ("up{rule=\"x\"}", Err("no label `rule`")),
        ("martingale_gate_answers_total{outcome=\"belated\"}", Err("never `belated`")),
        ("rate(martingale_gate_waiting[5m])", Err("no counter")),
        ("sum by (topic) (martingale_detector_lag_steps)", Err("grouped by `topic`")),
        ("histogram_quantile(0.9, sum(rate(martingale_gate_seconds_bucket[5m])))", Err("no `le`")),
        ("sum(up) and on (role) up", Err("matched on `role`")),
        ("sum by (role (up)", Err("")),
        ("rate(martingale_gate_answers_total)", Err("not known")),
        ("frobnicate(up)", Err("")),
    ] {
        match (labels(text), expected) {
            (Ok(labels), Ok(expected)) => assert_eq!(Vec::from_iter(labels).join(" "), expected, "{text}"),
            (Err(said), Err(words)) => assert!(said.contains(words), "{text}: {said}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}
