//! Calls whose effect cannot be taken back: they send something out of the system, or destroy something in it.

use martingale_schemas::Step;

use crate::tools::{Flags, Tool};

/// Why a call is held to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Somebody said so of its tool, or the code that it runs sends.
    Stated,
    /// The name of its tool suggests it, and nothing else.
    Name,
}

/// Whether a call sends something out of the system, and what says so. A tool that runs code does when its code says so.
pub(crate) fn reaches_out(step: &Step<'_>, tool: &Tool) -> Option<Ground> {
    /// Programs and libraries that send, as they are written in commands.
    const SENDS: [&str; 16] = [
        "http://", "https://", "ftp://", "curl ", "wget ", "nc ", "ncat ", "scp ", "sftp ", "ssh ", "rsync ",
        "telnet ", "git push", "sendmail", "smtplib", "socket.",
    ];
    if !tool.flags.has(Flags::OPEN_WORLD) {
        return None;
    }
    if tool.described.has(Flags::OPEN_WORLD) {
        return Some(Ground::Stated);
    }
    if tool.level < 4 {
        return Some(Ground::Name);
    }
    let code = step.input.as_ref().map_or("", |it| it.get());
    SENDS.iter().any(|it| code.contains(it)).then_some(Ground::Stated)
}

/// Whether what a call does cannot be taken back, what that is, and what says so; the surer of both.
pub(crate) fn is_final(step: &Step<'_>, tool: &Tool) -> Option<(Ground, &'static str)> {
    let destroys = tool.flags.has(Flags::DESTRUCTIVE).then(|| match tool.described.has(Flags::DESTRUCTIVE) {
        true => Ground::Stated,
        false => Ground::Name,
    });
    let reaches = reaches_out(step, tool).map(|it| (it, "sends something out"));
    let destroys = destroys.map(|it| (it, "destroys something"));
    let stated = |it: &(Ground, &str)| it.0 == Ground::Stated;
    reaches.filter(stated).or_else(|| destroys.filter(stated)).or(reaches).or(destroys)
}
