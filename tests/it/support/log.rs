//! Audit logs written by the audit itself, without a gateway around it: many records in little time.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use modgate::audit::Audit;
use modgate::audit::Class;
use modgate::audit::chain::Chain;
use modgate::audit::event::Actor;
use modgate::audit::event::Decision;
use modgate::audit::event::Event;
use modgate::audit::event::Http;
use modgate::audit::event::Resource;
use modgate::audit::event::Source;
use modgate::audit::name::Name;
use modgate::audit::name::Outcome;
use modgate::audit::verify::Report;
use modgate::audit::verify::Subject;
use modgate::audit::verify::verify;
use modgate::audit::writer;
use modgate::audit::writer::Settings;
use modgate::clock::Clock;
use modgate::clock::SystemClock;
use modgate::config::audit::FailureMode;
use modgate::config::audit::Mode;
use modgate::config::audit::Packing;
use modgate::config::audit::Witness;
use modgate::telemetry::Telemetry;
use modgate::telemetry::trace::sampler::Sampler;

use super::until;

/// The settings of an audit below a directory, for node `gw`.
pub(crate) fn settings(directory: &Path) -> Settings {
    let config = modgate::config::audit::Audit {
        dir: directory.join("audit"),
        second_dir: None,
        max_segment: 256 << 20,
        max_age: Duration::from_hours(1),
        packing: Packing::Leave,
        plain_for: Duration::ZERO,
        keep_days: 400,
        hold: false,
        reserve: 4096,
        on_failure: FailureMode::Closed,
        on_failure_public: FailureMode::Open,
        private_mode: Mode::Written,
        public_mode: Mode::Written,
        refusal_mode: Mode::Written,
        admin_mode: Mode::Written,
        checkpoint_every: Duration::from_secs(10),
        announce: false,
        origin: "modgate".to_owned(),
        key_file: directory.join("audit.key"),
        witness: Witness::Nobody,
        witness_dir: directory.join("witness"),
        pseudonymise: false,
    };
    Settings { config, node: "gw".to_owned(), clock: Arc::new(SystemClock) }
}

/// Runs an audit while something uses it, and waits for its end.
pub(crate) fn during<T>(settings: Settings, used: impl FnOnce(&Audit) -> T) -> T {
    run(settings, used).0
}

/// Writes events one after the other; gives what was told of how the log grew.
pub(crate) fn steps(
    settings: Settings,
    events: impl IntoIterator<Item = Event>,
) -> Vec<modgate::audit::witness::step::Told> {
    run(settings, |audit| record(audit, events)).1
}

fn run<T>(
    settings: Settings,
    used: impl FnOnce(&Audit) -> T,
) -> (T, Vec<modgate::audit::witness::step::Told>) {
    let clock: Arc<dyn Clock> = Arc::clone(&settings.clock);
    let telemetry = Arc::new(Telemetry::new(&[], Sampler::new(0.0), clock).unwrap());
    let started = writer::start(settings, &telemetry).unwrap();
    let (audit, loops, mut told) = (started.audit, started.loops, started.told);
    let result = std::thread::scope(|scope| {
        // all of them end with the audit
        for (_name, run) in loops {
            scope.spawn(run);
        }
        let result = used(&audit);
        drop(audit);
        result
    });
    let told = std::iter::from_fn(|| told.try_recv().ok()).collect();
    (result, told)
}

/// Writes events one after the other.
pub(crate) fn write(settings: Settings, events: impl IntoIterator<Item = Event>) {
    during(settings, |audit| record(audit, events));
}

/// Writes events one after the other. Who waits for a write on a busy disk may be told that it takes too long: it is written
/// all the same, since one event at a time never fills the queue.
pub(crate) fn record(audit: &Audit, events: impl IntoIterator<Item = Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for event in events {
        if runtime.block_on(audit.record(Class::Private, event)).is_err() {
            until("the writer has taken it", || audit.waiting() == 0);
        }
    }
}

/// Every line of a segment anew and chained again, with another module in one of them.
pub(crate) fn rewritten(lines: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(lines.to_vec()).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let before = first["detail"]["chain_before"].as_str().unwrap().as_bytes();
    let last = modgate::audit::chain::value_of(before).unwrap();
    let (mut chain, mut out) = (Chain { last, ..Chain::default() }, Vec::new());
    for line in text.lines() {
        let changed = line.replace("corp.example/m7\"", "corp.example/m8\"");
        let (before, _) = modgate::audit::chain::open(changed.as_bytes()).unwrap();
        let mut line = [before, b"}"].concat();
        chain.seal(&mut line);
        out.extend(line);
        out.push(b'\n');
    }
    out
}

/// The download of a module's zip.
pub(crate) fn download(time: &str, actor: &str, module: &str) -> Event {
    let id = format!("01920000-0000-7000-8000-{:012x}", number(time, actor, module));
    let mut event = Event::bare(time.to_owned(), Name::ModuleZip, id, Outcome::Allowed);
    event.actor = Some(Actor {
        id: Some(actor.to_owned()),
        groups: vec!["group:token:developers".to_owned()],
        detail: Some("laptop".to_owned()),
        ..Actor::of("token", "success")
    });
    event.source = Some(Source {
        ip: "10.1.2.3".to_owned(),
        port: 51514,
        transport: "tls",
        ua: Some("Go-http-client/1.1".to_owned()),
    });
    event.resource = Some(Resource {
        module: Some(module.to_owned()),
        version: Some("v1.0.0".to_owned()),
        artifact: Some("zip"),
        path: None,
        private: true,
    });
    event.decision = Some(Decision {
        shadow: None,
        generation: Some(1),
        gates: Vec::new(),
        us: Some(3),
        effect: "allow",
        reason: "policy_allow",
        rule: Some("team".to_owned()),
        policy: Some("sha256:ab12".to_owned()),
        cached: true,
    });
    event.http = Some(Http {
        method: "GET",
        status: 200,
        bytes_out: Some(123_456),
        complete: Some(true),
        ms: 12.3,
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
    });
    event
}

/// A number that differs with its texts.
fn number(time: &str, actor: &str, module: &str) -> u64 {
    use std::hash::BuildHasher as _;
    let hashing = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    hashing.hash_one((time, actor, module)) >> 16
}

/// Verifies node `gw` below a directory with the key that lies there, against notes kept elsewhere.
pub(crate) fn verified(directory: &Path, kept: &str) -> Report {
    let keys = modgate::audit::keys::verifiers(&directory.join("audit.key")).unwrap();
    let question = Subject {
        directories: vec![directory.join("audit")],
        node: "gw".to_owned(),
        keys,
        kept: kept.to_owned(),
    };
    verify(&question, &mut |_| ()).unwrap()
}

/// The only segment below a directory.
pub(crate) fn segment(directory: &Path) -> PathBuf {
    let segments = modgate::audit::segment::list(&directory.join("audit")).unwrap();
    assert_eq!(segments.len(), 1);
    segments[0].plain()
}
