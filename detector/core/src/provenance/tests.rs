//! Sessions as scripts: what was read, and what is said of the arguments of the last call.

use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Step, Timestamp};
use serde_json::json;

use super::{Bounds, Index, Integrity, ToolTraits};

fn with_step(json: &serde_json::Value, f: impl FnOnce(&Step<'_>)) {
    let mut json = json.clone();
    json["session_id"] = "s".into();
    json["agent"] = json!({ "id": "a" });
    let text = json.to_string();
    let step = StepV1::parse(text.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
    f(&step);
}

fn read(index: &mut Index, json: &serde_json::Value) {
    with_step(json, |step| {
        if let Some(integrity) = Integrity::of(step, ToolTraits::default(), true) {
            index.ingest(step, ToolTraits::default(), integrity, &Bounds::DEFAULT, &mut ());
        }
    });
}

fn user(text: &str) -> serde_json::Value {
    json!({ "kind": "user_message", "step_id": "u", "text": text })
}

fn result(output: &serde_json::Value) -> serde_json::Value {
    json!({ "kind": "tool_result", "step_id": "r", "tool": "get", "output": output })
}

/// `path role: named | step path match whole …`, one line an argument.
fn asked(index: &Index, input: &serde_json::Value) -> String {
    let mut out = Vec::new();
    with_step(&json!({ "kind": "tool_call", "step_id": "c", "tool": "send", "input": input }), |step| {
        index.probe(step, ToolTraits::default(), &mut |it| {
            let mut line = format!("{} {}:", it.path, it.role.as_str());
            if it.named {
                line += &format!(" named by {}", it.author.map_or("?", |it| it.step.as_str()));
            }
            for trace in it.traces().take(1) {
                let part = if trace.whole { "" } else { " in part" };
                line += &format!(" {} {} {}{part}", trace.source.step, index.path_of(trace), trace.matched.as_str());
            }
            out.push(line);
        });
    });
    out.join("\n")
}

/// The index as it is read back from its head and its pages.
fn read_again(index: &mut Index) -> Index {
    let mut stored = Vec::new();
    // A table that grew in between hands out the places of its void pages as well: there is nothing to keep of them.
    index.drain(&mut |at, page| stored.extend(page.map(|it| (at, postcard::to_allocvec(&it).unwrap()))));
    let mut back: Index = postcard::from_bytes(&postcard::to_allocvec(index).unwrap()).unwrap();
    assert!(back.missing().eq(back.held()));
    for (at, page) in stored.iter().rev() {
        back.attach(*at, Some(postcard::from_bytes(page).unwrap()));
    }
    assert!(back.is_whole());
    back
}

#[track_caller]
fn check(steps: &[serde_json::Value], input: &serde_json::Value, expected: &str) {
    let mut index = Index::default();
    steps.iter().for_each(|it| read(&mut index, it));
    assert_eq!(asked(&index, input), expected, "{steps:?}");
    let back = read_again(&mut index);
    assert_eq!(asked(&back, input), expected, "stored and read again");
    assert_eq!(back, index);
}

#[test]
fn a_value_of_a_record_has_its_path() {
    let records =
        json!([{ "id": 1, "recipient": "CH9300762011623852957" }, { "id": 2, "recipient": "GB29NWBK60161331926819" }]);
    for output in [records.clone(), records.to_string().into()] {
        check(
            &[result(&output)],
            &json!({ "recipient": "GB29NWBK60161331926819" }),
            "recipient destination: r [1].recipient exact",
        );
    }
}

/// What a user or a tool said, and how an argument relates to it.
#[test]
fn origins_of_values() {
    let mail = "Please mail ada@example.com about invoice INV-2044817, or call +1 (555) 123-4567.";
    for (steps, input, expected) in [
        // Named by the user.
        (vec![user(mail)], json!({ "to": "ada@example.com" }), "to destination: named by u"),
        (vec![user(mail)], json!({ "to": "Ada@Example.COM" }), "to destination: named by u"),
        (vec![user(mail)], json!({ "to": "eve@example.com" }), "to destination:"),
        (vec![user(mail)], json!({ "invoice": "inv2044817" }), "invoice name: named by u"),
        (vec![user(mail)], json!({ "phone": "15551234567" }), "phone destination: named by u"),
        // The same characters with their separators elsewhere are another address.
        (vec![user(mail)], json!({ "url": "https://adaexample.com" }), "url destination:"),
        (vec![user(mail)], json!({ "to": "a@daexample.com" }), "to destination:"),
        // Read, and how it was written.
        (vec![result(&mail.into())], json!({ "to": "ada@example.com" }), "to destination: r  exact"),
        (vec![result(&mail.into())], json!({ "to": "ADA@example.com" }), "to destination: r  case"),
        (
            vec![result(&"write to ada at example dot com now".into())],
            json!({ "to": "ada@example.com" }),
            "to destination: r  loose",
        ),
        (
            vec![result(&"CH93 0076 2011 6238 5295 7".into())],
            json!({ "iban": "CH9300762011623852957" }),
            "iban destination: r  separators",
        ),
        (
            vec![result(&mail.into())],
            json!({ "url": "https://x.test/?q=ada%40example.com" }),
            "url destination: r  url in part",
        ),
        (vec![result(&mail.into())], json!({ "body": "YWRhQGV4YW1wbGUuY29t" }), "body content: r  base64"),
        (vec![result(&mail.into())], json!({ "body": "616461406578616d706c652e636f6d" }), "body content: r  hex"),
        (
            vec![result(&"go to YWRhQGV4YW1wbGUuY29t".into())],
            json!({ "to": "ada@example.com" }),
            "to destination: r  base64",
        ),
        (vec![result(&mail.into())], json!({ "body": "WVdSaFFHVjRZVzF3YkdVdVkyOXQ" }), "body content: r  nested"),
        (
            vec![result(&"see www.evil-site-9.test/login for more".into())],
            json!({ "url": "http://www.evil-site-9.test/x" }),
            "url destination: r  exact in part",
        ),
        // Names and short ids.
        (
            vec![result(&json!({ "file": { "id_": "13", "name": "notes" } }))],
            json!({ "file_id": "13" }),
            "file_id handle: r file.id_ named",
        ),
        (vec![result(&json!({ "count": "13" }))], json!({ "file_id": "13" }), "file_id handle:"),
        (
            vec![result(&json!({ "title": "Dinner with Sarah" }))],
            json!({ "title": "dinner with sarah" }),
            "title name: r title case",
        ),
        (vec![result(&"I met Lily White there.".into())], json!({ "name": "Lily White" }), "name name: r  exact"),
        (vec![user("what about the general channel?")], json!({ "channel": "general" }), "channel name: named by u"),
        (vec![result(&"what about the general channel?".into())], json!({ "channel": "general" }), "channel name:"),
        // Lines of a text.
        (
            vec![result(&"- amount: 100.0\n  recipient: US133000000121212121212\n  id: 7".into())],
            json!({ "id": 7, "to": "US133000000121212121212" }),
            "id handle: r  named\nto destination: r  exact",
        ),
        // Common values link nothing.
        (
            vec![result(&"yes, 2024-05-15 at 10:30, well-known".into())],
            json!({ "a": "yes", "b": "2024-05-15", "c": "well-known" }),
            "a name:\nb name:\nc name:",
        ),
    ] {
        check(&steps, &input, expected);
    }
}

#[test]
fn copied_prose_is_recognised() {
    let report = "The migration of the customer database was stopped on Tuesday because the replica in Dublin fell behind by nine \
        hours, and nobody on the rota noticed that the alarm for replication lag had been silenced during the exercise of last month.";
    check(&[result(&report.into())], &json!({ "body": format!("fyi: {report}") }), "body content: r  copied in part");
}

/// Whatever the content, no state beyond its bounds.
#[test]
fn adversarial_content_stays_within_its_bounds() {
    let tokens = |n: usize| (0..n).map(|it| format!("user{it}@host{it}.test ")).collect::<String>();
    let contents = [
        "a".repeat(100_000),
        "a1".repeat(60_000),
        "\"".repeat(100_000),
        "a:\n".repeat(40_000),
        "%41".repeat(40_000),
        "\u{1D400}\u{200b}\u{301}".repeat(10_000),
        "[".repeat(100_000),
        tokens(5_000),
        (0..20_000).map(|it| format!("\n- key{it}: v{it} ")).collect(),
    ];
    let mut index = Index::default();
    for round in 0..40 {
        for content in &contents {
            read(
                &mut index,
                &json!({ "kind": "tool_result", "step_id": format!("{round:0>100}"), "tool": "t", "output": { format!("k{round}"): content } }),
            );
            read(&mut index, &json!({ "kind": "user_message", "step_id": format!("{round:0>100}"), "text": content }));
        }
    }
    assert!(index.is_lossy());
    assert!(index.bytes() <= 52 * 1024, "{}", index.bytes());
    let stored = postcard::to_allocvec(&index).unwrap().len();
    assert!(stored <= 52 * 1024, "{stored}");
}

#[test]
fn what_the_user_named_outlives_a_flood() {
    let mut index = Index::default();
    read(&mut index, &user("mail ada@example.com"));
    for round in 0..100 {
        let flood: String = (0..200).map(|it| format!("user{it}.{round}@host{it}.test ")).collect();
        read(&mut index, &result(&flood.into()));
    }
    assert_eq!(asked(&index, &json!({ "to": "ada@example.com" })), "to destination: named by u");
    assert!(index.is_lossy());
}

proptest::proptest! {
    /// Whatever is read and asked: an answer, and a state that is the same when it was stored and read again.
    #[test]
    fn any_content_is_taken(
        read_texts in proptest::collection::vec("[a-zA-Z0-9@./:%+=_\"'\\\\ \n\u{e9}\u{ff21}{}\\[\\],-]{0,200}", 1..4),
        asked_text in "[a-zA-Z0-9@./:%+=_\"'\\\\ \n\u{e9}\u{ff21}-]{0,120}",
    ) {
        let mut index = Index::default();
        for text in &read_texts {
            read(&mut index, &result(&text.as_str().into()));
            read(&mut index, &user(text));
        }
        let input = json!({ "to": asked_text, "id": read_texts[0] });
        let back = read_again(&mut index);
        proptest::prop_assert_eq!(&back, &index);
        proptest::prop_assert_eq!(asked(&back, &input), asked(&index, &input));
        let mut vault = super::Vault::new(super::sip::Key::default());
        let of = |kind| super::Secret {
            kind,
            session: "s".into(),
            step: "1".into(),
            path: Box::default(),
            authored: false,
        };
        vault.learn("password", &read_texts[0], &of);
        vault.learn("", &read_texts[0], &of);
        let mut search = vault.search();
        search.argument(&super::Leaf { path: "a", key: "a", item: 0, text: &asked_text, is_name: false });
    }
}
