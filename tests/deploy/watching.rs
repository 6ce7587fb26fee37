//! Prometheus, Alertmanager and Grafana.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use crate::{document, expressions, files, json, list, members, text};

const SEVERITIES: &[&str] = &["critical", "high", "medium", "low"];

fn rules() -> Vec<Value> {
    let file = document("deploy/prometheus/rules.yaml");
    list(&file["groups"], "groups").iter().flat_map(|it| list(&it["rules"], "rules").to_vec()).collect()
}

fn alert_names() -> BTreeSet<String> {
    rules().iter().map(|it| text(&it["alert"], "alert").to_owned()).collect()
}

/// Names in a template that have to be labels: of rules `$labels.name`, of legends the bare name.
fn named(template: &str, pattern: &str) -> Vec<String> {
    Regex::new(pattern).unwrap().captures_iter(template).map(|it| it[1].to_owned()).collect()
}

#[test]
fn rules_ask_for_what_there_is() {
    let rules = rules();
    for rule in &rules {
        let name = text(&rule["alert"], "alert");
        let labels = expressions::labels(text(&rule["expr"], name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let severity = text(&rule["labels"]["severity"], name);
        assert!(SEVERITIES.contains(&severity), "{name}: severity {severity}");
        for part in ["summary", "remedy"] {
            for label in named(text(&rule["annotations"][part], name), r"\$labels\.(\w+)") {
                assert!(labels.contains(&label), "{name}: its {part} names `{label}`, it has {labels:?}");
            }
        }
    }
    assert_eq!(alert_names().len(), rules.len(), "two rules of one name");
}

/// What somebody who runs it has to be told.
#[test]
fn rules_are_there_for_what_matters() {
    let asked: String = rules().iter().map(|it| text(&it["expr"], "expr").to_owned() + "\n").collect();
    for metric in [
        "martingale_detector_lag_steps",
        "martingale_log_restore_seconds",
        "martingale_gate_seconds",
        "martingale_ingest_rejected_total",
        "martingale_log_healthy",
        "martingale_history_visible_seconds",
        "martingale_webhook_attempts_total",
        "martingale_detector_expired_total",
    ] {
        assert!(asked.contains(metric), "no rule asks for {metric}");
    }
}

#[test]
fn rules_that_others_name_exist() {
    let names = alert_names();
    let tests = document("deploy/prometheus/rules.test.yaml");
    let tested = list(&tests["tests"], "tests").iter().flat_map(|it| list(&it["alert_rule_test"], "alert_rule_test"));
    for name in tested.map(|it| text(&it["alertname"], "alertname")) {
        assert!(names.contains(name), "rules.test.yaml: there is no rule {name}");
    }
    let config = document("deploy/alertmanager/alertmanager.yml");
    let receivers: Vec<&Value> = list(&config["receivers"], "receivers").iter().map(|it| &it["name"]).collect();
    let routes = [&config["route"]].into_iter().chain(list(&config["route"]["routes"], "routes"));
    for route in routes {
        assert!(receivers.contains(&&route["receiver"]), "no receiver {}", route["receiver"]);
    }
    for rule in list(&config["inhibit_rules"], "inhibit_rules") {
        for side in ["source_matchers", "target_matchers"] {
            let matcher = text(&rule[side][0], side);
            let pattern = matcher.split('"').nth(1).unwrap_or_else(|| panic!("{matcher}: no value"));
            let whole = Regex::new(&format!("^(?:{pattern})$")).unwrap();
            let matched = names.iter().filter(|it| whole.is_match(it)).count();
            assert_eq!(matched, pattern.split('|').count(), "{side} {matcher}: not all of these are rules");
        }
    }
}

#[test]
fn dashboards_ask_for_what_there_is() {
    let sources = document("deploy/grafana/provisioning/datasources/prometheus.yaml");
    let uids: Vec<&str> =
        list(&sources["datasources"], "datasources").iter().map(|it| text(&it["uid"], "uid")).collect();
    let dashboards = files("deploy/grafana/dashboards");
    assert_eq!(dashboards.len(), 3);
    for path in &dashboards {
        let board = json(path);
        let mut ids = BTreeSet::new();
        let mut places = BTreeSet::new();
        for panel in list(&board["panels"], path) {
            let at = format!("{path}: {}", text(&panel["title"], path));
            assert!(ids.insert(panel["id"].as_u64()), "{at}: its id is another's");
            assert!(
                places.insert((panel["gridPos"]["y"].as_u64(), panel["gridPos"]["x"].as_u64())),
                "{at}: its place is"
            );
            if panel["type"] == "row" {
                continue;
            }
            for target in list(&panel["targets"], &at) {
                assert!(uids.contains(&text(&target["datasource"]["uid"], &at)), "{at}: an unknown data source");
                let labels =
                    expressions::labels(text(&target["expr"], &at)).unwrap_or_else(|error| panic!("{at}: {error}"));
                for label in named(text(&target["legendFormat"], &at), r"\{\{\s*(\w+)\s*\}\}") {
                    assert!(labels.contains(&label), "{at}: its legend names `{label}`, it has {labels:?}");
                }
            }
        }
    }
}

/// Paths and names on which the parts of `compose.yaml` have to agree.
#[test]
fn the_parts_find_each_other() {
    let compose = document("deploy/compose.yaml");
    let services = &compose["services"];
    let mounted = |service: &str, file: &str| {
        let volumes = list(&services[service]["volumes"], service);
        volumes.iter().filter_map(|it| text(it, service).split(':').nth(1)).any(|it| file.starts_with(it))
    };
    let prometheus = document("deploy/prometheus/prometheus.yml");
    let scrape = &prometheus["scrape_configs"][0];
    assert_eq!(scrape["job_name"], "martingale");
    let token = text(&scrape["authorization"]["credentials_file"], "credentials_file");
    let secret = token.strip_prefix("/run/secrets/").expect("a secret");
    assert!(list(&services["prometheus"]["secrets"], "secrets").contains(&Value::from(secret)));
    let discovery = &scrape["dns_sd_configs"][0];
    for name in list(&discovery["names"], "names") {
        assert!(services[text(name, "names")]["image"] == "martingale", "{name} is no service of ours");
    }
    for file in ["prometheus.yml", "kubernetes.yml"] {
        let relabel = &document(&format!("deploy/prometheus/{file}"))["scrape_configs"][0]["relabel_configs"];
        assert!(list(relabel, file).iter().any(|it| it["target_label"] == "role"), "{file} sets no role");
    }
    let alertmanager = text(&prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0], "targets");
    assert!(members(services).any(|(name, _)| alertmanager.strip_suffix(":9093") == Some(name)), "{alertmanager}");
    let home = text(&services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"], "home");
    let provider = document("deploy/grafana/provisioning/dashboards/martingale.yaml");
    let folder = text(&provider["providers"][0]["options"]["path"], "path");
    assert!(home.starts_with(folder) && mounted("grafana", folder), "{home} in {folder}");
    assert!(
        files("deploy/grafana/dashboards").iter().any(|it| home.ends_with(it.trim_start_matches("deploy/grafana")))
    );
    for (service, flag) in [("prometheus", "--config.file="), ("alertmanager", "--config.file=")] {
        let mut command = list(&services[service]["command"], service).iter().map(|it| text(it, service));
        let file = command.find_map(|it| it.strip_prefix(flag)).expect("a configuration");
        let name = file.rsplit('/').next().unwrap();
        assert!(
            mounted(service, file) && files(&format!("deploy/{service}")).iter().any(|it| it.ends_with(name)),
            "{file}"
        );
    }
}
