//! Faults that are injected into a running gateway and healed again, and the alerts that each must fire.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use modgate::clock::Clock as _;
use modgate::clock::SystemClock;
use serde_json::Value;

use super::cable::Cable;
use super::client::Client;
use super::collector::Collector;
use super::gateway::Gateway;
use super::gateway::Setup;
use super::monitoring::Monitoring;
use super::monitoring::Told;
use super::slapd::People;
use super::slapd::Slapd;
use super::tree::Tree;
use super::tree::zip;
use super::upstream::Instead;
use super::upstream::Upstream;

const INFO: &str = "/example.com/lib/@v/v1.0.0.info";
const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";
const CHANGED: &str = "/example.com/changed/@v/v1.0.0.zip";

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
    /// With the files that it serves.
    upstream: (Upstream, Tree),
    slapd: Slapd,
    to_upstream: Cable,
    to_collector: Cable,
    load: Load,
    pest: Option<Pest>,
}

/// Requests that go on all the time: hits, absences, denials and logins.
struct Load {
    client: Arc<Mutex<Option<Client>>>,
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
        let load =
            Self { client: Arc::new(Mutex::new(Some(client))), hits: Arc::new(AtomicU64::new(12)) };
        let (client, hits) = (Arc::clone(&load.client), Arc::clone(&load.hits));
        std::thread::spawn(move || {
            loop {
                if let Some(client) = client.lock().unwrap().as_ref() {
                    let hits = hits.load(Ordering::Relaxed);
                    let mut paths: Vec<_> = (0..hits)
                        .map(|place| if place % 2 == 0 { INFO } else { ZIP }.to_owned())
                        .collect();
                    paths.resize_with(18, cold);
                    let asked = requests(&paths, &client.authorization());
                    let _answers = client.raw(asked.as_bytes());
                }
                std::thread::park_timeout(Duration::from_millis(300));
            }
        });
        load
    }

    /// Waits for what is under way; nothing more is asked.
    fn pause(&self) {
        *self.client.lock().unwrap() = None;
    }

    fn go_on(&self, client: Client) {
        *self.client.lock().unwrap() = Some(client);
    }
}

impl World {
    pub(crate) fn start() -> Self {
        let mut tree = Tree::new();
        tree.module_of_size("example.com/lib", "v1.0.0", &[], 1000);
        tree.module_of_size("example.com/changed", "v1.0.0", &[], 1000);
        let (upstream, collector) = (Upstream::serve(tree.path()), Collector::listen());
        let slapd = Slapd::with(&People::new().person("alice"));
        let (to_upstream, to_collector) = (Cable::to(&upstream.url()), Cable::to(&collector.url()));
        let settings = format!(
            "[identity]\nsource_rate = 100\n{}\n\
             [[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\
             [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\nallow_redirect_hosts = [\"*\"]\n\
             [telemetry]\notlp_endpoint = \"{}\"\ntrace_ratio = 0.2\n",
            slapd.settings("cache_ttl = \"1s\"\nfailure_ttl = \"1s\""),
            upstream.url(),
            to_collector.url(),
        );
        let gateway = Setup::over(&to_upstream.url()).with(&settings).start();
        let load = Load::start(gateway.client());
        let monitoring = Monitoring::over(gateway.ops);
        assert_eq!(gateway.stranger().basic("alice", "alice-pw").get("/-/whoami").status, 200);
        let gateway = Some(gateway);
        Self {
            monitoring,
            collector,
            gateway,
            upstream: (upstream, tree),
            slapd,
            to_upstream,
            to_collector,
            load,
            pest: None,
        }
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    /// Names of alerts that fire though nothing is wrong.
    pub(crate) fn quiet(&self, time: Duration) -> Vec<String> {
        // until the first scrape nothing was there, and that was an alert of its own
        super::until("what fired at the start is over", || {
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
        let chain = self.to_upstream.url();
        let gateway = self.gateway.take().unwrap().kill_and_restart(&chain);
        self.monitoring.target(Some(gateway.ops));
        self.gateway = Some(gateway);
    }

    fn resume(&mut self) {
        let client = self.gateway().client();
        self.load.go_on(client);
    }
}

fn nothing(_world: &mut World) {}

/// Every fault.
pub(crate) fn all() -> Vec<Fault> {
    [first(), neighbours(), more(), house(), process(), surroundings()]
        .into_iter()
        .flatten()
        .collect()
}

/// The faults of every run.
fn first() -> Vec<Fault> {
    vec![
        Fault {
            what: "upstream killed",
            form: Form::Short,
            inject: |world| world.to_upstream.cut(),
            heal: |world| world.to_upstream.mend(),
            alerts: &[
                ("ModgateErrorBudgetBurn", "\"long\":\"1h\""),
                ("ModgateUpstreamFailing", ""),
            ],
        },
        Fault {
            what: "upstream serves a changed zip",
            form: Form::Short,
            inject: |world| {
                let other = zip("example.com/other@v1.0.0", &[("go.mod".to_owned(), Vec::new())]);
                world.upstream.0.instead(CHANGED, Some(Instead::Bytes(other)));
                assert_eq!(world.gateway().client().get(CHANGED).status, 502);
            },
            heal: |world| world.upstream.0.instead(CHANGED, None),
            alerts: &[("ModgateIntegrityFailure", "")],
        },
        Fault {
            what: "gateway killed",
            form: Form::Short,
            inject: |world| {
                world.load.pause();
                world.gateway().signal("KILL");
            },
            heal: |world| {
                world.restart();
                world.resume();
            },
            alerts: &[("ModgateDown", "")],
        },
    ]
}

/// What collectors and upstreams do.
fn neighbours() -> Vec<Fault> {
    vec![
        Fault {
            what: "collector stopped",
            form: Form::Long,
            inject: |world| world.to_collector.cut(),
            heal: |world| world.to_collector.mend(),
            alerts: &[("ModgateTelemetryExportFailing", "")],
        },
        Fault {
            what: "upstream answers after 6 s",
            form: Form::Long,
            inject: |world| {
                world.load.pause();
                world.to_upstream.slow(Duration::from_secs(6));
                let client = world.gateway().client();
                world.pest(40, move |_| assert_eq!(client.get(&cold()).status, 404));
            },
            heal: |world| {
                world.to_upstream.slow(Duration::ZERO);
                world.resume();
            },
            alerts: &[("ModgateUpstreamSlow", "")],
        },
        Fault {
            what: "only new modules are asked for",
            form: Form::Long,
            inject: |world| world.load.hits.store(1, Ordering::Relaxed),
            heal: |world| world.load.hits.store(16, Ordering::Relaxed),
            alerts: &[("ModgateCacheHitRatioLow", "")],
        },
    ]
}

/// What callers and their directory do.
fn more() -> Vec<Fault> {
    vec![
        Fault {
            what: "slapd stopped",
            form: Form::Long,
            inject: |world| {
                world.slapd.signal("STOP");
                let client = world.gateway().stranger().basic("alice", "alice-pw");
                world.pest(4, move |_| drop(client.get("/-/whoami")));
            },
            heal: |world| world.slapd.signal("CONT"),
            alerts: &[("ModgateLdapFailing", "")],
        },
        Fault {
            what: "wrong passwords",
            form: Form::Long,
            inject: |world| {
                let client = world.gateway().stranger();
                world.pest(1, move |number| {
                    client.basic("mallory", &format!("guess{number}")).get("/-/whoami");
                    std::thread::park_timeout(Duration::from_millis(100));
                });
            },
            heal: nothing,
            alerts: &[("ModgateAuthFailureSpike", "")],
        },
        Fault {
            what: "one address asks in a loop",
            form: Form::Long,
            inject: |world| {
                let client = world.gateway().client().from("127.0.0.9");
                let paths = vec![INFO.to_owned(); 100];
                let asked = requests(&paths, &client.authorization());
                world.pest(2, move |_| drop(client.raw(asked.as_bytes())));
            },
            heal: nothing,
            alerts: &[("ModgateThrottling", "")],
        },
        Fault {
            what: "denied modules are asked for",
            form: Form::Long,
            inject: |world| {
                let client = world.gateway().client();
                world.pest(1, move |_| {
                    assert_eq!(client.get("/example.com/banned/x/@v/list").status, 403);
                    std::thread::park_timeout(Duration::from_millis(100));
                });
            },
            heal: nothing,
            alerts: &[("ModgateDeniedSpike", "policy_deny")],
        },
    ]
}

/// What happens in the house.
fn house() -> Vec<Fault> {
    vec![
        Fault {
            what: "an inner upstream redirects to a public one",
            form: Form::Long,
            inject: |world| {
                let path = "/corp.example/payments/lib/@v/v1.0.0.info";
                let away = Instead::Redirect("https://elsewhere.example/".to_owned());
                world.upstream.0.instead(path, Some(away));
                let gateway = world.gateway();
                let token = gateway.issue("pay", &["payments", "developers"]);
                assert_eq!(gateway.stranger().bearer(&token).get(path).status, 502);
            },
            heal: nothing,
            alerts: &[("ModgateDependencyConfusion", "")],
        },
        Fault {
            what: "audit directory gone",
            form: Form::Long,
            inject: |world| {
                let state = world.gateway().state();
                std::fs::rename(state.join("audit"), state.join("audit-away")).unwrap();
                std::fs::write(state.join("audit"), "").unwrap();
            },
            heal: |world| {
                let state = world.gateway().state();
                std::fs::remove_file(state.join("audit")).unwrap();
                std::fs::rename(state.join("audit-away"), state.join("audit")).unwrap();
            },
            alerts: &[("ModgateAuditEventsLost", ""), ("ModgateNotReady", "")],
        },
    ]
}

/// What can happen to the process.
fn process() -> Vec<Fault> {
    vec![
        Fault {
            what: "64 descriptors and idle connections",
            form: Form::Long,
            inject: |world| world.gateway().limit_descriptors(1.1),
            heal: |world| world.gateway().limit_descriptors(20.0),
            alerts: &[("ModgateFileDescriptorsHigh", "")],
        },
        Fault {
            what: "connections are opened one by one",
            form: Form::Long,
            inject: |world| {
                world.gateway().limit_descriptors(1.8);
                let (client, held) = (world.gateway().client(), Arc::new(Mutex::new(Vec::new())));
                world.pest(1, move |_| {
                    let mut stream = client.connect();
                    std::io::Write::flush(&mut stream).unwrap();
                    held.lock().unwrap().push(stream);
                    std::thread::park_timeout(Duration::from_millis(1500));
                });
            },
            heal: |world| world.gateway().limit_descriptors(20.0),
            alerts: &[("ModgateFileDescriptorsFillingUp", "")],
        },
    ]
}

/// What surrounds the process.
fn surroundings() -> Vec<Fault> {
    vec![
        Fault {
            what: "a certificate of one day",
            form: Form::Long,
            inject: |world| {
                world.load.pause();
                let ca = world.gateway().state().join("ca");
                for name in ["server.pem", "server-key.pem"] {
                    std::fs::copy(ca.join(name), ca.join(format!("{name}.kept"))).unwrap();
                }
                short_lived(&ca);
            },
            heal: |world| {
                let ca = world.gateway().state().join("ca");
                for name in ["server.pem", "server-key.pem"] {
                    std::fs::rename(ca.join(format!("{name}.kept")), ca.join(name)).unwrap();
                }
                let renewed = "the certificate is the old one again";
                super::until(renewed, || {
                    world.gateway().metric(CERTIFICATE)
                        > f64::from(u32::try_from(distant()).unwrap())
                });
                world.resume();
            },
            alerts: &[("ModgateCertificateExpiry", "")],
        },
        Fault {
            what: "gateway restarted three times",
            form: Form::Long,
            inject: |world| {
                world.load.pause();
                for _ in 0..4 {
                    world.restart();
                    let started = format!(
                        "process_start_time_seconds == {}",
                        world.gateway().metric("process_start_time_seconds")
                    );
                    super::until("the new process is scraped", || {
                        !world.monitoring.query(&started).is_empty()
                    });
                    // starts are told by the second
                    std::thread::park_timeout(Duration::from_millis(1100));
                }
            },
            heal: World::resume,
            alerts: &[("ModgateRestarting", "")],
        },
        Fault {
            what: "taken out of discovery",
            form: Form::Long,
            inject: |world| world.monitoring.target(None),
            heal: |world| world.monitoring.target(Some(world.gateway().ops)),
            alerts: &[("ModgateAbsent", "")],
        },
    ]
}

const CERTIFICATE: &str = "modgate_tls_certificate_not_after_timestamp_seconds";

/// A hundred days from now, in seconds since 1970.
fn distant() -> u64 {
    SystemClock.unix_seconds() + 100 * 86400
}

/// A certificate that ends within hours, in place of the gateway's own.
fn short_lived(directory: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = time::OffsetDateTime::now_utc() + Duration::from_hours(2);
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(directory.join("server-key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
}

/// Panels whose query gives nothing, or no number at all, over the last seconds.
pub(crate) fn empty_panels(monitoring: &Monitoring) -> Vec<String> {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut found = Vec::new();
    for file in std::fs::read_dir(boards).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                if target["datasource"]["type"] != "prometheus" {
                    continue;
                }
                let expr = filled(target["expr"].as_str().unwrap());
                let series = monitoring.range(&expr, 20);
                let numbers = series
                    .iter()
                    .flat_map(|one| one["values"].as_array().cloned().unwrap_or_default());
                if !numbers.into_iter().any(|value| value[1] != "NaN") {
                    found.push(format!("{} / {}: {expr}", board["title"], panel["title"]));
                }
            }
        }
    }
    found
}

/// Variables as Grafana would fill them in, with short times.
fn filled(expr: &str) -> String {
    let pairs = [
        ("$__rate_interval", "5s"),
        ("$__range", "60s"),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$slo", ".+"),
    ];
    pairs.iter().fold(expr.to_owned(), |text, (name, value)| text.replace(name, value))
}
