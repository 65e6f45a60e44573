//! Lets a far tier rest that failed several times in a row: while it rests, asking it costs nothing.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::BoxFuture;

use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::cache::tier::Tier;
use crate::cache::tier::TierError;
use crate::clock::Clock;
use crate::telemetry::labels;

/// A tier that may rest.
#[derive(Debug)]
pub struct Resting<T> {
    tier: T,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl<T: Tier> Resting<T> {
    /// A tier that is awake.
    pub fn new(tier: T, clock: Arc<dyn Clock>) -> Self {
        Self { tier, state: Mutex::default(), clock }
    }

    /// Whether to try. When the rest is over one try is let through, and the others go on resting until it is known
    /// how it ended.
    fn may_try(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.instant();
        match state.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.until = Some(now + pause(state.failures));
                true
            }
        }
    }

    async fn watched<V>(
        &self,
        work: impl Future<Output = Result<V, TierError>>,
    ) -> Result<V, TierError> {
        if !self.may_try() {
            return Err(TierError::Resting);
        }
        let done = work.await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &done {
            // it answered, whatever it said
            Ok(_) | Err(TierError::Corrupt(_)) => *state = State::default(),
            Err(TierError::Store(_) | TierError::Io(_) | TierError::Resting) => {
                state.failures = state.failures.saturating_add(1);
                if state.failures >= FAILURES {
                    state.until = Some(self.clock.instant() + pause(state.failures));
                }
            }
        }
        done
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(FAILURES).min(5);
    (SHORTEST * 2_u32.pow(doubled)).min(LONGEST)
}

impl<T: Tier> Tier for Resting<T> {
    fn name(&self) -> labels::Tier {
        self.tier.name()
    }

    fn look<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Entry>, TierError>> {
        Box::pin(self.watched(self.tier.look(key)))
    }

    fn store<'a>(&'a self, key: &'a Key, entry: &'a Entry) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(self.watched(self.tier.store(key, entry)))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, TierError>> {
        Box::pin(self.watched(self.tier.remove(key)))
    }
}

/// So many failures in a row, and it rests...
const FAILURES: u32 = 2;
/// ...at first for so long, then twice as long after each failed try...
const SHORTEST: Duration = Duration::from_secs(1);
/// ...up to this, so that a bucket that is back is used soon.
const LONGEST: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::clock::ManualClock;

    #[derive(Debug, Default)]
    struct Moody {
        broken: AtomicBool,
        asked: AtomicU32,
    }

    impl Tier for Arc<Moody> {
        fn name(&self) -> labels::Tier {
            labels::Tier::Bucket
        }

        fn look<'a>(&'a self, _key: &'a Key) -> BoxFuture<'a, Result<Option<Entry>, TierError>> {
            Box::pin(async {
                self.asked.fetch_add(1, Ordering::Relaxed);
                let broken = self.broken.load(Ordering::Relaxed);
                if broken { Err(TierError::Store("no".to_owned())) } else { Ok(None) }
            })
        }

        fn store<'a>(
            &'a self,
            _key: &'a Key,
            _entry: &'a Entry,
        ) -> BoxFuture<'a, Result<(), TierError>> {
            Box::pin(async { Ok(()) })
        }

        fn remove<'a>(&'a self, _key: &'a Key) -> BoxFuture<'a, Result<bool, TierError>> {
            Box::pin(async { Ok(false) })
        }
    }

    #[tokio::test]
    async fn a_tier_that_failed_twice_costs_nothing_until_one_try_succeeds() {
        let (moody, clock) = (Arc::new(Moody::default()), Arc::new(ManualClock::at_unix(1)));
        let resting = Resting::new(Arc::clone(&moody), Arc::clone(&clock) as Arc<dyn Clock>);
        let key = Key::parse("example.com/m/@v/v1.0.0.mod").unwrap();
        moody.broken.store(true, Ordering::Relaxed);
        for _ in 0..10 {
            assert!(resting.look(&key).await.is_err());
        }
        assert_eq!(moody.asked.load(Ordering::Relaxed), 2);
        clock.advance(SHORTEST);
        for _ in 0..10 {
            assert!(resting.look(&key).await.is_err());
        }
        assert_eq!(moody.asked.load(Ordering::Relaxed), 3, "one try after the rest");
        moody.broken.store(false, Ordering::Relaxed);
        clock.advance(LONGEST);
        for _ in 0..5 {
            assert!(resting.look(&key).await.is_ok());
        }
        assert_eq!(moody.asked.load(Ordering::Relaxed), 8);
    }
}
