//! A breaker: leaves somebody alone who failed several times, and finds out whether they are back.
//!
//! *Closed*, everybody asks. After [`Settings::failures`] failures within [`Settings::window`], if at least half of what
//! was asked failed, it is *open*: nobody asks for [`Settings::rest`]. Then it is *half open*: a few ask, and so many
//! successes in a row close it, while one failure opens it again, for twice as long. The time of rest falls back to its
//! beginning only after the breaker was closed for longer than the longest rest: so somebody who is well for a second
//! and ill for the next is left alone for longer and longer, instead of being tried as often as they change.

use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::clock::Clock;

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// So many failures...
    pub failures: u32,
    /// ...in so short a time open it...
    pub window: Duration,
    /// ...for so long at first...
    pub rest: Duration,
    /// ...and for so long at most, if it opens again and again.
    pub longest_rest: Duration,
    /// So many successes in a row close it; as many may be under way at a time while it is half open.
    pub successes: u32,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They are well.
    Well,
    /// They are not.
    Ill,
    /// It says nothing about them.
    Silent,
}

/// What everybody may know of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Everybody asks.
    Closed,
    /// Nobody asks.
    Open,
    /// A few ask.
    HalfOpen,
}

/// The breaker of one peer.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What went well and what did not since a moment.
#[derive(Debug, Clone, Copy)]
struct Tally {
    since: Instant,
    well: u32,
    ill: u32,
}

#[derive(Debug)]
enum Phase {
    /// Two tallies of one window each, so that a burst at their border is seen whole.
    Closed {
        since: Instant,
        before: Tally,
        now: Tally,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        under_way: u32,
        well: u32,
    },
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Grows with each change of phase: a verdict about an earlier phase says nothing about this one.
    epoch: u64,
    /// Rests since it was last closed for long.
    rests: u32,
}

/// One attempt under way. If it is dropped without a verdict, its own is [`Verdict::Ill`]: a deadline passed.
#[derive(Debug)]
pub struct Attempt<'a> {
    breaker: &'a Breaker,
    epoch: u64,
    verdict: Verdict,
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let phase = closed(clock.instant());
        Self { settings, clock, state: Mutex::new(State { phase, epoch: 0, rests: 0 }) }
    }

    /// Begins an attempt, or says that there must be none now.
    pub fn attempt(&self) -> Option<Attempt<'_>> {
        let mut state = self.look();
        match &mut state.phase {
            Phase::Closed { .. } => {}
            Phase::Open { .. } => return None,
            Phase::HalfOpen { under_way, .. } => {
                if *under_way >= self.settings.successes {
                    return None;
                }
                *under_way += 1;
            }
        }
        Some(Attempt { breaker: self, epoch: state.epoch, verdict: Verdict::Ill })
    }

    /// How it stands.
    pub fn condition(&self) -> Condition {
        match self.look().phase {
            Phase::Closed { .. } => Condition::Closed,
            Phase::Open { .. } => Condition::Open,
            Phase::HalfOpen { .. } => Condition::HalfOpen,
        }
    }

    /// The state, half open if the rest is over.
    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(state.phase, Phase::Open { until } if self.clock.instant() >= until) {
            state.enter(Phase::HalfOpen { under_way: 0, well: 0 });
        }
        state
    }

    fn judge(&self, epoch: u64, verdict: Verdict) {
        let now = self.clock.instant();
        let mut state = self.look();
        if state.epoch != epoch {
            return;
        }
        let settings = &self.settings;
        let opens = match &mut state.phase {
            Phase::Open { .. } => false,
            Phase::Closed { before, now: tally, .. } => {
                if now.saturating_duration_since(tally.since) >= settings.window {
                    *before = mem::replace(tally, Tally::new(now));
                }
                tally.take(verdict);
                let fresh = now.saturating_duration_since(before.since) < 2 * settings.window;
                let (well, ill) = if fresh { (before.well, before.ill) } else { (0, 0) };
                let (well, ill) = (well.saturating_add(tally.well), ill.saturating_add(tally.ill));
                verdict == Verdict::Ill && ill >= settings.failures && ill >= well
            }
            Phase::HalfOpen { under_way, well } => {
                *under_way = under_way.saturating_sub(1);
                *well += u32::from(verdict == Verdict::Well);
                let healed = *well >= settings.successes;
                if healed {
                    state.enter(closed(now));
                }
                verdict == Verdict::Ill
            }
        };
        if opens {
            state.open(settings, now);
        }
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }

    fn open(&mut self, settings: &Settings, now: Instant) {
        if let Phase::Closed { since, .. } = self.phase
            && now.saturating_duration_since(since) > settings.longest_rest
        {
            self.rests = 0;
        }
        let rest = settings.rest.saturating_mul(1 << self.rests.min(MOST_DOUBLINGS));
        self.rests = self.rests.saturating_add(1);
        self.enter(Phase::Open { until: now + rest.min(settings.longest_rest) });
    }
}

impl Tally {
    fn new(since: Instant) -> Self {
        Self { since, well: 0, ill: 0 }
    }

    fn take(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Well => self.well = self.well.saturating_add(1),
            Verdict::Ill => self.ill = self.ill.saturating_add(1),
            Verdict::Silent => {}
        }
    }
}

fn closed(now: Instant) -> Phase {
    Phase::Closed { since: now, before: Tally::new(now), now: Tally::new(now) }
}

impl Attempt<'_> {
    /// Says what it came to.
    pub fn end(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    /// What it comes to if it is dropped from now on.
    pub fn presume(&mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.breaker.judge(self.epoch, self.verdict);
    }
}

/// A rest doubled so often is longer than any longest one.
const MOST_DOUBLINGS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const SETTINGS: Settings = Settings {
        failures: 5,
        window: Duration::from_secs(10),
        rest: Duration::from_secs(1),
        longest_rest: Duration::from_secs(30),
        successes: 3,
    };

    fn breaker() -> (Breaker, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at_unix(0));
        (Breaker::new(SETTINGS, Arc::<ManualClock>::clone(&clock)), clock)
    }

    fn ask(breaker: &Breaker, verdict: Verdict) -> bool {
        breaker.attempt().map(|attempt| attempt.end(verdict)).is_some()
    }

    fn open() -> (Breaker, Arc<ManualClock>) {
        let (breaker, clock) = breaker();
        for _ in 0..SETTINGS.failures {
            assert!(ask(&breaker, Verdict::Ill));
        }
        assert_eq!(breaker.condition(), Condition::Open);
        (breaker, clock)
    }

    #[test]
    fn five_failures_open_it_and_three_successes_in_a_row_close_it() {
        let (breaker, clock) = open();
        assert!(!ask(&breaker, Verdict::Well));
        clock.advance(Duration::from_secs(1));
        assert_eq!(breaker.condition(), Condition::HalfOpen);
        assert!(ask(&breaker, Verdict::Well) && ask(&breaker, Verdict::Well));
        assert_eq!(breaker.condition(), Condition::HalfOpen);
        assert!(ask(&breaker, Verdict::Well));
        assert_eq!(breaker.condition(), Condition::Closed);
    }

    #[test]
    fn while_half_open_only_a_few_are_under_way_and_one_failure_opens_it_for_longer() {
        let (breaker, clock) = open();
        clock.advance(Duration::from_secs(1));
        let under_way: Vec<_> = (0..3).map(|_| breaker.attempt().unwrap()).collect();
        assert!(breaker.attempt().is_none());
        drop(under_way);
        assert_eq!(breaker.condition(), Condition::Open);
        clock.advance(Duration::from_millis(1999));
        assert_eq!(breaker.condition(), Condition::Open);
        clock.advance(Duration::from_millis(1));
        assert_eq!(breaker.condition(), Condition::HalfOpen);
    }

    #[test]
    fn failures_among_many_successes_or_far_apart_do_not_open_it() {
        let (breaker, clock) = breaker();
        for _ in 0..20 {
            for verdict in [Verdict::Well, Verdict::Well, Verdict::Ill] {
                assert!(ask(&breaker, verdict));
            }
        }
        clock.advance(Duration::from_secs(30));
        for _ in 0..20 {
            assert!(ask(&breaker, Verdict::Ill));
            clock.advance(Duration::from_secs(6));
        }
        assert_eq!(breaker.condition(), Condition::Closed);
    }

    #[test]
    fn a_verdict_about_an_earlier_phase_counts_for_nothing() {
        let (breaker, clock) = breaker();
        let early: Vec<_> = (0..4).map(|_| breaker.attempt().unwrap()).collect();
        for _ in 0..SETTINGS.failures {
            assert!(ask(&breaker, Verdict::Ill));
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(breaker.condition(), Condition::HalfOpen);
        for attempt in early {
            attempt.end(Verdict::Well);
        }
        assert_eq!(breaker.condition(), Condition::HalfOpen);
        breaker.attempt().unwrap().end(Verdict::Silent);
        assert_eq!(breaker.condition(), Condition::HalfOpen);
    }

    #[test]
    fn somebody_who_is_well_and_ill_by_turns_does_not_make_it_oscillate() {
        let (breaker, clock) = breaker();
        let (mut changes, mut asked, mut before) = (0, 0, Condition::Closed);
        for step in 0..6000_u32 {
            // ill for a second, well for a second, ten requests in each
            let verdict = if step / 10 % 2 == 0 { Verdict::Ill } else { Verdict::Well };
            asked += u32::from(ask(&breaker, verdict));
            let condition = breaker.condition();
            changes += u32::from(condition != before);
            before = condition;
            clock.advance(Duration::from_millis(100));
        }
        // ten minutes: after a few short rests one of thirty seconds follows the other
        assert!(changes <= 70, "{changes} changes");
        assert!(asked < 600, "{asked} of 6000 asked");
    }

    #[test]
    fn after_a_long_time_of_health_it_rests_no_longer_than_at_first() {
        let (breaker, clock) = open();
        for _ in 0..6 {
            clock.advance(Duration::from_secs(30));
            assert!(ask(&breaker, Verdict::Ill));
        }
        clock.advance(Duration::from_secs(30));
        for _ in 0..SETTINGS.successes {
            assert!(ask(&breaker, Verdict::Well));
        }
        clock.advance(Duration::from_secs(31));
        for _ in 0..SETTINGS.failures {
            assert!(ask(&breaker, Verdict::Ill));
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(breaker.condition(), Condition::HalfOpen);
    }
}
