//! The steps of a recording, as a server takes them.
//!
//! What its sessions told of their root and parent a server remembers on its log, a file in memory.

use anyhow::Result;
use martingale_schemas::lineage::Lineages;
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Rejection, Step, Timestamp};

use super::Faults;
use super::source::Source;

/// Steps between two updates of the progress bar.
const TELL_EVERY: u64 = 8_192;

/// How many lines there were, and how many of them are no step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) read: u64,
    pub(crate) rejected: u64,
}

/// Hands every step of the files to `f`, in their order. A line that is none is told and passed over.
///
/// # Errors
/// When a file cannot be read to its end, or of `f`.
pub(crate) fn each_step(
    mut source: Source,
    arrival: Timestamp,
    faults: &Faults,
    mut f: impl FnMut(&Step<'_>) -> Result<()>,
) -> Result<Lines> {
    let progress = source.progress();
    let (mut lineages, mut json, mut lines) = (Lineages::default(), Vec::new(), Lines::default());
    while let Some(place) = source.next_line(&mut json)? {
        lines.read += 1;
        if lines.read % TELL_EVERY == 0 {
            progress.set_message(format!("{} steps", lines.read));
        }
        match read(&mut lineages, &json, arrival) {
            Ok(step) => f(&step)?,
            Err(rejection) => {
                lines.rejected += 1;
                faults.tell(&place, &rejection.message);
            }
        }
    }
    progress.finish_and_clear();
    Ok(lines)
}

/// Reads and checks a step as a server does that takes it, and puts it into its run.
pub(super) fn read<'j>(lineages: &mut Lineages, json: &'j [u8], arrival: Timestamp) -> Result<Step<'j>, Rejection> {
    let step = StepV1::parse(json)?;
    let said = step.said();
    let mut step = step.check(arrival, &Limits::DEFAULT)?;
    lineages.settle(&mut step, said)?;
    Ok(step)
}

#[cfg(test)]
mod tests {
    use martingale_schemas::Timestamp;
    use martingale_schemas::lineage::Lineages;

    #[test]
    fn a_recording_is_read_as_a_server_takes_it() {
        let mut lineages = Lineages::default();
        for (id, more, expected) in [
            ("root", "", Ok("root")),
            ("kid", r#","root_session_id":"root","parent_session_id":"root""#, Ok("root")),
            ("kid", "", Ok("root")),
            ("grandkid", r#","parent_session_id":"kid""#, Ok("root")),
            ("kid", r#","root_session_id":"kid""#, Err("contradiction")),
            ("other", "", Ok("other")),
        ] {
            let json = format!(r#"{{"session_id":"{id}","kind":"plan","agent":{{"id":"a"}}{more}}}"#);
            let read = super::read(&mut lineages, json.as_bytes(), Timestamp::from_micros(0));
            let found = read.as_ref().map(|it| it.root_session_id.as_str()).map_err(|it| it.reason.as_str());
            assert_eq!(found, expected, "{json}");
        }
    }
}
