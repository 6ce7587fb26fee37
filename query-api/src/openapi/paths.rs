//! Every path, as a table.

pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) params: &'static [Param],
    /// Media types, separated by a space, and schema.
    pub(super) body: Option<(&'static str, &'static str)>,
    /// Status, meaning, media types, schema.
    pub(super) answers: &'static [(&'static str, &'static str, &'static str, &'static str)],
    /// Status and meaning of answers in the one shape of errors.
    pub(super) errors: &'static [(&'static str, &'static str)],
}

pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) place: In,
    pub(super) kind: &'static str,
    pub(super) what: &'static str,
}

pub(super) enum In {
    Path,
    Query,
    Header,
}

const JSON: &str = "application/json";
const STEPS: &str = "application/json application/x-ndjson";

const fn query(name: &'static str, kind: &'static str, what: &'static str) -> Param {
    Param { name, place: In::Query, kind, what }
}

const fn path(name: &'static str, what: &'static str) -> Param {
    Param { name, place: In::Path, kind: "string", what }
}

const LIMIT: Param = query("limit", "integer", "Most entries of the answer.");
const BAD: (&str, &str) = ("400", "A field is wrong: its name, its value and the remedy.");
const ELSEWHERE: (&str, &str) =
    ("503", "Over Kafka: another process of the role keeps them just now; ask that one, or again in some seconds.");
const MISSING: (&str, &str) = ("404", "There is none.");
const BUSY: (&str, &str) = ("429", "A limit is reached, nothing was done; come back after `Retry-After` seconds.");
const DOWN: (&str, &str) = ("503", "The log cannot be used just now.");
const PLAIN: (&str, &str) = ("415", "It is compressed, which is not taken here.");
const ENCODING: (&str, &str) = ("415", "Its `content-encoding` is not known.");
const QUERY_TOO_SLOW: (&str, &str) = ("408", "It took longer than `sql.time_max`.");
const QUERY_TOO_LARGE: (&str, &str) = ("413", "It needs more memory, or its answer is larger, than `[sql]` grants.");
const CATCHING_UP: (&str, &str) =
    ("503", "History still reads what was on the log at the start, or cannot be read just now; ask again later.");
const FAILED: (&str, &str) = ("500", "It failed inside the server, whose log has the reason.");

/// The one path that needs no token.
pub(super) const OPEN: &str = "/healthz";
/// What every path may be answered with before it is asked.
pub(super) const GUARD: [(&str, &str); 2] = [
    ("401", "The server has a token, and the request shows none or another."),
    (
        "403",
        "Where no token is set: a page of another host or port asks, or, on loopback, the `Host` is not this machine.",
    ),
];

/// What every path that takes a body may be answered with before that is looked at.
pub(super) const BODIES: [(&str, &str); 3] = [
    ("408", "The body came too slowly."),
    ("413", "The body is too large."),
    ("429", "Too many bytes are in progress; come back later."),
];

const NONE: Operation =
    Operation { method: "get", path: "", summary: "", params: &[], body: None, answers: &[], errors: &[] };

pub(super) const PATHS: &[Operation] = &[
    Operation {
        method: "post",
        path: "/v1/steps",
        summary: "Observe: steps that have happened; one, an array, or a line each.",
        params: &[Param { name: "content-encoding", place: In::Header, kind: "string", what: "`gzip` or `zstd`." }],
        body: Some((STEPS, "Steps")),
        answers: &[
            ("200", "Durable; rejected steps are listed.", JSON, "Accepted"),
            ("400", "Every step was rejected, or the body is no JSON.", JSON, "NotAccepted"),
        ],
        errors: &[("413", "The body or the number of its steps is too large."), ENCODING, BUSY, DOWN],
    },
    Operation {
        path: "/v1/dead-letters",
        summary: "Records that were rejected, with the reason, oldest first. A page may be short, or empty, before the end: \
                  the list is at its end when `next` is the `after` that was sent.",
        params: &[
            LIMIT,
            query("after", "string", "`next` of the page before."),
            query("state", "string", "`open` (the default), `replayed` or `all`."),
        ],
        answers: &[("200", "A page of dead letters.", JSON, "DeadLetters")],
        errors: &[BAD, BUSY, DOWN],
        ..NONE
    },
    Operation {
        method: "post",
        path: "/v1/dead-letters/replay",
        summary: "Feeds dead letters in again, those that are named or all that are open, and puts down what came of it.",
        body: Some((JSON, "ReplayRequest")),
        answers: &[("200", "What became of them.", JSON, "Replayed")],
        errors: &[BAD, ENCODING, BUSY, DOWN],
        ..NONE
    },
    Operation {
        method: "post",
        path: "/v1/gate",
        summary: "Enforce: the step about to run; the answer is its verdict. Act on `decision`.",
        body: Some((JSON, "Step")),
        answers: &[
            ("200", "The verdict, or with `timed_out` the operator's choice for this agent.", JSON, "Answer"),
            ("409", "Another step has this `step_id`: `deny`.", JSON, "Answer"),
            (
                "429",
                "A limit is reached; come back after `Retry-After` seconds. `decision` is the operator's choice, and is missing where \
                 the body was not read.",
                JSON,
                "AnswerOrError",
            ),
            (
                "503",
                "No verdict: `decision` is the operator's choice. One that cannot be read: `deny`.",
                JSON,
                "Answer",
            ),
        ],
        errors: &[BAD, PLAIN],
        ..NONE
    },
    Operation {
        method: "post",
        path: "/v1/controls",
        summary: "Halts or resumes a session or a run, grants a flow or revokes it, or has baselines used; answers once it holds everywhere.",
        body: Some((JSON, "ControlRequest")),
        answers: &[
            ("200", "Applied: every step judged from now on is judged under it.", JSON, "Given"),
            ("202", "On the log, not applied everywhere within the time: ask for it by its id.", JSON, "Given"),
        ],
        errors: &[
            BAD,
            ("404", "The baselines are not on the log."),
            ("409", "The id is taken by another order."),
            ("413", "The body is larger than `controls.body_bytes_max`."),
            PLAIN,
            BUSY,
            DOWN,
        ],
        ..NONE
    },
    Operation {
        path: "/v1/controls",
        summary: "Controls, newest first.",
        params: &[
            LIMIT,
            query("session_id", "string", "Of this session."),
            query("root_session_id", "string", "Of this run."),
        ],
        answers: &[("200", "Newest first.", JSON, "Controls")],
        errors: &[BAD],
        ..NONE
    },
    Operation {
        path: "/v1/controls/{id}",
        summary: "One control and how far it has come.",
        params: &[path("id", "`control_id`.")],
        answers: &[("200", "The control.", JSON, "Given")],
        errors: &[BAD, MISSING],
        ..NONE
    },
    Operation {
        path: "/v1/grants",
        summary: "Grants in force, as detectors applied them: who need not be asked about which calls, and until when.",
        answers: &[("200", "The one that was given last first.", JSON, "Grants")],
        ..NONE
    },
    Operation {
        path: "/v1/baselines",
        summary: "Baselines on the log, newest first, and which of them are in use.",
        answers: &[("200", "Newest first.", JSON, "Listed")],
        errors: &[DOWN],
        ..NONE
    },
    Operation {
        method: "post",
        path: "/v1/baselines",
        summary: "Puts baselines on the log. An order `use_baselines` has them used.",
        body: Some(("application/octet-stream", "Bytes")),
        answers: &[("201", "They are on the log.", JSON, "Put")],
        errors: &[
            ("400", "No baselines, or damaged ones."),
            ("409", "Eight are there that no order has used, or 256 MiB of them: remove one, or have one used."),
            ("413", "Larger than 64 MiB."),
            PLAIN,
            BUSY,
            DOWN,
        ],
        ..NONE
    },
    Operation {
        path: "/v1/baselines/{id}",
        summary: "Baselines as `martingale baseline learn` writes them.",
        params: &[path("id", "`baselines_id`.")],
        answers: &[("200", "The file.", "application/octet-stream", "Bytes")],
        errors: &[BAD, MISSING, DOWN],
        ..NONE
    },
    Operation {
        method: "delete",
        path: "/v1/baselines/{id}",
        summary: "Removes baselines from the log.",
        params: &[path("id", "`baselines_id`.")],
        answers: &[("204", "They are gone.", "", "")],
        errors: &[BAD, MISSING, ("409", "They are used, or were ordered last."), BUSY, DOWN],
        ..NONE
    },
    Operation {
        path: "/v1/stream",
        summary: "Verdicts and controls as they happen: server-sent events `verdict`, `control`, and `lost` when retention was faster than the reader. A control comes as `requested` once, as `applied` from each partition that knows its session and from the one its id belongs to.",
        params: &[
            query("session_id", "string", "Of this session."),
            query("root_session_id", "string", "Of this run."),
            query(
                "agent",
                "string",
                "Of agents whose id matches; `*` is any run of characters. Controls come all the same.",
            ),
            query("min_decision", "string", "Verdicts of this decision or a worse one; `warn` unless told."),
            query("after", "string", "Cursor, `start` or `end` (unless told)."),
            Param {
                name: "last-event-id",
                place: In::Header,
                kind: "string",
                what: "Id of the last event received; goes before `after`.",
            },
        ],
        answers: &[("200", "Events; the data of each is a Verdict or a Control.", "text/event-stream", "Text")],
        errors: &[BAD, BUSY, DOWN],
        ..NONE
    },
    Operation {
        path: "/v1/verdicts",
        summary: "Verdicts as on the log, one a line. Go on with the header `martingale-cursor` until a page is empty.",
        params: &[
            query("after", "string", "Cursor, `start` (unless told) or `end`."),
            LIMIT,
            query("wait", "string", "How long to wait for a first verdict, as `10s`."),
        ],
        answers: &[("200", "A page; each line is a Verdict.", "application/x-ndjson", "Verdict")],
        errors: &[BAD, ("410", "Retention removed what comes after the cursor."), DOWN],
        ..NONE
    },
    Operation {
        path: "/v1/deliveries",
        summary: "Webhook deliveries, newest first, and the state of the endpoint.",
        params: &[LIMIT, query("state", "string", "`pending`, `delivered` or `failed`.")],
        answers: &[("200", "Newest first.", JSON, "Deliveries")],
        errors: &[BAD, ELSEWHERE],
        ..NONE
    },
    Operation {
        method: "post",
        path: "/v1/deliveries/{id}/retry",
        summary: "Sends a delivery again, with all its attempts; a disabled endpoint is enabled.",
        params: &[path("id", "`id` of the delivery.")],
        answers: &[("202", "It is pending again.", JSON, "Delivery")],
        errors: &[
            BAD,
            MISSING,
            ELSEWHERE,
            ("409", "No endpoint is configured, or this release cannot read the delivery."),
        ],
        ..NONE
    },
    Operation {
        path: "/v1/alerts",
        summary: "Fleet alerts and the rules behind them.",
        params: &[
            query("rule", "string", "Of this rule."),
            query("state", "string", "`pending`, `firing` or `resolved`."),
        ],
        answers: &[("200", "Newest first.", JSON, "List")],
        errors: &[BAD, ELSEWHERE],
        ..NONE
    },
    Operation {
        method: "post",
        path: "/v1/sql",
        summary: "SQL over history: tables steps, sessions, verdicts, findings, edges, controls. Read only.",
        body: Some((JSON, "SqlRequest")),
        answers: &[(
            "200",
            "Columns and rows; as CSV or an Arrow stream where `Accept` asks for `text/csv` or `application/vnd.apache.arrow.stream`, and then `martingale-truncated` says whether rows were left out.",
            JSON,
            "SqlAnswer",
        )],
        errors: &[
            BAD,
            ("403", "The statement would write."),
            ("408", "It took longer than `sql.time_max`, or its body came too slowly."),
            ("413", "Its body is too long; or it needs more memory, or its answer is larger, than `[sql]` grants."),
            PLAIN,
            FAILED,
            CATCHING_UP,
        ],
        ..NONE
    },
    Operation {
        path: "/v1/sessions",
        summary: "Sessions, the latest first.",
        params: &[
            query("agent", "string", "Of this agent."),
            query("environment", "string", "Of this environment."),
            query("decision", "string", "With this as their worst decision."),
            query("q", "string", "Whose id or title holds this text."),
            query("after", "string", "`next` of the page before."),
            LIMIT,
        ],
        answers: &[("200", "A page of sessions.", JSON, "Object")],
        errors: &[BAD, QUERY_TOO_SLOW, QUERY_TOO_LARGE, FAILED, CATCHING_UP],
        ..NONE
    },
    Operation {
        path: "/v1/sessions/{session}",
        summary: "One session.",
        params: &[path("session", "`session_id`.")],
        answers: &[("200", "The session.", JSON, "Object")],
        errors: &[BAD, MISSING, QUERY_TOO_SLOW, QUERY_TOO_LARGE, FAILED, CATCHING_UP],
        ..NONE
    },
    Operation {
        path: "/v1/sessions/{session}/timeline",
        summary: "The steps of a session in order, with what was decided and found, and in `orders` what was ordered by hand for it, its parent, its root or its run: each holds for the steps of its `partition` from offset `before_offset` on.",
        params: &[path("session", "`session_id`."), LIMIT, query("after", "string", "`next` of the page before.")],
        answers: &[("200", "A page of steps, and the orders that came before one of them.", JSON, "Object")],
        errors: &[BAD, MISSING, QUERY_TOO_SLOW, QUERY_TOO_LARGE, FAILED, CATCHING_UP],
        ..NONE
    },
    Operation {
        path: "/v1/sessions/{session}/steps/{step}/why",
        summary: "What led to a step: declared causes, values that came from a step, and structural causes, each edge with its kind.",
        params: &[
            path("session", "`session_id`."),
            path("step", "`step_id`."),
            query("depth", "integer", "How many edges back."),
        ],
        answers: &[("200", "Steps and edges.", JSON, "Why")],
        errors: &[BAD, MISSING, QUERY_TOO_SLOW, QUERY_TOO_LARGE, FAILED, CATCHING_UP],
        ..NONE
    },
    Operation {
        path: "/healthz",
        summary: "Whether the process answers.",
        answers: &[("200", "It does.", JSON, "Object")],
        ..NONE
    },
    Operation {
        path: "/readyz",
        summary: "Whether it can do its work, and if not, why.",
        answers: &[("200", "Ready.", JSON, "Ready"), ("503", "Not ready; `checks` says why.", JSON, "Ready")],
        ..NONE
    },
    Operation {
        path: "/metrics",
        summary: "Metrics for Prometheus.",
        answers: &[("200", "Text format 0.0.4.", "text/plain", "Text")],
        errors: &[("503", "They cannot be gathered just now.")],
        ..NONE
    },
    Operation {
        path: "/openapi.json",
        summary: "This document.",
        answers: &[("200", "OpenAPI 3.1.", JSON, "Object")],
        ..NONE
    },
];
