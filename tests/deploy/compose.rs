//! `compose.yaml`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{configuration, document, list, members, read, text, texts};

const PATH: &str = "deploy/compose.yaml";

fn services(file: &Value) -> impl Iterator<Item = (&str, &Value)> {
    members(&file["services"])
}

fn is_ours(service: &Value) -> bool {
    service["image"] == "martingale"
}

#[test]
fn containers_are_locked() {
    let file = document(PATH);
    for (name, service) in services(&file) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        for absent in ["privileged", "user", "cap_add", "network_mode", "pid", "devices"] {
            assert!(service[absent].is_null(), "{name} has {absent}");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(text(port, name).starts_with("127.0.0.1:"), "{name}: {port} is open to other machines");
        }
        // The image of ours has one of its own.
        assert!(is_ours(service) || service["healthcheck"]["test"].is_array(), "{name} has no health check");
        let image = text(&service["image"], name);
        assert!(is_ours(service) || image.split_once(':').is_some_and(|it| it.1 != "latest"), "{name}: {image}");
    }
}

#[test]
fn every_role_has_a_service_and_a_token() {
    let file = document(PATH);
    let mut roles = BTreeSet::new();
    let mut replicas = 0;
    for (name, service) in services(&file).filter(|it| is_ours(it.1)) {
        let (role, _) = configuration::check_arguments(name, &texts(&service["command"], name));
        assert_eq!(role, name, "a service is named after its role");
        for (variable, value) in members(&service["environment"]) {
            // Those of the object store's clients are not ours.
            if !variable.starts_with("AWS_") {
                configuration::check_variable(name, variable, value);
            }
        }
        let token = text(&service["environment"]["MARTINGALE__AUTH__TOKEN_FILE"], name);
        let secrets = texts(&service["secrets"], name);
        assert!(secrets.iter().any(|it| token == format!("/run/secrets/{it}")), "{name}: {token}");
        let grace = configuration::seconds(text(&service["stop_grace_period"], name));
        let drain = configuration::default("server.drain_max").and_then(toml::Value::as_str).expect("a default");
        assert!(grace >= configuration::seconds(drain) + 10, "{name}: {grace} s are too short for server.drain_max");
        if role == "detector" {
            let partitions = text(&service["environment"]["MARTINGALE__KAFKA__PARTITIONS"], name);
            replicas = service["deploy"]["replicas"].as_u64().unwrap_or(1);
            assert!(replicas <= partitions.parse().expect("a number"), "some would stand by");
        }
        roles.insert(role);
    }
    let all = configuration::default("server.roles").and_then(toml::Value::as_array).expect("roles");
    assert_eq!(roles, all.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect());
    assert_eq!(replicas, 2);
}

#[test]
fn what_is_used_is_declared() {
    let file = document(PATH);
    for (name, service) in services(&file) {
        for (kind, used) in [("secrets", &service["secrets"]), ("networks", &service["networks"])] {
            for it in used.as_array().into_iter().flatten() {
                assert!(file[kind].get(text(it, name)).is_some(), "{name}: {kind} has no {it}");
            }
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = text(volume, name).split(':').next().unwrap();
            if !source.starts_with("./") {
                assert!(file["volumes"].get(source).is_some(), "{name}: there is no volume {source}");
            }
        }
        for (other, _) in members(&service["depends_on"]) {
            assert!(file["services"][other]["healthcheck"].is_object(), "{name} waits for {other}");
        }
    }
    let files = members(&file["secrets"]).map(|(name, secret)| text(&secret["file"], name));
    let of_variables = services(&file).flat_map(|(_, it)| it["env_file"].as_array().into_iter().flatten());
    let of_variables = of_variables.map(|it| text(it, "env_file"));
    for path in files.chain(of_variables) {
        let name = path.strip_prefix("secrets/").unwrap_or_else(|| panic!("{path} is not ignored by git"));
        assert!(
            read("deploy/README.md").contains(&format!("> deploy/secrets/{name}\n")),
            "nobody says how to make {path}"
        );
    }
    assert!(read(".gitignore").lines().any(|it| it == "/deploy/secrets"));
}

#[test]
fn history_is_in_the_object_store_of_the_tests() {
    let file = document(PATH);
    let (query_api, objects) = (&file["services"]["query-api"], &file["services"]["objects"]);
    assert_eq!(objects["image"], format!("ghcr.io/versity/versitygw:{}", read("deploy/s3/VERSION").trim()));
    let script = texts(&objects["command"], "objects").join("\n");
    let bucket = text(&query_api["environment"]["MARTINGALE__HISTORY__DIR"], "history");
    let bucket = bucket.strip_prefix("s3://").and_then(|it| it.split('/').next()).expect("a bucket");
    assert!(script.contains(&format!("mkdir -p /data/buckets/{bucket} ")), "nobody makes {bucket}");
    let user = text(&query_api["environment"]["AWS_ACCESS_KEY_ID"], "a user");
    assert!(
        script.contains(&format!("ROOT_ACCESS_KEY={user} ROOT_SECRET_KEY=\"$$AWS_SECRET_ACCESS_KEY\"")),
        "{script}"
    );
    let endpoint = text(&query_api["environment"]["MARTINGALE__HISTORY__OPTIONS__ENDPOINT"], "endpoint");
    let port = endpoint.strip_prefix("http://objects:").expect("it is reached by its name");
    assert!(script.contains(&format!("--port :{port} --health /health ")), "{script}");
    for (name, service) in [("query-api", query_api), ("objects", objects)] {
        assert!(texts(&service["networks"], name).contains(&"objects"), "{name} is on another network");
    }
    // What is written is kept.
    assert_eq!(texts(&objects["volumes"], "objects"), ["objects:/data"]);
}

#[test]
fn kafka_is_the_one_of_the_tests() {
    let file = document(PATH);
    let kafka = &file["services"]["kafka"];
    let pom = read("deploy/kafka/pom.xml");
    let version = pom.split("<artifactId>kafka_2.13</artifactId>").nth(1).and_then(|it| it.split("<version>").nth(1));
    let version = version.and_then(|it| it.split('<').next()).expect("a version");
    assert_eq!(kafka["image"], format!("apache/kafka:{version}"));
    let brokers = &file["services"]["ingest"]["environment"]["MARTINGALE__KAFKA__BROKERS"];
    let advertised = text(&kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"], "kafka");
    let listener = format!("INTERNAL://{}", text(brokers, "brokers"));
    assert!(advertised.split(',').any(|it| it == listener), "{listener} is not in {advertised}");
    // As the brokers of the tests, as far as it is about what is written.
    let properties = read("deploy/kafka/broker.properties");
    for (name, value) in
        members(&kafka["environment"]).filter(|(_, value)| ["1", "false"].map(Value::from).contains(value))
    {
        let property = name.trim_start_matches("KAFKA_").to_ascii_lowercase().replace('_', ".");
        assert!(
            properties.contains(&format!("{property}=")),
            "{name}={value}: the brokers of the tests have no {property}"
        );
    }
    assert!(
        list(&kafka["volumes"], "kafka")
            .iter()
            .any(|it| { text(it, "kafka").ends_with(text(&kafka["environment"]["KAFKA_LOG_DIRS"], "kafka")) })
    );
}
