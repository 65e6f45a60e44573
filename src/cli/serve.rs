//! `modgate serve`.

use std::fmt::Write as _;
use std::sync::Arc;

use clap::Args;

use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::complain;
use crate::cli::dev;
use crate::cli::say;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::lifecycle;
use crate::lifecycle::Listening;
use crate::telemetry::export::Exporter;
use crate::telemetry::log;

/// Serves modules.
#[derive(Debug, Args)]
pub(in crate::cli) struct Serve {
    /// Start without any other service: own certificate, own developer token, upstreams of your GOPROXY
    #[arg(long)]
    dev: bool,
    /// The upstreams, in the list syntax of GOPROXY: A,B goes on after 404 and 410, A|B after anything
    #[arg(long, value_name = "LIST")]
    upstream: Option<String>,
    /// Where to listen for modules [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let mut more = Vec::new();
        if let Some(list) = &self.upstream {
            more.push(("upstream.chain".to_owned(), list.clone()));
        }
        if let Some(address) = &self.listen {
            more.push(("server.listen".to_owned(), address.clone()));
        }
        if !self.dev {
            let config = self.settings.load(environment, more)?;
            return start(&config, |listening| Ok(greeting(&config, listening)));
        }
        let (config, guide) = dev::prepare(&self.settings, environment, more)?;
        start(&config, |listening| guide.print(listening))
    }
}

fn start(
    config: &Config,
    ready: impl FnOnce(&Listening) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let runtime = lifecycle::runtime()?;
    // a channel of gRPC works on the runtime it is made beside, and the last checkpoint is signed when that of fills is gone
    let beside = lifecycle::export_runtime()?;
    let exporter = {
        let _beside = beside.enter();
        Exporter::start(&config.telemetry, Arc::new(SystemClock))?
    };
    log::install(config, exporter.as_ref())
        .map_err(|error| anyhow::anyhow!("telemetry.log_filter: {error}"))?;
    lifecycle::run(config, runtime, exporter.as_ref(), |listening| {
        if let Err(Failure::Failed(error)) = ready(listening).and_then(|text| say(&text)) {
            complain(&format!("modgate: {error:#}"));
        }
    })?;
    Ok(())
}

/// One line a capability: on or off, and why. Nothing is silently on.
fn greeting(config: &Config, listening: &Listening) -> String {
    let mut text = String::new();
    let mut line = |name: &str, said: String| {
        // writing to a string cannot fail
        let _written = writeln!(text, "{name:12} {said}");
    };
    for address in &listening.modules {
        let scheme = if config.server.tls_cert.is_some() { "https" } else { "http (plain!)" };
        line("modules", format!("{address} {scheme}"));
    }
    line("operations", format!("http://{}/metrics", listening.ops));
    let chain: Vec<&str> = config.upstream.chain.iter().map(|(name, _)| name.as_str()).collect();
    let asked = if chain.is_empty() { "none".to_owned() } else { chain.join(", ") };
    line("upstreams", if config.cache.offline { "never asked: offline".to_owned() } else { asked });
    line("private", format!("{} prefixes", config.private.len()));
    let (jwt, ldap) = (config.identity.jwt.len(), config.identity.ldap.len());
    line(
        "identity",
        format!(
            "gateway tokens, {jwt} JWT issuers, {ldap} directories, anonymous {}",
            config.identity.anonymous.word()
        ),
    );
    let policy = config
        .policy
        .dir
        .as_ref()
        .map_or_else(|| "built in".to_owned(), |dir| dir.display().to_string());
    line("policy", policy);
    line("cache", format!("{} and memory", config.cache.dir.display()));
    let bucket = config.cache.bucket.as_ref();
    let bucket = bucket.map(|bucket| format!("{} at {}", bucket.name, bucket.endpoint));
    line("bucket", bucket.unwrap_or_else(|| "off: no cache.bucket.endpoint".to_owned()));
    let redis = config.redis.as_ref().map(|redis| format!("{} nodes", redis.nodes.len()));
    line("redis", redis.unwrap_or_else(|| "off: no redis.nodes; this gateway is alone".to_owned()));
    let copies = match (config.audit.announce, config.telemetry.exports_checkpoints()) {
        (true, true) => "checkpoints in the log and at the collector too",
        (true, false) => "checkpoints in the log too",
        (false, true) => "checkpoints at the collector too",
        (false, false) => "checkpoints kept nowhere else: see audit.announce",
    };
    line("audit", format!("{}, {copies}", config.audit.dir.display()));
    let traces = config.telemetry.otlp_endpoint.as_ref();
    line("traces", traces.map_or_else(|| "off: no otlp_endpoint".to_owned(), ToString::to_string));
    text
}
