//! The metrics of one directory server, and of one issuer of tokens.

use crate::telemetry::buckets::SERVE;
use crate::telemetry::family::Counters;
use crate::telemetry::family::Family as _;
use crate::telemetry::family::Gauges;
use crate::telemetry::family::Histograms;
use crate::telemetry::family::Registry;
use crate::telemetry::labels::identity::KeyRefresh;
use crate::telemetry::labels::identity::LdapOperation;
use crate::telemetry::labels::identity::LdapResult;
use crate::telemetry::labels::identity::PoolState;
use crate::telemetry::metrics::Entry;

catalogue! {
    /// The metrics of one directory server; the label `server` is its configured URL.
    LdapMetrics, LDAP_ENTRIES by "server":
    /// What a directory server was asked to do, and what it made of it.
    counter operations "modgate_ldap_operations_total": Counters<(LdapOperation, LdapResult)>;
    /// Time a directory server took.
    histogram seconds "modgate_ldap_operation_duration_seconds": Histograms<(LdapOperation,)>, in SERVE;
    /// Connections to a directory server.
    gauge connections "modgate_ldap_connections": Gauges<(PoolState,)>;
    /// Whether a directory server answers, as far as logins have shown.
    gauge up "modgate_ldap_up": Gauges<()>;
}

catalogue! {
    /// The metrics of one issuer; the label `issuer` is its configured name.
    IssuerMetrics, ISSUER_ENTRIES by "issuer":
    /// Looks for an issuer's keys, by what became of them.
    counter refreshes "modgate_jwks_refreshes_total": Counters<(KeyRefresh,)>;
    /// Keys of an issuer that are in force.
    gauge keys "modgate_jwks_keys": Gauges<()>;
    /// When an issuer's keys were last found, in seconds since 1970.
    gauge last_success "modgate_jwks_last_success_timestamp_seconds": Gauges<()>;
}
