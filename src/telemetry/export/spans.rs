//! Spans on their way to a collector.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::TraceId;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_otlp::SpanExporter as Sender;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::BatchConfigBuilder;
use opentelemetry_sdk::trace::BatchSpanProcessor;
use opentelemetry_sdk::trace::IdGenerator;
use opentelemetry_sdk::trace::RandomIdGenerator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::Span;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanExporter;
use opentelemetry_sdk::trace::SpanProcessor;

use crate::config::telemetry::OtlpProtocol;
use crate::telemetry::export::BATCH;
use crate::telemetry::export::Counts;
use crate::telemetry::export::DELAY;
use crate::telemetry::export::EXPORT_TIMEOUT;
use crate::telemetry::export::Meter;
use crate::telemetry::export::QUEUE;

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
    exporter: Sender,
    meter: Meter,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.meter.measure(batch.len(), self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The provider of spans, whose meter counts and times what leaves.
pub(in crate::telemetry::export) fn provider(
    endpoint: &str,
    protocol: OtlpProtocol,
    resource: Resource,
    meter: Meter,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = match protocol {
        OtlpProtocol::Http => Sender::builder()
            .with_http()
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?,
        OtlpProtocol::Grpc => Sender::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?,
    };
    let counts = Arc::clone(&meter.counts);
    let batches = BatchConfigBuilder::default()
        // room for what is counted already and not yet taken
        .with_max_queue_size(QUEUE * 2)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let counted = Counted { exporter, meter };
    let batches = BatchSpanProcessor::builder(counted).with_batch_config(batches).build();
    Ok(SdkTracerProvider::builder()
        .with_id_generator(Ids::default())
        .with_span_processor(Bounded { batches, counts })
        .with_resource(resource)
        .build())
}
