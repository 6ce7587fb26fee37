//! What a caller orders, read field by field so that each mistake is named with its remedy.

use axum::http::StatusCode;
use martingale_schemas::hidden::first_hidden;
use martingale_schemas::rejection::shown;
use martingale_schemas::{ControlAction, Scope, SessionId};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::flow::{self, Ground};
use crate::baselines::named;
use crate::http::Failure;

const FIELDS: &str = "`action`, `session_id` or `root_session_id` (of `use_baselines`, `baselines_id`; of `grant` and `revoke`, `agent_id`, \
                      `tool`, `source`, `destination`, `environment`; of a grant also `until` or `for`; of `revoke`, \
                      `grant_id` in their place), and optionally `reason`, `by`, \
                      `control_id`";

/// Longest `reason` and `by`, in bytes.
const TEXT_BYTES_MAX: usize = 2_000;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) action: ControlAction,
    pub(super) scope: Scope,
    pub(super) reason: Option<String>,
    pub(super) by: Option<String>,
    pub(super) control_id: Option<String>,
    /// It lasts from when it is given: given again, it is the same order.
    pub(super) lasts: bool,
}

/// Members of a body, and the first name that comes twice: which of the two is meant nobody can say.
struct Fields {
    fields: Map<String, Value>,
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut it = Fields { fields: Map::new(), twice: None };
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if it.fields.insert(name.clone(), value).is_some() {
                        it.twice.get_or_insert(name);
                    }
                }
                Ok(it)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Request {
    pub(super) fn parse(body: &[u8], id_bytes_max: usize, ground: &Ground<'_>) -> Result<Self, Failure> {
        let Fields { mut fields, twice } = serde_json::from_slice(body).map_err(|error| {
            Failure::new(
                StatusCode::BAD_REQUEST,
                "invalid_json",
                format!("a control is a JSON object with {FIELDS}: {error}"),
            )
        })?;
        if let Some(name) = twice {
            let message = format!("`{}` comes twice: send it once", shown(&name));
            return Err(Failure::field(name, "duplicate_field", message));
        }
        let lasts = fields.contains_key("for");
        let (action, scope) = match fields.get("action").and_then(Value::as_str) {
            Some("grant") => flow::grant(&mut fields, ground.now)?,
            Some("revoke") => flow::revoke(&mut fields, ground)?,
            _ => Self::of_sessions(&mut fields, id_bytes_max)?,
        };
        fields.remove("action");
        let request = Self {
            action,
            scope,
            reason: text(&mut fields, "reason", TEXT_BYTES_MAX)?,
            by: text(&mut fields, "by", TEXT_BYTES_MAX)?,
            control_id: text(&mut fields, "control_id", id_bytes_max)?,
            lasts,
        };
        visible("control_id", request.control_id.as_deref())?;
        if matches!(request.action, ControlAction::Grant { .. }) {
            visible("by", request.by.as_deref())?;
            if request.by.as_deref().is_some_and(|it| it.trim().is_empty()) {
                let message = "`by` is blank: name who answers for the grant";
                return Err(Failure::field("by", "invalid_value", message));
            }
        }
        match fields.into_iter().next() {
            Some((name, _)) => {
                let message = format!("unknown field \"{}\": a control has {FIELDS}", shown(&name));
                Err(Failure::field(name, "unknown_field", message))
            }
            None => Ok(request),
        }
    }

    /// A halt or its end, of a session or a run, and what is for all.
    fn of_sessions(fields: &mut Map<String, Value>, id_bytes_max: usize) -> Result<(ControlAction, Scope), Failure> {
        let action = action(fields)?;
        let session = text(fields, "session_id", id_bytes_max)?;
        let root = text(fields, "root_session_id", id_bytes_max)?;
        // What was halted before such ids were refused has to be resumed by the id it has.
        if action == ControlAction::Halt {
            let ids = [("session_id", &session), ("root_session_id", &root)];
            ids.into_iter().try_for_each(|(field, id)| visible(field, id.as_deref()))?;
        }
        let is_for_all = matches!(action, ControlAction::UseBaselines { .. });
        let scope = match (session, root) {
            (None, None) if is_for_all => Scope::Tenant,
            (session, _) if is_for_all => {
                let field = if session.is_some() { "session_id" } else { "root_session_id" };
                let message = format!("`{field}` does not go with `use_baselines`, which holds for all: leave it out");
                return Err(Failure::field(field, "invalid_value", message));
            }
            (Some(id), None) => Scope::Session { session_id: SessionId::from(id) },
            (None, Some(id)) => Scope::Run { root_session_id: SessionId::from(id) },
            (None, None) => {
                let message = "`session_id` is required, or `root_session_id` for a whole run";
                return Err(Failure::field("session_id", "missing_field", message));
            }
            (Some(_), Some(_)) => {
                let message = "`session_id` and `root_session_id` exclude each other: send one of them";
                return Err(Failure::field("root_session_id", "invalid_value", message));
            }
        };
        Ok((action, scope))
    }
}

fn action(fields: &mut Map<String, Value>) -> Result<ControlAction, Failure> {
    const KNOWN: &str = "`halt`, `resume`, `grant`, `revoke` or `use_baselines`";
    match text(fields, "action", TEXT_BYTES_MAX)?.as_deref() {
        Some("halt") => Ok(ControlAction::Halt),
        Some("resume") => Ok(ControlAction::Resume),
        Some("use_baselines") => match text(fields, "baselines_id", TEXT_BYTES_MAX)? {
            Some(id) => Ok(ControlAction::UseBaselines { baselines_id: named(&id)? }),
            None => {
                let message = "`baselines_id` is required: GET /v1/baselines lists those there are";
                Err(Failure::field("baselines_id", "missing_field", message))
            }
        },
        Some(other) => {
            let message = format!("unknown action \"{}\": expected {KNOWN}", shown(other));
            Err(Failure::field("action", "invalid_value", message))
        }
        None => Err(Failure::field("action", "missing_field", format!("`action` is required: {KNOWN}"))),
    }
}

/// An id with a character that nobody sees looks like another, and the wrong session would be halted.
fn visible(field: &'static str, id: Option<&str>) -> Result<(), Failure> {
    let Some((id, hidden)) = id.and_then(|id| Some((id, first_hidden(id)?))) else { return Ok(()) };
    let (code, shown) = (u32::from(hidden), shown(id));
    let message = format!("`{field}` holds U+{code:04X}, which nobody sees: \"{shown}\"; send it without");
    Err(Failure::field(field, "invalid_value", message))
}

pub(super) fn text(
    fields: &mut Map<String, Value>,
    field: &'static str,
    bytes_max: usize,
) -> Result<Option<String>, Failure> {
    match fields.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => {
            Err(Failure::field(field, "invalid_value", format!("`{field}` is empty: send a value or leave it out")))
        }
        Some(Value::String(text)) if text.len() > bytes_max => {
            let message = format!("`{field}` has {} bytes: at most {bytes_max} are taken", text.len());
            Err(Failure::field(field, "too_long", message))
        }
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            let message = format!("`{field}` holds a control character: \"{}\"", shown(&text));
            Err(Failure::field(field, "invalid_value", message))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let message = format!("`{field}` is {}: send a string", shown(&other.to_string()));
            Err(Failure::field(field, "wrong_type", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use martingale_schemas::{ControlAction, Scope, Timestamp};

    use super::{Ground, Request};
    use crate::http::Failure;

    fn parse(body: &str) -> Result<Request, Failure> {
        let granted = |id: &str| {
            let flow = r#"{"type":"flow","agent_id":"a","tool":"send","source":"mail"}"#;
            (id == "c-1").then(|| serde_json::from_str::<Scope>(flow).expect("a scope"))
        };
        Request::parse(body.as_bytes(), 128, &Ground { now: Timestamp::from_micros(0), granted: &granted })
    }

    #[test]
    fn grants() {
        let grant = |more: &str| format!(r#"{{"action":"grant","agent_id":"a","tool":"send","by":"eve",{more}}}"#);
        let source = |more: &str| grant(&format!(r#""source":"mail",{more}"#));
        for (body, field, reason, says) in [
            (grant(r#""for":"7d""#), "source", "missing_field", "`destination`"),
            (source(r#""reason":"r""#), "until", "missing_field", "`for`"),
            (source(r#""for":"7d","until":"1970-01-02T00:00:00Z""#), "for", "invalid_value", "exclude"),
            (source(r#""for":"week""#), "for", "invalid_value", "14d"),
            (source(r#""for":"91d""#), "until", "invalid_value", "90 days"),
            (source(r#""until":"tomorrow""#), "until", "invalid_value", "2026-01-31"),
            (source(r#""until":"1969-01-01T00:00:00Z""#), "until", "invalid_value", "over"),
            (source(r#""for":"7d","session_id":"s""#), "session_id", "unknown_field", "`agent_id`"),
            (source(r#""for":7"#), "for", "wrong_type", "string"),
            (source(r#""for":"7d""#).replace(r#""by":"eve","#, ""), "by", "missing_field", "answers"),
            (source(r#""for":"7d""#).replace(r#""tool":"send","#, ""), "tool", "missing_field", "required"),
            (source(r#""for":"7d""#).replace(r#""a""#, r#""a*b""#), "agent_id", "invalid_value", "at the end"),
            (r#"{"action":"revoke","agent_id":"a"}"#.to_owned(), "tool", "missing_field", "required"),
            (r#"{"action":"revoke","grant_id":"c-2"}"#.to_owned(), "grant_id", "invalid_value", "\"c-2\""),
            (r#"{"action":"revoke","grant_id":"c-1","tool":"t"}"#.to_owned(), "tool", "unknown_field", "`tool`"),
            (r#"{"action":"halt","session_id":"s","for":"1d"}"#.to_owned(), "for", "unknown_field", "of a grant"),
        ] {
            let error = parse(&body).expect_err(&body);
            assert_eq!((error.field.as_deref(), error.reason.as_ref()), (Some(field), reason), "{body}");
            assert!(error.message.contains(says), "{body}: {}", error.message);
        }
        let day = Timestamp::from_micros(86_400_000_000);
        for (body, action, lasts, name) in [
            (source(r#""for":"1d""#), ControlAction::Grant { until: day }, true, "mail → send → *"),
            (
                source(r#""until":"1970-01-02T00:00:00Z""#),
                ControlAction::Grant { until: day },
                false,
                "mail → send → *",
            ),
            (
                grant(r#""for":"1d","destination":"x@y.zz""#),
                ControlAction::Grant { until: day },
                true,
                "* → send → x@y.zz",
            ),
            (r#"{"action":"revoke","agent_id":"a","tool":"t"}"#.to_owned(), ControlAction::Revoke, false, "* → t → *"),
            (r#"{"action":"revoke","grant_id":"c-1"}"#.to_owned(), ControlAction::Revoke, false, "mail → send → *"),
        ] {
            let request = parse(&body).unwrap_or_else(|error| panic!("{body}: {}", error.message));
            assert_eq!((request.action, request.lasts, &*request.scope.name()), (action, lasts, name), "{body}");
        }
    }

    #[test]
    fn each_mistake_names_field_value_and_remedy() {
        let long = format!(r#"{{"action":"halt","session_id":"{}"}}"#, "x".repeat(129));
        for (body, field, reason, says) in [
            ("[]", None, "invalid_json", "JSON object"),
            ("{\"action\":", None, "invalid_json", "EOF"),
            (r#"{"session_id":"s"}"#, Some("action"), "missing_field", "`halt`, `resume`"),
            (r#"{"action":"stop","session_id":"s"}"#, Some("action"), "invalid_value", "\"stop\""),
            (r#"{"action":"use_baselines"}"#, Some("baselines_id"), "missing_field", "/v1/baselines"),
            (r#"{"action":"use_baselines","baselines_id":"00AA"}"#, Some("baselines_id"), "invalid_value", "32 digits"),
            (
                r#"{"action":"use_baselines","baselines_id":"00000000000000000000000000000001","session_id":"s"}"#,
                Some("session_id"),
                "invalid_value",
                "leave it out",
            ),
            (
                r#"{"action":"halt","session_id":"s","baselines_id":"00000000000000000000000000000001"}"#,
                Some("baselines_id"),
                "unknown_field",
                "`use_baselines`",
            ),
            (r#"{"action":1,"session_id":"s"}"#, Some("action"), "wrong_type", "send a string"),
            (r#"{"action":"halt"}"#, Some("session_id"), "missing_field", "root_session_id"),
            (r#"{"action":"halt","session_id":""}"#, Some("session_id"), "invalid_value", "empty"),
            (r#"{"action":"halt","session_id":"a\u0000"}"#, Some("session_id"), "invalid_value", "control character"),
            (r#"{"action":"halt","session_id":"a\u200b"}"#, Some("session_id"), "invalid_value", "U+200B"),
            (
                r#"{"action":"resume","session_id":"a","control_id":"\u3164"}"#,
                Some("control_id"),
                "invalid_value",
                "U+3164",
            ),
            (r#"{"action":"halt","root_session_id":"\u202ea"}"#, Some("root_session_id"), "invalid_value", "U+202E"),
            (&long, Some("session_id"), "too_long", "129"),
            (
                r#"{"action":"halt","session_id":"s","root_session_id":"r"}"#,
                Some("root_session_id"),
                "invalid_value",
                "exclude",
            ),
            (r#"{"action":"halt","session_id":"s","who":"me"}"#, Some("who"), "unknown_field", "`by`"),
        ] {
            let error = parse(body).expect_err(body);
            assert_eq!((error.field.as_deref(), error.reason.as_ref()), (field, reason), "{body}");
            assert!(error.message.contains(says), "{body}: {}", error.message);
        }
        let uses = r#"{"action":"use_baselines","baselines_id":"00000000000000000000000000000001"}"#;
        assert!(parse(uses).is_ok_and(|it| it.scope == Scope::Tenant));
        assert!(parse(r#"{"action":"resume","root_session_id":"r","by":"eve","reason":null}"#).is_ok());
    }
}
