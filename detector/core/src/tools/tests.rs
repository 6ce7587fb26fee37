mod defined;

use martingale_schemas::{Limits, Timestamp, wire::StepV1};

use super::{Catalogue, Defined, Flags, Tool, Tools};
use crate::yaml::{self, Faults};

fn shown(flags: Flags) -> String {
    let names = [
        (Flags::READ_ONLY, "read_only"),
        (Flags::DESTRUCTIVE, "destructive"),
        (Flags::IDEMPOTENT, "idempotent"),
        (Flags::OPEN_WORLD, "open_world"),
        (Flags::POLL, "poll"),
        (Flags::OUTSIDE, "outside"),
    ];
    names.into_iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| name).collect::<Vec<_>>().join(" ")
}

/// A tool as it is known after `asked` calls.
fn tool(catalogue: &str, tool: &str, annotations: &str, asked: usize) -> Tool {
    let mut errors = Vec::new();
    let mut known = Catalogue::default();
    let mut faults = Faults::new("tools.yaml", catalogue, &mut errors);
    for document in yaml::documents(catalogue, &mut faults) {
        super::read_catalogue(&document, &mut known, &mut faults);
    }
    assert_eq!(errors, []);
    let json = format!(
        r#"{{"session_id":"s","kind":"tool_call","agent":{{"id":"a"}},"tool":"{tool}","attributes":{{"mcp.tool.annotations":{annotations}}}}}"#
    );
    let step = StepV1::parse(json.as_bytes()).unwrap().check(Timestamp::from_micros(0), &Limits::DEFAULT).unwrap();
    let mut tools = Tools::default();
    (0..asked).map(|_| tools.of(&step, &known, &Defined::default(), 4).into_owned()).last().unwrap()
}

fn check(catalogue: &str, name: &str, annotations: &str, expected: &str) {
    for asked in 1..3 {
        let it = tool(catalogue, name, annotations, asked);
        let source = if it.annotated { "annotated" } else { "heuristic" };
        assert_eq!(format!("{} level {} {source}", shown(it.flags), it.level), expected, "{name} {annotations}");
    }
}

#[test]
fn names_suggest() {
    for (name, expected) in [
        ("get_user_details", "read_only idempotent level 1 heuristic"),
        ("searchFlights", "read_only idempotent level 1 heuristic"),
        ("send_email", "open_world level 3 heuristic"),
        ("get_webpage", "read_only idempotent open_world level 1 heuristic"),
        ("search_replace", " level 2 heuristic"),
        ("delete-file", "destructive level 3 heuristic"),
        ("get_and_delete", "destructive level 3 heuristic"),
        ("bash", "destructive open_world level 4 heuristic"),
        ("PowerShell", "destructive open_world level 4 heuristic"),
        ("pwsh", "destructive open_world level 4 heuristic"),
        ("cmd.exe", "destructive open_world level 4 heuristic"),
        ("functions.node", "destructive open_world level 4 heuristic"),
        ("mcp__desktop-commander__start_process", "destructive open_world level 4 heuristic"),
        ("browserEvaluate", "destructive open_world level 4 heuristic"),
        ("tmux_send_keys", "destructive open_world level 4 heuristic"),
        ("write_stdin", "destructive open_world level 4 heuristic"),
        ("\u{ff22}\u{ff21}\u{ff33}\u{ff28}", "destructive open_world level 4 heuristic"),
        ("get_cmd_history", "read_only idempotent level 1 heuristic"),
        ("node_info", " level 0 heuristic"),
        ("process_payment", "open_world level 3 heuristic"),
        ("evaluate_model", " level 0 heuristic"),
        ("multi_tool_use.parallel", " level 0 heuristic"),
        ("update_reservation_flights", " level 2 heuristic"),
        ("frobnicate", " level 0 heuristic"),
        ("getaway", " level 0 heuristic"),
        // What strangers write, in either number, and nothing that goes out.
        ("read_emails", "read_only idempotent outside level 1 heuristic"),
        ("get_issue", "read_only idempotent outside level 1 heuristic"),
        ("listTickets", "read_only idempotent outside level 1 heuristic"),
        ("get_pull_requests", "read_only idempotent outside level 1 heuristic"),
        ("getReplies", "read_only idempotent outside level 1 heuristic"),
        ("list_mailboxes", "read_only idempotent outside level 1 heuristic"),
        ("gmail.users.messages.list", "read_only idempotent outside level 1 heuristic"),
        ("mcp__fetch__fetch", "read_only idempotent outside level 1 heuristic"),
        ("mcp__github_issues__get_time", "read_only idempotent level 1 heuristic"),
        ("open_page", "outside level 0 heuristic"),
        ("scrape_site", "outside level 0 heuristic"),
        ("inbox", "outside level 0 heuristic"),
        ("download", "outside level 0 heuristic"),
        ("read_email", "open_world level 3 heuristic"),
        ("fetch_record", "read_only idempotent level 1 heuristic"),
        ("issue_refund", " level 0 heuristic"),
        ("create_issue", " level 2 heuristic"),
        ("get_passenger", "read_only idempotent level 1 heuristic"),
        ("", " level 0 heuristic"),
    ] {
        check("", name, "null", expected);
    }
}

#[test]
fn the_catalogue_goes_before_the_name() {
    let catalogue =
        "tools:\n  - { name: send_email, read_only: true, level: 1 }\n  - { name: 'job_*', labels: [poll] }\n";
    check(catalogue, "send_email", "null", "read_only level 1 annotated");
    check(catalogue, "job_status", "null", "poll level 2 annotated");
    check(catalogue, "get_job", "null", "read_only idempotent level 1 heuristic");
}

#[test]
fn annotations_raise_caution_and_never_lower_it() {
    for (tool, annotations, expected) in [
        ("get_x", r#"{"readOnlyHint":false}"#, "idempotent level 2 annotated"),
        ("get_x", r#"{"destructiveHint":true}"#, "destructive idempotent level 3 annotated"),
        ("get_x", r#"{"openWorldHint":true}"#, "read_only idempotent open_world level 1 annotated"),
        ("send_email", r#"{"readOnlyHint":true,"openWorldHint":false}"#, "open_world level 3 annotated"),
        ("delete_x", r#"{"readOnlyHint":true,"destructiveHint":false}"#, "destructive level 3 annotated"),
        // What reaches out and does more than read; the protocol's own example of an open world is a search.
        ("frob", r#"{"openWorldHint":true}"#, "open_world level 3 annotated"),
        ("update_x", r#"{"openWorldHint":true}"#, "open_world level 3 annotated"),
        ("get_x", r#"{"openWorldHint":true,"readOnlyHint":false}"#, "idempotent open_world level 3 annotated"),
        ("frob", r#"{"openWorldHint":true,"readOnlyHint":true}"#, "open_world level 0 annotated"),
        ("bash", r#"{"openWorldHint":true}"#, "destructive open_world level 4 annotated"),
        // The protocol takes it to be true where nobody says so: that warns of nothing.
        ("frob", "{}", " level 0 annotated"),
        ("frob", r#"{"openWorldHint":null,"title":"Frob"}"#, " level 0 annotated"),
        ("frob", r#"{"openWorldHint":"true"}"#, " level 0 annotated"),
        ("get_x", r#""nonsense""#, "read_only idempotent level 1 heuristic"),
    ] {
        check("", tool, annotations, expected);
    }
}

/// The operator goes before a server, and a server before a name, unless it says worse.
#[test]
fn who_says_the_level_is_known() {
    let catalogue = "tools:\n  - { name: described, level: 2, scopes: ['a', 'b'] }\n  - { name: page, read_only: true, open_world: true, level: 1 }\n";
    for (name, annotations, expected) in [
        ("described", "null", "2 Catalogue a b"),
        ("described", r#"{"readOnlyHint":false}"#, "2 Catalogue a b"),
        ("described", r#"{"destructiveHint":true}"#, "3 Annotations a b"),
        ("delete_x", "null", "3 Name "),
        ("delete_x", r#"{"destructiveHint":true}"#, "3 Annotations "),
        ("delete_x", r#"{"readOnlyHint":false}"#, "3 Name "),
        ("bash", r#"{"destructiveHint":true}"#, "4 Name "),
        ("get_x", r#"{"readOnlyHint":true}"#, "1 Name "),
        ("frob", r#"{"openWorldHint":true}"#, "3 Annotations "),
        ("send_x", r#"{"openWorldHint":true}"#, "3 Annotations "),
        ("described", r#"{"openWorldHint":true}"#, "3 Annotations a b"),
        ("page", r#"{"openWorldHint":true}"#, "1 Catalogue "),
    ] {
        let it = tool(catalogue, name, annotations, 1);
        assert_eq!(format!("{} {:?} {}", it.level, it.level_by, it.scopes.join(" ")), expected, "{name} {annotations}");
    }
}

/// What annotations say raises a tool's own level alone: a server that calls its reader destructive makes no later call ordinary.
#[test]
fn how_high_a_run_has_reached() {
    for (name, annotations, level, reach) in [
        ("frob", r#"{"openWorldHint":true}"#, 3, 0),
        ("frob", r#"{"openWorldHint":true,"readOnlyHint":false}"#, 3, 0),
        ("frob", r#"{"openWorldHint":true,"destructiveHint":true}"#, 3, 0),
        ("send_x", r#"{"openWorldHint":true}"#, 3, 3),
    ] {
        let it = tool("", name, annotations, 1);
        assert_eq!((it.level, it.reach), (level, reach), "{name} {annotations}");
    }
}
