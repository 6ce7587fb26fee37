//! What loading, checking and testing policies tells a person.

use std::fmt;

/// Something wrong in a policy file, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// File the policy is in, as it was named to the loader.
    pub file: String,
    /// Its `id`, where it could be read.
    pub policy: Option<String>,
    /// Where in the document, as `sequence[1].where`; empty for the document itself.
    pub path: String,
    /// From 1; 0 when the place is not known.
    pub line: u32,
    pub column: u32,
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if let Some(policy) = &self.policy {
            write!(f, "policy {policy}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyError {}

/// Something in a policy file that is allowed and worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub file: String,
    pub policy: Option<String>,
    pub path: String,
    /// From 1.
    pub line: u32,
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(policy) = &self.policy {
            write!(f, "policy {policy}: ")?;
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What `policy check` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Policies without a fault, documents that set a rule of the core among them.
    pub policies: usize,
    pub errors: Vec<PolicyError>,
    pub notes: Vec<Note>,
}

/// Outcome of one case of `tests:` beside a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    pub file: String,
    pub policy: String,
    pub name: String,
    /// Each step that was not decided as expected, in words; none when it passed.
    pub failures: Vec<String>,
}

impl TestResult {
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}
