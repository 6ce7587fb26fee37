//! Steps to measure with (`martingale bench`, and what is held to its figures): of about 300 bytes, in the proportions of an agent at work,
//! none like another.

use std::fmt::Write as _;

use crate::Timestamp;

/// 2026-01-01T00:00:00Z; steps of a session are half a second apart.
const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
const APART_MICROS: i64 = 500_000;
const TOOLS: [&str; 8] =
    ["search", "read_file", "list_orders", "get_weather", "query_db", "fetch_page", "calc", "lookup"];

/// One line of JSON: step `number` of a session. Thought, call, result in turn; arguments and results differ every time,
/// so that nothing is a repetition.
pub fn write(line: &mut Vec<u8>, session: &str, number: u64) {
    line.clear();
    // Empty, so that it is text, with the room that it has.
    let mut text = String::from_utf8(std::mem::take(line)).unwrap_or_default();
    let time = Timestamp::from_micros(BEGIN_MICROS + i64::try_from(number).unwrap_or(0) * APART_MICROS);
    let turn = number / 3;
    let tool = TOOLS[usize::try_from(turn % 8).unwrap_or(0)];
    let mark = mix(number ^ (session.len() as u64) << 32);
    let head = format_args!(
        r#"{{"session_id":"{session}","step_id":"{number}","seq":{number},"time":"{time}","agent":{{"id":"bench-agent","version":"1.4.2"}},"environment":"production","principal":{{"id":"customer-17"}},"#
    );
    // Writing to memory cannot fail.
    let _ = match number % 3 {
        0 => write!(
            text,
            r#"{head}"kind":"reasoning","text":"Item {mark:016x} is still open; the next look is at position {turn} of the list."}}"#
        ),
        1 => write!(
            text,
            r#"{head}"kind":"tool_call","tool":"{tool}","input":{{"query":"item {mark:016x}","page":{turn},"limit":20}}}}"#
        ),
        _ => write!(
            text,
            r#"{head}"kind":"tool_result","tool":"{tool}","causes":["{}"],"output":{{"id":"{mark:016x}","total":{turn},"status":"found"}}}}"#,
            number - 1
        ),
    };
    *line = text.into_bytes();
}

/// SplitMix64: every number another one, the same on every machine.
#[must_use]
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use crate::Step;

    use super::write;

    #[test]
    fn steps_are_whole_and_of_about_300_bytes() {
        let (mut line, mut bytes) = (Vec::new(), 0);
        for number in 0..300 {
            write(&mut line, "bench-000123", number);
            bytes += line.len();
            Step::from_log(&line).expect("complete");
        }
        assert!((260..=340).contains(&(bytes / 300)), "{}", bytes / 300);
    }
}
