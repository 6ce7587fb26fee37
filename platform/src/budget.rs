//! Bytes of the bodies in progress, all requests together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes that requests take from and give back. When it is used up, a request is turned away at once
/// rather than queued: a sender that waits holds its body in memory somewhere else.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedUp;

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Budget {
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))))
    }

    /// Nothing yet of it.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { budget: Arc::clone(&self.0), taken: None }
    }
}

impl Share {
    /// # Errors
    /// [`UsedUp`]; what was taken before stays taken.
    pub fn grow(&mut self, bytes: usize) -> Result<(), UsedUp> {
        let bytes = u32::try_from(bytes).map_err(|_| UsedUp)?;
        let more = Arc::clone(&self.budget).try_acquire_many_owned(bytes).map_err(|_| UsedUp)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, UsedUp};

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(10);
        let mut first = budget.share();
        assert_eq!((first.grow(4), first.grow(4)), (Ok(()), Ok(())));
        let mut second = budget.share();
        assert_eq!((second.grow(3), second.grow(2)), (Err(UsedUp), Ok(())));
        drop(first);
        assert_eq!(second.grow(8), Ok(()));
    }
}
