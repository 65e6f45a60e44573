//! Whether a trace is exported: decided once, before any span exists.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;

use opentelemetry::trace::SpanContext;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::trace::TraceId;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

use crate::config::network::Network;
use crate::head::Head;
use crate::telemetry::export::hand_out;
use crate::telemetry::trace::TARGET;
use crate::telemetry::trace::Trace;
use crate::telemetry::trace::context;

/// Draws ids, and by them whether a trace is exported.
#[derive(Debug, Clone, Default)]
pub struct Sampler {
    ratio: f64,
    trusted: Vec<Network>,
}

impl Sampler {
    /// Exports this share of traces, from 0.0 (none; what is used without an OTLP endpoint) to 1.0.
    pub fn new(ratio: f64) -> Self {
        Self { ratio: ratio.clamp(0.0, 1.0), trusted: Vec::new() }
    }

    /// The same, but what callers in these networks say of their trace is continued, and their flag is law.
    #[must_use]
    pub fn trusting(self, trusted: Vec<Network>) -> Self {
        Self { trusted, ..self }
    }

    pub(in crate::telemetry) fn begin(&self, head: &Head) -> Trace {
        let told = head.traceparent.as_deref().and_then(context::parse);
        let trusted = self.trusts(head.peer.address.ip());
        let (parent, linked) = if trusted { (told, None) } else { (None, told) };
        let (drawn, span_id) = draw();
        let id = parent.as_ref().map_or(drawn, SpanContext::trace_id);
        let sampled = parent.as_ref().map_or_else(|| self.samples(id), SpanContext::is_sampled);
        // the flag of a caller we trust says nothing where nothing is exported at all
        let root = if sampled && self.ratio > 0.0 {
            root(head.method.word(), (id, span_id), parent, linked.clone())
        } else {
            Span::none()
        };
        Trace { id, span_id, root, linked, late: AtomicBool::new(false) }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// By the low 63 bits of the id against the ratio, as OpenTelemetry's own ratio sampler does.
    fn samples(&self, id: TraceId) -> bool {
        let low = id.to_bytes().last_chunk().copied().unwrap_or_default();
        let drawn = u64::from_be_bytes(low) >> 1;
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no 64 bits")]
        let share = drawn as f64 / (1_u64 << 63) as f64;
        share < self.ratio
    }
}

/// The root span, under ids that were drawn before; none if nobody subscribes to spans.
fn root(
    method: &'static str,
    ids: (TraceId, SpanId),
    parent: Option<SpanContext>,
    linked: Option<SpanContext>,
) -> Span {
    let root = tracing::info_span!(
        target: TARGET, parent: None, "request", otel.name = method, otel.kind = "server"
    );
    if root.is_disabled() {
        return Span::none();
    }
    if let Some(parent) = parent {
        let remote = opentelemetry::Context::new().with_remote_span_context(parent);
        // a span that was not entered yet takes any parent
        let _set = root.set_parent(remote);
    }
    if let Some(linked) = linked {
        root.add_link(linked);
    }
    let told = hand_out(ids, || root.context().span().span_context().clone());
    if told.span_id() == ids.1 { root } else { Span::none() }
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::head::Conditions;
    use crate::head::Method;
    use crate::head::Peer;
    use crate::head::Transport;
    use crate::telemetry::trace::Stage;

    const TOLD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn head() -> Head {
        Head {
            method: Method::Get,
            path: "/".to_owned(),
            query: None,
            authorization: Vec::new(),
            conditions: Conditions::default(),
            disable_module_fetch: None,
            traceparent: Some(TOLD.to_owned()),
            via: Vec::new(),
            user_agent: None,
            peer: Peer {
                address: ([192, 0, 2, 7], 4711).into(),
                transport: Transport::Plain,
                certificate: None,
            },
            received: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn without_a_subscriber_every_request_has_ids_and_no_span() {
        let trace = Sampler::new(1.0).begin(&head());
        assert!(!trace.sampled() && !trace.exported());
        assert_eq!(trace.trace_id().len(), 32);
        assert!(trace.traceparent().ends_with("-00"));
        assert!(trace.span(Stage::Fetch).is_none());
    }

    #[test]
    fn a_stranger_is_linked_and_a_trusted_caller_continued() {
        let stranger = Sampler::new(1.0).begin(&head());
        assert!(!TOLD.contains(&stranger.trace_id()));
        assert!(stranger.linked.is_some());
        let network = "192.0.2.0/24".parse().unwrap();
        let continued = Sampler::new(1.0).trusting(vec![network]).begin(&head());
        assert!(TOLD.contains(&continued.trace_id()));
        assert!(continued.linked.is_none());
    }

    #[test]
    fn the_ratio_is_kept() {
        let sampler = Sampler::new(0.25);
        let drawn = (0..8000).filter(|_| sampler.samples(draw().0)).count();
        assert!((1700..2300).contains(&drawn), "{drawn}");
    }
}
