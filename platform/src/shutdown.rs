//! One signal that everything stops on.

use tokio::sync::watch;

/// Held by who decides to stop. Dropping it stops too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Held by who has to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns when it is time to stop. Safe to drop and call again.
    pub async fn stopping(&mut self) {
        // An error means the trigger is gone, which is a stop as well.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
