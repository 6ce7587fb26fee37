//! The operator's own description of tools: YAML documents with a `tools:` list.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Flags, Said, Tool};
use crate::glob::Glob;
use crate::yaml::{Faults, Node, Object};

/// Described tools; an exact name goes before a pattern, an earlier pattern before a later one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    exact: HashMap<Box<str>, Tool>,
    patterns: Vec<(Glob, Tool)>,
}

impl Catalogue {
    pub(super) fn find(&self, name: &str) -> Option<Tool> {
        let by_pattern = || self.patterns.iter().find(|(glob, _)| glob.matches(name)).map(|(_, tool)| tool);
        self.exact.get(name).or_else(by_pattern).cloned()
    }

    fn insert(&mut self, name: &str, tool: Tool) -> bool {
        let glob = Glob::new(name);
        if glob.literal().is_some() {
            return self.exact.insert(name.into(), tool).is_none();
        }
        let new = self.patterns.iter().all(|(it, _)| *it != glob);
        self.patterns.push((glob, tool));
        new
    }
}

/// Reads one `tools:` document into the catalogue.
pub(crate) fn read(document: &Node, catalogue: &mut Catalogue, faults: &mut Faults<'_>) {
    let Some(mut root) = Object::of(document, "", faults) else { return };
    for (at, node) in root.list("tools", faults).into_iter().enumerate() {
        let path = format!("tools[{at}]");
        let Some(mut it) = Object::of(node, &path, faults) else { continue };
        let name = it.required_text("name", faults);
        let flag = |on: Option<bool>, flag| if on == Some(true) { flag } else { Flags::NONE };
        let open_world = it.boolean("open_world", faults);
        let mut flags = flag(it.boolean("read_only", faults), Flags::READ_ONLY)
            | flag(it.boolean("destructive", faults), Flags::DESTRUCTIVE)
            | flag(it.boolean("idempotent", faults), Flags::IDEMPOTENT)
            | flag(open_world, Flags::OPEN_WORLD);
        let said = open_world.is_some() || flags.has(Flags::READ_ONLY);
        if flags.has(Flags::READ_ONLY | Flags::DESTRUCTIVE) {
            it.fault("", "is both `read_only` and `destructive`: keep one", faults);
        }
        let labels: Vec<Box<str>> =
            it.texts("labels", faults).unwrap_or_default().into_iter().map(Into::into).collect();
        if labels.iter().any(|it| it.as_ref() == "poll") {
            flags |= Flags::POLL;
        }
        let guess = if flags.has(Flags::READ_ONLY) { 1 } else { 2 };
        let guess = if flags.has(Flags::DESTRUCTIVE) || flags.has(Flags::OPEN_WORLD) { 3 } else { guess };
        let level = it.whole("level", 0..=4, faults).and_then(|it| u8::try_from(it).ok()).unwrap_or(guess);
        let scopes = scopes(&mut it, faults);
        it.finish(faults);
        let (labels, level_by, suggested) = (Arc::from(labels), Said::Catalogue, Flags::NONE);
        let (annotated, described, open_by) = (true, flags, Said::Catalogue);
        let flags = if said { flags | Flags::SAID } else { flags };
        let tool =
            Tool { flags, level, reach: level, labels, annotated, described, suggested, level_by, open_by, scopes };
        if let Some(name) = name
            && !catalogue.insert(name, tool)
        {
            it.fault("name", format!("tool `{name}` is described twice: keep one"), faults);
        }
    }
    root.finish(faults);
}

/// Scopes that one tool may need: more are a mistake.
const SCOPES_MAX: usize = 16;

/// The scopes that a call needs, all of them.
fn scopes(it: &mut Object<'_>, faults: &mut Faults<'_>) -> Arc<[Box<str>]> {
    let scopes = it.texts("scopes", faults).unwrap_or_default();
    let says_nothing = |scope: &&str| scope.is_empty() || scope.contains(char::is_whitespace);
    if let Some(scope) = scopes.iter().find(|it| says_nothing(it)) {
        it.fault("scopes", format!("`{scope}` is no scope: write each by itself, without spaces"), faults);
    } else if let Some(scope) = scopes.iter().find(|it| it.ends_with('*')) {
        let message =
            format!("`{scope}` stands for many scopes: only who holds it may write that, a call needs certain ones");
        it.fault("scopes", message, faults);
    } else if (1..scopes.len()).any(|at| scopes[..at].contains(&scopes[at])) {
        it.fault("scopes", "names a scope twice: keep one", faults);
    } else if scopes.len() > SCOPES_MAX {
        it.fault("scopes", format!("are {}: at most {SCOPES_MAX} are read", scopes.len()), faults);
    }
    scopes.into_iter().map(Into::into).collect()
}
