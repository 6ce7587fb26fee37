//! Calls that wait for somebody else: the same answer again does not say that asking was useless.
//!
//! Known by the words of the tool's name, and where it runs code by the program that its command begins with. A guess, so that
//! rules on loops only warn of such calls; the label `poll` exempts a tool from them.

use martingale_schemas::Step;

use crate::tools::{Tool, words};

/// Words of a name that say it, wherever they stand.
const ANYWHERE: [&str; 3] = ["await", "sleep", "wait"];
/// Those that are the name of a thing as well: at the beginning.
const FIRST: [&str; 2] = ["poll", "watch"];
/// At the end of a name that says whose they are, by [`RUNNING`].
const STATES: [&str; 3] = ["output", "progress", "status"];
const RUNNING: [&str; 27] = [
    "approval",
    "backup",
    "bash",
    "batch",
    "build",
    "check",
    "deploy",
    "deployment",
    "download",
    "export",
    "import",
    "job",
    "migration",
    "operation",
    "pipeline",
    "process",
    "render",
    "restore",
    "run",
    "scan",
    "sync",
    "task",
    "terminal",
    "training",
    "transcode",
    "upload",
    "workflow",
];
/// Programs that wait.
const PROGRAMS: [&str; 2] = ["sleep", "watch"];

pub(super) fn waits(step: &Step<'_>, tool: &Tool) -> bool {
    let by_name = step.tool.as_deref().is_some_and(is_name_of_one);
    by_name || tool.runs_code() && step.input.as_ref().is_some_and(|it| begins_with_one(it.get()))
}

fn is_name_of_one(name: &str) -> bool {
    let is_of = |list: &[&str], word: &str| list.iter().any(|it| it.eq_ignore_ascii_case(word));
    let said = || words(name).filter(|it| !it.is_empty());
    said().any(|it| is_of(&ANYWHERE, it))
        || said().next().is_some_and(|it| is_of(&FIRST, it))
        || said().last().is_some_and(|it| is_of(&STATES, it)) && said().any(|it| is_of(&RUNNING, it))
}

/// Whether a text among these arguments does: a command, or the first word of a list of them.
fn begins_with_one(json: &str) -> bool {
    let begins = |program: &&str| {
        json.match_indices(*program).any(|(at, _)| {
            let (before, behind) = (&json[..at], &json[at + program.len()..]);
            // Within a text a quote would be escaped.
            let before = before.strip_suffix('"').map(str::trim_ascii_end);
            before.is_some_and(|it| it.is_empty() || it.ends_with([':', ',', '['])) && behind.starts_with([' ', '"'])
        })
    };
    PROGRAMS.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::{begins_with_one, is_name_of_one};

    #[test]
    fn names_of_tools_that_wait() {
        for (names, expected) in [
            ("wait sleep wait_for browser_wait_for waitForSelector wait_agent poll_queue watch_job", true),
            (
                "render.status exportProgress get_job_status check_status deployment_status BashOutput TaskOutput get_terminal_output",
                true,
            ),
            ("waiter create_poll add_to_watch_list get_order_status set_output status bash get_task job", false),
        ] {
            names.split(' ').for_each(|name| assert_eq!(is_name_of_one(name), expected, "{name}"));
        }
        assert!(!is_name_of_one(""));
    }

    #[test]
    fn commands_that_begin_by_waiting() {
        for (input, expected) in [
            (r#"{"command":"sleep 300; gh run view 991"}"#, true),
            (r#"{"command" : "watch -n 5 kubectl get pods"}"#, true),
            (r#"{"command":["bash","-lc","sleep 5 && ls"]}"#, true),
            (r#"{"command":["sleep","5"]}"#, true),
            (r#""sleep 5""#, true),
            (r#"{"command":"echo \"sleep 5\""}"#, false),
            (r#"{"command":"pytest; sleep 5"}"#, false),
            (r#"{"command":"sleeper 5"}"#, false),
            ("", false),
        ] {
            assert_eq!(begins_with_one(input), expected, "{input}");
        }
    }
}
