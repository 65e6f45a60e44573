//! A directory judges names and passwords: a real slapd, stopped, frozen, and asked hostile names.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::go::Go;
use crate::support::port;
use crate::support::slapd::PATIENT;
use crate::support::slapd::People;
use crate::support::slapd::Slapd;
use crate::support::tree::Tree;
use crate::support::until;

fn corp() -> People {
    People::new()
        .person("alice")
        .person("bob")
        .person("bob,x")
        .person("*")
        .group("go-dev", &["alice"])
        .group("engineering", &["group:go-dev"])
        .group("everybody", &["group:engineering", "bob"])
        .group("circle", &["group:everybody"])
}

fn over(settings: &str) -> Gateway {
    let tree = Tree::new();
    Setup::over(&format!("file://{}", tree.path().display())).with(settings).start()
}

fn whoami(client: &Client) -> (u16, Value) {
    let answer = client.get("/-/whoami");
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

fn login(gateway: &Gateway, name: &str) -> Client {
    gateway.stranger().basic(name, &format!("{name}-pw"))
}

#[test]
fn a_name_and_its_password_are_a_caller_with_nested_groups() {
    let slapd = Slapd::with(&corp());
    let gateway = over(&slapd.settings(""));
    let (status, alice) = whoami(&login(&gateway, "alice"));
    assert_eq!(status, 200);
    assert_eq!(alice["principal"], "user:ldap/corp:alice");
    let groups: Vec<_> =
        alice["groups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap()).collect();
    let expected = ["circle", "engineering", "everybody", "go-dev"]
        .map(|group| format!("group:ldap/corp:{group}"));
    assert_eq!(groups, expected);
    // another spelling of the name is the same caller
    let (_, loud) = whoami(&gateway.stranger().basic("ALICE", "alice-pw"));
    assert_eq!(loud["principal"], "user:ldap/corp:alice");
    assert_eq!(whoami(&gateway.stranger().basic("alice", "wrong")).0, 401);
    assert_eq!(whoami(&gateway.stranger().basic("nobody", "wrong")).0, 401);
    let all = gateway.audited(4, "logins", |event| event["event"] != "");
    assert!(!format!("{all:?}{}", gateway.output()).contains("alice-pw"));
}

#[test]
fn groups_come_from_memberof_as_well_and_starttls_and_templates_work() {
    let slapd = Slapd::with(&corp());
    let member = over(&slapd.settings("group_mode = \"memberof\""));
    let (_, alice) = whoami(&login(&member, "alice"));
    assert_eq!(alice["groups"].as_array().unwrap().len(), 4, "{alice}");
    let plain = format!("\"ldap://localhost:{}\"", slapd.plain_port());
    let starttls = over(&slapd.settings_for(&plain, &format!("starttls = true\n{PATIENT}")));
    assert_eq!(whoami(&login(&starttls, "alice")).0, 200);
    let settings = slapd.settings("bind_template = \"uid={user},ou=people,dc=corp,dc=example\"");
    let without: String = settings
        .lines()
        .filter(|line| !line.starts_with("bind_dn") && !line.starts_with("bind_password"))
        .map(|line| format!("{line}\n"))
        .collect();
    let template = over(&without);
    for name in ["alice", "bob,x"] {
        assert_eq!(whoami(&login(&template, name)).0, 200, "{name}");
    }
}

#[test]
fn no_trick_in_a_name_yields_another_entry() {
    let slapd = Slapd::with(&corp());
    let gateway = over(&slapd.settings(""));
    for name in ["bob,x", "*"] {
        let (status, who) = whoami(&login(&gateway, name));
        assert_eq!(status, 200, "{name}");
        let own = if name == "*" { "user:ldap/corp:%2A" } else { "user:ldap/corp:bob%2Cx" };
        assert_eq!(who["principal"], own);
    }
    let tricks = [
        "ali*",
        "a*",
        "**",
        "alice)(uid=*",
        "*)(uid=alice",
        "alice)(|(uid=*",
        "alice\0",
        "(uid=alice)",
        "alice)",
        "(",
        "alice,ou=people",
        "uid=alice",
        "\\61lice",
        "alice\\2a",
        "alice ",
        " alice",
        "a\u{301}lice",
        "\u{ff41}lice",
        "alice+cn=alice",
        "|(uid=alice)",
        "&",
        "!(uid=bob)",
        "alice#",
        "",
        "admin",
        "cn=admin,dc=corp,dc=example",
        "cn=modgate,ou=services,dc=corp,dc=example",
    ];
    for (place, trick) in tricks.into_iter().enumerate() {
        // each from an address of its own, or the source would be throttled
        let stranger = gateway.stranger().from(&format!("127.0.1.{}", place + 1));
        for password in ["alice-pw", "admin", "service-pw", ""] {
            let (status, who) = whoami(&stranger.basic(trick, password));
            // spellings that the directory itself takes for alice, with her password, are alice and nobody else
            let spelling = trick.trim() == "alice" || trick == "\u{ff41}lice";
            let same =
                who["principal"] == "user:ldap/corp:alice" && spelling && password == "alice-pw";
            assert!(matches!(status, 400 | 401) || same, "{trick:?} {password:?}: {status} {who}");
        }
    }
    // an empty password is refused before the directory is asked
    let before = slapd.binds();
    assert_eq!(whoami(&gateway.stranger().basic("alice", "")).0, 401);
    assert_eq!(slapd.binds(), before);
}

#[test]
fn two_hundred_callers_at_once_have_their_own_groups_and_no_others() {
    let mut people = People::new();
    for n in 0..200 {
        people = people.person(&format!("user{n}"));
    }
    for n in 0..200 {
        people = people.group(&format!("team{n}"), &[&format!("user{n}")]);
    }
    let slapd = Slapd::with(&people);
    let gateway = over(&slapd.settings("total_timeout = \"20s\"\noperation_timeout = \"10s\""));
    let logins: Vec<_> = (0..200)
        .map(|n| {
            let client = login(&gateway, &format!("user{n}"));
            std::thread::spawn(move || (n, whoami(&client)))
        })
        .collect();
    for login in logins {
        let (n, (status, who)) = login.join().unwrap();
        assert_eq!(status, 200, "{n}: {who}");
        assert_eq!(who["principal"], format!("user:ldap/corp:user{n}"));
        assert_eq!(who["groups"], serde_json::json!([format!("group:ldap/corp:team{n}")]));
    }
}

#[test]
fn three_hundred_modules_of_one_caller_cost_one_bind() {
    let slapd = Slapd::with(&corp());
    let mut tree = Tree::new();
    let mut requires = String::new();
    for n in 0..300 {
        tree.module(&format!("example.com/mod{n:03}"), "v1.0.0", &[]);
        requires.extend(["require example.com/mod", &format!("{n:03}"), " v1.0.0\n"]);
    }
    let policy = tempfile::tempdir().unwrap();
    copy_policy(policy.path(), "g, group:ldap/corp:go-dev, role:developers\n");
    let settings = format!(
        "[policy]\ndir = \"{}\"\n\n{}",
        policy.path().display(),
        slapd.settings("cache_ttl = \"1h\"")
    );
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).with(&settings).start();
    let project = tempfile::tempdir().unwrap();
    std::fs::write(
        project.path().join("go.mod"),
        format!("module example.com/main\n\ngo 1.21\n\n{requires}"),
    )
    .unwrap();
    std::fs::write(project.path().join("go.sum"), tree.gosum()).unwrap();
    let netrc = project.path().join("netrc");
    std::fs::write(
        &netrc,
        format!("machine localhost:{} login alice password alice-pw\n", gateway.address.port()),
    )
    .unwrap();
    let go = Go::at(&gateway).with("NETRC", &netrc.display().to_string());
    let said = go.run(project.path(), &["mod", "download"]);
    assert!(said.ok, "{}", said.err);
    assert_eq!(slapd.binds(), 1);
    // bob is in no group that the policy knows
    assert_eq!(login(&gateway, "bob").get("/example.com/mod000/@v/list").status, 403);
}

pub(crate) fn copy_policy(to: &std::path::Path, roles: &str) {
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for name in [
        "model.conf",
        "roles.csv",
        "rules/00-baseline.csv",
        "rules/20-teams/payments.csv",
        "rules/90-security.csv",
        "tests/baseline.toml",
    ] {
        let target = to.join(name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.join(name), target).unwrap();
    }
    let path = to.join("roles.csv");
    let text = std::fs::read_to_string(&path).unwrap();
    // a team is no more than its own rules here
    let own = text.lines().filter(|line| !line.starts_with("g, role:"));
    let text: String = own.map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text + roles).unwrap();
}

/// A login that cannot be judged: 503 with a time to come back, within two seconds. The gateway's own watch says so of one
/// of three at least: a busy machine makes each longer, and none shorter.
fn unavailable(gateway: &Gateway, name: &str) {
    let mut took = Vec::new();
    let in_time = (0..3).any(|_| {
        let answer = login(gateway, name).get("/-/whoami");
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "5");
        let ms = gateway.took(&answer);
        took.push(ms);
        ms < 2000.0
    });
    assert!(in_time, "{took:?} ms");
}

/// Waits for what is promised within five seconds of a directory's return. Ten are for a machine that is busy; a rest that
/// grows with each failure would be longer.
pub(crate) fn soon(what: &str, is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    until(what, is_so);
    assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", begun.elapsed());
}

#[test]
fn a_directory_that_is_gone_is_503_for_new_callers_and_nothing_for_known_ones() {
    let mut slapd = Slapd::with(&corp());
    let gateway = over(&slapd.settings_as_preset("cache_ttl = \"1h\""));
    let alice = login(&gateway, "alice");
    until("alice is known", || whoami(&alice).0 == 200);
    slapd.stop();
    for _ in 0..8 {
        unavailable(&gateway, "bob");
        assert_eq!(whoami(&alice).0, 200);
    }
    slapd.start_again();
    soon("bob can log in", || whoami(&login(&gateway, "bob")).0 == 200);
    let refused = gateway.audited(8, "logins that could not be judged", |event| {
        event["actor"]["result"] == "backend_unavailable"
    });
    assert!(
        refused.iter().all(|event| event["outcome"] == "failed" && event["http"]["status"] == 503)
    );
}

#[test]
fn a_frozen_directory_is_503_within_two_seconds_and_piles_nothing_up() {
    let slapd = Slapd::with(&corp());
    let gateway = over(&slapd.settings_as_preset("cache_ttl = \"1h\""));
    let alice = login(&gateway, "alice");
    until("alice is known", || whoami(&alice).0 == 200);
    slapd.signal("STOP");
    let logins: Vec<_> = (0..40)
        .map(|n| {
            let client = login(&gateway, &format!("nobody{n}"));
            std::thread::spawn(move || client.get("/-/whoami"))
        })
        .collect();
    let mut took = Vec::new();
    for login in logins {
        let answer = login.join().unwrap();
        assert_eq!(answer.status, 503);
        took.push(gateway.took(&answer));
    }
    took.sort_by(f64::total_cmp);
    // by the gateway's own watch; who had waited for another's end first would have needed twice 1800 ms, or more
    assert!(took[took.len() / 2] < 2000.0 && took.iter().all(|ms| *ms < 3600.0), "{took:?} ms");
    assert_eq!(whoami(&alice).0, 200);
    slapd.signal("CONT");
    soon("bob can log in", || whoami(&login(&gateway, "bob")).0 == 200);
    until("nothing is under way", || gateway.metric("modgate_http_requests_in_flight") < 0.5);
}

#[test]
fn the_next_server_answers_when_the_first_is_gone() {
    let slapd = Slapd::with(&corp());
    let servers =
        format!("\"ldaps://localhost:{}\", \"ldaps://localhost:{}\"", port(), slapd.tls_port());
    let gateway = over(&slapd.settings_for(&servers, PATIENT));
    assert_eq!(whoami(&login(&gateway, "alice")).0, 200);
}

#[test]
fn a_wrong_authority_or_service_password_is_503_and_the_log_says_why() {
    let slapd = Slapd::with(&corp());
    let other = tempfile::tempdir().unwrap();
    let foreign = crate::support::authority::Authority::make(other.path());
    let settings = slapd.settings_as_preset("");
    let ours = settings.lines().find(|line| line.starts_with("ca_file")).unwrap();
    let gateway = over(&settings.replace(ours, &format!("ca_file = \"{}\"", foreign.ca.display())));
    unavailable(&gateway, "alice");
    let told = gateway
        .audited(1, "the refusal", |event| event["actor"]["result"] == "backend_unavailable");
    let detail = told[0]["actor"]["detail"].as_str().unwrap();
    assert!(detail.contains("certificate") || detail.contains("UnknownIssuer"), "{detail}");
    let gateway = over(&settings.replace("cn=modgate", "cn=somebody"));
    unavailable(&gateway, "alice");
    let told = gateway
        .audited(1, "the refusal", |event| event["actor"]["result"] == "backend_unavailable");
    assert!(told[0]["actor"]["detail"].as_str().unwrap().contains("bind_dn"), "{told:?}");
}

#[test]
fn a_thousand_wrong_passwords_reach_the_directory_less_often_than_it_takes_to_lock() {
    let slapd = Slapd::with(&corp());
    let gateway = over(&slapd.settings("lock_threshold = 4"));
    // alice has been here before, from this address
    assert_eq!(whoami(&login(&gateway, "alice")).0, 200);
    let before = slapd.binds();
    let client = gateway.stranger().from("127.0.0.2");
    let mut answers = [0, 0];
    for n in 0..1000 {
        match client.basic("alice", &format!("guess{n}")).get("/-/whoami").status {
            401 => answers[0] += 1,
            429 => answers[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(answers[0] + answers[1], 1000);
    assert!(slapd.binds() - before <= 3, "{} binds", slapd.binds() - before);
    // the right password during a lock looks like a wrong one
    assert_eq!(client.basic("alice", "alice-pw").get("/-/whoami").status, 200, "it is remembered");
    assert_eq!(whoami(&login(&gateway, "alice")).0, 200);
}

#[test]
fn one_stale_password_sent_a_hundred_times_is_one_failure() {
    let slapd = Slapd::with(&corp());
    let gateway = over(&slapd.settings("failure_ttl = \"1h\""));
    for _ in 0..100 {
        assert_eq!(whoami(&gateway.stranger().basic("alice", "stale")).0, 401);
    }
    assert_eq!(slapd.binds(), 1);
    for (result, count) in [("refused", 1.0), ("remembered", 99.0)] {
        let found = gateway.metric(&format!("modgate_ldap_logins_total{{result=\"{result}\"}}"));
        assert!((found - count).abs() < 0.1, "{result}: {found}");
    }
    assert_eq!(whoami(&login(&gateway, "alice")).0, 200);
}

#[test]
fn a_black_hole_and_a_connection_reset_are_503_within_two_seconds() {
    let slapd = Slapd::with(&corp());
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reset = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reset_port = reset.local_addr().unwrap().port();
    std::thread::spawn(move || reset.incoming().for_each(drop));
    for port in [hole.local_addr().unwrap().port(), reset_port] {
        let gateway = over(&slapd.settings_for(&format!("\"ldaps://localhost:{port}\""), ""));
        unavailable(&gateway, "alice");
    }
}

#[test]
fn a_flood_of_one_source_is_429_and_comes_to_an_end() {
    let tree = Tree::new();
    let settings = "[identity]\nsource_rate = 1\n";
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).with(settings).start();
    let client = gateway.client();
    let mut throttled = None;
    for _ in 0..60 {
        let answer = client.get("/-/whoami");
        if answer.status == 429 {
            throttled = Some(answer);
        }
    }
    let throttled = throttled.expect("nobody was throttled");
    assert_eq!(throttled.header("retry-after"), "5");
    assert!(throttled.text().contains("too many"), "{}", throttled.text());
    assert_eq!(
        gateway.stranger().from("127.0.0.2").basic("dev", &gateway.token()).get("/-/whoami").status,
        200
    );
    until("the source may ask again", || client.get("/-/whoami").status == 200);
}

#[test]
fn a_probe_finds_what_is_wrong_and_says_what_to_do() {
    let slapd = Slapd::with(&corp());
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = crate::support::authority::Authority::make(elsewhere.path());
    let good = slapd.settings("");
    let authority = good.lines().find(|line| line.starts_with("ca_file")).unwrap();
    let closed = format!("\"ldaps://localhost:{}\"", port());
    let issuer = "[[identity.jwt]]\nname = \"own\"\nissuer = \"URL/\"\naudience = [\"modgate\"]\n";
    let documents = tempfile::tempdir().unwrap();
    let upstream = crate::support::upstream::Upstream::serve(documents.path());
    std::fs::create_dir(documents.path().join(".well-known")).unwrap();
    let document = format!("{{\"issuer\": \"{0}\", \"jwks_uri\": \"{0}/jwks\"}}", upstream.url());
    std::fs::write(documents.path().join(".well-known/openid-configuration"), document).unwrap();
    let table = [
        (good.clone(), 0, "ok      ldaps://"),
        (
            good.replace(authority, &format!("ca_file = \"{}\"", foreign.ca.display())),
            1,
            "set ca_file to its authority",
        ),
        (slapd.settings_for(&closed, ""), 1, "nobody listens there"),
        (good.replace("cn=modgate", "cn=other"), 1, "correct bind_dn"),
        (good.replace("ou=people", "ou=nobody"), 1, "correct user_base"),
        (format!("{good}user_filter = \"(uid=alice)\"\n"), 2, "has no {user}"),
        (issuer.replace("URL", &upstream.url()), 1, "set issuer to exactly"),
        (issuer.replace("URL", &format!("http://127.0.0.1:{}", port())), 1, "nobody listens there"),
    ];
    for (settings, code, part) in table {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("modgate.toml"), &settings).unwrap();
        let mut command = crate::support::gateway::modgate();
        let output = command
            .current_dir(directory.path())
            .args(["check-config", "--probe"])
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(code), "{part}: {said}");
        assert!(said.contains(part), "no {part} in:\n{said}");
    }
}

#[test]
fn somebody_who_was_known_goes_on_through_an_outage_if_that_is_configured_and_the_audit_says_so() {
    let mut slapd = Slapd::with(&corp());
    let gateway = over(&slapd.settings("cache_ttl = \"200ms\"\nstale_while_down = \"1m\""));
    let alice = login(&gateway, "alice");
    assert_eq!(whoami(&alice).0, 200);
    slapd.stop();
    until("alice is served as stale", || {
        assert_eq!(whoami(&alice).0, 200);
        gateway.audit().iter().any(|event| event["actor"]["stale"] == true)
    });
    let known = gateway.audited(1, "alice, known", |event| event["actor"]["stale"].is_null());
    assert!(known[0]["actor"]["auth_age_s"].as_u64().unwrap() < 60);
    unavailable(&gateway, "bob");
    assert_eq!(gateway.stranger().basic("alice", "wrong").get("/-/whoami").status, 503);
}

#[test]
fn a_probe_finds_an_expired_certificate() {
    let slapd = Slapd::with_expired_certificate(&corp());
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("modgate.toml"), slapd.settings("")).unwrap();
    let mut command = crate::support::gateway::modgate();
    let output =
        command.current_dir(directory.path()).args(["check-config", "--probe"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(1) && said.contains("has expired: renew it"), "{said}");
}
