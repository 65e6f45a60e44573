//! The metrics of one upstream.

use crate::telemetry::buckets::SERVE;
use crate::telemetry::family::Counters;
use crate::telemetry::family::Family as _;
use crate::telemetry::family::Gauges;
use crate::telemetry::family::Histograms;
use crate::telemetry::family::Registry;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::upstream::Circuit;
use crate::telemetry::labels::upstream::FallBackReason;
use crate::telemetry::labels::upstream::Phase;
use crate::telemetry::labels::upstream::Retry;
use crate::telemetry::metrics::Entry;

catalogue! {
    /// The metrics of one upstream; the label `upstream` is its configured name.
    UpstreamMetrics, UPSTREAM_ENTRIES by "upstream":
    /// Attempts at an upstream, by what became of them.
    counter attempts "modgate_upstream_requests_total": Counters<(Attempt,)>;
    /// Time of an attempt at an upstream, to its first byte and to its last.
    histogram seconds "modgate_upstream_request_duration_seconds": Histograms<(Phase,)>, in SERVE;
    /// Time to make a connection to an upstream, TLS included; its count is how many were made.
    histogram connect_seconds "modgate_upstream_connect_duration_seconds": Histograms<()>, in SERVE;
    /// How often an attempt was repeated, by what became of the one before.
    counter retries "modgate_upstream_retries_total": Counters<(Retry,)>;
    /// How often the next upstream of a chain was asked after this one.
    counter fallbacks "modgate_upstream_fallbacks_total": Counters<(FallBackReason,)>;
    /// Whether an upstream answers, as far as requests and probes have shown.
    gauge up "modgate_upstream_up": Gauges<()>;
    /// When an upstream last gave verified content or said that it has none.
    gauge last_success "modgate_upstream_last_success_timestamp_seconds": Gauges<()>;
    /// How the breaker of an upstream stands: 1 for its state, 0 for the others.
    gauge circuit "modgate_upstream_circuit_state": Gauges<(Circuit,)>;
    /// Requests under way at an upstream.
    gauge in_flight "modgate_upstream_requests_in_flight": Gauges<()>;
    /// Requests that wait for their turn at an upstream.
    gauge waiting "modgate_upstream_requests_waiting": Gauges<()>;
    /// Requests refused because too many waited for an upstream, or for too long.
    counter refused "modgate_upstream_refused_total": Counters<()>;
}
