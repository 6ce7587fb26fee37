//! The names a condition may use, and their types.

use martingale_schemas::Kind;

/// Type of an expression, as far as it is known without running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    Bool,
    Int,
    Double,
    Text,
    /// Text out of a closed set.
    Word(&'static [&'static str]),
    Texts,
    /// Whatever the agent sent.
    Any,
}

impl Ty {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Double => "a number with a fraction",
            Self::Text | Self::Word(_) => "text",
            Self::Texts => "a list of text",
            Self::Any => "any value",
        }
    }

    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// Whether values of the two types can ever be equal.
    pub(super) fn comparable(self, other: Self) -> bool {
        let text = |it| matches!(it, Self::Text | Self::Word(_));
        self == Self::Any
            || other == Self::Any
            || self == other
            || (self.is_number() && other.is_number())
            || (text(self) && text(other))
    }
}

const KINDS: [&str; 20] = {
    let mut out = [""; 20];
    let mut at = 0;
    while at < out.len() {
        out[at] = Kind::ALL[at].as_str();
        at += 1;
    }
    out
};

const STATUS: &[&str] = &["ok", "error"];
const SOURCE: &[&str] = &["annotated", "heuristic"];

type Fields = &'static [(&'static str, Ty)];

const STEP: Fields = &[
    ("id", Ty::Text),
    ("kind", Ty::Word(&KINDS)),
    ("tool", Ty::Text),
    ("seq", Ty::Int),
    ("status", Ty::Word(STATUS)),
    ("text", Ty::Text),
    ("input", Ty::Any),
    ("output", Ty::Any),
    ("content", Ty::Text),
    ("attributes", Ty::Any),
    ("agent", Ty::Text),
    ("agent_name", Ty::Text),
    ("version", Ty::Text),
    ("model", Ty::Text),
    ("environment", Ty::Text),
    ("principal", Ty::Text),
    ("on_behalf_of", Ty::Text),
    ("scopes", Ty::Texts),
    ("owner", Ty::Text),
    ("error", Ty::Text),
    ("error_type", Ty::Text),
    ("duration_ms", Ty::Double),
    ("usage.input_tokens", Ty::Int),
    ("usage.output_tokens", Ty::Int),
    ("usage.cached_tokens", Ty::Int),
    ("usage.cost_usd", Ty::Double),
    ("truncated", Ty::Bool),
];

const TOOL: Fields = &[
    ("name", Ty::Text),
    ("read_only", Ty::Bool),
    ("destructive", Ty::Bool),
    ("idempotent", Ty::Bool),
    ("open_world", Ty::Bool),
    ("labels", Ty::Texts),
    ("level", Ty::Int),
    ("source", Ty::Word(SOURCE)),
];

const LABELS: Fields = &[("secret", Ty::Bool)];

const SESSION: Fields = &[
    ("steps", Ty::Int),
    ("tool_calls", Ty::Int),
    ("errors", Ty::Int),
    ("tokens", Ty::Int),
    ("cost_usd", Ty::Double),
    ("depth", Ty::Int),
    ("elapsed_s", Ty::Double),
];

const RUN: Fields = &[("sessions", Ty::Int), ("depth", Ty::Int)];

/// Of a part that matched before, only what names it is kept, not its content.
const EARLIER: Fields = &[
    ("id", Ty::Text),
    ("kind", Ty::Word(&KINDS)),
    ("tool", Ty::Text),
    ("seq", Ty::Int),
    ("status", Ty::Word(STATUS)),
    ("agent", Ty::Text),
    ("agent_name", Ty::Text),
    ("principal", Ty::Text),
];

pub(super) const OBJECTS: [&str; 5] = ["step", "tool", "labels", "session", "run"];

/// Whether a part of a sequence must not be called so.
pub(crate) fn reserved(name: &str) -> bool {
    OBJECTS.contains(&name) || matches!(name, "value" | "limit" | "true" | "false" | "null" | "in" | "flows" | "has")
}

/// Fields of an object by its name.
pub(super) fn fields(object: &str, current: Option<&str>, earlier: &[String]) -> Option<Fields> {
    match object {
        "step" => Some(STEP),
        "tool" => Some(TOOL),
        "labels" => Some(LABELS),
        "session" => Some(SESSION),
        "run" => Some(RUN),
        part if current == Some(part) => Some(STEP),
        part if earlier.iter().any(|it| it == part) => Some(EARLIER),
        _ => None,
    }
}

/// Functions of the language and the type of what they give.
pub(super) const FUNCTIONS: &[(&str, Ty)] = &[
    ("contains", Ty::Bool),
    ("startsWith", Ty::Bool),
    ("endsWith", Ty::Bool),
    ("matches", Ty::Bool),
    ("flows", Ty::Bool),
    ("size", Ty::Int),
    ("int", Ty::Int),
    ("uint", Ty::Any),
    ("double", Ty::Double),
    ("string", Ty::Text),
    ("bool", Ty::Bool),
    ("min", Ty::Any),
    ("max", Ty::Any),
];

/// Names that the parser turns into loops; known, so that a misspelt one is recognised.
pub(super) const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];
