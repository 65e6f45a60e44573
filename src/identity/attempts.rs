//! How often a source may fail, and how often anybody may ask.
//!
//! * Failures are counted by distinct wrong password: one `go get` with a stale netrc sends dozens of requests with the
//!   same one, and is one failure. What could not be judged counts nowhere.
//! * A lock is looked at before anything is judged, so the right password during a lock looks like a wrong one.
//! * Nobody locks a victim out: sources from which an account was used before go on being judged.
//! * The directory's own lock is never reached: an account fails there less often than it takes, whoever asks.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use governor::DefaultKeyedRateLimiter;
use governor::Quota;
use governor::RateLimiter;

use crate::identity::remembered::Fingerprint;
use crate::telemetry::labels::identity::LockScope;

/// Whether somebody may try a password now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::identity) enum Gate {
    /// They may.
    Open,
    /// They may not, and are told that the password is wrong.
    Locked,
    /// Their source failed too often with too many names.
    Throttled,
}

/// What a wrong password brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::identity) enum Lock {
    /// The name may not be tried from this source for so long.
    Pair(Duration),
    /// The name may not be tried by strangers, or by anybody.
    Account,
    /// The source may try nobody.
    Source,
}

impl Lock {
    /// What it is counted as.
    pub(in crate::identity) const fn scope(self) -> LockScope {
        match self {
            Self::Pair(_) | Self::Account => LockScope::User,
            Self::Source => LockScope::Address,
        }
    }
}

/// How much is locked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Locked {
    /// Names that some source, or every stranger, may not try.
    pub users: usize,
    /// Sources that may try nobody.
    pub addresses: usize,
}

/// What is known about passwords that were wrong.
#[derive(Debug)]
pub(in crate::identity) struct Attempts {
    books: Mutex<Books>,
    guard: usize,
}

#[derive(Debug, Default)]
struct Books {
    pairs: HashMap<(IpAddr, String), Pair>,
    accounts: HashMap<String, Account>,
    sources: HashMap<IpAddr, Failures>,
}

/// Wrong passwords in a window of time, each once.
#[derive(Debug, Default)]
struct Failures {
    distinct: HashSet<Fingerprint>,
    since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Pair {
    failures: Failures,
    locked_until: Option<Instant>,
    locks: u32,
}

#[derive(Debug, Default)]
struct Account {
    failures: Failures,
    good: HashMap<IpAddr, Instant>,
}

impl Failures {
    /// How many would count now, without forgetting any.
    fn standing(&self, now: Instant) -> usize {
        let old = self.since.is_some_and(|since| now.duration_since(since) > WINDOW);
        if old { 0 } else { self.distinct.len() }
    }

    /// How many are young enough to count; older ones are forgotten together.
    fn count(&mut self, now: Instant) -> usize {
        if self.since.is_some_and(|since| now.duration_since(since) > WINDOW) {
            *self = Self::default();
        }
        self.distinct.len()
    }

    /// Adds one; whether that makes them so many.
    fn reaches(&mut self, threshold: usize, wrong: Fingerprint, now: Instant) -> bool {
        let before = self.count(now);
        self.add(wrong, now) >= threshold && before < threshold
    }

    fn add(&mut self, wrong: Fingerprint, now: Instant) -> usize {
        self.count(now);
        self.since.get_or_insert(now);
        if self.distinct.len() < DISTINCT {
            self.distinct.insert(wrong);
        }
        self.distinct.len()
    }
}

impl Attempts {
    /// `directory_threshold` is after how many failures the directory locks an account; it never sees that many.
    pub(in crate::identity) fn new(directory_threshold: usize) -> Self {
        Self { books: Mutex::default(), guard: directory_threshold.saturating_sub(1).max(1) }
    }

    /// Whether a password may be tried.
    pub(in crate::identity) fn gate(&self, source: IpAddr, account: &str, now: Instant) -> Gate {
        let (source, account) = (network(source), account.to_lowercase());
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if books.sources.get_mut(&source).is_some_and(|failures| failures.count(now) >= BY_SOURCE) {
            return Gate::Throttled;
        }
        let key = (source, account.clone());
        let locked = books.pairs.get(&key).and_then(|pair| pair.locked_until);
        if locked.is_some_and(|until| now < until) {
            return Gate::Locked;
        }
        let Some(account) = books.accounts.get_mut(&account) else { return Gate::Open };
        let known = account.good.get(&source).is_some_and(|good| now.duration_since(*good) < KNOWN);
        let failed = account.failures.count(now);
        let strangers = failed >= BY_ACCOUNT && !known;
        if failed >= self.guard || strangers { Gate::Locked } else { Gate::Open }
    }

    /// A password was wrong; says what is locked from now on that was not before.
    pub(in crate::identity) fn failed(
        &self,
        source: IpAddr,
        account: &str,
        wrong: Fingerprint,
        now: Instant,
    ) -> Option<Lock> {
        let (source, account) = (network(source), account.to_lowercase());
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.prune(now);
        let failures = books.sources.entry(source).or_default();
        let by_source = failures.reaches(BY_SOURCE, wrong, now);
        let failures = &mut books.accounts.entry(account.clone()).or_default().failures;
        let by_account = failures.reaches(BY_ACCOUNT.min(self.guard), wrong, now);
        let pair = books.pairs.entry((source, account)).or_default();
        let mut lock = by_account.then_some(Lock::Account);
        if pair.failures.add(wrong, now) >= BY_PAIR {
            let pause = FIRST_LOCK.saturating_mul(1 << pair.locks.min(16)).min(LONGEST_LOCK);
            pair.locked_until = Some(now + pause);
            pair.locks += 1;
            lock = lock.or(Some(Lock::Pair(pause)));
        }
        if by_source { Some(Lock::Source) } else { lock }
    }

    /// How much is locked now.
    pub(in crate::identity) fn locked(&self, now: Instant) -> Locked {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let least = BY_ACCOUNT.min(self.guard);
        let accounts = books.accounts.iter();
        let all = accounts.filter(|(_, account)| account.failures.standing(now) >= least);
        let mut users: HashSet<&str> = all.map(|(name, _)| name.as_str()).collect();
        let is_locked = |pair: &Pair| pair.locked_until.is_some_and(|until| now < until);
        let pairs = books.pairs.iter().filter(|(_, pair)| is_locked(pair));
        users.extend(pairs.map(|((_, name), _)| name.as_str()));
        let is_throttled = |failures: &&Failures| failures.standing(now) >= BY_SOURCE;
        let addresses = books.sources.values().filter(is_throttled).count();
        Locked { users: users.len(), addresses }
    }

    /// A password was right: the pair starts anew, and the source is known for the account.
    pub(in crate::identity) fn succeeded(&self, source: IpAddr, account: &str, now: Instant) {
        let (source, account) = (network(source), account.to_lowercase());
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.pairs.remove(&(source, account.clone()));
        let known = &mut books.accounts.entry(account).or_default().good;
        if known.len() < SOURCES || known.contains_key(&source) {
            known.insert(source, now);
        }
    }
}

impl Books {
    /// Keeps the books small: what no longer counts goes when there is much of it.
    fn prune(&mut self, now: Instant) {
        if self.pairs.len() + self.accounts.len() + self.sources.len() < BOOKS {
            return;
        }
        self.sources.retain(|_, failures| failures.count(now) > 0);
        self.pairs.retain(|_, pair| pair.failures.count(now) > 0);
        self.accounts.retain(|_, account| {
            account.good.retain(|_, good| now.duration_since(*good) < KNOWN);
            account.failures.count(now) > 0 || !account.good.is_empty()
        });
        if self.pairs.len() > BOOKS {
            self.pairs.clear();
        }
    }
}

/// How often anybody may ask: a generic cell rate algorithm for each source and each caller.
pub(in crate::identity) struct Rates {
    sources: DefaultKeyedRateLimiter<IpAddr>,
    callers: DefaultKeyedRateLimiter<String>,
}

impl fmt::Debug for Rates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "rates of {} sources and {} callers", self.sources.len(), self.callers.len())
    }
}

impl Rates {
    /// Requests a second of one source and of one caller; twenty times as many may come at once.
    pub(in crate::identity) fn new(source: NonZeroU32, caller: NonZeroU32) -> Self {
        let quota =
            |rate: NonZeroU32| Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST));
        Self {
            sources: RateLimiter::keyed(quota(source)),
            callers: RateLimiter::keyed(quota(caller)),
        }
    }

    /// Whether a source may ask once more.
    pub(in crate::identity) fn source(&self, source: IpAddr) -> bool {
        self.sources.check_key(&network(source)).is_ok()
    }

    /// Whether a caller may ask once more.
    pub(in crate::identity) fn caller(&self, principal: &str) -> bool {
        self.callers.check_key(&principal.to_owned()).is_ok()
    }

    /// Forgets whoever has been quiet; called now and then.
    pub(in crate::identity) fn forget(&self) {
        self.sources.retain_recent();
        self.callers.retain_recent();
    }
}

/// Somebody with an IPv6 address has the whole network below it.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// A person mistypes twice.
const BY_PAIR: usize = 3;
/// Strangers to an account fail together no more often.
const BY_ACCOUNT: usize = 10;
/// A source tries no more names and passwords.
const BY_SOURCE: usize = 20;
/// In this time.
const WINDOW: Duration = Duration::from_mins(10);
/// The first lock; each further one is twice as long.
const FIRST_LOCK: Duration = Duration::from_secs(1);
/// No lock is longer.
const LONGEST_LOCK: Duration = Duration::from_mins(5);
/// A source is known for an account so long after a login.
const KNOWN: Duration = Duration::from_hours(24);
/// Distinct failures that are told apart; more change nothing.
const DISTINCT: usize = 64;
/// Known sources of one account.
const SOURCES: usize = 64;
/// Entries after which the books are looked through.
const BOOKS: usize = 30_000;
/// A build begins with a burst: seconds' worth of requests at once.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn wrong(n: u8) -> Fingerprint {
        [n; 32]
    }

    #[test]
    fn the_same_wrong_password_again_is_one_failure() {
        let (attempts, now) = (Attempts::new(100), Instant::now());
        for _ in 0..50 {
            attempts.failed(address(1), "alice", wrong(1), now);
        }
        assert_eq!(attempts.gate(address(1), "alice", now), Gate::Open);
    }

    #[test]
    fn three_distinct_failures_lock_the_pair_for_longer_each_time() {
        let (attempts, now) = (Attempts::new(100), Instant::now());
        let locks: Vec<_> =
            (0..3).map(|n| attempts.failed(address(1), "alice", wrong(n), now)).collect();
        assert_eq!(locks, [None, None, Some(Lock::Pair(FIRST_LOCK))]);
        assert_eq!(attempts.gate(address(1), "Alice", now), Gate::Locked);
        assert_eq!(attempts.gate(address(1), "bob", now), Gate::Open);
        let later = now + Duration::from_millis(1100);
        assert_eq!(attempts.gate(address(1), "alice", later), Gate::Open);
        attempts.failed(address(1), "alice", wrong(9), later);
        assert_eq!(
            attempts.gate(address(1), "alice", later + Duration::from_millis(1100)),
            Gate::Locked
        );
        assert_eq!(attempts.locked(later), Locked { users: 1, addresses: 0 });
        attempts.succeeded(address(1), "alice", later);
        assert_eq!(attempts.gate(address(1), "alice", later), Gate::Open);
        assert_eq!(attempts.locked(later), Locked::default());
    }

    #[test]
    fn strangers_cannot_lock_out_whoever_was_there_before() {
        let (attempts, now) = (Attempts::new(100), Instant::now());
        attempts.succeeded(address(1), "alice", now);
        for n in 0..20 {
            attempts.failed(address(100 + n), "alice", wrong(n), now);
        }
        assert_eq!(attempts.gate(address(50), "alice", now), Gate::Locked);
        assert_eq!(attempts.gate(address(1), "alice", now), Gate::Open);
    }

    #[test]
    fn the_directory_never_sees_as_many_failures_as_it_takes() {
        let (attempts, now) = (Attempts::new(3), Instant::now());
        let mut seen = 0;
        for n in 0..50 {
            if attempts.gate(address(n), "alice", now) == Gate::Open {
                seen += 1;
                attempts.failed(address(n), "alice", wrong(n), now);
            }
        }
        assert_eq!(seen, 2);
        assert_eq!(
            attempts.gate(address(60), "alice", now + WINDOW + Duration::from_secs(1)),
            Gate::Open
        );
    }

    #[test]
    fn a_source_that_tries_many_names_is_throttled() {
        let (attempts, now) = (Attempts::new(100), Instant::now());
        let locks =
            (0..21).filter_map(|n| attempts.failed(address(1), &format!("name{n}"), wrong(n), now));
        assert_eq!(locks.collect::<Vec<_>>(), [Lock::Source], "told once");
        assert_eq!(attempts.locked(now), Locked { users: 0, addresses: 1 });
        assert_eq!(attempts.locked(now + WINDOW + Duration::from_secs(1)), Locked::default());
        assert_eq!(attempts.gate(address(1), "alice", now), Gate::Throttled);
        assert_eq!(attempts.gate(address(2), "alice", now), Gate::Open);
    }

    #[test]
    fn a_rate_lets_a_build_begin_and_stops_a_flood() {
        let rates = Rates::new(NonZeroU32::MIN, NonZeroU32::MIN);
        let let_in = (0..100).filter(|_| rates.source(address(1))).count();
        assert!((20..=22).contains(&let_in), "{let_in}");
        assert!(rates.source(address(2)));
        let let_in = (0..100).filter(|_| rates.caller("user:token:a")).count();
        assert!((20..=22).contains(&let_in), "{let_in}");
    }
}
