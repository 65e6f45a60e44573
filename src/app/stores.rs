//! The tiers of a configuration without the gateway, for commands that look into them or carry them elsewhere.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Handle;

use crate::app;
use crate::cache::blob::Blob;
use crate::cache::key::Key;
use crate::cache::redis::Redis;
use crate::cache::tier::Tier;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::cluster::Bus;
use crate::cluster::message::Message;
use crate::config::Config;
use crate::link::RedisLink;
use crate::sumdb::verifier::Verifier;
use crate::tasks::Tasks;

/// The durable tiers, and the check that everything passes before it enters one.
#[derive(Debug)]
pub struct Stores {
    /// The directory, and the bucket if there is one.
    pub blobs: Vec<Blob>,
    /// Redis, if there is one and it answers.
    pub redis: Option<Redis>,
    /// The way to the gateways that run, if they share a Redis.
    pub bus: Option<Bus>,
    /// The check.
    pub verifier: Verifier,
}

impl Stores {
    /// Opens them; a gateway may be using them at the same time.
    pub async fn open(config: &Config, runtime: &Handle) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let telemetry = app::observe::telemetry(config, None, &clock)?;
        let tasks = Tasks::new(runtime.clone(), 1, Arc::clone(&telemetry));
        let settings = &config.cache;
        app::spools(config)?;
        let directory = Blob::join(&settings.dir, tasks.clone(), Arc::clone(&telemetry))
            .with_context(|| format!("cache.dir {}", settings.dir.display()))?;
        let bucket = app::bucket(config, &tasks, &telemetry)?;
        let (redis, bus) = match &config.redis {
            Some(redis) => {
                let link = RedisLink::new(redis, Arc::clone(&telemetry))?;
                link.connect().await.context("Redis cannot be asked")?;
                let bus = Bus::over(link.clone(), Arc::clone(&telemetry));
                let tier = Redis::new(link, redis.keep, app::freshness(settings), telemetry);
                (Some(tier), Some(bus))
            }
            None => (None, None),
        };
        let blobs = std::iter::once(directory).chain(bucket).collect();
        Ok(Self { blobs, redis, bus, verifier: Verifier::new(tasks) })
    }

    /// Forgets a key everywhere, and tells in how many places it was.
    pub async fn purge(&self, key: &Key) -> anyhow::Result<usize> {
        let mut removed = 0;
        for blob in &self.blobs {
            removed += usize::from(blob.remove(key).await?);
        }
        if let Some(redis) = &self.redis {
            removed += usize::from(redis.remove(key).await?);
        }
        Ok(removed)
    }
}

/// Tells the gateways that share the Redis of a configuration, those that run and those that start later; `false` if
/// there is no Redis.
pub async fn tell(config: &Config, news: Vec<Message>) -> anyhow::Result<bool> {
    let Some(redis) = &config.redis else { return Ok(false) };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let telemetry = app::observe::telemetry(config, None, &clock)?;
    let link = RedisLink::new(redis, Arc::clone(&telemetry))?;
    link.connect().await.context("Redis cannot be asked")?;
    let bus = Bus::over(link, telemetry);
    for message in news {
        bus.announce(message).await?;
    }
    Ok(true)
}
