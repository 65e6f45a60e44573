//! Lets a server rest that failed several times, and tries it again with one login.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The breaker of one server.
#[derive(Debug, Default)]
pub(in crate::identity::ldap) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: Vec<Instant>,
    open_until: Option<Instant>,
    probing: bool,
}

/// One login under way; unless it says that it succeeded, it failed, also when its deadline drops it.
#[derive(Debug)]
pub(in crate::identity::ldap) struct Attempt<'a> {
    breaker: &'a Breaker,
    succeeded: bool,
}

impl Breaker {
    /// Begins a login, or says that the server rests.
    pub(in crate::identity::ldap) fn attempt(&self) -> Option<Attempt<'_>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = state.open_until {
            if Instant::now() < until || state.probing {
                return None;
            }
            state.probing = true;
        }
        Some(Attempt { breaker: self, succeeded: false })
    }

    fn succeeded(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    fn failed(&self, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_probe = std::mem::take(&mut state.probing);
        state.failures.push(now);
        state.failures.retain(|failure| now.duration_since(*failure) < WINDOW);
        if was_probe || state.failures.len() >= FAILURES {
            state.open_until = Some(now + REST);
        }
    }
}

impl Attempt<'_> {
    /// The server answered, whatever it said.
    pub(in crate::identity::ldap) fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.succeeded {
            self.breaker.succeeded();
        } else {
            self.breaker.failed(Instant::now());
        }
    }
}

/// So many failures...
const FAILURES: usize = 5;
/// ...in so short a time, and the server rests...
const WINDOW: Duration = Duration::from_secs(10);
/// ...for so long: a restarted directory is back within five seconds.
const REST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_open_it_and_one_probe_at_a_time_closes_it() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            drop(breaker.attempt().unwrap());
        }
        assert!(breaker.attempt().is_none());
        // the rest is over: let the clock of the state say so
        breaker.0.lock().unwrap().open_until = Some(Instant::now());
        let probe = breaker.attempt().unwrap();
        assert!(breaker.attempt().is_none(), "two probes at once");
        drop(probe);
        assert!(breaker.attempt().is_none(), "a failed probe must open it again");
        breaker.0.lock().unwrap().open_until = Some(Instant::now());
        breaker.attempt().unwrap().succeeded();
        assert!(breaker.attempt().is_some() && breaker.attempt().is_some());
    }
}
