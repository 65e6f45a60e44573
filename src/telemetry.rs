//! # Telemetry: what the gateway says about itself
//!
//! **Question.** What happened, how often, how long did it take, and whose fault was it?
//!
//! **Rule.** What can be observed is declared once: metrics in [`metrics`], label values in [`labels`], facts of a
//! request in [`record`]. A request carries one [`Record`]; proofs note themselves on it, stages time themselves
//! on it, and when it closes one account is made of it for audit, metrics, trace and log, so the four cannot
//! disagree. The record is written for people: nothing reads it to decide.
//!
//! **Labels** are closed sets, so the number of series is known at start. Module paths, callers, addresses and
//! error texts live in records, never in labels.
//!
//! **Traces.** Whether a request is exported is drawn before any span exists; an unsampled request builds none.
//! Ids are drawn for every request all the same, and are told to the caller, the log, the audit and the upstream.
//! A stranger's `traceparent` is never continued: it could force sampling. A request that was not sampled but failed
//! or was slow is exported when it ends, from its record's own times.
//!
//! **How it fails.** Telemetry never delays or fails a request. Lines and spans that cannot be delivered are lost
//! and counted. (The audit is another station, and may refuse a request.)

pub mod buckets;
pub mod exemplars;
pub mod export;
pub mod family;
pub mod happening;
pub mod labels;
pub mod log;
pub mod metrics;
pub mod observed;
pub mod page;
pub mod process;
pub mod product;
pub mod record;
pub mod trace;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::BuildError;

use crate::clock::Clock;
use crate::head::Head;
use crate::telemetry::export::Exporter;
use crate::telemetry::happening::Ear;
use crate::telemetry::happening::Happening;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::Exported;
use crate::telemetry::labels::Sampling;
use crate::telemetry::labels::identity::KeyRefresh;
use crate::telemetry::labels::service::Service;
use crate::telemetry::metrics::IssuerMetrics;
use crate::telemetry::metrics::LdapMetrics;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::RedisMetrics;
use crate::telemetry::metrics::ServiceMetrics;
use crate::telemetry::metrics::UpstreamMetrics;
use crate::telemetry::page::Page;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Closed;
use crate::telemetry::trace::late::Late;
use crate::telemetry::trace::sampler::Sampler;

/// The handle every station gets: metrics by value, and the beginning of records.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    upstreams: Vec<(String, UpstreamMetrics)>,
    redis: OnceLock<RedisMetrics>,
    ear: OnceLock<Box<dyn Ear>>,
    page: Page,
    sampler: Sampler,
    exporter: Option<Exporter>,
    late: Option<Late>,
    clock: Arc<dyn Clock>,
}

impl Telemetry {
    /// Registers every series. `upstreams` are the configured names, which become label values.
    pub fn new(
        upstreams: &[String],
        sampler: Sampler,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let (metrics, each, page) = metrics::install(upstreams)?;
        let upstreams = upstreams.iter().cloned().zip(each).collect();
        metrics.memory_limit.set((), process::memory_limit_bytes().unwrap_or_default());
        let (redis, ear, exporter, late) = (OnceLock::new(), OnceLock::new(), None, None);
        Ok(Self { metrics, upstreams, redis, ear, page, sampler, exporter, late, clock })
    }

    /// The same, with the pipelines to a collector.
    #[must_use]
    pub fn exporting(mut self, exporter: Exporter) -> Self {
        for (signal, _) in exporter.counts() {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            self.metrics.telemetry_capacity.set((signal,), export::QUEUE as f64);
        }
        self.exporter = Some(exporter);
        self
    }

    /// The same, but requests that fail, or take at least `slow`, are exported even if they were not sampled.
    #[must_use]
    pub fn keeping_late(mut self, slow: Duration) -> Self {
        self.late = self.exporter.as_ref().map(|exporter| Late::new(exporter.tracer(), slow));
        self
    }

    /// The metrics without a configured dimension.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The metrics of one upstream; `None` for a name that is not configured.
    pub fn upstream(&self, name: &str) -> Option<&UpstreamMetrics> {
        self.upstreams.iter().find(|(known, _)| known == name).map(|(_, metrics)| metrics)
    }

    /// The metrics of a Redis, which stand on the page from the first call on.
    pub fn redis(&self) -> &RedisMetrics {
        self.redis.get_or_init(|| self.page.redis())
    }

    /// The metrics of a directory server, which stand on the page from the first call on.
    pub fn ldap(&self, server: &str) -> LdapMetrics {
        let metrics = self.page.ldap(server);
        metrics.up.set((), 1.0);
        metrics
    }

    /// The metrics of an issuer of tokens, which stand on the page from the first call on.
    pub fn issuer(&self, name: &str) -> IssuerMetrics {
        self.page.issuer(name)
    }

    /// Notes that usable keys of an issuer were found, and how many.
    pub fn found_keys(&self, issuer: &IssuerMetrics, count: usize) {
        issuer.refreshes.count((KeyRefresh::Success,));
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        issuer.keys.set((), count as f64);
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        issuer.last_success.set((), self.clock.unix_seconds() as f64);
    }

    /// The metrics of a service, which stand on the page from its beginning on.
    pub fn service(&self, service: Service) -> ServiceMetrics {
        self.page.service(service)
    }

    /// Says who hears of what happens from now on; the first one who does stays.
    pub fn listen(&self, ear: Box<dyn Ear>) {
        let _taken = self.ear.set(ear);
    }

    /// Tells whoever listens of something that happened.
    pub fn tell(&self, happening: Happening) {
        if let Some(ear) = self.ear.get() {
            ear.hear(happening);
        }
    }

    /// The page of metrics.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Opens the record of one request; here it is drawn whether its trace is exported.
    pub fn begin(&self, head: &Head) -> Record {
        let trace = self.sampler.begin(head);
        let drawn = if trace.sampled() { Sampling::Sampled } else { Sampling::Unsampled };
        self.metrics.sampling.count((drawn,));
        self.metrics.http_in_flight.add((), 1.0);
        Record::open(head, trace, Arc::clone(&self.clock))
    }

    /// Tells the trace of a request that ended: what was sampled gets its attributes, what was not may be kept.
    pub fn ended(&self, record: &Record, closed: &Closed<'_>) {
        let trace = record.trace();
        if trace.sampled() {
            return trace.describe(closed);
        }
        let Some(late) = &self.late else { return };
        let Some(why) = late.reason(closed, record.elapsed()) else { return };
        if late.has_room(self.clock.unix_seconds()) {
            self.metrics.sampling.count((Sampling::Late,));
            record.export_late(late, why, closed);
        } else {
            self.metrics.sampling.count((Sampling::LateRefused,));
        }
    }

    /// Tells the metrics what is counted elsewhere; called before the page is rendered.
    pub fn report(&self) {
        for (level, count) in log::counts() {
            self.metrics.log_events.reach((level,), count);
        }
        let items = &self.metrics.telemetry_items;
        for (signal, counts) in self.exporter.iter().flat_map(Exporter::counts) {
            items.reach((signal, Exported::Exported), counts.exported());
            items.reach((signal, Exported::Failed), counts.failed());
            items.reach((signal, Exported::Dropped), counts.dropped());
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            self.metrics.telemetry_queue.set((signal,), counts.waiting() as f64);
            for took in counts.took() {
                self.metrics.telemetry_export_seconds.observe((signal,), took.as_secs_f64());
            }
        }
    }

    /// Notes that an upstream has just given verified content, or said that it has none.
    pub fn answered_well(&self, upstream: &str) {
        if let Some(metrics) = self.upstream(upstream) {
            #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
            metrics.last_success.set((), self.clock.unix_seconds() as f64);
        }
    }

    /// Counts one attempt at an upstream.
    pub fn attempted(&self, upstream: &str, attempt: Attempt) {
        if let Some(metrics) = self.upstream(upstream) {
            metrics.attempts.count((attempt,));
        }
    }
}
