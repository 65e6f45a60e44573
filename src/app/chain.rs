//! Assembly of the way to upstreams: sources with their limits and care, and the chains they form.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::app;
use crate::breaker;
use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::config::upstream::Place;
use crate::config::upstream::UpstreamServer;
use crate::egress::Bindings;
use crate::egress::Instance;
use crate::egress::Origin;
use crate::egress::OriginSettings;
use crate::goproxy::proxylist::FallBack;
use crate::tasks::Tasks;
use crate::upstream;
use crate::upstream::Chain;
use crate::upstream::Upstream;
use crate::upstream::care::Bounds;
use crate::upstream::care::Care;
use crate::upstream::directory::Directory;
use crate::upstream::http::Http;
use crate::upstream::routes::Link;
use crate::upstream::source::Limits;
use crate::upstream::source::Source;

/// The upstreams of a configuration, and who is asked for what.
pub(in crate::app) fn chain(
    config: &Config,
    via: &str,
    tasks: &Tasks,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Chain> {
    let pairs = config
        .private
        .iter()
        .flat_map(|bound| bound.upstreams.iter().map(|name| (bound.prefix.clone(), name.clone())))
        .collect();
    let bindings = Arc::new(Bindings::new(pairs));
    let (via, telemetry) = (via.to_owned(), tasks.telemetry_handle());
    let instance = Instance { via, bindings: Arc::clone(&bindings), telemetry };
    let mut all = Vec::new();
    for server in &config.upstream.servers {
        let (bounds, telemetry) = (bounds(&config.upstream.care), tasks.telemetry_handle());
        let care = Arc::new(Care::new(&server.name, &bounds, telemetry, Arc::clone(clock)));
        let making = Making { config, tasks, instance: &instance };
        let source =
            making.source(server, &care).with_context(|| format!("upstream {}", server.name))?;
        let (name, serves_sumdb) = (server.name.clone(), server.sumdb);
        all.push(Arc::new(Upstream { name, source, serves_sumdb, care }));
    }
    let links = |chain: &[(String, FallBack)]| -> Vec<Link> {
        let link = |(name, fall_back): &(String, FallBack)| {
            let upstream = all.iter().find(|upstream| &upstream.name == name)?;
            Some(Link { upstream: Arc::clone(upstream), fall_back: *fall_back })
        };
        chain.iter().filter_map(link).collect()
    };
    let (usual, mut named) = (links(&config.upstream.chain), Vec::new());
    for chain in &config.upstream.chains {
        named.extend(chain.patterns.iter().map(|one| (one.clone(), links(&chain.chain))));
    }
    let routes = upstream::routes::Routes::new(usual, all, bindings).with(named);
    Ok(Chain::new(routes))
}

/// What every source is made with.
struct Making<'a> {
    config: &'a Config,
    tasks: &'a Tasks,
    instance: &'a Instance,
}

impl Making<'_> {
    fn source(&self, server: &UpstreamServer, care: &Arc<Care>) -> anyhow::Result<Source> {
        let Self { config, tasks, instance } = self;
        let limits = limits(&config.upstream);
        let spools: Arc<Path> = Arc::from(app::spools(config)?);
        let url = match &server.place {
            Place::Directory(root) => {
                let directory = Directory::new(root.clone(), limits, spools, (*tasks).clone());
                return Ok(Source::Directory(directory));
            }
            Place::Http(url) => url.clone(),
        };
        let extra_roots = server.ca_file.as_deref().map(app::read_file).transpose()?;
        let user = server.username.clone();
        let settings = OriginSettings {
            name: server.name.clone(),
            base: url,
            extra_roots,
            basic: user.zip(server.password.clone()),
            redirect_hosts: server.allow_redirect_hosts.clone(),
            networks: server.allow_networks.clone(),
            connect_timeout: config.upstream.connect_timeout,
        };
        let origin = Origin::new(settings, (*instance).clone())?;
        let http = Http::new(origin, limits, spools, Arc::clone(care));
        Ok(Source::Http(http.hedged(config.upstream.care.hedge_after)))
    }
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

fn bounds(care: &config::upstream::Care) -> Bounds {
    Bounds {
        breaker: breaker::Settings {
            failures: care.breaker_failures,
            window: BREAKER_WINDOW,
            rest: care.breaker_rest,
            longest_rest: care.breaker_longest_rest,
            successes: BREAKER_SUCCESSES,
        },
        at_once: care.max_requests,
        waiting: care.max_waiting,
        repeated: care.retry_budget,
    }
}

/// Failures further apart than a build's patience are not one outage.
const BREAKER_WINDOW: std::time::Duration = std::time::Duration::from_secs(10);
/// One good answer may be luck.
const BREAKER_SUCCESSES: u32 = 3;
/// The go command's own limit.
const GOMOD_BYTES: u64 = 16 << 20;
/// An info is a few hundred bytes.
const INFO_BYTES: u64 = 1 << 20;
/// A list of a hundred thousand versions.
const LIST_BYTES: u64 = 8 << 20;
