//! Events apart from answers: logins, locks, tokens, what the gateway depends on, and what commands did beside it. Each is
//! brought about for real, found in the log, and fits the schema.

use serde_json::Value;

use crate::support::authority::Authority;
use crate::support::chaos;
use crate::support::disk::Disk;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::gateway::records_in;
use crate::support::issuer::Issuer;
use crate::support::port;
use crate::support::redis::Redis;
use crate::support::slapd::PATIENT;
use crate::support::slapd::People;
use crate::support::slapd::Slapd;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const LIST: &str = "/example.com/lib/@v/list";

fn lib() -> (Tree, Upstream) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    (tree, upstream)
}

/// Waits for that many records of an event and gives them; each fits the schema.
fn told(gateway: &Gateway, count: usize, event: &str) -> Vec<Value> {
    let mut found = Vec::new();
    until(&format!("{count} of {event}"), || {
        found = of(gateway, event);
        found.len() >= count
    });
    let schema: Value =
        serde_json::from_str(include_str!("../../deploy/audit/schema-v1.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for record in &found {
        let wrong: Vec<_> = validator.iter_errors(record).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{record}\n{wrong:?}");
    }
    found
}

fn of(gateway: &Gateway, event: &str) -> Vec<Value> {
    gateway.records().into_iter().filter(|record| record["event"] == event).collect()
}

fn run(gateway: &Gateway, arguments: &[&str]) -> String {
    let state = gateway.state();
    let output = modgate().current_dir(state.parent().unwrap()).args(arguments).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn a_login_is_told_once_for_its_requests_and_once_more_from_elsewhere() {
    let (_tree, upstream) = lib();
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    for _ in 0..20 {
        assert_eq!(client.get(LIST).status, 200);
    }
    assert_eq!(client.from("127.0.0.2").get(LIST).status, 200);
    gateway.audited(21, "the lists", |event| event["event"] == "module.list");
    let logins = told(&gateway, 2, "auth.success");
    let sources: Vec<_> = logins.iter().map(|login| login["source"]["ip"].as_str()).collect();
    assert_eq!(sources, [Some("127.0.0.1"), Some("127.0.0.2")]);
    let actor = &logins[0]["actor"];
    assert_eq!((&actor["id"], &actor["type"]), (&"user:token:dev".into(), &"bearer".into()));
    let first = gateway.audit().into_iter().find(|event| event["event"] == "module.list").unwrap();
    assert_eq!(logins[0]["id"], first["id"], "joined to the first request");
    assert_eq!(first["decision"]["gen"], 1);
    assert!(first["decision"]["us"].as_u64().is_some());
}

#[test]
fn a_refused_login_names_whom_the_directory_knows_and_hides_what_was_typed() {
    let slapd = Slapd::with(&People::new().person("alice"));
    let (_tree, upstream) = lib();
    let gateway = Setup::over(&upstream.url()).with(&slapd.settings("")).start();
    let attempt = |name: &str, password: &str| {
        gateway.stranger().basic(name, password).get("/-/whoami").status
    };
    assert_eq!(attempt("alice", "wrong"), 401);
    // somebody typed the password into the name's field
    assert_eq!(attempt("canary-typed-here", "x"), 401);
    let failures = told(&gateway, 2, "auth.failure");
    assert_eq!(failures[0]["actor"]["id"], "user:ldap/corp:alice");
    let hidden = failures[1]["actor"]["id"].as_str().unwrap().to_owned();
    assert!(hidden.starts_with("hmac:"), "{hidden}");
    assert_eq!(run(&gateway, &["audit", "hash", "canary-typed-here"]).trim(), hidden);
    let everything = format!("{:?}{}", gateway.records(), gateway.output());
    assert!(!everything.contains("canary-typed-here"), "{everything}");
    // the third distinct wrong password locks the name for this source
    assert_eq!((attempt("alice", "wrong2"), attempt("alice", "wrong3")), (401, 401));
    let locks = told(&gateway, 1, "auth.lockout");
    assert_eq!(locks[0]["actor"]["id"], "user:ldap/corp:alice");
    assert_eq!(
        (&locks[0]["code"], &locks[0]["source"]["ip"]),
        (&"MG104W".into(), &"127.0.0.1".into())
    );
    assert!(locks[0]["detail"]["why"].as_str().unwrap().contains("from this source"), "{locks:?}");
    let names = run(&gateway, &["audit", "query", "logins", "--json"]);
    assert!(names.contains("\"others\":\"2\""), "{names}");
}

#[test]
fn a_directory_that_goes_and_comes_is_told_and_so_is_who_answers() {
    let mut slapd = Slapd::with(&People::new().person("alice"));
    let (_tree, upstream) = lib();
    let servers =
        format!("\"ldaps://localhost:{}\", \"ldaps://localhost:{}\"", port(), slapd.tls_port());
    let gateway = Setup::over(&upstream.url()).with(&slapd.settings_for(&servers, PATIENT)).start();
    let login = |n: usize| gateway.stranger().basic("alice", &format!("alice-pw{n}"));
    assert_eq!(gateway.stranger().basic("alice", "alice-pw").get("/-/whoami").status, 200);
    let failover = told(&gateway, 1, "ldap.failover");
    assert!(failover[0]["detail"]["why"].as_str().unwrap().contains(&slapd.tls_port().to_string()));
    slapd.stop();
    for n in 0..6 {
        assert_eq!(login(n).get("/-/whoami").status, 503);
    }
    let unavailable = told(&gateway, 1, "auth.unavailable");
    assert_eq!(unavailable[0]["outcome"], "failed");
    until("both servers are left alone", || {
        of(&gateway, "ldap.breaker").iter().filter(|told| told["detail"]["state"] == "open").count()
            >= 2
    });
    slapd.start_again();
    until("somebody logs in", || {
        gateway.stranger().basic("alice", "alice-pw").from("127.0.0.3").get("/-/whoami").status
            == 200
            && login(99).get("/-/whoami").status == 401
    });
    until("one is back", || {
        of(&gateway, "ldap.breaker").iter().any(|told| told["detail"]["state"] == "closed")
    });
    told(&gateway, 3, "ldap.breaker");
}

#[test]
fn keys_that_come_change_and_cannot_be_had_are_told() {
    let mut issuer = Issuer::start("ES256");
    let (_tree, upstream) = lib();
    let settings = issuer.settings("keys_cooldown = \"1s\"\n");
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    told(&gateway, 1, "jwks.rotate");
    issuer.stop();
    issuer.start_again();
    let token = issuer.token();
    until("the new keys are used", || {
        gateway.stranger().bearer(&token).get("/-/whoami").status == 200
    });
    let changed = told(&gateway, 2, "jwks.rotate");
    assert_ne!(changed[0]["detail"]["why"], changed[1]["detail"]["why"]);
    issuer.stop();
    let forged = issuer_gone(&token);
    until("the failure is told", || {
        gateway.stranger().bearer(&forged).get("/-/whoami");
        !of(&gateway, "jwks.fail").is_empty()
    });
    assert_eq!(told(&gateway, 1, "jwks.fail")[0]["code"], "MG305E");
}

/// The same token with another key id, for which somebody has to look.
fn issuer_gone(token: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (head, rest) = token.split_once('.').unwrap();
    let mut head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    head["kid"] = "somebody-else".into();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(head.to_string()))
}

#[test]
fn an_upstream_and_a_redis_that_go_and_come_are_told() {
    let (_tree, upstream) = lib();
    let mut redis = Redis::start();
    let settings = format!(
        "{}\n[upstream]\nbreaker_failures = 2\nbreaker_rest = \"300ms\"\n\
         [[upstream.servers]]\nname = \"only\"\nurl = \"{}\"\n",
        redis.settings(),
        upstream.url()
    );
    let gateway = Setup::over("only").with(&settings).start();
    until("Redis is up", || gateway.metric("modgate_redis_up") > 0.5);
    upstream.always(Some(Instead::Status(500, "broken")));
    let mut number = 0;
    until("the upstream is left alone", || {
        number += 1;
        gateway.client().get(&format!("/example.com/m{number}/@v/list"));
        of(&gateway, "dependency.down")
            .iter()
            .any(|told| told["detail"]["about"] == "upstream only")
    });
    upstream.always(None);
    until("it is back", || {
        number += 1;
        gateway.client().get(&format!("/example.com/m{number}/@v/list"));
        of(&gateway, "dependency.up").iter().any(|told| told["detail"]["about"] == "upstream only")
    });
    redis.stop();
    until("Redis is gone", || {
        of(&gateway, "dependency.down").iter().any(|told| told["detail"]["about"] == "redis")
    });
    redis.start_again();
    until("Redis is back", || {
        of(&gateway, "dependency.up").iter().any(|told| told["detail"]["about"] == "redis")
    });
    let down = told(&gateway, 2, "dependency.down");
    assert!(down.iter().all(|told| told["code"] == "MG308E" && told["outcome"] == "failed"));
    assert_eq!(down.iter().filter(|told| told["detail"]["about"] == "redis").count(), 1);
}

#[test]
fn tokens_and_emergency_denies_are_told_when_they_begin_and_when_they_end() {
    let (_tree, upstream) = lib();
    let gateway = Setup::over(&upstream.url()).start();
    let _token = gateway.issue("ci", &["developers"]);
    let issued = told(&gateway, 1, "token.issue");
    assert_eq!(issued.last().unwrap()["detail"]["about"], "user:token:ci");
    run(&gateway, &["token", "revoke", "ci"]);
    // although nobody shows a token meanwhile
    let revoked = told(&gateway, 1, "token.revoke");
    assert_eq!(
        (&revoked[0]["detail"]["about"], &revoked[0]["code"]),
        (&"user:token:ci".into(), &"MG109I".into())
    );
    let said = run(&gateway, &["deny", "example.com/lib", "--reason", "malware, SEC-7"]);
    let id = said.split(':').next().unwrap().to_owned();
    let given = told(&gateway, 1, "policy.deny");
    assert_eq!(
        (&given[0]["detail"]["id"], &given[0]["detail"]["what"]),
        (&id.as_str().into(), &"in force".into())
    );
    assert!(given[0]["detail"]["denied"].as_str().unwrap().contains("malware, SEC-7"));
    run(&gateway, &["deny", "--lift", &id]);
    assert_eq!(told(&gateway, 2, "policy.deny")[1]["detail"]["what"], "over");
}

#[test]
fn tokens_that_change_while_no_gateway_runs_are_told_at_its_next_start_and_never_twice() {
    let (_tree, upstream) = lib();
    let mut gateway = Setup::over(&upstream.url()).start();
    let _seen = gateway.issue("seen", &["developers"]);
    told(&gateway, 1, "token.issue");
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let made = gateway.command(&["token", "issue", "night", "--group", "ops", "--expires", "2d"]);
    let secret = String::from_utf8(made.stdout).unwrap();
    run(&gateway, &["token", "revoke", "seen"]);
    assert!(!gateway.command(&["token", "revoke", "nobody"]).status.success());
    let gateway = gateway.kill_and_restart(&upstream.url());
    let issued = told(&gateway, 2, "token.issue");
    let asked = issued[1]["detail"]["asked"].as_str().unwrap();
    assert!(
        asked.starts_with("user:token:night until 20") && asked.ends_with("Z group=ops"),
        "{asked}"
    );
    assert_eq!(issued[1]["detail"]["command"], "token issue");
    assert!(issued[1]["actor"]["id"].as_str().unwrap().starts_with("user:os:"));
    let revoked = told(&gateway, 1, "token.revoke");
    assert_eq!(revoked[0]["detail"]["asked"], "user:token:seen: 1 token(s)");
    // this gateway sees by itself what happens from now on
    run(&gateway, &["token", "revoke", "night"]);
    told(&gateway, 2, "token.revoke");
    run(&gateway, &["audit", "verify"]);
    // a slip would have been taken with that one
    told(&gateway, 1, "audit.verify");
    let log = gateway.state().join("audit");
    let records = records_in(&log);
    for (name, count) in [("token.issue", 2), ("token.revoke", 2)] {
        assert_eq!(
            records.iter().filter(|record| record["event"] == name).count(),
            count,
            "{name}"
        );
    }
    assert!(secret.len() > 40 && !format!("{records:?}").contains(secret.trim()));
}

#[test]
fn what_commands_do_beside_a_gateway_is_in_its_log_by_the_owner_of_the_process() {
    let (_tree, upstream) = lib();
    let gateway = Setup::over(&upstream.url()).start();
    assert_eq!(gateway.client().get(LIST).status, 200);
    run(&gateway, &["audit", "query", "downloads", "--module", "example.com/lib"]);
    run(&gateway, &["audit", "export", "--format", "csv"]);
    run(&gateway, &["audit", "verify"]);
    run(&gateway, &["cache", "purge", "example.com/lib"]);
    assert_eq!(gateway.ops_call("POST", "/policy/reload").0, 200);
    let read = told(&gateway, 1, "audit.read");
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(gateway.netrc()).unwrap());
    assert_eq!(read[0]["actor"]["id"], format!("user:os:{uid}"));
    assert_eq!(read[0]["actor"]["type"], "operator");
    assert_eq!(read[0]["detail"]["command"], "audit query");
    assert_eq!(read[0]["detail"]["asked"], "downloads module=example.com/lib");
    assert!(
        told(&gateway, 1, "audit.export")[0]["detail"]["asked"]
            .as_str()
            .unwrap()
            .starts_with("csv")
    );
    told(&gateway, 1, "audit.verify");
    assert_eq!(told(&gateway, 1, "cache.purge")[0]["detail"]["asked"], "example.com/lib");
    let reload = told(&gateway, 1, "admin.action");
    assert_eq!(
        (&reload[0]["detail"]["command"], &reload[0]["detail"]["from"]),
        (&"policy reload".into(), &"127.0.0.1".into())
    );
    // a copy of the log elsewhere is nobody's
    let copy = tempfile::tempdir().unwrap();
    run(&gateway, &["audit", "query", "--dir", &copy.path().display().to_string()]);
    assert_eq!(std::fs::read_dir(copy.path()).unwrap().count(), 0);
}

/// A wall must stand although nothing can be recorded; its record waits, and comes before whatever is let in after it.
#[test]
fn a_policy_comes_into_force_on_a_full_disk_and_its_record_is_written_as_soon_as_it_can_be() {
    let disk = Disk::mount("size=6m");
    let (_tree, upstream) = lib();
    let audit = format!("[audit]\ndir = \"{}\"\nreserve = \"1 MiB\"\n", disk.path().display());
    let gateway = Setup::over(&upstream.url()).with(&audit).start();
    let filler = disk.fill();
    until("the audit cannot be written", || {
        gateway.client().get(LIST);
        gateway.ops_page("/readyz").0 == 503
    });
    // what was held back is used up as well: nothing at all can be written
    run(&gateway, &["deny", "example.com/lib", "--reason", "malware"]);
    until("the deny is in force", || gateway.client().get(LIST).status == 403);
    std::fs::remove_file(filler).unwrap();
    until("it can be written again", || gateway.ops_page("/readyz").0 == 200);
    let records = || records_in(disk.path());
    until("the activation is recorded", || {
        records().iter().any(|record| {
            record["event"] == "policy.activate" && record["detail"]["emergency_denies"] == "1"
        })
    });
    assert!(records().iter().any(|record| record["event"] == "policy.deny"));
}

/// What no other test here brings about.
#[test]
fn pages_faults_and_refusals_of_a_flood_have_names_and_codes_of_their_own() {
    let (_tree, upstream) = lib();
    let directory = tempfile::tempdir().unwrap();
    // a certificate of an authority that the gateway does not know
    let authority = Authority::make(directory.path());
    let foreign = chaos::tls(upstream.address(), &authority.cert, &authority.key);
    let (head, zip) = ("/sumdb/sum.example/latest", "/example.com/lib/@v/v1.0.0.zip");
    upstream.instead(head, Some(Instead::Bytes(b"a head".to_vec())));
    upstream.instead(zip, Some(Instead::Bytes(b"<html>sign in</html>".to_vec())));
    let settings = "[sumdb]\nnames = [\"sum.example\"]\n";
    let chain = format!("https://{foreign}|{}", upstream.url());
    let gateway = Setup::over(&chain).with(settings).start();
    for (path, status) in
        [(LIST, 200), (head, 200), ("/-/env", 200), ("/favicon.ico", 404), (zip, 502)]
    {
        assert_eq!(gateway.client().get(path).status, status, "{path}");
    }
    for (event, code) in [
        ("sumdb.head", "MG012I"),
        ("gateway.read", "MG020I"),
        ("request.other", "MG021W"),
        ("upstream.tls_failure", "MG301E"),
        ("integrity.failed", "MG302E"),
    ] {
        assert_eq!(told(&gateway, 1, event)[0]["code"], code, "{event}");
    }
    let gateway = Setup::over(&chain).with("[identity]\nsource_rate = 1\n").start();
    until("a source is told to wait", || gateway.client().get("/-/whoami").status == 429);
    let throttled = told(&gateway, 1, "auth.throttled");
    assert_eq!(
        (&throttled[0]["code"], &throttled[0]["http"]["status"]),
        (&"MG105W".into(), &429.into())
    );
}
