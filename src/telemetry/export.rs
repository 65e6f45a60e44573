//! The OTLP pipeline that spans leave through, with its own count of what was exported, failed and dropped.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::TraceId;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::BatchConfigBuilder;
use opentelemetry_sdk::trace::BatchSpanProcessor;
use opentelemetry_sdk::trace::IdGenerator;
use opentelemetry_sdk::trace::RandomIdGenerator;
use opentelemetry_sdk::trace::SdkTracer;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::Span;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanExporter;
use opentelemetry_sdk::trace::SpanProcessor;

use crate::clock::Clock;
use crate::config::telemetry::OtlpProtocol;

thread_local! {
    /// The ids that the next root span must take, because they were told to others before it was built.
    static DRAWN: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Builds something whose root span takes these ids.
pub(in crate::telemetry) fn hand_out<T>(ids: (TraceId, SpanId), build: impl FnOnce() -> T) -> T {
    DRAWN.set(Some(ids));
    let built = build();
    DRAWN.set(None);
    built
}

/// Gives out the ids that a request already drew, and random ones otherwise.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        DRAWN.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        DRAWN.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// What became of the spans so far.
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

    /// Takes a place in the queue, or counts the span that has none.
    fn admit(&self) -> bool {
        if self.waiting() >= QUEUE as u64 {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// Bounds the queue and counts what it refuses: the batch processor would drop without a word.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.counts.admit() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts and times what it exports.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        self.counts.taken.fetch_add(count, Ordering::Relaxed);
        let begun = self.clock.instant();
        let sent = self.exporter.export(batch).await;
        let took = self.clock.instant().saturating_duration_since(begun);
        let told = if sent.is_ok() { &self.counts.exported } else { &self.counts.failed };
        told.fetch_add(count, Ordering::Relaxed);
        let mut all = self.counts.took.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < TIMES {
            all.push(took);
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The pipeline that sends spans to a collector; ended by [`Exporter::shut_down`].
#[derive(Debug, Clone)]
pub struct Exporter {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
}

impl Exporter {
    /// Starts the pipeline. `endpoint` is the collector's base URL; over HTTP `/v1/traces` is added. `node` names
    /// this instance. Must be called beside an async runtime (gRPC works on it), not on one (HTTP has a thread).
    pub fn start(
        endpoint: &str,
        protocol: OtlpProtocol,
        node: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ExporterBuildError> {
        let endpoint = endpoint.trim_end_matches('/');
        let builder = opentelemetry_otlp::SpanExporter::builder();
        let exporter = match protocol {
            OtlpProtocol::Http => builder
                .with_http()
                .with_endpoint(format!("{endpoint}/v1/traces"))
                .with_timeout(EXPORT_TIMEOUT)
                .build()?,
            OtlpProtocol::Grpc => {
                builder.with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?
            }
        };
        let counts = Arc::new(Counts::default());
        let counted = Counted { exporter, counts: Arc::clone(&counts), clock };
        let batches = BatchConfigBuilder::default()
            // room for what is counted already and not yet taken
            .with_max_queue_size(QUEUE * 2)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let batches = BatchSpanProcessor::builder(counted).with_batch_config(batches).build();
        let resource = Resource::builder()
            .with_service_name("modgate")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", node.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_id_generator(Ids::default())
            .with_span_processor(Bounded { batches, counts: Arc::clone(&counts) })
            .with_resource(resource)
            .build();
        Ok(Self { provider, counts })
    }

    pub(in crate::telemetry) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("modgate")
    }

    pub(in crate::telemetry) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Sends what is left and ends the pipeline. Blocking, a few seconds at most.
    pub fn shut_down(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(EXPORT_TIMEOUT) {
            tracing::warn!(%error, "spans were lost at the end");
        }
    }
}

/// A collector that takes longer is treated as gone; the batch is lost, not the request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Spans that may wait: some seconds of a busy gateway, and about 10 MB.
pub(in crate::telemetry) const QUEUE: usize = 8192;
/// Spans of one export.
const BATCH: usize = 512;
/// How long a span waits for company.
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
