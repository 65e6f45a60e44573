//! # Cache: every byte once
//!
//! **Question.** Do we already hold a verified answer to this request, and is it still fresh?
//!
//! **Rule.** Tiers are asked nearest first: memory, Redis, the directory, the bucket. What a farther one holds is
//! promoted into the nearer ones. Only a [`Verified`] enters a tier, so the cache never holds what nobody checked. An
//! immutable artifact (info, mod and zip of a canonical version) is fresh for ever; for a list, `@latest` or a query
//! see [`freshness`]. A remembered 404 or 410 is short-lived, in memory and Redis only. Faults are never remembered.
//!
//! **One fetch for all.** On one node, those who ask at once share one fill. Across nodes a [`lease`] sees to it, for
//! what a shared tier can hold: anything with a bucket, small bodies with Redis. Otherwise each node fetches once.
//!
//! **Who may look.** The fetcher alone holds a cache, and it demands a permit first: a hit must be allowed as much
//! as a miss. Nothing here knows callers.
//!
//! **How it fails.** Content that leaves any tier but memory is hashed again. If the sum differs, the entry and its
//! blob are removed, the corruption is counted, and the look is a miss: the next fill repairs it. A tier that cannot
//! be read is a miss, one that cannot be written is a warning; neither fails a request. A far tier that fails again
//! and again rests ([`rest`], [`crate::link`]), and costs nothing while it does.

pub mod blob;
pub mod bucket;
pub(in crate::cache) mod codec;
pub mod entry;
pub mod freshness;
pub mod key;
pub mod lease;
pub mod memory;
pub mod redis;
pub mod rest;
pub mod scrub;
pub(in crate::cache) mod shelf;
pub mod tier;

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::freshness::Age;
use crate::cache::freshness::Freshness;
use crate::cache::key::Key;
use crate::cache::lease::Lease;
use crate::cache::lease::Leases;
use crate::cache::lease::Taken;
use crate::cache::tier::Tier;
use crate::cache::tier::TierError;
use crate::clock::Clock;
use crate::content::validator::Validator;
use crate::goproxy::artifact::Mutability;
use crate::sumdb::Verified;
use crate::telemetry::Telemetry;
use crate::telemetry::labels;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::Lookup;
use crate::telemetry::labels::TierOperation;
use crate::telemetry::labels::TierResult;
use crate::telemetry::trace::tier_span;

/// What a look through the tiers found.
#[derive(Debug, Clone)]
pub enum Found {
    /// Verified content, fresh.
    Fresh(Verified, labels::Tier),
    /// Verified content that is not fresh, and may stand in.
    Stale(Stale),
    /// A remembered 404 or 410, fresh.
    Absent(Absence),
    /// Nothing that may be served.
    Nothing,
}

/// Content that is not fresh.
#[derive(Debug, Clone)]
pub struct Stale {
    /// The content.
    pub verified: Verified,
    /// Where it was found.
    pub tier: labels::Tier,
    /// When it may be served.
    pub serve: Serve,
    entry: Entry,
}

impl Stale {
    /// By what its upstream knows it again.
    pub fn validator(&self) -> Option<&Validator> {
        self.entry.validator.as_ref()
    }
}

/// Content that was fetched, or found unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The content.
    pub verified: &'a Verified,
    /// By what its upstream knows it again.
    pub validator: Option<&'a Validator>,
    /// What was held until now.
    pub before: Option<&'a Stale>,
}

/// When stale content may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    /// At once, while it is renewed.
    Meanwhile,
    /// If it cannot be renewed.
    OnError,
}

/// Whether a fill is ours.
#[derive(Debug)]
pub enum Lead {
    /// Fetch, under this lease.
    Leads(Lease),
    /// Fetch, for this node alone.
    Alone,
    /// Another node has fetched it meanwhile.
    Found(Box<Found>),
}

/// A 404 or 410 of an upstream, and its text if it had one that may be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// Which of the two.
    pub status: AbsentStatus,
    /// UTF-8 text of at most 64 KiB, as the upstream sent it.
    pub text: Option<Arc<str>>,
}

/// The two statuses that mean "there is none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbsentStatus {
    /// 404.
    NotFound,
    /// 410.
    Gone,
}

/// The tiers, and what holds for all of them.
#[derive(Debug)]
pub struct Cache {
    tiers: Vec<Box<dyn Tier>>,
    rules: Rules,
    leases: Option<Leases>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
}

/// What holds for all tiers.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long things are fresh.
    pub freshness: Freshness,
    /// How long one node waits at most for another one's fetch.
    pub patience: Duration,
}

impl Cache {
    /// A cache over tiers, nearest first. Without leases every node fetches for itself.
    pub fn new(
        tiers: Vec<Box<dyn Tier>>,
        rules: Rules,
        leases: Option<Leases>,
        clock: Arc<dyn Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self { tiers, rules, leases, clock, telemetry }
    }

    /// Looks into the nearest tier, which waits for nothing.
    pub async fn look_near(&self, key: &Key) -> Found {
        self.look_through(key, ..1, Counting::All).await
    }

    /// Looks through all tiers and promotes what it finds; the nearest was looked into already and is not counted
    /// again. May read and hash a large body, so it belongs on the fetch runtime.
    pub async fn look_far(&self, key: &Key) -> Found {
        self.look_through(key, .., Counting::Far).await
    }

    async fn look_through(
        &self,
        key: &Key,
        tiers: impl std::slice::SliceIndex<[Box<dyn Tier>], Output = [Box<dyn Tier>]>,
        counting: Counting,
    ) -> Found {
        let mut stale: Option<Stale> = None;
        for (depth, tier) in self.tiers.get(tiers).unwrap_or_default().iter().enumerate() {
            let (lookup, entry) = self.look_into(tier.as_ref(), key).await;
            if counting == Counting::All || (counting == Counting::Far && depth > 0) {
                self.telemetry.metrics().cache_lookups.count((tier.name(), lookup));
            }
            let Some(entry) = entry else { continue };
            let Held::Content(verified) = &entry.held else {
                self.promote(depth, key, &entry).await;
                let Held::Absence(absence) = entry.held else { continue };
                return Found::Absent(absence);
            };
            let verified = verified.clone();
            match self.rules.freshness.judge(key, &entry, self.clock.unix_seconds()) {
                Age::Fresh => {
                    self.promote(depth, key, &entry).await;
                    return Found::Fresh(verified, tier.name());
                }
                age if stale.as_ref().is_none_or(|held| held.entry.stored < entry.stored) => {
                    let serve =
                        if age == Age::Meanwhile { Serve::Meanwhile } else { Serve::OnError };
                    stale = Some(Stale { verified, tier: tier.name(), serve, entry });
                }
                Age::Meanwhile | Age::OnError | Age::Expired => {}
            }
        }
        stale.map_or(Found::Nothing, Found::Stale)
    }

    async fn promote(&self, depth: usize, key: &Key, entry: &Entry) {
        for nearer in self.tiers.iter().take(depth) {
            self.put(nearer.as_ref(), key, entry).await;
        }
    }

    async fn look_into(&self, tier: &dyn Tier, key: &Key) -> (Lookup, Option<Entry>) {
        let looking = tier.look(key).instrument(tier_span(tier.name()));
        let looked = self.timed(tier, TierOperation::Get, looking).await;
        let entry = match looked {
            Ok(None) => return (Lookup::Miss, None),
            Ok(Some(entry)) => entry,
            Err(TierError::Resting) => return (Lookup::Error, None),
            Err(error) => {
                tracing::warn!(tier = tier.name().text(), %key, %error, "a cache tier failed: treated as a miss");
                return (Lookup::Error, None);
            }
        };
        match (self.rules.freshness.judge(key, &entry, self.clock.unix_seconds()), &entry.held) {
            (Age::Fresh, Held::Content(_)) => (Lookup::Hit, Some(entry)),
            (Age::Fresh, Held::Absence(_)) => (Lookup::NegativeHit, Some(entry)),
            (Age::Meanwhile | Age::OnError, Held::Content(_)) => (Lookup::Stale, Some(entry)),
            (Age::Meanwhile | Age::OnError | Age::Expired, _) => (Lookup::Expired, None),
        }
    }

    async fn timed<V>(
        &self,
        tier: &dyn Tier,
        operation: TierOperation,
        work: impl Future<Output = Result<V, TierError>>,
    ) -> Result<V, TierError> {
        let begun = self.clock.instant();
        let done = work.await;
        let took = self.clock.instant().saturating_duration_since(begun);
        let result = if done.is_ok() { TierResult::Ok } else { TierResult::Error };
        let seconds = &self.telemetry.metrics().cache_operation_seconds;
        seconds.observe((tier.name(), operation, result), took.as_secs_f64());
        done
    }

    /// Asks for the right to fetch, and waits while another node does. Cancel safety: a lease ends with its holder.
    pub async fn lead(&self, key: &Key) -> Lead {
        let Some(leases) = self.leases.as_ref().filter(|_| self.is_shared(key)) else {
            return Lead::Alone;
        };
        let (wish, begun) = (leases.wish(key), self.clock.instant());
        let since = |then| self.clock.instant().saturating_duration_since(then);
        let (mut heard, mut pause) = (None, FIRST_PAUSE);
        loop {
            match leases.take(&wish).await {
                Taken::Alone => return Lead::Alone,
                Taken::Ours(lease) => return self.led(key, lease).await,
                Taken::Theirs => heard = Some(self.clock.instant()),
                // a hiccup while another node fetches is waited out, for as long as its lease would last
                Taken::Unknown => match heard {
                    None if !leases.is_up() => return Lead::Alone,
                    Some(then) if since(then) > lease::LIFE => return Lead::Alone,
                    None | Some(_) => {}
                },
            }
            if since(begun) > self.rules.patience {
                return Lead::Alone;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// Whoever had the lease before may have stored it between our look and now.
    async fn led(&self, key: &Key, lease: Lease) -> Lead {
        match self.look_through(key, .., Counting::None).await {
            Found::Stale(_) | Found::Nothing => Lead::Leads(lease),
            found => {
                lease.succeeded();
                Lead::Found(Box::new(found))
            }
        }
    }

    /// Whether another node can read what we store under a key.
    fn is_shared(&self, key: &Key) -> bool {
        self.tiers.iter().any(|tier| match tier.name() {
            labels::Tier::Memory | labels::Tier::Blob => false,
            labels::Tier::Redis => key.is_small(),
            labels::Tier::Bucket => true,
        })
    }

    /// Puts verified content into every tier. A tier that fails is a warning: the request has its content.
    pub async fn store(&self, key: &Key, arrival: Arrival<'_>, lease: Option<&Lease>) {
        let Arrival { verified, validator, before } = arrival;
        let now = self.clock.unix_seconds();
        let before = before.map(|stale| &stale.entry);
        let life = self.rules.freshness.life(before, verified.content().sum(), now);
        let fence = lease.map_or(0, Lease::token);
        let held = Held::Content(verified.clone());
        // what never changes is never asked for again
        let validator = validator.filter(|_| key.mutability() == Mutability::Mutable).cloned();
        self.put_everywhere(key, Entry { held, stored: now, life, fence, validator }).await;
    }

    /// An entry as it would be stored now, of content that nothing was held before.
    pub fn entry(&self, verified: &Verified) -> Entry {
        let (now, held) = (self.clock.unix_seconds(), Held::Content(verified.clone()));
        let life = self.rules.freshness.life(None, verified.content().sum(), now);
        Entry { held, stored: now, life, fence: 0, validator: None }
    }

    /// Remembers a 404 or 410 for a while.
    pub async fn remember(&self, key: &Key, absence: Absence, lease: Option<&Lease>) {
        let life = self.rules.freshness.absent.as_secs().max(1);
        let (stored, fence) = (self.clock.unix_seconds(), lease.map_or(0, Lease::token));
        let held = Held::Absence(absence);
        self.put_everywhere(key, Entry { held, stored, life, fence, validator: None }).await;
    }

    async fn put_everywhere(&self, key: &Key, entry: Entry) {
        for tier in &self.tiers {
            self.put(tier.as_ref(), key, &entry).await;
        }
    }

    async fn put(&self, tier: &dyn Tier, key: &Key, entry: &Entry) {
        match self.timed(tier, TierOperation::Put, tier.store(key, entry)).await {
            Ok(()) | Err(TierError::Resting) => {}
            Err(error) => {
                tracing::warn!(tier = tier.name().text(), %key, %error, "a cache tier did not take an entry");
            }
        }
    }

    /// Forgets whatever this node alone holds under keys that begin so. What nodes share, whoever purged has purged.
    pub async fn forget(&self, begin: &str) {
        for tier in &self.tiers {
            let forgetting = tier.forget(begin);
            match self.timed(tier.as_ref(), TierOperation::Delete, forgetting).await {
                Ok(removed) => {
                    let cause = (tier.name(), labels::EvictionCause::Purged);
                    self.telemetry.metrics().cache_evictions.add(cause, removed as u64);
                }
                Err(error) => {
                    tracing::warn!(tier = tier.name().text(), %error, "a tier did not forget");
                }
            }
        }
    }

    /// Puts an entry that the directory has lost back into it, if any other tier has it.
    pub async fn put_back(&self, key: &Key) {
        for tier in self.tiers.iter().filter(|tier| tier.name() != labels::Tier::Blob) {
            if let (Lookup::Hit, Some(entry)) = self.look_into(tier.as_ref(), key).await {
                for lost in self.tiers.iter().filter(|tier| tier.name() == labels::Tier::Blob) {
                    self.put(lost.as_ref(), key, &entry).await;
                }
                return;
            }
        }
    }

    /// Forgets what is in memory, since news was missed that may have been about it.
    pub async fn distrust(&self) {
        for tier in self.tiers.iter().filter(|tier| tier.name() == labels::Tier::Memory) {
            // memory cannot fail
            let _removed = tier.forget("").await;
        }
    }

    /// Tells the gauges what the tiers hold.
    pub fn report(&self) {
        let metrics = self.telemetry.metrics();
        for tier in &self.tiers {
            if let Some((entries, bytes)) = tier.holds() {
                metrics.cache_entries.set((tier.name(),), gauge(entries));
                metrics.cache_bytes.set((tier.name(),), gauge(bytes));
            }
            if let Some(capacity) = tier.capacity() {
                metrics.cache_capacity.set((tier.name(),), gauge(capacity));
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn gauge(number: u64) -> f64 {
    number as f64
}

/// Which looks are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    All,
    Far,
    None,
}

/// How soon a node that waits for another one's fetch looks again...
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// ...and how late at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
