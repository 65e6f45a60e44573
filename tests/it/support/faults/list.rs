//! Each fault: how it is injected, how it is healed, and the alerts it must fire.

mod machine;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::BULK;
use super::CROWD;
use super::Doing;
use super::Fault;
use super::Form;
use super::INFO;
use super::Instead;
use super::Session;
use super::Setup;
use super::World;
use super::cold;
use super::copy;
use super::nothing;
use super::requests;
use super::until;
use super::zip;

/// Every fault.
pub(crate) fn all() -> Vec<Fault> {
    [
        first(),
        neighbours(),
        tiers(),
        judges(),
        callers(),
        policies(),
        nodes(),
        house(),
        machine::process(),
        machine::ends(),
        machine::kernel(),
        machine::surroundings(),
    ]
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
                ("ModgateErrorBudgetBurn", "\"short\":\"5m\",\"slo\":\"availability\""),
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

/// What becomes of tiers.
fn tiers() -> Vec<Fault> {
    vec![
        Fault {
            what: "cache directory gone",
            form: Form::Long,
            inject: |world| swap(&world.gateway().state().join("cache"), Swap::Away),
            heal: |world| swap(&world.gateway().state().join("cache"), Swap::Back),
            alerts: &[("ModgateCacheErrors", "blob")],
        },
        Fault {
            what: "large modules fill the directory",
            form: Form::Long,
            inject: |world| {
                let client = world.gateway().client();
                for number in 0..BULK {
                    let path = format!("/example.com/bulk/m{number}/@v/v1.0.0.zip");
                    assert_eq!(client.get(&path).status, 200);
                }
            },
            heal: |world| {
                for number in 0..BULK {
                    let module = format!("example.com/bulk/m{number}");
                    let done = world.gateway().command(&["cache", "purge", &module]);
                    assert!(done.status.success(), "{done:?}");
                }
            },
            alerts: &[("ModgateCacheFillingUp", "blob")],
        },
        Fault {
            what: "somebody tells of a log that is none",
            form: Form::Long,
            inject: |world| {
                for words in [
                    ["SET", "modgate:generation:{logs/gate-9}", "1"],
                    ["LPUSH", "modgate:news:{logs/gate-9}", "1|words"],
                    ["SADD", "modgate:nodes:{logs}", "gate-9"],
                ] {
                    world.redis.cli(&words);
                }
            },
            heal: |world| drop(world.redis.cli(&["DEL", "modgate:nodes:{logs}"])),
            alerts: &[("ModgateAuditWitnessRefuses", "")],
        },
        Fault {
            what: "redis-server stopped",
            form: Form::Long,
            inject: |world| world.redis.stop(),
            heal: |world| world.redis.start_again(),
            alerts: &[("ModgateRedisDown", "")],
        },
    ]
}

/// Who judges callers.
fn judges() -> Vec<Fault> {
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
            alerts: &[
                ("ModgateErrorBudgetBurn", "\"short\":\"5m\",\"slo\":\"authentication\""),
                ("ModgateLdapFailing", ""),
            ],
        },
        Fault {
            what: "token issuer stopped",
            form: Form::Long,
            inject: |world| {
                let token = world.issuer.token();
                world.issuer.stop();
                let stranger = world.gateway().stranger();
                world.pest(1, move |number| {
                    stranger.bearer(&by_another_key(&token, number)).get("/-/whoami");
                    std::thread::park_timeout(Duration::from_millis(300));
                });
            },
            heal: |world| world.issuer.start_again(),
            alerts: &[("ModgateKeyFetchFailing", "")],
        },
    ]
}

/// What callers do.
fn callers() -> Vec<Fault> {
    vec![
        Fault {
            what: "wrong passwords",
            form: Form::Long,
            inject: |world| {
                let client = world.gateway().stranger();
                world.pest(1, move |number| {
                    // three guesses at each name, and eighteen from each address: fewer than it takes to throttle it
                    let from = client.from(&format!("127.0.1.{}", number / 18 % 250 + 1));
                    let name = format!("mallory{}", number / 3);
                    from.basic(&name, &format!("guess{number}")).get("/-/whoami");
                    std::thread::park_timeout(Duration::from_millis(100));
                });
            },
            heal: nothing,
            alerts: &[("ModgateAuthFailureSpike", ""), ("ModgateBruteForce", "user")],
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

/// What becomes of policies.
fn policies() -> Vec<Fault> {
    vec![Fault {
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
    }]
}

/// What another node does.
fn nodes() -> Vec<Fault> {
    vec![
        Fault {
            what: "another node has another policy",
            form: Form::Long,
            inject: |world| {
                let policy = world.gateway().state().join("other-policy");
                std::fs::create_dir_all(&policy).unwrap();
                copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), &policy);
                let file = policy.join("rules/90-security.csv");
                let mut rows = std::fs::read_to_string(&file).unwrap();
                rows.push_str("p, other, any:authenticated, example.com/other, *, *, deny\n");
                std::fs::write(file, rows).unwrap();
                beside(world, &format!("[policy]\ndir = \"{}\"\n", policy.display()));
            },
            heal: alone,
            alerts: &[("ModgatePolicyDrift", "")],
        },
        Fault {
            what: "a node sends passwords in clear",
            form: Form::Long,
            inject: |world| {
                let server = format!("\"ldap://localhost:{}\"", world.slapd.plain_port());
                let settings = world.slapd.settings_for(&server, "insecure_plaintext = true");
                beside(world, &settings.replace("ca_file", "#"));
            },
            heal: alone,
            alerts: &[("ModgateInsecureSetting", "")],
        },
    ]
}

/// Starts another gateway, which is scraped too.
fn beside(world: &mut World, settings: &str) {
    let other = Setup::over(&world.to_upstream.url()).with(settings).start();
    world.monitoring.targets(&[("gate", world.gateway().ops), ("other", other.ops)]);
    world.other = Some(other);
}

/// Ends it.
fn alone(world: &mut World) {
    world.monitoring.targets(&[("gate", world.gateway().ops)]);
    world.other = None;
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
            what: "audit directory gone",
            form: Form::Long,
            inject: |world| swap(&world.gateway().state().join("audit"), Swap::Away),
            heal: |world| swap(&world.gateway().state().join("audit"), Swap::Back),
            alerts: &[("ModgateAuditEventsLost", ""), ("ModgateNotReady", "")],
        },
    ]
}

/// Which way something is moved.
#[derive(Debug, Clone, Copy)]
enum Swap {
    Away,
    Back,
}

/// Puts a file where a directory is, and back: whoever looks into it fails, root as well.
fn swap(directory: &Path, way: Swap) {
    let away = directory.with_extension("away");
    match way {
        Swap::Away => {
            std::fs::rename(directory, away).unwrap();
            std::fs::write(directory, "").unwrap();
        }
        Swap::Back => {
            std::fs::remove_file(directory).unwrap();
            std::fs::rename(away, directory).unwrap();
        }
    }
}

/// A token that says that it is signed by a key that nobody knows.
pub(crate) fn by_another_key(token: &str, number: u64) -> String {
    let (head, rest) = token.split_once('.').unwrap();
    let head = URL_SAFE_NO_PAD.decode(head).unwrap();
    let mut head: serde_json::Value = serde_json::from_slice(&head).unwrap();
    head["kid"] = format!("unknown-{number}").into();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(head.to_string()))
}

const CHANGED: &str = "/example.com/changed/@v/v1.0.0.zip";
