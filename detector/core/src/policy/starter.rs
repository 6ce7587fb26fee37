//! The policies that come with the product, from `deploy/policies`.

macro_rules! pack {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../deploy/policies/", $name)))),+]
    };
}

/// `(file name, text)`.
pub const STARTER: &[(&str, &str)] =
    pack!["unsafe-chains.yaml", "runaway.yaml", "privilege.yaml", "leakage.yaml", "hijack.yaml", "many-agents.yaml",];
