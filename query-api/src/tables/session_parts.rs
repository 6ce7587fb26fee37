//! `session_parts`: partial aggregates of sessions, from which the view `sessions` is made.
//!
//! Parts of one session add up in any order and any grouping, so that a session costs one row a flush and not one
//! aggregation over all its steps a query.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use martingale_schemas::{Decision, Kind, Timestamp, arrow as schema};

use super::{Judged, Rows, integer};

/// Longest title, in characters.
const TITLE_CHARS_MAX: usize = 200;

/// Parts by partition and session.
#[derive(Default)]
pub(crate) struct Parts(BTreeMap<(u32, String), Part>);

#[derive(Clone)]
struct Part {
    root_session_id: String,
    parent_session_id: Option<String>,
    agent_id: String,
    agent_version: Option<String>,
    environment: Option<String>,
    principal_id: Option<String>,
    owner: Option<String>,
    title: Option<String>,
    first_offset: u64,
    last_offset: u64,
    started_at: Timestamp,
    last_at: Timestamp,
    steps: u64,
    tool_calls: u64,
    errors: u64,
    findings: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_micro_usd: u64,
    decision: Decision,
    standing: Decision,
    ended: bool,
}

impl Parts {
    pub(super) fn add(&mut self, it: &Judged<'_>) {
        let part = Part::of(it);
        let key = (it.verdict.position.partition, it.verdict.session_id.as_str().to_owned());
        self.merge_one(key, part);
    }

    /// Adds later parts of the same partitions.
    pub(crate) fn merge(&mut self, later: Self) {
        for (key, part) in later.0 {
            self.merge_one(key, part);
        }
    }

    fn merge_one(&mut self, key: (u32, String), part: Part) {
        match self.0.entry(key) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(part);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().merge(part),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn batch(&self) -> Result<Option<RecordBatch>, ArrowError> {
        let mut rows = Rows::new(&schema::SESSION_PARTS);
        for ((partition, session_id), part) in &self.0 {
            part.push(&mut rows, *partition, session_id);
        }
        rows.take()
    }
}

impl Part {
    fn of(it: &Judged<'_>) -> Self {
        let verdict = it.verdict;
        let step = it.step;
        let usage = step.and_then(|it| it.usage).unwrap_or_default();
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        Self {
            root_session_id: verdict.root_session_id.as_str().to_owned(),
            parent_session_id: owned(step.and_then(|it| it.parent_session_id.as_ref()).map(|it| it.as_str())),
            agent_id: verdict.agent_id.as_str().to_owned(),
            agent_version: owned(verdict.agent_version.as_deref()),
            environment: owned(verdict.environment.as_deref()),
            principal_id: owned(step.and_then(|it| it.principal.as_ref()).map(|it| &*it.id)),
            owner: owned(step.and_then(|it| it.owner.as_deref())),
            title: step
                .filter(|it| it.kind == Kind::UserMessage)
                .and_then(|it| it.text.as_deref())
                .map(|text| text.chars().take(TITLE_CHARS_MAX).collect()),
            first_offset: verdict.position.offset,
            last_offset: verdict.position.offset,
            started_at: verdict.time,
            last_at: verdict.time,
            steps: 1,
            tool_calls: u64::from(verdict.kind == Kind::ToolCall),
            errors: u64::from(step.is_some_and(|it| it.failed())),
            findings: verdict.findings.len() as u64,
            input_tokens: usage.input_tokens.unwrap_or(0),
            output_tokens: usage.output_tokens.unwrap_or(0),
            cost_micro_usd: usage.micro_usd(),
            decision: verdict.decision,
            standing: verdict.standing,
            ended: verdict.kind == Kind::SessionEnd,
        }
    }

    fn merge(&mut self, later: Self) {
        let fill = |mine: &mut Option<String>, theirs: Option<String>| {
            if mine.is_none() {
                *mine = theirs;
            }
        };
        // That of the first steps was not known yet, where the parent began after them.
        self.root_session_id = later.root_session_id;
        fill(&mut self.parent_session_id, later.parent_session_id);
        fill(&mut self.agent_version, later.agent_version);
        fill(&mut self.environment, later.environment);
        fill(&mut self.principal_id, later.principal_id);
        fill(&mut self.owner, later.owner);
        fill(&mut self.title, later.title);
        self.last_offset = later.last_offset;
        self.started_at = self.started_at.min(later.started_at);
        self.last_at = self.last_at.max(later.last_at);
        self.steps += later.steps;
        self.tool_calls += later.tool_calls;
        self.errors += later.errors;
        self.findings += later.findings;
        self.input_tokens = self.input_tokens.saturating_add(later.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(later.output_tokens);
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(later.cost_micro_usd);
        self.decision = self.decision.max(later.decision);
        self.standing = later.standing;
        self.ended |= later.ended;
    }

    fn push(&self, rows: &mut Rows, partition: u32, session_id: &str) {
        rows.text("session_id", Some(session_id));
        rows.text("root_session_id", Some(&self.root_session_id));
        rows.text("parent_session_id", self.parent_session_id.as_deref());
        rows.text("agent_id", Some(&self.agent_id));
        rows.text("agent_version", self.agent_version.as_deref());
        rows.text("environment", self.environment.as_deref());
        rows.text("principal_id", self.principal_id.as_deref());
        rows.text("owner", self.owner.as_deref());
        rows.text("title", self.title.as_deref());
        rows.integer("partition", Some(i64::from(partition)));
        rows.integer("first_offset", Some(integer(self.first_offset)));
        rows.integer("last_offset", Some(integer(self.last_offset)));
        rows.time("started_at", self.started_at);
        rows.time("last_at", self.last_at);
        rows.integer("steps", Some(integer(self.steps)));
        rows.integer("tool_calls", Some(integer(self.tool_calls)));
        rows.integer("errors", Some(integer(self.errors)));
        rows.integer("findings", Some(integer(self.findings)));
        rows.integer("input_tokens", Some(integer(self.input_tokens)));
        rows.integer("output_tokens", Some(integer(self.output_tokens)));
        rows.integer("cost_micro_usd", Some(integer(self.cost_micro_usd)));
        rows.integer("decision_rank", Some(self.decision as i64));
        rows.text("standing", Some(self.standing.as_str()));
        rows.boolean("ended", Some(self.ended));
        rows.end();
    }
}
