//! The agents that ship the audit: rsyslog and syslog-ng run with the configuration of `deploy/audit`, from the files to a
//! receiver, and nothing is missing at the end.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::io::BufReader;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use modgate::audit::event::Event;
use modgate::audit::segment::Segment;
use modgate::audit::writer::Settings;
use modgate::config::audit::Packing;
use serde_json::Value;

use crate::support::authority::Authority;
use crate::support::log::download;
use crate::support::log::during;
use crate::support::log::record;
use crate::support::log::settings;
use crate::support::log::write;
use crate::support::port;
use crate::support::until;

/// Takes lines over TCP, as long as it lives.
struct Receiver {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<BTreeSet<(String, u64)>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    fn listen(port: u16) -> Self {
        let mut bound = None;
        until("the receiver's port is free", || {
            bound = TcpListener::bind(("127.0.0.1", port)).ok();
            bound.is_some()
        });
        let listener = bound.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop) = (Arc::<Mutex<BTreeSet<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let (into, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let accepting = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (into, ended) = (Arc::clone(&into), Arc::clone(&ended));
                std::thread::spawn(move || {
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        if ended.load(Ordering::SeqCst) {
                            return;
                        }
                        let record: Value = serde_json::from_str(&line).unwrap();
                        let key = (
                            record["boot"].as_str().unwrap().to_owned(),
                            record["seq"].as_u64().unwrap(),
                        );
                        into.lock().unwrap().insert(key);
                    }
                });
            }
        });
        Self { address, seen, stop, accepting: Some(accepting) }
    }

    fn seen(&self) -> BTreeSet<(String, u64)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // wakes the one that accepts
        let _woken = std::net::TcpStream::connect(self.address);
        let _ended = self.accepting.take().map(std::thread::JoinHandle::join);
    }
}

/// An agent that runs; stopped by its own id.
struct Agent(Child);

impl Agent {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Ends as it would at a shutdown, so that it saves what it knows.
    fn stop(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        until("the agent ends", || self.0.try_wait().unwrap().is_some());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn peers() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

/// A configuration of `deploy/audit` with the places of a test.
fn configured(name: &str, directory: &Path, port: u16) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/audit").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let audit = directory.join("audit").display().to_string();
    let spool = directory.join("spool");
    std::fs::create_dir_all(&spool).unwrap();
    // the ports of RELP, and of syslog over plain TCP
    let usual = if name == "rsyslog.conf" { "2514" } else { "601" };
    for there in ["/var/lib/modgate/audit", "collector.example", usual] {
        assert!(text.contains(there), "{name} does not name {there}");
    }
    let text = text
        .replace("/var/lib/modgate/audit", &audit)
        .replace("/var/spool/rsyslog", &spool.display().to_string())
        .replace("collector.example", "127.0.0.1")
        .replace(usual, &port.to_string());
    let made = directory.join(name);
    std::fs::write(&made, text).unwrap();
    made
}

fn rsyslog(directory: &Path, configuration: &Path, pid: &str) -> Agent {
    let root = peers().join("rsyslog/usr");
    // a folder of the machine's architecture stands between
    let folders = std::fs::read_dir(root.join("lib")).unwrap();
    let mut modules = folders.map(|entry| entry.unwrap().path().join("rsyslog"));
    let modules = modules.find(|path| path.is_dir()).unwrap();
    let mut command = Command::new(root.join("sbin/rsyslogd"));
    command.arg("-n").arg("-M").arg(modules).arg("-f").arg(configuration);
    Agent::start(command.arg("-i").arg(directory.join(pid)))
}

/// The configuration of an rsyslog that acknowledges what it takes and writes it to a file.
fn collector(directory: &Path, port: u16) -> (std::path::PathBuf, std::path::PathBuf) {
    let (configuration, file) = (directory.join("collector.conf"), directory.join("collected"));
    let text = format!(
        "global(maxMessageSize=\"16k\")\nmodule(load=\"imrelp\")\n\
         template(name=\"line\" type=\"string\" string=\"%rawmsg%\\n\")\n\
         ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{}\" template=\"line\") }}\n\
         input(type=\"imrelp\" port=\"{port}\" ruleset=\"all\" maxDataSize=\"16k\")\n",
        file.display()
    );
    std::fs::write(&configuration, text).unwrap();
    (configuration, file)
}

fn collected(file: &Path) -> BTreeSet<(String, u64)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records
        .filter_map(|record| Some((record["boot"].as_str()?.to_owned(), record["seq"].as_u64()?)))
        .collect()
}

/// An audit as it is by default, but for its small segments.
fn compressing(directory: &Path) -> Settings {
    let mut settings = settings(directory);
    settings.config.max_segment = 64 << 10;
    settings.config.packing = Packing::Compress;
    settings.config.plain_for = Duration::from_hours(1);
    settings
}

fn downloads(count: usize, name: &str) -> impl Iterator<Item = Event> {
    (0..count).map(move |n| {
        let (time, module) = ("2026-10-01T12:00:00.000000Z", format!("corp.example/{name}{n}"));
        download(time, "user:token:alice", &module)
    })
}

/// Records of another start: some segments of them.
fn more(directory: &Path, name: &str) {
    write(compressing(directory), downloads(200, name));
}

/// The segments of a directory but the one being written, as soon as each has its index.
fn closed(directory: &Path) -> Vec<Segment> {
    let mut segments = Vec::new();
    until("closed segments are indexed", || {
        segments = modgate::audit::segment::list(&directory.join("audit")).unwrap();
        segments.pop();
        segments.iter().all(|segment| segment.index().exists())
    });
    segments
}

fn written(directory: &Path) -> BTreeSet<(String, u64)> {
    let records = crate::support::gateway::records_in(&directory.join("audit"));
    records
        .iter()
        .map(|record| {
            (record["boot"].as_str().unwrap().to_owned(), record["seq"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn rsyslog_ships_every_record_across_restarts_of_both_ends() {
    let directory = tempfile::tempdir().unwrap();
    let port = port();
    let (collecting, file) = collector(directory.path(), port);
    let shipping = configured("rsyslog.conf", directory.path(), port);
    let arrived = |what: &str| {
        until(what, || written(directory.path()).is_subset(&collected(&file)));
    };
    more(directory.path(), "a");
    let receiver = rsyslog(directory.path(), &collecting, "receiver.pid");
    let sender = rsyslog(directory.path(), &shipping, "sender.pid");
    arrived("the first records arrive");
    // the sender is gone while records are written, then it goes on where it was
    sender.stop();
    more(directory.path(), "b");
    let sender = rsyslog(directory.path(), &shipping, "sender.pid");
    arrived("the second records arrive");
    // the receiver is killed while records are written
    drop(receiver);
    more(directory.path(), "c");
    let receiver = rsyslog(directory.path(), &collecting, "receiver.pid");
    arrived("all records have arrived");
    sender.stop();
    receiver.stop();
}

/// What it had not read of a segment that was closed meanwhile is still there as it was.
#[test]
fn rsyslog_that_is_away_while_segments_are_closed_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let port = port();
    let (collecting, file) = collector(directory.path(), port);
    let shipping = configured("rsyslog.conf", directory.path(), port);
    let receiver = rsyslog(directory.path(), &collecting, "receiver.pid");
    let arrived = |what: &str| {
        until(what, || written(directory.path()).is_subset(&collected(&file)));
    };
    during(compressing(directory.path()), |audit| {
        record(audit, downloads(20, "a"));
        let sender = rsyslog(directory.path(), &shipping, "sender.pid");
        arrived("the beginning of a segment arrives");
        sender.stop();
        record(audit, downloads(200, "b"));
        assert!(closed(directory.path()).len() >= 2);
        let sender = rsyslog(directory.path(), &shipping, "sender.pid");
        arrived("its rest and the next ones arrive");
        sender.stop();
    });
    receiver.stop();
}

/// The lines that `rsyslog.conf` has about TLS, in force at both ends.
#[test]
fn rsyslog_ships_over_tls_as_its_configuration_says() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::make(directory.path()), port());
    let (collecting, file) = collector(directory.path(), port);
    let shipping = configured("rsyslog.conf", directory.path(), port);
    let text = std::fs::read_to_string(&shipping).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let tls = lines.fold(String::new(), |all, line| format!("{all} {line}"));
    let tls = tls
        .replace("/etc/rsyslog/ca.pem", &authority.ca.display().to_string())
        .replace("/etc/rsyslog/gateway.pem", &authority.cert.display().to_string())
        .replace("/etc/rsyslog/gateway.key", &authority.key.display().to_string())
        .replace("127.0.0.1", "localhost");
    assert!(tls.contains("permittedPeer=[\"localhost\"]"), "{tls}");
    for (path, begin) in
        [(&collecting, "input(type=\"imrelp\""), (&shipping, "action(type=\"omrelp\"")]
    {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, text.replace(begin, &format!("{begin}{tls}"))).unwrap();
    }
    more(directory.path(), "a");
    let receiver = rsyslog(directory.path(), &collecting, "receiver.pid");
    let sender = rsyslog(directory.path(), &shipping, "sender.pid");
    until("the records arrive", || written(directory.path()).is_subset(&collected(&file)));
    sender.stop();
    receiver.stop();
}

#[test]
fn a_closed_segment_stays_plain_for_a_while_since_it_was_closed_and_is_packed_then() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = compressing(directory.path());
    let now = settings.clock.now();
    let age = |path: &Path| {
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(now - Duration::from_hours(2)).unwrap();
    };
    let packed =
        |segments: &[Segment]| segments.iter().filter(|segment| segment.packed().exists()).count();
    more(directory.path(), "a");
    // switched off for long, and its agent with it
    for segment in modgate::audit::segment::list(&settings.config.dir).unwrap() {
        age(&segment.plain());
    }
    during(settings.clone(), |audit| {
        record(audit, downloads(1, "b"));
        let closed = closed(directory.path());
        assert!(closed.len() >= 3 && packed(&closed) == 0, "{closed:?}");
        for segment in &closed {
            age(&segment.index());
        }
    });
    // the next start finds that they were closed long ago, apart from the last one
    during(settings.clone(), |audit| {
        record(audit, downloads(1, "c"));
        let closed = closed(directory.path());
        until("those are packed", || packed(&closed) == closed.len() - 1);
        assert!(closed.last().unwrap().plain().exists());
        assert!(closed.iter().rev().skip(1).all(|segment| !segment.plain().exists()));
    });
    // without another record
    settings.config.plain_for = Duration::from_millis(300);
    during(settings, |audit| {
        record(audit, downloads(1, "d"));
        let closed = closed(directory.path());
        until("all of them are packed", || packed(&closed) == closed.len());
    });
    assert_eq!(crate::support::log::verified(directory.path(), "").exit_code(), 0);
}

#[test]
fn syslog_ng_ships_every_record() {
    let directory = tempfile::tempdir().unwrap();
    more(directory.path(), "a");
    let receiver = Receiver::listen(0);
    let configuration = configured("syslog-ng.conf", directory.path(), receiver.address.port());
    let root = peers().join("syslog-ng-core/usr");
    let modules = std::fs::read_dir(root.join("lib/syslog-ng")).unwrap();
    let modules = modules.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut command = Command::new(root.join("sbin/syslog-ng"));
    command.env("LD_LIBRARY_PATH", root.join("lib/syslog-ng"));
    command.arg("--foreground").arg("--no-caps").arg("-f").arg(configuration);
    command.arg(format!("--module-path={}", modules.display()));
    command.arg("-R").arg(at("persist")).arg("-p").arg(at("pid")).arg("-c").arg(at("ctl"));
    let agent = Agent::start(&mut command);
    until("the records arrive", || receiver.seen() == written(directory.path()));
    more(directory.path(), "b");
    until("a new segment is found", || receiver.seen() == written(directory.path()));
    agent.stop();
}

#[test]
fn the_other_agents_name_the_files_and_remove_nothing() {
    for (name, wanted) in [
        ("vector.yaml", ["audit-*.jsonl", "dedup_key", "when_full: block"]),
        ("fluent-bit.yaml", ["audit-*.jsonl", "read_from_head: true", "no_limits"]),
        ("otel-collector.yaml", ["audit-*.jsonl", "start_at: beginning", "storage: file_storage"]),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/audit").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        for part in wanted {
            assert!(text.contains(part), "{name} does not say {part}");
        }
        assert!(text.contains("not run by the tests"), "{name} does not say how it was checked");
        assert!(!text.contains('\t'), "{name}: YAML takes no tabs");
    }
}
