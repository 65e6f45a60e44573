//! Assembly: the only file that names concrete tiers, authenticators and sources.

mod chain;
mod news;
mod observe;
pub mod stores;
mod witness;

use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use sha2::Digest as _;
use sha2::Sha256;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::app::observe::telemetry;
use crate::audit::act::Act;
use crate::audit::desk::Desk;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::audit::witness::register::Register;
use crate::audit::witness::step::Told;
use crate::audit::writer;
use crate::audit::writer::Started;
use crate::cache::Cache;
use crate::cache::Rules;
use crate::cache::blob::Blob;
use crate::cache::bucket;
use crate::cache::freshness::Freshness;
use crate::cache::lease;
use crate::cache::lease::Leases;
use crate::cache::memory::Memory;
use crate::cache::redis::Redis;
use crate::cache::rest::Resting;
use crate::cache::scrub;
use crate::cache::tier::Tier;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::cluster::steps::Steps;
use crate::config;
use crate::config::Config;
use crate::config::audit::Witness;
use crate::fault::chain_text;
use crate::gateway::Gateway;
use crate::gateway::Parts;
use crate::gateway::account::Accounts;
use crate::gateway::account::happened::Chronicle;
use crate::gateway::fetch::Fetcher;
use crate::gateway::fetch::Upstreams;
use crate::gateway::own::Own;
use crate::goproxy::request::Routes;
use crate::identity::Anonymous;
use crate::identity::Door;
use crate::identity::Identity;
use crate::identity::authenticator::Authenticator;
use crate::identity::jwt::Jwt;
use crate::identity::ldap::Ldap;
use crate::identity::ldap::Standing;
use crate::identity::mtls::Certificates;
use crate::identity::token::TokenFile;
use crate::identity::token::Tokens;
use crate::identity::token::revocations::Revocations;
use crate::link::RedisLink;
use crate::policy;
use crate::policy::Policy;
use crate::policy::overlay::Denies;
use crate::sumdb::verifier::Verifier;
use crate::tasks::Tasks;
use crate::tasks::Thread;
use crate::telemetry::Telemetry;
use crate::telemetry::export::Exporter;
use crate::telemetry::labels::policy::ReloadSource;
use crate::telemetry::labels::service::Service;
use crate::telemetry::log::Lines;
use crate::upstream;

/// Everything that runs.
#[derive(Debug)]
pub struct App {
    /// The journey.
    pub gateway: Arc<Gateway>,
    /// Fills and blocking work.
    pub tasks: Tasks,
    /// Threads that end when the last handle of the gateway is gone: those of the audit and the log's.
    pub threads: Vec<Thread>,
}

/// Builds an app from a configuration. `runtime` is where fills run, `exporter` where spans go.
pub fn build(
    config: &Config,
    runtime: &Handle,
    exporter: Option<&Exporter>,
) -> anyhow::Result<App> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let telemetry = telemetry(config, exporter, &clock)?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let tasks = Tasks::new(runtime.clone(), cores * BLOCKING_PER_CORE, Arc::clone(&telemetry));
    // before anybody who may have something to tell
    let (accounts, threads, told) = accounts(config, &clock, &tasks)?;
    let policy = Arc::new(Policy::none(policy_sources(config)));
    let via = via(config);
    let chain = Arc::new(chain::chain(config, &via, &tasks, &clock)?);
    upstream::probe::watch(Arc::clone(&chain), &tasks);
    let directory = directory(config, &tasks, &telemetry)?;
    let (cache, link) = cache(config, directory.clone(), &clock, &tasks, &telemetry)?;
    let cache = Arc::new(cache);
    let interval = config.cache.scrub_interval;
    let scrubbing = scrub::keep(Arc::clone(&cache), directory, interval, tasks.clone());
    tasks.serve(Service::BlobScrub, scrubbing);
    let revocations = Arc::new(Revocations::new(Arc::clone(&clock)));
    let verifier = Verifier::new(tasks.clone());
    let upstreams = if config.cache.offline { Upstreams::Never } else { Upstreams::Asked };
    let (kept, counts) = (Arc::clone(&cache), Arc::clone(&telemetry));
    let fetcher = Fetcher::new(kept, chain, verifier, tasks.clone(), counts).with(upstreams);
    if let Some(link) = link.clone().filter(|_| config.audit.witness == Witness::EachOther) {
        witness(config, link, &accounts, &tasks)?.run(told);
    }
    let private = config.private.iter().map(|bound| bound.prefix.as_str().to_owned()).collect();
    let gateway = Gateway::new(Parts {
        identity: identity(config, &clock, &tasks, &telemetry, Arc::clone(&revocations))?,
        routes: Routes::new(&config.server.base_path, config.sumdb.names.clone()),
        policy,
        fetcher,
        own: Own::new(public_url(config), private, config.sumdb.names.clone()),
        desk: Arc::new(Desk::new(audit_directories(config), config.telemetry.node.clone())),
        accounts,
        telemetry: Arc::clone(&telemetry),
        via,
        clock,
        tasks: tasks.clone(),
    });
    gateway.reload_policy_now(ReloadSource::Start);
    let gateway = Arc::new(gateway);
    let ears = news::Ears {
        cache,
        revocations,
        denies: Denies::new(config.policy.denies_file.clone()),
        gateway: Arc::clone(&gateway),
        policies: Arc::default(),
        clock: Arc::new(SystemClock),
    };
    news::connect(link, ears, &tasks, &telemetry);
    Ok(App { gateway, tasks, threads })
}

/// What every directory, every issuer found by discovery and every upstream says when it is asked, by its place.
pub async fn probe(
    config: &Config,
    runtime: &Handle,
) -> anyhow::Result<Vec<(String, Result<(), String>)>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tasks = Tasks::new(runtime.clone(), 1, telemetry(config, None, &clock)?);
    let mut said = Vec::new();
    for directory in &config.identity.ldap {
        let ldap = Ldap::new(directory.clone(), Standing::First, tasks.clone())
            .with_context(|| format!("identity.ldap {}", directory.name))?;
        said.extend(ldap.probe().await);
    }
    said.extend(probe_shared(config, &tasks).await?);
    let jwt = Jwt::new(config.identity.jwt.clone(), &tasks, Arc::clone(&clock))?;
    said.extend(jwt.probe().await);
    let chain = chain::chain(config, &via(config), &tasks, &clock)?;
    said.extend(upstream::probe::examine(&chain, clock.now()).await);
    Ok(said)
}

/// What Redis and the bucket say; nothing of them is needed to start, so nothing else would find it.
async fn probe_shared(
    config: &Config,
    tasks: &Tasks,
) -> anyhow::Result<Vec<(String, Result<(), String>)>> {
    let telemetry = telemetry(config, None, &(Arc::new(SystemClock) as Arc<dyn Clock>))?;
    let mut said = Vec::new();
    if let Some(redis) = &config.redis {
        let what = redis.nodes.iter().map(|node| format!("{}:{}", node.host, node.port));
        let what = format!("redis {}", what.collect::<Vec<_>>().join(", "));
        let link = RedisLink::new(redis, Arc::clone(&telemetry))?;
        said.push((what, link.connect().await.map_err(|error| chain_text(&error))));
    }
    if let (Some(settings), Some(bucket)) =
        (&config.cache.bucket, bucket(config, tasks, &telemetry)?)
    {
        let what = format!("bucket {} at {}", settings.name, settings.endpoint);
        said.push((what, bucket.probe().await.map_err(|error| chain_text(&error))));
    }
    Ok(said)
}

/// Every lease that is held, and the time in seconds since 1970.
pub async fn locks(config: &Config) -> anyhow::Result<(Vec<lease::Held>, u64)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let redis = config.redis.as_ref();
    let redis = redis.context("there is no [redis], so no node knows of another one's fetches")?;
    let link = RedisLink::new(redis, telemetry(config, None, &clock)?)?;
    link.connect().await?;
    Ok((lease::held(&link).await?, clock.unix_seconds()))
}

/// Where the policy of a configuration comes from: a directory, or what is built in; and all that decides with it.
pub fn policy_sources(config: &Config) -> policy::Sources {
    let settings = &config.policy;
    let directory = |path: &Option<PathBuf>| path.clone().map(policy::Source::Directory);
    policy::Sources {
        rules: directory(&settings.dir).unwrap_or(policy::Source::Embedded),
        candidate: directory(&settings.candidate),
        private: config.private.iter().map(|bound| bound.prefix.clone()).collect(),
        denies: Some(Denies::new(settings.denies_file.clone())),
        settings: policy::Settings {
            contact: settings.contact.as_deref().map(Arc::from),
            admission: match settings.admit {
                config::policy::Admit::Implied => policy::Admission::Implied,
                config::policy::Admit::Explicit => policy::Admission::Explicit,
            },
            crosscheck: settings.crosscheck_every,
            ..policy::Settings::default()
        },
    }
}

/// How callers reach us, without a slash at the end.
pub fn public_url(config: &Config) -> String {
    if let Some(url) = &config.server.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let scheme = if config.server.tls_cert.is_some() { "https" } else { "http" };
    let address = config.server.listen.first();
    let host = match address {
        Some(address) if address.ip().is_loopback() => format!("localhost:{}", address.port()),
        Some(address) => address.to_string(),
        None => "localhost".to_owned(),
    };
    format!("{scheme}://{host}{}", config.server.base_path.trim_end_matches('/'))
}

/// Our mark in `Via`: the node's name alone may stand on two machines.
fn via(config: &Config) -> String {
    let boot = Uuid::new_v4().simple().to_string();
    format!("modgate-{}-{}", config.telemetry.node, boot.get(..12).unwrap_or(&boot))
}

/// The tiers, nearest first, and the way to Redis if there is one.
fn cache(
    config: &Config,
    directory: Blob,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<(Cache, Option<RedisLink>)> {
    let settings = &config.cache;
    let freshness = freshness(settings);
    let memory = Memory::new(settings.memory, settings.max_object_memory, Arc::clone(telemetry));
    let mut tiers: Vec<Box<dyn Tier>> = vec![Box::new(memory)];
    let link = config.redis.as_ref().map(|redis| RedisLink::new(redis, Arc::clone(telemetry)));
    let link = link.transpose()?;
    if let (Some(redis), Some(link)) = (&config.redis, &link) {
        let tier = Redis::new(link.clone(), redis.keep, freshness, Arc::clone(telemetry));
        tiers.push(Box::new(tier));
    }
    tiers.push(Box::new(directory));
    if let Some(bucket) = bucket(config, tasks, telemetry)? {
        tiers.push(Box::new(Resting::new(bucket, Arc::clone(clock))));
    }
    let node = config.telemetry.node.clone();
    let leases =
        link.as_ref().map(|link| Leases::new(link.clone(), node, tasks.clone(), Arc::clone(clock)));
    let rules = Rules { freshness, patience: config.upstream.zip_total_timeout };
    Ok((Cache::new(tiers, rules, leases, Arc::clone(clock), Arc::clone(telemetry)), link))
}

fn freshness(settings: &config::cache::Cache) -> Freshness {
    Freshness {
        mutable: settings.list_ttl,
        longest: settings.list_ttl_max,
        absent: settings.absent_ttl,
        meanwhile: settings.stale_while_revalidate,
        on_error: settings.stale_if_error,
    }
}

fn directory(config: &Config, tasks: &Tasks, telemetry: &Arc<Telemetry>) -> anyhow::Result<Blob> {
    let settings = &config.cache;
    Blob::open(&settings.dir, settings.max_size, tasks.clone(), Arc::clone(telemetry))
        .with_context(|| format!("cache.dir {}", settings.dir.display()))
}

fn bucket(
    config: &Config,
    tasks: &Tasks,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<Option<Blob>> {
    let Some(settings) = &config.cache.bucket else { return Ok(None) };
    let spools = Arc::from(spools(config)?);
    let store = bucket::open(settings)?;
    Ok(Some(Blob::bucket(store, spools, tasks.clone(), Arc::clone(telemetry))))
}

/// Spools stand beside the blobs, so that a verified one can be moved without being copied.
fn spools(config: &Config) -> anyhow::Result<PathBuf> {
    let spools = config.cache.dir.join("spool");
    std::fs::create_dir_all(&spools).with_context(|| spools.display().to_string())?;
    Ok(spools)
}

fn identity(
    config: &Config,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    telemetry: &Arc<Telemetry>,
    revocations: Arc<Revocations>,
) -> anyhow::Result<Identity> {
    let settings = &config.identity;
    let tokens = TokenFile::new(settings.tokens_file.clone());
    let tokens = Tokens::open(tokens, Arc::clone(clock)).hearing(revocations);
    let tokens = tokens.telling(Arc::clone(telemetry));
    let mut methods: Vec<Box<dyn Authenticator>> = vec![Box::new(tokens)];
    if !settings.jwt.is_empty() {
        let jwt = Jwt::new(settings.jwt.clone(), tasks, Arc::clone(clock));
        methods.push(Box::new(jwt.context("identity.jwt")?));
    }
    for (place, directory) in settings.ldap.iter().enumerate() {
        let standing = if place == 0 { Standing::First } else { Standing::Other };
        let ldap = Ldap::new(directory.clone(), standing, tasks.clone())
            .with_context(|| format!("identity.ldap {}", directory.name))?;
        methods.push(Box::new(ldap));
    }
    let anonymous = match settings.anonymous {
        config::identity::Anonymous::Refused => Anonymous::Refused,
        config::identity::Anonymous::Allowed => Anonymous::Admitted,
    };
    let door = Door {
        anonymous,
        jwt_user_names: settings.jwt_users.clone(),
        source_rate: settings.source_rate,
        caller_rate: settings.caller_rate,
        certificates: Certificates::new(
            settings.mtls.as_ref().map(|mtls| mtls.names.clone()).unwrap_or_default(),
        ),
    };
    Ok(Identity::new(door, methods, Arc::clone(telemetry)))
}

type Threads = Vec<Thread>;

fn accounts(
    config: &Config,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) -> anyhow::Result<(Arc<Accounts>, Threads, mpsc::Receiver<Told>)> {
    let telemetry = &tasks.telemetry_handle();
    let mut audit = config.audit.clone();
    // a checkpoint that anybody wants is told; where it goes from there is telemetry's
    audit.announce |= config.telemetry.exports_checkpoints();
    let settings = writer::Settings {
        config: audit,
        node: config.telemetry.node.clone(),
        clock: Arc::clone(clock),
    };
    let Started { audit, loops, told } =
        writer::start(settings, telemetry).context("audit.key_file")?;
    let (lines, print) = Lines::new(Arc::clone(telemetry));
    let threads = loops.into_iter().map(|(service, run)| tasks.thread(service, run));
    let mut threads = threads.collect::<Result<Threads, _>>()?;
    threads.push(tasks.thread(Service::AccessLog, print)?);
    let log = (config.telemetry.access, config.telemetry.log_format);
    let accounts = Accounts::new(audit, lines, log, Arc::clone(telemetry), Arc::clone(clock));
    let accounts = Arc::new(accounts);
    let digest = settings_digest(config);
    let [a, b, c, d, ..] = digest;
    telemetry.page().configured(&format!("{:08x}", u32::from_be_bytes([a, b, c, d])));
    accounts.administer(settings_read(&digest));
    telemetry.listen(Box::new(Chronicle::of(&accounts)));
    Ok((accounts, threads, told))
}

/// What makes this node a witness of the others.
fn witness(
    config: &Config,
    link: RedisLink,
    accounts: &Arc<Accounts>,
    tasks: &Tasks,
) -> anyhow::Result<witness::Node> {
    let (audit, name) = (&config.audit, config.telemetry.node.clone());
    let register = Register::open(&audit.witness_dir, &audit.origin, &name);
    Ok(witness::Node {
        register: Arc::new(register.context("audit.witness_dir")?),
        name,
        steps: Steps::over(link),
        accounts: Arc::clone(accounts),
        tasks: tasks.clone(),
    })
}

fn audit_directories(config: &Config) -> Vec<PathBuf> {
    let audit = &config.audit;
    std::iter::once(audit.dir.clone()).chain(audit.second_dir.clone()).collect()
}

/// Of all settings, secrets masked.
fn settings_digest(config: &Config) -> [u8; 32] {
    Sha256::digest(format!("{config:?}")).into()
}

/// The record of which settings a start is about: their digest, secrets masked, and the policy's.
fn settings_read(digest: &[u8; 32]) -> Act {
    Act::new(Name::ConfigReload, Outcome::Allowed)
        .with("settings", format!("sha256:{}", crate::audit::chain::text_of(digest)))
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(BUNDLE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Hashing and inflating keep a core busy, reading a disk does not.
const BLOCKING_PER_CORE: usize = 4;
/// A bundle of every public authority is a quarter of that.
const BUNDLE_BYTES: u64 = 1 << 20;
