//! # Audit: what happened
//!
//! **Question.** Who asked for what, was it allowed, by which rule, and what was really sent?
//!
//! **Rule.** Every answer has exactly one event, written when the answer has ended: at its last byte, at an error, or
//! when the caller hangs up. An event is one line of JSON with a sequence number that has no holes. Before an answer
//! begins, a place for its event is reserved; without a place there is no answer. So a busy or broken audit slows
//! the gateway down, or stops it, but never goes behind.
//!
//! **What it refuses.** With `on_failure = "closed"`, the default, requests are answered 503 while the segment
//! cannot be written; with `"open"` they are served, and every event that is lost is counted.
//!
//! **How it fails.** One thread owns the segment. A write that fails is tried again each second and keeps its events;
//! meanwhile the queue fills and [`Audit::reserve`] refuses after a quarter of a second. A process that is
//! killed loses at most the events of answers that ended in its last moment; what was written stays.
//!
//! **Limits of this version.** One event at the end of each answer in `written` mode (the operating system has it); two
//! phases, the hash chain, signed checkpoints and queries come to this station next.

pub mod act;
pub mod event;
pub mod name;
pub mod segment;
pub mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::audit::event::Event;
use crate::config::audit::FailureMode;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuditResult;
use crate::telemetry::labels::Sink;

/// The audit does not accept events now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit does not accept events")]
pub struct NotAccepting;

impl Fault for NotAccepting {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn public(&self) -> std::borrow::Cow<'static, str> {
        "the gateway cannot write its audit record just now, so it does not answer: try again soon"
            .into()
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// A place in the queue: the event that takes it cannot be refused.
#[derive(Debug)]
pub enum Place {
    /// The event will be written.
    Reserved(mpsc::OwnedPermit<Event>),
    /// There was no place, and the configuration says to serve all the same: the event is lost, and counted.
    Lost(Arc<Telemetry>),
}

impl Place {
    /// Hands the event over. Never blocks.
    pub fn append(self, event: Event) {
        match self {
            Self::Reserved(place) => {
                place.send(event);
            }
            Self::Lost(telemetry) => {
                telemetry.metrics().audit_events.count((Sink::Segment, AuditResult::Dropped));
            }
        }
    }
}

/// The handle through which events reach the writer.
#[derive(Debug)]
pub struct Audit {
    queue: mpsc::Sender<Event>,
    healthy: Arc<AtomicBool>,
    on_failure: FailureMode,
    telemetry: Arc<Telemetry>,
}

impl Audit {
    pub(in crate::audit) fn new(
        queue: mpsc::Sender<Event>,
        healthy: Arc<AtomicBool>,
        on_failure: FailureMode,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self { queue, healthy, on_failure, telemetry }
    }

    /// Reserves a place for the event of an answer that is about to begin; waits a quarter of a second at most.
    pub async fn reserve(&self) -> Result<Place, NotAccepting> {
        if self.is_healthy() {
            let place = self.queue.clone().reserve_owned();
            if let Ok(Ok(place)) = tokio::time::timeout(LONGEST_WAIT, place).await {
                return Ok(Place::Reserved(place));
            }
        }
        match self.on_failure {
            FailureMode::Closed => Err(NotAccepting),
            FailureMode::Open => Ok(Place::Lost(Arc::clone(&self.telemetry))),
        }
    }

    /// Reserves a place at once or not at all, for an event that no answer waits for.
    pub fn reserve_now(&self) -> Place {
        match self.queue.clone().try_reserve_owned() {
            Ok(place) => Place::Reserved(place),
            Err(_) => Place::Lost(Arc::clone(&self.telemetry)),
        }
    }

    /// Whether the last write went well.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Whether requests are served at all just now.
    pub fn is_accepting(&self) -> bool {
        self.is_healthy() || self.on_failure == FailureMode::Open
    }

    /// Events that wait to be written.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

/// A longer wait is a failure: nothing hangs because of the audit.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
