//! The process is killed while it writes: what it had acknowledged is there, and no commit is there in part.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const DIR: &str = "MARTINGALE_CRASH_TEST_DIR";
const DURABILITY: &str = "MARTINGALE_CRASH_TEST_FSYNC";

/// Run by the test below in a process of its own: goes on from what was committed until it is killed, and prints what was
/// answered.
#[test]
#[ignore = "the child of another test"]
fn child() {
    let dir = std::env::var_os(DIR).expect("run by the test below");
    let durability = if std::env::var_os(DURABILITY).is_some() { Durability::Fsync } else { Durability::Os };
    let log = open(EmbeddedConfig { durability, ..config(Path::new(&dir)) }, Clock::System).expect("open");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(async {
        let next = log.committed("c", A, P0).await.expect("committed").unwrap_or_default();
        for n in next.0.. {
            log.append(vec![input(n)]).await.expect("append");
            log.commit(step(n)).await.expect("commit");
            println!("done {n}");
        }
    });
}

fn input(n: u64) -> Append {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    at(A, P0, "k", &n.to_string()).with_id(id)
}

fn step(n: u64) -> Commit {
    let value = Some(n.to_string().into());
    Commit {
        consumer: "c",
        publish: vec![at(B, P0, "k", &n.to_string())],
        state: vec![StateChange { store: "s", partition: P0, key: "k".into(), value }],
        progress: vec![Progress { topic: A, partition: P0, next: Offset(n + 1) }],
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let dir = folder();
    for (n, fsync) in [(1, false), (40, false), (700, false), (1, true), (40, true), (3, false)] {
        kill_after(dir.path(), n, fsync).await;
    }
}

/// Lets a child go on for `n` acknowledgements, kills it and looks at what it leaves.
async fn kill_after(dir: &Path, n: usize, fsync: bool) {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "log::embedded::tests::crash::child", "--ignored", "--nocapture"]);
    child.env(DIR, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    if fsync {
        child.env(DURABILITY, "yes");
    }
    let mut child = child.spawn().expect("child");
    let output = BufReader::new(child.stdout.take().expect("output"));
    let acknowledged = output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("done ")?.parse().ok());
    let last: u64 = acknowledged.take(n).last().expect("the child has done something");
    child.kill().expect("kill");
    child.wait().expect("wait");

    let log = open(config(dir), Clock::System).expect("open after a kill");
    let appended = log.bounds(A, P0).await.expect("bounds").end.0;
    let committed = log.committed("c", A, P0).await.expect("committed").map_or(0, |next| next.0);
    assert!(committed > last, "acknowledged {last}, found {committed}");
    assert!(appended == committed || appended == committed + 1, "{appended} appended, {committed} committed");
    let expected: Vec<_> = (0..committed).map(|n| n.to_string()).collect();
    assert_eq!(values(&*log, B, P0).await, expected, "every commit once");
    assert_eq!(values(&*log, A, P0).await[..expected.len()], expected, "every append once");
    let state = log.state("s", P0, b"k").await.expect("state");
    assert_eq!(state, expected.last().map(|last| last.clone().into()));
    let again = log.append(vec![input(0), input(last)]).await.expect("append");
    assert!(again.iter().all(|appended| matches!(appended, Appended::Duplicate(_))), "{again:?}");
}
