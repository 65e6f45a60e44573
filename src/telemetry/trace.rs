//! Trace ids for every request, spans for the sampled ones, and the OTLP pipeline they leave through.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::trace::TraceId;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracer;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

/// A part of the journey that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Who is calling?
    Identify,
    /// What is asked?
    Parse,
    /// May they?
    Authorize,
    /// Tiers, then a fill or the wait for one.
    Fetch,
    /// Asking upstreams.
    Upstream,
    /// Is it what it should be?
    Verify,
    /// Taking from an answer what this caller may not see.
    Narrow,
}

impl Stage {
    /// The word in spans, `Server-Timing` and the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Parse => "parse",
            Self::Authorize => "authorize",
            Self::Fetch => "fetch",
            Self::Upstream => "upstream",
            Self::Verify => "verify",
            Self::Narrow => "narrow",
        }
    }
}

/// One request's place in a trace.
#[derive(Debug, Clone)]
pub struct Trace {
    id: TraceId,
    span_id: SpanId,
    root: Span,
}

impl Trace {
    /// 32 hex digits.
    pub fn trace_id(&self) -> String {
        self.id.to_string()
    }

    /// Whether the trace is exported.
    pub fn sampled(&self) -> bool {
        !self.root.is_none()
    }

    /// The `traceparent` we tell callers and upstreams (W3C trace context, version 00).
    pub fn traceparent(&self) -> String {
        let flags = if self.sampled() { "01" } else { "00" };
        format!("00-{}-{}-{flags}", self.id, self.span_id)
    }

    /// The root span; a span that does nothing if the trace is not exported.
    pub fn root(&self) -> &Span {
        &self.root
    }

    /// Attributes of the root span, told when the record closes.
    pub fn describe(&self, pairs: &[(&'static str, Option<String>)]) {
        for (name, value) in pairs {
            if let Some(value) = value {
                self.root.set_attribute(*name, value.clone());
            }
        }
    }

    /// A child span for a stage; one that does nothing if the trace is not exported.
    #[expect(
        clippy::cognitive_complexity,
        reason = "a span's name is part of its macro: one a stage"
    )]
    pub fn span(&self, stage: Stage) -> Span {
        if self.root.is_none() {
            return Span::none();
        }
        let parent = self.root.id();
        match stage {
            Stage::Identify => tracing::info_span!(target: TARGET, parent: parent, "identify"),
            Stage::Parse => tracing::info_span!(target: TARGET, parent: parent, "parse"),
            Stage::Authorize => tracing::info_span!(target: TARGET, parent: parent, "authorize"),
            Stage::Fetch => tracing::info_span!(target: TARGET, parent: parent, "fetch"),
            Stage::Upstream => tracing::info_span!(target: TARGET, parent: parent, "upstream"),
            Stage::Verify => tracing::info_span!(target: TARGET, parent: parent, "verify"),
            Stage::Narrow => tracing::info_span!(target: TARGET, parent: parent, "narrow"),
        }
    }
}

/// The target of every span of ours; the OTLP layer takes no other.
pub(in crate::telemetry) const TARGET: &str = "modgate::trace";

/// Draws ids, and by them whether a trace is exported.
#[derive(Debug, Clone, Copy)]
pub struct Sampler {
    ratio: f64,
}

impl Sampler {
    /// Exports this share of traces, from 0.0 (none; what is used without an OTLP endpoint) to 1.0.
    pub fn new(ratio: f64) -> Self {
        Self { ratio: ratio.clamp(0.0, 1.0) }
    }

    pub(in crate::telemetry) fn begin(self, method: &'static str) -> Trace {
        let (id, span_id) = draw();
        if !self.samples(id) {
            return Trace { id, span_id, root: Span::none() };
        }
        let root = tracing::info_span!(
            target: TARGET, parent: None, "request", otel.name = method, otel.kind = "server"
        );
        let context = root.context();
        let span = context.span();
        let told = span.span_context();
        if told.is_valid() {
            return Trace { id: told.trace_id(), span_id: told.span_id(), root };
        }
        Trace { id, span_id, root: Span::none() }
    }

    /// By the low 63 bits of the id against the ratio, as OpenTelemetry's own ratio sampler does.
    fn samples(self, id: TraceId) -> bool {
        let low = id.to_bytes().last_chunk().copied().unwrap_or_default();
        let drawn = u64::from_be_bytes(low) >> 1;
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no 64 bits")]
        let share = drawn as f64 / (1_u64 << 63) as f64;
        share < self.ratio
    }
}

/// Random ids. A version 4 UUID has fixed bits in its bytes 6 and 8, which would bias the ratio: they are left out.
fn draw() -> (TraceId, SpanId) {
    let mut random = [Uuid::new_v4(), Uuid::new_v4()].into_iter().flat_map(|uuid| {
        let bytes = uuid.into_bytes().into_iter().enumerate();
        bytes.filter(|(place, _)| !matches!(place, 6 | 8)).map(|(_, byte)| byte)
    });
    let mut next = |byte: &mut u8| *byte = random.next().unwrap_or_default();
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    trace.iter_mut().for_each(&mut next);
    span.iter_mut().for_each(&mut next);
    (TraceId::from_bytes(trace), SpanId::from_bytes(span))
}

/// The pipeline that sends spans to a collector by OTLP over HTTP; ended by [`Exporter::shut_down`].
#[derive(Debug, Clone)]
pub struct Exporter {
    provider: SdkTracerProvider,
}

impl Exporter {
    /// Starts the pipeline. `endpoint` is the collector's base URL; `/v1/traces` is added. `node` names this
    /// instance. Must not be called on an async runtime: its client has a thread of its own.
    pub fn start(
        endpoint: &str,
        node: &str,
    ) -> Result<Self, opentelemetry_otlp::ExporterBuildError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let resource = Resource::builder()
            .with_service_name("modgate")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", node.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    pub(in crate::telemetry) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("modgate")
    }

    /// Sends what is left and ends the pipeline. Blocking, a few seconds at most.
    pub fn shut_down(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "spans were lost at the end");
        }
    }
}

/// A collector that takes longer is treated as gone; the batch is lost, not the request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_subscriber_every_request_has_ids_and_no_span() {
        let trace = Sampler::new(1.0).begin("GET");
        assert!(!trace.sampled());
        assert_eq!(trace.trace_id().len(), 32);
        assert!(trace.traceparent().ends_with("-00"));
        assert!(trace.span(Stage::Fetch).is_none());
    }

    #[test]
    fn the_ratio_is_kept() {
        let sampler = Sampler::new(0.25);
        let drawn = (0..8000).filter(|_| sampler.samples(draw().0)).count();
        assert!((1700..2300).contains(&drawn), "{drawn}");
    }
}
