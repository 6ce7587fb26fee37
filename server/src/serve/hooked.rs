//! A body that tells somebody how it goes on.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};

/// What is told of a body. It is dropped with the body.
pub(super) trait Hook: Send + Unpin + 'static {
    /// Somebody asks for what comes next.
    fn asked(&mut self) {}

    /// All of it was read.
    fn ended(&mut self) {}

    /// Nobody reads on: this is the rest.
    fn left(&mut self, _rest: Body) {}
}

pub(super) fn hooked(body: Body, hook: impl Hook) -> Body {
    Body::new(Hooked { body, hook })
}

struct Hooked<H: Hook> {
    body: Body,
    hook: H,
}

impl<H: Hook> http_body::Body for Hooked<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.hook.asked();
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.hook.ended();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<H: Hook> Drop for Hooked<H> {
    fn drop(&mut self) {
        self.hook.left(std::mem::take(&mut self.body));
    }
}
