//! The one thread that owns sequence and segment.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::audit::Audit;
use crate::audit::event::Event;
use crate::audit::segment::Segment;
use crate::config::audit::FailureMode;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuditResult;
use crate::telemetry::labels::Sink;

/// Where and how events are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of the segments.
    pub directory: PathBuf,
    /// This node's name.
    pub node: String,
    /// Bytes after which a new segment begins.
    pub max_segment: u64,
    /// What happens to requests while events cannot be written.
    pub on_failure: FailureMode,
}

/// A line as it is written: what the writer knows, then the event.
#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    seq: u64,
    node: &'a str,
    boot: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// The handle and the loop of the writer; the loop ends when every handle and every reserved place is gone.
pub fn start(
    settings: Settings,
    telemetry: Arc<Telemetry>,
) -> (Audit, impl FnOnce() + Send + 'static) {
    let (queue, events) = mpsc::channel(QUEUE_EVENTS);
    let healthy = Arc::new(AtomicBool::new(true));
    let audit =
        Audit::new(queue, Arc::clone(&healthy), settings.on_failure, Arc::clone(&telemetry));
    let boot = Uuid::now_v7().simple().to_string();
    let stem = format!("{}-{boot}", settings.node);
    let segment = Segment::new(settings.directory, stem, settings.max_segment);
    let writer = Writer { node: settings.node, boot, next: 1, segment, healthy, telemetry };
    (audit, move || writer.run(events))
}

struct Writer {
    node: String,
    boot: String,
    next: u64,
    segment: Segment,
    healthy: Arc<AtomicBool>,
    telemetry: Arc<Telemetry>,
}

impl Writer {
    fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut batch = Vec::with_capacity(BATCH_EVENTS);
        while let Some(event) = events.blocking_recv() {
            batch.push(event);
            while batch.len() < BATCH_EVENTS {
                match events.try_recv() {
                    Ok(event) => batch.push(event),
                    Err(_empty) => break,
                }
            }
            self.write(&batch);
            batch.clear();
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            self.telemetry.metrics().audit_queue.set((), events.len() as f64);
        }
    }

    /// Writes a batch, however long it takes: the events are kept until the segment takes them.
    fn write(&mut self, batch: &[Event]) {
        let first = self.next;
        let mut lines = Vec::with_capacity(batch.len() * 1024);
        for event in batch {
            let line = Line { v: 1, seq: self.next, node: &self.node, boot: &self.boot, event };
            if let Err(error) = serde_json::to_writer(&mut lines, &line) {
                tracing::error!(%error, "an audit event could not be encoded");
                continue;
            }
            lines.push(b'\n');
            self.next += 1;
        }
        while let Err(error) = self.segment.append(&lines, first) {
            self.failed(&error);
            std::thread::park_timeout(RETRY_PAUSE);
        }
        self.recovered();
        let written = &self.telemetry.metrics().audit_events;
        written.add((Sink::Segment, AuditResult::Written), self.next - first);
    }

    fn failed(&self, error: &std::io::Error) {
        let events = &self.telemetry.metrics().audit_events;
        events.count((Sink::Segment, AuditResult::Failed));
        if self.healthy.swap(false, Ordering::Relaxed) {
            tracing::error!(%error, "the audit segment cannot be written");
        }
    }

    fn recovered(&self) {
        if !self.healthy.swap(true, Ordering::Relaxed) {
            tracing::info!("the audit segment can be written again");
        }
    }
}

/// Places in the queue: what a busy gateway answers in half a second.
const QUEUE_EVENTS: usize = 8192;
/// Events written by one system call at most.
const BATCH_EVENTS: usize = 256;
/// How long a failing segment is left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
