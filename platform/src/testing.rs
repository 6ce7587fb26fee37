//! Real servers for tests: an object store ([`s3`]), and Apache Kafka, the brokers of `deploy/kafka` in KRaft mode on free
//! ports of this machine.
//!
//! Java (17 or later) runs them and Maven fetches their jars, once, into a cache folder (`MARTINGALE_KAFKA_CACHE`, else
//! `martingale/kafka` in the user's cache folder). Where either is missing, tests say that they are skipped; where `CI` is
//! set, or `MARTINGALE_KAFKA=required`, they fail instead. Brokers end with the process that started them, however that
//! ends.

// Named, since other crates take this file in under a name of theirs.
#[path = "testing/s3.rs"]
pub mod s3;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

const VERSION: &str = "4.3.1";
/// `martingale-kafka` in the alphabet of Kafka's ids.
const CLUSTER_ID: &str = "bWFydGluZ2FsZS1rYWZrYQ";
/// Keys for TLS, and what opens them: of servers on loopback that live as long as a test.
const KEYS: &str = "keys.p12";
const KEYS_PASSWORD: &str = "of-a-test";
/// A broker that is not there by then will not be.
const START_MAX: Duration = Duration::from_secs(120);

/// Brokers that run until this is dropped.
#[derive(Debug)]
pub struct KafkaCluster {
    libs: PathBuf,
    dir: PathBuf,
    brokers: Vec<Broker>,
}

#[derive(Debug)]
struct Broker {
    dir: PathBuf,
    ports: Ports,
    running: Mutex<Option<Child>>,
}

/// Where a broker listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    plain: u16,
    /// SASL without TLS.
    sasl: u16,
    /// SASL within TLS.
    tls: u16,
    controller: u16,
}

impl KafkaCluster {
    /// One cluster of one broker for all tests of a process. Tests keep apart by the prefix of their topics.
    #[must_use]
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<KafkaCluster>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(1)).as_ref()
    }

    /// Starts so many brokers and waits until they answer. With three, topics have three replicas and writes need two.
    /// None, with a word on why, where brokers cannot be run.
    ///
    /// # Panics
    /// When they can be run and do not start.
    #[must_use]
    pub fn start(brokers: usize) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let libs = match libs() {
            Ok(libs) => libs,
            Err(why) => {
                assert!(
                    !is_required("MARTINGALE_KAFKA"),
                    "no Apache Kafka to test with, and it is required here: {why}"
                );
                skip(&format!("no Apache Kafka to test with: {why}"));
                return None;
            }
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("martingale-kafka-{}-{number}", std::process::id()));
        let ports = free_ports(brokers * 4);
        let ports = ports.chunks_exact(4).map(|it| Ports { plain: it[0], sasl: it[1], tls: it[2], controller: it[3] });
        let brokers: Vec<_> = ports.enumerate().map(|(index, ports)| Broker::new(&dir, index, ports)).collect();
        let voter = |(index, it): (usize, &Broker)| format!("{}@127.0.0.1:{}", index + 1, it.ports.controller);
        let voters: Vec<_> = brokers.iter().enumerate().map(voter).collect();
        let cluster = Self { libs, brokers, dir };
        for (index, broker) in cluster.brokers.iter().enumerate() {
            let (replicas, ports) = (cluster.brokers.len().min(3), broker.ports);
            let words = [
                ("ID", (index + 1).to_string()),
                ("VOTERS", voters.join(",")),
                ("PORT", ports.plain.to_string()),
                ("SASL_PORT", ports.sasl.to_string()),
                ("TLS_PORT", ports.tls.to_string()),
                ("CONTROLLER_PORT", ports.controller.to_string()),
                ("KEYS", cluster.dir.join(KEYS).display().to_string()),
                ("KEYS_PASSWORD", KEYS_PASSWORD.to_owned()),
                ("DIR", broker.dir.display().to_string()),
                ("REPLICAS", replicas.to_string()),
                ("IN_SYNC", replicas.div_ceil(2).to_string()),
            ];
            let template = fs::read_to_string(recipe("kafka").join("broker.properties")).expect("broker.properties");
            let fill = |text: String, (word, value): (&str, String)| text.replace(&format!("@{word}@"), &value);
            fs::create_dir_all(&broker.dir).expect("folder of a broker");
            fs::write(broker.properties(), words.into_iter().fold(template, fill)).expect("broker.properties");
        }
        std::thread::scope(|scope| {
            scope.spawn(|| cluster.make_keys());
            for broker in &cluster.brokers {
                scope.spawn(|| broker.format(&cluster.libs));
            }
        });
        cluster.start_all();
        Some(cluster)
    }

    /// Starts all that were killed, at once, since a broker answers only where most of them run. Those that run are left
    /// alone.
    ///
    /// # Panics
    /// When one does not start.
    pub fn start_all(&self) {
        std::thread::scope(|scope| {
            for broker in self.brokers.iter().filter(|it| it.running().is_none()) {
                scope.spawn(|| broker.start(&self.libs));
            }
        });
    }

    /// A key for TLS on this machine, and its certificate beside it.
    fn make_keys(&self) {
        let keytool = |args: &[&str]| {
            let mut keytool = Command::new("keytool");
            keytool.args(args).args(["-alias", "broker", "-storetype", "PKCS12", "-storepass", KEYS_PASSWORD]);
            let done =
                keytool.arg("-keystore").arg(self.dir.join(KEYS)).output().expect("keytool, which comes with java");
            assert!(done.status.success(), "no key for TLS: {}", text(&done.stdout, &done.stderr));
            done.stdout
        };
        let made_of = ["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2", "-dname", "CN=localhost"];
        keytool(&[&["-genkeypair", "-ext", "SAN=IP:127.0.0.1"], &made_of[..]].concat());
        fs::write(self.certificate(), keytool(&["-exportcert", "-rfc"])).expect("certificate of the brokers");
    }

    /// The certificate that all brokers show, in PEM.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("certificate.pem")
    }

    /// Addresses for `brokers` of the configuration.
    #[must_use]
    pub fn brokers(&self) -> String {
        self.addresses(|it| it.plain)
    }

    /// Addresses that ask for SASL: PLAIN and SCRAM-SHA-512, of the user `martingale` with the password `right`, and OAUTHBEARER,
    /// which takes unsigned tokens.
    #[must_use]
    pub fn sasl_brokers(&self) -> String {
        self.addresses(|it| it.sasl)
    }

    /// Addresses that ask for the same user and password within TLS.
    #[must_use]
    pub fn tls_brokers(&self) -> String {
        self.addresses(|it| it.tls)
    }

    fn addresses(&self, port: impl Fn(&Ports) -> u16) -> String {
        self.brokers.iter().map(|it| format!("127.0.0.1:{}", port(&it.ports))).collect::<Vec<_>>().join(",")
    }

    /// `kill -9`. Its data stays.
    ///
    /// # Panics
    /// When there is no such broker.
    pub fn kill(&self, broker: usize) {
        self.brokers[broker].stop(true);
    }

    /// Starts a broker that was killed, on the data it left, and waits until it answers.
    ///
    /// # Panics
    /// When there is no such broker, or it does not start.
    pub fn restart(&self, broker: usize) {
        self.brokers[broker].start(&self.libs);
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        for broker in &self.brokers {
            broker.stop(false);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Broker {
    fn new(dir: &Path, index: usize, ports: Ports) -> Self {
        Self { dir: dir.join(format!("broker-{}", index + 1)), ports, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn properties(&self) -> PathBuf {
        self.dir.join("broker.properties")
    }

    fn format(&self, libs: &Path) {
        let mut java = Command::new("java");
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(libs.join("*"));
        java.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(self.properties());
        java.args(["--add-scram", "SCRAM-SHA-512=[name=martingale,password=right]"]);
        let done = java.output().expect("java");
        assert!(done.status.success(), "the folder of a broker cannot be made: {}", text(&done.stdout, &done.stderr));
    }

    fn start(&self, libs: &Path) {
        let mut log4j = std::ffi::OsString::from("-Dlog4j2.configurationFile=");
        log4j.push(recipe("kafka").join("log4j2.properties"));
        let mut command = Command::new("sh");
        command.arg(recipe("kafka").join("broker.sh")).arg(&self.dir);
        command.args(["java", "-Xmx512m", "-Xms128m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]).arg(log4j);
        command.arg("-cp").arg(libs.join("*")).arg("kafka.Kafka").arg(self.properties());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let output = child.stdout.take().expect("a pipe");
        *self.running() = Some(child);
        let log = File::options().create(true).append(true).open(self.dir.join("log")).expect("log of a broker");
        let (sender, started) = mpsc::channel();
        std::thread::spawn(move || follow(output, log, &sender));
        let outcome = started.recv_timeout(START_MAX);
        let said = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        assert!(outcome.is_ok(), "a broker did not start:\n{}", said());
    }

    fn stop(&self, keep: bool) {
        let Some(mut child) = self.running().take() else { return };
        if let (true, Some(input)) = (keep, &mut child.stdin) {
            let _ = input.write_all(b"keep\n");
        }
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

/// Writes what a broker says to its log, and tells once that it has started. Ends with the broker.
fn follow(output: ChildStdout, mut log: File, started: &mpsc::Sender<()>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let _ = writeln!(log, "{line}");
        if line.contains("Kafka Server started") {
            let _ = started.send(());
        }
    }
}

/// On standard error as it is, so that it is seen when tests capture their output, and for `cargo xtask ci`, which gathers
/// what is skipped.
fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED, {why}");
    let Some(path) = std::env::var_os("MARTINGALE_SKIPPED") else { return };
    let file = File::options().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| writeln!(file, "{why}"));
}

fn recipe(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(of)
}

fn text(out: &[u8], err: &[u8]) -> String {
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Ports that nobody listened on just now, all different. Never one of those that a system hands out by itself (from 32,768
/// on, mostly): that may be anybody's by the time a broker starts, or while it is away.
fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 17_000;
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Apart from those of another process, which does the same at the same moment.
    let begin = std::process::id().wrapping_mul(101);
    let next = || {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let at = begin.wrapping_add(tried.into()) % u32::from(COUNT);
        FIRST + u16::try_from(at).unwrap_or_default()
    };
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(next).take(COUNT.into()).filter(is_free).take(count).collect()
}

/// Whether a machine without a server fails the tests that need it, by the variable that says so.
fn is_required(variable: &str) -> bool {
    match std::env::var(variable) {
        Ok(said) if !said.is_empty() => said == "required",
        _ => std::env::var_os("CI").is_some_and(|it| !it.is_empty() && it != "false"),
    }
}

/// A folder that is kept between runs: what a variable says, else one of the user's cache folder.
fn cache(given: &str, name: &str) -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let user = || Some(variable("HOME")?.join(".cache"));
    variable(given)
        .or_else(|| Some(variable("XDG_CACHE_HOME").or_else(user)?.join("martingale").join(name)))
        .ok_or_else(|| format!("no cache folder: set {given}"))
}

/// The folder with the jars, fetched when it is not there.
fn libs() -> Result<PathBuf, String> {
    let has = |program: &str| {
        let mut probe = Command::new(program);
        let found = probe.arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_ok() { Ok(()) } else { Err(format!("`{program}` is not installed")) }
    };
    has("java")?;
    let cache = cache("MARTINGALE_KAFKA_CACHE", "kafka")?;
    let libs = cache.join(VERSION);
    if libs.is_dir() {
        return Ok(libs);
    }
    has("mvn")?;
    let fresh = cache.join(format!("{VERSION}-{}", std::process::id()));
    fs::create_dir_all(&fresh).map_err(|error| format!("{}: {error}", fresh.display()))?;
    let mut fetch = Command::new("mvn");
    fetch.args(["-q", "-B", "-f"]).arg(recipe("kafka").join("pom.xml")).arg("dependency:copy-dependencies");
    let mut folder = std::ffi::OsString::from("-DoutputDirectory=");
    folder.push(&fresh);
    let done = fetch.arg(folder).output().map_err(|error| format!("mvn: {error}"))?;
    if !done.status.success() {
        let _ = fs::remove_dir_all(&fresh);
        return Err(format!("its jars cannot be fetched: {}", text(&done.stdout, &done.stderr)));
    }
    // Whole or not at all; another process may have been faster.
    if fs::rename(&fresh, &libs).is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    Ok(libs)
}
