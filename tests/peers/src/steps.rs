//! Sessions under way at once: thought, call, result in turn, about 300 bytes a step, none like another. In eight of ten
//! sessions some steps are those that the rules name: in order in five, out of order or not all of them in three.

use std::io::Write;

use martingale_schemas::Timestamp;

pub const SESSIONS: usize = 1_000;
const STEPS: usize = 50;
/// 2026-01-01T00:00:00Z; steps of a session are a second apart, so that nothing hangs on the order within one.
const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
const SECOND_MICROS: i64 = 1_000_000;
const TOOLS: [&str; 8] =
    ["list_dir", "read_page", "list_orders", "get_weather", "query_db", "fetch_page", "calc", "lookup"];
/// Where the steps of a plot stand.
const PLACES: [usize; 4] = [7, 18, 29, 40];

#[derive(Clone, Copy)]
enum Kind {
    Asks,
    Calls(&'static str),
    Fails(&'static str),
    Works(&'static str),
}

/// The steps of a session that rules speak of, and the rule that they fulfil.
const PLOTS: [(&[Kind], Option<&str>); 10] = [
    (&[Kind::Works("read_file"), Kind::Calls("send_email")], Some("read-then-send")),
    (&[Kind::Asks, Kind::Calls("get_secret"), Kind::Calls("http_post")], Some("asked-secret-post")),
    (&[Kind::Fails("deploy"), Kind::Calls("delete_table")], Some("failed-deploy-then-delete")),
    (
        &[Kind::Calls("web_search"), Kind::Calls("download"), Kind::Calls("run_code"), Kind::Calls("send_email")],
        Some("search-download-run-send"),
    ),
    (
        &[Kind::Fails("login"), Kind::Fails("login"), Kind::Fails("login"), Kind::Works("login")],
        Some("failures-then-login"),
    ),
    (&[Kind::Calls("send_email"), Kind::Works("read_file")], None),
    (&[Kind::Calls("web_search"), Kind::Calls("run_code"), Kind::Calls("download"), Kind::Calls("send_email")], None),
    (&[Kind::Fails("login"), Kind::Fails("login"), Kind::Works("login")], None),
    (&[], None),
    (&[], None),
];

pub struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    pub fn new() -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for at in 0..STEPS {
            for session in 0..SESSIONS {
                write(&mut bytes, session, at);
                ends.push(bytes.len());
            }
        }
        Self { bytes, ends }
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// What there is to find: rule and session.
pub fn expected() -> impl Iterator<Item = (String, String)> {
    (0..SESSIONS).filter_map(|it| Some((PLOTS[it % PLOTS.len()].1?.to_owned(), name(it))))
}

fn name(session: usize) -> String {
    format!("peers-{session:06}")
}

fn write(out: &mut Vec<u8>, session: usize, at: usize) {
    let plot = PLOTS[session % PLOTS.len()].0;
    let planned = PLACES.iter().position(|it| *it == at).and_then(|it| plot.get(it)).copied();
    let tool = TOOLS[at / 3 % TOOLS.len()];
    let mark = mix((session * STEPS + at) as u64);
    let time = Timestamp::from_micros(BEGIN_MICROS + at as i64 * SECOND_MICROS);
    let head = format_args!(
        r#"{{"session_id":"{}","step_id":"{at}","seq":{at},"time":"{time}","agent":{{"id":"bench-agent","version":"1.4.2"}},"environment":"production","principal":{{"id":"customer-17"}},"#,
        name(session)
    );
    let call = |tool: &str| {
        format!(r#""kind":"tool_call","tool":"{tool}","input":{{"query":"item {mark:016x}","page":{at},"limit":20}}"#)
    };
    let result = |tool: &str, status: &str| {
        let cause = at.saturating_sub(1);
        format!(
            r#""kind":"tool_result","tool":"{tool}","causes":["{cause}"],"status":"{status}","output":{{"id":"{mark:016x}","total":{at}}}"#
        )
    };
    let body = match (planned, at % 3) {
        (Some(Kind::Asks), _) => {
            format!(r#""kind":"user_message","text":"Please see to item {mark:016x} and tell me what stands at {at}.""#)
        }
        (Some(Kind::Calls(tool)), _) => call(tool),
        (Some(Kind::Fails(tool)), _) => result(tool, "error"),
        (Some(Kind::Works(tool)), _) => result(tool, "ok"),
        (None, 0) => {
            format!(r#""kind":"reasoning","text":"Item {mark:016x} is still open; the next look is at position {at}.""#)
        }
        (None, 1) => call(tool),
        (None, _) => result(tool, "ok"),
    };
    // Writing to memory cannot fail.
    let _ = write!(out, "{head}{body}}}");
}

/// SplitMix64: every number another one, the same on every machine.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
