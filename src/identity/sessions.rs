//! Which proofs were good a moment ago, so that the audit tells of a login once and not with each of its hundred requests.

use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;
use std::time::Instant;

use quick_cache::sync::Cache;
use quick_cache::sync::EntryAction;
use quick_cache::sync::EntryResult;

use crate::identity::caller::Caller;

/// Proofs of identity that were good, by principal, proof and source. Bounded: what is forgotten is told once more.
pub(in crate::identity) struct Sessions {
    begun: Cache<u64, Instant>,
    hashing: RandomState,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} sessions", self.begun.len())
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { begun: Cache::new(SESSIONS), hashing: RandomState::new() }
    }
}

impl Sessions {
    /// Whether one begins now; it goes on for an hour. Of requests that arrive together with one proof, one begins it.
    pub(in crate::identity) fn begins(&self, caller: &Caller, source: IpAddr) -> bool {
        let proof = (caller.principal(), caller.detail(), &caller.proof().token, source);
        let (key, now) = (self.hashing.hash_one(proof), Instant::now());
        let goes_on = |begun: Instant| now.saturating_duration_since(begun) < SESSION;
        // nearly every request ends here, and waits for nobody who writes
        if self.begun.get(&key).is_some_and(goes_on) {
            return false;
        }
        let looked = self.begun.entry(&key, None, |_, begun| {
            let begins = !goes_on(*begun);
            if begins {
                *begun = now;
            }
            EntryAction::Retain(begins)
        });
        match looked {
            EntryResult::Retained(begins) => begins,
            EntryResult::Vacant(place) => {
                // fails only if somebody emptied the cache meanwhile: then it is told once more
                let _kept = place.insert(now);
                true
            }
            // this look neither takes away nor gives up
            EntryResult::Removed(..) | EntryResult::Replaced(..) | EntryResult::Timeout => true,
        }
    }
}

/// Callers from different places at once.
const SESSIONS: usize = 65_536;
/// After that it is told again.
const SESSION: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::thread;

    use super::*;

    #[test]
    fn of_many_who_begin_one_at_once_one_does() {
        let (sessions, here) = (Sessions::default(), IpAddr::from([10, 0, 0, 1]));
        let together = Barrier::new(4);
        let began = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for user in 0..500 {
                        let caller =
                            Caller::imagined(&format!("user:ldap/corp:{user}"), Vec::new());
                        together.wait();
                        if sessions.begins(&caller, here) {
                            began.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(began.into_inner(), 500);
    }

    #[test]
    fn a_session_is_one_proof_from_one_source() {
        let (sessions, here) = (Sessions::default(), IpAddr::from([10, 0, 0, 1]));
        let alice = Caller::imagined("user:ldap/corp:alice", Vec::new());
        assert!(sessions.begins(&alice, here) && !sessions.begins(&alice, here));
        assert!(sessions.begins(&alice, IpAddr::from([10, 0, 0, 2])));
        assert!(sessions.begins(&Caller::imagined("user:ldap/corp:bob", Vec::new()), here));
        assert!(!sessions.begins(&alice, here));
    }
}
