//! The product through its front door: the real binary, a real `go`, real sockets. One file for each promise.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![expect(clippy::panic, reason = "a failed step is a failed test")]

mod access;
mod audit_admin;
mod audit_commands;
mod audit_damage;
mod audit_events;
mod audit_failure;
mod audit_hang;
mod audit_log;
mod audit_questions;
mod audit_shipping;
mod audit_tamper;
mod canary;
mod care;
mod chaos;
mod cluster;
mod coalesce;
mod commands;
mod conditions;
mod copies;
mod corruption;
mod counted;
mod directory;
mod egress;
mod fallback;
mod fault_run;
mod go_command;
mod goauth;
mod hostile;
mod hostile_tokens;
mod kill;
mod kinds;
mod ldap;
mod leaks;
mod memory;
mod mistakes;
mod mtls;
mod nodes;
mod oidc;
mod operations;
mod outages;
mod policy;
mod private;
mod probe;
mod record;
mod routes;
mod scrub;
mod shutdown;
mod stale;
mod sumdb;
mod support;
mod telemetry;
mod tiers;
mod witness;
