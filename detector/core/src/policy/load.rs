//! From files to policies and a tool catalogue.

use std::collections::HashMap;

use super::document;
use super::report::{Note, PolicyError};
use super::rule::Policies;
use crate::tools::{Catalogue, read_catalogue};
use crate::yaml::{self, Faults, Value};

pub(crate) struct Loaded {
    /// Those without a fault.
    pub(crate) policies: Policies,
    pub(crate) catalogue: Catalogue,
    pub(crate) errors: Vec<PolicyError>,
    pub(crate) notes: Vec<Note>,
}

/// Reads `(name, text)` files.
pub(crate) fn load<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Loaded {
    let (mut errors, mut notes) = (Vec::new(), Vec::new());
    let mut catalogue = Catalogue::default();
    let mut policies = Vec::new();
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
            let Some(policy) = document::read(&node, &mut faults) else { continue };
            if let Some(other) = ids.insert(policy.id.clone(), file.to_owned()) {
                let message = format!("policy `{}` is in {other} already: an id stands for one policy", policy.id);
                faults.error("id", (node.line, node.column), message, None);
                continue;
            }
            policies.push(policy);
        }
        notes.append(&mut faults.notes);
    }
    Loaded { policies: Policies::new(policies), catalogue, errors, notes }
}
