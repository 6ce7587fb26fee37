//! One source of configuration: what it is called and what it says.

use std::ffi::OsString;
use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use martingale_schemas::rejection::shown;

use super::Error;

/// Variables of the environment that are configuration start with this; what follows is `SECTION__KEY`.
pub(crate) const PREFIX: &str = "MARTINGALE__";

/// What follows is a name of somebody else and not a key of ours. Those of librdkafka have dots, which no variable can
/// have: `KAFKA__PROPERTIES__SASL_PASSWORD`.
const FOREIGN: [(&str, &str); 2] = [("kafka.properties", "."), ("history.options", "_")];

/// Values by key, and a name for messages.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    name: String,
    values: Dict,
}

impl Layer {
    /// The values of the embedded file.
    pub(super) fn default_values() -> Result<Self, Error> {
        Self::toml("the built-in defaults", super::DEFAULT)
    }

    /// Every key of the embedded file, those that have no value unless they are set (`#key = example`) among them.
    pub(super) fn known_keys() -> Result<Self, Error> {
        let uncommented = |line: &str| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key.to_owned(),
            _ => line.to_owned(),
        };
        let text: Vec<_> = super::DEFAULT.lines().map(uncommented).collect();
        Self::toml("the built-in defaults", &text.join("\n"))
    }

    /// # Errors
    /// [`Error::Syntax`] with line and column.
    pub(crate) fn toml(name: impl Into<String>, text: &str) -> Result<Self, Error> {
        let name = name.into();
        match Toml::from_str(text) {
            Ok(values) => Ok(Self { name, values }),
            Err(error) => Err(Error::Syntax { name, message: error.to_string().trim_end().to_owned() }),
        }
    }

    /// # Errors
    /// [`Error`] when the file cannot be read or is no TOML.
    pub(crate) fn file(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::toml(path.display().to_string(), &text)
    }

    /// A layer for each variable that is configuration, so that an error can name it. A value is read as TOML, except
    /// where the defaults hold text: a token of digits is still a token.
    ///
    /// # Errors
    /// [`Error`] when the embedded defaults cannot be read, or a variable that is not read looks as if it should be.
    pub(crate) fn variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Vec<Self>, Error> {
        let known = Self::known_keys()?;
        let variables: Vec<_> = variables.into_iter().collect();
        if let Some((name, meant)) = variables.iter().find_map(|(name, _)| Some((name, misspelt(name, &known.values)?)))
        {
            return Err(Error::Invalid(format!(
                "environment variable {} is not read: did you mean {}?",
                shown(name),
                shown(&meant)
            )));
        }
        let layer = |(name, text): (String, String)| {
            let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase().replace("__", ".");
            for (section, underscore) in FOREIGN {
                if let Some(name_of) = key.strip_prefix(section).and_then(|it| it.strip_prefix('.')) {
                    let values = Dict::from([(name_of.replace('_', underscore), Value::from(text))]);
                    let values = figment::util::nest(section, values.into()).into_dict()?;
                    return Some(Self { name: format!("environment variable {name}"), values });
                }
            }
            let value = match find(&known.values, &key) {
                Some(Value::String(..)) => Value::from(text),
                // Reading cannot fail: what is no TOML is text.
                _ => text.parse::<Value>().unwrap_or_else(|_| Value::from(text)),
            };
            let values = figment::util::nest(&key, value).into_dict()?;
            Some(Self { name: format!("environment variable {name}"), values })
        };
        let mut layers: Vec<_> = variables.into_iter().filter_map(layer).collect();
        layers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(layers)
    }

    /// What every server starts from under its flags: the file, then the environment.
    ///
    /// # Errors
    /// As [`Self::file`] and [`Self::variables`].
    pub(crate) fn sources(
        file: Option<&Path>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<Self>, Error> {
        let mut layers: Vec<_> = file.map(Self::file).transpose()?.into_iter().collect();
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        layers.extend(Self::variables(variables.filter_map(text))?);
        Ok(layers)
    }

    /// One value from a flag.
    pub(crate) fn flag(flag: &'static str, key: &str, value: impl Into<Value>) -> Self {
        let values = figment::util::nest(key, value.into()).into_dict().unwrap_or_default();
        Self { name: format!("flag {flag}"), values }
    }

    /// # Errors
    /// [`Error::UnknownKey`] for the first key that `known` does not hold.
    pub(super) fn refuse_unknown(&self, known: &Self) -> Result<(), Error> {
        match unknown(&self.values, &known.values, "") {
            Some((key, suggestion)) => Err(Error::UnknownKey { key: shown(&key), name: self.name.clone(), suggestion }),
            None => Ok(()),
        }
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// What was meant by a variable of a section with one underscore too few, as `MARTINGALE_LOG__DURABILITY`. To leave it
/// unread would be to run without what somebody has set.
fn misspelt(name: &str, known: &Dict) -> Option<String> {
    let rest = name.strip_prefix(PREFIX.strip_suffix('_')?)?;
    let (section, _) = rest.split_once("__")?;
    known.contains_key(&section.to_ascii_lowercase()).then(|| format!("{PREFIX}{rest}"))
}

fn find<'d>(values: &'d Dict, key: &str) -> Option<&'d Value> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let value = values.get(first)?;
    match rest {
        Some(rest) => find(value.as_dict()?, rest),
        None => Some(value),
    }
}

/// The first key that is not known, with the nearest one that is. A table that is empty in the defaults takes any key.
fn unknown(values: &Dict, known: &Dict, prefix: &str) -> Option<(String, Option<String>)> {
    for (name, value) in values {
        let key = format!("{prefix}{name}");
        let Some(expected) = known.get(name) else {
            let nearest = known.keys().map(|it| (distance(it, name), it)).min()?;
            // Half of the letters wrong is another word.
            let close = nearest.0 * 2 <= name.chars().count().max(2);
            return Some((key, close.then(|| format!("{prefix}{}", nearest.1))));
        };
        if let (Value::Dict(_, values), Value::Dict(_, known)) = (value, expected)
            && !known.is_empty()
            && let Some(found) = unknown(values, known, &format!("{key}."))
        {
            return Some(found);
        }
    }
    None
}

/// Letters to insert, remove or replace to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What serde did not take, with its key and where that stands.
pub(super) fn value_error(error: &figment::Error) -> Error {
    let name = error.metadata.as_ref().map_or("the configuration", |it| it.name.as_ref()).to_owned();
    Error::Value { key: error.path.join("."), name, message: error.kind.to_string() }
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances_count_letters() {
        for (a, b, letters) in [("webhook", "webhok", 1), ("log", "log", 0), ("", "abc", 3), ("http", "htpt", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (letters, letters), "{a} {b}");
        }
    }
}
