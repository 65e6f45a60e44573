//! The harness: it starts what a promise needs, speaks the domain, and stops what it started by its own id.

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod disk;
pub(crate) mod gateway;
pub(crate) mod go;
pub(crate) mod issuer;
pub(crate) mod log;
pub(crate) mod slapd;
pub(crate) mod tree;
pub(crate) mod upstream;

use std::time::Duration;
use std::time::Instant;

/// Waits until something is so, asking again every few milliseconds; gives up after 20 seconds.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
