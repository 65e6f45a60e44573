//! Assembly: the only file that names concrete tiers, authenticators and sources.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use sha2::Digest as _;
use sha2::Sha256;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::audit::act::Act;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::audit::writer;
use crate::audit::writer::Started;
use crate::cache::Cache;
use crate::cache::Freshness;
use crate::cache::blob::Blob;
use crate::cache::memory::Memory;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config;
use crate::config::Config;
use crate::config::upstream::Place;
use crate::config::upstream::UpstreamServer;
use crate::egress::Bindings;
use crate::egress::Instance;
use crate::egress::Origin;
use crate::egress::OriginSettings;
use crate::gateway::Gateway;
use crate::gateway::Parts;
use crate::gateway::account::Accounts;
use crate::gateway::fetch::Fetcher;
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
use crate::policy;
use crate::policy::Policy;
use crate::sumdb::verifier::Verifier;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::log::Lines;
use crate::telemetry::trace::Sampler;
use crate::upstream::Chain;
use crate::upstream::Link;
use crate::upstream::Upstream;
use crate::upstream::directory::Directory;
use crate::upstream::http::Http;
use crate::upstream::source::Limits;
use crate::upstream::source::Source;

/// Everything that runs.
#[derive(Debug)]
pub struct App {
    /// The journey.
    pub gateway: Arc<Gateway>,
    /// Fills and blocking work.
    pub tasks: Tasks,
    /// Threads that end when the last handle of the gateway is gone: the audit's writer and the log's.
    pub threads: Vec<std::thread::JoinHandle<()>>,
    /// The newest signed checkpoint of the audit: whoever keeps copies elsewhere subscribes here.
    pub checkpoints: Checkpoints,
}

/// What the audit's writer signed last.
type Checkpoints = tokio::sync::watch::Receiver<Option<Arc<str>>>;

/// Builds an app from a configuration. `runtime` is where fills run.
pub fn build(config: &Config, runtime: &Handle) -> anyhow::Result<App> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let telemetry = telemetry(config, &clock)?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let tasks = Tasks::new(runtime.clone(), cores * BLOCKING_PER_CORE, Arc::clone(&telemetry));
    let policy = Arc::new(load_policy(config).context("the policy is not in force")?);
    let via = via(config);
    let chain = Arc::new(chain(config, &via, &tasks, &telemetry)?);
    let cache = Arc::new(cache(config, &clock, &tasks, &telemetry)?);
    let verifier = Verifier::new(tasks.clone());
    let fetcher = Fetcher::new(cache, chain, verifier, tasks.clone(), Arc::clone(&telemetry));
    let (accounts, threads, checkpoints) = accounts(config, &clock, &telemetry)?;
    accounts.administer(settings_read(config, &policy));
    let private = config.private.iter().map(|bound| bound.prefix.as_str().to_owned()).collect();
    let gateway = Gateway::new(Parts {
        identity: identity(config, &clock, &tasks, &telemetry)?,
        routes: Routes::new(&config.server.base_path, config.sumdb.names.clone()),
        policy,
        fetcher,
        own: Own::new(public_url(config), private, config.sumdb.names.clone()),
        accounts: Arc::new(accounts),
        telemetry,
        via,
        clock,
    });
    Ok(App { gateway: Arc::new(gateway), tasks, threads, checkpoints })
}

/// What every directory and every issuer found by discovery says when it is asked, by its place.
pub async fn probe(
    config: &Config,
    runtime: &Handle,
) -> anyhow::Result<Vec<(String, Result<(), String>)>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tasks = Tasks::new(runtime.clone(), 1, telemetry(config, &clock)?);
    let mut said = Vec::new();
    for directory in &config.identity.ldap {
        let ldap = Ldap::new(directory.clone(), Standing::First, tasks.clone())
            .with_context(|| format!("identity.ldap {}", directory.name))?;
        said.extend(ldap.probe().await);
    }
    said.extend(Jwt::new(config.identity.jwt.clone(), &tasks, clock)?.probe().await);
    Ok(said)
}

/// The policy of a configuration: a directory, or what is built in.
pub fn load_policy(config: &Config) -> Result<Policy, policy::LoadError> {
    let source = match &config.policy.dir {
        Some(directory) => policy::Source::Directory(directory.clone()),
        None => policy::Source::Embedded,
    };
    let private = config.private.iter().map(|bound| bound.prefix.clone()).collect();
    Policy::load(&source, private, policy::Settings { contact: config.policy.contact.clone() })
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

fn telemetry(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<Telemetry>> {
    let names: Vec<_> = config.upstream.servers.iter().map(|server| server.name.clone()).collect();
    let exported = config.telemetry.otlp_endpoint.is_some();
    let sampler = Sampler::new(if exported { config.telemetry.trace_ratio } else { 0.0 });
    Ok(Arc::new(Telemetry::new(&names, sampler, Arc::clone(clock))?))
}

/// Our mark in `Via`: the node's name alone may stand on two machines.
fn via(config: &Config) -> String {
    let boot = Uuid::new_v4().simple().to_string();
    format!("modgate-{}-{}", config.telemetry.node, boot.get(..12).unwrap_or(&boot))
}

fn chain(
    config: &Config,
    via: &str,
    tasks: &Tasks,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<Chain> {
    let pairs = config
        .private
        .iter()
        .flat_map(|bound| bound.upstreams.iter().map(|name| (bound.prefix.clone(), name.clone())))
        .collect();
    let bindings = Arc::new(Bindings::new(pairs));
    let instance = Instance { via: via.to_owned(), bindings: Arc::clone(&bindings) };
    let mut all = Vec::new();
    for server in &config.upstream.servers {
        let source = source(config, server, &instance, tasks)
            .with_context(|| format!("upstream {}", server.name))?;
        let (name, serves_sumdb) = (server.name.clone(), server.sumdb);
        all.push(Arc::new(Upstream { name, source, serves_sumdb }));
    }
    let links = config
        .upstream
        .chain
        .iter()
        .filter_map(|(name, fall_back)| {
            let upstream = all.iter().find(|upstream| &upstream.name == name)?;
            Some(Link { upstream: Arc::clone(upstream), fall_back: *fall_back })
        })
        .collect();
    Ok(Chain::new(links, all, bindings, Arc::clone(telemetry)))
}

fn source(
    config: &Config,
    server: &UpstreamServer,
    instance: &Instance,
    tasks: &Tasks,
) -> anyhow::Result<Source> {
    let limits = limits(&config.upstream);
    // spools stand beside the blobs, so that a verified one can be moved without being copied
    let spools: Arc<Path> = Arc::from(config.cache.dir.join("spool"));
    std::fs::create_dir_all(&spools).with_context(|| spools.display().to_string())?;
    let url = match &server.place {
        Place::Directory(root) => {
            let directory = Directory::new(root.clone(), limits, spools, tasks.clone());
            return Ok(Source::Directory(directory));
        }
        Place::Http(url) => url.clone(),
    };
    let extra_roots = server.ca_file.as_deref().map(read_file).transpose()?;
    let user = server.username.clone();
    let settings = OriginSettings {
        name: server.name.clone(),
        base: url,
        extra_roots,
        basic: user.zip(server.password.clone()),
        redirect_hosts: server.allow_redirect_hosts.clone(),
        connect_timeout: config.upstream.connect_timeout,
    };
    Ok(Source::Http(Http::new(Origin::new(settings, instance.clone())?, limits, spools)))
}

fn limits(upstream: &config::upstream::Upstream) -> Limits {
    Limits {
        first_byte: upstream.first_byte_timeout,
        zip_first_byte: upstream.zip_first_byte_timeout,
        total: upstream.total_timeout,
        zip_total: upstream.zip_total_timeout,
        zip: upstream.max_zip,
        gomod: GOMOD_BYTES,
        info: INFO_BYTES,
        list: LIST_BYTES,
        attempts: upstream.attempts,
    }
}

fn cache(
    config: &Config,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<Cache> {
    let settings = &config.cache;
    let memory = Memory::new(settings.memory, settings.max_object_memory, Arc::clone(telemetry));
    let blob = Blob::open(&settings.dir, tasks.clone(), Arc::clone(telemetry))
        .with_context(|| format!("cache.dir {}", settings.dir.display()))?;
    let freshness = Freshness { mutable: settings.list_ttl, absent: settings.absent_ttl };
    let tiers: Vec<Box<dyn crate::cache::tier::Tier>> = vec![Box::new(memory), Box::new(blob)];
    Ok(Cache::new(tiers, freshness, Arc::clone(clock), Arc::clone(telemetry)))
}

fn identity(
    config: &Config,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<Identity> {
    let settings = &config.identity;
    let tokens = TokenFile::new(settings.tokens_file.clone());
    let mut methods: Vec<Box<dyn Authenticator>> =
        vec![Box::new(Tokens::open(tokens, Arc::clone(clock)))];
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

type Threads = Vec<std::thread::JoinHandle<()>>;

fn accounts(
    config: &Config,
    clock: &Arc<dyn Clock>,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<(Accounts, Threads, Checkpoints)> {
    let settings = writer::Settings {
        config: config.audit.clone(),
        node: config.telemetry.node.clone(),
        clock: Arc::clone(clock),
    };
    let Started { audit, write, keep, checkpoints } =
        writer::start(settings, telemetry).context("audit.key_file")?;
    let (lines, print) = Lines::new(Arc::clone(telemetry));
    let threads = vec![
        Tasks::thread("audit", write)?,
        Tasks::thread("audit-keeper", keep)?,
        Tasks::thread("access-log", print)?,
    ];
    let log = (config.telemetry.access, config.telemetry.log_format);
    let accounts = Accounts::new(audit, lines, log, Arc::clone(telemetry), Arc::clone(clock));
    Ok((accounts, threads, checkpoints))
}

/// The record of which settings a start is about: their digest, secrets masked, and the policy's.
fn settings_read(config: &Config, policy: &Policy) -> Act {
    let digest: [u8; 32] = Sha256::digest(format!("{config:?}")).into();
    Act::new(Name::ConfigReload, Outcome::Allowed)
        .with("settings", format!("sha256:{}", crate::audit::chain::text_of(&digest)))
        .with("policy", policy.revision().to_string())
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(BUNDLE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Hashing and inflating keep a core busy, reading a disk does not.
const BLOCKING_PER_CORE: usize = 4;
/// The go command's own limit.
const GOMOD_BYTES: u64 = 16 << 20;
/// An info is a few hundred bytes.
const INFO_BYTES: u64 = 1 << 20;
/// A list of a hundred thousand versions.
const LIST_BYTES: u64 = 8 << 20;
/// A bundle of every public authority is a quarter of that.
const BUNDLE_BYTES: u64 = 1 << 20;
