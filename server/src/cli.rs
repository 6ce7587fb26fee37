//! The command line as a value. Help texts teach: each command shows how it is used.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use martingale_schemas::Decision;
use serde_json::Value;

use crate::config::Role;

pub(crate) mod baseline;
pub(crate) mod bench;
pub(crate) mod blame;
pub(crate) mod control;
pub(crate) mod eval;
pub(crate) mod grant;
pub(crate) mod letters;
pub(crate) mod policy;

/// One example of each command, in the order of [`Command`].
const OVERVIEW: &str = "\
Examples:
  martingale up --data ./data                      a server; agents send to http://127.0.0.1:7676 and OTLP :4317
  martingale demo                                  a server and a simulated fleet that misbehaves
  martingale replay steps.jsonl.gz                 send recorded executions to it
  martingale sql \"SELECT decision, count(*) FROM steps GROUP BY decision\"
  martingale sessions --limit 100                  which there are, and what stands against them
  martingale timeline my-session                   one of them, step by step
  martingale why my-session 4                      what was decided at a step, and what led to it
  martingale blame --session my-session            where it went wrong, the most suspect step first
  martingale baseline learn steps.jsonl.gz --out normal.baselines   what is normal, to judge by
  martingale eval --labels labels.jsonl steps.jsonl   how often it is right on your own recordings
  martingale tail --min-decision warn              what is being decided, live
  martingale halt my-session --reason \"loops\"      stop it before its next step
  martingale resume my-session --reason \"mended\"   let it go on
  martingale grant --agent clerk --tool send_money --from read_file --for 30d   do not ask about it again
  martingale revoke --agent clerk --tool send_money   ask again
  martingale grants                                what is not asked about, and until when
  martingale alerts                                what the fleet's rules say now
  martingale dead-letters list                     records that could not be accepted
  martingale policy list                           what is judged by
  martingale bench gate                            what this machine does

`martingale COMMAND --help` shows more of each.";

/// The execution control plane for autonomous agents: it follows every session as it unfolds, decides each step before
/// its side effect, and answers why afterwards.
#[derive(Debug, Parser)]
#[command(name = "martingale", version, after_help = OVERVIEW, max_term_width = 110, infer_subcommands = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(Up),
    Demo(Demo),
    Replay(Replay),
    Sql(Sql),
    Sessions(Sessions),
    Timeline(Timeline),
    Why(Why),
    Blame(blame::Blame),
    Baseline(baseline::Baseline),
    Eval(eval::Eval),
    Tail(Tail),
    Halt(control::Halt),
    Resume(control::Resume),
    Grant(grant::Grant),
    Revoke(grant::Revoke),
    Grants(grant::Grants),
    Alerts(Alerts),
    DeadLetters(letters::DeadLetters),
    Policy(policy::Policy),
    Bench(bench::Bench),
}

/// Run the server: ingest, detector, gate, history and SQL in one process and data in one folder, or each in processes of
/// its own over Apache Kafka.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale up --data ./data
  martingale up --data ./data --policies ./policies --config martingale.toml
  martingale up --data ./data --http 127.0.0.1:0 --json      a free port, addresses as JSON when ready
  martingale up --kafka kafka-1:9092,kafka-2:9092            everything in this process, the log on Kafka
  martingale up --kafka kafka-1:9092 --role detector         this one judges, other processes do the rest
  MARTINGALE__LOG__DURABILITY=fsync martingale up --data ./data --dump-config")]
pub(crate) struct Up {
    /// Folder for the log and the history; made when absent. One process at a time.
    #[arg(long, value_name = "DIR", overrides_with = "data")]
    pub(crate) data: Option<PathBuf>,
    /// Brokers of Apache Kafka, as `host:port,host:port`: the log is there, and other processes can share it.
    #[arg(long, value_name = "BROKERS", overrides_with = "kafka")]
    pub(crate) kafka: Option<String>,
    /// In front of the names of topics, groups and transactional ids on Kafka [default: martingale.].
    #[arg(long, value_name = "PREFIX", overrides_with = "topic_prefix")]
    pub(crate) topic_prefix: Option<String>,
    /// What this process does; again or with commas for several [default: all]. Fewer than all need `--kafka`.
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    pub(crate) roles: Vec<Role>,
    /// Address of the HTTP API [default: 127.0.0.1:7676]. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", overrides_with = "http")]
    pub(crate) http: Option<SocketAddr>,
    /// Address of OTLP over gRPC [default: 127.0.0.1:4317].
    #[arg(long, value_name = "ADDR", overrides_with = "otlp_grpc")]
    pub(crate) otlp_grpc: Option<SocketAddr>,
    /// Address of OTLP over HTTP [default: 127.0.0.1:4318].
    #[arg(long, value_name = "ADDR", overrides_with = "otlp_http")]
    pub(crate) otlp_http: Option<SocketAddr>,
    /// Folder of policies (`*.yaml`), added to the shipped ones; one there replaces the shipped one of the same id.
    /// `policies.shipped = false` leaves the shipped ones out.
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// File of what is normal, written by `martingale baseline learn`: the columns `hijack` and `drift` judge by it.
    #[arg(long, value_name = "FILE", overrides_with = "baselines")]
    pub(crate) baselines: Option<PathBuf>,
    /// Folder of fleet alert rules (`*.yaml`); one there replaces the built-in one of the same id.
    #[arg(long, value_name = "DIR")]
    pub(crate) alerts: Option<PathBuf>,
    /// Configuration file (TOML), over the built-in defaults and under the environment and flags.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print one line of JSON with the addresses when ready, and nothing else, on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the configuration as it is after all sources, secrets masked, and end.
    #[arg(long)]
    pub(crate) dump_config: bool,
}

/// A server with a simulated fleet: healthy agents and one of every failure family, over real HTTP and OTLP.
#[derive(Debug, Args)]
#[command(after_help = "\
It runs with the built-in defaults, whatever configuration files and the environment say, and listens on a free port where
a default one is taken.

Examples:
  martingale demo                       in a temporary folder, until Ctrl-C
  martingale demo --seconds 20          ends by itself
  martingale demo --data ./demo-data    keeps what happened")]
pub(crate) struct Demo {
    /// Folder to keep the data in [default: a temporary one, removed at the end].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// End after this many seconds instead of serving until Ctrl-C.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
}

/// Judge recorded steps: through a server, or offline in this process.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with what came in, what was decided, and what each rule found: a rule in shadow mode with what it would have decided.
Lines that are rejected are named with file and line, and the exit code is not 0.

Examples:
  martingale replay steps.jsonl.gz                              to the server on this machine
  martingale replay a.jsonl b.jsonl.gz --server http://10.0.0.5:7676
  martingale replay a.jsonl --server http://ingest:7676 --query-api http://query-api:7676
  martingale replay steps.jsonl.gz --offline --verdicts out.jsonl --json
  zcat steps.jsonl.gz | martingale replay - --offline --policies ./policies")]
pub(crate) struct Replay {
    /// Files of steps, one JSON object a line; `.gz` is read as gzip, `-` is standard input.
    #[arg(required = true, value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,
    /// Judge in this process, as fast as it can, without a server. The same steps give the same verdicts. Not together
    /// with --server, --token or --concurrency.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Offline only: sessions to learn the agents' normal behaviour from before any other is judged. They are taken as
    /// normal, carry no labels and are not judged. May be given several times. Or one file of `martingale baseline learn`.
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub(crate) baselines: Vec<PathBuf>,
    /// Offline only: folder of policies (`*.yaml`), added to the shipped ones; one there replaces the shipped one of the
    /// same id.
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// Offline only: leave the shipped policies out.
    #[arg(long)]
    pub(crate) no_shipped: bool,
    /// Write one line of JSON for each judged step, in the order of the files.
    #[arg(long, value_name = "OUT.jsonl")]
    pub(crate) verdicts: Option<PathBuf>,
    /// End with one JSON object on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// Requests under way at once. Steps of one run always go in the order of the files.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) concurrency: u32,
    /// Server of the role query-api that tells the verdicts, where that with --server takes steps only; with the same token
    /// [default: the one with --server].
    #[arg(long, value_name = "URL")]
    pub(crate) query_api: Option<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Ask history in SQL. Tables: steps, sessions, verdicts, findings, edges, controls.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale sql \"SELECT agent_id, count(*) FROM steps GROUP BY agent_id ORDER BY 2 DESC\"
  martingale sql \"SELECT session_id, rule, message FROM findings WHERE severity = 'critical'\" --json")]
pub(crate) struct Sql {
    /// The query: read only, one statement.
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// List sessions, newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale sessions
  martingale sessions --agent support-bot --limit 100 --json")]
pub(crate) struct Sessions {
    /// Only sessions of this agent.
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<String>,
    /// Most sessions to list.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Show a session step by step, with what was decided and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale timeline demo-secret-egress
  martingale timeline demo-secret-egress --json")]
pub(crate) struct Timeline {
    pub(crate) session: String,
    /// Most steps to show.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Explain one step: what was decided, the evidence, and the steps that led to it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale why demo-secret-egress 4
  martingale why demo-secret-egress 4 --json")]
pub(crate) struct Why {
    pub(crate) session: String,
    pub(crate) step: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Follow verdicts as they are given. Takes up where it was when the connection is cut.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale tail --min-decision warn
  martingale tail --agent support-bot --json | jq .findings")]
pub(crate) struct Tail {
    /// Only this session.
    #[arg(long, value_name = "SESSION")]
    pub(crate) session: Option<String>,
    /// Only sessions of this agent.
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<String>,
    /// Only decisions at least this severe: allow, warn, throttle, modify, step_up, deny, halt.
    #[arg(long, value_name = "DECISION", default_value_t = Decision::Warn)]
    pub(crate) min_decision: Decision,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// List fleet alerts and their state.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  martingale alerts
  martingale alerts --json")]
pub(crate) struct Alerts {
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// Address of the server.
    #[arg(long, value_name = "URL", env = "MARTINGALE_SERVER", default_value = "http://127.0.0.1:7676")]
    pub(crate) server: String,
    /// Bearer token, where the server wants one.
    #[arg(long, value_name = "TOKEN", env = "MARTINGALE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

/// Where to ask and how to show the answer.
#[derive(Clone, Debug, Args)]
pub(crate) struct Output {
    /// The server's answer as JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Who gives an order, why, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct Signed {
    /// Why: kept with the order; of a halt, shown to the agent.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Who gives the order.
    #[arg(long, value_name = "WHO", env = "USER")]
    pub(crate) by: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Signed {
    /// The order as it is sent: those of its fields that are set, why, and who gives it.
    pub(crate) fn order(&self, fields: &[(&str, Option<&str>)]) -> Value {
        let signed = [("reason", self.reason.as_deref()), ("by", self.by.as_deref())];
        let set = |(name, value): (&str, Option<&str>)| Some((name.to_owned(), Value::from(value?)));
        Value::Object(fields.iter().copied().chain(signed).filter_map(set).collect())
    }
}

impl Cli {
    /// The arguments of this process. Ends it, as clap does, when they cannot be read or contradict each other.
    pub(crate) fn of_process() -> Self {
        Self::read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn read<T>(line: impl IntoIterator<Item = T>) -> Result<Self, clap::Error>
    where
        T: Into<std::ffi::OsString> + Clone,
    {
        let mut command = Self::command();
        let given = command.try_get_matches_from_mut(line)?;
        let refused = match given.subcommand() {
            Some(("replay", it)) => contradiction(it).map(|refused| ("replay", refused)),
            Some(("blame", it)) => blame::contradiction(it).map(|refused| ("blame", refused)),
            _ => None,
        };
        if let Some((name, refused)) = refused {
            let mut usage = command.find_subcommand(name).cloned().unwrap_or(command);
            return Err(usage.error(ErrorKind::ArgumentConflict, refused));
        }
        Self::from_arg_matches(&given)
    }
}

/// What was asked of `replay` and cannot be both. Here and not in the definitions, because a server that the environment
/// names stands for no wish: somebody who works with one may judge a file offline.
fn contradiction(replay: &ArgMatches) -> Option<String> {
    let given = |name: &str| replay.value_source(name) == Some(ValueSource::CommandLine);
    if replay.get_flag("offline") {
        return ["server", "token", "concurrency", "query_api"].into_iter().find(|it| given(it)).map(|name| {
            format!(
                "--offline judges in this process and sends nothing, so --{} has no meaning: leave out one of the two",
                name.replace('_', "-")
            )
        });
    }
    let remedy = "start that with `martingale up --policies DIR`, or add --offline to judge in this process";
    [("policies", "--policies"), ("no_shipped", "--no-shipped")].into_iter().find(|(name, _)| given(name)).map(
        |(_, flag)| format!("{flag} is for --offline: a server judges by the policies it was started with: {remedy}"),
    )
}

#[cfg(test)]
mod tests;
