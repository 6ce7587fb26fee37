//! Which policies are in force: the built-in ones, the shipped ones, and those of files, which are added to them or replace
//! them by their id.
//!
//! Documents are told apart and named here, and judged by the compiler alone: one that is no YAML, or has no `id`, is
//! passed on as it stands, and the compiler says what is wrong with it.

use std::collections::BTreeSet;
use std::ops::Range;

use martingale_detector_core::policy::{BUILT_IN, CoreRule, STARTER};
use martingale_detector_core::{PolicyError, Rules};
use martingale_schemas::Decision;
use serde_json::Value;

/// In front of the name of a shipped file, where a file is named.
const SHIPPED: &str = "shipped/";

/// What is there without a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stock {
    /// Part of the core: there unless it is replaced.
    BuiltIn,
    /// There unless it is replaced, or all of them are left out.
    Shipped,
}

impl Stock {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Shipped => "shipped",
        }
    }
}

/// Where a document comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Stock(Stock),
    /// A file, and what it stands in for.
    File {
        name: String,
        replaces: Option<Stock>,
    },
}

/// What a document says of itself, as far as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) mode: String,
    pub(crate) severity: String,
    pub(crate) decision: String,
    pub(crate) cases: usize,
    pub(crate) origin: Origin,
    pub(crate) text: String,
}

impl Document {
    /// Whether it sets a rule of the core, which has no cases.
    pub(crate) fn is_of_core(&self) -> bool {
        CoreRule::named(&self.id).is_some()
    }

    /// `None` for one of a file.
    pub(crate) const fn stock(&self) -> Option<Stock> {
        match self.origin {
            Origin::Stock(stock) => Some(stock),
            Origin::File { .. } => None,
        }
    }

    pub(crate) fn source(&self) -> String {
        match &self.origin {
            Origin::Stock(stock) => stock.as_str().to_owned(),
            Origin::File { name, replaces: None } => name.clone(),
            Origin::File { name, replaces: Some(stock) } => format!("{name} (replaces the {} one)", stock.as_str()),
        }
    }
}

/// Files for the compiler, and what is in them.
#[derive(Debug)]
pub(crate) struct Pack {
    /// The shipped ones first; the last `own` are the caller's.
    files: Vec<(String, String)>,
    own: usize,
    documents: Vec<Document>,
}

impl Pack {
    /// `own` are `(name, text)` files; `shipped` says whether the shipped policies that they do not replace stay.
    pub(crate) fn new(own: Vec<(String, String)>, shipped: bool) -> Self {
        let mut documents: Vec<Document> = Vec::new();
        for (name, text) in &own {
            let origin = Origin::File { name: name.clone(), replaces: None };
            documents.extend(places(text).into_iter().filter_map(|place| document(&text[place], origin.clone())));
        }
        let taken: BTreeSet<String> = documents.iter().map(|it| it.id.clone()).collect();
        // The core has the built-in ones by itself: they are listed, and not compiled from here.
        let mut stock: Vec<Document> =
            BUILT_IN.iter().flat_map(|(_, text)| without(text, &taken, Stock::BuiltIn).1).collect();
        let mut files = Vec::new();
        for (name, text) in if shipped { STARTER } else { &[] } {
            let (text, of_file) = without(text, &taken, Stock::Shipped);
            files.push((format!("{SHIPPED}{name}"), text));
            stock.extend(of_file);
        }
        for document in &mut documents {
            if let Origin::File { replaces, .. } = &mut document.origin {
                let stock = stock.iter().find(|it| it.id == document.id);
                *replaces = stock.and_then(Document::stock);
                // Who sets the mode of a rule of the core need not say again what it is.
                if let Some(stock) = stock.filter(|it| it.is_of_core() && document.title.is_empty()) {
                    document.title.clone_from(&stock.title);
                }
            }
        }
        stock.retain(|it| !taken.contains(&it.id));
        documents.splice(0..0, stock);
        let count = own.len();
        files.extend(own);
        Self { files, own: count, documents }
    }

    /// Everything that can be told apart: the built-in ones, the shipped ones, the caller's.
    pub(crate) fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// For the compiler: `(name, text)`.
    pub(crate) fn files(&self) -> &[(String, String)] {
        &self.files
    }

    /// Whether a file that the compiler named is one of the caller's.
    pub(crate) fn is_own(&self, file: &str) -> bool {
        self.files[self.files.len() - self.own..].iter().any(|(name, _)| name == file)
    }

    pub(crate) fn shipped(&self) -> usize {
        self.documents.iter().filter(|it| it.stock() == Some(Stock::Shipped)).count()
    }

    /// # Errors
    /// Every fault of every file.
    pub(crate) fn compile(&self) -> Result<Rules, Vec<PolicyError>> {
        Rules::load(&self.files)
    }
}

/// A file of the stock without the documents whose id is taken, and all of its documents.
fn without(text: &str, taken: &BTreeSet<String>, stock: Stock) -> (String, Vec<Document>) {
    let (mut left, mut documents) = (text.to_owned(), Vec::new());
    // From the end, so that places that are still to come stay where they are.
    for place in places(text).into_iter().rev() {
        let Some(document) = document(&text[place.clone()], Origin::Stock(stock)) else { continue };
        if taken.contains(&document.id) {
            // Its lines stay, empty: what the compiler says of the others names their true place.
            let lines = text[place.clone()].matches('\n').count();
            left.replace_range(place, &"\n".repeat(lines));
        }
        documents.push(document);
    }
    documents.reverse();
    (left, documents)
}

/// Where the documents of a file are: between the lines that begin with `---`, which is nothing else in YAML.
fn places(text: &str) -> Vec<Range<usize>> {
    let (mut places, mut begin, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|it| it.is_empty() || it.starts_with([' ', '\t', '\r', '\n'])) {
            places.push(begin..at);
            begin = at + "---".len();
        }
        at += line.len();
    }
    places.push(begin..at);
    places
}

/// A document that has an `id`; a description of tools has none.
fn document(text: &str, origin: Origin) -> Option<Document> {
    // As the compiler reads it: `off` is a word.
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: Value = serde_saphyr::from_str_with_options(text, options).ok()?;
    let word = |value: &Value, absent: &str| value.as_str().unwrap_or(absent).to_owned();
    let id = value["id"].as_str()?.to_owned();
    let core = CoreRule::named(&id);
    Some(Document {
        id,
        title: word(&value["title"], ""),
        mode: word(&value["mode"], martingale_schemas::Mode::default().as_str()),
        severity: core.map_or_else(|| word(&value["severity"], ""), |it| it.severity().as_str().to_owned()),
        decision: core.map_or_else(|| decision(&value), |it| it.decision().as_str().to_owned()),
        cases: value["tests"].as_array().map_or(0, Vec::len),
        origin,
        text: text.trim_matches('\n').to_owned(),
    })
}

/// The one a policy names; of a rule over calls the worst.
fn decision(document: &Value) -> String {
    let forms = ["repeat", "cycle", "near_duplicate", "no_progress"];
    let levels = forms.iter().filter_map(|form| document[form].as_object()).flat_map(|it| it.keys());
    let worst = levels.filter_map(|name| name.parse::<Decision>().ok()).max();
    let named = document["then"]["decision"].as_str();
    named.or_else(|| worst.map(Decision::as_str)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Origin, Pack, Stock};

    const OWN: &str = "# mine\nid: ping-pong\ntitle: Mine\nseverity: low\nmode: off\nwhen: step.kind == \"handoff\"\nthen: { decision: halt }\n--- # a second one\nid: extra\ntitle: Extra\nseverity: high\nwhen: step.kind == \"spawn\"\nthen: { decision: deny }\ntests:\n  - name: one\n    steps: [{ spawn: ~, expect: deny }]\n---\ntools: [{ name: send_email, level: 1 }]\n";

    /// Policies that come with the core.
    const BUILT_IN: usize = 14;

    fn pack(text: &str, shipped: bool) -> Pack {
        Pack::new(vec![("own.yaml".to_owned(), text.to_owned())], shipped)
    }

    fn of<'p>(pack: &'p Pack, id: &str) -> Vec<&'p super::Document> {
        pack.documents().iter().filter(|it| it.id == id).collect()
    }

    #[test]
    fn a_document_replaces_the_shipped_one_of_its_id_and_no_other() {
        let starter = Pack::new(Vec::new(), true);
        let all = starter.shipped();
        assert_eq!(starter.compile().expect("compiles").policies(), all);
        let pack = pack(OWN, true);
        assert_eq!(pack.compile().expect("compiles").policies(), all + 1);
        assert_eq!((pack.shipped(), pack.documents().len()), (all - 1, all + 1 + BUILT_IN));
        let [mine] = of(&pack, "ping-pong")[..] else { panic!("one document has the id") };
        assert_eq!((mine.title.as_str(), mine.mode.as_str(), mine.cases), ("Mine", "off", 0));
        assert_eq!(mine.source(), "own.yaml (replaces the shipped one)");
        assert!(mine.text.starts_with("# mine\nid: ping-pong") && mine.text.ends_with("halt }"), "{}", mine.text);
        let [extra] = of(&pack, "extra")[..] else { panic!("one document has the id") };
        assert_eq!((extra.mode.as_str(), extra.decision.as_str(), extra.cases), ("shadow", "deny", 1));
        assert_eq!(extra.origin, Origin::File { name: "own.yaml".into(), replaces: None });
        assert_eq!(of(&pack, "spawn-burst")[0].source(), "shipped", "beside the one that was replaced in its file");
    }

    #[test]
    fn tools_alone_leave_every_shipped_policy() {
        let pack = pack("tools: [{ name: send_email, level: 1 }]\n", true);
        assert_eq!(pack.compile().expect("compiles").policies(), Pack::new(Vec::new(), true).shipped());
    }

    #[test]
    fn only_ones_own_are_left_where_that_is_asked_for() {
        let pack = pack(OWN, false);
        assert_eq!((pack.shipped(), pack.compile().expect("compiles").policies()), (0, 2));
        assert_eq!(of(&pack, "ping-pong")[0].source(), "own.yaml");
    }

    #[test]
    fn the_built_in_ones_stay_until_they_are_replaced() {
        let text = "id: repeat\ntitle: Patient\nseverity: low\nmode: shadow\nrepeat: { warn: 9, deny: 12 }\n";
        for shipped in [true, false] {
            let pack = pack(text, shipped);
            let stock = pack.documents().iter().filter(|it| it.stock() == Some(Stock::BuiltIn));
            let left = [
                "near_duplicate",
                "cycle",
                "no_progress",
                "secret_leak",
                "secret_given",
                "trifecta",
                "hijack",
                "drift",
                "scope_exceeded",
                "scope_widened",
                "principal_switched",
                "privilege_rise",
                "confused_deputy",
            ];
            assert_eq!(stock.map(|it| it.id.as_str()).collect::<Vec<_>>(), left);
            let [mine] = of(&pack, "repeat")[..] else { panic!("one document has the id") };
            assert_eq!((mine.mode.as_str(), mine.decision.as_str()), ("shadow", "deny"));
            assert_eq!(mine.source(), "own.yaml (replaces the built-in one)");
            assert_eq!(pack.compile().expect("compiles").policies(), pack.shipped() + 1);
        }
        let stock = Pack::new(Vec::new(), false);
        let [cycle] = of(&stock, "cycle")[..] else { panic!("one document has the id") };
        assert_eq!((cycle.decision.as_str(), cycle.source().as_str(), stock.shipped()), ("step_up", "built-in", 0));
        assert!(cycle.text.starts_with("id: cycle"), "{}", cycle.text);
    }

    #[test]
    fn rules_of_the_core_are_listed_and_their_mode_is_set() {
        let stock = Pack::new(Vec::new(), false);
        for (id, mode, severity, decision) in [
            ("secret_leak", "enforce", "critical", "halt"),
            ("secret_given", "shadow", "medium", "step_up"),
            ("trifecta", "shadow", "high", "step_up"),
            ("hijack", "shadow", "high", "step_up"),
            ("drift", "shadow", "medium", "step_up"),
            ("scope_exceeded", "enforce", "high", "deny"),
            ("scope_widened", "enforce", "high", "step_up"),
            ("principal_switched", "enforce", "high", "step_up"),
            ("privilege_rise", "shadow", "high", "step_up"),
            ("confused_deputy", "shadow", "high", "step_up"),
        ] {
            let [it] = of(&stock, id)[..] else { panic!("one document has the id {id}") };
            assert_eq!(
                (it.mode.as_str(), it.severity.as_str(), it.decision.as_str()),
                (mode, severity, decision),
                "{id}"
            );
            assert!(it.source() == "built-in" && !it.title.is_empty() && it.is_of_core(), "{id}");
            // What is shown says what the rule states, and can go into a file as it stands.
            assert!(it.text.contains(&format!("# {id}: ")) && it.text.contains("`mode`"), "{}", it.text);
            let mine = pack(&it.text.replace(&format!("mode: {mode}"), "mode: off"), true);
            let [it] = of(&mine, id)[..] else { panic!("one document has the id {id}") };
            assert_eq!((it.mode.as_str(), it.source().as_str()), ("off", "own.yaml (replaces the built-in one)"));
            assert_eq!(mine.compile().expect("compiles").policies(), mine.shipped() + 1);
            // Who sets its mode and no more is shown what it is, and who names it otherwise that.
            let title = of(&stock, id)[0].title.as_str();
            for (said, shown) in [("", title), ("title: Ours\n", "Ours")] {
                let mine = pack(&format!("id: {id}\n{said}mode: off\n"), false);
                let [it] = of(&mine, id)[..] else { panic!("one document has the id {id}") };
                assert_eq!((it.title.as_str(), it.mode.as_str()), (shown, "off"), "{id}");
            }
        }
    }

    #[test]
    fn what_is_no_policy_is_left_to_the_compiler() {
        for text in ["id: [\n", "just text", "id: x\nseverity: critcal\n"] {
            let errors = pack(text, true).compile().expect_err(text);
            assert!(errors.iter().all(|it| it.file == "own.yaml"), "{text}: {errors:?}");
        }
    }
}
