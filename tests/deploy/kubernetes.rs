//! The manifests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{configuration, document, documents, image, list, text, texts};

const FOLDER: &str = "deploy/kubernetes";
const COMPONENT: &str = "app.kubernetes.io/component";

/// Every object that the kustomization applies, with its kind.
fn objects() -> Vec<(String, Value)> {
    let file = document(&format!("{FOLDER}/kustomization.yaml"));
    let resources = texts(&file["resources"], "resources");
    let all = resources.iter().flat_map(|it| documents(&format!("{FOLDER}/{it}")));
    all.map(|it| (text(&it["kind"], "kind").to_owned(), it)).collect()
}

fn of_kind(kind: &str) -> BTreeMap<String, Value> {
    let of_kind = objects().into_iter().filter(|it| it.0 == kind);
    of_kind.map(|(_, it)| (text(&it["metadata"]["name"], kind).to_owned(), it)).collect()
}

/// The roles with the pod of each, and its one container.
fn pods() -> Vec<(String, Value, Value)> {
    let pods = of_kind("Deployment").into_iter().map(|(name, it)| {
        let pod = it["spec"]["template"]["spec"].clone();
        let containers = list(&pod["containers"], &name);
        assert_eq!(containers.len(), 1, "{name}");
        let container = containers[0].clone();
        (name, pod, container)
    });
    pods.collect()
}

#[test]
fn pods_are_locked() {
    let namespace = &of_kind("Namespace")["martingale"]["metadata"]["labels"];
    assert_eq!(namespace["pod-security.kubernetes.io/enforce"], "restricted");
    for (name, pod, container) in pods() {
        let user = &pod["securityContext"];
        assert_eq!(user["runAsNonRoot"], true, "{name}");
        assert_eq!(user["runAsUser"].as_u64(), Some(image::user()), "{name}: the user of the image");
        assert_eq!(user["fsGroup"].as_u64(), Some(image::user()), "{name}: or it cannot read its secrets");
        assert_eq!(user["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert_eq!(
            container["securityContext"],
            json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
            }),
            "{name}"
        );
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        // Variables for services would begin with ours.
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        for amount in [&container["resources"]["requests"]["cpu"], &container["resources"]["limits"]["memory"]] {
            assert!(amount.is_string(), "{name}: resources");
        }
    }
}

#[test]
fn pods_start_what_there_is() {
    let mut roles = BTreeSet::new();
    for (name, pod, container) in pods() {
        assert_eq!(container["image"], "martingale", "{name}: the kustomization sets the registry");
        let (role, config) = configuration::check_arguments(&name, &texts(&container["args"], &name));
        assert_eq!(role, name);
        let mounts: Vec<(&str, &str)> = list(&container["volumeMounts"], &name)
            .iter()
            .map(|it| (text(&it["name"], &name), text(&it["mountPath"], &name)))
            .collect();
        let volumes = list(&pod["volumes"], &name);
        for (mounted, _) in &mounts {
            assert!(volumes.iter().any(|it| it["name"] == *mounted), "{name}: there is no volume {mounted}");
        }
        let is_mounted = |path: &str| mounts.iter().any(|(_, folder)| path.starts_with(&format!("{folder}/")));
        assert!(config.is_some_and(|it| is_mounted(&it)), "{name}: its configuration");
        for variable in list(&container["env"], &name) {
            let variable_name = text(&variable["name"], &name);
            match &variable["value"] {
                Value::Null => assert_eq!(variable["valueFrom"]["secretKeyRef"]["name"], "martingale", "{name}"),
                value => assert!(is_mounted(text(value, &name)), "{name}: {variable_name}"),
            }
            configuration::check_variable(&name, variable_name, &variable["value"]);
        }
        let table = configuration::with_examples(&format!("{FOLDER}/martingale.toml"));
        for (section, key) in [("auth", "token_file"), ("webhook", "secret_file")] {
            assert!(is_mounted(table[section][key].as_str().expect("a path")), "{name}: {section}.{key}");
        }
        let data = &image::environment()["MARTINGALE__SERVER__DATA"];
        assert_eq!(
            mounts.iter().any(|it| it.1 == data),
            role == "query-api",
            "{name}: who keeps history, and no other"
        );
        roles.insert(role);
    }
    let all = configuration::default("server.roles").and_then(toml::Value::as_array).expect("roles");
    assert_eq!(roles, all.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect());
}

#[test]
fn probes_ask_what_is_answered() {
    for (name, _, container) in pods() {
        let ports: BTreeMap<&str, Option<u64>> = list(&container["ports"], &name)
            .iter()
            .map(|it| (text(&it["name"], &name), it["containerPort"].as_u64()))
            .collect();
        let mut keys = vec![("http", "server.http")];
        if name == "ingest" {
            keys.extend([("otlp-grpc", "server.otlp_grpc"), ("otlp-http", "server.otlp_http")]);
        }
        assert_eq!(
            ports,
            keys.into_iter().map(|(port, key)| (port, Some(configuration::port(key)))).collect(),
            "{name}"
        );
        let mut asks_ready = false;
        for kind in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let (probe, at) = (&container[kind], format!("{name}: {kind}"));
            if probe["httpGet"].is_object() {
                // The one path that needs no token.
                assert_eq!(probe["httpGet"], json!({ "path": "/healthz", "port": "http" }), "{at}");
                configuration::check_path(&at, "/healthz");
            } else {
                configuration::check_probe(&at, &texts(&probe["exec"]["command"], &at));
                asks_ready = true;
                // As long as the script waits, at least.
                assert!(probe["timeoutSeconds"].as_u64().is_some_and(|it| it > 5), "{at}");
                assert_ne!(kind, "livenessProbe", "{name}: brokers that are away would restart it for ever");
            }
        }
        assert!(asks_ready, "{name}: nobody waits until it is ready");
    }
}

#[test]
fn stops_have_the_time_that_they_take() {
    let drain = configuration::default("server.drain_max").and_then(toml::Value::as_str).expect("a default");
    // Of `platform/src/log/kafka/owners.rs`, once for the groups and once for what is left.
    let transactions = 2 * 5;
    for (name, pod, container) in pods() {
        let before = &container["lifecycle"]["preStop"]["exec"]["command"];
        let before = before.as_array().map_or(0, |it| text(&it[1], &name).parse().expect("seconds"));
        assert_eq!(
            before > 0,
            of_kind("Service").contains_key(&name),
            "{name}: who is called goes on until nobody calls"
        );
        let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
        let needed = before + configuration::seconds(drain) + transactions;
        assert!(grace >= needed, "{name}: {grace} s, it may take {needed}");
    }
}

#[test]
fn services_and_budgets_are_of_pods_that_exist() {
    let deployments = of_kind("Deployment");
    for (name, deployment) in &deployments {
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels, "{name}");
        assert_eq!(labels[COMPONENT], *name);
        let budget = &of_kind("PodDisruptionBudget")[name];
        assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels, "{name}");
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "{name}");
        assert!(deployment["spec"]["replicas"].as_u64() > Some(1), "{name}: a budget of one stops nothing");
    }
    for (name, service) in of_kind("Service") {
        assert_eq!(service["spec"]["selector"][COMPONENT], *name);
        let ports = &deployments[&name]["spec"]["template"]["spec"]["containers"][0]["ports"];
        for port in list(&service["spec"]["ports"], &name) {
            let target = list(ports, &name).iter().find(|it| it["name"] == port["targetPort"]);
            assert_eq!(target.map(|it| &it["containerPort"]), Some(&port["port"]), "{name}: {port}");
        }
    }
    let claim = &of_kind("PersistentVolumeClaim")["history"];
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteMany"]), "all query-apis have one history");
    let detectors = deployments["detector"]["spec"]["replicas"].as_i64().expect("a number");
    let table = configuration::with_examples(&format!("{FOLDER}/martingale.toml"));
    assert!(table["kafka"]["partitions"].as_integer() >= Some(detectors), "some would stand by");
}

/// What nothing names is refused, in both directions.
#[test]
fn the_network_is_closed() {
    let policies = of_kind("NetworkPolicy");
    let closes = |it: &&Value| {
        let spec = &it["spec"];
        spec["podSelector"] == json!({}) && spec["ingress"].is_null() && spec["egress"].is_null()
    };
    let nothing = policies.values().find(closes).expect("one for all pods");
    assert_eq!(nothing["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    for (name, policy) in &policies {
        for rule in policy["spec"]["ingress"].as_array().into_iter().flatten() {
            assert!(rule["from"].is_array() && rule["ports"].is_array(), "{name} lets everybody in");
        }
        for rule in policy["spec"]["egress"].as_array().into_iter().flatten() {
            assert!(rule["ports"].is_array(), "{name} lets everything out");
        }
    }
}

#[test]
fn the_example_of_the_secret_is_an_example() {
    let file = document(&format!("{FOLDER}/kustomization.yaml"));
    assert!(!texts(&file["resources"], "resources").contains(&"secret.example.yaml"));
    let secret = document(&format!("{FOLDER}/secret.example.yaml"));
    assert_eq!((&secret["metadata"]["name"], secret["stringData"]["token"].is_string()), (&json!("martingale"), true));
}
