//! Which proofs were good a moment ago, so that the audit tells of a login once and not with each of its hundred requests.

use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;
use std::time::Instant;

use quick_cache::sync::Cache;

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
    /// Whether one begins now; it goes on for an hour.
    pub(in crate::identity) fn begins(&self, caller: &Caller, source: IpAddr) -> bool {
        let proof = (caller.principal(), caller.detail(), source);
        let (key, now) = (self.hashing.hash_one(proof), Instant::now());
        if self.begun.get(&key).is_some_and(|begun| now.duration_since(begun) < SESSION) {
            return false;
        }
        self.begun.insert(key, now);
        true
    }
}

/// Callers from different places at once.
const SESSIONS: usize = 65_536;
/// After that it is told again.
const SESSION: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

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
