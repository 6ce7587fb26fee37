use super::{Piece, Whole, split};

/// Steps as text; what is broken as `!reason-message-start`.
#[track_caller]
fn check(body: &[u8], ndjson: bool, expected: &[&str]) {
    let pieces = split(body, ndjson, 10).expect("pieces");
    let shown: Vec<String> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Step(json) => String::from_utf8_lossy(json).into_owned(),
            Piece::Broken { rejection, payload } => {
                let (head, _) = rejection.message.split_once(':').expect("a remedy");
                format!("!{head}|{}", String::from_utf8_lossy(payload))
            }
        })
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn bodies_fall_into_steps() {
    let cases: [(&str, &[&str]); 16] = [
        (r#"{"a":1}"#, &[r#"{"a":1}"#]),
        ("\u{feff} {\"a\":1}\r\n", &[r#"{"a":1}"#]),
        ("{\n \"a\": 1\n}", &["{\n \"a\": 1\n}"]),
        ("{\"a\":1}\n\n{\"b\":\"}{\"}\r\n", &[r#"{"a":1}"#, r#"{"b":"}{"}"#]),
        ("{\"a\":1", &[r#"{"a":1"#]),
        ("[]", &[]),
        (" [ ] ", &[]),
        (r#"[ {"a":"],[\"\\"} , {"b":[1,2]} ]"#, &[r#"{"a":"],[\"\\"}"#, r#"{"b":[1,2]}"#]),
        (r#"[{"a":tru},{"b":1}]"#, &[r#"{"a":tru}"#, r#"{"b":1}"#]),
        ("[1,,2,]", &["1", "", "2", ""]),
        (r#"[{"a":1},{"b":2"#, &[r#"{"a":1}"#, r#"!the array is not closed|{"b":2"#]),
        (r#"[{"a":1}"#, &[r#"!the array is not closed|{"a":1}"#]),
        (r#"[{"a":1}] x"#, &[r#"{"a":1}"#, "!text after the end of the array|x"]),
        ("[}]", &["}"]),
        ("42", &["42"]),
        ("\"text\"", &["\"text\""]),
    ];
    for (body, expected) in cases {
        check(body.as_bytes(), false, expected);
    }
}

#[test]
fn lines_are_independent() {
    check(b"{\"a\":1\n\nnot json\n[1]\n{\"b\":2}", true, &[r#"{"a":1"#, "not json", "[1]", r#"{"b":2}"#]);
    check(b" \n", true, &[]);
    check(b"{\"a\":1}\n\xff\n", false, &[r#"{"a":1}"#, "\u{fffd}"]);
}

#[test]
fn what_is_no_json_is_refused_whole() {
    for body in ["", " \n\t", "\u{feff}"] {
        assert_eq!(split(body.as_bytes(), false, 10), Err(Whole::Empty));
    }
    for (body, begins) in [(&b"hello"[..], "`h`"), (b"\"text", "`\"`"), (b"\x00{}", "0x00"), (b"\x1f\x8b", "0x1f")] {
        match split(body, false, 10) {
            Err(Whole::NotJson(message)) => assert!(message.contains(begins), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(split(b"[1,2,3]", false, 2), Err(Whole::TooMany { max: 2 }));
    assert_eq!(split(b"1\n2\n3", true, 2), Err(Whole::TooMany { max: 2 }));
    assert!(split(b"[1,2]", false, 2).is_ok());
}

proptest::proptest! {
    #[test]
    fn any_soup_falls_into_pieces_of_itself(tokens in proptest::collection::vec("[\\[\\]{},:\"\\\\\n a1]", 0..60), ndjson: bool) {
        let body = tokens.concat();
        let mut at = 0;
        for piece in split(body.as_bytes(), ndjson, 1000).unwrap_or_default() {
            let (Piece::Step(text) | Piece::Broken { payload: text, .. }) = piece;
            let text = std::str::from_utf8(text).expect("a part of text");
            at += body[at..].find(text).expect("in order") + text.len();
        }
    }

    #[test]
    fn an_array_has_its_elements(texts in proptest::collection::vec(".{0,20}", 0..20)) {
        let elements: Vec<String> = texts.iter().map(|text| serde_json::json!({"text": text, "list": [text, {}]}).to_string()).collect();
        let array = format!("[{}]", elements.join(" ,\n"));
        let pieces = split(array.as_bytes(), false, 1000).expect("an array");
        proptest::prop_assert_eq!(pieces, elements.iter().map(|it| Piece::Step(it.as_bytes())).collect::<Vec<_>>());
    }
}
