//! What a configuration may say and had better not: told by `modgate check-config`, a reason to refuse nothing.

use std::fmt;

use crate::config::Config;
use crate::config::audit::Witness;

/// Something that is allowed, and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The section or key that it is about.
    pub key: &'static str,
    /// What is, and why it is bad.
    pub what: &'static str,
    /// What would be better.
    pub remedy: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, what, remedy } = self;
        write!(out, "{key}: {what}; {remedy}")
    }
}

/// All that there is to warn of.
pub fn warnings(config: &Config) -> Vec<Warning> {
    nobody_keeps_checkpoints(config).into_iter().collect()
}

/// A log that ends too early is as good as a whole one, unless somebody else has a checkpoint of what is gone.
fn nobody_keeps_checkpoints(config: &Config) -> Option<Warning> {
    let audit = &config.audit;
    let keepers = [
        // the other nodes, whose log and notes are elsewhere
        config.redis.is_some() && audit.witness == Witness::EachOther,
        // whoever keeps the log lines
        audit.announce,
        // a collector
        config.telemetry.exports_checkpoints(),
    ];
    let warning = Warning {
        key: "audit",
        what: "nobody but this node keeps the checkpoints of its log, so nobody could tell if records were cut off its end",
        remedy: "set audit.announce = true and send the log lines elsewhere, or telemetry.otlp_logs = \"checkpoints\" with a collector, or share a [redis] with other nodes (audit.witness), or copy the .checkpoints files of audit.dir away by other means",
    };
    (!keepers.contains(&true)).then_some(warning)
}
