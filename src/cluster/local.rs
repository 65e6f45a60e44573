//! News within one process.

use tokio::sync::broadcast;

use crate::cluster::message::Message;

/// Tells everybody here.
#[derive(Debug)]
pub(in crate::cluster) struct Local(broadcast::Sender<Message>);

impl Local {
    pub(in crate::cluster) fn new() -> Self {
        Self(broadcast::Sender::new(KEPT_MESSAGES))
    }

    /// Tells everybody who listens; nobody need.
    pub(in crate::cluster) fn tell(&self, message: Message) {
        let _listeners = self.0.send(message);
    }

    pub(in crate::cluster) fn hear(&self) -> broadcast::Receiver<Message> {
        self.0.subscribe()
    }
}

/// A listener who falls behind by more has missed something, and is told so by its receiver; a start tells up to a
/// whole list at once.
const KEPT_MESSAGES: usize = 4096;
