//! What is taken and what is refused, as tables.

use expect_test::{Expect, expect};

use crate::wire::StepV1;
use crate::{Limits, Reason, Rejection, Step, Timestamp};

/// 2026-01-01T00:00:00Z.
pub(crate) const ARRIVAL: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// A step of three required fields with `more` put into it.
pub(crate) fn step_with(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"session_id":"s","kind":"tool_call","agent":{{"id":"a"}}{comma}{more}}}"#)
}

fn read<'a>(json: &'a [u8], limits: &Limits) -> Result<Step<'a>, Rejection> {
    StepV1::parse(json)?.check(ARRIVAL, limits)
}

fn accept(json: &str) -> String {
    let step = read(json.as_bytes(), &Limits::DEFAULT).unwrap_or_else(|rejection| panic!("{json}: {rejection:?}"));
    let logged = step.to_json();
    let again = Step::from_log(&logged).unwrap_or_else(|rejection| panic!("{json}: {rejection:?}")).to_json();
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&logged), "read back from the log");
    String::from_utf8(logged).expect("JSON is UTF-8")
}

/// The step without the derived id, the time of arrival and what every row here has.
fn check(more: &str, expected: &Expect) {
    let json = step_with(&format!(
        r#""step_id":"1","time":"2025-06-01T00:00:00Z"{}{more}"#,
        if more.is_empty() { "" } else { "," }
    ));
    let logged = accept(&json);
    let prefix = r#"{"session_id":"s","#;
    let common = r#""step_id":"1","time":"2025-06-01T00:00:00Z","kind":"tool_call","agent":{"id":"a"}"#;
    let shown = logged.replacen(common, "…", 1).replacen(prefix, "{", 1);
    expected.assert_eq(&shown);
}

#[test]
fn accepted() {
    for (more, expected) in [
        ("", expect!["{…}"]),
        (
            r#""seq":12.0"#,
            expect![[
                r#"{"step_id":"1","seq":12,"time":"2025-06-01T00:00:00Z","kind":"tool_call","agent":{"id":"a"}}"#
            ]],
        ),
        (
            r#""seq":18446744073709551615"#,
            expect![[
                r#"{"step_id":"1","seq":18446744073709551615,"time":"2025-06-01T00:00:00Z","kind":"tool_call","agent":{"id":"a"}}"#
            ]],
        ),
        // Null is the same as absent, at every level, except in an attribute.
        (r#""text":null,"seq":null,"input":null,"usage":null,"causes":null,"attributes":null"#, expect!["{…}"]),
        (r#""usage":{"cost_usd":null,"input_tokens":3}"#, expect![[r#"{…,"usage":{"input_tokens":3}}"#]]),
        (r#""attributes":{"a":null}"#, expect![[r#"{…,"attributes":{"a":null}}"#]]),
        // An empty name is no name.
        (r#""tool":"","environment":"""#, expect!["{…}"]),
        // One cause stands for a list of one.
        (r#""causes":"0""#, expect![[r#"{…,"causes":["0"]}"#]]),
        (r#""causes":["0","1"]"#, expect![[r#"{…,"causes":["0","1"]}"#]]),
        // Any JSON, as it stands.
        (
            r#""input":{"b": [1,2.50],"a":"\u00e9"},"output":0"#,
            expect![[r#"{…,"input":{"b": [1,2.50],"a":"\u00e9"},"output":0}"#]],
        ),
        (r#""text":"a \"quoted\" \u0000 line\n""#, expect![[r#"{…,"text":"a \"quoted\" \u0000 line\n"}"#]]),
        // The same name in two objects, a value that is a name elsewhere, and a name within a name.
        (
            r#""input":{"a":{"a":"a"},"b":[{"a":"b:"},{"a":"\":"}],"\"a":":"}"#,
            expect![[r#"{…,"input":{"a":{"a":"a"},"b":[{"a":"b:"},{"a":"\":"}],"\"a":":"}}"#]],
        ),
        // Valid JSON, and no value of every language: half of a surrogate pair, a number beyond all doubles.
        (
            r#""input":{"x":"\ud800","y":1e999},"output":"\udc00""#,
            expect![[r#"{…,"input":{"x":"\ud800","y":1e999},"output":"\udc00"}"#]],
        ),
        // Unknown fields are kept, nested ones under a dotted name.
        (
            r#""color":{"r":1},"usage":{"reasoning_tokens":7}"#,
            expect![[r#"{…,"usage":{},"attributes":{"color":{"r":1},"usage.reasoning_tokens":7}}"#]],
        ),
        (
            r#""principal":{"id":"u","team":"x"},"error":{"type":"T","code":4},"alternatives":[{"action":"wait","cost":2}]"#,
            expect![[
                r#"{…,"principal":{"id":"u"},"alternatives":[{"action":"wait"}],"error":{"type":"T"},"attributes":{"alternatives.0.cost":2,"principal.team":"x","error.code":4}}"#
            ]],
        ),
        (r#""parent_session_id":"p""#, expect![[r#"{"root_session_id":"p","parent_session_id":"p",…}"#]]),
        (r#""root_session_id":"r""#, expect![[r#"{"root_session_id":"r",…}"#]]),
        (r#""root_session_id":"s""#, expect!["{…}"]),
        (
            r#""principal":{"id":"u","type":"user","on_behalf_of":"boss","scopes":["a","b"]},"owner":"team""#,
            expect![[
                r#"{…,"principal":{"id":"u","type":"user","on_behalf_of":"boss","scopes":["a","b"]},"owner":"team"}"#
            ]],
        ),
        (
            r#""usage":{"cost_usd":0.25},"duration_ms":12"#,
            expect![[r#"{…,"usage":{"cost_usd":0.25},"duration_ms":12.0}"#]],
        ),
        // The largest amounts.
        (
            r#""usage":{"input_tokens":1000000000000,"cost_usd":1e9},"duration_ms":1e14"#,
            expect![[
                r#"{…,"usage":{"input_tokens":1000000000000,"cost_usd":1000000000.0},"duration_ms":100000000000000.0}"#
            ]],
        ),
        // A producer that cut its own content.
        (r#""text":"be","text_truncated_from":50000"#, expect![[r#"{…,"text":"be","text_truncated_from":50000}"#]]),
        (
            r#""output_truncated_from":9,"output_fingerprint":"000102030405060708090A0b0c0d0e0f""#,
            expect![[r#"{…,"output_truncated_from":9,"output_fingerprint":"000102030405060708090a0b0c0d0e0f"}"#]],
        ),
        (
            r#""time_clamped_from":"9999-01-01T00:00:00Z""#,
            expect![[
                r#"{"step_id":"1","time":"2025-06-01T00:00:00Z","time_clamped_from":"9999-01-01T00:00:00Z","kind":"tool_call","agent":{"id":"a"}}"#
            ]],
        ),
    ] {
        check(more, &expected);
    }
}

#[test]
fn times() {
    let at = |time: &str| {
        let json = step_with(&format!(r#""step_id":"1","time":"{time}""#));
        accept(&json)
            .split_once(r#","kind""#)
            .map(|(head, _)| head.replace(r#"{"session_id":"s","step_id":"1","#, ""))
            .expect("kind")
    };
    for (sent, expected) in [
        ("2025-01-01T00:30:00.000Z", r#""time":"2025-01-01T00:30:00Z""#),
        ("2025-01-01T02:30:00.123456789+02:00", r#""time":"2025-01-01T00:30:00.123456Z""#),
        // Absurd: long past, and more than five minutes ahead of its arrival.
        ("1970-01-01T00:00:00Z", r#""time":"2026-01-01T00:00:00Z","time_clamped_from":"1970-01-01T00:00:00Z""#),
        ("2026-01-01T00:05:00Z", r#""time":"2026-01-01T00:05:00Z""#),
        ("2026-01-01T00:05:00.1Z", r#""time":"2026-01-01T00:00:00Z","time_clamped_from":"2026-01-01T00:05:00.1Z""#),
        ("9999-12-30T00:00:00Z", r#""time":"2026-01-01T00:00:00Z","time_clamped_from":"9999-12-30T00:00:00Z""#),
        ("9999-12-31T23:59:59Z", r#""time":"2026-01-01T00:00:00Z","time_clamped_from":"9999-12-31T23:59:59Z""#),
    ] {
        assert_eq!(at(sent), expected, "{sent}");
    }
    let json = step_with("");
    assert_eq!(
        read(json.as_bytes(), &Limits::DEFAULT).expect("a step").time,
        ARRIVAL,
        "no time is the time of arrival"
    );
}

/// A row of [`REJECTED`]: what is put into a step, why it is refused, at which field, and whether the JSON Schema can
/// say so too.
pub(crate) struct Bad {
    pub(crate) more: &'static str,
    pub(crate) reason: Reason,
    pub(crate) field: &'static str,
    pub(crate) in_schema: bool,
}

const fn bad(more: &'static str, reason: Reason, field: &'static str) -> Bad {
    Bad { more, reason, field, in_schema: true }
}

/// Refused for what a JSON Schema cannot express.
const fn beyond(more: &'static str, reason: Reason, field: &'static str) -> Bad {
    Bad { more, reason, field, in_schema: false }
}

pub(crate) const REJECTED: &[Bad] = &[
    bad(r#""step_id":7"#, Reason::WrongType, "step_id"),
    bad(r#""step_id":true"#, Reason::WrongType, "step_id"),
    bad(r#""step_id":["1"]"#, Reason::WrongType, "step_id"),
    bad(r#""step_id":"""#, Reason::InvalidId, "step_id"),
    bad(r#""step_id":"a\u0000b""#, Reason::InvalidId, "step_id"),
    beyond("\"step_id\":\"a\u{202e}b\"", Reason::InvalidId, "step_id"),
    beyond(r#""step_id":"a\u200bb""#, Reason::InvalidId, "step_id"),
    beyond(r#""step_id":"a\u3164""#, Reason::InvalidId, "step_id"),
    beyond(r#""principal":{"id":"a\u2800"}"#, Reason::InvalidId, "principal.id"),
    beyond(r#""step_id":"\udb40\udc41""#, Reason::InvalidId, "step_id"),
    beyond(r#""parent_session_id":"p\u2066""#, Reason::InvalidId, "parent_session_id"),
    beyond(r#""root_session_id":"\ufeffr""#, Reason::InvalidId, "root_session_id"),
    beyond(r#""causes":["c","c\u200d"]"#, Reason::InvalidId, "causes"),
    bad(r#""step_id":"a\nb""#, Reason::InvalidId, "step_id"),
    bad(r#""root_session_id":"""#, Reason::InvalidId, "root_session_id"),
    bad(r#""root_session_id":{}"#, Reason::WrongType, "root_session_id"),
    bad(r#""parent_session_id":1"#, Reason::WrongType, "parent_session_id"),
    beyond(r#""parent_session_id":"s""#, Reason::InvalidValue, "parent_session_id"),
    bad(r#""seq":"1""#, Reason::WrongType, "seq"),
    bad(r#""seq":-1"#, Reason::InvalidValue, "seq"),
    bad(r#""seq":1.5"#, Reason::InvalidValue, "seq"),
    beyond(r#""seq":18446744073709551616"#, Reason::InvalidValue, "seq"),
    bad(r#""time":1735689600"#, Reason::WrongType, "time"),
    beyond(r#""time":"yesterday""#, Reason::InvalidTime, "time"),
    beyond(r#""time":"2025-01-01T00:00:00""#, Reason::InvalidTime, "time"),
    beyond(r#""time":"2025-02-30T00:00:00Z""#, Reason::InvalidTime, "time"),
    beyond(r#""time":"99999-01-01T00:00:00Z""#, Reason::InvalidTime, "time"),
    bad(r#""environment":1"#, Reason::WrongType, "environment"),
    beyond(r#""environment":"a\u0000b""#, Reason::InvalidValue, "environment"),
    bad(r#""principal":"u""#, Reason::WrongType, "principal"),
    bad(r#""principal":{}"#, Reason::MissingField, "principal.id"),
    bad(r#""principal":{"id":1}"#, Reason::WrongType, "principal.id"),
    bad(r#""principal":{"id":"u","type":1}"#, Reason::WrongType, "principal.type"),
    bad(r#""principal":{"id":"u","scopes":[1]}"#, Reason::WrongType, "principal.scopes"),
    beyond(r#""principal":{"id":"u","id":"v"}"#, Reason::DuplicateField, "principal.id"),
    bad(r#""owner":[]"#, Reason::WrongType, "owner"),
    bad(r#""causes":{"0":1}"#, Reason::WrongType, "causes"),
    bad(r#""causes":[1]"#, Reason::WrongType, "causes"),
    bad(r#""causes":[""]"#, Reason::InvalidId, "causes"),
    bad(r#""tool":{"name":"x"}"#, Reason::WrongType, "tool"),
    bad(r#""model":4"#, Reason::WrongType, "model"),
    bad(r#""text":["a"]"#, Reason::WrongType, "text"),
    bad(r#""text_truncated_from":"9""#, Reason::WrongType, "text_truncated_from"),
    bad(r#""text_truncated_from":9,"text_fingerprint":"+123""#, Reason::InvalidValue, "text_fingerprint"),
    beyond(r#""text_fingerprint":"000102030405060708090a0b0c0d0e0f""#, Reason::InvalidValue, "text_fingerprint"),
    bad(r#""alternatives":{}"#, Reason::WrongType, "alternatives"),
    bad(r#""alternatives":["wait"]"#, Reason::WrongType, "alternatives"),
    bad(r#""alternatives":[{"score":1}]"#, Reason::MissingField, "alternatives.action"),
    bad(r#""alternatives":[{"action":"x","score":"high"}]"#, Reason::WrongType, "alternatives.score"),
    bad(r#""status":"failed""#, Reason::InvalidValue, "status"),
    bad(r#""status":1"#, Reason::WrongType, "status"),
    bad(r#""error":"boom""#, Reason::WrongType, "error"),
    bad(r#""error":{"message":{}}"#, Reason::WrongType, "error.message"),
    bad(r#""usage":[]"#, Reason::WrongType, "usage"),
    bad(r#""usage":{"input_tokens":-1}"#, Reason::InvalidValue, "usage.input_tokens"),
    bad(r#""usage":{"output_tokens":"9"}"#, Reason::WrongType, "usage.output_tokens"),
    bad(r#""usage":{"cost_usd":-0.01}"#, Reason::InvalidValue, "usage.cost_usd"),
    bad(r#""usage":{"cost_usd":"NaN"}"#, Reason::WrongType, "usage.cost_usd"),
    beyond(r#""usage":{"cost_usd":1e999}"#, Reason::InvalidValue, "usage.cost_usd"),
    bad(r#""usage":{"cost_usd":1e308}"#, Reason::InvalidValue, "usage.cost_usd"),
    bad(r#""usage":{"cost_usd":1000000000.01}"#, Reason::InvalidValue, "usage.cost_usd"),
    bad(r#""usage":{"input_tokens":1000000000001}"#, Reason::InvalidValue, "usage.input_tokens"),
    bad(r#""usage":{"output_tokens":18446744073709551615}"#, Reason::InvalidValue, "usage.output_tokens"),
    bad(r#""usage":{"cached_tokens":1e13}"#, Reason::InvalidValue, "usage.cached_tokens"),
    bad(r#""duration_ms":1e300"#, Reason::InvalidValue, "duration_ms"),
    bad(r#""duration_ms":-1"#, Reason::InvalidValue, "duration_ms"),
    bad(r#""duration_ms":"3s""#, Reason::WrongType, "duration_ms"),
    bad(r#""attributes":[1]"#, Reason::WrongType, "attributes"),
    beyond(r#""attributes":{"a":1,"a":2}"#, Reason::DuplicateField, "attributes"),
    beyond(r#""a":1,"attributes":{"a":2}"#, Reason::DuplicateField, "attributes"),
    beyond(r#""a":1,"a":1"#, Reason::DuplicateField, "attributes"),
    beyond(r#""input":{"command":"rm -rf /","command":"ls"}"#, Reason::DuplicateField, "input"),
    beyond(r#""input":{"command":"rm -rf /","comm\u0061nd" : "ls"}"#, Reason::DuplicateField, "input"),
    beyond(r#""input":{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"a":0}"#, Reason::DuplicateField, "input"),
    beyond(r#""input":[{"a":{"b":1,"b":1}}]"#, Reason::DuplicateField, "input"),
    beyond(r#""output":{"a":{"b":1},"b":[1],"a":{}}"#, Reason::DuplicateField, "output"),
    beyond(r#""attributes":{"a":{"b":1,"b":2}}"#, Reason::DuplicateField, "attributes"),
    beyond(r#""unknown":{"b":1,"b":2}"#, Reason::DuplicateField, "attributes"),
    beyond(r#""usage":{"unknown":[{"b":1,"b":2}]}"#, Reason::DuplicateField, "attributes"),
    beyond(r#""session_id":"other""#, Reason::DuplicateField, "session_id"),
    beyond(r#""input":1,"input":1"#, Reason::DuplicateField, "input"),
    beyond(r#""text":null,"text":"a""#, Reason::DuplicateField, "text"),
];

fn refuse(json: &[u8], limits: &Limits, reason: Reason, field: Option<&str>) -> String {
    let shown = String::from_utf8_lossy(&json[..json.len().min(200)]).into_owned();
    let rejection = match read(json, limits) {
        Ok(step) => panic!("{shown} was taken as {step:?}"),
        Err(rejection) => rejection,
    };
    assert_eq!((rejection.reason, rejection.field.as_deref()), (reason, field), "{shown}: {rejection}");
    assert!(rejection.message.len() < 600, "{shown}: a message of {} bytes", rejection.message.len());
    assert!(!rejection.message.contains(char::is_control), "{shown}: {:?}", rejection.message);
    rejection.message
}

#[test]
fn rejected_fields() {
    for row in REJECTED {
        refuse(step_with(row.more).as_bytes(), &Limits::DEFAULT, row.reason, Some(row.field));
    }
}

#[test]
fn rejected_steps() {
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_input = step_with(&format!(r#""input":{nested}"#));
    let deep_unknown = step_with(&format!(r#""x":{nested}"#));
    let deep_typed = step_with(&format!(r#""tool":{nested}"#));
    let many = step_with(&format!(r#""causes":[{}"0"]"#, r#""0","#.repeat(256)));
    let attributes = (0..257).map(|n| format!(r#""k{n}":1"#)).collect::<Vec<_>>().join(",");
    let attributes = step_with(&attributes);
    let heavy = step_with(&format!(r#""x":"{}""#, "a".repeat(200_000)));
    let long_id = step_with(&format!(r#""step_id":"{}""#, "é".repeat(65)));
    let long_tool = step_with(&format!(r#""tool":"{}""#, "t".repeat(257)));
    let huge_id = step_with(&format!(r#""step_id":"{}""#, "x".repeat(3_000_000)));
    let huge_wrong = step_with(&format!(r#""seq":"{}""#, "x".repeat(3_000_000)));
    let huge = step_with(&format!(r#""text":"{}""#, "x".repeat(4 * 1024 * 1024)));
    let cases: &[(&[u8], Reason, Option<&str>)] = &[
        (b"", Reason::InvalidJson, None),
        (b" ", Reason::InvalidJson, None),
        (b"{", Reason::InvalidJson, None),
        (b"null", Reason::NotAnObject, None),
        (b"[]", Reason::NotAnObject, None),
        (b"\"step\"", Reason::NotAnObject, None),
        (b"1", Reason::NotAnObject, None),
        (b"{} {}", Reason::InvalidJson, None),
        (b"{\"session_id\":\"s\",}", Reason::InvalidJson, None),
        (b"{'session_id':'s'}", Reason::InvalidJson, None),
        (b"{\"session_id\":\"s", Reason::InvalidJson, Some("session_id")),
        (b"{\"session_id\":\"\\ud800\"}", Reason::InvalidJson, Some("session_id")),
        (b"{\"session_id\":\"a\nb\"}", Reason::InvalidJson, Some("session_id")),
        (b"{\"agent\":{\"id\":\"a}", Reason::InvalidJson, Some("agent.id")),
        (b"{\"agent\":{\"id\":nul}}", Reason::InvalidJson, Some("agent.id")),
        (b"{\"input\":{\"a\":}}", Reason::InvalidJson, Some("input")),
        (b"{\"duration_ms\":NaN}", Reason::InvalidJson, Some("duration_ms")),
        (b"{\"x\":01}", Reason::InvalidJson, None),
        (b"{\"session_id\":\"\xff\"}", Reason::InvalidUtf8, None),
        (b"\xef\xbb\xbf{}", Reason::InvalidJson, None),
        (b"\0", Reason::InvalidJson, None),
        (b"{}", Reason::MissingField, Some("session_id")),
        (b"{\"session_id\":null}", Reason::MissingField, Some("session_id")),
        (b"{\"session_id\":\"s\"}", Reason::MissingField, Some("kind")),
        (b"{\"session_id\":\"s\",\"kind\":\"plan\"}", Reason::MissingField, Some("agent.id")),
        (b"{\"session_id\":\"s\",\"kind\":\"plan\",\"agent\":{}}", Reason::MissingField, Some("agent.id")),
        (b"{\"session_id\":\"s\",\"kind\":\"plan\",\"agent\":\"a\"}", Reason::WrongType, Some("agent")),
        (b"{\"session_id\":\"s\",\"kind\":\"plan\",\"agent\":{\"id\":\"\"}}", Reason::InvalidId, Some("agent.id")),
        (b"{\"session_id\":\"s\",\"kind\":\"Tool_Call\",\"agent\":{\"id\":\"a\"}}", Reason::UnknownKind, Some("kind")),
        (b"{\"session_id\":\"\",\"kind\":\"plan\",\"agent\":{\"id\":\"a\"}}", Reason::InvalidId, Some("session_id")),
        (deep_input.as_bytes(), Reason::TooDeep, Some("input")),
        (deep_unknown.as_bytes(), Reason::TooLong, Some("attributes")),
        (deep_typed.as_bytes(), Reason::WrongType, Some("tool")),
        (many.as_bytes(), Reason::TooMany, Some("causes")),
        (attributes.as_bytes(), Reason::TooMany, Some("attributes")),
        (heavy.as_bytes(), Reason::TooLong, Some("attributes")),
        (long_id.as_bytes(), Reason::TooLong, Some("step_id")),
        (long_tool.as_bytes(), Reason::TooLong, Some("tool")),
        (huge_id.as_bytes(), Reason::TooLong, Some("step_id")),
        (huge_wrong.as_bytes(), Reason::WrongType, Some("seq")),
        (huge.as_bytes(), Reason::TooLarge, None),
    ];
    let roomy = Limits { content_bytes_max: 1_000_000, ..Limits::DEFAULT };
    for (json, reason, field) in cases {
        let limits = if *reason == Reason::TooDeep { &roomy } else { &Limits::DEFAULT };
        refuse(json, limits, *reason, *field);
    }
    refuse(deep_unknown.as_bytes(), &roomy, Reason::TooDeep, Some("attributes"));
    // What would be cut off counts: nesting and names are those of the whole.
    refuse(deep_input.as_bytes(), &Limits::DEFAULT, Reason::TooDeep, Some("input"));
    let late = step_with(&format!(r#""output":{{"a":1,"pad":"{}","a":2}}"#, "x".repeat(200_000)));
    refuse(late.as_bytes(), &Limits::DEFAULT, Reason::DuplicateField, Some("output"));
}

#[test]
fn messages_name_the_field_the_value_and_the_remedy() {
    let message = |json: &str, reason, field| refuse(json.as_bytes(), &Limits::DEFAULT, reason, field);
    expect![[r#"unknown kind "shout": expected one of session_start, system_prompt, user_message, plan, reasoning, model_call, assistant_message, tool_call, tool_result, retrieval, memory_read, memory_write, state, handoff, spawn, approval, guardrail, error, final_message, session_end"#]]
        .assert_eq(&message(r#"{"session_id":"s","kind":"shout"}"#, Reason::UnknownKind, Some("kind")));
    expect!["field `usage.input_tokens`: invalid value: integer `-1`, expected a whole number that is not negative at line 1 column 27"]
        .assert_eq(&message(r#"{"usage":{"input_tokens":-1}}"#, Reason::InvalidValue, Some("usage.input_tokens")));
    expect!["field `session_id`: no valid JSON: EOF while parsing a string at line 1 column 16, counted from where the step begins: correct it there, or write steps with a JSON encoder"].assert_eq(&message(
        r#"{"session_id":"s"#,
        Reason::InvalidJson,
        Some("session_id"),
    ));
    expect!["no valid JSON: trailing comma at line 1 column 19, counted from where the step begins: correct it there, or write steps with a JSON encoder"]
        .assert_eq(&message(r#"{"session_id":"s",}"#, Reason::InvalidJson, None));
    expect!["`usage.cost_usd` is 1e308: at most 1e9 is taken, send what this one step used"].assert_eq(&message(
        &step_with(r#""usage":{"cost_usd":1e308}"#),
        Reason::InvalidValue,
        Some("usage.cost_usd"),
    ));
    expect![[r#"`input` holds "command" twice in one object: send each name once"#]].assert_eq(&message(
        &step_with(r#""input":{"command":"rm -rf /","command":"ls"}"#),
        Reason::DuplicateField,
        Some("input"),
    ));
    expect!["field `seq`: the field comes twice: send it once at line 1 column 14"].assert_eq(&message(
        r#"{"seq":1,"seq":2}"#,
        Reason::DuplicateField,
        Some("seq"),
    ));
    expect![[r#""soon" is no RFC 3339 time (failed to parse four digit integer as year: invalid digit, expected 0-9 but got s): send e.g. 2026-01-31T12:00:00.5Z"#]]
        .assert_eq(&message(&step_with(r#""time":"soon""#), Reason::InvalidTime, Some("time")));
}

#[test]
fn content_over_the_limit_is_cut_and_says_so() {
    let limits = Limits { content_bytes_max: 10, ..Limits::DEFAULT };
    let cut = |more: &str| {
        let json = step_with(&format!(r#""step_id":"1",{more}"#));
        let step = StepV1::parse(json.as_bytes()).and_then(|it| it.check(ARRIVAL, &limits)).expect(more).to_json();
        let again = Step::from_log(&step).expect("from the log").to_json();
        assert_eq!(again, step, "a cut is read back as it is");
        String::from_utf8(step).expect("UTF-8").split_once(r#""agent":{"id":"a"},"#).expect("agent").1.to_owned()
    };
    let print = |whole: &str| crate::ids::derive("", &[whole.as_bytes()]);

    // The fingerprint is of the whole: two contents that differ after the cut differ.
    let of = |text: &str| cut(&format!(r#""text":"{text}""#));
    assert_eq!(of("0123456789"), r#""text":"0123456789"}"#);
    let whole = "0123456789a";
    assert_eq!(
        of(whole),
        format!(r#""text":"0123456789","text_truncated_from":11,"text_fingerprint":"{}"}}"#, print(whole))
    );
    assert_ne!(of("0123456789a"), of("0123456789b"));
    // Never in the middle of a character.
    assert!(of("aaaaaaaaaé").starts_with(r#""text":"aaaaaaaaa","text_truncated_from":11"#));
    // Half a document is no document: its beginning becomes a string.
    let json = r#"{"a":"0123456789"}"#;
    assert_eq!(
        cut(&format!(r#""input":{json}"#)),
        format!(r#""input":"{{\"a\":","input_truncated_from":18,"input_fingerprint":"{}"}}"#, print(json))
    );
    assert!(cut(&format!(r#""output":{json}"#)).starts_with(r#""output":"{\"a\":","output_truncated_from":18"#));
    // What the producer says it cut stands, unless it claims less than it sent.
    let declared = |n: u32| cut(&format!(r#""text":"{whole}","text_truncated_from":{n}"#));
    assert_eq!(declared(500), r#""text":"0123456789","text_truncated_from":500}"#);
    assert!(declared(5).contains(r#""text_truncated_from":11,"text_fingerprint":"#));
    // No field of its own: the text says it.
    assert_eq!(
        cut(&format!(r#""error":{{"message":"{whole}"}},"alternatives":[{{"action":"{whole}"}}]"#)),
        r#""alternatives":[{"action":"0123456789… [cut from 11 bytes]"}],"error":{"message":"0123456789… [cut from 11 bytes]"}}"#
    );
}

#[test]
fn a_step_without_an_id_takes_one_from_its_bytes() {
    let id = |json: &str, arrival: Timestamp| {
        let step = StepV1::parse(json.as_bytes()).and_then(|it| it.check(arrival, &Limits::DEFAULT)).expect(json);
        step.step_id.as_str().to_owned()
    };
    let one = step_with(r#""text":"hello""#);
    assert_eq!(id(&one, ARRIVAL), id(&one, ARRIVAL.plus_micros(5_000_000)), "a resend is the same step");
    let others = [
        step_with(r#""text":"hello!""#),
        step_with(r#""text":"hello","seq":1"#),
        one.replace(r#""session_id":"s""#, r#""session_id":"t""#),
    ];
    for other in others {
        assert_ne!(id(&one, ARRIVAL), id(&other, ARRIVAL), "{other}");
    }
    assert_eq!(id(&step_with(r#""step_id":"mine""#), ARRIVAL), "mine");
}

#[test]
fn the_log_holds_complete_steps_only() {
    for (json, field) in [
        (r#"{"session_id":"s","kind":"plan","agent":{"id":"a"},"time":"2025-01-01T00:00:00Z"}"#, "step_id"),
        (r#"{"session_id":"s","kind":"plan","agent":{"id":"a"},"step_id":"1"}"#, "time"),
    ] {
        let rejection = Step::from_log(json.as_bytes()).expect_err(json);
        assert_eq!((rejection.reason, rejection.field.as_deref()), (Reason::MissingField, Some(field)), "{json}");
    }
}

#[test]
fn the_log_is_read_whatever_the_limits_were() {
    let limits =
        Limits { id_bytes_max: 1_000, name_bytes_max: 1_000, list_max: 1_000, depth_max: 100, ..Limits::DEFAULT };
    let json = step_with(&format!(
        r#""step_id":"{}","tool":"{}","causes":[{}"0"],"input":{}{}"#,
        "i".repeat(900),
        "t".repeat(900),
        r#""0","#.repeat(500),
        "[".repeat(90),
        "]".repeat(90)
    ));
    let logged = read(json.as_bytes(), &limits).expect("within its limits").to_json();
    assert_eq!(Step::from_log(&logged).expect("as it was taken").to_json(), logged);
}

/// They were taken once. In names they still are: a flag or a family is a name's right.
#[test]
fn hidden_characters_are_read_from_an_older_log_and_taken_in_names() {
    let json = step_with(
        "\"step_id\":\"a\u{202e}b\",\"time\":\"2025-06-01T00:00:00Z\",\"causes\":[\"c\u{200b}\"],\"tool\":\"\u{1f469}\u{200d}\u{1f680}\"",
    );
    let step = Step::from_log(json.as_bytes()).expect("as it was taken");
    assert_eq!((step.step_id.as_str(), step.causes[0].as_str()), ("a\u{202e}b", "c\u{200b}"));
    let message = refuse(json.as_bytes(), &Limits::DEFAULT, Reason::InvalidId, Some("step_id"));
    assert!(message.contains("U+202E") && message.contains("send it without"), "{message}");
    assert!(!message.contains(crate::hidden::is_hidden), "{message:?}");
    accept(&step_with("\"step_id\":\"Zürich-東京-é\",\"tool\":\"\u{1f469}\u{200d}\u{1f680}\""));
}

/// Amounts had no largest once: what the log holds of them counts as the largest.
#[test]
fn absurd_amounts_of_an_older_log_are_read_as_the_largest() {
    let json = step_with(
        r#""step_id":"1","time":"2025-06-01T00:00:00Z","usage":{"output_tokens":18446744073709551615,"cost_usd":1e308},"duration_ms":1e300"#,
    );
    let step = Step::from_log(json.as_bytes()).expect("as it was taken");
    let usage = step.usage.expect("usage");
    assert_eq!((usage.output_tokens, usage.cost_usd), (Some(1_000_000_000_000), Some(1e9)));
    assert_eq!((usage.micro_usd(), step.duration_ms), (1_000_000_000_000_000, Some(1e14)));
}

/// A name that comes twice was taken once: a log that holds it is read as ever.
#[test]
fn a_log_with_a_name_that_comes_twice_is_read() {
    let json = step_with(
        r#""step_id":"1","time":"2025-06-01T00:00:00Z","input":{"a":1,"a":2},"attributes":{"x":{"b":1,"b":2}}"#,
    );
    let step = Step::from_log(json.as_bytes()).expect("as it was taken");
    assert_eq!(step.input.map(|it| it.get().to_owned()).as_deref(), Some(r#"{"a":1,"a":2}"#));
}
