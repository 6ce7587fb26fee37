//! Rules of what stands in the files.

use super::Finding;
use super::files::File;

const LINES_MAX: usize = 500;

/// Words that must not stand in a file, and why. Those that would be found here are put together from two.
struct Ban {
    words: &'static [&'static str],
    why: &'static str,
}

const UNFINISHED: Ban = Ban {
    words: &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimple", "mented!(")],
    why: "finish it, or say in the documentation what is absent",
};

/// Paths of somebody's machine and hosts of mirrors: of no use to another.
const MACHINE: Ban = Ban {
    words: &[
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/tmp/bash", "_jobs"),
        concat!("../.lib", "rary"),
        concat!("python", "hosted"),
        concat!("crates", ".io/"),
        concat!("npm", "js."),
        concat!("ma", "ven2/"),
    ],
    why: "belongs to one machine",
};

/// What a pure crate has no business with.
const IMPURE: Ban = Ban {
    words: &[
        "::now(",
        "Instant",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
        "std::io",
        "async fn",
        ".await",
    ],
    why: "this crate is pure: no clock, no I/O, no async",
};

const PURE: &[&str] = &["schemas/src/", "detector/core/src/"];

/// Makers of metrics; their names belong in one file a crate.
const METRICS: Ban = Ban {
    words: &["IntCounter::new(", "IntCounterVec::new(", "IntGauge::new(", "IntGaugeVec::new(", "HistogramOpts::new("],
    why: "metrics are declared in `metrics.rs`",
};

pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_rust = file.has_extension("rs");
    let is_prose = file.has_extension("md");
    let mut ban = |ban: &Ban, is_code_only: bool| {
        for (index, line) in file.code() {
            let line = if is_code_only { line.split("//").next().unwrap_or_default() } else { line };
            if let Some(word) = ban.words.iter().find(|it| line.contains(**it)) {
                findings.push(Finding::line(file, index, format!("`{word}`: {}", ban.why)));
            }
        }
    };
    ban(&MACHINE, false);
    if !is_prose {
        ban(&UNFINISHED, false);
    }
    if is_rust && !file.is_test() {
        if PURE.iter().any(|it| file.path.starts_with(it)) {
            ban(&IMPURE, true);
        }
        if file.name() != "metrics.rs" && !file.path.starts_with("xtask/") {
            ban(&METRICS, true);
        }
    }
    if is_rust && file.name() == "metrics.rs" {
        findings.extend(metric_names(file));
    }
    if is_rust && !file.is_test() {
        let lines = file.code().count();
        if lines > LINES_MAX {
            findings.push(Finding::new(&file.path, format!("{lines} lines: at most {LINES_MAX}, tests aside")));
        }
    }
    if file.name() == "Cargo.toml"
        && file.text.contains("[package]")
        && !file.text.contains("[lints]\nworkspace = true")
    {
        findings.push(Finding::new(&file.path, "takes no part in the workspace's lints"));
    }
    findings
}

/// A name that ends in a unit begins with the project's, unless one place in the file puts that in front of all.
fn metric_names(file: &File) -> Vec<Finding> {
    const PREFIX: &str = "martingale_";
    const ENDS: &[&str] = &["_total", "_seconds", "_bytes"];
    let mut findings = Vec::new();
    if file.text.contains(&format!("format!(\"{PREFIX}")) {
        return findings;
    }
    for (index, line) in file.code() {
        // Every second piece between quotation marks is text.
        for name in line.split('"').skip(1).step_by(2) {
            let is_name = name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
            if is_name && ENDS.iter().any(|it| name.ends_with(it)) && !name.starts_with(PREFIX) {
                findings.push(Finding::line(file, index, format!("metric `{name}` does not begin with `{PREFIX}`")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&File { path: path.to_owned(), text: text.to_owned() }).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_found() {
        let long = "//\n".repeat(501);
        let long_tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let unfinished = concat!("// TO", "DO: later");
        for (path, text, expected) in [
            ("a/src/b.rs", "fn f() {}", None),
            ("a/src/b.rs", long.as_str(), Some("a/src/b.rs: 501 lines")),
            ("a/src/b.rs", long_tests.as_str(), None),
            ("a/src/tests.rs", long.as_str(), None),
            ("a/src/b.rs", unfinished, Some("a/src/b.rs:1: ")),
            ("docs/a.md", concat!("see /wo", "rk/main"), Some("docs/a.md:1: ")),
            ("detector/core/src/a.rs", "use std::time::Instant;", Some("`Instant`: this crate is pure")),
            ("detector/core/src/a.rs", "// An Instant would be wrong.", None),
            ("detector/src/a.rs", "use std::time::Instant;", None),
            ("schemas/src/a.rs", "let t = Timestamp::now();", Some("`::now(`")),
            ("a/src/b.rs", "let c = IntCounter::new(name, help);", Some("metrics are declared in")),
            ("a/src/metrics.rs", r#"IntCounter::new("steps_total", "Steps")"#, Some("metric `steps_total`")),
            ("a/src/metrics.rs", r#"IntCounter::new("martingale_steps_total", "Steps")"#, None),
            ("a/src/metrics.rs", "let name = format!(\"martingale_a_{it}\");\nmake(\"steps_total\");", None),
            ("a/Cargo.toml", "[package]\nname = \"a\"", Some("takes no part in the workspace's lints")),
        ] {
            let findings = found(path, text);
            match expected {
                Some(expected) => {
                    assert!(findings.len() == 1 && findings[0].contains(expected), "{path}: {findings:?}");
                }
                None => assert!(findings.is_empty(), "{path}: {findings:?}"),
            }
        }
    }
}
