//! Other leaves in the same JSON: everything that is not replaced stays as it was written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use martingale_schemas::json_text::{string_end, unescape};

/// A leaf as it stands in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf<'l> {
    /// Name of a member.
    Name(&'l str),
    Text(&'l str),
    Number(&'l str),
    /// `true` or `false`.
    Truth(&'l str),
}

/// Where a leaf stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Under<'l> {
    /// The name that it, or the list it is in, stands under; that of the whole at the top.
    pub(super) name: &'l str,
    /// A name further up is one that all below it is hidden for.
    pub(super) masked: bool,
}

/// Gives each leaf of valid JSON, which stands under the name `top`, to `replace`, whose answers are JSON and take their places.
/// `None` where it has none.
pub(super) fn rewrite(
    json: &str,
    top: &str,
    masks: &dyn Fn(&str) -> bool,
    mut replace: impl FnMut(Leaf<'_>, Under<'_>) -> Option<String>,
) -> Option<String> {
    let bytes = json.as_bytes();
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    // A name may be as long as the rest, and have as many lists below it.
    let mut above: Vec<(Rc<Cow<'_, str>>, bool)> = Vec::new();
    // Of each object that is open, the names that were replaced, and how often there was each.
    let mut renamed: Vec<HashMap<String, usize>> = Vec::new();
    let (mut name, mut masked) = (Rc::new(Cow::Borrowed(top)), false);
    while let Some(first) = bytes.get(at) {
        let from = at;
        let answer = match first {
            b'{' | b'[' => {
                above.push((Rc::clone(&name), masked));
                renamed.push(HashMap::new());
                at += 1;
                continue;
            }
            b'}' | b']' => {
                (name, masked) = above.pop().unwrap_or_default();
                renamed.pop();
                at += 1;
                continue;
            }
            b'"' => {
                let end = string_end(json, at + 1);
                let text = unescaped(&json[at + 1..end.min(json.len())]);
                at = (end + 1).min(json.len());
                let is_name = bytes[at..].iter().find(|it| !it.is_ascii_whitespace()) == Some(&b':');
                if is_name {
                    let is_below = above.last().is_some_and(|it| it.1);
                    let answer = replace(Leaf::Name(&text), Under { name: "", masked: is_below });
                    let answer = answer.map(|it| unlike(it, renamed.last_mut()));
                    masked = is_below || masks(&text);
                    name = Rc::new(text);
                    answer
                } else {
                    replace(Leaf::Text(&text), Under { name: &name, masked })
                }
            }
            b'-' | b'0'..=b'9' | b't' | b'f' => {
                at += bytes[at..].iter().take_while(|it| it.is_ascii_alphanumeric() || b"+-.".contains(it)).count();
                let text = &json[from..at];
                let leaf = if matches!(first, b't' | b'f') { Leaf::Truth(text) } else { Leaf::Number(text) };
                replace(leaf, Under { name: &name, masked })
            }
            _ => {
                at += 1;
                continue;
            }
        };
        if let Some(answer) = answer {
            out.push_str(&json[copied..from]);
            out.push_str(&answer);
            copied = at;
        }
    }
    (copied > 0).then(|| {
        out.push_str(&json[copied..]);
        out
    })
}

/// A name that no other of its object was given: two of them may differ in what no pseudonym shows.
fn unlike(name: String, others: Option<&mut HashMap<String, usize>>) -> String {
    let Some(others) = others else { return name };
    let alike = others.entry(name.clone()).or_default();
    *alike += 1;
    if *alike == 1 { name } else { format!("{}_{alike}\"", name.trim_end_matches('"')) }
}

/// A text as JSON has it.
pub(super) fn quoted(text: &str) -> String {
    // Cannot fail: a string is written to memory.
    serde_json::to_string(text).unwrap_or_default()
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    unescape(text, &mut out);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::{Leaf, Under, quoted, rewrite};

    #[test]
    fn each_leaf_is_given_with_its_name() {
        let mut seen = Vec::new();
        let json = r#"{"a" : [1, "x\"y", {"b":true}, -2.5e3], "c":{"d":null,"e":["f",["g"]]}, "h":"i" }"#;
        let none = rewrite(json, "", &|name| name == "c", |leaf, Under { name, masked }| {
            seen.push(format!("{leaf:?} {name} {masked}"));
            None
        });
        assert_eq!(none, None);
        let expected = [
            "Name(\"a\")  false",
            "Number(\"1\") a false",
            "Text(\"x\\\"y\") a false",
            "Name(\"b\")  false",
            "Truth(\"true\") b false",
            "Number(\"-2.5e3\") a false",
            "Name(\"c\")  false",
            "Name(\"d\")  true",
            "Name(\"e\")  true",
            "Text(\"f\") e true",
            "Text(\"g\") e true",
            "Name(\"h\")  false",
            "Text(\"i\") h false",
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_replaced_stands_in_its_place() {
        for (json, expected) in [
            (r#""x""#, r#""<x>""#),
            ("12", "7"),
            (r#"{"k":1,"l":[ "a" ,"\u0041\n"]}"#, r#"{"k":7,"l":[ "<a>" ,"<A\n>"]}"#),
            (r#"{"k":null}"#, r#"{"k":null}"#),
        ] {
            let got = rewrite(json, "", &|_| false, |leaf, _| match leaf {
                Leaf::Text(text) => Some(quoted(&format!("<{text}>"))),
                Leaf::Number(_) => Some("7".to_owned()),
                Leaf::Name(_) | Leaf::Truth(_) => None,
            });
            assert_eq!(got.as_deref().unwrap_or(json), expected);
        }
    }

    proptest::proptest! {
        /// Any value: what is written again is the same value with other leaves; any text at all: an end.
        #[test]
        fn stays_valid(text in "\\PC{0,20}", more in "[\\[\\]{}:,\" \\\\a1\u{e9}-]{0,40}") {
            let json = serde_json::json!({ &text: [&text, 1, -0.5, true, null, { "x": &text }] }).to_string();
            let upper = |leaf: Leaf<'_>, _: Under<'_>| match leaf {
                Leaf::Text(it) => Some(quoted(&it.to_uppercase())),
                _ => None,
            };
            let got = rewrite(&json, "", &|_| false, upper).unwrap();
            let upper_text = text.to_uppercase();
            let expected = serde_json::json!({ &text: [&upper_text, 1, -0.5, true, null, { "x": &upper_text }] });
            proptest::prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&got).unwrap(), expected);
            rewrite(&more, "", &|_| false, upper);
        }
    }
}
