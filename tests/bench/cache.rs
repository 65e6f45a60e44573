//! What a cache of a tenth keeps of a skewed workload, how long each tier takes, and what a hit asks of Redis.
//!
//! The workload is a Zipf distribution with exponent 1 over many equal go.mod files; optimal is a cache that holds the
//! most popular tenth from the start. Ratios matter; times are those of this machine, in an optimised build.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed measurement")]
#![expect(clippy::panic, reason = "a failed step is a failed measurement")]
#![expect(clippy::print_stdout, reason = "a measurement prints its table")]
#![expect(clippy::cast_precision_loss, reason = "counts of a measurement are far from 2^52")]

#[expect(dead_code, reason = "the harness of the promises; a measurement needs a part of it")]
#[path = "../it"]
mod it {
    pub(crate) mod support;
}

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use it::support::redis::Redis as Server;
use it::support::s3::S3;
use modgate::cache::Arrival;
use modgate::cache::Cache;
use modgate::cache::Found;
use modgate::cache::Rules;
use modgate::cache::blob::Blob;
use modgate::cache::bucket;
use modgate::cache::freshness::Freshness;
use modgate::cache::key::Key;
use modgate::cache::memory::Memory;
use modgate::cache::redis::Redis;
use modgate::cache::tier::Tier;
use modgate::clock::Clock;
use modgate::clock::SystemClock;
use modgate::config::Config;
use modgate::config::Inputs;
use modgate::content::Content;
use modgate::goproxy::request::Request;
use modgate::goproxy::request::Routes;
use modgate::link::RedisLink;
use modgate::sumdb::Verified;
use modgate::sumdb::verifier::Verifier;
use modgate::tasks::Tasks;
use modgate::telemetry::Telemetry;
use modgate::telemetry::trace::sampler::Sampler;

const KEYS: usize = 5_000;
const BODY_BYTES: usize = 8_000;
const REQUESTS: usize = 60_000;
const LOOKS: usize = 300;

struct World {
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    tasks: Tasks,
    home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let telemetry = Telemetry::new(&[], Sampler::new(0.0), Arc::clone(&clock)).unwrap();
        let telemetry = Arc::new(telemetry);
        let tasks = Tasks::new(tokio::runtime::Handle::current(), 4, Arc::clone(&telemetry));
        Self { clock, telemetry, tasks, home: tempfile::tempdir().unwrap() }
    }

    fn memory(&self, bytes: u64) -> Memory {
        Memory::new(bytes, 1 << 20, Arc::clone(&self.telemetry))
    }

    fn directory(&self, name: &str, bytes: u64) -> Blob {
        let place = self.home.path().join(name);
        Blob::open(&place, bytes, self.tasks.clone(), Arc::clone(&self.telemetry)).unwrap()
    }

    fn cache(&self, tiers: Vec<Box<dyn Tier>>) -> Cache {
        let rules = Rules { freshness: FRESHNESS, patience: Duration::from_mins(1) };
        Cache::new(tiers, rules, None, Arc::clone(&self.clock), Arc::clone(&self.telemetry))
    }
}

const FRESHNESS: Freshness = Freshness {
    mutable: Duration::from_mins(1),
    longest: Duration::from_mins(10),
    absent: Duration::from_mins(1),
    meanwhile: Duration::from_secs(10),
    on_error: Duration::from_hours(24),
};

/// Content that came for the first time.
fn first(verified: &Verified) -> Arrival<'_> {
    Arrival { verified, validator: None, before: None }
}

/// A go.mod of some size, verified as the product does.
async fn gomod(world: &World, n: usize, bytes: usize) -> (Key, Verified) {
    let path = format!("/example.com/m{n}/@v/v1.0.0.mod");
    let request = Request::parse(&path, &Routes::new("/", Vec::new())).unwrap();
    let Request::Module(asked) = &request else { panic!("{path}") };
    let key = Key::of(asked);
    let text = format!("module example.com/m{n}\n\n//{}\n", "x".repeat(bytes));
    let verifier = Verifier::new(world.tasks.clone());
    (key, verifier.verify(&request, Content::from_bytes(text.into()), None).await.unwrap())
}

/// Numbers that are drawn the same way each time (xorshift), between 0 and 1.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The sums of weights of the most popular 1, 2, … keys.
fn zipf() -> Vec<f64> {
    let mut sum = 0.0;
    (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect()
}

async fn ratios(world: &World) {
    let total = (KEYS * BODY_BYTES) as u64;
    let weights = zipf();
    let all = weights[KEYS - 1];
    let optimal = weights[KEYS / 10 - 1] / all;
    println!(
        "Zipf over {KEYS} bodies of {BODY_BYTES} bytes, {REQUESTS} requests, optimal {optimal:.3}"
    );
    for (name, memory, directory) in [
        ("memory 2 % + directory 10 %", total / 50, total / 10),
        ("memory 10 % alone (moka)", total / 10, 0),
    ] {
        let mut tiers: Vec<Box<dyn Tier>> = vec![Box::new(world.memory(memory))];
        if directory > 0 {
            tiers.push(Box::new(world.directory("zipf", directory)));
        }
        let cache = world.cache(tiers);
        let (mut draw, mut hits, mut counted) = (Draw(42), 0_usize, 0_usize);
        for turn in 0..REQUESTS {
            let point = draw.next() * all;
            let rank = weights.partition_point(|sum| *sum < point);
            let (key, verified) = gomod(world, rank, BODY_BYTES).await;
            let found = match cache.look_near(&key).await {
                Found::Nothing => cache.look_far(&key).await,
                found => found,
            };
            // the first tenth of the requests warms it up
            counted += usize::from(turn >= REQUESTS / 10);
            if matches!(found, Found::Fresh(..)) {
                hits += usize::from(turn >= REQUESTS / 10);
            } else {
                cache.store(&key, first(&verified), None).await;
            }
        }
        let ratio = hits as f64 / counted as f64;
        println!("  {name:30} hit ratio {ratio:.3}, {:.3} of optimal", ratio / optimal);
    }
}

/// Half of the looks took at most the first, 99 of 100 at most the second.
async fn time(tier: &dyn Tier, key: &Key) -> (Duration, Duration) {
    let mut times = Vec::new();
    for _ in 0..LOOKS {
        let begun = Instant::now();
        let found = tier.look(key).await.unwrap();
        times.push(begun.elapsed());
        assert!(found.is_some());
    }
    times.sort_unstable();
    (times[LOOKS / 2], times[LOOKS * 99 / 100])
}

fn config(directory: &Path, text: &str) -> Config {
    let file = directory.join("modgate.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Inputs { file: Some(file), ..Inputs::default() }).unwrap()
}

async fn latencies(world: &World) {
    let (server, s3) = (Server::start(), S3::start());
    let text = format!("{}{}", server.settings(), s3.settings());
    let config = config(world.home.path(), &text);
    let settings = config.redis.as_ref().unwrap();
    let link = RedisLink::new(settings, Arc::clone(&world.telemetry)).unwrap();
    link.connect().await.unwrap();
    let redis = Redis::new(link, settings.keep, FRESHNESS, Arc::clone(&world.telemetry));
    let store = bucket::open(config.cache.bucket.as_ref().unwrap()).unwrap();
    let spools = Arc::from(world.home.path());
    let bucket = Blob::bucket(store, spools, world.tasks.clone(), Arc::clone(&world.telemetry));
    let (memory, directory) = (world.memory(64 << 20), world.directory("times", 1 << 30));
    println!(
        "{:12} {:>12} {:>12} {:>12} {:>12}",
        "one look", "1 KiB p50", "p99", "1 MiB p50", "p99"
    );
    let tiers: [(&str, &dyn Tier); 4] =
        [("memory", &memory), ("redis", &redis), ("directory", &directory), ("bucket", &bucket)];
    for (name, tier) in tiers {
        let mut line = format!("{name:12}");
        for bytes in [1_000, 1_000_000] {
            let (key, verified) = gomod(world, bytes, bytes).await;
            let cache = world.cache(Vec::new());
            let entry = cache.entry(&verified);
            tier.store(&key, &entry).await.unwrap();
            if tier.look(&key).await.unwrap().is_none() {
                let _written = write!(line, " {:>12} {:>12}", "-", "-");
                continue;
            }
            let (half, most) = time(tier, &key).await;
            let _written = write!(line, " {half:>12.1?} {most:>12.1?}");
        }
        println!("{line}");
    }
    round_trips(world, &server, memory, redis).await;
}

/// GETs that Redis counts for hits in memory and in Redis.
async fn round_trips(world: &World, server: &Server, memory: Memory, redis: Redis) {
    let commands = || {
        let told = server.cli(&["INFO", "commandstats"]);
        let calls =
            |line: &str| line.split(&['=', ','][..]).nth(1).unwrap().parse::<u64>().unwrap();
        let lines = told.lines().filter(|line| {
            line.starts_with("cmdstat_")
                && !line.starts_with("cmdstat_info")
                && !line.starts_with("cmdstat_ping")
        });
        lines.map(calls).sum::<u64>()
    };
    let cache = world.cache(vec![Box::new(memory), Box::new(redis)]);
    let (mut in_redis, mut in_memory) = (0, 0);
    for n in 0..100 {
        let (key, verified) = gomod(world, 10_000 + n, 1_000).await;
        cache.store(&key, first(&verified), None).await;
        cache.distrust().await;
        let before = commands();
        assert!(matches!(cache.look_near(&key).await, Found::Nothing));
        assert!(matches!(cache.look_far(&key).await, Found::Fresh(..)));
        in_redis += commands() - before;
        let before = commands();
        assert!(matches!(cache.look_near(&key).await, Found::Fresh(..)));
        in_memory += commands() - before;
    }
    println!(
        "Redis round trips of 100 hits in Redis: {in_redis}, of 100 hits in memory: {in_memory}"
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        ratios(&world).await;
        latencies(&world).await;
    });
}
