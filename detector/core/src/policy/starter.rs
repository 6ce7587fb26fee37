//! The policies that come with the core and with the product, from `deploy/policies`.

macro_rules! pack {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../deploy/policies/", $name)))),+]
    };
}

/// In force unless a policy of the same id takes their place. `(file name, text)`.
pub const BUILT_IN: &[(&str, &str)] = pack!["loops.yaml", "core.yaml"];

/// Those that an operator may leave out altogether. `(file name, text)`.
pub const STARTER: &[(&str, &str)] =
    pack!["unsafe-chains.yaml", "runaway.yaml", "privilege.yaml", "leakage.yaml", "hijack.yaml", "many-agents.yaml",];
