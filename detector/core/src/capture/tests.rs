use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Capture, Limits, Redact, Step, Timestamp};
use serde_json::{Value, json};

use super::{CaptureError, Redactor};
use crate::testing::BEGIN;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn redactor(mode: Capture) -> Redactor {
    Redactor::new(KEY, mode, &[], &["ssn".to_owned(), "card_*".to_owned()], Limits::DEFAULT.content_bytes_max).unwrap()
}

fn step(sent: &Value) -> String {
    let mut step = json!({ "session_id": "s", "step_id": "1", "kind": "tool_call", "agent": { "id": "a" } });
    step.as_object_mut().unwrap().extend(sent.as_object().unwrap().clone());
    step.to_string()
}

fn kept(redactor: &Redactor, sent: &Value) -> Value {
    kept_of(redactor, &step(sent))
}

/// The step that is kept of what is sent, as the log has it.
fn kept_of(redactor: &Redactor, sent: &str) -> Value {
    let step = StepV1::parse(sent.as_bytes()).unwrap();
    let step = redactor.redact(step.check(Timestamp::from_micros(BEGIN), &Limits::DEFAULT).unwrap());
    let json = step.to_json();
    let read = Step::from_log(&json).unwrap();
    assert_eq!((read.capture, read.to_json()), (step.capture, json.clone()));
    serde_json::from_slice(&json).unwrap()
}

/// Digits of pseudonyms of whole values, and how many there are.
fn hidden(kept: &str) -> usize {
    kept.matches("redacted_").count() + kept.matches("masked_").count()
}

#[test]
fn secrets_and_fields_are_hidden_wherever_they_come_back() {
    let redactor = redactor(Capture::Redacted);
    let [token, other, third] =
        ["a1B2c3D4e5F6", "z9Y8x7W6v5U4", "m1N2o3P4q5R6"].map(|it| format!("ghp_{}", it.repeat(3)));
    let hex = |text: &str| text.bytes().map(|it| format!("{it:02x}")).collect::<String>();
    let base64 = |text: &str| STANDARD.encode(text);
    for (sent, secrets) in [
        (json!({ "output": { "user": "ada", "password": "hunter22x" } }), vec!["hunter22x"]),
        (json!({ "text": "the password is sunny-day-7 today" }), vec!["sunny-day-7"]),
        (json!({ "text": format!("use {token}, please") }), vec![&token]),
        (json!({ "output": format!("{{\"key\":\"{token}\"}}") }), vec![&token]),
        (
            json!({ "output": { "ssn": "123-45-6789", "SSN": 123_456_789, "card_no": ["4111 1111", true, null] } }),
            vec!["123-45-6789", "123456789", "4111 1111", "true"],
        ),
        (json!({ "input": { "body": "his number is 123-45-6789, and aHVudGVyMjJ4" } }), vec!["123-45", "aHVudGVy"]),
        (json!({ "input": { "n": 123_456_789 }, "error": { "message": "no hunter22x" } }), vec!["123456789", "hunter"]),
        (json!({ "input": { "hunter22x": 1 }, "alternatives": [{ "action": "hunter22x" }] }), vec!["hunter22x"]),
        (json!({ "attributes": { "note": "pw hunter22x", "ssn": "x" } }), vec!["hunter22x", "\"x\""]),
        (
            json!({ "attributes": { "db.password": "rainy-night-8", "customer.ssn": "987-65-4321" } }),
            vec!["rainy-night-8"],
        ),
        (json!({ "text": "it is 987-65-4321, see evil.test/68756e746572323278/x" }), vec!["987-65", "68756e"]),
        (json!({ "error": { "type": "E hunter22x" }, "attributes": { "hunter22x": 1 } }), vec!["hunter22x"]),
        (
            json!({ "input": { "hunter22x": 1, "HUNTER22X": 2 }, "text": "{\"ssn\":\"555-11-2222\",\"cut" }),
            vec!["555-11"],
        ),
        // Behind something else in a path: in hexadecimal, in another case too, and in base64 of that. Known ones, and new ones.
        (
            json!({ "text": format!("evil.test/p/0x{} and /p/id_{}", hex("HUNTER22X"), hex(&other)) }),
            vec![&hex("HUNTER22X"), &hex(&other)],
        ),
        (
            json!({ "input": { "url": format!("https://evil.test/a/{}?x", base64(&hex("hunter22x"))) } }),
            vec![&base64(&hex("hunter22x"))],
        ),
        (
            json!({ "input": { "url": format!("https://evil.test/a/{}?x", base64(&hex(&third))) } }),
            vec![&base64(&hex(&third))],
        ),
        (json!({ "text": format!("and now {third}") }), vec![&third]),
    ] {
        let kept = kept(&redactor, &sent).to_string();
        assert!(hidden(&kept) >= secrets.len().min(2), "{kept}");
        for secret in secrets {
            assert!(!kept.contains(secret), "{secret} in {kept}");
        }
    }
    let paths =
        "a.test/0xda39a3ee5e6b4b0d3255bfef95601890afd80709/dGhlIHF1aWNrIGJyb3duIGZveA==/74686520717569636b206272";
    let plain = json!({ "text": paths, "input": { "to": "ada@example.com", "n": 1.50, "ok": true } });
    let kept = kept(&redactor, &plain);
    assert_eq!(
        (&kept["text"], &kept["input"], &kept["capture"]),
        (&plain["text"], &plain["input"], &json!("redacted"))
    );
}

#[test]
fn a_fingerprint_keeps_the_form_and_no_word() {
    let redactor = redactor(Capture::Fingerprint);
    let sent = json!({
        "text": "Please pay Lily White 1,200.50 to CH93 0076 2011 6238 5295 7 (ada.l@example.com), PLEASE!",
        "input": { "to": "Ada.L@Example.com", "iban": "CH9300762011623852957", "amount": 1200.5, "zero": 0, "ok": true },
        "attributes": { "mcp.method.name": "tools/call", "note": "about Lily" },
        "tool": "pay",
    });
    let kept = kept(&redactor, &sent);
    let all = kept.to_string().to_lowercase();
    for word in ["please", "lily", "white", "1200", "7620", "ada", "example", "about"] {
        assert!(!all.contains(word), "{word} in {kept}");
    }
    let text = kept["text"].as_str().unwrap();
    let form = |text: &str| -> String {
        text.chars()
            .map(|it| {
                if it.is_ascii_digit() {
                    '0'
                } else if it.is_lowercase() {
                    'a'
                } else if it.is_uppercase() {
                    'A'
                } else {
                    it
                }
            })
            .collect()
    };
    assert_eq!(form(text), form(sent["text"].as_str().unwrap()));
    let address = kept["input"]["to"].as_str().unwrap();
    assert!(text.contains(&address.to_lowercase()), "equal in another case: {address} in {text}");
    let iban = kept["input"]["iban"].as_str().unwrap().to_owned();
    assert!(text.replace(' ', "").contains(&iban), "equal with other separators: {iban} in {text}");
    assert_eq!((&kept["input"]["zero"], &kept["input"]["ok"], &kept["tool"]), (&json!(0), &json!(true), &json!("pay")));
    assert_eq!(kept["attributes"]["mcp.method.name"], "tools/call");
    assert_ne!(kept["attributes"]["note"], "about Lily");
    // The same text inside another coding, and the same for another door with the same key, not for another key.
    let coded = json!({ "text": "d3JpdGUgdG8gYWRhLmxAZXhhbXBsZS5jb20" });
    let coded = super::tests::kept(&redactor, &coded)["text"].as_str().unwrap().to_owned();
    assert!(coded.ends_with(&address.to_lowercase()), "{coded}");
    assert_eq!(super::tests::kept(&super::tests::redactor(Capture::Fingerprint), &sent), kept);
    let other = Redactor::new(&[b'x'; 40], Capture::Fingerprint, &[], &[], 1 << 17).unwrap();
    assert_ne!(super::tests::kept(&other, &sent)["text"], kept["text"]);
}

/// Also where a letter stands right before it.
#[test]
fn a_fingerprint_keeps_what_stands_for_a_secret() {
    let redactor = redactor(Capture::Fingerprint);
    let read = kept(&redactor, &json!({ "output": { "password": "hunter22x" } }));
    let pseudonym = read["output"]["password"].as_str().unwrap().to_owned();
    for text in ["hunter22x", "xhunter22x.", "a.test/p/0x68756e746572323278", "id_48554E544552323258", "0xhunter22x9"] {
        let kept = kept(&redactor, &json!({ "text": text }));
        assert!(kept["text"].as_str().unwrap().contains(&pseudonym), "{text}: {kept}");
    }
}

#[test]
fn the_first_agent_that_matches_decides() {
    let agents = [("hr-*".to_owned(), Capture::Fingerprint), ("*".to_owned(), Capture::Full)];
    let redactor = Redactor::new(KEY, Capture::Redacted, &agents, &[], 1 << 17).unwrap();
    for (agent, expected) in [("hr-mail", json!("fingerprint")), ("sales", Value::Null)] {
        let kept = kept(&redactor, &json!({ "agent": { "id": agent }, "text": "hello there" }));
        assert_eq!(kept["capture"], expected, "{agent}");
    }
    assert!(!redactor.keeps_rejected() && super::tests::redactor(Capture::Full).keeps_rejected());
    assert_eq!(Redactor::new(b"short", Capture::Full, &[], &[], 1).unwrap_err(), CaptureError::ShortKey(5));
    assert!(!format!("{redactor:?}").contains("0123456789"));
}

/// More secrets than are told apart, and longer ones: no word of the step is kept, nor of its run from then on.
#[test]
fn too_much_is_kept_as_a_fingerprint() {
    let lines: Vec<String> = (0..400).map(|it| format!("password: secret-{it:03}x")).collect();
    let members: Vec<Value> = (0..2_000).map(|it| json!({ "pin": format!("pin-{it:04}") })).collect();
    let short: Vec<Value> = (0..300).map(|it| json!({ "pin": it.to_string() })).collect();
    let token = format!("eyJhbGciOiJIUzI1NiJ9.eyJ{}.{}", "aB3".repeat(1_700), "cD4".repeat(20));
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", "aB3dE5fG\n".repeat(700));
    for (sent, secret) in [
        (json!({ "text": lines.join("\n") }), "secret-"),
        (json!({ "output": members }), "pin"),
        (json!({ "output": short }), "pin"),
        (json!({ "text": format!("use {token}") }), "aB3"),
        (json!({ "output": { "pem": key } }), "aB3dE5fG"),
    ] {
        let redactor = Redactor::new(KEY, Capture::Redacted, &[], &["pin".to_owned()], 4_096).unwrap();
        let hidden = kept(&redactor, &sent).to_string();
        assert!(!hidden.contains(secret) && hidden.contains("fingerprint"), "{hidden:.200}");
        // What was too much is not known: nothing of it may come back as it was.
        let again = kept(&redactor, &json!({ "text": "and now secret-000x, secret-399x" }));
        assert!(!again.to_string().contains("secret-") && again["capture"] == "fingerprint", "{again}");
    }
}

#[test]
fn what_lists_tools_keeps_its_words() {
    let redactor = redactor(Capture::Fingerprint);
    let sent = json!({
        "kind": "tool_result", "output": { "tools": [{ "name": "wipe_disk", "description": "Deletes all", "x": "password: hunter22x" }] },
        "attributes": { "mcp.method.name": "tools/list", "customer.ssn": "123" },
    });
    for method in ["tools/list", r"tools\/list", r"tools\u002flist"] {
        let kept = kept_of(&redactor, &step(&sent).replace("tools/list", method)).to_string();
        assert!(kept.contains("wipe_disk") && !kept.contains("hunter22x") && !kept.contains("\"123\""), "{kept}");
    }
}

/// Decoys beside a secret do not hide that it is sent, and what outgrows a step is one pseudonym.
#[test]
fn decoys_hide_nothing() {
    let redactor = redactor(Capture::Redacted);
    let read = kept(&redactor, &json!({ "output": { "password": "hunter22x" } }));
    let pseudonym = read["output"]["password"].as_str().unwrap().to_owned();
    let decoys: Vec<String> = (0..300).map(|it| format!("password=dummy{it:03}x")).collect();
    let annotations = json!({ "openWorldHint": true });
    let sent = kept(
        &redactor,
        &json!({
            "input": { "body": "hunter22x", "more": decoys.join(" ") }, "attributes": { "mcp.tool.annotations": annotations },
        }),
    );
    assert_eq!(
        (&sent["input"]["body"], &sent["attributes"]["mcp.tool.annotations"]),
        (&json!(pseudonym), &annotations)
    );
    let small = Redactor::new(KEY, Capture::Redacted, &[], &[], 64).unwrap();
    let kept = kept(&small, &json!({ "text": "password: a1b2c3", "output": ["password: a1b2c3", "a1b2c3", "a1b2c3"] }));
    assert!(kept["output"].as_str().is_some_and(|it| it.starts_with(super::MASKED)), "{kept}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Any content: a step that is read back, the same again, and no longer word of it.
    #[test]
    fn any_content_is_kept_without_its_words(
        text in "(\\PC|[a-z]{1,9} |password: |[0-9]{1,9}|[A-Za-z0-9+/]{16,20}|%4[0-9]|[{}\",:]){0,30}",
        name in "(\\PC|[a-z_]){0,12}",
    ) {
        for mode in [Capture::Redacted, Capture::Fingerprint] {
            let redactor = redactor(mode);
            let sent = json!({ "text": &text, "input": { &name: [&text, 17.25, -3, 1e300] }, "output": text.clone() });
            let kept = kept(&redactor, &sent);
            proptest::prop_assert_eq!(&super::tests::kept(&redactor, &sent), &kept);
            if mode == Capture::Fingerprint {
                let all = format!("{} {}", kept["text"], kept["output"]);
                for word in text.split(|it: char| !it.is_ascii_lowercase()).filter(|it| it.len() >= 7) {
                    proptest::prop_assert!(!all.contains(word), "{word} in {all}");
                }
            }
        }
    }
}
