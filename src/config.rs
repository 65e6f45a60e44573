//! # Configuration: what was asked for, and by whom
//!
//! **Question.** What is the effective value of each setting, where does it come from, and can we run with it?
//!
//! **Rule.** A setting is declared once, as a [`keys::Key`] of its section's file: its name, how it is written, its
//! default and what it means. From that one table come reading, suggestions for mistyped keys, `check-config` and
//! the example file. Sections turn texts into what the program uses: stations see addresses, durations and parsed
//! URLs, never strings to be judged again.
//!
//! **Order.** A flag `--set server.listen=…` wins over the variable `MODGATE_SERVER_LISTEN`, which wins over
//! `modgate.toml`, which wins over the default. A table with a name is reached by it:
//! `MODGATE_UPSTREAM_SERVERS_INNER_PASSWORD`. The environment is handed in: nothing here reads the process's own.
//!
//! **What it refuses.** Everything that is given and not a setting, with a suggestion: an ignored key is a deny that
//! was never in force. A table of the wrong kind; a value of the wrong type or out of range; half a TLS pair; plain
//! HTTP beyond loopback unless the word `insecure_anywhere` is written; credentials in URLs, on the command line, or
//! over plain HTTP; secrets in files that everybody may read; symmetric JWT algorithms; names of upstreams that do
//! not exist. (Variables with which Kubernetes describes a service called `modgate` are not ours, and skipped.)
//!
//! **How it fails.** All at once: [`Problems`] lists each problem with its place (file and line, variable or flag),
//! its key, what was found and what would do. Only a file that cannot be read, or is no TOML, hides the rest. No
//! problem repeats a secret, not even one that stands in the wrong place.
//!
//! **What it shows.** [`Config::show`] prints every value in force with its origin, as TOML that loads again.
//! Secrets are masked when they are read, so there is nothing left to leak.

pub mod audit;
pub mod cache;
pub mod identity;
mod keys;
pub mod ldap;
pub mod mtls;
pub mod network;
pub mod policy;
pub mod private;
pub mod problem;
mod reader;
pub mod redis;
pub mod secret;
pub mod server;
pub mod show;
pub mod source;
mod state;
pub mod sumdb;
pub mod telemetry;
mod units;
pub mod upstream;
pub mod warnings;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use crate::config::audit::Audit;
use crate::config::cache::Cache;
use crate::config::identity::Identity;
use crate::config::policy::PolicySettings;
use crate::config::private::PrivateBinding;
use crate::config::problem::Problem;
use crate::config::problem::Problems;
use crate::config::reader::Reader;
use crate::config::reader::Surroundings;
use crate::config::redis::Redis;
use crate::config::server::Server;
use crate::config::show::Shown;
use crate::config::source::Origin;
use crate::config::source::Sources;
use crate::config::sumdb::Sumdb;
use crate::config::telemetry::Telemetry;
use crate::config::upstream::Upstream;

/// Every setting, judged and ready to use.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the gateway keeps what it makes itself.
    pub state_dir: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[identity]`.
    pub identity: Identity,
    /// `[policy]`.
    pub policy: PolicySettings,
    /// Each `[[private]]`.
    pub private: Vec<PrivateBinding>,
    /// `[upstream]`.
    pub upstream: Upstream,
    /// `[sumdb]`.
    pub sumdb: Sumdb,
    /// `[cache]`.
    pub cache: Cache,
    /// `[redis]`, if there is one.
    pub redis: Option<Redis>,
    /// `[audit]`.
    pub audit: Audit,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    shown: Vec<Shown>,
}

/// What a configuration is made of.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The settings file, if there is one; it must be readable.
    pub file: Option<PathBuf>,
    /// The process's environment; only `MODGATE_*` is looked at.
    pub environment: Vec<(String, String)>,
    /// Keys and values from the command line, such as `server.listen`; the last one of a key wins.
    pub overrides: Vec<(String, String)>,
}

impl Config {
    /// Reads and judges everything, and lists every problem at once.
    pub fn load(inputs: Inputs) -> Result<Self, Problems> {
        let sources = Sources::open(inputs).map_err(|problem| Problems::new(vec![problem]))?;
        let mut reader = Reader::new(sources);
        let state_dir = state::read(&mut reader);
        reader.surround(surroundings(state_dir.as_deref()));
        let server = server::read(&mut reader);
        let identity = identity::read(&mut reader);
        let policy = policy::read(&mut reader);
        let (upstream, servers) = upstream::read(&mut reader);
        let private = private::read(&mut reader, &servers);
        if let (Some(upstream), Some(private)) = (&upstream, &private) {
            upstream::chains::refuse_private(&mut reader, &upstream.chains, private);
        }
        let sumdb = sumdb::read(&mut reader);
        let cache = cache::read(&mut reader);
        let redis = redis::read(&mut reader);
        let audit = audit::read(&mut reader);
        let telemetry = telemetry::read(&mut reader);
        let shown = reader.finish().map_err(Problems::new)?;
        let all = || {
            Some(Self {
                state_dir: state_dir?,
                server: server?,
                identity: identity?,
                policy: policy?,
                private: private?,
                upstream: upstream?,
                sumdb: sumdb?,
                cache: cache?,
                redis: redis?,
                audit: audit?,
                telemetry: telemetry?,
                shown,
            })
        };
        // a section that could not be read has noted why, so `finish` has returned already
        all().ok_or_else(|| {
            Problems::new(vec![Problem {
                origin: Origin::Default,
                key: String::new(),
                what: "a section could not be read and did not say why".to_owned(),
                remedy: "report this defect".to_owned(),
            }])
        })
    }

    /// The effective configuration as TOML, each line with its origin, secrets masked.
    pub fn show(&self) -> String {
        show::effective(&self.shown)
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Inputs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<&String> = self.overrides.iter().map(|(key, _)| key).collect();
        let mut shown = out.debug_struct("Inputs");
        shown.field("file", &self.file).field("overrides", &flags).finish_non_exhaustive()
    }
}

/// What defaults may refer to: this machine, and the state directory.
fn surroundings(state_dir: Option<&Path>) -> Surroundings {
    let hostname = std::fs::read_to_string(HOSTNAME_FILE).unwrap_or_default();
    let node = units::node(hostname.trim()).unwrap_or_else(|_| "modgate".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let state_dir = state_dir.unwrap_or_else(|| Path::new(".modgate")).display().to_string();
    Surroundings { state_dir: state_dir.trim_end_matches('/').to_owned(), cores, node }
}

/// Where Linux keeps the machine's name; a container has one of its own.
const HOSTNAME_FILE: &str = "/etc/hostname";
