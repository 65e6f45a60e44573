//! # Audit: what happened, provably
//!
//! **Question.** Who asked for what, was it allowed, by which rule, what was really sent, and how does anybody know that
//! the record still says what it said?
//!
//! **Rule.** Every answered request has a record ([`event`]). The body of a private module leaves only after a record of
//! the decision is written (`decided`), unless `private_mode` is best-effort; a second one (`done`) tells what was sent. A
//! refusal is recorded before it is sent (of a malformed request: is in the queue by then); everything else once, at its
//! end, in a place that was reserved before it began. Records are numbered without holes, [chained](chain), and the leaves
//! of a tree whose signed root is a checkpoint ([`crate::tlog`]); one log per node goes
//! on across restarts ([`recover`]). [`verify`] names the first record that was changed, removed, moved or added.
//!
//! The policies that records name lie whole beside them ([`policies`]), so that a decision can be explained years later.
//!
//! A question to a running gateway ([`desk`]) is an answer like others: recorded, with its filters, before it is given.
//!
//! What happens apart from answers (a login, a lock, a dependency that goes or comes) is told by whoever sees it
//! ([`crate::telemetry::happening`]) and recorded once, not with each request. Commands beside a gateway leave a [`slip`].
//!
//! **What it refuses.** While nothing can be written, bodies of private modules and answers to operators are 503
//! (`on_failure = "closed"`); other answers are given and counted as lost (`"open"`), and `audit.gap` says so later. A
//! refusal is refused in any case. A policy comes into force all the same, because it may be the wall that must stand now: a
//! full disk would otherwise keep a revoked right alive. Its record waits in the queue, and stands in the log before whatever
//! is let in once something can be written again. Under pressure best-effort records go first, then public answers, private ones last.
//!
//! **How it fails.** One thread owns sequence, chain and segments ([`writer`]). It tries again each second and keeps what it
//! has; nobody waits longer than a quarter of a second for it. A full disk gives back a reserve, so that what is under way is
//! still written. A process that is killed loses at most what nobody was told is written. A thread for each directory ([`keeper`])
//! indexes closed segments, compresses them when agents that ship them have had an hour, and removes old ones.
//!
//! **Who else signs.** Whoever keeps copies, or other nodes ([`witness`]): they are told how the log grew from checkpoint to
//! checkpoint, and sign what leads on from what they signed last.
//!
//! **Limits.** Whoever owns the node can write false new records, but cannot change what a checkpoint kept elsewhere covers.
//! Bits of a compressed block that mean nothing to whoever inflates it are no record's, and nobody misses them.
//! Whoever may read the files and not write beside them leaves no slip; the file system's own audit tells of them. A token
//! issued or revoked in the last seconds of a gateway that is killed is told by the token file alone.
//! A log with one directory waits for it, however long it hangs; with two, either is enough ([`sinks`]).

pub mod act;
pub mod chain;
pub mod desk;
pub mod encode;
pub mod event;
pub mod export;
pub mod filter;
pub mod health;
pub mod index;
pub mod keeper;
pub mod keys;
mod marks;
pub mod name;
pub mod policies;
pub mod prove;
pub mod query;
pub mod recover;
pub mod report;
pub mod segment;
mod sink;
mod sinks;
pub mod slip;
pub mod stats;
pub mod tail;
pub mod verify;
pub mod witness;
pub mod writer;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::audit::event::Event;
use crate::audit::health::Condition;
use crate::audit::health::Health;
use crate::audit::writer::Settings;
use crate::clock::Clock;
use crate::config::audit::FailureMode;
use crate::config::audit::Mode;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuditResult;
use crate::telemetry::labels::Sink;

/// The audit does not accept events now, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit does not accept events: {}", .0.why())]
pub struct NotAccepting(Condition);

impl Fault for NotAccepting {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn public(&self) -> Cow<'static, str> {
        let why = self.0.why();
        format!("the gateway cannot write its audit record just now:\n{why}; try again soon").into()
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// What kind of event it is: each has its mode and its failure policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The body of a private module.
    Private,
    /// Every other answer with a body.
    Public,
    /// A refusal, or an answer above something the caller may read.
    Refusal,
    /// An administrative action.
    Admin,
}

/// An event on its way to the writer.
#[derive(Debug)]
pub(in crate::audit) struct Item {
    event: Event,
    mode: Mode,
    done: Option<oneshot::Sender<()>>,
}

/// A place in the queue: the event that takes it cannot be refused.
#[derive(Debug)]
pub struct Place(Held);

#[derive(Debug)]
enum Held {
    /// The event will be written.
    Reserved(mpsc::OwnedPermit<Item>, Mode),
    /// There was no place, and the event is lost, and counted.
    Lost(Arc<Losses>),
}

/// Who counts what is lost.
#[derive(Debug)]
struct Losses {
    health: Arc<Health>,
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
}

impl Losses {
    fn count(&self) {
        self.telemetry.metrics().audit_events.count((Sink::Segment, AuditResult::Dropped));
        self.health.lose(self.clock.now());
    }
}

impl Place {
    /// Hands the event over. Never blocks.
    pub fn append(self, event: Event) {
        match self.0 {
            Held::Reserved(place, mode) => {
                place.send(Item { event, mode, done: None });
            }
            Held::Lost(losses) => losses.count(),
        }
    }
}

/// The handle through which events reach the writer.
#[derive(Debug)]
pub struct Audit {
    queue: mpsc::Sender<Item>,
    rules: Rules,
    losses: Arc<Losses>,
}

/// Mode and failure policy of each class.
#[derive(Debug, Clone, Copy)]
struct Rules {
    private: (Mode, FailureMode),
    public: (Mode, FailureMode),
    refusal: Mode,
    admin: Mode,
}

impl Rules {
    const fn of(self, class: Class) -> (Mode, FailureMode) {
        match class {
            Class::Private => self.private,
            Class::Public => self.public,
            // it is refused in any case: there is nothing to keep closed
            Class::Refusal => (self.refusal, FailureMode::Open),
            Class::Admin => (self.admin, self.private.1),
        }
    }
}

impl Audit {
    pub(in crate::audit) fn new(
        queue: mpsc::Sender<Item>,
        health: Arc<Health>,
        settings: &Settings,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let config = &settings.config;
        let rules = Rules {
            private: (config.private_mode, config.on_failure),
            public: (config.public_mode, config.on_failure_public),
            refusal: config.refusal_mode,
            admin: config.admin_mode,
        };
        let clock = Arc::clone(&settings.clock);
        Self { queue, rules, losses: Arc::new(Losses { health, telemetry, clock }) }
    }

    /// Reserves a place for the event of an answer that is about to begin; waits a quarter of a second at most.
    pub async fn reserve(&self, class: Class) -> Result<Place, NotAccepting> {
        let begun = self.losses.clock.instant();
        let place = self.reserve_until(class, deadline()).await;
        self.waited_since(begun);
        place
    }

    /// Tells how long somebody waited, for a place or for a record.
    fn waited_since(&self, begun: std::time::Instant) {
        let waited = self.losses.clock.instant().saturating_duration_since(begun);
        let seconds = &self.losses.telemetry.metrics().audit_append_seconds;
        seconds.observe((), waited.as_secs_f64());
    }

    async fn reserve_until(&self, class: Class, until: Instant) -> Result<Place, NotAccepting> {
        let (mode, on_failure) = self.rules.of(class);
        match self.place(class, until).await {
            Some(place) => Ok(Place(Held::Reserved(place, mode))),
            None if on_failure == FailureMode::Open => Ok(self.lost()),
            None => Err(NotAccepting(self.condition())),
        }
    }

    /// Records an event and waits until it is written as its class asks, a quarter of a second at most. In an open class
    /// what could not be written in time is well: it is lost and counted, or written later.
    pub async fn record(&self, class: Class, event: Event) -> Result<(), NotAccepting> {
        let begun = self.losses.clock.instant();
        let written = self.record_until(class, event, deadline()).await;
        self.waited_since(begun);
        written
    }

    /// Records that something was decided and reserves the place of what will be said of its end; both within one wait. If the
    /// decision cannot be recorded, the place is for what is said instead.
    pub async fn decide(
        &self,
        class: Class,
        event: Event,
    ) -> Result<Place, (NotAccepting, Option<Place>)> {
        let (begun, until) = (self.losses.clock.instant(), deadline());
        let decided = async {
            let place =
                self.reserve_until(class, until).await.map_err(|refused| (refused, None))?;
            match self.record_until(class, event, until).await {
                Ok(()) => Ok(place),
                Err(refused) => Err((refused, Some(place))),
            }
        };
        let decided = decided.await;
        self.waited_since(begun);
        decided
    }

    async fn record_until(
        &self,
        class: Class,
        event: Event,
        until: Instant,
    ) -> Result<(), NotAccepting> {
        let (mode, on_failure) = self.rules.of(class);
        let Some(place) = self.place(class, until).await else {
            if on_failure == FailureMode::Open {
                self.losses.count();
                return Ok(());
            }
            return Err(NotAccepting(self.condition()));
        };
        if mode == Mode::BestEffort {
            place.send(Item { event, mode, done: None });
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        place.send(Item { event, mode, done: Some(done) });
        match tokio::time::timeout_at(until, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) if on_failure == FailureMode::Open => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotAccepting(self.condition())),
        }
    }

    async fn place(&self, class: Class, until: Instant) -> Option<mpsc::OwnedPermit<Item>> {
        let (mode, _) = self.rules.of(class);
        if !self.is_healthy() || self.waiting() >= self.limit(class, mode) {
            return None;
        }
        let place = self.queue.clone().reserve_owned();
        tokio::time::timeout_at(until, place).await.ok()?.ok()
    }

    /// How full the queue may be for a class: best-effort records go first, public answers next, private ones last.
    fn limit(&self, class: Class, mode: Mode) -> usize {
        let all = self.queue.max_capacity();
        match (class, mode) {
            (_, Mode::BestEffort) => all / 2,
            (Class::Public, _) => all / 10 * 8,
            // all of them: they wait for a place
            (Class::Private | Class::Refusal | Class::Admin, _) => usize::MAX,
        }
    }

    /// Reserves a place at once or not at all, for an event that no answer waits for. That of an administrative action may
    /// wait in the queue until something can be written again: it stands in the log before whatever was let in after it.
    pub fn reserve_now(&self, class: Class) -> Place {
        let (mode, _) = self.rules.of(class);
        match self.queue.clone().try_reserve_owned() {
            Ok(place) if self.is_healthy() || class == Class::Admin => {
                Place(Held::Reserved(place, mode))
            }
            Ok(_) | Err(_) => self.lost(),
        }
    }

    fn lost(&self) -> Place {
        Place(Held::Lost(Arc::clone(&self.losses)))
    }

    fn condition(&self) -> Condition {
        self.losses.health.condition()
    }

    /// Whether the last write went well.
    pub fn is_healthy(&self) -> bool {
        self.condition() == Condition::Well
    }

    /// Whether everything is served just now, and if not, why.
    pub fn readiness(&self) -> Result<(), NotAccepting> {
        if self.is_healthy() || self.rules.private.1 == FailureMode::Open {
            return Ok(());
        }
        Err(NotAccepting(self.condition()))
    }

    /// Events that wait to be written.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

/// Until when somebody may wait who begins now, whatever they wait for.
fn deadline() -> Instant {
    Instant::now() + LONGEST_WAIT
}

/// A longer wait is a failure: nothing hangs because of the audit.
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// In this time a caller has an answer if nothing can be recorded: what is left of it is for the answer itself.
const ANSWERED_WITHIN: Duration = Duration::from_millis(250);
const _: () = assert!(LONGEST_WAIT.as_millis() + 50 <= ANSWERED_WITHIN.as_millis());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::name::Name;
    use crate::audit::name::Outcome;
    use crate::clock::SystemClock;
    use crate::telemetry::trace::sampler::Sampler;

    /// An audit whose writer takes nothing out of a queue of some places.
    fn stuck(places: usize) -> (Audit, mpsc::Receiver<Item>) {
        let (queue, nobody_reads) = mpsc::channel(places);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let telemetry = Telemetry::new(&[], Sampler::new(0.0), Arc::clone(&clock)).unwrap();
        let (closed, open) = (FailureMode::Closed, FailureMode::Open);
        let rules = Rules {
            private: (Mode::Written, closed),
            public: (Mode::Written, open),
            refusal: Mode::Written,
            admin: Mode::Written,
        };
        let (health, telemetry) = (Arc::default(), Arc::new(telemetry));
        let losses = Arc::new(Losses { health, telemetry, clock });
        (Audit { queue, rules, losses }, nobody_reads)
    }

    fn event() -> Event {
        Event::bare(String::new(), Name::ModuleZip, String::new(), Outcome::Allowed)
    }

    #[tokio::test]
    async fn nobody_waits_for_a_writer_that_hangs_and_what_is_closed_stays_closed() {
        let (audit, mut queued) = stuck(2);
        // the decision waits in the queue, and nobody says that it is written
        let Err((refused, Some(place))) = audit.decide(Class::Private, event()).await else {
            panic!("decided although nothing is written");
        };
        assert!(refused.to_string().contains("too slow"), "{refused}");
        place.append(event());
        // the queue is full: no place, and for what is open a loss that is counted
        assert!(matches!(audit.decide(Class::Private, event()).await, Err((_, None))));
        assert!(audit.record(Class::Admin, event()).await.is_err());
        assert!(audit.record(Class::Refusal, event()).await.is_ok());
        assert_eq!(audit.losses.health.take_lost().map(|lost| lost.count), Some(1));
        assert!(
            queued.try_recv().is_ok() && queued.try_recv().is_ok() && queued.try_recv().is_err()
        );
    }

    #[tokio::test]
    async fn best_effort_records_wait_for_nobody_and_are_the_first_to_go() {
        let (mut audit, _queued) = stuck(10);
        audit.rules.refusal = Mode::BestEffort;
        audit.rules.private = (Mode::BestEffort, FailureMode::Closed);
        for _ in 0..5 {
            assert!(audit.record(Class::Refusal, event()).await.is_ok());
        }
        // half of the queue is for the others
        assert!(audit.record(Class::Refusal, event()).await.is_ok());
        assert_eq!(audit.losses.health.take_lost().map(|lost| lost.count), Some(1));
        assert!(audit.decide(Class::Private, event()).await.is_err(), "closed stays closed");
        assert_eq!(audit.waiting(), 5);
        assert!(matches!(audit.reserve(Class::Public).await.unwrap().0, Held::Reserved(..)));
    }

    #[tokio::test]
    async fn under_pressure_public_answers_give_way_and_administrative_records_wait_for_better_times()
     {
        let (audit, _queued) = stuck(10);
        for _ in 0..8 {
            audit.reserve_now(Class::Private).append(event());
        }
        assert!(matches!(audit.reserve(Class::Public).await.unwrap().0, Held::Lost(_)));
        assert!(matches!(audit.reserve(Class::Private).await.unwrap().0, Held::Reserved(..)));
        audit.losses.health.set(Condition::Full);
        assert!(matches!(audit.reserve_now(Class::Public).0, Held::Lost(_)));
        assert!(matches!(audit.reserve_now(Class::Admin).0, Held::Reserved(..)));
        assert!(audit.readiness().is_err());
    }
}
