//! The Redis tier: small bodies, lists and absences that nodes share. A slow or dead Redis is a miss.
//!
//! An entry is one value, so a hit is one round trip. What leaves is hashed again, since anybody with the password can
//! write there. Entries that can change are put by a script that refuses a writer whose lease was taken over: the
//! slower of two nodes cannot replace the newer answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::cache::codec;
use crate::cache::codec::Read;
use crate::cache::codec::Where;
use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::freshness::Freshness;
use crate::cache::key::Key;
use crate::cache::tier::Tier;
use crate::cache::tier::TierError;
use crate::goproxy::artifact::Mutability;
use crate::link::LinkError;
use crate::link::RedisLink;
use crate::link::millis;
use crate::telemetry::Telemetry;
use crate::telemetry::labels;
use crate::telemetry::labels::EvictionCause;
use crate::telemetry::labels::Integrity;

/// Entries in Redis.
#[derive(Debug)]
pub struct Redis {
    link: RedisLink,
    keep: Duration,
    freshness: Freshness,
    telemetry: Arc<Telemetry>,
}

impl Redis {
    /// A tier that keeps what never changes for `keep`.
    pub fn new(
        link: RedisLink,
        keep: Duration,
        freshness: Freshness,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self { link, keep, freshness, telemetry }
    }

    fn name_of(&self, key: &Key) -> String {
        self.link.key("entry", key.as_str())
    }

    async fn read(&self, key: &Key) -> Result<Option<Entry>, TierError> {
        let name = self.name_of(key);
        let Some(raw) = self.link.get(&name).await? else { return Ok(None) };
        if let Some(Read::Whole(entry)) = codec::read(&raw, key) {
            return Ok(Some(entry));
        }
        self.link.delete(&name).await?;
        let metrics = self.telemetry.metrics();
        metrics.cache_evictions.count((labels::Tier::Redis, EvictionCause::Corrupt));
        metrics.integrity_failures.count((Integrity::ChecksumMismatch,));
        Err(TierError::Corrupt("an entry in Redis"))
    }

    async fn write(&self, key: &Key, entry: &Entry) -> Result<(), TierError> {
        if body_bytes(entry) > codec::INLINE_LIMIT_BYTES {
            return Ok(());
        }
        let (bytes, place) = codec::write(key, entry)?;
        if place == Where::Apart {
            return Ok(());
        }
        let for_ever =
            matches!(entry.held, Held::Content(_)) && key.mutability() == Mutability::Immutable;
        let life = if for_ever { self.keep } else { self.freshness.worth_keeping(entry) };
        let name = self.name_of(key);
        if entry.fence == 0 {
            return Ok(self.link.set(&name, &bytes, life).await?);
        }
        let (fence, token, life) =
            (self.link.key("fence", key.as_str()), entry.fence.to_string(), millis(life));
        let arguments: [&[u8]; 3] = [token.as_bytes(), &bytes, life.as_bytes()];
        let taken = self.link.script(PUT, &[&name, &fence], &arguments).await?.int()?;
        if taken == 0 {
            tracing::info!(%key, "a newer lease has stored this: our answer stays out of Redis");
        }
        Ok(())
    }
}

fn body_bytes(entry: &Entry) -> u64 {
    match &entry.held {
        Held::Content(verified) => verified.content().len(),
        Held::Absence(_) => 0,
    }
}

impl From<LinkError> for TierError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Down => Self::Resting,
            other => Self::Store(other.to_string()),
        }
    }
}

impl Tier for Redis {
    fn name(&self) -> labels::Tier {
        labels::Tier::Redis
    }

    fn look<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Entry>, TierError>> {
        Box::pin(self.read(key))
    }

    fn store<'a>(&'a self, key: &'a Key, entry: &'a Entry) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(self.write(key, entry))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, TierError>> {
        Box::pin(async move { Ok(self.link.delete(&self.name_of(key)).await?) })
    }
}

/// Puts a value unless a newer lease of the key exists.
const PUT: &str = "
local newest = tonumber(redis.call('GET', KEYS[2]) or '0')
if tonumber(ARGV[1]) < newest then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
";
