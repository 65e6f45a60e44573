//! Revocations that were told from elsewhere: they hold whatever the token file here says.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::content::Sum;
use crate::identity::token::LONGEST_LIFE;

/// The SHA-256 of each token that is refused, until it would have expired.
#[derive(Debug)]
pub struct Revocations {
    until: ArcSwap<HashMap<Sum, u64>>,
    clock: Arc<dyn Clock>,
}

impl Revocations {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { until: ArcSwap::default(), clock }
    }

    /// Refuses a token from now on, by its SHA-256 in hex, until it expires (seconds since 1970; no token lives longer
    /// than 366 days). At most 10 000 are held: one more, and that which would expire first is forgotten.
    pub fn hear(&self, sha256: &str, expires: u64) {
        let Some(sum) = Sum::from_hex(sha256) else {
            tracing::warn!("a revocation was told that names no token");
            return;
        };
        let now = self.clock.unix_seconds();
        let until = expires.min(now.saturating_add(LONGEST_LIFE.as_secs()));
        self.until.rcu(|held| {
            let mut held = HashMap::clone(held);
            held.insert(sum, until);
            held.retain(|_, until| *until > now);
            if held.len() > MOST {
                let first = held.iter().min_by_key(|(_, until)| **until).map(|(sum, _)| *sum);
                first.and_then(|first| held.remove(&first));
            }
            held
        });
    }

    /// Whether a token was taken back.
    pub(in crate::identity) fn hold(&self, sum: &Sum) -> bool {
        self.until.load().contains_key(sum)
    }
}

/// More than an enterprise takes back in a year; 400 KiB.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn what_was_revoked_is_held_until_it_would_have_expired_and_never_too_much() {
        let clock = Arc::new(ManualClock::at_unix(1_000));
        let revocations = Revocations::new(Arc::<ManualClock>::clone(&clock));
        let sum = |number: usize| Sum::of(&number.to_be_bytes());
        let held = || revocations.until.load().len();
        revocations.hear("words", 2_000);
        revocations.hear(&sum(0).to_string(), 999);
        assert_eq!(held(), 0);
        revocations.hear(&sum(1).to_string(), 1_010);
        revocations.hear(&sum(2).to_string(), u64::MAX);
        assert!(revocations.hold(&sum(1)) && revocations.hold(&sum(2)));
        clock.advance(Duration::from_secs(10));
        revocations.hear(&sum(3).to_string(), 2_000);
        assert!(!revocations.hold(&sum(1)) && revocations.hold(&sum(3)));
        clock.advance(LONGEST_LIFE);
        revocations.hear(&sum(4).to_string(), u64::MAX);
        assert_eq!(held(), 1);
        let many: HashMap<Sum, u64> = (10..10 + MOST).map(|n| (sum(n), u64::MAX)).collect();
        revocations.until.store(Arc::new(many));
        revocations.hear(&sum(4).to_string(), u64::MAX);
        assert_eq!(held(), MOST);
    }
}
