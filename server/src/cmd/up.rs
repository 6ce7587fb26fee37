//! `up`: the server.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Up;
use crate::config::{Config, Layer, Role};
use crate::output::{myself, note, say, say_json};
use crate::policies::Loaded;
use crate::roles::{self, Addresses};

pub(crate) async fn run(args: Up) -> Result<ExitCode> {
    let config = configure(&args, std::env::vars_os())?;
    if args.dump_config {
        say(config.dump().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let (lost_lines, _flush) = martingale_platform::telemetry::init(&config.telemetry.filter, config.telemetry.format)
        .map_err(|message| anyhow!(message))?;
    crate::panics::quiet_the_expected();
    let registry = prometheus::Registry::new();
    registry.register(Box::new(lost_lines))?;
    let mut signals = Signals::new()?;
    let Loaded { rules, shipped, own, baselines } = crate::policies::configured(&config)?;
    let mut policies = match config.policies.folder() {
        Some(folder) => format!("{shipped} shipped policies, {own} of {}", folder.display()),
        None => format!("{shipped} shipped policies"),
    };
    if baselines > 0 {
        policies += &format!(", baselines of {}", crate::policies::count(baselines, "agent"));
    }
    let place = Place::of(&config);
    let running = tokio::select! {
        running = Box::pin(roles::start(config, rules, registry)) => running?,
        () = signals.next() => return Ok(ExitCode::FAILURE),
    };
    // A reader of this line that went away does not end the server.
    let told =
        if args.json { say_json(&running.addresses) } else { say(banner(&running.addresses, &place, &policies)) };
    if let Err(error) = told {
        tracing::warn!(%error, "standard output is closed");
    }
    serve(running, &mut signals).await
}

/// Serves until a signal, then stops in order; the second signal does not wait for that.
pub(super) async fn serve(mut running: roles::Running, signals: &mut Signals) -> Result<ExitCode> {
    let broken = tokio::select! {
        () = signals.next() => None,
        error = running.broken() => Some(error),
    };
    if let Some(error) = broken {
        return Err(error);
    }
    tracing::info!("stopping");
    tokio::select! {
        stopped = running.stop() => stopped.map(|()| ExitCode::SUCCESS),
        () = signals.next() => {
            note("stopped at once: what was not flushed is read from the log at the next start");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        let of = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The layers over the built-in defaults: file, environment, flags.
fn configure(args: &Up, variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>) -> Result<Config> {
    let mut layers = Layer::sources(args.config.as_deref(), variables)?;
    let addresses = [
        ("--http", "server.http", args.http),
        ("--otlp-grpc", "server.otlp_grpc", args.otlp_grpc),
        ("--otlp-http", "server.otlp_http", args.otlp_http),
    ];
    for (flag, key, address) in addresses {
        layers.extend(address.map(|it| Layer::flag(flag, key, it.to_string())));
    }
    let texts =
        [("--kafka", "kafka.brokers", &args.kafka), ("--topic-prefix", "kafka.topic_prefix", &args.topic_prefix)];
    // A variable of a shell that is not set, and no wish for another log.
    if args.kafka.as_ref().is_some_and(|it| it.trim().is_empty()) {
        bail!("--kafka is empty: name the brokers, or leave it out for the log in a folder");
    }
    for (flag, key, text) in texts {
        layers.extend(text.as_ref().map(|it| Layer::flag(flag, key, it.as_str())));
    }
    if !args.roles.is_empty() {
        let roles: Vec<&str> = args.roles.iter().map(|it| it.as_str()).collect();
        layers.push(Layer::flag("--role", "server.roles", roles));
    }
    let folders = [
        ("--data", "server.data", &args.data),
        ("--policies", "policies.dir", &args.policies),
        ("--baselines", "baselines.file", &args.baselines),
        ("--alerts", "alerts.dir", &args.alerts),
    ];
    for (flag, key, folder) in folders {
        if let Some(folder) = folder {
            let folder = folder.to_str().with_context(|| format!("{flag} {} is not UTF-8", folder.display()))?;
            layers.push(Layer::flag(flag, key, folder));
        }
    }
    Ok(Config::from_layers(&layers)?)
}

/// Where what it knows is kept, and what it does.
struct Place {
    log: String,
    roles: Vec<Role>,
}

impl Place {
    fn of(config: &Config) -> Self {
        let (data, history) = (config.server.data.display(), &config.history.dir);
        let log = match (config.on_kafka(), config.server.has(Role::QueryApi)) {
            (false, _) if history.folder().is_some() => format!("its data in {data}"),
            (false, _) => format!("its data in {data}, its history in {history}"),
            (true, true) => format!("its log on Kafka and its history in {history}"),
            (true, false) => "its log on Kafka".to_owned(),
        };
        Self { log, roles: config.server.roles.clone() }
    }
}

fn banner(addresses: &Addresses, place: &Place, policies: &str) -> String {
    let Addresses { http, otlp_grpc, otlp_http } = addresses;
    let Place { log, roles } = place;
    let is = |role: Role| roles.contains(&role);
    let mut text = String::from("martingale is ready");
    if Role::ALL.iter().any(|it| !is(*it)) {
        let names: Vec<&str> = roles.iter().map(|it| it.as_str()).collect();
        text += &format!(" as {}", names.join(", "));
    }
    if is(Role::Detector) {
        text += &format!(", with {policies}");
    }
    text += &format!(", and {log}\n\n");
    let (ingest, queries) = ("POST /v1/steps", "/v1/gate, /v1/sql; GET /openapi.json");
    match (is(Role::Ingest), is(Role::QueryApi)) {
        (true, true) => text += &format!("  steps, gate, SQL   http://{http}         {ingest}, {queries}\n"),
        (true, false) => text += &format!("  steps              http://{http}         {ingest}\n"),
        (false, true) => text += &format!("  gate, SQL          http://{http}         POST {queries}\n"),
        (false, false) => {}
    }
    if let (Some(grpc), Some(http)) = (otlp_grpc, otlp_http) {
        text += &format!("  OpenTelemetry      http://{grpc} (gRPC), http://{http} (HTTP)\n");
    }
    text += &format!("  health, metrics    http://{http}/readyz, /metrics\n\n");
    if is(Role::QueryApi) {
        let me = myself();
        // Everybody but the one who listens writes the loopback name.
        let server = if http.port() == 7676 { String::new() } else { format!(" --server http://{http}") };
        text += &format!("  {me} tail{server}\n");
        text += &format!("  {me} sql{server} \"SELECT agent_id, decision, count(*) FROM steps GROUP BY 1, 2\"\n\n");
    }
    text + "Ctrl-C stops it."
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::configure;
    use crate::cli::{Cli, Command};
    #[cfg(feature = "kafka")]
    use crate::config::Role;

    fn config(line: &str, variables: &[(&str, &str)]) -> Result<crate::config::Config, String> {
        let Ok(Command::Up(args)) = Cli::try_parse_from(line.split_whitespace()).map(|it| it.command) else {
            panic!("not taken: {line}")
        };
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        configure(&args, variables).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn flags_win_over_the_environment() {
        let variables = [("MARTINGALE__SERVER__DATA", "/e"), ("MARTINGALE__SERVER__HTTP", "127.0.0.1:1")];
        let config = config("martingale up --data /f --policies p --otlp-http 127.0.0.1:0", &variables).expect("valid");
        assert_eq!(config.server.data, std::path::Path::new("/f"));
        assert_eq!((config.server.http.port(), config.server.otlp_http.port()), (1, 0));
        assert_eq!(config.policies.dir, std::path::Path::new("p"));
        assert_eq!(config.history.dir.folder(), Some(std::path::Path::new("/f/history")));
        assert_eq!(config.log.dir, std::path::Path::new("/f/log"));
    }

    #[test]
    fn shipped_policies_stay_unless_they_are_switched_off() {
        for (variables, shipped) in [(vec![], true), (vec![("MARTINGALE__POLICIES__SHIPPED", "false")], false)] {
            let config = config("martingale up --policies p", &variables).expect("valid");
            assert_eq!(config.policies.shipped, shipped);
        }
    }

    #[test]
    fn some_roles_need_a_log_that_others_have_too() {
        let said = config("martingale up --role detector", &[]).expect_err("refused");
        assert!(said.contains("kafka.brokers (--kafka)") && said.contains("without the role ingest"), "{said}");
        let said = config("martingale up --kafka 127.0.0.1:1", &[("MARTINGALE__SERVER__ROLES", "[]")]);
        assert!(said.expect_err("refused").contains("server.roles is empty"));
    }

    #[test]
    #[cfg(not(feature = "kafka"))]
    fn without_kafka_that_is_said() {
        let said = config("martingale up --kafka 127.0.0.1:1", &[]).expect_err("refused");
        assert!(said.contains("built without Kafka"), "{said}");
    }

    #[test]
    #[cfg(feature = "kafka")]
    fn kafka_and_roles_are_taken_from_flags() {
        let line = "martingale up --kafka a:1,b:2 --topic-prefix x. --role ingest,detector --role query-api";
        let variables = [("MARTINGALE__KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2")];
        let config = config(line, &variables).expect("valid");
        assert_eq!((config.kafka.brokers.as_str(), config.kafka.topic_prefix.as_str()), ("a:1,b:2", "x."));
        assert_eq!(config.server.roles, Role::ALL);
        assert_eq!(config.kafka.properties.0["sasl.password"], "hunter2");
        let shown = config.dump();
        assert!(shown.contains("\"sasl.password\" = \"***\"") && !shown.contains("hunter2"), "{shown}");
        let again = super::Config::from_layers(&[super::Layer::toml("dump", &shown).expect("TOML")]).expect("valid");
        assert_eq!(again.kafka.brokers, config.kafka.brokers);
    }

    #[test]
    fn no_brokers_are_not_the_log_in_a_folder() {
        let said = config("martingale up --kafka=", &[]).expect_err("refused");
        assert!(said.contains("--kafka is empty"), "{said}");
    }

    #[test]
    fn an_absent_file_is_named() {
        let said = config("martingale up --config /nowhere.toml", &[]).expect_err("refused");
        assert!(said.contains("/nowhere.toml"), "{said}");
    }
}
