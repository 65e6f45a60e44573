//! The one thread that owns sequence, chain and segments.

mod log;
mod teller;

use std::path::PathBuf;
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
use crate::audit::recover;
use crate::audit::witness::step::Told;
use crate::audit::writer::log::Log;
use crate::audit::writer::teller::Teller;
use crate::clock::Clock;
use crate::config;
use crate::config::audit::Mode;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuditMode;

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

    fn directories(&self) -> Vec<PathBuf> {
        [Some(self.config.dir.clone()), self.config.second_dir.clone()]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// What an audit is made of: its handle, its threads, and its steps for whoever keeps copies.
#[derive(Debug)]
pub struct Started<W, K> {
    /// Through which events reach the writer.
    pub audit: Audit,
    /// The loop of the writer; it ends when every handle and every reserved place is gone.
    pub write: W,
    /// The loop of the keeper, which compresses, indexes and removes; it ends with the writer.
    pub keep: K,
    /// How the log grows, checkpoint by checkpoint, for whoever keeps copies elsewhere; nobody need listen.
    pub told: mpsc::Receiver<Told>,
}

/// The parts of an audit; nothing runs yet.
pub fn start(
    settings: Settings,
    telemetry: &Arc<Telemetry>,
) -> Result<Started<impl FnOnce() + Send + 'static, impl FnOnce() + Send + 'static>, KeyError> {
    let (queue, events) = mpsc::channel(QUEUE_EVENTS);
    let health = Arc::new(Health::default());
    let signers = keys::signers(&settings.config.key_file, &settings.origin())?;
    let pseudonyms = Pseudonyms::open(&keys::pseudonym_file(&settings.config.key_file))?;
    let (tell, told) = mpsc::channel(STEPS);
    let (jobs, work) = std::sync::mpsc::channel();
    let keeper = keeper::Keeper { settings: settings.clone(), audit: queue.downgrade(), work };
    let audit = Audit::new(queue, Arc::clone(&health), &settings, Arc::clone(telemetry));
    let parts = log::Parts { signers, pseudonyms, teller: Teller::new(tell), jobs };
    let log = Log::new(settings.clone(), parts, Arc::clone(telemetry));
    let writer =
        Writer { log, health, settings, telemetry: Arc::clone(telemetry), reserved_at: None };
    Ok(Started { audit, write: move || writer.run(events), keep: move || keeper.run(), told })
}

struct Writer {
    log: Log,
    health: Arc<Health>,
    settings: Settings,
    telemetry: Arc<Telemetry>,
    reserved_at: Option<Instant>,
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
        // only what is written may be signed
        if self.persist(&events) {
            self.log.sync();
            self.log.checkpoint();
        }
    }

    /// Finds out where the log stood and begins a segment, however long it takes.
    fn open(&mut self, events: &mpsc::Receiver<Item>) -> bool {
        loop {
            match self
                .log
                .lock()
                .and_then(|()| recover::recover(&self.settings.directories(), &self.settings.node))
            {
                Ok(before) => {
                    self.log.begin(before);
                    let written = self.persist(events);
                    if written {
                        self.log.checkpoint();
                    }
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
        let mut last_tries = LAST_TRIES;
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
                if last_tries == 0 {
                    tracing::error!("the audit could not be written to its end");
                    return false;
                }
                last_tries -= 1;
            }
            std::thread::park_timeout(RETRY_PAUSE);
        }
        self.recovered(events);
        true
    }

    /// What is due: a checkpoint, a new segment, another look at a disk that was full.
    fn tick(&mut self, events: &mpsc::Receiver<Item>) {
        if self.health.condition() != Condition::Well {
            self.recovered(events);
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

    /// A full disk has recovered when the reserve can be held back again; anything else when a write went well.
    fn recovered(&mut self, events: &mpsc::Receiver<Item>) {
        let before = self.health.condition();
        let looked = self.reserved_at.is_some_and(|at| at.elapsed() < RETRY_PAUSE);
        if looked && before != Condition::Broken && before != Condition::Refused {
            return;
        }
        self.reserved_at = Some(self.settings.clock.instant());
        if let Err(error) = self.log.reserve() {
            if before == Condition::Well {
                self.failed(&error);
            }
            return;
        }
        if self.health.set(Condition::Well) != Condition::Well {
            tracing::info!("the audit can be written again");
        }
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
/// How often a gateway that ends tries to write its last records.
const LAST_TRIES: u32 = 3;
