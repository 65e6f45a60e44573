//! Lines on standard output: the application's own, and one canonical access line for each request.

use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Config;
use crate::config::telemetry::LogFormat;
use crate::telemetry::Telemetry;
use crate::telemetry::export::Exporter;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::Level;
use crate::telemetry::trace::TARGET;

/// Installs the process's subscriber: JSON or text lines on standard output, spans and records to the exporter if
/// there is one. Checkpoints of the audit are lines if they are announced, whatever the filter says.
///
/// Called once, by the command line. A second call is an error of the program and is reported as such.
pub fn install(
    config: &Config,
    exporter: Option<&Exporter>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = &config.telemetry.log_filter;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stdout)
        .with_ansi(io::stdout().is_terminal());
    let records = exporter.map(|exporter| exporter.records(filter)).transpose()?.flatten();
    let checkpoints = if config.audit.announce { "info" } else { "off" };
    let filter = || {
        let ours = format!("{TARGET}=off,{CHECKPOINT}={checkpoints}");
        EnvFilter::try_new(format!("actix_server=warn,{filter},{ours}"))
    };
    let lines = match config.telemetry.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.compact().with_target(false).boxed(),
    };
    let spans = exporter.map(|exporter| {
        tracing_opentelemetry::layer()
            .with_tracer(exporter.tracer())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(FilterFn::new(|meta| meta.target() == TARGET))
    });
    tracing_subscriber::registry()
        .with(records)
        .with(lines.with_filter(filter()?))
        .with(CountLines.with_filter(filter()?))
        .with(spans)
        .try_init()?;
    Ok(())
}

/// The target of the audit's checkpoints, which go where the settings say and not by their level.
pub(in crate::telemetry) const CHECKPOINT: &str = "modgate::audit::checkpoint";

/// Lines of the application so far; the subscriber is the process's, and so is this.
static COUNTS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// How many lines of each level were written.
pub(in crate::telemetry) fn counts() -> impl Iterator<Item = (Level, u64)> {
    let counts = COUNTS.iter().map(|count| count.load(Ordering::Relaxed));
    Level::values().iter().copied().zip(counts)
}

/// Counts what the layer beside it writes.
struct CountLines;

impl<S: tracing::Subscriber> Layer<S> for CountLines {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        };
        if let Some(count) = COUNTS.get(level.place()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Takes finished lines and writes them from a thread of its own, so that a slow pipe delays nobody.
#[derive(Debug, Clone)]
pub struct Lines {
    queue: SyncSender<String>,
    telemetry: Arc<Telemetry>,
}

impl Lines {
    /// The queue and the loop that empties it; the loop ends when every queue handle is gone.
    pub fn new(telemetry: Arc<Telemetry>) -> (Self, impl FnOnce() + Send + 'static) {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        (Self { queue, telemetry }, move || write_all(&lines))
    }

    /// Queues one line, without its newline. If the queue is full the line is lost and counted.
    pub fn write(&self, line: String) {
        if self.queue.try_send(line).is_err() {
            self.telemetry.metrics().log_dropped.count(());
        }
    }
}

fn write_all(lines: &Receiver<String>) {
    while let Ok(mut line) = lines.recv() {
        line.push('\n');
        // a closed standard output must not stop the gateway: the audit is the record of truth
        let _gone = io::stdout().lock().write_all(line.as_bytes());
    }
}

/// Lines that may wait: about two seconds of a busy gateway.
const QUEUE_LINES: usize = 8192;
