//! What the sessions of a recording told of their root and parent: a server remembers it on its log, a file in memory.

use martingale_schemas::lineage::Lineages;
use martingale_schemas::wire::StepV1;
use martingale_schemas::{Limits, Rejection, Step, Timestamp};

/// Reads and checks a step as a server does that takes it, and puts it into its run.
pub(crate) fn read<'j>(lineages: &mut Lineages, json: &'j [u8], arrival: Timestamp) -> Result<Step<'j>, Rejection> {
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
