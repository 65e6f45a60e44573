//! `modgate cache verify`, `purge` and `stat`: looking into the directory and the bucket.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use futures_util::StreamExt as _;

use crate::app::stores::Stores;
use crate::audit::name::Name;
use crate::audit::slip::Deed;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::cache::tier::Tier as _;
use crate::cache::tier::TierError;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::say;
use crate::cli::slips;
use crate::cluster::message::Message;
use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::telemetry::labels::Label as _;

/// Reads everything.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    settings: Settings,
}

/// Tells how much is where.
#[derive(Debug, Args)]
pub(in crate::cli) struct Stat {
    #[command(flatten)]
    settings: Settings,
}

/// Forgets.
#[derive(Debug, Args)]
pub(in crate::cli) struct Purge {
    /// A module path, or PATH@VERSION
    module: String,
    #[command(flatten)]
    settings: Settings,
}

/// What a look through one tier found.
#[derive(Debug, Default)]
struct Sum {
    entries: u64,
    bytes: u64,
    zips: u64,
    corrupt: Vec<String>,
    unreadable: Vec<String>,
}

/// Runs a command over the stores of a configuration, on a runtime of its own.
pub(in crate::cli::cache) fn with_stores<T, F>(
    settings: &Settings,
    environment: Vec<(String, String)>,
    work: impl FnOnce(Stores) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let config = settings.load(environment, Vec::new())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stores = Stores::open(&config, runtime.handle()).await?;
        work(stores).await
    })
}

async fn look(stores: &Stores) -> Vec<(&'static str, Sum)> {
    let mut sums = Vec::new();
    for blob in &stores.blobs {
        let mut sum = Sum::default();
        let mut keys = blob.keys();
        while let Some(key) = keys.next().await {
            match blob.look(&key).await {
                Ok(Some(entry)) => {
                    sum.entries += 1;
                    if let Held::Content(verified) = &entry.held {
                        sum.bytes += verified.content().len();
                        sum.zips += u64::from(!key.is_small());
                    }
                }
                // it went while we looked
                Ok(None) => {}
                Err(TierError::Corrupt(_)) => sum.corrupt.push(key.to_string()),
                Err(error) => sum.unreadable.push(format!("{key}: {error}")),
            }
        }
        sums.push((blob.name().text(), sum));
    }
    sums
}

fn told(sums: &[(&'static str, Sum)]) -> String {
    let mut told = format!("{:8} {:>9} {:>9} {:>16}\n", "TIER", "ENTRIES", "ZIPS", "BYTES");
    for (tier, sum) in sums {
        // writing to a string cannot fail
        let _written =
            writeln!(told, "{tier:8} {:>9} {:>9} {:>16}", sum.entries, sum.zips, sum.bytes);
    }
    told
}

impl Verify {
    pub(in crate::cli::cache) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        with_stores(&self.settings, environment, |stores| async move {
            let sums = look(&stores).await;
            say(&told(&sums))?;
            let mut bad = 0;
            for (tier, sum) in &sums {
                bad += sum.corrupt.len() + sum.unreadable.len();
                for key in &sum.corrupt {
                    say(&format!(
                        "removed    {tier} {key}: not what was stored; it will be fetched anew"
                    ))?;
                }
                for why in &sum.unreadable {
                    say(&format!("unreadable {tier} {why}"))?;
                }
            }
            if bad == 0 {
                return say("everything is what was stored");
            }
            Err(Failure::Failed(anyhow::anyhow!("{bad} entries are not what was stored")))
        })
    }
}

impl Stat {
    pub(in crate::cli::cache) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        with_stores(&self.settings, environment, |stores| async move {
            let sums = look(&stores).await;
            say(&told(&sums))
        })
    }
}

impl Purge {
    pub(in crate::cli::cache) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let (path, version) = match self.module.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (self.module.as_str(), None),
        };
        let path = ModulePath::parse(path)
            .map_err(|error| Failure::Settings(format!("{path} is no module path: {error}")))?;
        let version = version.map(Version::parse).transpose();
        let version = version.map_err(|error| Failure::Settings(format!("no version: {error}")))?;
        let config = self.settings.load(environment.clone(), Vec::new())?;
        let deed =
            Deed { name: Name::CachePurge, command: "cache purge", asked: self.module.clone() };
        slips::leave(&config, &deed);
        with_stores(&self.settings, environment, |stores| async move {
            let keys = keys_of(&stores, &path, version.as_ref()).await;
            let mut removed = 0;
            for key in &keys {
                removed += stores.purge(key).await?;
            }
            let places = match (stores.blobs.len() > 1, stores.redis.is_some()) {
                (true, true) => "the directory, the bucket and Redis",
                (true, false) => "the directory and the bucket",
                (false, true) => "the directory and Redis",
                (false, false) => "the directory",
            };
            let told = match &stores.bus {
                Some(bus) => {
                    bus.announce(Message::Invalidate(begin_of(&path, version.as_ref()))).await?;
                    "every gateway that shares the Redis was told to forget it"
                }
                None => {
                    "a gateway that runs keeps what it has in memory until it is started again: \
                     only through [redis] can it be told"
                }
            };
            say(&format!("{removed} entries are gone from {places}; {told}"))
        })
    }
}

/// Every key that may be held of a module: those that are, and those that Redis alone may have.
async fn keys_of(stores: &Stores, path: &ModulePath, version: Option<&Version>) -> BTreeSet<Key> {
    let (escaped, begin) = (path.escaped(), begin_of(path, version));
    let versions = version.map(Version::escaped);
    let artifacts = |version: String| {
        ["info", "mod", "zip"].map(|suffix| format!("{escaped}/@v/{version}.{suffix}"))
    };
    let mut texts: Vec<String> = versions.into_iter().flat_map(artifacts).collect();
    if version.is_none() {
        texts.extend([format!("{escaped}/@v/list"), format!("{escaped}/@latest")]);
    }
    let mut keys: BTreeSet<Key> = texts.iter().filter_map(|text| Key::parse(text)).collect();
    for blob in &stores.blobs {
        let mut held = blob.keys();
        while let Some(key) = held.next().await {
            if key.as_str().starts_with(&begin) {
                keys.insert(key);
            }
        }
    }
    keys
}

/// How the keys of a module, or of one version of it, begin.
fn begin_of(path: &ModulePath, version: Option<&Version>) -> String {
    match version {
        Some(version) => format!("{}/@v/{}.", path.escaped(), version.escaped()),
        None => format!("{}/@", path.escaped()),
    }
}
