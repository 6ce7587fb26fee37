//! Declared policies.

/// Something wrong in a policy file, at its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {path}: {message}")]
pub struct PolicyError {
    /// File the policy is in, as it was named to the loader.
    pub file: String,
    /// Its `id`, where it could be read.
    pub policy: Option<String>,
    /// Where in the document, as `sequence[1].where`.
    pub path: String,
    /// From 1; 0 when the place is not known.
    pub line: u32,
    pub column: u32,
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// Something in a policy file that is allowed and worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub file: String,
    pub policy: Option<String>,
    pub path: String,
    pub line: u32,
    pub message: String,
}

/// What `policy check` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
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

/// Reads `(name, text)` files and reports every fault and note of all of them.
#[must_use]
pub fn check_policies<N: AsRef<str>, T: AsRef<str>>(_files: &[(N, T)]) -> Report {
    Report::default()
}

/// Runs the cases beside the policies of `(name, text)` files.
///
/// # Errors
/// Every fault of the files.
pub fn run_tests<N: AsRef<str>, T: AsRef<str>>(_files: &[(N, T)]) -> Result<Vec<TestResult>, Vec<PolicyError>> {
    Ok(Vec::new())
}
