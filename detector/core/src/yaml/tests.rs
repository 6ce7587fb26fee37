use super::{Faults, documents};

fn faults_of(text: &str) -> usize {
    let mut errors = Vec::new();
    let mut faults = Faults::new("f.yaml", text, &mut errors);
    let documents = documents(text, &mut faults);
    drop(documents);
    errors.len()
}

/// Files that would exhaust the stack or the memory of a careless reader have one fault.
#[test]
fn hostile_files_are_refused() {
    let deep = "[".repeat(100_000);
    let deep_blocks: String = (0..20_000).map(|it| format!("{}a:\n", " ".repeat(it % 5_000))).collect();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}, ", n - 1);
        bomb += &format!("a{n}: &a{n} [{}]\n", before.repeat(10).trim_end_matches(", "));
    }
    for text in [&deep, &deep_blocks, &bomb, "a: 1\na: 2", "\u{0}", "a: *b", "%YAML 9", "? {a: 1}\n: 2"] {
        assert_eq!(faults_of(text), 1, "{}", &text[..text.len().min(40)]);
    }
    for text in ["", "# nothing\n", "---\n---\n", "null"] {
        assert_eq!(faults_of(text), 0, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_never_panics(text in "[\\PC\n\t:\\-\\[\\]{}&*!|>'\"#%@`, a1]{0,80}") {
        faults_of(&text);
    }
}
