//! Log lines on their way out, on a thread that may wait for their reader. Nobody else does.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written. One more is dropped and counted.
const LINES_MAX: usize = 8_192;
/// Bytes that wait to be written, a line more or less. What comes beyond is dropped and counted.
const BYTES_MAX: usize = 4 << 20;
/// Longest time that the end of the process waits for lines to be taken.
const FLUSH_MAX: Duration = Duration::from_secs(1);

enum Order {
    Write(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Takes lines at once, whatever their reader does. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines {
    orders: SyncSender<Order>,
    waiting: Arc<AtomicUsize>,
    lost: IntCounter,
}

/// When dropped, gives lines that wait a moment to be written. Kept to the end of the process by who ends it: a thread does
/// not outlive that.
#[derive(Debug)]
#[must_use = "without it the last lines may be lost"]
pub struct Flush(SyncSender<Order>);

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write(_) => "Write",
            Self::Flush(_) => "Flush",
        })
    }
}

impl Flush {
    /// What is closed when all lines so far are written. Nothing when the queue is full: it has a reader that does not read.
    fn begin(&self) -> Option<Receiver<()>> {
        let (done, written) = sync_channel(1);
        self.0.try_send(Order::Flush(done)).ok().map(|()| written)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(written) = self.begin() {
            let _ = written.recv_timeout(FLUSH_MAX);
        }
    }
}

/// Starts the thread that writes to `to`.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start(to: impl Write + Send + 'static, lost: IntCounter) -> io::Result<(Lines, Flush)> {
    let (orders, taken) = sync_channel(LINES_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let writer = {
        let (waiting, lost) = (Arc::clone(&waiting), lost.clone());
        move || write(taken, to, &waiting, &lost)
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(writer)?;
    Ok((Lines { orders: orders.clone(), waiting, lost }, Flush(orders)))
}

/// A line that cannot be written (full disk, reader gone) is counted and given up: a server must not end for want of a place
/// to speak.
fn write(taken: Receiver<Order>, mut to: impl Write, waiting: &AtomicUsize, lost: &IntCounter) {
    for order in taken {
        match order {
            Order::Write(line) => {
                if to.write_all(&line).is_err() {
                    lost.inc();
                }
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Order::Flush(done) => drop(done),
        }
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    /// Takes one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bytes = line.len();
        // A longer one than all that may wait would never find room.
        let room = self.waiting.fetch_add(bytes, Ordering::Relaxed) < BYTES_MAX && bytes <= BYTES_MAX;
        let sent = room
            && match self.orders.try_send(Order::Write(line.to_vec())) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !sent {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.inc();
        }
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, ErrorKind, Write, pipe};

    use super::start;
    use crate::telemetry::metrics;

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
            let (lines, flush) = start(Disk(room), lost.clone()).expect("a thread");
            let subscriber = tracing_subscriber::fmt().with_writer(lines).log_internal_errors(true).finish();
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!("one");
                tracing::error!("two");
            });
            // Closed, and nothing sent.
            assert!(flush.begin().expect("room").recv().is_err());
            assert_eq!(lost.get(), lost_lines, "room for {room}");
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_what_it_does_not_take_is_counted() {
        const LINES: u64 = 20_000;
        let (reader, writer) = pipe().expect("a pipe");
        let lost = metrics::lost().expect("a counter");
        let (mut lines, flush) = start(writer, lost.clone()).expect("a thread");
        // More than the pipe and the queue hold together: this ends, or the test does not.
        for _ in 0..LINES {
            lines.write_all(&[[b'x'; 1_000].as_slice(), b"\n"].concat()).expect("never refused");
        }
        assert!(lost.get() > 0);
        // The end of the process does not wait for that reader either.
        drop(flush);
        drop(lines);
        let read = BufReader::new(reader).lines().map(|it| assert_eq!(it.expect("a line").len(), 1_000)).count();
        assert_eq!(read as u64 + lost.get(), LINES, "every line is written whole or counted");
    }
}
