//! What a request may grow to while it is read: OTLP is small on the wire and large in memory. Two bytes of protobuf
//! are a span, four of a JSON string are a message.
//!
//! Everything that is made of a request is counted before it is made: the decoded request, what is unpacked of one span
//! at a time, and the steps. The bytes come from the same budget as the body, so that they bound each other.

use martingale_schemas::{Reason, Rejection};

use crate::{Config, body};
use martingale_platform::budget::{Budget, Share};

/// What is left for one request.
#[derive(Debug)]
pub(crate) struct Room {
    steps_max: usize,
    steps: usize,
    bytes_max: usize,
    bytes: usize,
    /// Most that one span or log record is unpacked to.
    unpacked_max: usize,
    budget: Budget,
    share: Share,
}

/// Why there is no more room, for the request as a whole.
pub(crate) type Full = body::Fault;

impl Room {
    /// For a request whose body, of `body` bytes, is counted already.
    pub(crate) fn new(config: &Config, budget: &Budget, body: usize) -> Self {
        Self {
            steps_max: config.request_steps_max,
            steps: 0,
            bytes_max: config.inflight_bytes_max,
            bytes: body,
            unpacked_max: config.inflated_bytes_max,
            budget: budget.clone(),
            share: budget.share(),
        }
    }

    /// Takes bytes that stay until the request is answered.
    ///
    /// # Errors
    /// [`Full`], which says whether sending it again can help.
    pub(crate) fn keep(&mut self, bytes: usize) -> Result<(), Full> {
        if self.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(Full::Expands { max: self.bytes_max });
        }
        self.share.grow(bytes).map_err(|_| Full::Busy)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes bytes until the answer is dropped; none when one span may not have so many.
    ///
    /// # Errors
    /// [`Full`], when others hold what is needed.
    pub(crate) fn unpack(&self, bytes: usize) -> Result<Result<Share, Rejection>, Full> {
        let max = self.unpacked_max;
        if bytes > max {
            let message =
                format!("unpacked it takes about {bytes} bytes: at most {max} are taken, send less in one span");
            return Ok(Err(Rejection::new(Reason::TooLarge, message)));
        }
        let mut share = self.budget.share();
        share.grow(bytes).map_err(|_| Full::Busy)?;
        Ok(Ok(share))
    }

    pub(crate) const fn steps_left(&self) -> usize {
        self.steps_max - self.steps
    }

    /// Takes the steps of one span or log record, all or none.
    ///
    /// # Errors
    /// A rejection that names the limit.
    pub(crate) fn take_steps(&mut self, steps: usize) -> Result<(), Rejection> {
        if steps > self.steps_left() {
            let max = self.steps_max;
            let message = format!("with it the request has more than {max} steps: send it in several requests");
            return Err(Rejection::new(Reason::TooMany, message));
        }
        self.steps += steps;
        Ok(())
    }
}
