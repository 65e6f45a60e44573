//! The memory tier: bounded by bytes, keeps what is asked often (moka's `TinyLFU` admission resists scans).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use moka::future::Cache as Moka;
use moka::notification::RemovalCause;

use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::cache::tier::Tier;
use crate::cache::tier::TierError;
use crate::content::Content;
use crate::sumdb::Verified;
use crate::telemetry::Telemetry;
use crate::telemetry::labels;
use crate::telemetry::labels::EvictionCause;

/// Entries in this process's memory.
#[derive(Debug)]
pub struct Memory {
    held: Moka<Key, Entry>,
    largest: u64,
}

impl Memory {
    /// A tier of at most `capacity` bytes that declines bodies over `largest` bytes.
    pub fn new(capacity: u64, largest: u64, telemetry: Arc<Telemetry>) -> Self {
        let held = Moka::builder()
            .max_capacity(capacity)
            .weigher(|_key, entry: &Entry| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .eviction_listener(move |_key, _entry, cause| {
                let cause = match cause {
                    RemovalCause::Size => EvictionCause::Size,
                    RemovalCause::Replaced => EvictionCause::Replaced,
                    RemovalCause::Expired | RemovalCause::Explicit => return,
                };
                telemetry.metrics().cache_evictions.count((labels::Tier::Memory, cause));
            })
            .build();
        Self { held, largest }
    }

    /// The entry with its body in memory, or `None` if that is not for this tier.
    fn suited(&self, entry: &Entry) -> Result<Option<Entry>, TierError> {
        let Held::Content(verified) = &entry.held else { return Ok(Some(entry.clone())) };
        let content = verified.content();
        if content.len() > self.largest {
            return Ok(None);
        }
        if content.in_memory().is_some() {
            return Ok(Some(entry.clone()));
        }
        let bytes = content.to_bytes(self.largest)?;
        let copied = Content::from_bytes(bytes);
        if copied.sum() != content.sum() {
            return Err(TierError::Corrupt("a spooled body"));
        }
        let verified = Verified::restored(copied, verified.basis().clone());
        Ok(Some(Entry { held: Held::Content(verified), ..entry.clone() }))
    }
}

impl Tier for Memory {
    fn name(&self) -> labels::Tier {
        labels::Tier::Memory
    }

    fn look<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Entry>, TierError>> {
        Box::pin(async move { Ok(self.held.get(key).await) })
    }

    fn store<'a>(&'a self, key: &'a Key, entry: &'a Entry) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(async move {
            if let Some(entry) = self.suited(entry)? {
                self.held.insert(key.clone(), entry).await;
            }
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, TierError>> {
        Box::pin(async move { Ok(self.held.remove(key).await.is_some()) })
    }

    fn forget<'a>(&'a self, begin: &'a str) -> BoxFuture<'a, Result<usize, TierError>> {
        Box::pin(async move {
            let keys = self.held.iter().map(|(key, _)| key);
            let keys: Vec<_> = keys.filter(|key| key.as_str().starts_with(begin)).collect();
            for key in &keys {
                self.held.invalidate(key.as_ref()).await;
            }
            // the size is known again only afterwards
            self.held.run_pending_tasks().await;
            Ok(keys.len())
        })
    }

    fn holds(&self) -> Option<(u64, u64)> {
        Some((self.held.entry_count(), self.held.weighted_size()))
    }

    fn capacity(&self) -> Option<u64> {
        self.held.policy().max_capacity()
    }
}
