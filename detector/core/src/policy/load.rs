//! From files to policies and a tool catalogue.

use std::collections::HashMap;

use martingale_schemas::Mode;

use super::core_rule::{self, CoreRule, Modes};
use super::document;
use super::report::{Note, PolicyError};
use super::rule::{Policies, Policy};
use crate::tools::{Catalogue, read_catalogue};
use crate::yaml::{self, Faults, Node, Value};

pub(crate) struct Loaded {
    /// Those without a fault.
    pub(crate) policies: Policies,
    pub(crate) catalogue: Catalogue,
    /// Of rules of the core.
    pub(crate) modes: Modes,
    pub(crate) errors: Vec<PolicyError>,
    pub(crate) notes: Vec<Note>,
}

/// Reads `(name, text)` files.
pub(crate) fn load<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Loaded {
    let (mut errors, mut notes) = (Vec::new(), Vec::new());
    let mut catalogue = Catalogue::default();
    let mut policies = Vec::new();
    let mut modes = Modes::default();
    let mut ids: HashMap<String, String> = HashMap::new();
    for (file, text) in files {
        let (file, text) = (file.as_ref(), text.as_ref());
        let mut faults = Faults::new(file, text, &mut errors);
        for node in yaml::documents(text, &mut faults) {
            faults.policy = None;
            let describes_tools =
                matches!(&node.value, Value::Map(members) if members.iter().any(|(key, _)| key.name == "tools"));
            if describes_tools {
                read_catalogue(&node, &mut catalogue, &mut faults);
                continue;
            }
            let read = match core_rule(&node) {
                Some(rule) => core_rule::read(&node, rule, &mut faults).map(|mode| Read::Mode(rule, mode)),
                None => document::read(&node, &mut faults).map(|it| Read::Policy(Box::new(it))),
            };
            let Some(read) = read else { continue };
            let id = read.id();
            if let Some(other) = ids.insert(id.to_owned(), file.to_owned()) {
                let message = format!("policy `{id}` is in {other} already: an id stands for one policy");
                faults.error("id", (node.line, node.column), message, None);
                continue;
            }
            match read {
                Read::Policy(policy) => policies.push(*policy),
                Read::Mode(rule, mode) => modes.set(rule, mode),
            }
        }
        notes.append(&mut faults.notes);
    }
    Loaded { policies: Policies::new(policies), catalogue, modes, errors, notes }
}

/// What a document is.
enum Read {
    Policy(Box<Policy>),
    Mode(CoreRule, Mode),
}

impl Read {
    fn id(&self) -> &str {
        match self {
            Self::Policy(it) => &it.id,
            Self::Mode(rule, _) => rule.id(),
        }
    }
}

/// The rule of the core that a document is about.
fn core_rule(node: &Node) -> Option<CoreRule> {
    let Value::Map(members) = &node.value else { return None };
    let (_, id) = members.iter().find(|(key, _)| key.name == "id")?;
    if let Value::Text(id) = &id.value { CoreRule::named(id) } else { None }
}
