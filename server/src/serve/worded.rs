//! What the HTTP library refuses by itself (a target or a head that is too long, bytes that are no request) in the form of
//! all other refusals. It answers these with a head alone, before any route is asked, and offers no place to say more: so
//! its head is recognised on its way out and replaced. Nothing else has one of these statuses and no body.
//!
//! HTTP/1 only: over HTTP/2 such a request is answered with its status, or its stream is reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// A head that is longer is none of the library's refusals.
const HEAD_BYTES_MAX: usize = 512;

pub(super) struct Worded<S> {
    stream: S,
    /// What goes out in place of what was to be written, and how much of it has.
    instead: Vec<u8>,
    sent: usize,
    /// Length of what it stands for.
    replaced: usize,
    /// Told of what is written.
    activity: Activity,
}

impl<S: AsyncWrite + Unpin> Worded<S> {
    pub(super) const fn new(stream: S, activity: Activity) -> Self {
        Self { stream, instead: Vec::new(), sent: 0, replaced: 0, activity }
    }

    /// Writes the replacement, if there is one for `head`.
    fn replace(&mut self, context: &mut Context<'_>, head: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.instead.is_empty() {
            self.instead = refusal(head)?;
            (self.sent, self.replaced) = (0, head.len());
        }
        Some(self.send(context))
    }

    fn tell(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.wrote();
        }
        written
    }

    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.sent < self.instead.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.instead[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => self.sent += more,
            }
        }
        self.instead.clear();
        Poll::Ready(Ok(self.replaced))
    }
}

/// The whole answer for a bare head.
fn refusal(head: &[u8]) -> Option<Vec<u8>> {
    if head.len() > HEAD_BYTES_MAX || !head.starts_with(b"HTTP/1.") || !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let head = std::str::from_utf8(head).ok()?;
    if !head.contains("\r\ncontent-length: 0\r\n") {
        return None;
    }
    let (line, _) = head.split_once("\r\n")?;
    let (reason, message) = match line.split(' ').nth(1)? {
        "400" => ("malformed_request", "the request is no HTTP that can be read"),
        "414" => ("uri_too_long", "the target of the request is too long: at most 65,534 bytes are read"),
        "431" => ("head_too_large", "the head of the request is too large: send fewer or shorter headers"),
        _ => return None,
    };
    let body = serde_json::json!({ "error": { "reason": reason, "message": message } }).to_string();
    let length = body.len();
    let fields = format!("content-type: application/json\r\nconnection: close\r\ncontent-length: {length}");
    Some(format!("{line}\r\n{fields}\r\n\r\n{body}").into_bytes())
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match self.replace(context, bytes) {
            Some(written) => written,
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        };
        self.tell(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A refusal has no body, so its head is one part, and the only one.
        let alone = match parts {
            [head] => self.replace(context, head),
            _ => None,
        };
        let written = match alone {
            Some(written) => written,
            None => Pin::new(&mut self.stream).poll_write_vectored(context, parts),
        };
        self.tell(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}
