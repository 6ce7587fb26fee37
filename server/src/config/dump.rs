//! The configuration as text, without its secrets.

use std::fmt::Write;

use martingale_platform::log::Properties;
use martingale_query_api::history::Options;
use serde_json::{Map, Value};

use super::Config;

/// Keys whose value is shown as [`MASK`] when it is set.
const SECRETS: [&str; 2] = ["auth.token", "webhook.secret"];
/// Keys whose value is an address: where it leads is shown, and what may be a token in its path or query is not.
const ADDRESSES: [&str; 1] = ["webhook.url"];
const MASK: &str = "***";

pub(super) fn toml(config: &Config) -> String {
    let mut out = String::new();
    if let Ok(Value::Object(sections)) = serde_json::to_value(config) {
        table(&mut out, "", &sections);
    }
    out
}

fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key)
        || key.strip_prefix("kafka.properties.").is_some_and(Properties::is_secret)
        || key.strip_prefix("history.options.").is_some_and(Options::is_secret)
}

/// A key as TOML has it: with a dot in it, it would be two.
fn written(key: &str) -> String {
    let is_bare = key.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-'));
    if is_bare { key.to_owned() } else { Value::from(key).to_string() }
}

/// Values first, then the tables in it: in TOML what follows a table's header belongs to that table.
fn table(out: &mut String, name: &str, values: &Map<String, Value>) {
    let key_of = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    if !name.is_empty() {
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}[{name}]");
    }
    for (key, value) in values {
        match value {
            Value::Object(_) | Value::Null => {}
            Value::String(text) if !text.is_empty() && is_secret(&key_of(key)) => {
                let _ = writeln!(out, "{} = \"{MASK}\"", written(key));
            }
            Value::String(text) if ADDRESSES.contains(&key_of(key).as_str()) => {
                let _ = writeln!(out, "{key} = {}", Value::String(address(text)));
            }
            // JSON's texts, numbers, booleans and lists of them are TOML as they stand.
            value => {
                let _ = writeln!(out, "{} = {value}", written(key));
            }
        }
    }
    for (key, value) in values {
        if let Value::Object(values) = value {
            table(out, &key_of(key), values);
        }
    }
}

/// Scheme and host of an address.
fn address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    match path {
        "" | "/" => text.to_owned(),
        _ => format!("{scheme}://{host}/{MASK}"),
    }
}
