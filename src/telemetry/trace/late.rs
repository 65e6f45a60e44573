//! A request that was not sampled, but failed or was slow, is exported after all: from its record's own times.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::Link;
use opentelemetry::trace::Span as _;
use opentelemetry::trace::SpanBuilder;
use opentelemetry::trace::SpanKind;
use opentelemetry::trace::Status;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::trace::Tracer as _;
use opentelemetry_sdk::trace::SdkTracer;

use crate::telemetry::export::hand_out;
use crate::telemetry::trace::Closed;
use crate::telemetry::trace::Stage;
use crate::telemetry::trace::Trace;

/// A stage that ended: when it began after the head was complete, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(in crate::telemetry) struct Passage {
    pub(in crate::telemetry) stage: Stage,
    pub(in crate::telemetry) begun: Duration,
    pub(in crate::telemetry) took: Duration,
}

/// Keeps what matters.
#[derive(Debug)]
pub struct Late {
    tracer: SdkTracer,
    slow: Duration,
    /// The second of the last export, and how many there were in it.
    spent: Mutex<(u64, u32)>,
}

impl Late {
    /// Keeps requests that failed, and those that took at least `slow`.
    pub(in crate::telemetry) fn new(tracer: SdkTracer, slow: Duration) -> Self {
        Self { tracer, slow, spent: Mutex::new((0, 0)) }
    }

    /// Why a request that ended is worth its trace.
    pub(in crate::telemetry) fn reason(
        &self,
        closed: &Closed<'_>,
        took: Duration,
    ) -> Option<&'static str> {
        if closed.failed { Some("failed") } else { (took >= self.slow).then_some("slow") }
    }

    /// Whether there is room for another one in this second.
    pub(in crate::telemetry) fn has_room(&self, second: u64) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.0 != second {
            *spent = (second, 0);
        }
        spent.1 += 1;
        spent.1 <= EACH_SECOND
    }

    /// Exports the request and its stages under the ids that were told.
    pub(in crate::telemetry) fn export(
        &self,
        trace: &Trace,
        closed: &Closed<'_>,
        times: &Times<'_>,
    ) {
        trace.late.store(true, Ordering::Relaxed);
        let links = trace.linked.clone().map(|context| Link::new(context, Vec::new(), 0));
        let mut attributes = vec![KeyValue::new("modgate.trace.late", times.why)];
        attributes.extend(
            closed
                .attributes
                .iter()
                .filter_map(|(name, value)| Some(KeyValue::new(*name, value.clone()?))),
        );
        let root = SpanBuilder::from_name(closed.name.to_owned())
            .with_kind(SpanKind::Server)
            .with_start_time(times.received)
            .with_links(links.into_iter().collect())
            .with_attributes(attributes);
        let mut root = hand_out((trace.id, trace.span_id), || {
            self.tracer.build_with_context(root, &Context::new())
        });
        if closed.failed {
            root.set_status(Status::error(""));
        }
        let parent = Context::new().with_remote_span_context(root.span_context().clone());
        for passage in times.passages {
            let begun = times.received + passage.begun;
            let span = SpanBuilder::from_name(passage.stage.word()).with_start_time(begun);
            self.tracer.build_with_context(span, &parent).end_with_timestamp(begun + passage.took);
        }
        root.end_with_timestamp(times.received + times.took);
    }
}

/// When everything was.
#[derive(Debug)]
pub(in crate::telemetry) struct Times<'a> {
    pub(in crate::telemetry) why: &'static str,
    pub(in crate::telemetry) received: SystemTime,
    pub(in crate::telemetry) took: Duration,
    pub(in crate::telemetry) passages: &'a [Passage],
}

/// An outage is told by its first traces; the rest would only fill the queue.
const EACH_SECOND: u32 = 10;
