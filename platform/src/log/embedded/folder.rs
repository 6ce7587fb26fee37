//! The data folder: whose it is, and which format is in it.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::files;
use crate::log::Error;

/// Format of the folder this release writes, and the newest it reads. Version 1 is the first: there is none to migrate.
const VERSION: u32 = 1;
const TITLE: &str = "martingale log";
const FORMAT: &str = "FORMAT";
const STORE: &str = "store";
/// Written in full to learn whether the disk takes writes again: enough for what a restart of the store writes at once.
const PROBE_BYTES: usize = 4 << 20;

/// A folder this process owns until it releases or drops it.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    identity: String,
    lock: Mutex<Option<File>>,
}

impl Folder {
    /// Creates the folder when missing, locks it and checks its format.
    pub(super) fn claim(dir: &Path, partitions: u32) -> Result<Self, Error> {
        let unusable = |error: io::Error| {
            open(
                dir,
                format_args!("cannot be used: {error}. Give a folder that this user may write, on a disk with room"),
            )
        };
        fs::create_dir_all(dir).map_err(unusable)?;
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(dir.join("LOCK")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(open(dir, "is in use by another process. Stop that one, or give another folder"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let identity = match fs::read_to_string(dir.join(FORMAT)) {
            Ok(text) => check_format(dir, &text, partitions)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if dir.join(STORE).exists() {
                    return Err(open(
                        dir,
                        "holds a store but no FORMAT file. Restore the file from a backup, or give another folder",
                    ));
                }
                None
            }
            Err(error) => return Err(unusable(error)),
        };
        let identity = match identity {
            Some(identity) => identity,
            // A new log, or one of a release that gave none.
            None => {
                let identity = new_identity();
                write_format(dir, partitions, &identity).map_err(unusable)?;
                identity
            }
        };
        let folder = Self { dir: dir.to_owned(), identity, lock: Mutex::new(Some(lock)) };
        folder.clear_unfinished_store().map_err(unusable)?;
        Ok(folder)
    }

    pub(super) fn store(&self) -> PathBuf {
        self.dir.join(STORE)
    }

    /// See [`crate::log::Log::identity`].
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lets another process, or this one, claim it again.
    pub(super) fn release(&self) {
        // Said, and not left to the closing of the file: a program that another thread is just starting has the file as well, for
        // the moment until it is another program.
        if let Some(lock) = super::lock(&self.lock).take()
            && let Err(error) = lock.unlock()
        {
            tracing::debug!(%error, "the lock of the data folder is given up by closing it");
        }
    }

    /// Whether the disk takes writes.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.dir.join("PROBE");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0x5a; PROBE_BYTES])?;
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    /// Brings the store's newest journal (`<number>.jnl`) to the disk, past the store's lock on it. The store syncs it
    /// under that lock before each flush of a memtable, and every write waits; this leaves it little to sync.
    pub(super) fn sync_journal(&self) -> io::Result<()> {
        let number = |path: &Path| -> Option<u64> {
            path.extension().filter(|extension| *extension == "jnl")?;
            path.file_stem()?.to_str()?.parse().ok()
        };
        let entries = fs::read_dir(self.store())?.filter_map(Result::ok).map(|entry| entry.path());
        let newest = entries.filter_map(|path| Some((number(&path)?, path))).max();
        match newest.map(|(_, path)| File::open(path)) {
            Some(Ok(journal)) => journal.sync_data(),
            // Removed since it was listed: a newer one is there, and it is synced next time.
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The store writes its `version` file last when it is created. Died before, it cannot be opened and holds nothing:
    /// its folder of keyspaces is still empty.
    fn clear_unfinished_store(&self) -> io::Result<()> {
        let store = self.store();
        if !store.exists() || store.join("version").exists() {
            return Ok(());
        }
        let keyspaces = store.join("keyspaces");
        if !keyspaces.exists() || fs::read_dir(keyspaces)?.next().is_none() {
            fs::remove_dir_all(store)?;
        }
        Ok(())
    }
}

fn write_format(dir: &Path, partitions: u32, identity: &str) -> io::Result<()> {
    let text = format!("{TITLE}\nversion = {VERSION}\npartitions = {partitions}\nidentity = {identity}\n");
    files::replace(dir, FORMAT, &text)
}

/// Drawn from the keys that the standard library seeds its hash tables with, which are the system's randomness.
fn new_identity() -> String {
    let keys = RandomState::new();
    format!("{:016x}{:016x}", keys.hash_one(0), keys.hash_one(1))
}

/// The identity that the file gives, if it gives one.
fn check_format(dir: &Path, text: &str, partitions: u32) -> Result<Option<String>, Error> {
    let mut lines = text.lines();
    let titled = lines.next() == Some(TITLE);
    let mut field = |name: &str| -> Option<&str> {
        let (key, value) = lines.next()?.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    };
    let number = |text: Option<&str>| text.and_then(|it| it.parse::<u32>().ok());
    let (Some(version), true) = (number(field("version")), titled) else {
        return Err(open(dir, "has a FORMAT file that is not one of this log. Give another folder"));
    };
    if version > VERSION {
        let newer = format!("was written by a newer release (format {version}, this one reads up to {VERSION})");
        return Err(open(dir, format_args!("{newer}. Run that release, or give another folder")));
    }
    match number(field("partitions")) {
        Some(held) if held == partitions => Ok(field("identity").filter(|it| !it.is_empty()).map(ToOwned::to_owned)),
        Some(held) => {
            let other = format!("has {held} partitions, but {partitions} are configured");
            Err(open(
                dir,
                format_args!("{other}. Their number is fixed: set partitions = {held}, or give another folder"),
            ))
        }
        None => {
            Err(open(dir, "has a FORMAT file without its partitions. Restore it from a backup, or give another folder"))
        }
    }
}

pub(super) fn open(dir: &Path, why: impl Display) -> Error {
    Error::Open(format!("data folder {} {why}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_used_says_why_and_what_to_do() {
        let cases = [
            (
                "martingale log\nversion = 2\nwhatever = 9\n",
                Some("newer release (format 2, this one reads up to 1). Run that release"),
            ),
            ("martingale log\nversion = 1\npartitions = 8\n", Some("has 8 partitions, but 4 are configured")),
            ("martingale log\nversion = 1\n", Some("without its partitions")),
            ("martingale log\nversion = x\n", Some("not one of this log")),
            ("something else\nversion = 1\npartitions = 4\n", Some("not one of this log")),
            ("", Some("not one of this log")),
            ("martingale log\nversion = 1\npartitions = 4\n", None),
        ];
        for (text, expected) in cases {
            let dir = tempfile::tempdir().expect("folder");
            fs::write(dir.path().join("FORMAT"), text).expect("format");
            check(dir.path(), expected, text);
        }
    }

    #[test]
    fn a_file_in_the_way_a_store_without_format_and_an_unfinished_one() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("file");
        check(&file, Some("cannot be used"), "a file");
        check(&file.join("below"), Some("cannot be used"), "below a file");

        let orphan = dir.path().join("orphan");
        fs::create_dir_all(orphan.join("store/keyspaces/0")).expect("store");
        check(&orphan, Some("holds a store but no FORMAT file"), "orphan");

        let unfinished = dir.path().join("unfinished");
        check(&unfinished, None, "new");
        fs::create_dir_all(unfinished.join("store/keyspaces")).expect("store");
        fs::write(unfinished.join("store/0.jnl"), [0; 64]).expect("journal");
        check(&unfinished, None, "creation was interrupted");
        assert!(!unfinished.join("store").exists());
        fs::create_dir_all(unfinished.join("store/keyspaces/0")).expect("store");
        check(&unfinished, None, "not ours to remove");
        assert!(unfinished.join("store").exists());
    }

    #[test]
    fn one_owner_at_a_time() {
        let dir = tempfile::tempdir().expect("folder");
        let held = Folder::claim(dir.path(), 4).expect("first");
        check(dir.path(), Some("in use by another process"), "second");
        drop(held);
        check(dir.path(), None, "after the first");
    }

    #[test]
    fn the_format_file_of_version_1() {
        let dir = tempfile::tempdir().expect("folder");
        let format = dir.path().join(FORMAT);
        let folder = Folder::claim(dir.path(), 4).expect("claim");
        let text = fs::read_to_string(&format).expect("format");
        assert_eq!(text, format!("martingale log\nversion = 1\npartitions = 4\nidentity = {}\n", folder.identity()));
        folder.probe().expect("a disk with room");
        assert!(!dir.path().join("PROBE").exists());
    }

    #[test]
    fn an_identity_stays_and_no_other_log_has_it() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().expect("folder"));
        let identity = |at: usize| Folder::claim(dirs[at].path(), 4).expect("claim").identity().to_owned();
        let [first, other] = [identity(0), identity(1)];
        assert_eq!((first.len(), identity(0) == first, other == first), (32, true, false));

        // Made by a release that gave none: it gets one, and keeps it.
        fs::write(dirs[0].path().join(FORMAT), "martingale log\nversion = 1\npartitions = 4\n").expect("format");
        let given = identity(0);
        assert_eq!((given != first, identity(0) == given), (true, true));
    }

    fn check(dir: &Path, expected: Option<&str>, case: &str) {
        match (Folder::claim(dir, 4), expected) {
            (Ok(_), None) => {}
            (Err(Error::Open(sentence)), Some(part)) => assert!(sentence.contains(part), "{case}: {sentence}"),
            (outcome, _) => panic!("{case}: {outcome:?}"),
        }
    }
}
