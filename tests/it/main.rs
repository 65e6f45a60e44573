//! The product through its front door: the real binary, a real `go`, real sockets. One file for each promise.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![expect(clippy::panic, reason = "a failed step is a failed test")]

mod access;
mod cluster;
mod coalesce;
mod commands;
mod conditions;
mod corruption;
mod fallback;
mod go_command;
mod goauth;
mod hostile;
mod kill;
mod ldap;
mod memory;
mod mtls;
mod nodes;
mod oidc;
mod operations;
mod outages;
mod private;
mod record;
mod scrub;
mod shutdown;
mod stale;
mod sumdb;
mod support;
mod tiers;
