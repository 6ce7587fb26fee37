//! A rule as its file declares it.

use std::collections::BTreeMap;
use std::path::Path;

use martingale_platform::config::Span;
use martingale_schemas::Severity;
use serde::{Deserialize, Serialize};

use super::Config;

/// Shipped rules, file name and text.
const SHIPPED: [(&str, &str); 1] =
    [("findings-share.yaml", include_str!("../../../deploy/alerts/findings-share.yaml"))];

/// Shortest `every`: a query over history is not free.
const EVERY_MIN: Span = Span::from_millis(1_000);

/// One rule, one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Letters, digits, `-` and `_`. Name of the alert.
    pub id: String,
    pub title: String,
    /// One row for each alert: text columns tell alerts apart, the numeric column `value` is what is measured.
    pub query: String,
    /// How often it is evaluated.
    pub every: Span,
    /// How long a row must be there before it fires.
    #[serde(default, rename = "for")]
    pub hold: Span,
    #[serde(default)]
    pub severity: Severity,
    /// Added to each alert's own.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Sentences for people; `{{column}}` stands for the row's value.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What is wrong with a rule: the file, the field, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("alert rules of {dir} cannot be read")]
    Folder { dir: String, source: std::io::Error },
    #[error("alert rule {file} is no rule: {why}")]
    Parse { file: String, why: String },
    #[error("alert rule {file}: `{field}` {why}")]
    Field { file: String, field: &'static str, why: String },
    #[error("alert rule {file}: id `{id}` is taken by {other}: choose another")]
    Twice { file: String, id: String, other: String },
}

impl Rule {
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, RuleError> {
        let rule: Self = serde_saphyr::from_str(text)
            .map_err(|error| RuleError::Parse { file: file.to_owned(), why: error.to_string() })?;
        let wrong = |field, why: String| Err(RuleError::Field { file: file.to_owned(), field, why });
        if rule.id.is_empty() || !rule.id.chars().all(|it| it.is_ascii_alphanumeric() || it == '-' || it == '_') {
            return wrong("id", format!("is \"{}\": use letters, digits, `-` and `_`", rule.id));
        }
        if rule.query.trim().is_empty() {
            return wrong("query", "is empty: write a SELECT that answers a row for each alert".to_owned());
        }
        if rule.every < EVERY_MIN {
            return wrong("every", format!("is {}: evaluate at most every {EVERY_MIN}", rule.every));
        }
        if let Some(name) = rule.labels.keys().find(|name| !is_label(name)) {
            return wrong("labels", format!("has \"{name}\": use letters, digits and `_`, not beginning with a digit"));
        }
        if let Some(name) = rule.labels.keys().find(|name| matches!(name.as_str(), "alertname" | "severity")) {
            return wrong("labels", format!("has \"{name}\", which is set from `id` and `severity`: leave it out"));
        }
        Ok(rule)
    }
}

/// What Alertmanager takes for the name of a label.
pub(super) fn is_label(name: &str) -> bool {
    !name.starts_with(|it: char| it.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
}

/// The rules of the folder, then the shipped ones that it does not replace, with the file each comes from.
pub(super) fn load(config: &Config) -> Result<Vec<Rule>, RuleError> {
    let mut rules: BTreeMap<String, (String, Rule)> = BTreeMap::new();
    for (file, text) in config.dir.as_deref().map(files).transpose()?.unwrap_or_default() {
        let rule = Rule::parse(&file, &text)?;
        if let Some((other, _)) = rules.get(&rule.id) {
            return Err(RuleError::Twice { id: rule.id, other: other.clone(), file });
        }
        rules.insert(rule.id.clone(), (file, rule));
    }
    if config.shipped {
        for (file, text) in SHIPPED {
            let rule = Rule::parse(file, text)?;
            rules.entry(rule.id.clone()).or_insert_with(|| (file.to_owned(), rule));
        }
    }
    Ok(rules.into_values().map(|(_, rule)| rule).collect())
}

/// The YAML files of a folder, in the order of their names.
fn files(dir: &Path) -> Result<Vec<(String, String)>, RuleError> {
    let failed = |source| RuleError::Folder { dir: dir.display().to_string(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|it| it == "yaml" || it == "yml") {
            let text = std::fs::read_to_string(&path).map_err(failed)?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::{Config, Rule, load};

    const GOOD: &str = "id: r\ntitle: T\nquery: SELECT 1 AS value\nevery: 1m\n";

    #[test]
    fn the_shipped_rules_hold() {
        let rules = load(&Config::default()).expect("shipped rules");
        assert_eq!(rules.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["findings-share"]);
    }

    #[test]
    fn wrong_rules_name_file_field_and_remedy() {
        assert!(Rule::parse("f.yaml", GOOD).is_ok());
        for (text, says) in [
            ("", "f.yaml"),
            ("id: r\n", "title"),
            (&format!("{GOOD}evry: 2m\n"), "evry"),
            (&GOOD.replace("id: r", "id: 'a b'"), "`id` is \"a b\""),
            (&GOOD.replace("1m", "10 minutes"), "10m"),
            (&GOOD.replace("1m", "0s"), "`every` is 0ms"),
            (&GOOD.replace("SELECT 1 AS value", "''"), "`query` is empty"),
            (&format!("{GOOD}severity: terrible\n"), "critical"),
            (&format!("{GOOD}labels: {{'a-b': c}}\n"), "a-b"),
            (&format!("{GOOD}labels: {{severity: c}}\n"), "leave it out"),
        ] {
            let error = Rule::parse("f.yaml", text).expect_err(text).to_string();
            assert!(error.contains(says) && error.contains("f.yaml"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_folder_replaces_shipped_rules_and_not_its_own() {
        let dir = tempfile::tempdir().expect("folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writes");
        write("a.yaml", &GOOD.replace("id: r", "id: findings-share"));
        write("notes.txt", "not a rule");
        let config = Config { dir: Some(dir.path().to_owned()), ..Config::default() };
        let rules = load(&config).expect("loads");
        assert_eq!(rules.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["T"]);
        write("b.yml", &GOOD.replace("id: r", "id: findings-share"));
        let error = load(&config).expect_err("twice").to_string();
        assert!(error.contains("a.yaml") && error.contains("b.yml"), "{error}");
    }
}
