//! The configuration as text, without its secrets.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::Config;

/// Keys whose value is shown as [`MASK`] when it is set.
const SECRETS: [&str; 2] = ["auth.token", "webhook.secret"];
const MASK: &str = "***";

pub(super) fn toml(config: &Config) -> String {
    let mut out = String::new();
    if let Ok(Value::Object(sections)) = serde_json::to_value(config) {
        table(&mut out, "", &sections);
    }
    out
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
            Value::String(text) if !text.is_empty() && SECRETS.contains(&key_of(key).as_str()) => {
                let _ = writeln!(out, "{key} = \"{MASK}\"");
            }
            // JSON's texts, numbers, booleans and lists of them are TOML as they stand.
            value => {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
    }
    for (key, value) in values {
        if let Value::Object(values) = value {
            table(out, &key_of(key), values);
        }
    }
}
