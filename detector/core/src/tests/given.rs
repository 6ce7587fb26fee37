//! Tokens of a session that go back to the server that gave them.

use std::sync::Arc;

use martingale_schemas::{Limits, Step, Timestamp};

use crate::testing::{BEGIN, check, step_json};
use crate::{Detector, Judgement, Observed, Rules};

const CATALOGUE: &str = "tools:\n  - { name: mcp__*, open_world: true }\n  - { name: login, open_world: true }\n  - { name: orders, open_world: true }\n  - { name: mcp__box__run, open_world: true, level: 4 }\n---\nid: trifecta\nmode: off\n---\nid: privilege_rise\nmode: off\n";
const TOKEN: &str = "Zx93kQpLmN82vBtYw7RrTs41UuHgFdSaQ";
/// In base64.
const CODED: &str = "Wng5M2tRcExtTjgydkJ0WXc3UnJUczQxVXVIZ0ZkU2FR";
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkFkYSBMb3ZlbGFjZSIsImlhdCI6MTUxNjIzOTAyMiwic2NvcGUiOiJvcmRlcnM6cmVhZCBvcmRlcnM6d3JpdGUgYmFza2V0cyBhZGRyZXNzZXMifQ.q7Xl2vY0rTn4Wc9Zb1Kd8Fh3Jm6Pa5Se0Ug2Iy4Ow1E";

/// A call of `tool`, after `mcp__shop__login` or another one has given what it has.
fn judged(read: &str, call: &str, expected: &str) {
    let fill = |it: &str| it.replace("TOKEN", TOKEN).replace("CODED", CODED).replace("JWT", JWT);
    check(CATALOGUE, &fill(&format!("{read}\ntool_call {call}   // {expected}\n")));
}

#[test]
fn a_token_goes_back_to_the_server_that_gave_it() {
    let read = r#"tool_result mcp__shop__login {"session_token":"TOKEN","user":"ada"}"#;
    for (read, call) in [
        (read, r#"mcp__shop__orders {"session_token":"TOKEN"}"#),
        (read, r#"mcp__shop__login {"session_token":"TOKEN","page":2}"#),
        // However the name is written.
        (read, r#"mcp__shop__orders {"sessionToken":"TOKEN","ids":[1,2]}"#),
        (
            r#"tool_result mcp__shop__login {"content":[{"type":"text","text":"{\"access_token\":\"TOKEN\"}"}]}"#,
            r#"mcp__shop__orders {"access_token":"TOKEN"}"#,
        ),
        // Longer than what the index tells apart, and in a form that is known by itself.
        (r#"tool_result mcp__shop__login {"token":"JWT"}"#, r#"mcp__shop__orders {"token":"JWT"}"#),
        // To the very tool, if that is of no server.
        (r#"tool_result login {"access_token":"TOKEN"}"#, r#"login {"access_token":"TOKEN"}"#),
        // What the user named is no other place.
        (
            "user_message \"list the orders of ada@corp.test\"\ntool_result mcp__shop__login {\"token\":\"JWT\"}",
            r#"mcp__shop__orders {"token":"JWT","email":"ada@corp.test"}"#,
        ),
        // Any other server may show it too.
        (
            "tool_result mcp__shop__login {\"token\":\"JWT\"}\ntool_result mcp__log__read {\"token\":\"JWT\"}",
            r#"mcp__shop__orders {"token":"JWT"}"#,
        ),
    ] {
        judged(read, call, "allow shadow:secret_given");
    }
}

/// Of a long name only the beginning is kept.
#[test]
fn servers_of_long_names_are_not_known() {
    let long = "a".repeat(48);
    for (gave, takes) in [
        (format!("mcp__shop__{long}__login"), "mcp__shop__orders".to_owned()),
        (format!("mcp__shop__{long}"), format!("mcp__shop__{long}b")),
    ] {
        let read = format!("tool_result {gave} {{\"session_token\":\"TOKEN\"}}");
        judged(&read, &format!("{takes} {{\"session_token\":\"TOKEN\"}}"), "halt secret_leak");
    }
}

#[test]
fn what_a_server_shows_of_a_file_is_not_its_own() {
    let read = r#"tool_result mcp__gh__get {"content":"{\"api_key\":\"TOKEN\",\"token\":\"JWT\"}"}"#;
    for call in [
        r#"mcp__gh__gist {"body":"{\"api_key\":\"TOKEN\"}","public":true}"#,
        r#"mcp__gh__gist {"files":{"a":{"api_key":"TOKEN"}},"public":true}"#,
        r#"mcp__gh__gist {"api_key":"TOKEN"}"#,
        r#"mcp__gh__gist {"body":"{\"token\":\"JWT\"}"}"#,
        r#"mcp__gh__gist {"files":[{"token":"JWT"}]}"#,
    ] {
        judged(read, call, "halt secret_leak");
    }
}

#[test]
fn a_token_that_goes_anywhere_else_halts() {
    let read = r#"tool_result mcp__shop__login {"session_token":"TOKEN","user":"ada","note":"JWT"}"#;
    let nested = format!("mcp__shop__orders {{\"a\":[{}]}}", vec![r#"{"session_token":"TOKEN"}"#; 300].join(","));
    let hidden = nested.replace("]}", r#"],"api_key":"TOKEN"}"#);
    for (read, call) in [
        // Another server, one whose name begins alike, and one of which the name may be read in two ways.
        (read, r#"mcp__mail__send {"session_token":"TOKEN"}"#),
        (read, r#"mcp__shop2__orders {"session_token":"TOKEN"}"#),
        (read, r#"mcp__shop__x__orders {"session_token":"TOKEN"}"#),
        (read, r#"mcp__shop___orders {"session_token":"TOKEN"}"#),
        (read, r#"orders {"session_token":"TOKEN"}"#),
        // Tools of no server have none in common.
        (r#"tool_result login {"access_token":"TOKEN"}"#, r#"orders {"access_token":"TOKEN"}"#),
        // Another name, or one that is no credential's.
        (read, r#"mcp__shop__orders {"access_token":"TOKEN"}"#),
        (read, r#"mcp__shop__orders {"note":"JWT"}"#),
        (r#"tool_result mcp__shop__login "session_token: TOKEN""#, r#"mcp__shop__orders {"session_token":"TOKEN"}"#),
        // In part, encoded, in other case, and beside where it may go.
        (read, r#"mcp__shop__orders {"session_token":"Zx93kQpLmN82vBtYw7RrTs41"}"#),
        (read, r#"mcp__shop__orders {"session_token":"CODED"}"#),
        (read, r#"mcp__shop__orders {"session_token":"zx93kqplmn82vbtyw7rrts41uuhgfdsaq"}"#),
        (read, r#"mcp__shop__orders {"session_token":"TOKEN","note":"for TOKEN"}"#),
        (read, r#"mcp__shop__orders {"session_token":"TOKEN","TOKEN":1}"#),
        (read, &hidden),
        (read, &nested),
        // Another secret under its name.
        (
            &format!(
                "{read}\ntool_result mcp__bank__login {{\"session_token\":\"kq93ZxPLmN82vBtYw7RrTs41UuHgFdQsa\"}}"
            ),
            r#"mcp__shop__orders {"session_token":"kq93ZxPLmN82vBtYw7RrTs41UuHgFdQsa"}"#,
        ),
        // Beside an address, what may be one, and code.
        (read, r#"mcp__shop__orders {"session_token":"TOKEN","callback":"https://evil.test/x"}"#),
        (read, r#"mcp__shop__orders {"session_token":"TOKEN","note":"evil.test"}"#),
        (read, r#"mcp__shop__orders {"session_token":"TOKEN","channel":"C-77"}"#),
        (read, r#"mcp__shop__orders {"session_token":"TOKEN","code":"curl -d $T $U"}"#),
        (
            r#"tool_result mcp__box__run {"session_token":"TOKEN"}"#,
            r#"mcp__box__run {"session_token":"TOKEN","command":"curl -d $T $U"}"#,
        ),
    ] {
        judged(read, call, "halt secret_leak");
    }
    // Nor from one session of a run to another.
    check(
        CATALOGUE,
        &format!(
            r#"
            a: tool_result mcp__shop__login {{"session_token":"{TOKEN}"}}
            b: tool_call mcp__shop__orders {{"session_token":"{TOKEN}"}}   // halt secret_leak
            "#
        ),
    );
}

/// A token that is given anew shares windows with the one before it.
#[test]
fn tokens_of_one_server_that_are_alike_go_back_both() {
    let other = JWT.replace("q7Xl2vY0rTn4", "Rk3Tn8Vb5Wq1");
    check(
        CATALOGUE,
        &format!(
            r#"
            tool_result mcp__shop__login {{"token":"{JWT}"}}
            tool_result mcp__shop__login {{"token":"{other}"}}
            tool_call mcp__shop__orders {{"token":"{other}"}}   // allow shadow:secret_given
            tool_call mcp__shop__orders {{"token":"{JWT}"}}     // allow shadow:secret_given
            "#
        ),
    );
}

/// Of a step that is forgotten nobody knows which tool it was.
#[test]
fn a_token_of_a_step_that_is_forgotten_is_asked_about() {
    for (steps, expected) in [(80, "allow shadow:secret_given"), (100, "step_up secret_leak")] {
        let others: String = (0..steps).map(|it| format!("tool_result mcp__shop__get {{\"no\":{it}}}\n")).collect();
        let read = format!("tool_result mcp__shop__login {{\"session_token\":\"TOKEN\"}}\n{others}");
        judged(&read, r#"mcp__shop__orders {"session_token":"TOKEN"}"#, expected);
        judged(&read, r#"mcp__shop__orders {"note":"TOKEN"}"#, "halt secret_leak");
        // Beside another that nothing excuses, whichever is first.
        let two = format!("{read}tool_result mcp__shop__get {{\"note\":\"JWT\"}}\n");
        judged(&two, r#"mcp__shop__orders {"session_token":"TOKEN","text":"JWT"}"#, "halt secret_leak");
    }
}

#[test]
fn who_gave_it_is_said() {
    for (tool, given) in [("login", "tool"), ("mcp__shop__login", "server")] {
        let lines = [
            "user_message \"list my orders\"".to_owned(),
            format!("tool_result {tool} {{\"session_token\":\"{TOKEN}\"}}"),
            format!("tool_call {tool} {{\"session_token\":\"{TOKEN}\"}}"),
        ];
        let it = &last(&lines).findings[0];
        let expected = format!(
            "A value under a telling name from step 2, at `session_token` would leave through {tool}, which reaches out as the operator says: argument `session_token`, as it was read. Against it: the same {given} gave it under that name in step 2.",
        );
        assert_eq!((it.rule.as_ref(), &it.message), ("secret_given", &expected));
        let steps: Vec<&str> = it.evidence.iter().map(|it| it.as_str()).collect();
        assert_eq!(steps, ["2", "3"]);
    }
}

fn last(lines: &[String]) -> Judgement {
    let mut detector = Detector::new(Arc::new(Rules::load(&[("p.yaml", CATALOGUE)]).unwrap().with_hijack(None)));
    let (mut now, mut judged) = (BEGIN, None);
    for (number, line) in lines.iter().enumerate() {
        let json = step_json(line, number, &mut now);
        let step = Step::from_topic(json.as_bytes(), Timestamp::from_micros(now), &Limits::DEFAULT).unwrap();
        judged = Some(detector.observe(&step));
    }
    let Some(Observed::Judged(it)) = judged else { panic!("nothing was judged") };
    it
}
