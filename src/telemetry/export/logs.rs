//! Log records on their way to a collector: checkpoints of the audit, and if wanted the application's lines.
//!
//! They are copies. The record of truth is the audit's own file, and whoever needs every line takes standard output.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_otlp::LogExporter as Sender;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::BatchConfigBuilder;
use opentelemetry_sdk::logs::BatchLogProcessor;
use opentelemetry_sdk::logs::LogBatch;
use opentelemetry_sdk::logs::LogExporter;
use opentelemetry_sdk::logs::LogProcessor;
use opentelemetry_sdk::logs::SdkLogRecord;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use crate::config::telemetry::OtlpLogs;
use crate::config::telemetry::OtlpProtocol;
use crate::telemetry::export::BATCH;
use crate::telemetry::export::Counts;
use crate::telemetry::export::DELAY;
use crate::telemetry::export::EXPORT_TIMEOUT;
use crate::telemetry::export::Meter;
use crate::telemetry::export::QUEUE;
use crate::telemetry::export::Records;
use crate::telemetry::log::CHECKPOINT;
use crate::telemetry::trace::TARGET;

/// Bounds the queue and counts what it refuses: the batch processor would drop without a word.
#[derive(Debug)]
struct Bounded {
    batches: BatchLogProcessor,
    counts: Arc<Counts>,
}

impl LogProcessor for Bounded {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.counts.admit() {
            self.batches.emit(record, scope);
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

impl LogExporter for Counted {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        self.meter.measure(count, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The provider of log records, whose meter counts and times what leaves.
pub(in crate::telemetry::export) fn provider(
    endpoint: &str,
    protocol: OtlpProtocol,
    resource: Resource,
    meter: Meter,
) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let exporter = match protocol {
        OtlpProtocol::Http => Sender::builder()
            .with_http()
            .with_endpoint(format!("{endpoint}/v1/logs"))
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
    let batches = BatchLogProcessor::builder(counted).with_batch_config(batches).build();
    Ok(SdkLoggerProvider::builder()
        .with_log_processor(Bounded { batches, counts })
        .with_resource(resource)
        .build())
}

/// Makes records of events: of checkpoints always, whatever `filter` says, and of our own lines if they are wanted.
///
/// Lines of other crates stay at home: what the way to the collector says of itself would be sent on that way.
pub(in crate::telemetry::export) fn layer<S>(
    provider: &SdkLoggerProvider,
    wanted: OtlpLogs,
    filter: &str,
) -> Result<Records<S>, Box<dyn Error + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let bridge = OpenTelemetryTracingBridge::new(provider);
    if wanted == OtlpLogs::Application {
        let filter = EnvFilter::try_new(format!("{filter},{TARGET}=off,{CHECKPOINT}=info"))?;
        let ours = FilterFn::new(|meta| meta.target().starts_with(env!("CARGO_CRATE_NAME")));
        return Ok(bridge.with_filter(filter.and(ours)).boxed());
    }
    Ok(bridge.with_filter(FilterFn::new(|meta| meta.target() == CHECKPOINT)).boxed())
}
