//! Faults of the machine that the gateway runs on, and of the process itself.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use modgate::clock::Clock as _;
use modgate::clock::SystemClock;

use super::CROWD;
use super::Doing;
use super::Fault;
use super::Form;
use super::INFO;
use super::Session;
use super::World;
use super::nothing;
use super::requests;
use super::until;

/// What can happen to the process.
pub(super) fn process() -> Vec<Fault> {
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
                    let mut held = held.lock().unwrap();
                    // never so many that the limit is reached: that is another fault
                    if held.len() < 40 {
                        held.push(Session::open(client.clone()));
                    }
                    // a connection on which nothing is asked is closed soon
                    for session in held.iter_mut() {
                        assert_eq!(session.ask("GET", "/"), 200);
                    }
                    drop(held);
                    std::thread::park_timeout(Duration::from_millis(1200));
                });
            },
            heal: |world| world.gateway().limit_descriptors(20.0),
            alerts: &[("ModgateFileDescriptorsFillingUp", "")],
        },
        Fault {
            what: "the process stands still now and then",
            form: Form::Long,
            inject: |world| {
                let process = world.gateway().id().to_string();
                world.pest(1, move |_| {
                    let signal = |name: &str| {
                        let mut kill = Command::new("kill");
                        assert!(kill.args([name, &process]).status().unwrap().success());
                    };
                    signal("-STOP");
                    std::thread::park_timeout(Duration::from_millis(300));
                    signal("-CONT");
                    std::thread::park_timeout(Duration::from_millis(700));
                });
            },
            heal: nothing,
            alerts: &[("ModgateWorkerLag", "")],
        },
    ]
}

/// What ends the process, or may.
pub(super) fn ends() -> Vec<Fault> {
    vec![
        Fault {
            what: "gateway restarted three times",
            form: Form::Long,
            inject: |world| {
                world.load.pause();
                let begun = Instant::now();
                let is_told = |world: &World| {
                    let fired = world.monitoring.fired_since(begun);
                    fired.iter().any(|alert| alert == "ModgateRestarting")
                };
                // a slow machine needs one more, since all must lie within a quarter of a minute
                for _ in 0..6 {
                    world.restart();
                    let started = format!(
                        "process_start_time_seconds == {}",
                        world.gateway().metric("process_start_time_seconds")
                    );
                    until("the new process is scraped", || {
                        !world.monitoring.query(&started).is_empty()
                    });
                    // starts are told by the second
                    std::thread::park_timeout(Duration::from_millis(1100));
                    if is_told(world) {
                        break;
                    }
                }
            },
            heal: World::resume,
            alerts: &[("ModgateRestarting", "")],
        },
        Fault {
            what: "a control group with less memory than is used",
            form: Form::Long,
            inject: |world| {
                world.load.pause();
                let limit = world.gateway().memory("VmRSS") / 2;
                let script = format!(
                    "mount -t tmpfs none /sys/fs/cgroup && echo {limit} > /sys/fs/cgroup/memory.max \
                     && exec \"$0\" \"$@\""
                );
                world.restart_within(&["unshare", "-r", "-m", "sh", "-c", &script]);
                world.resume();
            },
            heal: |world| {
                world.load.pause();
                world.restart();
                world.resume();
            },
            alerts: &[("ModgateMemoryHigh", "")],
        },
    ]
}

/// What the kernel does to the process.
pub(super) fn kernel() -> Vec<Fault> {
    vec![
        Fault {
            what: "the disk of the audit hangs",
            form: Form::Long,
            inject: |world| {
                world.kernel.begin(Doing::HangSync);
                // records of refusals wait for the disk, as the run has it set
                assert_eq!(world.gateway().stranger().get(INFO).status, 401);
                let client = world.gateway().client();
                world.pest(8, move |number| {
                    // no address asks faster than it may
                    let client = client.from(&format!("127.0.1.{}", 1 + number % 64));
                    let asked = requests(&vec![INFO.to_owned(); 20], &client.authorization());
                    drop(client.raw(asked.as_bytes()));
                });
            },
            heal: |world| world.kernel.end(Doing::HangSync),
            alerts: &[("ModgateAuditCheckpointStale", ""), ("ModgateAuditQueueFillingUp", "")],
        },
        Fault {
            what: "the kernel refuses threads",
            form: Form::Long,
            inject: |world| {
                world.kernel.begin(Doing::RefuseThreads);
                let client = world.gateway().client();
                let callers: Vec<_> = (0..CROWD)
                    .map(|number| {
                        let client = client.clone();
                        std::thread::spawn(move || {
                            client.get(&format!("/example.com/crowd/m{number}/@v/v1.0.0.zip"))
                        })
                    })
                    .collect();
                for caller in callers {
                    drop(caller.join());
                }
            },
            heal: |world| world.kernel.end(Doing::RefuseThreads),
            alerts: &[("ModgatePanics", "")],
        },
    ]
}

/// What surrounds the process.
pub(super) fn surroundings() -> Vec<Fault> {
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
                until(renewed, || {
                    world.gateway().metric(CERTIFICATE)
                        > f64::from(u32::try_from(distant()).unwrap())
                });
                world.resume();
            },
            alerts: &[("ModgateCertificateExpiry", "")],
        },
        Fault {
            what: "taken out of discovery",
            form: Form::Long,
            inject: |world| world.monitoring.targets(&[]),
            heal: |world| world.monitoring.targets(&[("gate", world.gateway().ops)]),
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
