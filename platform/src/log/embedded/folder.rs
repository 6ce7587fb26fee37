//! The data folder: whose it is, and which format is in it.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::log::Error;

/// Format of the folder this release writes, and the newest it reads. Version 1 is without a journal beside the store; it
/// becomes version 2 when it is opened, so that a release that would not read the journal refuses it.
const VERSION: u32 = 2;
const TITLE: &str = "martingale log";
/// Written in full to learn whether the disk takes writes again: enough for what a restart of the store writes at once,
/// beside what it takes over.
const PROBE_BYTES: usize = 4 << 20;

/// A folder this process owns until it releases or drops it.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
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
        let folder = Self { dir: dir.to_owned(), lock: Mutex::new(Some(lock)) };
        match fs::read_to_string(folder.format()) {
            Ok(text) => {
                if check_format(dir, &text, partitions)? < VERSION {
                    folder.write_format(partitions).map_err(unusable)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if folder.store().exists() {
                    return Err(open(
                        dir,
                        "holds a store but no FORMAT file. Restore the file from a backup, or give another folder",
                    ));
                }
                folder.write_format(partitions).map_err(unusable)?;
            }
            Err(error) => return Err(unusable(error)),
        }
        folder.clear_unfinished_store().map_err(unusable)?;
        fs::create_dir_all(folder.journal()).map_err(unusable)?;
        Ok(folder)
    }

    pub(super) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Where the files of the journal are.
    pub(super) fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lets another process, or this one, claim it again.
    pub(super) fn release(&self) {
        super::lock(&self.lock).take();
    }

    /// Whether the disk takes writes: `more` bytes and those of opening the store.
    pub(super) fn probe(&self, more: usize) -> io::Result<()> {
        let path = self.dir.join("PROBE");
        let written = File::create(&path).and_then(|mut file| {
            let part = vec![0x5a; PROBE_BYTES];
            for _ in 0..=more.div_ceil(PROBE_BYTES) {
                file.write_all(&part)?;
            }
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    fn format(&self) -> PathBuf {
        self.dir.join("FORMAT")
    }

    fn write_format(&self, partitions: u32) -> io::Result<()> {
        let draft = self.dir.join("FORMAT.new");
        let mut file = File::create(&draft)?;
        write!(file, "{TITLE}\nversion = {VERSION}\npartitions = {partitions}\n")?;
        file.sync_all()?;
        fs::rename(draft, self.format())?;
        File::open(&self.dir)?.sync_all()
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

/// The version of a folder that can be used.
fn check_format(dir: &Path, text: &str, partitions: u32) -> Result<u32, Error> {
    let mut lines = text.lines();
    let titled = lines.next() == Some(TITLE);
    let mut field = |name: &str| -> Option<u32> {
        let (key, value) = lines.next()?.split_once('=')?;
        (key.trim() == name).then(|| value.trim().parse().ok())?
    };
    let (Some(version), true) = (field("version"), titled) else {
        return Err(open(dir, "has a FORMAT file that is not one of this log. Give another folder"));
    };
    if version > VERSION {
        let newer = format!("was written by a newer release (format {version}, this one reads up to {VERSION})");
        return Err(open(dir, format_args!("{newer}. Run that release, or give another folder")));
    }
    match field("partitions") {
        Some(held) if held == partitions => Ok(version),
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
                "martingale log\nversion = 3\nwhatever = 9\n",
                Some("newer release (format 3, this one reads up to 2). Run that release"),
            ),
            ("martingale log\nversion = 1\npartitions = 8\n", Some("has 8 partitions, but 4 are configured")),
            ("martingale log\nversion = 1\n", Some("without its partitions")),
            ("martingale log\nversion = x\n", Some("not one of this log")),
            ("something else\nversion = 1\npartitions = 4\n", Some("not one of this log")),
            ("", Some("not one of this log")),
            ("martingale log\nversion = 1\npartitions = 4\n", None),
            ("martingale log\nversion = 2\npartitions = 4\n", None),
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
    fn a_folder_is_of_version_2_however_it_began() {
        let dir = tempfile::tempdir().expect("folder");
        for before in [None, Some("martingale log\nversion = 1\npartitions = 4\n")] {
            if let Some(text) = before {
                fs::write(dir.path().join("FORMAT"), text).expect("format");
            }
            let folder = Folder::claim(dir.path(), 4).expect("claim");
            let text = fs::read_to_string(folder.format()).expect("format");
            assert_eq!(text, "martingale log\nversion = 2\npartitions = 4\n");
        }
        let folder = Folder::claim(dir.path(), 4).expect("claim");
        folder.probe(1).expect("a disk with room");
        assert!(!dir.path().join("PROBE").exists());
    }

    fn check(dir: &Path, expected: Option<&str>, case: &str) {
        match (Folder::claim(dir, 4), expected) {
            (Ok(_), None) => {}
            (Err(Error::Open(sentence)), Some(part)) => assert!(sentence.contains(part), "{case}: {sentence}"),
            (outcome, _) => panic!("{case}: {outcome:?}"),
        }
    }
}
