//! Verified and refused passwords, remembered for a while under a keyed hash, so that the hundreds of requests of one
//! `go` command cost one bind. The key is drawn at start and never leaves the process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use quick_cache::sync::Cache;

use crate::identity::IdentityError;
use crate::identity::caller::Caller;

/// The keyed hash of realm, name and password.
pub(in crate::identity) type Fingerprint = [u8; 32];

/// What a password came to.
pub(in crate::identity) type Outcome = Result<Arc<Caller>, IdentityError>;

/// Passwords that were judged not long ago.
pub(in crate::identity) struct Remembered {
    key: hmac::Key,
    held: Cache<Fingerprint, (Outcome, Instant)>,
    good: Duration,
    bad: Duration,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passwords", self.held.len())
    }
}

impl Remembered {
    /// Remembers good ones for a time and bad ones for another. Fails if there is no randomness to be had.
    pub(in crate::identity) fn new(good: Duration, bad: Duration) -> Result<Self, NoRandomness> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| NoRandomness)?;
        Ok(Self { key, held: Cache::new(HELD), good, bad })
    }

    /// The name under which a password is remembered. Lengths keep parts apart.
    pub(in crate::identity) fn fingerprint(&self, user: &str, password: &str) -> Fingerprint {
        let mut hash = hmac::Context::with_key(&self.key);
        hash.update(&(user.len() as u64).to_be_bytes());
        hash.update(user.as_bytes());
        hash.update(password.as_bytes());
        hash.sign().as_ref().try_into().unwrap_or_default()
    }

    /// What is remembered and not too old.
    pub(in crate::identity) fn look(&self, fingerprint: &Fingerprint) -> Option<Outcome> {
        let (outcome, until) = self.held.get(fingerprint)?;
        (Instant::now() < until).then_some(outcome)
    }

    /// Somebody who was good not long before now, for the time of an outage; `beyond` is how long after their time.
    pub(in crate::identity) fn look_back(
        &self,
        fingerprint: &Fingerprint,
        beyond: Duration,
    ) -> Option<Arc<Caller>> {
        let (outcome, until) = self.held.get(fingerprint)?;
        outcome.ok().filter(|_| Instant::now() < until + beyond)
    }

    /// Remembers what was judged. That something could not be judged is never remembered.
    pub(in crate::identity) fn keep(&self, fingerprint: Fingerprint, outcome: &Outcome) {
        let life = match outcome {
            Ok(_) => self.good,
            Err(IdentityError::Refused { .. }) => self.bad,
            Err(_) => return,
        };
        self.held.insert(fingerprint, (outcome.clone(), Instant::now() + life));
    }
}

/// The system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// Passwords at once: people at work, and some who are wrong.
const HELD: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labels::AuthMethod;
    use crate::telemetry::labels::AuthResult;

    fn refused() -> Outcome {
        let (method, result) = (AuthMethod::Ldap, AuthResult::BadCredentials);
        Err(IdentityError::Refused { method, result, detail: String::new(), who: None })
    }

    #[test]
    fn a_name_and_a_password_are_told_apart_wherever_they_meet() {
        let remembered = Remembered::new(Duration::from_mins(1), Duration::from_mins(1)).unwrap();
        assert_ne!(remembered.fingerprint("ab", "c"), remembered.fingerprint("a", "bc"));
        assert_eq!(remembered.fingerprint("a", "b"), remembered.fingerprint("a", "b"));
        let other = Remembered::new(Duration::from_mins(1), Duration::from_mins(1)).unwrap();
        assert_ne!(remembered.fingerprint("a", "b"), other.fingerprint("a", "b"));
    }

    #[test]
    fn what_was_judged_is_remembered_for_its_time_and_an_outage_never() {
        let remembered = Remembered::new(Duration::from_mins(1), Duration::ZERO).unwrap();
        let fingerprint = remembered.fingerprint("a", "b");
        assert!(remembered.look(&fingerprint).is_none());
        remembered.keep(fingerprint, &Ok(Arc::new(Caller::imagined("user:ldap/x:a", Vec::new()))));
        assert!(remembered.look(&fingerprint).is_some_and(|outcome| outcome.is_ok()));
        remembered.keep(fingerprint, &refused());
        assert!(remembered.look(&fingerprint).is_none());
        let detail = String::new();
        remembered.keep(
            fingerprint,
            &Err(IdentityError::Unavailable { method: AuthMethod::Ldap, detail }),
        );
        assert!(remembered.look(&fingerprint).is_none());
    }
}
