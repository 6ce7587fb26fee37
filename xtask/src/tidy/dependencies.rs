//! The walls between the crates.

use super::Finding;
use super::metadata::Metadata;

const SERVICES: &[&str] = &["martingale-ingest", "martingale-detector", "martingale-query-api"];

/// Crates of this workspace that must not name each other, in `[dependencies]` or for tests.
const STRANGERS: &[(&str, &[&str], &str)] = &[
    ("martingale-schemas", &["martingale-platform"], "words do not know how bytes are moved"),
    ("martingale-platform", &["martingale-schemas"], "what moves bytes knows no step"),
    ("martingale-detector-core", &["martingale-platform"], "the core is pure"),
];

/// What would bring I/O, threads, a run time or a clock into a crate that must be pure.
const IMPURE: &[&str] = &[
    "async-std",
    "axum",
    "crossbeam-channel",
    "deltalake",
    "datafusion",
    "fjall",
    "hyper",
    "lsm-tree",
    "mio",
    "prometheus",
    "quanta",
    "rdkafka",
    "rayon",
    "reqwest",
    "rusqlite",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tonic",
    "tracing",
    "ureq",
    "web-time",
];

const PURE: &[&str] = &["martingale-schemas", "martingale-detector-core"];

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut forbid = |from: &str, to: &[&str], why: &str| {
        let Some(id) = metadata.id_of(from) else {
            findings.push(Finding::new("xtask", format!("the rules name `{from}`, which is not in the workspace")));
            return;
        };
        let named = metadata.neighbours(id);
        for other in to.iter().filter(|it| named.contains(**it)) {
            findings.push(Finding::new(from, format!("depends on `{other}`: {why}")));
        }
    };
    for service in SERVICES {
        let others: Vec<&str> = SERVICES.iter().copied().filter(|it| it != service).collect();
        forbid(service, &others, "services meet in `schemas` and on the log");
    }
    for (from, to, why) in STRANGERS {
        forbid(from, to, why);
    }
    for name in PURE {
        let Some(id) = metadata.id_of(name) else { continue };
        let tree = metadata.normal_tree(id);
        for impure in IMPURE {
            if let Some(parent) = tree.get(impure) {
                findings.push(Finding::new(*name, format!("`{impure}` is compiled into it, through `{parent}`")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MEMBERS: &[&str] = &[
        "martingale-schemas",
        "martingale-platform",
        "martingale-detector-core",
        "martingale-ingest",
        "martingale-detector",
        "martingale-query-api",
    ];

    /// A workspace with these dependencies: from, to, kind.
    fn found(dependencies: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let outside = ["serde", "tokio"];
        let names = || MEMBERS.iter().chain(&outside);
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "source": outside.contains(&name).then_some("registry+x") });
        let node = |name: &str| {
            let deps: Vec<_> = dependencies
                .iter()
                .filter(|(from, ..)| *from == name)
                .map(|(_, to, kind)| json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] }))
                .collect();
            json!({ "id": name, "deps": deps })
        };
        let metadata = json!({
            "packages": names().map(|it| package(it)).collect::<Vec<_>>(),
            "workspace_members": MEMBERS,
            "target_directory": "",
            "resolve": { "nodes": names().map(|it| node(it)).collect::<Vec<_>>() },
        });
        check(&serde_json::from_value(metadata).expect("metadata")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn walls() {
        let (core, schemas) = ("martingale-detector-core", "martingale-schemas");
        assert!(
            found(&[(core, schemas, None), (schemas, "serde", None), ("martingale-detector", "tokio", None)])
                .is_empty()
        );
        // A test of the core may do what the core may not.
        assert!(found(&[(core, "tokio", Some("dev"))]).is_empty());
        for (dependencies, expected) in [
            (
                &[(core, schemas, None), (schemas, "serde", None), ("serde", "tokio", None)][..],
                "martingale-detector-core: `tokio` is compiled into it, through `serde`",
            ),
            (
                &[("martingale-ingest", "martingale-detector", None)],
                "martingale-ingest: depends on `martingale-detector`",
            ),
            (
                &[("martingale-query-api", "martingale-ingest", Some("dev"))],
                "martingale-query-api: depends on `martingale-ingest`",
            ),
            (&[("martingale-platform", schemas, None)], "martingale-platform: depends on `martingale-schemas`"),
        ] {
            let findings = found(dependencies);
            assert!(findings.iter().any(|it| it.starts_with(expected)), "{dependencies:?}: {findings:?}");
        }
    }
}
