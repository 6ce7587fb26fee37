//! Names that other systems give to what a policy calls otherwise: nobody who writes one of them has to search for ours.

use crate::yaml::Misnomer;

const fn named(wrong: &'static [&'static str], right: &'static str, how: &'static str) -> Misnomer {
    Misnomer { wrong, right: Some(right), how }
}

/// A name that is right elsewhere.
const fn misplaced(wrong: &'static [&'static str], how: &'static str) -> Misnomer {
    Misnomer { wrong, right: None, how }
}

/// Of a policy.
pub(super) const POLICY: &[Misnomer] = &[
    named(
        &["absence", "absent", "missing", "without", "except", "not", "unless_step"],
        "unless",
        "a step whose absence matters is the `unless` beside a `sequence`: it cancels what has begun",
    ),
    named(
        &["count", "counts", "rate", "window", "at_least", "frequency", "aggregate", "sum"],
        "threshold",
        "many steps in a window of time are `threshold: { where: …, at_least: 10, within: 5m }`",
    ),
    named(
        &["steps", "chain", "order", "events", "pattern"],
        "sequence",
        "steps in order are `sequence: [{ as: first, where: … }, { as: second, where: … }]` and `within: 10m`",
    ),
    named(
        &["condition", "conditions", "if", "match", "where", "rule", "expression", "expr", "cel", "filter"],
        "when",
        "a condition on one step is `when: step.kind == \"tool_call\" && …`",
    ),
    named(
        &["action", "actions", "decision", "do", "effect", "outcome", "response"],
        "then",
        "what is decided is `then: { decision: deny }`",
    ),
    misplaced(&["message", "notify"], "it is a member of `then`: `then: { decision: warn, message: … }`"),
    named(
        &["limit", "limits", "quota", "cost", "tokens"],
        "budget",
        "a total of the session is `budget: { steps: 100 }`, or tool_calls, tokens, cost_usd, wall",
    ),
    named(
        &["depth", "depth_max", "fan_out", "fan_out_max", "max_depth", "spawn"],
        "delegation",
        "how deep and how wide sessions may start sessions is `delegation: { depth_max: 4, fan_out_max: 20 }`",
    ),
    named(
        &["loop", "loops", "repetition", "duplicate"],
        "repeat",
        "calls that lead nowhere are `repeat`, `cycle`, `near_duplicate` and `no_progress`, as `repeat: { halt: 6 }`",
    ),
    named(
        &["agent", "agents", "version", "environment", "environments", "tool", "applies_to", "target", "selector"],
        "scope",
        "whom it is about is `scope: { agent: \"support-*\", environment: [production] }`",
    ),
    named(&["name", "rule_id", "policy"], "id", "its name everywhere is `id`, and what a person reads is `title`"),
    named(&["level", "priority", "risk"], "severity", "how bad it is, is `severity`"),
    named(&["enabled", "enforcement", "status", "state", "dry_run"], "mode", "off, shadow or enforce is `mode`"),
    named(&["cases", "examples", "test"], "tests", "cases are `tests: [{ name: …, steps: […] }]`"),
    named(&["summary", "comment", "notes"], "description", "words for readers are `description`"),
];

/// Of a part of a sequence.
pub(super) const PART: &[Misnomer] = &[
    named(CONDITION, "where", "the condition of a part is `where`"),
    named(&["name", "id", "step", "label"], "as", "the name of a part is `as`"),
    misplaced(&["within", "unless"], "it is said once, beside `sequence` and not in a part"),
];

/// Of a threshold.
pub(super) const THRESHOLD: &[Misnomer] = &[
    named(CONDITION, "where", "which steps count is `where`"),
    named(
        &["limit", "max", "min", "over", "more_than", "gte", "value", "threshold", "number"],
        "at_least",
        "the number from which on it holds is `at_least`",
    ),
    named(
        &["window", "per", "period", "in", "during", "interval"],
        "within",
        "the length of the window is `within: 5m`",
    ),
];

/// Of a budget.
pub(super) const BUDGET: &[Misnomer] = &[
    named(&["cost", "usd", "price", "dollars"], "cost_usd", "money is `cost_usd`"),
    named(&["time", "duration", "elapsed", "wall_time", "seconds"], "wall", "time is `wall: 10m`"),
    named(&["calls", "tools"], "tool_calls", "calls of tools are `tool_calls`"),
    named(
        &[
            "predict",
            "prediction",
            "projection",
            "horizon",
            "ahead",
            "eta",
            "runway",
            "steps_left",
            "throttle",
            "slow_at",
        ],
        "forecast",
        "to slow it down so many steps before its end is `forecast: 20`",
    ),
    named(&["scope", "per"], "of", "whose total it is, is `of: session` or `of: run`"),
    misplaced(
        &["within", "window"],
        "a budget is of the whole session; an amount within a time is `threshold: { where: …, sum: …, at_least: 10, within: 1h }`",
    ),
];

/// Of a delegation.
pub(super) const DELEGATION: &[Misnomer] = &[
    named(&["max_depth", "levels"], "depth_max", "how deep is `depth_max`"),
    named(&["max_fan_out", "children", "width", "spawns"], "fan_out_max", "how wide is `fan_out_max`"),
];

/// Of what is decided.
pub(super) const THEN: &[Misnomer] = &[
    named(&["action", "do", "effect", "verdict"], "decision", "what is decided is `decision`"),
    named(&["text", "reason", "explain", "msg"], "message", "the sentence for people and agents is `message`"),
    named(&["alert", "tell", "channel", "webhook"], "notify", "whom to tell is `notify: [security]`"),
];

/// Words for decisions.
pub(super) const DECISIONS: &[(&str, &str)] = &[
    ("block", "deny"),
    ("reject", "deny"),
    ("refuse", "deny"),
    ("forbid", "deny"),
    ("stop", "halt"),
    ("kill", "halt"),
    ("terminate", "halt"),
    ("abort", "halt"),
    ("pause", "halt"),
    ("ask", "step_up"),
    ("approve", "step_up"),
    ("approval", "step_up"),
    ("confirm", "step_up"),
    ("escalate", "step_up"),
    ("alert", "warn"),
    ("log", "warn"),
    ("audit", "warn"),
    ("notify", "warn"),
    ("slow", "throttle"),
    ("rate_limit", "throttle"),
];

/// Words for modes.
pub(super) const MODES: &[(&str, &str)] = &[
    ("on", "enforce"),
    ("enabled", "enforce"),
    ("active", "enforce"),
    ("block", "enforce"),
    ("monitor", "shadow"),
    ("observe", "shadow"),
    ("audit", "shadow"),
    ("dry_run", "shadow"),
    ("warn", "shadow"),
    ("disabled", "off"),
];

const CONDITION: &[&str] = &["when", "condition", "if", "match", "expression", "expr", "cel", "filter"];
