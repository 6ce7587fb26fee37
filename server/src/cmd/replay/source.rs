//! Lines of files, plain or gzip, or of standard input, as one sequence.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};

/// Longest line that is read, in bytes: well above the largest step that is ever taken.
const LINE_BYTES_MAX: usize = 64 << 20;
const BUFFER_BYTES: usize = 1 << 17;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The files of one replay, read in their order.
pub(crate) struct Source {
    files: std::vec::IntoIter<(PathBuf, Option<File>)>,
    current: Option<Current>,
    progress: ProgressBar,
}

struct Current {
    name: String,
    line: u64,
    reader: Box<dyn BufRead + Send>,
}

impl Source {
    /// Opens every file at once, so that a missing one is told before anything is done.
    ///
    /// # Errors
    /// The first file that cannot be opened.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut bytes = 0;
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            if path == Path::new("-") {
                files.push((path.clone(), None));
                continue;
            }
            let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let about = file.metadata().with_context(|| format!("{} cannot be read", path.display()))?;
            if about.is_dir() {
                bail!("{} is a folder: name the files in it", path.display());
            }
            bytes += about.len();
            files.push((path.clone(), Some(file)));
        }
        // Drawn on standard error, and only when that is a terminal.
        let progress = ProgressBar::new(bytes);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}% {msg} {elapsed} eta {eta}") {
            progress.set_style(style);
        }
        Ok(Self { files: files.into_iter(), current: None, progress })
    }

    /// Puts the next line that is not blank into `line`, without the white space around it; `false` at the end.
    ///
    /// # Errors
    /// When a file cannot be read to its end, with its name and the line.
    pub(crate) fn next_line(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        loop {
            let Some(current) = &mut self.current else {
                let Some((path, file)) = self.files.next() else { return Ok(false) };
                self.current = Some(Current::open(&path, file, &self.progress)?);
                continue;
            };
            line.clear();
            let read = current.reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line);
            let read = read.map_err(|error| anyhow!(error).context(format!("{} cannot be read", current.at_next())))?;
            if read == 0 {
                self.current = None;
                continue;
            }
            current.line += 1;
            if line.len() > LINE_BYTES_MAX {
                bail!("{} is longer than {LINE_BYTES_MAX} bytes: is this a file of steps, one a line?", current.at());
            }
            let blank_after = line.len() - line.trim_ascii_end().len();
            line.truncate(line.len() - blank_after);
            let blank_before = line.len() - line.trim_ascii_start().len();
            line.drain(..blank_before);
            if !line.is_empty() {
                return Ok(true);
            }
        }
    }

    /// `file:line` of the line read last.
    pub(crate) fn at(&self) -> String {
        self.current.as_ref().map_or_else(String::new, Current::at)
    }

    /// Shown beside the progress bar.
    pub(crate) fn progress(&self) -> ProgressBar {
        self.progress.clone()
    }
}

impl Current {
    fn open(path: &Path, file: Option<File>, progress: &ProgressBar) -> Result<Self> {
        let (name, raw): (_, Box<dyn Read + Send>) = match file {
            Some(file) => (path.display().to_string(), Box::new(progress.wrap_read(file))),
            None => ("standard input".to_owned(), Box::new(io::stdin())),
        };
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, raw);
        let gzip = raw.fill_buf().with_context(|| format!("{name} cannot be read"))?.starts_with(&GZIP_MAGIC);
        let reader: Box<dyn BufRead + Send> = match gzip {
            true => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(raw))),
            false => Box::new(raw),
        };
        Ok(Self { name, line: 0, reader })
    }

    fn at(&self) -> String {
        format!("{}:{}", self.name, self.line)
    }

    fn at_next(&self) -> String {
        format!("{}:{}", self.name, self.line + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::Source;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("writes");
        path
    }

    fn lines(paths: &[PathBuf]) -> Result<Vec<String>, String> {
        let mut source = Source::open(paths).map_err(|error| format!("{error:#}"))?;
        let (mut line, mut seen) = (Vec::new(), Vec::new());
        while source.next_line(&mut line).map_err(|error| format!("{error:#}"))? {
            let at = source.at();
            let (_, number) = at.rsplit_once(':').expect("a line number");
            seen.push(format!("{number} {}", String::from_utf8_lossy(&line)));
        }
        Ok(seen)
    }

    #[test]
    fn files_are_read_in_order_whatever_they_are_packed_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let members = [gzip(b"c\n"), gzip(b" d \r\ne")].concat();
        let paths = [
            file(folder.path(), "plain.jsonl", b"a\n\n  \nb"),
            file(folder.path(), "empty.jsonl", b""),
            file(folder.path(), "two-members.jsonl.gz", &members),
        ];
        assert_eq!(lines(&paths).expect("reads"), ["1 a", "4 b", "1 c", "2 d", "3 e"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut broken = gzip(&b"{\"a\":1}\n".repeat(10_000));
        broken.truncate(broken.len() / 2);
        let broken = file(folder.path(), "cut.jsonl.gz", &broken);
        for (path, words) in [
            (folder.path().join("absent.jsonl"), ["absent.jsonl", "cannot be read"]),
            (folder.path().to_owned(), ["is a folder", "name the files"]),
            (broken, ["cut.jsonl.gz:", "cannot be read"]),
        ] {
            let said = lines(&[path]).expect_err("refused");
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        }
    }
}
