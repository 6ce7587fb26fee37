//! What `deploy/` says is true of the product: metrics and their labels, keys and flags, ports and paths, users and rights.
//! No engine runs here; what one would refuse for its form alone is named in `deploy/README.md` with the tools that check it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its file has failed")]

mod compose;
mod configuration;
mod expressions;
mod image;
mod kubernetes;
mod registered;
mod watching;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a YAML file, anchors and merges resolved.
fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document(path: &str) -> Value {
    let mut all = documents(path);
    assert_eq!(all.len(), 1, "{path}: one document");
    all.remove(0)
}

fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder, by its path from the root.
fn files(folder: &str) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else {
                found.push(path.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn text<'v>(value: &'v Value, at: &str) -> &'v str {
    value.as_str().unwrap_or_else(|| panic!("{at}: a text is missing, there is {value}"))
}

fn list<'v>(value: &'v Value, at: &str) -> &'v [Value] {
    value.as_array().unwrap_or_else(|| panic!("{at}: a list is missing, there is {value}"))
}

fn texts<'v>(value: &'v Value, at: &str) -> Vec<&'v str> {
    list(value, at).iter().map(|it| text(it, at)).collect()
}

/// Members of an object; none where it is absent.
fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

#[test]
fn every_file_can_be_read() {
    let mut n = 0;
    for path in files("deploy") {
        match Path::new(&path).extension().and_then(|it| it.to_str()) {
            Some("yaml" | "yml") => assert!(!documents(&path).is_empty(), "{path} is empty"),
            Some("json") => drop(json(&path)),
            Some("toml") => drop(read(&path).parse::<toml::Table>().unwrap_or_else(|error| panic!("{path}: {error}"))),
            _ => continue,
        }
        n += 1;
    }
    assert!(n > 20, "{n} files");
}
