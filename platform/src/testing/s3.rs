//! A real S3-compatible server for tests: `versitygw` on a folder, as `deploy/s3` builds it, on a free port of this
//! machine.
//!
//! Go builds it, once, into a cache folder (`MARTINGALE_S3_CACHE`, else `martingale/s3` in the user's cache folder). Where Go
//! is missing, tests say that they are skipped; where `CI` is set, or `MARTINGALE_S3=required`, they fail instead. A server
//! ends with the process that started it, however that ends.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{cache, free_ports, is_required, recipe, skip, text};

/// A server that is not there by then will not be.
const START_MAX: Duration = Duration::from_secs(60);
const USER: &str = "martingale";
/// Of [`USER`].
pub const PASSWORD: &str = "right-and-secret";

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct ObjectServer {
    binary: PathBuf,
    /// Its buckets, what it knows of them, and its log.
    dir: PathBuf,
    port: u16,
    running: Mutex<Option<Child>>,
}

impl ObjectServer {
    /// One for all tests of a process that leave it running. They keep apart by their buckets.
    #[must_use]
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<ObjectServer>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Starts one and waits until it listens. None, with a word on why, where it cannot be run.
    ///
    /// # Panics
    /// When it can be run and does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let binary = match binary() {
            Ok(binary) => binary,
            Err(why) => {
                assert!(!is_required("MARTINGALE_S3"), "no object store to test with, and it is required here: {why}");
                skip(&format!("no object store to test with: {why}"));
                return None;
            }
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let parent = std::env::temp_dir().join(format!("martingale-s3-{}-{number}", std::process::id()));
        let dir = parent.join("server");
        for folder in ["buckets", "meta"] {
            fs::create_dir_all(dir.join(folder)).expect("folder of an object store");
        }
        let server = Self { binary, dir, port: free_ports(1)[0], running: Mutex::default() };
        server.restart();
        Some(server)
    }

    /// Address for `endpoint` of the options.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket and says its name.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn bucket(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bucket-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(self.dir.join("buckets").join(&name)).expect("a bucket");
        name
    }

    /// Where the objects of a bucket are files.
    #[must_use]
    pub fn files(&self, bucket: &str) -> PathBuf {
        self.dir.join("buckets").join(bucket)
    }

    /// Options of a client that may do everything.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("endpoint", self.endpoint()),
            ("allow_http", "true".to_owned()),
            ("aws_access_key_id", USER.to_owned()),
            ("aws_secret_access_key", PASSWORD.to_owned()),
        ]
    }

    /// `kill -9`. What is in it stays.
    pub fn kill(&self) {
        self.stop(true);
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).expect("log of an object store");
        let mut command = Command::new("sh");
        command.arg(recipe("kafka").join("broker.sh")).arg(&self.dir).arg(&self.binary);
        command.args(["--keep-alive", "--port", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--access", USER, "--secret", PASSWORD, "posix", "--sidecar"]);
        command.arg(self.dir.join("meta")).arg(self.dir.join("buckets"));
        let child = command.stdin(Stdio::piped()).stdout(log).stderr(Stdio::null()).spawn().expect("sh");
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let said = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "an object store did not start:\n{}", said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&self, keep: bool) {
        let Some(mut child) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if let (true, Some(input)) = (keep, &mut child.stdin) {
            let _ = input.write_all(b"keep\n");
        }
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        self.stop(false);
        let _ = self.dir.parent().map(fs::remove_dir_all);
    }
}

/// The server, built when it is not there.
fn binary() -> Result<PathBuf, String> {
    let version = fs::read_to_string(recipe("s3").join("VERSION")).map_err(|error| error.to_string())?;
    let cache = cache("MARTINGALE_S3_CACHE", "s3")?;
    let binary = cache.join(version.trim()).join("versitygw");
    if binary.is_file() {
        return Ok(binary);
    }
    let fresh = cache.join(format!("{}-{}", version.trim(), std::process::id()));
    fs::create_dir_all(&fresh).map_err(|error| format!("{}: {error}", fresh.display()))?;
    let built = build(&fresh);
    // Whole or not at all; another process may have been faster.
    let kept = built.and_then(|()| fs::rename(&fresh, cache.join(version.trim())).map_err(|error| error.to_string()));
    let _ = fs::remove_dir_all(&fresh);
    if binary.is_file() { Ok(binary) } else { kept.map(|()| binary) }
}

fn build(dir: &Path) -> Result<(), String> {
    let has = Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    has.map_err(|_| "`go` is not installed".to_owned())?;
    let built = Command::new("sh").arg(recipe("s3").join("build.sh")).arg(dir).output();
    let built = built.map_err(|error| format!("sh: {error}"))?;
    if built.status.success() {
        return Ok(());
    }
    Err(format!("it cannot be built: {}", text(&built.stdout, &built.stderr)))
}
