//! The OTLP pipelines to a collector, each with its own count of what was exported, failed and dropped.

mod logs;
mod spans;

use std::error::Error;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracer;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
use crate::config;
use crate::config::telemetry::OtlpLogs;
pub(in crate::telemetry) use crate::telemetry::export::spans::hand_out;
use crate::telemetry::labels::Signal;

/// What became of the items of one signal so far.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Counts {
    /// Handed to the queue.
    queued: AtomicU64,
    /// Taken out of it.
    taken: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    took: Mutex<Vec<Duration>>,
}

impl Counts {
    pub(in crate::telemetry) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    pub(in crate::telemetry) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(in crate::telemetry) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub(in crate::telemetry) fn waiting(&self) -> u64 {
        let queued = self.queued.load(Ordering::Relaxed);
        queued.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// How long the exports took since this was last asked.
    pub(in crate::telemetry) fn took(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place in the queue, or counts the item that has none.
    fn admit(&self) -> bool {
        if self.waiting() >= QUEUE as u64 {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// Counts and times the exports of one signal.
#[derive(Debug)]
struct Meter {
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
}

impl Meter {
    async fn measure(
        &self,
        count: usize,
        sending: impl Future<Output = OTelSdkResult>,
    ) -> OTelSdkResult {
        let count = count as u64;
        self.counts.taken.fetch_add(count, Ordering::Relaxed);
        let begun = self.clock.instant();
        let sent = sending.await;
        let took = self.clock.instant().saturating_duration_since(begun);
        let told = if sent.is_ok() { &self.counts.exported } else { &self.counts.failed };
        told.fetch_add(count, Ordering::Relaxed);
        let mut all = self.counts.took.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < TIMES {
            all.push(took);
        }
        sent
    }
}

/// What makes log records of events.
pub(in crate::telemetry) type Records<S> = Box<dyn Layer<S> + Send + Sync>;

/// What sends spans to a collector, and log records if they are wanted; ended by [`Exporter::shut_down`].
#[derive(Debug, Clone)]
pub struct Exporter {
    spans: (SdkTracerProvider, Arc<Counts>),
    logs: Option<(SdkLoggerProvider, Arc<Counts>)>,
    wanted: OtlpLogs,
    clock: Arc<dyn Clock>,
}

impl Exporter {
    /// Starts what is configured; nothing without an endpoint. Over HTTP `/v1/traces` and `/v1/logs` are added to it.
    /// Must be called beside an async runtime (gRPC works on it), not on one (HTTP has a thread).
    pub fn start(
        settings: &config::telemetry::Telemetry,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, ExporterBuildError> {
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
        let endpoint = endpoint.as_str().trim_end_matches('/');
        let protocol = settings.otlp_protocol;
        let resource = Resource::builder()
            .with_service_name("modgate")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", settings.node.clone()))
            .build();
        let meter = || {
            let counts = Arc::new(Counts::default());
            (Meter { counts: Arc::clone(&counts), clock: Arc::clone(&clock) }, counts)
        };
        let wanted = settings.otlp_logs;
        let logs = if wanted == OtlpLogs::Off {
            None
        } else {
            let (meter, counts) = meter();
            Some((logs::provider(endpoint, protocol, resource.clone(), meter)?, counts))
        };
        let (meter, counts) = meter();
        let spans = (spans::provider(endpoint, protocol, resource, meter)?, counts);
        Ok(Some(Self { spans, logs, wanted, clock }))
    }

    pub(in crate::telemetry) fn tracer(&self) -> SdkTracer {
        self.spans.0.tracer("modgate")
    }

    /// What makes log records of events, if they are wanted; `filter` are levels by target.
    pub(in crate::telemetry) fn records<S>(
        &self,
        filter: &str,
    ) -> Result<Option<Records<S>>, Box<dyn Error + Send + Sync>>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let provider = self.logs.as_ref().map(|(provider, _)| provider);
        provider.map(|provider| logs::layer(provider, self.wanted, filter)).transpose()
    }

    /// What became of what, for each signal that is exported.
    pub(in crate::telemetry) fn counts(&self) -> impl Iterator<Item = (Signal, &Counts)> {
        let logs = self.logs.iter().map(|(_, counts)| (Signal::Logs, counts.as_ref()));
        std::iter::once((Signal::Traces, self.spans.1.as_ref())).chain(logs)
    }

    /// Sends what is left and ends the pipelines. Blocking, a few seconds at most for both: checkpoints go first.
    pub fn shut_down(&self) {
        let end = self.clock.instant() + EXPORT_TIMEOUT;
        let left = || end.saturating_duration_since(self.clock.instant());
        if let Some((provider, _)) = &self.logs
            && let Err(error) = provider.shutdown_with_timeout(left())
        {
            tracing::warn!(%error, "log records for the collector were lost at the end");
        }
        if let Err(error) = self.spans.0.shutdown_with_timeout(left()) {
            tracing::warn!(%error, "spans were lost at the end");
        }
    }
}

/// A collector that takes longer is treated as gone; the batch is lost, not the request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Spans or records that may wait: some seconds of a busy gateway, and about 10 MB.
pub(in crate::telemetry) const QUEUE: usize = 8192;
/// Spans or records of one export.
const BATCH: usize = 512;
/// How long one waits for company.
const DELAY: Duration = Duration::from_millis(500);
/// Times of exports that are kept between two scrapes.
const TIMES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let counts = Counts::default();
        let admitted = (0..QUEUE + 7).filter(|_| counts.admit()).count();
        assert_eq!((admitted, counts.dropped(), counts.waiting()), (QUEUE, 7, QUEUE as u64));
        counts.taken.fetch_add(512, Ordering::Relaxed);
        assert!(counts.admit());
    }
}
