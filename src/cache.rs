//! # Cache: every byte once
//!
//! **Question.** Do we already hold a verified answer to this request, and is it still fresh?
//!
//! **Rule.** Tiers are asked nearest first; what a farther one holds is promoted into the nearer ones. Only a
//! [`Verified`] enters a tier, so the cache never holds what nobody checked. An immutable artifact (info, mod and
//! zip of a canonical version) is fresh for ever; a list, `@latest` or a query for the configured time; a
//! remembered 404 or 410 likewise, in memory only. Faults are never remembered.
//!
//! **Who may look.** The fetcher alone holds a cache, and it demands a permit first: a hit must be allowed as much
//! as a miss. Nothing here knows callers.
//!
//! **How it fails.** Content that leaves the blob tier is hashed again. If the sum differs, the entry and its blob
//! are removed, the corruption is counted, and the look is a miss: the next fill repairs it. A tier that cannot be
//! read is a miss, one that cannot be written is a warning; neither fails a request.

pub mod blob;
pub mod entry;
pub mod key;
pub mod memory;
pub mod tier;

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::cache::tier::Tier;
use crate::clock::Clock;
use crate::goproxy::artifact::Mutability;
use crate::sumdb::Verified;
use crate::telemetry::Telemetry;
use crate::telemetry::labels;
use crate::telemetry::labels::Lookup;
use crate::telemetry::trace::tier_span;

/// What a look through the tiers found.
#[derive(Debug)]
pub enum Found {
    /// Verified content, fresh.
    Fresh(Verified, labels::Tier),
    /// A remembered 404 or 410, fresh.
    Absent(Absence),
    /// Nothing that may be served.
    Nothing,
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

/// How long things that can change are fresh.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// Lists, `@latest` and queries.
    pub mutable: Duration,
    /// A remembered 404 or 410.
    pub absent: Duration,
}

/// All tiers, nearest first.
#[derive(Debug)]
pub struct Cache {
    tiers: Vec<Box<dyn Tier>>,
    freshness: Freshness,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
}

impl Cache {
    /// A cache over tiers, nearest first.
    pub fn new(
        tiers: Vec<Box<dyn Tier>>,
        freshness: Freshness,
        clock: Arc<dyn Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self { tiers, freshness, clock, telemetry }
    }

    /// Looks through the tiers, nearest first, and promotes what it finds.
    pub async fn look(&self, key: &Key) -> Found {
        self.look_through(key, |tier, lookup| {
            self.telemetry.metrics().cache_lookups.count((tier, lookup));
        })
        .await
    }

    /// The same for a fill that makes sure nobody was faster; it is the same request's look, so it is not counted.
    pub async fn look_again(&self, key: &Key) -> Found {
        self.look_through(key, |_, _| {}).await
    }

    async fn look_through(&self, key: &Key, counted: impl Fn(labels::Tier, Lookup)) -> Found {
        for (depth, tier) in self.tiers.iter().enumerate() {
            let (lookup, entry) = self.look_into(tier.as_ref(), key).await;
            counted(tier.name(), lookup);
            let Some(entry) = entry else { continue };
            for nearer in self.tiers.iter().take(depth) {
                self.put(nearer.as_ref(), key, &entry).await;
            }
            return match entry.held {
                Held::Content(verified) => Found::Fresh(verified, tier.name()),
                Held::Absence(absence) => Found::Absent(absence),
            };
        }
        Found::Nothing
    }

    async fn look_into(&self, tier: &dyn Tier, key: &Key) -> (Lookup, Option<Entry>) {
        match tier.look(key).instrument(tier_span(tier.name())).await {
            Ok(None) => (Lookup::Miss, None),
            Ok(Some(entry)) if !self.is_fresh(key, &entry) => (Lookup::Expired, None),
            Ok(Some(entry)) => match entry.held {
                Held::Content(_) => (Lookup::Hit, Some(entry)),
                Held::Absence(_) => (Lookup::NegativeHit, Some(entry)),
            },
            Err(error) => {
                tracing::warn!(tier = ?tier.name(), %key, %error, "a cache tier failed: treated as a miss");
                (Lookup::Error, None)
            }
        }
    }

    fn is_fresh(&self, key: &Key, entry: &Entry) -> bool {
        let life = match (&entry.held, key.mutability()) {
            (Held::Absence(_), _) => self.freshness.absent,
            (Held::Content(_), Mutability::Mutable) => self.freshness.mutable,
            (Held::Content(_), Mutability::Immutable) => return true,
        };
        // an entry from the future (a clock that was set back) is not fresh: its age is unknown
        let age = self.clock.unix_seconds().checked_sub(entry.stored);
        age.is_some_and(|age| age < life.as_secs().max(1))
    }

    /// Puts verified content into every tier. A tier that fails is a warning: the request has its content.
    pub async fn store(&self, key: &Key, verified: &Verified) {
        let held = Held::Content(verified.clone());
        let entry = Entry { held, stored: self.clock.unix_seconds() };
        for tier in &self.tiers {
            self.put(tier.as_ref(), key, &entry).await;
        }
    }

    /// Remembers a 404 or 410 for a while.
    pub async fn remember(&self, key: &Key, absence: Absence) {
        let entry = Entry { held: Held::Absence(absence), stored: self.clock.unix_seconds() };
        for tier in &self.tiers {
            self.put(tier.as_ref(), key, &entry).await;
        }
    }

    async fn put(&self, tier: &dyn Tier, key: &Key, entry: &Entry) {
        if let Err(error) = tier.store(key, entry).await {
            tracing::warn!(tier = ?tier.name(), %key, %error, "a cache tier did not take an entry");
        }
    }

    /// Tells the gauges what the tiers hold.
    pub fn report(&self) {
        for tier in &self.tiers {
            if let Some((entries, bytes)) = tier.holds() {
                let metrics = self.telemetry.metrics();
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                metrics.cache_entries.set((tier.name(),), entries as f64);
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                metrics.cache_bytes.set((tier.name(),), bytes as f64);
            }
        }
    }
}
