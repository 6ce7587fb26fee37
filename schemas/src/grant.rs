//! What a grant is for: a flow from a source through a tool to a destination.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hidden::first_hidden;
use crate::rejection::shown;
use crate::{AgentId, Timestamp};

/// No grant lasts longer.
pub const GRANT_DAYS_MAX: i64 = 90;

/// Grants that are kept at once: a new one is then refused, and the answer says so.
pub const GRANTS_MAX: usize = 1024;

const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;
const NAME_BYTES_MAX: usize = 128;
/// Sessions remember the beginning of a tool's name with what it gave: shorter names are told apart.
const SOURCE_BYTES_MAX: usize = 47;
const DESTINATION_BYTES_MAX: usize = 192;

/// Calls of a tool by an agent, as far as they are told apart by where their values come from and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// The agent; one `*` at the end stands for any rest.
    pub agent_id: AgentId<'static>,
    /// Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The tool whose results brought the values of the call that neither user nor operator wrote. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The tool that is called.
    pub tool: String,
    /// The one address that the call goes to. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// A flow, wherever its texts are kept.
#[derive(Clone, Copy, Debug)]
pub struct FlowRef<'f> {
    pub agent_id: &'f str,
    pub environment: Option<&'f str>,
    pub source: Option<&'f str>,
    pub tool: &'f str,
    pub destination: Option<&'f str>,
}

impl FlowRef<'_> {
    /// Whether both name the same: of a destination the same address.
    #[must_use]
    pub fn is_same(self, other: FlowRef<'_>) -> bool {
        let same = match (self.destination, other.destination) {
            (Some(one), Some(other)) => is_same_address(one, other),
            (one, other) => one == other,
        };
        same && self.agent_id == other.agent_id
            && self.environment == other.environment
            && self.source == other.source
            && self.tool == other.tool
    }

    /// Whether all that is of this flow is of `of` as well: what is revoked takes back every grant within it.
    #[must_use]
    pub fn is_within(self, of: FlowRef<'_>) -> bool {
        let all = |of: Option<&str>, own: Option<&str>| of.is_none() || of == own;
        let is_there = of.destination.is_none_or(|of| self.destination.is_some_and(|own| is_same_address(own, of)));
        names_agent(of.agent_id, self.agent_id)
            && self.tool == of.tool
            && all(of.environment, self.environment)
            && all(of.source, self.source)
            && is_there
    }
}

/// Whether an agent's name is one of these: `*` at the end stands for any rest.
#[must_use]
pub fn names_agent(names: &str, agent: &str) -> bool {
    names == agent || names.strip_suffix('*').is_some_and(|it| agent.starts_with(it))
}

/// Whether two texts name the same place for every system that may read them: of an account or a phone number the
/// separators do not count; of an address all does, and case in what may be a path; of what is not ASCII every byte.
#[must_use]
pub fn is_same_address(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim(), other.trim());
    if !one.is_ascii() || !other.is_ascii() || one.contains('/') || other.contains('/') {
        return one == other;
    }
    if [one, other].iter().any(|it| it.contains(['@', '.'])) {
        return one.eq_ignore_ascii_case(other);
    }
    let plain = |it: &str| -> Vec<u8> {
        it.bytes().filter(u8::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase()).collect()
    };
    let (one, other) = (plain(one), plain(other));
    !one.is_empty() && one == other
}

/// Why a flow cannot be granted or revoked, and which field says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFault {
    pub field: &'static str,
    pub message: String,
}

impl Flow {
    #[must_use]
    pub fn borrowed(&self) -> FlowRef<'_> {
        FlowRef {
            agent_id: self.agent_id.as_str(),
            environment: self.environment.as_deref(),
            source: self.source.as_deref(),
            tool: &self.tool,
            destination: self.destination.as_deref(),
        }
    }

    /// The first fault of its fields.
    #[must_use]
    pub fn fault(&self) -> Option<FlowFault> {
        let fields = [
            ("agent_id", Some(self.agent_id.as_str()), NAME_BYTES_MAX),
            ("environment", self.environment.as_deref(), NAME_BYTES_MAX),
            ("source", self.source.as_deref(), SOURCE_BYTES_MAX),
            ("tool", Some(self.tool.as_str()), NAME_BYTES_MAX),
            ("destination", self.destination.as_deref(), DESTINATION_BYTES_MAX),
        ];
        let faulty = |(field, text, max): (&'static str, Option<&str>, usize)| {
            let text = text?;
            let message = if text.trim().is_empty() {
                format!("`{field}` is empty: send a value or leave it out")
            } else if text.len() > max {
                format!("`{field}` has {} bytes: a grant can name at most {max}", text.len())
            } else if text.chars().any(char::is_control) {
                format!("`{field}` holds a control character: \"{}\"", shown(text))
            } else if let Some(hidden) = first_hidden(text) {
                let code = u32::from(hidden);
                format!("`{field}` holds U+{code:04X}, which nobody sees: \"{}\"; send it without", shown(text))
            } else {
                return None;
            };
            Some(FlowFault { field, message })
        };
        let agent = self.agent_id.as_str();
        let star = || {
            let inner = agent.strip_suffix('*').unwrap_or(agent).contains('*');
            let message = "`agent_id` has a `*` before its end: it may stand at the end alone".to_owned();
            inner.then_some(FlowFault { field: "agent_id", message })
        };
        fields.into_iter().find_map(faulty).or_else(star)
    }

    /// Why it cannot be granted from `now` until `until`. A grant of all that a tool does is none.
    #[must_use]
    pub fn ungrantable(&self, now: Timestamp, until: Timestamp) -> Option<FlowFault> {
        let says = |field, message: &str| Some(FlowFault { field, message: message.to_owned() });
        if self.source.is_none() && self.destination.is_none() {
            return says(
                "source",
                "`source` or `destination` is required: a grant names where values come from, or where they go",
            );
        }
        // It would cover a tool of that very name, which is not what its author thinks of.
        if self.tool.contains('*') {
            return says("tool", "`tool` has a `*`, and a grant is for one tool: name it, and grant each by itself");
        }
        if self.source.as_ref().is_some_and(|it| it.contains('*')) {
            return says("source", "`source` has a `*`: name the tool that values come from, or leave it out for any");
        }
        if self.destination.as_ref().is_some_and(|it| it.contains('*')) {
            return says(
                "destination",
                "`destination` has a `*`, and a grant is for one address: name it, and grant each by itself",
            );
        }
        if until <= now {
            return says("until", "`until` is over already: send a later time");
        }
        if until.micros_since(now) > GRANT_DAYS_MAX * DAY_MICROS {
            return says(
                "until",
                &format!("a grant lasts {GRANT_DAYS_MAX} days at most: send an earlier time, and grant it again then"),
            );
        }
        self.fault()
    }
}

/// As `get_page → send → ada@example.com`, with `*` for any.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any =
            |it: &Option<String>| it.as_deref().map_or_else(|| "*".to_owned(), |it| it.escape_debug().to_string());
        write!(f, "{} → {} → {}", any(&self.source), self.tool.escape_debug(), any(&self.destination))
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY_MICROS, Flow, is_same_address};
    use crate::{AgentId, Timestamp};

    fn flow(agent: &str, source: &str, tool: &str, destination: &str) -> Flow {
        let some = |it: &str| Some(it.to_owned()).filter(|it| it != "-");
        Flow {
            agent_id: AgentId::from(agent.to_owned()),
            environment: None,
            source: some(source),
            tool: tool.to_owned(),
            destination: some(destination),
        }
    }

    #[test]
    fn each_fault_names_its_field() {
        let long = "x".repeat(48);
        for (agent, source, tool, destination, days, field, says) in [
            ("a", "page", "send", "-", 90, "", ""),
            ("a*", "-", "send", "ada@example.com", 1, "", ""),
            ("*", "page", "send", "-", 1, "", ""),
            ("a", "-", "send", "-", 1, "source", "required"),
            ("a", "page", "send", "-", 0, "until", "over"),
            ("a", "page", "send", "-", 91, "until", "90 days"),
            ("a*b", "page", "send", "-", 1, "agent_id", "at the end"),
            ("a**", "page", "send", "-", 1, "agent_id", "at the end"),
            ("a", "page", " ", "-", 1, "tool", "empty"),
            ("a", "page", "*", "-", 1, "tool", "one tool"),
            ("a", "get_*", "send", "-", 1, "source", "leave it out"),
            ("a", "-", "send", "*@example.com", 1, "destination", "one address"),
            ("a", "page", "send", "*", 1, "destination", "one address"),
            ("a", &long, "send", "-", 1, "source", "47"),
            ("a", "-", "send", "ada\u{200b}@example.com", 1, "destination", "U+200B"),
            ("a", "-", "send", "a\nb", 1, "destination", "control character"),
        ] {
            let until = Timestamp::from_micros(days * DAY_MICROS);
            let fault = flow(agent, source, tool, destination).ungrantable(Timestamp::from_micros(0), until);
            assert_eq!(fault.as_ref().map_or("", |it| it.field), field, "{agent} {source} {tool} {destination}");
            assert!(fault.is_none_or(|it| it.message.contains(says)), "{field}: {says}");
        }
    }

    #[test]
    fn shown_in_a_line() {
        assert_eq!(flow("a", "page", "send", "-").to_string(), "page → send → *");
        assert_eq!(flow("a", "-", "send", "ada@example.com").to_string(), "* → send → ada@example.com");
    }

    #[test]
    fn the_same_address_for_every_reader() {
        for (one, other, expected) in [
            ("ada@example.com", " Ada@Example.COM ", true),
            ("ada@example.com", "ada@example.com, eve@evil.test", false),
            ("ada@example.com", "Ada <ada@example.com>", false),
            ("ada@example.com", "ada@exampl e.com", false),
            ("ada@example.com", "ada@ex\u{e1}mple.com", false),
            ("ada@example.com", "\u{430}da@example.com", false),
            ("ada@example.com", "\u{ff41}da@example.com", false),
            ("ada@example.com", "adaexamplecom", false),
            ("ada@exämple.com", "ada@exämple.com", true),
            ("https://example.com/Ab", "https://example.com/Ab", true),
            ("https://example.com/Ab", "https://example.com/aB", false),
            ("https://example.com", "http://example.com", false),
            ("CH93 0076 2011 6238", "ch9300762011-6238", true),
            ("CH93 0076 2011 6238", "CH93 0076 2011 6239", false),
            ("-", "+", false),
        ] {
            assert_eq!(is_same_address(one, other), expected, "{one} {other}");
            assert_eq!(is_same_address(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn what_is_granted_twice_and_what_a_revocation_takes_back() {
        for (own, other, same, within) in [
            (("a", "page", "send", "-"), ("a", "page", "send", "-"), true, true),
            (("a", "page", "send", "-"), ("a*", "page", "send", "-"), false, true),
            (("a*", "page", "send", "-"), ("a", "page", "send", "-"), false, false),
            (("a", "page", "send", "-"), ("a", "-", "send", "-"), false, true),
            (("a", "-", "send", "x@y.zz"), ("a", "page", "send", "-"), false, false),
            (("a", "page", "send", "x@y.zz"), ("a", "page", "send", " X@Y.ZZ"), true, true),
            (("a", "page", "send", "-"), ("a", "page", "send", "x@y.zz"), false, false),
            (("a", "page", "send", "-"), ("a", "page", "sent", "-"), false, false),
            (("b", "page", "send", "-"), ("a*", "-", "send", "-"), false, false),
        ] {
            let [own, other] = [own, other].map(|(agent, source, tool, to)| flow(agent, source, tool, to));
            let (own, other) = (own.borrowed(), other.borrowed());
            assert_eq!((own.is_same(other), own.is_within(other)), (same, within), "{own:?} {other:?}");
        }
    }
}
