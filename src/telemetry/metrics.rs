//! The catalogue: the only place where a metric is named. Its doc comment is the HELP text on the page.

use std::sync::Arc;
use std::sync::PoisonError;

use metrics_exporter_prometheus::BuildError;
use metrics_exporter_prometheus::Matcher;
use metrics_exporter_prometheus::PrometheusBuilder;
use metrics_process::Collector;

use crate::goproxy::artifact::Endpoint;
use crate::telemetry::buckets::APPEND;
use crate::telemetry::buckets::DECIDE;
use crate::telemetry::buckets::SERVE;
use crate::telemetry::buckets::SIZE;
use crate::telemetry::exemplars::Exemplars;
use crate::telemetry::family::Counters;
use crate::telemetry::family::Family as _;
use crate::telemetry::family::Gauges;
use crate::telemetry::family::Histograms;
use crate::telemetry::family::Registry;
use crate::telemetry::labels::AuditMode;
use crate::telemetry::labels::AuditResult;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::labels::CacheResult;
use crate::telemetry::labels::Code;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::EvictionCause;
use crate::telemetry::labels::Exported;
use crate::telemetry::labels::FillResult;
use crate::telemetry::labels::Handshake;
use crate::telemetry::labels::HttpVersion;
use crate::telemetry::labels::Integrity;
use crate::telemetry::labels::JobState;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::LdapLogin;
use crate::telemetry::labels::Level;
use crate::telemetry::labels::Lookup;
use crate::telemetry::labels::Outcome;
use crate::telemetry::labels::Sampling;
use crate::telemetry::labels::SecurityEvent;
use crate::telemetry::labels::Signal;
use crate::telemetry::labels::Sink;
use crate::telemetry::labels::Tier;
use crate::telemetry::labels::TierOperation;
use crate::telemetry::labels::TierResult;
use crate::telemetry::labels::audit::Checkpointed;
use crate::telemetry::labels::audit::Witnessed;
use crate::telemetry::labels::identity::Held;
use crate::telemetry::labels::identity::LockScope;
use crate::telemetry::labels::identity::Recall;
use crate::telemetry::labels::integrity::CheckResult;
use crate::telemetry::labels::integrity::Checked;
use crate::telemetry::labels::policy::Candidate;
use crate::telemetry::labels::policy::DecisionReason;
use crate::telemetry::labels::policy::InForce;
use crate::telemetry::labels::policy::Memory;
use crate::telemetry::labels::policy::PolicyReload;
use crate::telemetry::labels::policy::ReloadSource;
use crate::telemetry::labels::policy::RowKind;
use crate::telemetry::labels::service::Check;
use crate::telemetry::labels::service::Insecure;
use crate::telemetry::labels::service::Service;
use crate::telemetry::labels::service::Shed;
use crate::telemetry::labels::upstream::Resolved;
use crate::telemetry::page;
use crate::telemetry::page::Page;
use crate::telemetry::process;
use crate::telemetry::product::Begun;
use crate::telemetry::product::LabelSet;
use crate::telemetry::product::Served;

/// What one entry of the catalogue says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name on the page, unit included.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// The bucket ladder of a histogram.
    pub ladder: Option<&'static [f64]>,
    /// The label whose values are names of the configuration, if there is one.
    pub dimension: Option<&'static str>,
    labels: fn() -> Vec<LabelSet>,
    size: fn() -> usize,
}

impl Entry {
    /// Every label, the configured one first, without `le`.
    pub fn labels(&self) -> Vec<LabelSet> {
        let configured = self.dimension.map(|name| LabelSet { name, values: Vec::new() });
        configured.into_iter().chain((self.labels)()).collect()
    }

    /// Lines on the page, with so many configured names.
    pub fn lines(&self, names: usize) -> usize {
        // a histogram has a line for each bound, one without bound, the sum and the count
        let each = self.ladder.map_or(1, |ladder| ladder.len() + 3);
        let times = if self.dimension.is_some() { names } else { 1 };
        (self.size)() * each * times
    }
}

/// Declares a struct of families, its registration and its part of the catalogue.
macro_rules! catalogue {
    ($(#[$about:meta])* $holder:ident, $entries:ident $(by $dimension:literal)?: $(
        #[doc = $help:literal] $kind:ident $field:ident $name:literal: $family:ty $(, in $ladder:ident)?;
    )+) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $holder { $(#[doc = $help] pub $field: $family,)+ }

        impl $holder {
            pub(in crate::telemetry) fn register(on: &Registry<'_>, shared: &[(&'static str, String)]) -> Self {
                $(<$family>::describe(on.recorder, $name, $help);)+
                Self { $($field: <$family>::register(on, $name, shared, ladder!($($ladder)?)),)+ }
            }
        }

        pub(in crate::telemetry::metrics) const $entries: &[Entry] = {
            const DIMENSION: Option<&str> = dimension!($($dimension)?);
            &[$(Entry {
                name: $name,
                kind: stringify!($kind),
                help: $help,
                ladder: ladder!($($ladder)?),
                dimension: DIMENSION,
                labels: <$family>::labels,
                size: <$family>::size,
            },)+]
        };
    };
}

macro_rules! dimension {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

macro_rules! ladder {
    () => {
        None
    };
    ($ladder:ident) => {
        Some($ladder)
    };
}

// below the macro, which they are written with
mod identity;
mod redis;
mod service;
mod upstream;

pub use crate::telemetry::metrics::identity::IssuerMetrics;
pub use crate::telemetry::metrics::identity::LdapMetrics;
pub use crate::telemetry::metrics::redis::RedisMetrics;
pub use crate::telemetry::metrics::service::ConfigMetrics;
pub use crate::telemetry::metrics::service::ServiceMetrics;
pub use crate::telemetry::metrics::upstream::UpstreamMetrics;

catalogue! {
    /// Every metric that has no configured dimension.
    Metrics, ENTRIES:
    /// Answers, counted at their end.
    counter http_requests "modgate_http_requests_total": Counters<(Endpoint, Code, Outcome)>;
    /// Time from the request head to the last byte of the answer.
    histogram http_request_seconds "modgate_http_request_duration_seconds": Histograms<Served>, in SERVE;
    /// Time from the request head to the first byte of the answer.
    histogram http_first_byte_seconds "modgate_http_first_byte_seconds": Histograms<Begun>, in SERVE;
    /// Body bytes sent for an answer.
    histogram http_response_bytes "modgate_http_response_size_bytes": Histograms<(Endpoint,)>, in SIZE;
    /// Requests being served, their bodies included.
    gauge http_in_flight "modgate_http_requests_in_flight": Gauges<()>;
    /// Requests that wait for a fill somebody else began.
    gauge fetch_waiters "modgate_fetch_waiters": Gauges<()>;
    /// Requests that were refused so that others can be served.
    counter http_shed "modgate_http_requests_shed_total": Counters<(Shed,)>;
    /// TLS handshakes, by how they ended.
    counter tls_handshakes "modgate_tls_handshakes_total": Counters<(Handshake,)>;
    /// How the content of each module request was found.
    counter cache_requests "modgate_cache_requests_total": Counters<(CacheResult,)>;
    /// Looks into each tier.
    counter cache_lookups "modgate_cache_lookups_total": Counters<(Tier, Lookup)>;
    /// Time a tier took.
    histogram cache_operation_seconds "modgate_cache_operation_duration_seconds": Histograms<(Tier, TierOperation, TierResult)>, in SERVE;
    /// Bytes a tier may hold.
    gauge cache_capacity "modgate_cache_capacity_bytes": Gauges<(Tier,)>;
    /// Bytes held by a tier that knows.
    gauge cache_bytes "modgate_cache_bytes": Gauges<(Tier,)>;
    /// Entries held by a tier that knows.
    gauge cache_entries "modgate_cache_entries": Gauges<(Tier,)>;
    /// Entries that left a tier.
    counter cache_evictions "modgate_cache_evictions_total": Counters<(Tier, EvictionCause)>;
    /// Fills, by what was wanted and what became of it.
    counter cache_fills "modgate_cache_fills_total": Counters<(Endpoint, FillResult)>;
    /// Time to look for the addresses of an upstream's name, once for each connection.
    histogram dns_seconds "modgate_upstream_dns_duration_seconds": Histograms<(Resolved,)>, in SERVE;
    /// Checks of content, by what was checked and what it came to.
    counter integrity_checks "modgate_integrity_checks_total": Counters<(Checked, CheckResult)>;
    /// Content that was refused.
    counter integrity_failures "modgate_integrity_failures_total": Counters<(Integrity,)>;
    /// Proofs of identity, by method and result.
    counter auth_attempts "modgate_auth_attempts_total": Counters<(AuthMethod, AuthResult)>;
    /// Time to recognise a caller.
    histogram auth_seconds "modgate_auth_duration_seconds": Histograms<(AuthMethod,)>, in DECIDE;
    /// Names and passwords, by what became of them.
    counter ldap_logins "modgate_ldap_logins_total": Counters<(LdapLogin,)>;
    /// What is remembered of callers, by whether it was when it was needed.
    counter auth_cache "modgate_auth_cache_requests_total": Counters<(Held, Recall)>;
    /// Names and sources that were locked after wrong passwords.
    counter auth_lockouts "modgate_auth_lockouts_total": Counters<(LockScope,)>;
    /// Names and sources that are locked.
    gauge auth_locked "modgate_auth_locked": Gauges<(LockScope,)>;
    /// Decisions of the policy.
    counter authz_decisions "modgate_authz_decisions_total": Counters<(Decision, DecisionReason)>;
    /// Time to decide.
    histogram authz_seconds "modgate_authz_duration_seconds": Histograms<()>, in DECIDE;
    /// Rows of the policy in force: rules (p), emergency denies included, and roles given (g).
    gauge policy_rules "modgate_policy_rules": Gauges<(RowKind,)>;
    /// Looks at the policy's files, by what made us look and what came of it.
    counter policy_reloads "modgate_policy_reloads_total": Counters<(ReloadSource, PolicyReload)>;
    /// Whether the policy in force is what its files say.
    gauge policy_last_reload_success "modgate_policy_last_reload_success": Gauges<()>;
    /// When the policy in force came into force, in seconds since 1970.
    gauge policy_last_reload_success_timestamp "modgate_policy_last_reload_success_timestamp_seconds": Gauges<()>;
    /// Decisions over the index that Casbin over all rows did not confirm.
    counter policy_crosscheck_mismatches "modgate_policy_crosscheck_mismatches_total": Counters<()>;
    /// Requests that the candidate policy would have decided otherwise.
    counter policy_shadow_diffs "modgate_policy_shadow_diffs_total": Counters<(InForce, Candidate)>;
    /// Things a security team wants to hear of.
    counter security_events "modgate_security_events_total": Counters<(SecurityEvent,)>;
    /// Audit events, by sink and what became of them.
    counter audit_events "modgate_audit_events_total": Counters<(Sink, AuditResult)>;
    /// Audit events waiting to be written.
    gauge audit_queue "modgate_audit_queue_length": Gauges<()>;
    /// Audit events that can wait to be written.
    gauge audit_queue_capacity "modgate_audit_queue_capacity": Gauges<()>;
    /// Time to write a batch of audit events, by when they count as written.
    histogram audit_write_seconds "modgate_audit_write_duration_seconds": Histograms<(AuditMode,)>, in DECIDE;
    /// Time that an answer waited for its record, or for its place in the audit.
    histogram audit_append_seconds "modgate_audit_append_duration_seconds": Histograms<()>, in APPEND;
    /// When the audit was last signed, in seconds since 1970.
    gauge audit_checkpoint "modgate_audit_last_checkpoint_timestamp_seconds": Gauges<()>;
    /// Checkpoints of this node's audit: those that were signed and kept, and directories that could not keep one.
    counter audit_checkpoints "modgate_audit_checkpoints_total": Counters<(Checkpointed,)>;
    /// Steps of other nodes' logs, by what this node as their witness made of them.
    counter audit_witnessed "modgate_audit_witnessed_total": Counters<(Witnessed,)>;
    /// Records that are signed but that no other node has signed yet; those told so far if nobody ever did.
    gauge audit_witness_lag "modgate_audit_witness_lag_records": Gauges<()>;
    /// Traces, by whether they are exported.
    counter sampling "modgate_telemetry_sampling_total": Counters<(Sampling,)>;
    /// Spans and log records, by what became of them on their way to the collector; all 0 without one.
    counter telemetry_items "modgate_telemetry_items_total": Counters<(Signal, Exported)>;
    /// Spans or log records that wait for the collector.
    gauge telemetry_queue "modgate_telemetry_queue_length": Gauges<(Signal,)>;
    /// Spans or log records that may wait; more are dropped and counted.
    gauge telemetry_capacity "modgate_telemetry_queue_capacity": Gauges<(Signal,)>;
    /// Time of one export to the collector.
    histogram telemetry_export_seconds "modgate_telemetry_export_duration_seconds": Histograms<(Signal,)>, in SERVE;
    /// Lines the application has logged, by level; access lines are not among them.
    counter log_events "modgate_log_events_total": Counters<(Level,)>;
    /// Memory this process may use: the limit of its control group, or what the machine has.
    gauge memory_limit "modgate_memory_limit_bytes": Gauges<()>;
    /// End of validity of the listener's certificate, in seconds since 1970; 0 without TLS.
    gauge certificate_not_after "modgate_tls_certificate_not_after_timestamp_seconds": Gauges<()>;
    /// Access log lines that were lost because standard output was too slow.
    counter log_dropped "modgate_log_lines_dropped_total": Counters<()>;
    /// Open connections of the module listeners.
    gauge http_connections "modgate_http_connections": Gauges<(HttpVersion,)>;
    /// How late a timer of each worker's event loop was: while it is late, nobody on that worker is answered.
    histogram worker_lag "modgate_runtime_worker_lag_seconds": Histograms<()>, in SERVE;
    /// Blocking work: hashing, inflating, reading of files.
    gauge blocking_jobs "modgate_runtime_blocking_jobs": Gauges<(JobState,)>;
    /// Decisions, by whether they were remembered.
    counter authz_cache "modgate_authz_cache_requests_total": Counters<(Memory,)>;
    /// Whether the gateway is ready to serve.
    gauge ready "modgate_ready": Gauges<()>;
    /// What must be well for that: 1 if it is.
    gauge ready_check "modgate_ready_check": Gauges<(Check,)>;
    /// 1 while a setting is on whose own name warns of it.
    gauge insecure_setting "modgate_insecure_setting": Gauges<(Insecure,)>;
    /// Panics caught in tasks and threads.
    counter panics "modgate_panics_total": Counters<()>;
}

catalogue! {
    /// Which build this is.
    BuildMetrics, BUILD_ENTRIES by "version":
    /// Always 1; the labels say which build this is.
    gauge info "modgate_build_info": Gauges<()>;
}

/// The whole catalogue, for the page of metrics and for the contracts.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    let ours = ENTRIES.iter().chain(upstream::UPSTREAM_ENTRIES).chain(redis::REDIS_ENTRIES);
    let ours = ours.chain(identity::LDAP_ENTRIES).chain(identity::ISSUER_ENTRIES);
    let ours = ours.chain(service::SERVICE_ENTRIES).chain(service::CONFIG_ENTRIES);
    ours.chain(BUILD_ENTRIES).chain(PAGE_ENTRIES)
}

/// What the page itself adds, and the kernel's numbers.
const PAGE_ENTRIES: &[Entry] = &[
    Entry { dimension: Some("revision"), ..plain(page::POLICY, "gauge", page::POLICY_HELP) },
    plain(page::SERIES, "gauge", "Lines of this page: series, and buckets of histograms."),
    plain(process::CPU, "counter", "Total user and system CPU time spent in seconds."),
    plain("process_resident_memory_bytes", "gauge", "Resident memory size in bytes."),
    plain("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes."),
    plain("process_virtual_memory_max_bytes", "gauge", "Maximum amount of virtual memory."),
    plain("process_open_fds", "gauge", "Number of open file descriptors."),
    plain("process_max_fds", "gauge", "Maximum number of open file descriptors."),
    plain("process_threads", "gauge", "Number of OS threads in the process."),
    plain("process_start_time_seconds", "gauge", "Start time of the process since 1970."),
];

const fn plain(name: &'static str, kind: &'static str, help: &'static str) -> Entry {
    Entry { name, kind, help, ladder: None, dimension: None, labels: Vec::new, size: || 1 }
}

/// How many configured names of a kind become label values; the rest share one.
const NAMES_LIMIT: usize = 32;
/// What the rest is called.
const OTHER: &str = "_other";

impl Page {
    fn registry(&self) -> Registry<'_> {
        Registry { recorder: self.recorder.as_ref(), exemplars: &self.exemplars }
    }

    /// Registers what is a Redis'.
    pub(in crate::telemetry) fn redis(&self) -> RedisMetrics {
        RedisMetrics::register(&self.registry(), &[])
    }

    /// Registers what is a service's.
    pub(in crate::telemetry) fn service(&self, service: Service) -> ServiceMetrics {
        ServiceMetrics::register(&self.registry(), &[("task", service.text().to_owned())])
    }

    /// Registers what is a directory server's.
    pub(in crate::telemetry) fn ldap(&self, server: &str) -> LdapMetrics {
        LdapMetrics::register(&self.registry(), &[("server", self.shown("server", server))])
    }

    /// Registers what is an issuer's.
    pub(in crate::telemetry) fn issuer(&self, name: &str) -> IssuerMetrics {
        IssuerMetrics::register(&self.registry(), &[("issuer", self.shown("issuer", name))])
    }

    /// A configured name as a label has it: the first of a kind are named, the rest share one.
    fn shown(&self, kind: &'static str, name: &str) -> String {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let known = named.entry(kind).or_default();
        if known.len() < NAMES_LIMIT {
            known.insert(name.to_owned());
        }
        if known.contains(name) { name.to_owned() } else { OTHER.to_owned() }
    }

    /// Says by which settings the gateway runs, as a digest of them.
    pub fn configured(&self, revision: &str) {
        let labels = [("revision", revision.to_owned())];
        ConfigMetrics::register(&self.registry(), &labels).info.set((), 1.0);
    }
}

/// Registers the catalogue, once for each configured upstream what is an upstream's.
pub(in crate::telemetry) fn install(
    upstreams: &[String],
) -> Result<(Metrics, Vec<UpstreamMetrics>, Page), BuildError> {
    let mut builder = PrometheusBuilder::new();
    for entry in entries() {
        if let Some(ladder) = entry.ladder {
            builder =
                builder.set_buckets_for_metric(Matcher::Full(entry.name.to_owned()), ladder)?;
        }
    }
    let recorder = builder.build_recorder();
    let (process, exemplars) = (Collector::default(), Exemplars::default());
    metrics::with_local_recorder(&recorder, || process.describe());
    let on = Registry { recorder: &recorder, exemplars: &exemplars };
    let metrics = Metrics::register(&on, &[]);
    let build = [("version", env!("CARGO_PKG_VERSION").to_owned())];
    BuildMetrics::register(&on, &build).info.set((), 1.0);
    let each = upstreams
        .iter()
        .enumerate()
        .map(|(place, name)| {
            // registering the same series again gives the same series
            let shown = if place < NAMES_LIMIT { name.clone() } else { OTHER.to_owned() };
            UpstreamMetrics::register(&on, &[("upstream", shown)])
        })
        .collect();
    let (handle, recorder) = (recorder.handle(), Arc::new(recorder));
    let page = Page {
        handle,
        recorder,
        process,
        exemplars,
        policy: Arc::default(),
        named: Arc::default(),
    };
    Ok((metrics, each, page))
}

#[cfg(test)]
mod tests;
