//! Log lines. Metrics are each service's own, in a shared `prometheus::Registry`.

mod metrics;

use std::io::{self, IsTerminal, Write};

use prometheus::IntCounter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Sends log lines to standard error, since standard output belongs to the command's answer. `filter` is a tracing
/// directive such as `info` or `info,martingale_detector=debug`. What is returned counts the lines that could not be
/// written, and waits to be registered.
///
/// # Errors
/// A sentence that names the directive that cannot be read.
pub fn init(filter: &str, format: Format) -> Result<IntCounter, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter `{filter}`: {error}"))?;
    let lost = metrics::lost().map_err(|error| format!("log output: {error}"))?;
    let coloured = io::stderr().is_terminal();
    let lines = Lines { to: io::stderr, lost: lost.clone() };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        .with_ansi(coloured)
        // It would tell of a line that standard error refuses on standard error, and panic as that refuses it too.
        .log_internal_errors(false);
    let done = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    done.map_err(|error| format!("log output: {error}"))?;
    Ok(lost)
}

/// A line that cannot be written (full disk, reader gone) is counted and given up: a server must not end for want of a
/// place to speak. It does wait for a reader that is there and does not read.
struct Lines<F> {
    to: F,
    lost: IntCounter,
}

/// Takes one line.
struct Line<W> {
    to: W,
    lost: IntCounter,
}

impl<'a, W: Write, F: Fn() -> W> MakeWriter<'a> for Lines<F> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line { to: (self.to)(), lost: self.lost.clone() }
    }
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.to.write_all(line).is_err() {
            self.lost.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Standard error holds nothing back.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};

    use super::{Lines, metrics};

    /// Takes so many bytes and then refuses.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Err(ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_no_error() {
        for (room, lost_lines) in [(0, 2), (1, 2), (1_000, 0)] {
            let lost = metrics::lost().expect("a counter");
            let lines = Lines { to: move || Disk(room), lost: lost.clone() };
            let subscriber = tracing_subscriber::fmt().with_writer(lines).log_internal_errors(true).finish();
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!("one");
                tracing::error!("two");
            });
            assert_eq!(lost.get(), lost_lines, "room for {room}");
        }
    }
}
