//! When an attempt is repeated: within a budget, after a pause that differs, and not before the upstream wants it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// Repetitions an upstream may be burdened with: a share of what it is asked anyway, and a few for quiet times.
#[derive(Debug)]
pub(in crate::upstream) struct Budget {
    share: f64,
    left: Mutex<f64>,
}

impl Budget {
    /// Repetitions as a share of all requests, from 0 (none, ever) to 1.
    pub(in crate::upstream) fn new(share: f64) -> Self {
        Self { share, left: Mutex::new(if share > 0.0 { RESERVE } else { 0.0 }) }
    }

    /// A request pays in.
    pub(in crate::upstream) fn earn(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = (*left + self.share).min(RESERVE);
    }

    /// Pays for one repetition, if it can.
    pub(in crate::upstream) fn spend(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *left >= 1.0;
        if enough {
            *left -= 1.0;
        }
        enough
    }
}

/// Until when an upstream wants to be left in peace.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Quiet(Mutex<Option<Instant>>);

impl Quiet {
    /// It asked for so long, of which it gets [`LONGEST_QUIET`] at most.
    pub(in crate::upstream) fn wish(&self, time: Duration) {
        let end = Instant::now() + time.min(LONGEST_QUIET);
        let mut quiet = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet = Some(quiet.map_or(end, |before| before.max(end)));
    }

    /// When it ends, if that is still to come.
    pub(in crate::upstream) fn end(&self) -> Option<Instant> {
        let quiet = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.filter(|end| *end > Instant::now())
    }
}

/// The pause before an attempt is repeated for the `tried`-th time: twice as long each time, and up to twice that.
pub(in crate::upstream) fn pause(tried: u32) -> Duration {
    let doublings = tried.saturating_sub(1).min(MOST_DOUBLINGS);
    (SHORTEST_PAUSE * (1 << doublings)).mul_f64(1.0 + jitter())
}

/// A number from 0 to 1 that differs between nodes and moments; it need not be unpredictable.
fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_bytes().first().copied().unwrap_or_default()) / 255.0
}

/// Repetitions that may follow each other when little else is asked.
const RESERVE: f64 = 10.0;
/// Before the first repetition; a lost connection is new by then.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Pauses grow to 3.2 seconds, and up to twice that.
const MOST_DOUBLINGS: u32 = 5;
/// A longer wish is not believed.
const LONGEST_QUIET: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_a_tenth_of_what_is_asked_and_a_few_more() {
        let budget = Budget::new(0.1);
        let mut repeated = 0;
        for _ in 0..1000 {
            budget.earn();
            repeated += u32::from(budget.spend());
        }
        assert!((100..=110).contains(&repeated), "{repeated}");
        assert!(!Budget::new(0.0).spend());
    }

    #[test]
    fn pauses_double_and_differ() {
        for (tried, least) in [(1, 100), (2, 200), (3, 400), (20, 3200)] {
            let pauses: Vec<_> = (0..50).map(|_| pause(tried).as_millis()).collect();
            assert!(pauses.iter().all(|pause| (least..=2 * least).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_wish_for_quiet_is_kept_to_a_minute_and_a_shorter_one_does_not_end_it() {
        let quiet = Quiet::default();
        assert_eq!(quiet.end(), None);
        quiet.wish(Duration::from_hours(1));
        let end = quiet.end().unwrap();
        assert!(end <= Instant::now() + LONGEST_QUIET);
        quiet.wish(Duration::from_secs(1));
        assert_eq!(quiet.end(), Some(end));
    }
}
