//! What of a call speaks for a hijack, as whole numbers, mostly thousandths; one row for each value that the user did not give.

use super::call::{Call, Form, Origin, Part};
use super::memory::Memory;
use crate::baseline::{Near, Profile, What, key};

/// Names of the numbers of a row, in their order. More of each is more suspect or less, never now one and then the other:
/// `model.json` says which way.
pub(crate) const NAMES: [&str; 25] = [
    "user_to_tool",
    "only_reads",
    "unasked",
    "gap",
    "overuse",
    "usual",
    "off_request",
    "command_min",
    "command_max",
    "carrier_over_user",
    "flow",
    "origin",
    "odd_origin",
    "odd_source",
    "odd_value",
    "broken_agreement",
    "new_carrier",
    "new_value",
    "address",
    "nowhere",
    "together",
    "as_strong_tool",
    "as_strong",
    "seen_value",
    "content",
];

pub(crate) type Row = [i32; NAMES.len()];

/// Where a value of unknown origin stands when nothing is known of its argument.
const UNKNOWN: i32 = 250;

fn share(part: u32, whole: u32) -> i32 {
    i32::try_from(u64::from(part) * 1000 / u64::from(whole.max(1))).unwrap_or(1000)
}

/// A share that is never quite 0 or 1: half a session is added on each side.
fn smooth(part: u32, whole: u32) -> i32 {
    i32::try_from((u64::from(part) * 1000 + 500) / (u64::from(whole) + 1)).unwrap_or(1000)
}

/// One row for each value that neither the user nor the operator wrote; a call without any has one row.
pub(super) fn rows(call: &Call, memory: &Memory, profile: Option<&Profile>) -> Vec<(Option<usize>, Row)> {
    let near = profile.zip(memory.request()).map(|(profile, request)| profile.near(&request, call.tool));
    let common = common(call, profile, near.as_ref());
    let free = call.parts.iter().enumerate().filter(|it| !it.1.is_authored());
    let mut rows: Vec<(Option<usize>, Row)> =
        free.map(|(at, part)| (Some(at), of_part(common, call, part, memory, profile, near.as_ref()))).collect();
    if rows.is_empty() {
        let mut row = common;
        (row[9], row[10], row[11], row[21], row[22], row[23]) = (-1000, 1000, 1000, 1000, 1000, 1);
        rows.push((None, row));
    }
    rows
}

/// How far the nearest request is the same one, in thousandths: what near sessions did says little of another request.
fn relevance(near: Option<&Near<'_>>) -> i32 {
    near.map_or(0, |it| ((it.likeness - 700) * 4).clamp(0, 1000))
}

fn common(call: &Call, profile: Option<&Profile>, near: Option<&Near<'_>>) -> Row {
    let mut row = [0; NAMES.len()];
    row[0] = call.user_to_tool;
    row[1] = i32::from(call.only_reads);
    row[6] = 300 - call.user_to_tool;
    let (Some(profile), relevance) = (profile, relevance(near)) else { return row };
    row[5] = share(profile.all.of(key(What::Tool, &[call.tool])), profile.sessions());
    if let Some(usage) = profile.usage(call.tool) {
        row[6] = usage.user_to_tool() - call.user_to_tool;
    }
    let Some(near) = near else { return row };
    let tool = key(What::Tool, &[call.tool]);
    let (sessions, with_tool) = (near.sum(|it| it.sessions), near.sum(|it| it.of(tool)));
    row[2] = relevance * (1000 - share(with_tool, sessions)) / 1000;
    row[3] = relevance * near.with_tool.map_or(1000, |it| near.likeness - it) / 1000;
    let usual = near.requests.iter().map(|it| it.counts.most(tool)).max().unwrap_or(0);
    let over = call.count.saturating_sub(usual).min(4);
    row[4] = relevance * i32::try_from(over).unwrap_or(4) / 1000;
    row
}

fn of_part(
    common: Row,
    call: &Call,
    part: &Part,
    memory: &Memory,
    profile: Option<&Profile>,
    near: Option<&Near<'_>>,
) -> Row {
    let mut row = common;
    row[7] = part.command_min;
    row[8] = part.command_max;
    row[9] = part.carrier_to_tool.map_or(-1000, |it| it - call.user_to_tool);
    (row[10], row[11]) = (UNKNOWN, UNKNOWN);
    (row[18], row[19]) = (i32::from(part.is_address), i32::from(part.origin == Origin::Nowhere));
    row[20] = part.together;
    (row[21], row[22]) = (300, 300);
    row[24] = i32::from(part.form == Form::Sentence);
    let Some(profile) = profile else { return row };
    let argument = key(What::Argument, &[call.tool, part.argument]);
    let origin = key(What::Origin, &[call.tool, part.argument, part.origin as u64]);
    let value = key(What::Value, &[call.tool, part.argument, part.value]);
    let sources: Vec<u64> =
        part.sources().iter().map(|it| key(What::Source, &[call.tool, part.argument, *it])).collect();
    let calls = profile.all.of(argument);
    if calls > 0 {
        row[10] = smooth(sources.iter().map(|it| profile.all.of(*it)).max().unwrap_or(0), calls);
        row[11] = smooth(profile.all.of(origin), calls);
    }
    let recurrence = memory.recurrence();
    let carried = !part.carriers.is_empty();
    row[16] = if carried && part.carriers.iter().all(|it| !it.line.known) { recurrence } else { 0 };
    let familiar = profile.all.of(key(What::Anywhere, &[part.value])) > 0;
    row[17] = if carried && !familiar { recurrence } else { 0 };
    row[21] = profile.usage(call.tool).map_or(300, |it| smooth(it.as_strong(part.command_min), it.sessions));
    row[22] = smooth(profile.as_strong(part.command_min), profile.sessions());
    row[23] = i32::from(profile.all.of(value) > 0);
    let relevance = relevance(near);
    let (Some(near), true) = (near, relevance > 0) else { return row };
    let with_tool = near.sum(|it| it.of(key(What::Tool, &[call.tool])));
    let with_argument = near.sum(|it| it.of(argument));
    let odd = |share: i32| relevance * (1000 - share) / 1000;
    if with_tool == 0 {
        (row[12], row[13], row[14]) = (odd(UNKNOWN), odd(UNKNOWN), odd(0));
        return row;
    }
    row[12] = odd(smooth(near.sum(|it| it.of(origin)), with_argument));
    let source = sources.iter().map(|source| near.sum(|it| it.of(*source))).max().unwrap_or(0);
    row[13] = odd(smooth(source, with_argument));
    let own = share(near.sum(|it| it.of(value)), with_tool);
    row[14] = odd(own);
    let agreed = near.requests.iter().map(|it| it.counts.most(argument)).max().unwrap_or(0);
    row[15] = relevance * (share(agreed, with_tool).min(1000) * (1000 - own) / 1000) / 1000;
    row
}
