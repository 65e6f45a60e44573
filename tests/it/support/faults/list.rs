//! Each fault: how it is injected, how it is healed, and the alerts it must fire.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use modgate::clock::Clock as _;
use modgate::clock::SystemClock;

use super::Fault;
use super::Form;
use super::INFO;
use super::Instead;
use super::World;
use super::cold;
use super::nothing;
use super::requests;
use super::until;
use super::zip;

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
            what: "upstream stays dead",
            form: Form::Long,
            inject: |world| world.to_upstream.cut(),
            heal: |world| world.to_upstream.mend(),
            alerts: &[("ModgateUpstreamDown", "")],
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
            what: "redis-server stopped",
            form: Form::Long,
            inject: |world| world.redis.stop(),
            heal: |world| world.redis.start_again(),
            alerts: &[("ModgateRedisDown", "")],
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
            alerts: &[("ModgateEgressBlocked", "")],
        },
        Fault {
            what: "policy file broken",
            form: Form::Short,
            inject: |world| {
                let file = world.policy.path().join("rules/90-security.csv");
                std::fs::copy(&file, world.policy.path().join("kept")).unwrap();
                std::fs::write(file, "p, this is no row\n").unwrap();
                let _said = world.gateway().ops_call("POST", "/policy/reload");
            },
            heal: |world| {
                let file = world.policy.path().join("rules/90-security.csv");
                std::fs::rename(world.policy.path().join("kept"), file).unwrap();
                let _said = world.gateway().ops_call("POST", "/policy/reload");
            },
            alerts: &[("ModgatePolicyReloadFailed", "")],
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
                until(renewed, || {
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
                    until("the new process is scraped", || {
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

const CHANGED: &str = "/example.com/changed/@v/v1.0.0.zip";
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
