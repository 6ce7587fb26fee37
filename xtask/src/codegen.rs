//! Files that are generated and checked in. Each is written by a test of the crate that owns it, which compares it
//! otherwise: so nothing is generated in a second way here.

use crate::command;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// Owner, features it needs, and a part of the names of the tests that write.
const GENERATED: &[&[&str]] = &[
    &["-p", "martingale-schemas", "--features", "arrow", "--lib", "checked_in"],
    &["-p", "martingale-query-api", "--lib", "the_file_that_is_served"],
];

pub(crate) fn run(mode: Mode) -> anyhow::Result<()> {
    for owner in GENERATED {
        let mut test = command::cargo(&["test", "--quiet"]);
        test.args(*owner);
        if mode == Mode::Write {
            test.env("UPDATE_EXPECT", "1");
        }
        command::run(&mut test)?;
    }
    Ok(())
}
