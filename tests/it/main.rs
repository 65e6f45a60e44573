//! The product through its front door: the real binary, a real `go`, real sockets. One file for each promise.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![expect(clippy::panic, reason = "a failed step is a failed test")]

mod access;
mod audit_failure;
mod audit_log;
mod audit_questions;
mod audit_shipping;
mod audit_tamper;
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
mod oidc;
mod private;
mod record;
mod shutdown;
mod sumdb;
mod support;
