//! The harness: it starts what a promise needs, speaks the domain, and stops what it started by its own id.

pub(crate) mod authority;
pub(crate) mod balance;
pub(crate) mod cable;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod dice;
pub(crate) mod disk;
pub(crate) mod fault;
pub(crate) mod faults;
pub(crate) mod gateway;
pub(crate) mod go;
pub(crate) mod issuer;
pub(crate) mod kernel;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod monitoring;
pub(crate) mod nginx;
pub(crate) mod panels;
pub(crate) mod redis;
pub(crate) mod s3;
pub(crate) mod slapd;
pub(crate) mod tree;
pub(crate) mod upstream;

use std::net::TcpListener;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// Waits until something is so, asking again every few milliseconds; gives up after 20 seconds.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    until_told(what, || if is_so() { Ok(()) } else { Err(String::new()) });
}

/// The same of something that can say how it stands.
pub(crate) fn until_told(what: &str, is_so: impl FnMut() -> Result<(), String>) {
    wait(what, Duration::from_secs(20), is_so);
}

/// The same of something that takes its time by itself; gives up after a minute.
pub(crate) fn until_at_last(what: &str, mut is_so: impl FnMut() -> bool) {
    wait(what, Duration::from_mins(1), || if is_so() { Ok(()) } else { Err(String::new()) });
}

fn wait(what: &str, patience: Duration, mut is_so: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(standing) = is_so() {
        assert!(begun.elapsed() < patience, "never happened: {what} {standing}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A free loopback port that no outgoing connection is given meanwhile: below the range from which Linux takes those.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // several test binaries may run at once: each begins elsewhere
        let begin = u16::try_from(std::process::id() % 160).unwrap() * 100;
        let port = 15_000 + (begin + next) % 16_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
