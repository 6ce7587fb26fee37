//! Decompression that stops at a limit while it inflates.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder as RawZstd, InBuffer, Operation as _, OutBuffer};

use super::{Encoding, Fault};
use martingale_platform::budget::Share;

/// Largest window a zstd frame may ask for, as a power of two: 8 MiB, what `zstd -19` uses and every decoder has to
/// support (RFC 8878).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const ZSTD_OUT_BYTES: usize = 64 * 1024;

pub(super) enum Inflater {
    Identity(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
    Zstd(Box<Zstd>),
}

/// Takes what was inflated, up to a limit.
pub(super) struct Sink {
    bytes: Vec<u8>,
    max: usize,
    share: Share,
    refused: Option<Refusal>,
}

#[derive(Clone, Copy)]
enum Refusal {
    Inflates,
    Busy,
}

pub(super) struct Zstd {
    decoder: RawZstd<'static>,
    sink: Sink,
    buffer: Box<[u8]>,
    /// Whether the bytes so far end with a frame.
    whole: bool,
}

impl Inflater {
    pub(super) fn new(encoding: Encoding, max: usize, share: Share) -> Result<Self, Fault> {
        let sink = Sink { bytes: Vec::new(), max, share, refused: None };
        Ok(match encoding {
            Encoding::Identity => Self::Identity(sink),
            Encoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Encoding::Zstd => Self::Zstd(Box::new(Zstd::new(sink).map_err(|error| broken("zstd", &error))?)),
        })
    }

    /// Inflates the next bytes of the body; `sent` is its size so far.
    pub(super) fn push(&mut self, frame: &[u8], sent: usize) -> Result<(), Fault> {
        let done = match self {
            Self::Identity(sink) => sink.write_all(frame),
            Self::Gzip(decoder) => decoder.write_all(frame),
            Self::Zstd(zstd) => zstd.push(frame),
        };
        done.map_err(|error| self.fault(&error, sent))
    }

    pub(super) fn finish(mut self, sent: usize) -> Result<(Vec<u8>, Share), Fault> {
        let done = match &mut self {
            Self::Identity(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd(zstd) if zstd.whole => Ok(()),
            Self::Zstd(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the last frame is not whole")),
        };
        done.map_err(|error| self.fault(&error, sent))?;
        let sink = match self {
            Self::Identity(sink) => sink,
            Self::Gzip(decoder) => decoder.finish().map_err(|error| broken("gzip", &error))?,
            Self::Zstd(zstd) => zstd.sink,
        };
        Ok((sink.bytes, sink.share))
    }

    fn fault(&self, error: &io::Error, sent: usize) -> Fault {
        let (sink, encoding) = match self {
            Self::Identity(sink) => (sink, "body"),
            Self::Gzip(decoder) => (decoder.get_ref(), "gzip"),
            Self::Zstd(zstd) => (&zstd.sink, "zstd"),
        };
        match sink.refused {
            Some(Refusal::Inflates) => Fault::Inflates { read: sent, max: sink.max },
            Some(Refusal::Busy) => Fault::Busy,
            None => broken(encoding, error),
        }
    }
}

fn broken(encoding: &'static str, error: &io::Error) -> Fault {
    Fault::Broken { encoding, message: error.to_string() }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max {
            self.refused = Some(Refusal::Inflates);
            return Err(io::Error::other("over the limit"));
        }
        if self.share.grow(bytes.len()).is_err() {
            self.refused = Some(Refusal::Busy);
            return Err(io::Error::other("busy"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Zstd {
    fn new(sink: Sink) -> io::Result<Self> {
        let mut decoder = RawZstd::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self { decoder, sink, buffer: vec![0; ZSTD_OUT_BYTES].into_boxed_slice(), whole: false })
    }

    fn push(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(frame);
        loop {
            let before = input.pos();
            let mut output = OutBuffer::around(&mut self.buffer[..]);
            let remaining = self.decoder.run(&mut input, &mut output)?;
            let written = output.pos();
            self.sink.write_all(&self.buffer[..written])?;
            // Asked again after the end of a frame, the decoder speaks of the next one.
            if input.pos() > before || written > 0 {
                self.whole = remaining == 0;
            }
            // A full buffer may have left more behind in the decoder, even with no input left.
            if input.pos() == frame.len() && written < self.buffer.len() {
                return Ok(());
            }
        }
    }
}
