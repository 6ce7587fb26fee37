//! Keys, variables and flags that `deploy/` sets, against the default file and the command line.

use std::sync::LazyLock;

use serde_json::Value;
use toml::Table;

use crate::{read, text};

pub(crate) const PREFIX: &str = "MARTINGALE__";

/// A file of configuration, with the keys that are there as examples (`#key = …`).
pub(crate) fn with_examples(path: &str) -> Table {
    let is_example = |line: &str| line.starts_with(|it: char| it.is_ascii_lowercase() || it == '[' || it == '"');
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(key) if is_example(key) => key.to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = read(path).lines().map(uncommented).collect();
    lines.join("\n").parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

static KNOWN: LazyLock<Table> = LazyLock::new(|| with_examples("deploy/config.default.toml"));

/// The default of a key, `section.key`.
pub(crate) fn default(key: &str) -> Option<&'static toml::Value> {
    let mut parts = key.split('.');
    let mut value = KNOWN.get(parts.next()?)?;
    for part in parts {
        value = value.as_table()?.get(part)?;
    }
    Some(value)
}

/// Seconds of a span of time as the configuration writes it.
pub(crate) fn seconds(span: &str) -> u64 {
    let (number, unit) = span.split_at(span.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        _ => panic!("{span}: seconds or minutes"),
    };
    number.parse::<u64>().unwrap_or_else(|error| panic!("{span}: {error}")) * unit
}

/// A variable of the environment, if it is one of ours: that its key exists and takes such a value.
fn variable(name: &str, value: &str) -> Result<(), String> {
    let Some(key) = name.strip_prefix(PREFIX) else {
        return if name.starts_with("MARTINGALE_") { Err(format!("{name} is not read")) } else { Ok(()) };
    };
    let key = key.to_ascii_lowercase().replace("__", ".");
    if key.starts_with("kafka.properties.") {
        return Ok(());
    }
    // Names of the store's clients, which no default names.
    if key.starts_with("history.options.") {
        return Ok(());
    }
    let good = match default(&key).ok_or_else(|| format!("{name}: there is no key `{key}`"))? {
        toml::Value::String(_) => true,
        toml::Value::Boolean(_) => value.parse::<bool>().is_ok(),
        toml::Value::Integer(_) => value.parse::<i64>().is_ok(),
        toml::Value::Array(_) => value.starts_with('['),
        _ => false,
    };
    if good { Ok(()) } else { Err(format!("{name}: `{key}` does not take {value}")) }
}

/// # Panics
/// When a variable is ours and not read.
pub(crate) fn check_variable(at: &str, name: &str, value: &Value) {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    variable(name, &value).unwrap_or_else(|error| panic!("{at}: {error}"));
}

/// # Panics
/// When a table holds what the default file does not.
pub(crate) fn check_table(at: &str, table: &Table, prefix: &str) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        let expected = default(&key).unwrap_or_else(|| panic!("{at}: there is no key `{key}`"));
        match (value, expected) {
            (toml::Value::Table(_), toml::Value::Table(known)) if known.is_empty() => {}
            (toml::Value::Table(table), _) => check_table(at, table, &format!("{key}.")),
            _ => assert_eq!(value.type_str(), expected.type_str(), "{at}: `{key}`"),
        }
    }
}

/// Arguments of a container: `up`, a role, and flags that `up` has. The role, and the file of the configuration.
pub(crate) fn check_arguments(at: &str, arguments: &[&str]) -> (String, Option<String>) {
    let mut arguments = arguments.iter();
    assert_eq!(arguments.next(), Some(&"up"), "{at}");
    let cli = read("server/src/cli.rs");
    let up = cli.split("pub(crate) struct Up {").nth(1).and_then(|it| it.split("\n}").next()).expect("flags of `up`");
    let roles = default("server.roles").and_then(toml::Value::as_array).expect("roles");
    let (mut role, mut config) = (None, None);
    while let Some(flag) = arguments.next() {
        let name = flag.strip_prefix("--").unwrap_or_else(|| panic!("{at}: {flag} is no flag"));
        let is_flag = up.contains(&format!("long = \"{name}\""))
            || up.contains(&format!("pub(crate) {}:", name.replace('-', "_")));
        assert!(is_flag, "{at}: `up` has no flag {flag}");
        let value = arguments.next().unwrap_or_else(|| panic!("{at}: {flag} without a value"));
        match name {
            "role" => {
                assert!(roles.iter().any(|it| it.as_str() == Some(value)), "{at}: there is no role {value}");
                role = Some((*value).to_owned());
            }
            "config" => config = Some((*value).to_owned()),
            _ => {}
        }
    }
    (role.unwrap_or_else(|| panic!("{at}: no role")), config)
}

/// The command of a probe in the image that asks one of the paths every role has.
pub(crate) fn check_probe(at: &str, command: &[&str]) {
    let ["martingale-probe", path] = command else { panic!("{at}: {command:?} is no probe of the image") };
    check_path(at, &format!("/{path}"));
}

pub(crate) fn check_path(at: &str, path: &str) {
    let routes = read("query-api/src/health.rs");
    assert!(routes.contains(&format!(".route(\"{path}\", get(")), "{at}: no role answers {path}");
}

/// A port of the server by the keys that set it.
pub(crate) fn port(key: &str) -> u64 {
    let address = default(key).and_then(toml::Value::as_str).expect("an address");
    address.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a port")
}

#[test]
fn the_configuration_of_kubernetes_has_keys_that_exist() {
    let path = "deploy/kubernetes/martingale.toml";
    check_table(path, &with_examples(path), "");
    let dead: Table = "[detector]\nsession_idle = 5".parse().unwrap();
    assert!(std::panic::catch_unwind(|| check_table("dead", &dead, "")).is_err());
}

#[test]
fn variables_are_told_apart() {
    for (name, value, said) in [
        ("MARTINGALE__KAFKA__BROKERS", "kafka:9092", None),
        ("MARTINGALE__KAFKA__PARTITIONS", "12", None),
        ("MARTINGALE__KAFKA__PROPERTIES__SASL_PASSWORD", "x", None),
        ("MARTINGALE__WEBHOOK__SECRET_FILE", "/x", None),
        ("MIMALLOC_ALLOW_THP", "0", None),
        ("MARTINGALE__KAFKA__PARTITIONS", "many", Some("does not take many")),
        ("MARTINGALE__KAFKA__BROKER", "x", Some("no key `kafka.broker`")),
        ("MARTINGALE_KAFKA__BROKERS", "x", Some("is not read")),
    ] {
        match (variable(name, value), said) {
            (Ok(()), None) => {}
            (Err(error), Some(said)) => assert!(error.contains(said), "{name}: {error}"),
            (found, _) => panic!("{name}={value}: {found:?}"),
        }
    }
    assert_eq!(text(&Value::from("x"), "x"), "x");
}
