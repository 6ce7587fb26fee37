//! The files that make a write durable, before the store has it.
//!
//! The writer appends one frame for each group and does nothing else here: files are made, synced and removed by the
//! log's other threads, past its lock. A file is of use until the store has all of it on the disk.

mod format;

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use self::format::FRAME_HEADER;
pub(super) use self::format::Group;
use super::lock;
use super::space::Write;
use super::store::Failure;

/// A file that has grown to this is followed by another.
const FILE_BYTES: u64 = 64 << 20;
/// Memory kept for encoding the next group.
const BUFFER_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    /// Of the keyspaces that groups name by number.
    names: Vec<String>,
    files: Mutex<Files>,
    /// Held while files are synced: who finds nothing to sync may rely on it.
    syncing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Files {
    /// None before the first one and after a failure: what its end looks like is not known until it is replayed.
    current: Option<Current>,
    /// Made beforehand, so that the writer does not wait for a folder to reach the disk.
    spare: Option<(PathBuf, File)>,
    sealed: Vec<Sealed>,
    /// Of the last group, and of the last file.
    last: u64,
    number: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    dirty: bool,
}

/// A file that is not written any more.
#[derive(Debug)]
struct Sealed {
    path: PathBuf,
    /// Number of its last group.
    last: u64,
    /// Until it is on the disk.
    unsynced: Option<Arc<File>>,
}

impl Journal {
    pub(super) fn new(dir: PathBuf, names: Vec<String>) -> Self {
        Self { dir, names, files: Mutex::default(), syncing: Mutex::default() }
    }

    /// Appends a group and answers with its number. With `sync` it is on the disk then, and everything before it.
    pub(super) fn append(&self, writes: &[Write], sync: bool) -> Result<u64, Failure> {
        let mut files = lock(&self.files);
        if files.current.as_ref().is_some_and(|it| it.bytes >= FILE_BYTES) {
            self.next_file(&mut files)?;
        }
        let number = files.last + 1;
        let mut buffer = std::mem::take(&mut files.buffer);
        buffer.clear();
        format::push_group(&mut buffer, number, writes)?;
        let Some(mut current) = files.current.take() else { return Err(Failure::Closed) };
        (&*current.file).write_all(&buffer)?;
        current.bytes += buffer.len() as u64;
        current.dirty = true;
        if sync {
            for sealed in &mut files.sealed {
                if let Some(file) = sealed.unsynced.take() {
                    file.sync_data()?;
                }
            }
            current.file.sync_data()?;
            current.dirty = false;
        }
        files.current = Some(current);
        files.last = number;
        buffer.shrink_to(BUFFER_BYTES);
        files.buffer = buffer;
        Ok(number)
    }

    fn next_file(&self, files: &mut Files) -> Result<(), Failure> {
        let (path, file) = match files.spare.take() {
            Some(spare) => spare,
            None => {
                files.number += 1;
                self.make(files.number)?
            }
        };
        let mut head = Vec::new();
        format::push_head(&mut head, &self.names)?;
        (&file).write_all(&head)?;
        let next = Current { path, file: Arc::new(file), bytes: head.len() as u64, dirty: true };
        let last = files.last;
        if let Some(full) = files.current.replace(next) {
            files.sealed.push(Sealed { path: full.path, last, unsynced: full.dirty.then_some(full.file) });
        }
        Ok(())
    }

    fn make(&self, number: u64) -> io::Result<(PathBuf, File)> {
        let path = self.dir.join(format!("{number}.log"));
        let file = File::create_new(&path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok((path, file))
    }

    /// Makes the next file when there is none.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let number = {
            let mut files = lock(&self.files);
            if files.spare.is_some() || files.current.is_none() {
                return Ok(());
            }
            files.number += 1;
            files.number
        };
        let made = self.make(number)?;
        // Should the writer have made another one meanwhile, with a higher number, this one must not follow it.
        let mut files = lock(&self.files);
        if files.number == number {
            files.spare = Some(made);
            return Ok(());
        }
        drop(files);
        fs::remove_file(made.0)
    }

    /// Brings what was appended to the disk; appends go on meanwhile.
    pub(super) fn sync(&self) -> io::Result<()> {
        let _one = lock(&self.syncing);
        let mut files = lock(&self.files);
        let mut unsynced: Vec<_> = files.sealed.iter().filter_map(|it| it.unsynced.clone()).collect();
        if let Some(current) = files.current.as_mut().filter(|it| it.dirty) {
            current.dirty = false;
            unsynced.push(Arc::clone(&current.file));
        }
        drop(files);
        for file in &unsynced {
            file.sync_data()?;
        }
        for sealed in &mut lock(&self.files).sealed {
            if sealed.unsynced.as_ref().is_some_and(|held| unsynced.iter().any(|file| Arc::ptr_eq(file, held))) {
                sealed.unsynced = None;
            }
        }
        Ok(())
    }

    /// Whether there are files that the store, which has everything to this group, makes superfluous.
    pub(super) fn has_superfluous(&self, applied: u64) -> bool {
        lock(&self.files).sealed.iter().any(|it| it.last <= applied)
    }

    /// Removes files of which the store has everything on the disk.
    pub(super) fn remove(&self, applied: u64) -> io::Result<()> {
        let gone: Vec<_> = lock(&self.files).sealed.extract_if(.., |it| it.last <= applied).collect();
        gone.iter().try_for_each(|it| fs::remove_file(&it.path))
    }

    /// Gives the groups after `applied` to `each`, in order, and returns the number of the last one.
    ///
    /// Groups follow one another without a gap. Where one is missing a power cut has taken it, and what was written
    /// later must not be seen without it.
    pub(super) fn replay(
        &self,
        applied: u64,
        mut each: impl FnMut(&[String], Group) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let mut last = applied;
        for (_, path) in list(&self.dir)? {
            let mut frames = Frames::open(&path)?;
            let Some(head) = frames.next()? else { continue };
            let names = format::read_head(&head)?;
            while let Some(payload) = frames.next()? {
                let group = format::read_group(&payload)?;
                if group.number <= last {
                    continue;
                }
                if group.number != last + 1 {
                    tracing::warn!(last, found = group.number, file = %path.display(), "the journal has lost its end");
                    return Ok(last);
                }
                last = group.number;
                each(&names, group)?;
            }
        }
        Ok(last)
    }

    /// Begins anew after the group `last`: the store has everything on the disk.
    pub(super) fn restart(&self, last: u64) -> Result<(), Failure> {
        let mut files = lock(&self.files);
        *files = Files { last, ..Files::default() };
        for (number, path) in list(&self.dir)? {
            files.number = files.number.max(number);
            fs::remove_file(path)?;
        }
        self.next_file(&mut files)
    }

    /// Removes all files: the store has everything on the disk, and nothing will be appended.
    pub(super) fn clear(&self) -> io::Result<()> {
        *lock(&self.files) = Files::default();
        list(&self.dir)?.iter().try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// Files of the journal in their order.
fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().filter(|_| path.extension().is_some_and(|it| it == "log"));
        if let Some(number) = stem.and_then(|it| it.to_str()?.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The whole frames of a file.
struct Frames {
    file: BufReader<File>,
    left: u64,
}

impl Frames {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        Ok(Self { file: BufReader::with_capacity(BUFFER_BYTES, file), left })
    }

    /// None at the end, or where a frame is not whole.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(left) = self.left.checked_sub(FRAME_HEADER as u64) else { return Ok(None) };
        let mut header = [0; FRAME_HEADER];
        self.file.read_exact(&mut header)?;
        let (length, hash) = format::read_frame(header);
        let Some(left) = left.checked_sub(u64::from(length)) else { return Ok(None) };
        self.left = left;
        let mut payload = vec![0; length as usize];
        self.file.read_exact(&mut payload)?;
        if !format::matches(&payload, hash) {
            self.left = 0;
            return Ok(None);
        }
        Ok(Some(payload.into()))
    }
}

#[cfg(test)]
mod tests;
