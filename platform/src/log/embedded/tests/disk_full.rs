//! A real small disk that fills up, and has room again.

use std::process::Command;

use super::*;

/// A file system of its own in memory; gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(megabytes: usize) -> Option<Self> {
        let dir = tempfile::tempdir().expect("folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "small-disk"]).arg(dir.path());
        mount.output().is_ok_and(|done| done.status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(done.is_ok_and(|status| status.success()), "unmount");
    }
}

/// Does not compress.
fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(bytes / 8).flatten().collect()
}

#[tokio::test]
async fn a_full_disk_is_said_and_the_log_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(48) else {
        eprintln!("SKIPPED: a file system cannot be mounted here");
        return;
    };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 32 << 20]).expect("ballast");
    let log = open(config(&disk.0.path().join("log")), Clock::System).expect("open");

    let record = |n: u64| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        Append::new(A, n.to_string().into(), noise(n, 100_000)).to_partition(P0).with_id(id)
    };
    let mut appended = 0;
    let error = loop {
        assert!(appended < 1_000, "100 MB in 16 MB");
        match log.append(vec![record(appended)]).await {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Storage(_)) && error.is_transient(), "{error:?}");
    assert!(appended > 10, "{appended}");
    let sentence = log.healthy().expect_err("unhealthy");
    assert!(sentence.contains("No space left"), "{sentence}");
    log.append(vec![record(appended)]).await.expect_err("still full");

    // Reads go on, from memory and from disk.
    log.shared.tail.clear();
    assert_eq!(log.read(A, P0, Offset::START, ALL).await.expect("read").len() as u64, appended);
    assert_eq!(log.bounds(A, P0).await.expect("bounds").end.0, appended);

    // Room for what waits in the journal, too.
    std::fs::remove_file(ballast).expect("room");
    log.append(vec![record(appended)]).await.expect("room again");
    log.healthy().expect("healthy");
    let keys = |records: Vec<Record>| records.iter().map(|record| record.key.clone()).collect::<Vec<_>>();
    let expected: Vec<Bytes> = (0..=appended).map(|n| n.to_string().into()).collect();
    assert_eq!(keys(log.read(A, P0, Offset::START, ALL).await.expect("read")), expected, "once each");
    log.close().expect("close");

    let log = open(config(&disk.0.path().join("log")), Clock::System).expect("open again");
    assert_eq!(keys(log.read(A, P0, Offset::START, ALL).await.expect("read")), expected, "after a restart");
    log.close().expect("close");
    drop(log);
    drop(disk);
}
