//! Lines of files, plain or gzip, or of standard input, as one sequence.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// Longest line that is read, in bytes: well above the largest step that is ever taken.
const LINE_BYTES_MAX: usize = 64 << 20;
const BUFFER_BYTES: usize = 1 << 17;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The files of one replay, read in their order.
pub(crate) struct Source {
    files: std::vec::IntoIter<(PathBuf, Option<File>)>,
    current: Option<Current>,
    /// Nothing where reading them once uses one up.
    lasting: Option<Vec<PathBuf>>,
    progress: ProgressBar,
}

/// Where a line is from, shown as `file:line`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

struct Current {
    /// Of the line read last.
    place: Place,
    reader: Box<dyn BufRead + Send>,
}

impl Source {
    /// Opens every file at once, so that a missing one is told before anything is done.
    ///
    /// # Errors
    /// The first file that cannot be opened.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let (mut bytes, mut are_lasting) = (0, true);
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            if path == Path::new("-") {
                are_lasting = false;
                files.push((path.clone(), None));
                continue;
            }
            let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let about = file.metadata().with_context(|| format!("{} cannot be read", path.display()))?;
            if about.is_dir() {
                bail!("{} is a folder: name the files in it", path.display());
            }
            are_lasting &= about.is_file();
            bytes += about.len();
            files.push((path.clone(), Some(file)));
        }
        // Drawn on standard error, and only when that is a terminal; cleared also where it ends early.
        let progress = ProgressBar::new(bytes).with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}% {prefix}{msg} {elapsed} eta {eta}") {
            progress.set_style(style);
        }
        let lasting = are_lasting.then(|| paths.to_vec());
        Ok(Self { files: files.into_iter(), current: None, lasting, progress })
    }

    /// The files, to be opened once more; nothing where one is standard input or a pipe.
    pub(crate) fn lasting(&self) -> Option<Vec<PathBuf>> {
        self.lasting.clone()
    }

    /// Puts the next line that is not blank into `line`, without the white space around it, and answers where it is from;
    /// nothing at the end.
    ///
    /// # Errors
    /// When a file cannot be read to its end, with its name and the line.
    pub(crate) fn next_line(&mut self, line: &mut Vec<u8>) -> Result<Option<Place>> {
        loop {
            let Some(current) = &mut self.current else {
                let Some((path, file)) = self.files.next() else { return Ok(None) };
                self.current = Some(Current::open(&path, file, &self.progress)?);
                continue;
            };
            line.clear();
            let read = current.reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line);
            let next = current.place.line + 1;
            let read =
                read.map_err(|error| anyhow!(error).context(format!("{}:{next} cannot be read", current.place.file)))?;
            if read == 0 {
                self.current = None;
                continue;
            }
            current.place.line = next;
            if line.len() > LINE_BYTES_MAX {
                bail!("{} is longer than {LINE_BYTES_MAX} bytes: is this a file of steps, one a line?", current.place);
            }
            let blank_after = line.len() - line.trim_ascii_end().len();
            line.truncate(line.len() - blank_after);
            let blank_before = line.len() - line.trim_ascii_start().len();
            line.drain(..blank_before);
            if !line.is_empty() {
                return Ok(Some(current.place.clone()));
            }
        }
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
        Ok(Self { place: Place { file: name.into(), line: 0 }, reader })
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
        while let Some(place) = source.next_line(&mut line).map_err(|error| format!("{error:#}"))? {
            let file = Path::new(&*place.file).file_stem().expect("a name").to_string_lossy().into_owned();
            seen.push(format!("{file}:{} {}", place.line, String::from_utf8_lossy(&line)));
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
        let packed = "two-members.jsonl";
        let expected = ["plain:1 a".into(), "plain:4 b".into()].into_iter();
        let expected =
            expected.chain([(1, "c"), (2, "d"), (3, "e")].map(|(line, text)| format!("{packed}:{line} {text}")));
        assert_eq!(lines(&paths).expect("reads"), expected.collect::<Vec<String>>());
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
