//! Lines that arrive in another order than they are to be written in.
//!
//! Kept in a temporary file and not in memory: verdicts of a large replay are many times larger than their places.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use serde::Serialize;

/// Lines by number.
pub(super) struct Spool {
    file: BufWriter<File>,
    end: u64,
    places: Vec<Option<(u64, u32)>>,
}

impl Spool {
    /// # Errors
    /// When there is no room for temporary files.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { file: BufWriter::with_capacity(1 << 18, tempfile::tempfile()?), end: 0, places: Vec::new() })
    }

    /// # Errors
    /// When it cannot be written.
    pub(super) fn put(&mut self, number: usize, line: &impl Serialize) -> std::io::Result<()> {
        let text = serde_json::to_vec(line)?;
        self.file.write_all(&text)?;
        if self.places.len() <= number {
            self.places.resize(number + 1, None);
        }
        // A verdict is bounded far below 4 GiB; one that is not is left out rather than cut.
        self.places[number] = u32::try_from(text.len()).ok().map(|bytes| (self.end, bytes));
        self.end += text.len() as u64;
        Ok(())
    }

    /// Writes the lines that came, in the order of their numbers.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) fn write_to(mut self, out: &mut impl Write) -> std::io::Result<()> {
        self.file.flush()?;
        self.file.seek(SeekFrom::Start(0))?;
        let file = self.file.get_ref();
        let mut line = Vec::new();
        for (offset, bytes) in self.places.iter().flatten() {
            line.resize(*bytes as usize, 0);
            file.read_exact_at(&mut line, *offset)?;
            line.push(b'\n');
            out.write_all(&line)?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::Spool;

    #[test]
    fn lines_come_out_by_number_with_gaps_left_out() {
        let mut spool = Spool::new().expect("room");
        for (number, text) in [(3, "d"), (0, "a"), (1, "ü")] {
            spool.put(number, &text).expect("room");
        }
        let mut out = Vec::new();
        spool.write_to(&mut out).expect("memory");
        assert_eq!(String::from_utf8_lossy(&out), "\"a\"\n\"ü\"\n\"d\"\n");
    }
}
