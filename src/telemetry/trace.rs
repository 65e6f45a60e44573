//! Trace ids for every request, and spans for those that are exported.

pub mod context;
pub mod late;
pub mod sampler;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use opentelemetry::trace::SpanContext;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::Status;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::trace::TraceId;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::RedisGroup;
use crate::telemetry::labels::RedisResult;
use crate::telemetry::labels::Tier;

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
#[derive(Debug)]
pub struct Trace {
    id: TraceId,
    span_id: SpanId,
    root: Span,
    /// A caller's own trace that is not continued, because anybody could have written it.
    linked: Option<SpanContext>,
    late: AtomicBool,
}

impl Trace {
    /// 32 hex digits.
    pub fn trace_id(&self) -> String {
        self.id.to_string()
    }

    pub(in crate::telemetry) fn id(&self) -> TraceId {
        self.id
    }

    /// Whether spans are built while the request goes on.
    pub fn sampled(&self) -> bool {
        !self.root.is_none()
    }

    /// Whether the trace leaves the process: sampled, or exported after all.
    pub fn exported(&self) -> bool {
        self.sampled() || self.late.load(Ordering::Relaxed)
    }

    /// The `traceparent` we tell callers and upstreams (W3C trace context, version 00).
    pub fn traceparent(&self) -> String {
        let flags = if self.sampled() { "01" } else { "00" };
        format!("00-{}-{}-{flags}", self.id, self.span_id)
    }

    /// The root span; a span that does nothing if the trace is not sampled.
    pub fn root(&self) -> &Span {
        &self.root
    }

    /// What the root span is called, what became of it, and its attributes; told when the record closes.
    pub fn describe(&self, closed: &Closed<'_>) {
        self.root.context().span().update_name(closed.name.to_owned());
        for (name, value) in closed.attributes {
            if let Some(value) = value {
                self.root.set_attribute(*name, value.clone());
            }
        }
        if closed.failed {
            self.root.set_status(Status::error(""));
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

/// What the root span says when its request has ended.
#[derive(Debug)]
pub struct Closed<'a> {
    /// Method and endpoint: never a path.
    pub name: &'a str,
    /// Whether we are at fault: a 5xx, or a body that broke on our side.
    pub failed: bool,
    /// Names and values; absent ones are not told.
    pub attributes: &'a [(&'static str, Option<String>)],
}

/// A span for a look into a tier, below the stage that looks; none where the stage has none.
pub fn tier_span(tier: Tier) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(target: TARGET, "cache get", modgate.cache.tier = tier.text())
}

/// A span for one attempt at an upstream, below the stage that makes it; none where the stage has none.
pub fn attempt_span(upstream: &str, tried: u32) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET, "attempt", otel.kind = "client", upstream.name = upstream,
        http.request.resend_count = tried, error.type = tracing::field::Empty
    )
}

/// A span for one command of Redis, below whatever asks it; never with a key or a value.
pub fn redis_span(group: RedisGroup) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET, "redis", otel.name = %format_args!("redis {}", group.text()),
        otel.kind = "client", db.system.name = "redis", db.operation.name = group.text(),
        error.type = tracing::field::Empty
    )
}

/// Says in its span what became of a command of Redis.
pub fn redis_ended(span: &Span, result: RedisResult) {
    if result != RedisResult::Ok {
        span.record("error.type", result.text());
        span.set_status(Status::error(""));
    }
}

/// A span for one operation of a directory server, below whatever asks it; never with a name of the directory.
pub fn ldap_span(operation: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(target: TARGET, "ldap", otel.name = operation, otel.kind = "client")
}

/// A span for the wait until this node may fetch, or another one has; none where the stage has none.
pub fn lease_span() -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(target: TARGET, "lease")
}

/// Says in its span what became of an attempt. An absence is an answer of the protocol, not an error.
pub fn attempt_ended(span: &Span, attempt: Attempt) {
    match attempt {
        Attempt::Success | Attempt::NotFound | Attempt::Gone => {}
        kind => {
            span.record("error.type", kind.text());
            span.set_status(Status::error(""));
        }
    }
}

/// The target of every span of ours; the OTLP layer takes no other.
pub(in crate::telemetry) const TARGET: &str = "modgate::trace";
