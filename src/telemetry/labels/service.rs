//! Labels of series about the gateway's own services, its readiness, its settings, and what it refuses to protect itself.

use crate::telemetry::labels::Label;

label! {
    /// What runs as long as the gateway does.
    Service as "task" {
        /// Writes the lines of the access log.
        AccessLog = "access_log",
        /// Packs, indexes and retires segments of the audit.
        AuditKeeper = "audit_keeper",
        /// Writes one of two directories of the audit.
        AuditSink = "audit_sink",
        /// Tells other nodes how the audit's log grew.
        AuditSteps = "audit_steps",
        /// Signs what other nodes tell.
        AuditWitness = "audit_witness",
        /// Writes the audit, and signs it.
        AuditWriter = "audit_writer",
        /// Reads the cache's directory through.
        BlobScrub = "blob_scrub",
        /// Looks whether the listener's certificate changed.
        Certificates = "certificates",
        /// Hears what other nodes say.
        ClusterBus = "cluster_bus",
        /// Acts on what other nodes say.
        ClusterNews = "cluster_news",
        /// Looks whether the file of emergency denies changed.
        DenyWatch = "deny_watch",
        /// Fetches an issuer's keys before they grow old.
        JwksRefresh = "jwks_refresh",
        /// Moves samples of histograms into their buckets.
        MetricsUpkeep = "metrics_upkeep",
        /// Tells other nodes of a new policy.
        PolicyNews = "policy_news",
        /// Looks whether the policy's files changed.
        PolicyWatch = "policy_watch",
        /// Keeps the connection to Redis up.
        RedisLink = "redis_link",
        /// Asks upstreams that failed whether they are back.
        UpstreamProbe = "upstream_probe",
    }
}

label! {
    /// How a service ended while the gateway went on.
    Ending as "how" {
        /// It came to an end.
        Finished = "finished",
        /// It panicked.
        Panicked = "panicked",
    }
}

label! {
    /// What must be well before requests are answered.
    Check as "check" {
        /// A valid policy is in force.
        Policy = "policy",
        /// Events can be written.
        Audit = "audit",
    }
}

label! {
    /// A setting whose own name warns of it.
    Insecure as "setting" {
        /// `server.plaintext`: modules and credentials travel in clear to whoever is not on this machine.
        Anywhere = "insecure_anywhere",
        /// `identity.ldap.insecure_plaintext`: passwords travel in clear to a directory.
        Plaintext = "insecure_plaintext",
    }
}

label! {
    /// Why a request was refused so that others can be served.
    Shed as "reason" {
        /// Its caller asks too often.
        RateUser = "rate_user",
        /// Its source asks too often, or failed with too many passwords.
        RateAddress = "rate_address",
        /// Its head was not complete in time.
        HeaderTimeout = "header_timeout",
        /// It could not be recorded.
        Audit = "audit",
    }
}
