//! Faults that are injected into a running gateway and healed again, and the alerts that each must fire.

pub(crate) mod list;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use super::cable::Cable;
use super::client::Client;
use super::client::Session;
use super::collector::Collector;
use super::gateway::Gateway;
use super::gateway::Setup;
use super::issuer::Issuer;
use super::kernel::Doing;
use super::kernel::Kernel;
use super::monitoring::Monitoring;
use super::monitoring::Told;
use super::redis::Redis;
use super::slapd::People;
use super::slapd::Slapd;
use super::tree::Tree;
use super::tree::zip;
use super::until;
use super::upstream::Instead;
use super::upstream::Upstream;

const INFO: &str = "/example.com/lib/@v/v1.0.0.info";
const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

/// Something that goes wrong.
pub(crate) struct Fault {
    pub(crate) what: &'static str,
    /// Whether it is part of every run, or of the long one.
    pub(crate) form: Form,
    inject: fn(&mut World),
    heal: fn(&mut World),
    /// Alerts, each with a text that its labels hold.
    pub(crate) alerts: &'static [(&'static str, &'static str)],
}

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    Short,
    Long,
}

/// A gateway with all its neighbours, each real, each behind something that can break.
pub(crate) struct World {
    pub(crate) monitoring: Monitoring,
    pub(crate) collector: Collector,
    gateway: Option<Gateway>,
    /// Another node, while there is one.
    other: Option<Gateway>,
    /// With the files that it serves.
    upstream: (Upstream, Tree),
    slapd: Slapd,
    issuer: Issuer,
    redis: Redis,
    kernel: Kernel,
    to_upstream: Cable,
    to_collector: Cable,
    load: Load,
    /// A copy of the shipped policy.
    policy: tempfile::TempDir,
    pest: Option<Pest>,
}

/// Requests that go on all the time: hits, absences, denials and logins.
struct Load {
    client: Arc<RwLock<Option<Client>>>,
    /// Of eighteen requests these are for what was asked before.
    hits: Arc<AtomicU64>,
}

/// Somebody who does the same thing again and again until it is stopped.
struct Pest {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pest {
    fn start(count: u64, again: impl Fn(u64) + Clone + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|place| {
                let (stop, again) = (Arc::clone(&stop), again.clone());
                std::thread::spawn(move || {
                    let mut number = place;
                    while !stop.load(Ordering::Relaxed) {
                        again(number);
                        number += count;
                    }
                })
            })
            .collect();
        Self { stop, threads }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Names nobody has asked for before.
fn cold() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("/example.com/lib/@v/v2.0.{}.info", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn requests(paths: &[String], authorization: &str) -> String {
    let mut text = String::new();
    for (place, path) in paths.iter().enumerate() {
        let last = if place + 1 == paths.len() { "Connection: close\r\n" } else { "" };
        write!(text, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}{last}\r\n")
            .unwrap();
    }
    text
}

impl Load {
    fn start(client: Client) -> Self {
        let load = Self {
            client: Arc::new(RwLock::new(Some(client))),
            hits: Arc::new(AtomicU64::new(12)),
        };
        for _ in 0..3 {
            load.another();
        }
        load
    }

    fn another(&self) {
        let (client, hits) = (Arc::clone(&self.client), Arc::clone(&self.hits));
        std::thread::spawn(move || {
            loop {
                if let Some(client) = client.read().unwrap().as_ref() {
                    let hits = hits.load(Ordering::Relaxed);
                    let mut paths: Vec<_> = (0..hits)
                        .map(|place| if place % 2 == 0 { INFO } else { ZIP }.to_owned())
                        .collect();
                    paths.resize_with(18, cold);
                    let asked = requests(&paths, &client.authorization());
                    let _answers = client.raw(asked.as_bytes());
                }
                std::thread::park_timeout(Duration::from_millis(500));
            }
        });
    }

    /// Waits for what is under way; nothing more is asked.
    fn pause(&self) {
        *self.client.write().unwrap() = None;
    }

    fn go_on(&self, client: Client) {
        *self.client.write().unwrap() = Some(client);
    }
}

impl World {
    pub(crate) fn start() -> Self {
        let mut tree = Tree::new();
        tree.module_of_size("example.com/lib", "v1.0.0", &[], 1000);
        tree.module_of_size("example.com/changed", "v1.0.0", &[], 1000);
        for number in 0..CROWD {
            tree.module_of_size(&format!("example.com/crowd/m{number}"), "v1.0.0", &[], 1000);
        }
        for number in 0..BULK {
            tree.module_of_size(&format!("example.com/bulk/m{number}"), "v1.0.0", &[], BULK_BYTES);
        }
        let (upstream, collector) = (Upstream::serve(tree.path()), Collector::listen());
        let slapd = Slapd::with(&People::new().person("alice"));
        let (to_upstream, to_collector) = (Cable::to(&upstream.url()), Cable::to(&collector.url()));
        let policy = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), policy.path());
        let (redis, issuer, kernel) = (Redis::start(), Issuer::start("ES256"), Kernel::new());
        let settings = format!(
            "[identity]\nsource_rate = 200\ncaller_rate = 10000\n{}\n{}\n\
             [audit]\ncheckpoint_every = \"1s\"\nrefusal_mode = \"durable\"\n\
             [cache]\nmax_size = \"8 MiB\"\n\
             [[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\
             [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\nallow_redirect_hosts = [\"*\"]\n\
             {}\n[policy]\ndir = \"{}\"\n\
             [telemetry]\notlp_endpoint = \"{}\"\ntrace_ratio = 0.2\n",
            slapd.settings_as_preset("cache_ttl = \"1s\"\nfailure_ttl = \"1s\""),
            issuer.settings("keys_cooldown = \"500ms\""),
            upstream.url(),
            redis.settings(),
            policy.path().display(),
            to_collector.url(),
        );
        let gateway =
            Setup::over(&to_upstream.url()).with(&settings).start_in(&kernel.environment());
        let load = Load::start(gateway.client());
        let monitoring = Monitoring::over(gateway.ops);
        let alice = gateway.stranger().basic("alice", "alice-pw");
        until("alice is known", || alice.get("/-/whoami").status == 200);
        let gateway = Some(gateway);
        Self {
            monitoring,
            collector,
            gateway,
            other: None,
            upstream: (upstream, tree),
            slapd,
            issuer,
            redis,
            kernel,
            to_upstream,
            to_collector,
            load,
            policy,
            pest: None,
        }
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    /// Names of alerts that fire though nothing is wrong.
    pub(crate) fn quiet(&self, time: Duration) -> Vec<String> {
        // until the first scrape nothing was there, and that was an alert of its own
        until("what fired at the start is over", || {
            self.monitoring
                .query("ALERTS{alertstate=\"firing\",alertname!=\"ModgateWatchdog\"}")
                .is_empty()
        });
        let since = Instant::now();
        std::thread::park_timeout(time);
        self.monitoring.fired_since(since)
    }

    /// Injects a fault and heals it; a line of the table for each of its alerts, with seconds to fire and to resolve.
    pub(crate) fn suffer(&mut self, fault: &Fault) -> Vec<(String, Option<f64>, Option<f64>)> {
        let since = Instant::now();
        (fault.inject)(self);
        let fired: Vec<_> = fault
            .alerts
            .iter()
            .map(|(alert, with)| self.monitoring.wait((alert, with), Told::Firing, since))
            .collect();
        let since = Instant::now();
        (fault.heal)(self);
        if let Some(pest) = self.pest.take() {
            pest.stop();
        }
        let line = |((alert, with), fired): (&(&str, &str), Option<Duration>)| {
            let resolved =
                fired.and_then(|_| self.monitoring.wait((alert, with), Told::Resolved, since));
            let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
            ((*alert).to_owned(), seconds(fired), seconds(resolved))
        };
        fault.alerts.iter().zip(fired).map(line).collect()
    }

    fn pest(&mut self, count: u64, again: impl Fn(u64) + Clone + Send + 'static) {
        self.pest = Some(Pest::start(count, again));
    }

    fn restart(&mut self) {
        self.restart_within(&[]);
    }

    /// The same, started by another command, which becomes the gateway.
    fn restart_within(&mut self, wrapper: &[&str]) {
        let (chain, environment) = (self.to_upstream.url(), self.kernel.environment());
        let gateway = self.gateway.take().unwrap();
        let gateway = gateway.kill_and_restart_in(&chain, &environment, wrapper);
        self.monitoring.targets(&[("gate", gateway.ops)]);
        self.gateway = Some(gateway);
    }

    fn resume(&mut self) {
        let client = self.gateway().client();
        self.load.go_on(client);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.load.pause();
    }
}

/// Small modules that nobody has asked for yet.
const CROWD: u32 = 60;
/// Modules that together fill more than nine tenths of the directory, and not all of it.
const BULK: u32 = 39;
const BULK_BYTES: usize = 200_000;

fn nothing(_world: &mut World) {}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
