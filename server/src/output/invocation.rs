//! How this binary was started, for commands that are printed to be pasted.

use std::ffi::OsStr;
use std::path::Path;

/// As this build is run by cargo: the alias leaves Kafka out.
const BY_CARGO: &str = if cfg!(feature = "kafka") { "cargo run --" } else { "cargo martingale" };

/// [`BY_CARGO`], `martingale`, or the path of the binary.
pub(crate) fn myself() -> String {
    let by_cargo = std::env::var_os("CARGO_PKG_NAME").is_some_and(|it| it == env!("CARGO_PKG_NAME"));
    let binary = std::env::current_exe().unwrap_or_default();
    let typed = std::env::args_os().next().unwrap_or_default();
    spelled(by_cargo, &typed, &binary)
}

/// A name without a folder was found on the path, and will be again. Anything else is spelled out, since the other
/// terminal may stand in another folder.
fn spelled(by_cargo: bool, typed: &OsStr, binary: &Path) -> String {
    if by_cargo {
        return match binary.parent().and_then(Path::file_name).and_then(OsStr::to_str) {
            Some("release") => "cargo run --release --".to_owned(),
            _ => BY_CARGO.to_owned(),
        };
    }
    let on_path = Path::new(typed).components().count() == 1;
    let (Some(name), Some(binary)) = (typed.to_str(), binary.to_str()) else { return "martingale".to_owned() };
    match on_path || binary.is_empty() {
        true => word(name),
        false => word(binary),
    }
}

/// One word of a shell.
fn word(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if !text.is_empty() && text.chars().all(harmless) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::{BY_CARGO, spelled};

    #[test]
    fn a_command_is_spelled_as_the_binary_was_started() {
        for (by_cargo, typed, binary, shown) in [
            (true, "target/debug/martingale", "/w/target/debug/martingale", BY_CARGO),
            (true, "target/release/martingale", "/w/target/release/martingale", "cargo run --release --"),
            (false, "martingale", "/usr/bin/martingale", "martingale"),
            (false, "./martingale", "/opt/m/martingale", "/opt/m/martingale"),
            (false, "/opt/my tools/martingale", "/opt/my tools/martingale", "'/opt/my tools/martingale'"),
            (false, "it's/m", "/it's/m", "'/it'\\''s/m'"),
        ] {
            assert_eq!(spelled(by_cargo, OsStr::new(typed), Path::new(binary)), shown);
        }
    }
}
