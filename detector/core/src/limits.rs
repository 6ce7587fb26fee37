//! How much the detector remembers, chosen in one place, and what happens when it is full.

/// Step ids kept for the exact duplicate check. Full: the oldest is forgotten; a duplicate older than that is caught by
/// the log's own index before it gets here. Eight bytes each.
pub(crate) const RECENT_STEPS: usize = 256;
/// Tool calls kept for loop detection. Full: the oldest is forgotten, so a loop is seen only within so many calls.
pub(crate) const CALLS: usize = 32;

/// So many of them are stored together, and fewer are written with every step ([`crate::parts`]). These four numbers are
/// part of the stored form: another one is another version of it.
pub(crate) const RECENT_STEPS_PART: usize = 32;
pub(crate) const CALLS_PART: usize = 8;

/// Limits of live state. Worst case of one session stays under [`StateLimits::session_bytes_max`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLimits {
    /// Partial matches of sequences in one session. Full: the oldest is dropped and counted.
    pub partials_max: usize,
    /// Bytes of partial matches in one session. Full: the oldest is dropped and counted.
    pub partials_bytes_max: usize,
    /// Partial matches of one policy at one part. Full: the oldest of that part is dropped, not counted: a later one
    /// reaches further into the window.
    pub partials_per_part_max: usize,
    /// Windows of thresholds in one session. Full: the one longest untouched is dropped and counted.
    pub windows_max: usize,
    /// Largest `at_least` of a counting threshold and most amounts kept of a summing one. Full: the oldest is forgotten.
    pub window_events_max: usize,
    /// Sessions kept in the tree of one run. Full: an ended one makes room, and for a halt the deepest that carries none;
    /// never the root. If there is none, a new session is counted but not kept, and a new halt becomes one of the run. A
    /// session that is not kept has its depth and ancestors in its own state, so halts above it still reach it.
    pub run_sessions_max: usize,
    /// Steps named as evidence by one finding: the first and the latest.
    pub evidence_max: usize,
    /// Bytes of `text`, and in `step.content` of input and output each, that conditions see; `step.truncated` says when there
    /// was more.
    pub condition_text_bytes_max: usize,
    /// Bytes of `input`, `output` or `attributes` that conditions see; over it the value is an empty object, and
    /// `step.truncated` says so.
    pub condition_json_bytes_max: usize,
    /// Longest text that a message quotes from one placeholder, in characters.
    pub quoted_chars_max: usize,
    /// Tool names whose classification is kept. Full: all are forgotten and classified anew.
    pub tools_max: usize,
    /// Combinations of agent, version and environment whose policies are kept ready. Full: all are forgotten.
    pub scopes_max: usize,
    /// What a session may take in memory at worst, in bytes.
    pub session_bytes_max: usize,
}

impl StateLimits {
    pub const DEFAULT: Self = Self {
        partials_max: 64,
        partials_bytes_max: 16 * 1024,
        partials_per_part_max: 4,
        windows_max: 8,
        window_events_max: 128,
        run_sessions_max: 512,
        evidence_max: 16,
        condition_text_bytes_max: 16 * 1024,
        condition_json_bytes_max: 128 * 1024,
        quoted_chars_max: 120,
        tools_max: 4096,
        scopes_max: 1024,
        session_bytes_max: 64 * 1024,
    };
}

impl Default for StateLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
