//! The one thread that owns sequence, chain and segments.

mod log;
mod teller;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::audit::Audit;
use crate::audit::Item;
use crate::audit::health::Condition;
use crate::audit::health::Health;
use crate::audit::keeper;
use crate::audit::keys;
use crate::audit::keys::KeyError;
use crate::audit::keys::Pseudonyms;
use crate::audit::sinks::Sinks;
use crate::audit::witness::step::Told;
use crate::audit::writer::log::Log;
use crate::audit::writer::teller::Teller;
use crate::clock::Clock;
use crate::config;
use crate::config::audit::Mode;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuditMode;
use crate::telemetry::labels::service::Service;

/// Where and how events are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The section of the configuration.
    pub config: config::audit::Audit,
    /// This node's name.
    pub node: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Settings {
    /// What this node's log is called.
    pub fn origin(&self) -> String {
        format!("{}/{}", self.config.origin, self.node)
    }
}

/// The loop of a thread, and its name.
pub type Loop = (Service, Box<dyn FnOnce() + Send>);

/// What an audit is made of: its handle, its threads, and its steps for whoever keeps copies.
pub struct Started {
    /// Through which events reach the writer.
    pub audit: Audit,
    /// The writer, which ends when every handle and every reserved place is gone; for each directory a keeper, which
    /// compresses, indexes and removes; and for each of two directories one that writes. All of them end with the writer.
    pub loops: Vec<Loop>,
    /// How the log grows, checkpoint by checkpoint, for whoever keeps copies elsewhere; nobody need listen.
    pub told: mpsc::Receiver<Told>,
}

impl fmt::Debug for Started {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an audit of {} threads", self.loops.len())
    }
}

/// The parts of an audit; nothing runs yet.
pub fn start(settings: Settings, telemetry: &Arc<Telemetry>) -> Result<Started, KeyError> {
    let (queue, events) = mpsc::channel(QUEUE_EVENTS);
    let health = Arc::new(Health::default());
    let signers = keys::signers(&settings.config.key_file, &settings.origin())?;
    let pseudonyms = Pseudonyms::open(&keys::pseudonym_file(&settings.config.key_file))?;
    let (tell, told) = mpsc::channel(STEPS);
    let mut loops = Vec::<Loop>::new();
    let keeper = |directory: &Path| {
        let (closed, work) = std::sync::mpsc::channel();
        let (settings, audit) = (settings.clone(), queue.downgrade());
        let keeper = keeper::Keeper { settings, directory: directory.to_owned(), audit, work };
        loops.push((Service::AuditKeeper, Box::new(move || keeper.run())));
        closed
    };
    let (sinks, porters) = Sinks::new(&settings, keeper, Arc::clone(telemetry));
    for porter in porters {
        loops.push((Service::AuditSink, Box::new(move || porter.run())));
    }
    let audit = Audit::new(queue, Arc::clone(&health), &settings, Arc::clone(telemetry));
    let parts = log::Parts { signers, pseudonyms, teller: Teller::new(tell) };
    let log = Log::new(settings.clone(), parts, sinks, Arc::clone(telemetry));
    let writer =
        Writer { log, health, settings, telemetry: Arc::clone(telemetry), settled_at: None };
    loops.push((Service::AuditWriter, Box::new(move || writer.run(events))));
    Ok(Started { audit, loops, told })
}

struct Writer {
    log: Log,
    health: Arc<Health>,
    settings: Settings,
    telemetry: Arc<Telemetry>,
    /// When the space held back was looked at last.
    settled_at: Option<Instant>,
}

impl Writer {
    fn run(mut self, mut events: mpsc::Receiver<Item>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else {
            self.health.set(Condition::Broken);
            tracing::error!("the audit's writer has no timer, so nothing is recorded");
            return;
        };
        if !self.open(&events) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.telemetry.metrics().audit_queue_capacity.set((), QUEUE_EVENTS as f64);
        let mut batch = Vec::with_capacity(BATCH_EVENTS);
        loop {
            let more = events.recv_many(&mut batch, BATCH_EVENTS);
            match runtime.block_on(async { tokio::time::timeout(TICK, more).await }) {
                Ok(0) => break,
                Ok(_) => self.write(&mut batch, &events),
                Err(_elapsed) => {}
            }
            self.tick(&events);
        }
        self.log.stop();
        if self.persist(&events) {
            self.log.sync();
            self.log.checkpoint();
        }
        self.log.close();
    }

    /// Finds out where the log stood and begins a segment, however long it takes.
    fn open(&mut self, events: &mpsc::Receiver<Item>) -> bool {
        loop {
            match self.log.look() {
                Ok(before) => {
                    self.log.begin(before);
                    let written = self.persist(events);
                    self.log.checkpoint();
                    return written;
                }
                Err(error) => self.failed(&error),
            }
            if events.is_closed() {
                return false;
            }
            std::thread::park_timeout(RETRY_PAUSE);
        }
    }

    fn write(&mut self, batch: &mut Vec<Item>, events: &mpsc::Receiver<Item>) {
        let begun = self.settings.clock.instant();
        let (mut written, mut durable) = (Vec::new(), Vec::new());
        for Item { event, mode, done } in batch.drain(..) {
            self.log.add(event);
            match mode {
                Mode::Durable => durable.push(done),
                Mode::Written | Mode::BestEffort => written.push(done),
            }
        }
        if !self.persist(events) {
            return;
        }
        let took = || self.settings.clock.instant().saturating_duration_since(begun).as_secs_f64();
        let seconds = &self.telemetry.metrics().audit_write_seconds;
        if !written.is_empty() {
            seconds.observe((AuditMode::Written,), took());
        }
        acknowledge(written);
        if !durable.is_empty() {
            // one for all of them: the batch that gathered while the last one took its time
            let synced = self.log.sync();
            seconds.observe((AuditMode::Durable,), took());
            if synced {
                acknowledge(durable);
            }
        }
    }

    /// Writes what was added, however long it takes: records are kept until a sink takes them. Gives up only when the
    /// gateway ends, and says so.
    fn persist(&mut self, events: &mpsc::Receiver<Item>) -> bool {
        let mut ends = None;
        loop {
            match self.log.flush() {
                Ok(()) => break,
                Err(error) => {
                    self.failed(&error);
                    if Condition::of(&error) == Condition::Full && self.log.give_back() {
                        continue;
                    }
                }
            }
            if events.is_closed() {
                let now = self.settings.clock.instant();
                if now.saturating_duration_since(*ends.get_or_insert(now)) >= LAST_TRIES {
                    tracing::error!("the audit could not be written to its end");
                    return false;
                }
            }
            // one that hangs is waited for in the try itself
            if self.health.condition() != Condition::Hanging {
                std::thread::park_timeout(RETRY_PAUSE);
            }
        }
        self.settle(events);
        true
    }

    /// What is due: a checkpoint, a new segment, another look at a disk that was full.
    fn tick(&mut self, events: &mpsc::Receiver<Item>) {
        if self.health.condition() != Condition::Well {
            self.settle(events);
        }
        if self.log.turn() {
            self.persist(events);
        }
    }

    fn failed(&self, error: &std::io::Error) {
        let condition = Condition::of(error);
        if self.health.set(condition) == Condition::Well {
            tracing::error!(%error, why = condition.why(), "the audit cannot be written");
        }
    }

    /// What follows a write that went well, also while nothing is wrong: space is held back for the hour when the disk is full,
    /// and when that is done the audit is well, and says what was lost until now.
    fn settle(&mut self, events: &mpsc::Receiver<Item>) {
        if !self.is_time_to_settle() {
            return;
        }
        match self.log.reserve() {
            Ok(()) => {
                self.well();
                self.declare(events);
            }
            Err(error) => self.lacks_reserve(&error),
        }
    }

    /// Whether the space is to be looked at now: once a second while it is all that may be wrong. Whatever else was wrong has
    /// ended with the write, and nobody should be refused for another second.
    fn is_time_to_settle(&mut self) -> bool {
        let now = self.settings.clock.instant();
        let since = self.settled_at.map(|at| now.saturating_duration_since(at));
        let is_written = !matches!(self.health.condition(), Condition::Well | Condition::Full);
        let is_time = is_written || since.is_none_or(|since| since >= RETRY_PAUSE);
        if is_time {
            self.settled_at = Some(now);
        }
        is_time
    }

    /// Notes that no space can be held back. A disk that is full stays so until it can be; one that was well may be full by now.
    fn lacks_reserve(&self, error: &std::io::Error) {
        // what was written was written: a slow answer about the reserve alone is no news
        let is_slow = error.kind() == std::io::ErrorKind::TimedOut;
        if self.health.condition() == Condition::Well && !is_slow {
            self.failed(error);
        }
    }

    /// Notes that records are taken, and tells it once.
    fn well(&self) {
        if self.health.set(Condition::Well) != Condition::Well {
            tracing::info!("the audit can be written again");
        }
    }

    /// Records what was lost since it was told last.
    fn declare(&mut self, events: &mpsc::Receiver<Item>) {
        if let Some(lost) = self.health.take_lost() {
            self.log.gap(&lost);
            self.persist(events);
        }
    }
}

fn acknowledge(waiting: Vec<Option<oneshot::Sender<()>>>) {
    for done in waiting.into_iter().flatten() {
        // whoever no longer waits has been told that it took too long
        let _gone = done.send(());
    }
}

/// Places in the queue: what a busy gateway answers in half a second.
pub(in crate::audit) const QUEUE_EVENTS: usize = 8192;
/// Steps that wait for whoever tells them: those of two hours.
const STEPS: usize = 720;
/// Events written by one system call at most.
const BATCH_EVENTS: usize = 256;
/// How often it is asked what is due.
const TICK: Duration = Duration::from_millis(250);
/// How long failing files are left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a gateway that ends tries to write its last records.
const LAST_TRIES: Duration = Duration::from_secs(3);
