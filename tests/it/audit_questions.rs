//! The fifteen questions of an auditor: the commands that `deploy/audit/README.md` documents are run as they stand there, on a
//! log whose answers are known.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Output;

use modgate::audit::act::Act;
use modgate::audit::event::Actor;
use modgate::audit::event::Cert;
use modgate::audit::event::Decision;
use modgate::audit::event::Event;
use modgate::audit::event::Phase;
use modgate::audit::filter::Filter;
use modgate::audit::name::Name;
use modgate::audit::name::Outcome;
use modgate::audit::query;
use modgate::audit::query::Indexes;
use modgate::audit::query::Listener;
use modgate::clock::SystemClock;
use modgate::config::audit::Packing;
use modgate::policy::Policy;
use modgate::policy::Source;
use modgate::policy::Sources;
use serde_json::Value;

use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::log::download;
use crate::support::log::settings;
use crate::support::log::write;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const ALICE: &str = "user:token:alice";
const BOB: &str = "user:token:bob";
const LEDGER: &str = "corp.example/payments/ledger";
const VAULT: &str = "corp.example/payments/vault";

fn denial(time: &str, module: &str, rule: &str) -> Event {
    let mut event = download(time, BOB, module);
    (event.name, event.outcome) = (Name::AuthzDeny, Outcome::Denied);
    event.http.as_mut().unwrap().status = 403;
    event.decision = Some(Decision {
        shadow: None,
        generation: Some(1),
        gates: Vec::new(),
        us: Some(3),
        effect: "deny",
        reason: "policy_deny",
        rule: Some(rule.to_owned()),
        policy: Some("sha256:ab12".to_owned()),
        cached: false,
    });
    event
}

fn wrong_password(n: usize) -> Event {
    let mut event = download("2026-10-01T12:00:00.000000Z", "x", "x");
    (event.name, event.outcome) = (Name::AuthFailure, Outcome::Unauthenticated);
    event.source.as_mut().unwrap().ip = String::from("203.0.113.7");
    event.actor =
        Some(Actor { id: Some(format!("hmac:{n}")), ..Actor::of("ldap", "bad_credentials") });
    (event.resource, event.decision) = (None, None);
    event
}

/// What is written before a body leaves.
fn decided(mut event: Event) -> Event {
    event.phase = Phase::Decided;
    let http = event.http.as_mut().unwrap();
    (http.bytes_out, http.complete) = (None, None);
    event
}

/// A Thursday, the Friday and the Saturday after it.
fn events() -> Vec<Event> {
    let mut elsewhere = download("2026-10-01T14:00:00.000000Z", ALICE, LEDGER);
    elsewhere.source.as_mut().unwrap().ip = String::from("198.51.100.9");
    let first = download("2026-10-01T12:00:00.000000Z", ALICE, LEDGER);
    let mut under_condition = download("2026-10-02T12:00:00.000000Z", BOB, "corp.example/m0");
    under_condition.decision.as_mut().unwrap().gates = vec!["office".to_owned()];
    let mut events = vec![
        decided(first.clone()),
        first,
        decided(elsewhere.clone()),
        elsewhere,
        under_condition,
        // its gateway was killed
        decided(download("2026-10-02T13:00:00.000000Z", BOB, VAULT)),
        download("2026-10-03T03:00:00.000000Z", BOB, "corp.example/secret/plans"),
        denial("2026-10-01T13:00:00.000000Z", "corp.example/hr/pay/roll", "no-hr"),
        denial("2026-10-01T13:00:00.100000Z", "corp.example/hr/pay", "no-hr"),
    ];
    events.extend(
        (0..12)
            .map(|n| download("2026-10-01T15:30:00.000000Z", BOB, &format!("corp.example/m{n}"))),
    );
    events.extend((0..6).map(wrong_password));
    let act = Act::new(Name::PolicyActivate, Outcome::Allowed)
        .by("user:token:root")
        .with("policy", "sha256:ab12");
    events.push(act.event("2026-10-01T09:00:00.000000Z".to_owned()));
    events
}

/// A directory as a gateway would leave it: `.modgate/audit`, closed segments packed.
fn world() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(&directory.path().join(".modgate"));
    settings.config.packing = Packing::Compress;
    for part in events().chunks(9) {
        write(settings.clone(), part.iter().cloned());
    }
    std::fs::write(directory.path().join("leavers.txt"), format!("{BOB}\nuser:token:eve\n"))
        .unwrap();
    std::fs::write(directory.path().join("rules.txt"), "team\nno-hr\nnever-hit\n").unwrap();
    directory
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let output = modgate().current_dir(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn rows(directory: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = run(directory, &[arguments, &["--json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The documented commands, by their number.
fn documented() -> BTreeMap<u32, Vec<String>> {
    let readme = include_str!("../../deploy/audit/README.md");
    let lines =
        readme.lines().filter(|line| line.starts_with("modgate audit ") && line.contains("# "));
    let parsed = lines.map(|line| {
        let (command, comment) = line.split_once('#').unwrap();
        let number = comment.trim().split('.').next().unwrap().parse().unwrap();
        (number, command.split_whitespace().skip(1).map(str::to_owned).collect())
    });
    parsed.collect()
}

#[test]
fn the_fifteen_documented_commands_give_the_known_answers() {
    let world = world();
    let commands = documented();
    assert_eq!(commands.keys().copied().collect::<Vec<_>>(), (1..=15).collect::<Vec<_>>());
    let ask = |number: u32| {
        let arguments: Vec<&str> = commands[&number].iter().map(String::as_str).collect();
        rows(world.path(), &arguments)
    };
    let column = |rows: &[Value], name: &str| {
        rows.iter().map(|row| row[name].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let downloads = ask(1);
    assert_eq!(column(&downloads, "actor"), [ALICE, ALICE]);
    assert_eq!(column(&downloads, "delivered"), ["whole", "whole"]);
    assert_eq!(ask(2).len(), 4, "two decisions and their ends");
    let denials = ask(3);
    assert_eq!(
        (denials.len(), denials[0]["longest path"].as_str()),
        (1, Some("corp.example/hr/pay/roll"))
    );
    let access = ask(4);
    assert_eq!(
        (access.len(), access[0]["policy"].as_str(), access[0]["count"].as_str()),
        (1, Some("sha256:ab12"), Some("2"))
    );
    assert!(ask(5).len() >= 14 && column(&ask(5), "actor").iter().all(|actor| actor == BOB));
    // m0 was known since the day before
    assert_eq!(column(&ask(6), "module"), [VAULT, "corp.example/secret/plans"]);
    assert_eq!(column(&ask(6), "delivered"), ["may have been", "whole"]);
    let logins = ask(7);
    assert_eq!(
        (&logins[0]["by"], &logins[0]["others"], &logins[0]["shape"]),
        (&"source".into(), &"6".into(), &"spray".into())
    );
    assert_eq!(logins.len(), 7, "one source and six names");
    assert_eq!(column(&ask(8), "event"), ["policy.activate"]);
    let holders = ask(9);
    assert_eq!(
        (column(&holders, "actor"), column(&holders, "count"), holders[0]["last"].as_str()),
        (vec![ALICE.to_owned()], vec!["2".to_owned()], Some("2026-10-01T14:00:00.000000Z"))
    );
    let spread = ask(10);
    assert_eq!(
        (spread[0]["actor"].as_str(), spread[0]["modules"].as_str()),
        (Some(BOB), Some("12"))
    );
    assert_eq!(column(&ask(11), "module"), ["corp.example/secret/plans"]);
    assert_eq!(column(&ask(12), "networks"), ["10.1.2.0/24 198.51.100.0/24"]);
    // the rules are those of the policy here, and nothing before --from was read
    let unused = ask(13);
    let last = |rule: &str| unused.iter().find(|row| row["rule"] == rule).unwrap()["last"].clone();
    assert_eq!(last("public-sums"), "not since 2026-07-01T00:00:00.000000Z");
    assert_eq!(last("team"), "2026-10-03T03:00:00.000000Z");
    let gaps = ask(14);
    assert!(gaps.iter().any(|row| row["event"] == "audit.start" && row["why"] == "never begun"));
    evidence(world.path(), &commands[&15]);
}

fn evidence(directory: &Path, command: &[String]) {
    // a policy as it is kept; and one that is not what its name says, which is not handed over
    let past = Policy::none(Sources::of(Source::Embedded)).reload(&SystemClock);
    let past = &past.activated[0].past;
    let audit = directory.join(".modgate/audit");
    modgate::audit::policies::keep(&audit, &past.revision, &past.text).unwrap();
    modgate::audit::policies::keep(&audit, "ab12", &past.text).unwrap();
    let mut event = download("2026-10-01T16:00:00.000000Z", ALICE, "corp.example/last");
    event.decision.as_mut().unwrap().policy = Some(past.revision.to_string());
    write(settings(&directory.join(".modgate")), [event]);
    run(directory, &command.iter().map(String::as_str).collect::<Vec<_>>());
    let read = |name: &str| std::fs::read_to_string(directory.join("evidence").join(name)).unwrap();
    let verification: Value = serde_json::from_str(&read("verification.json")).unwrap();
    assert_eq!(verification[0]["findings"].as_array().unwrap().len(), 0);
    let controls: Value = serde_json::from_str(&read("controls.json")).unwrap();
    assert_eq!(controls[1]["records"]["policy.activate"], 1);
    let told: Value = serde_json::from_str(&read("policies.json")).unwrap();
    let copy = |policy: &str| {
        let found = told.as_array().unwrap().iter().find(|told| told["policy"] == policy);
        found.unwrap()["copy"].as_str().unwrap()
    };
    assert_eq!(
        (copy(&past.revision), read(&format!("policies/{}.json", past.revision))),
        ("kept", past.text.clone())
    );
    assert!(copy("sha256:ab12").starts_with("refused: what is kept under ab12 is "));
    let checked = std::process::Command::new("sha256sum")
        .args(["--check", "--strict", "digests.txt"])
        .current_dir(directory.join("evidence"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(read("digests.txt").lines().count(), 7);
    assert!(
        read("records.jsonl").lines().count() >= 24
            && read("checkpoints.txt").starts_with("modgate/gw\n")
    );
}

#[test]
fn a_body_that_may_have_left_before_the_gateway_was_killed_is_told() {
    let mut tree = Tree::new();
    tree.module_of_size("corp.example/platform/big", "v1.0.0", &[], 60_000_000);
    let upstream = Upstream::serve(tree.path());
    let settings = format!(
        "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\n",
        upstream.url()
    );
    let mut gateway = Setup::over(&upstream.url()).with(&settings).start();
    let token = gateway.issue("pay", &["developers"]);
    let client = gateway.stranger().bearer(&token);
    let path = "/corp.example/platform/big/@v/v1.0.0.zip";
    until("it is there", || client.ask("HEAD", path, "").status == 200);
    let range = client.ask("GET", path, "Range: bytes=0-99\r\n");
    assert_eq!((range.status, range.body.len()), (206, 100));
    gateway.audited(1, "the range", |event| event["http"]["status"] == 206);
    let asked = ["audit", "query", "holders", "--module", "corp.example/platform/big"];
    let state = gateway.state();
    let holders = || rows(state.parent().unwrap(), &asked);
    assert_eq!((holders().len(), &holders()[0]["delivered"]), (1, &"in part".into()));
    let mut stream = client.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", client.authorization())
        .unwrap();
    stream.flush().unwrap();
    stream.read_exact(&mut [0_u8; 4096]).unwrap();
    gateway.signal("KILL");
    gateway.wait();
    let holders = holders();
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert_eq!(
        (&holders[0]["actor"], &holders[0]["delivered"]),
        (&"user:token:pay".into(), &"may have been".into())
    );
}

#[test]
fn a_question_about_one_principal_gives_the_same_with_and_without_an_index() {
    let world = world();
    let audit = world.path().join(".modgate/audit");
    let arguments = ["audit", "query", "--actor", ALICE];
    let with = rows(world.path(), &arguments);
    for segment in modgate::audit::segment::list(&audit).unwrap() {
        let _there = std::fs::remove_file(segment.index());
    }
    assert_eq!(rows(world.path(), &arguments), with, "a missing index is made again");
    assert_eq!(with.len(), 4);
    let made = run(world.path(), &["audit", "index", "--again"]);
    assert!(String::from_utf8(made.stdout).unwrap().contains("3 closed segments"));
    assert_eq!(rows(world.path(), &arguments), with);
    // an index that was made while its segment was compressed speaks of a file that is gone
    for segment in modgate::audit::segment::list(&audit).unwrap() {
        let Ok(index) = std::fs::read(segment.index()) else { continue };
        let end = index.iter().position(|byte| *byte == b'\n').unwrap();
        let mut head: Value = serde_json::from_slice(&index[..end]).unwrap();
        head["packed"] = Value::Bool(false);
        let text = head.to_string();
        std::fs::write(segment.index(), [text.as_bytes(), &index[end..]].concat()).unwrap();
    }
    assert_eq!(rows(world.path(), &arguments), with);
    let nobody = rows(world.path(), &["audit", "query", "--actor", "user:token:nobody"]);
    assert_eq!(nobody.len(), 0);
}

/// Lines that were wanted, and what had to be read for them.
#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    kinds: BTreeMap<String, u64>,
}

impl Listener for Heard {
    fn record(&mut self, record: &Value, line: &str) -> ControlFlow<()> {
        let text = |path: &str| query::text(record, path).unwrap_or_default();
        *self.kinds.entry(format!("{} {}", text("/event"), text("/outcome"))).or_default() += 1;
        self.lines.push(line.to_owned());
        ControlFlow::Continue(())
    }
}

#[test]
fn whatever_is_asked_an_index_hides_no_record_and_spares_reading() {
    let world = world();
    let directories = [world.path().join(".modgate/audit")];
    let people: BTreeSet<String> = ["user:token:eve", ALICE].map(str::to_owned).into();
    let some = |text: &str| Some(text.to_owned());
    let id = download("2026-10-01T12:00:00.000000Z", ALICE, LEDGER).id;
    let filters = [
        (Filter { actor: some(ALICE), ..Filter::default() }, 4),
        (Filter { people, ..Filter::default() }, 4),
        (Filter { module: some(LEDGER), ..Filter::default() }, 4),
        (Filter { module: some("corp.example/hr/..."), ..Filter::default() }, 2),
        (Filter { module: some("corp.example/payments/ledger/..."), ..Filter::default() }, 4),
        (Filter { module: some("corp.example/hr/pay"), ..Filter::default() }, 1),
        (Filter { module: some("corp.example/..."), actor: some(ALICE), ..Filter::default() }, 4),
        (Filter { rule: some("no-hr"), ..Filter::default() }, 2),
        (Filter { source: some("203.0.113.7"), ..Filter::default() }, 6),
        (Filter { source: some("203.0.113.7"), actor: some(ALICE), ..Filter::default() }, 0),
        (Filter { event: some("authz.deny"), ..Filter::default() }, 2),
        (Filter { event: some("auth."), outcome: some("unauthenticated"), ..Filter::default() }, 6),
        (Filter { event: some("auth."), outcome: some("allowed"), ..Filter::default() }, 0),
        (Filter { among: &["policy.", "authz.deny"], ..Filter::default() }, 3),
        (Filter { among: &["auth.failure"], ..Filter::default() }, 6),
        (Filter { id: Some(id), ..Filter::default() }, 2),
        (Filter { id: some("02a215bd-00c5-727c-81d6-5d057b2f5518"), ..Filter::default() }, 0),
        (Filter { from: some("2026-10-03"), to: some("2026-10-04"), ..Filter::default() }, 1),
        (Filter { version: some("v1.0.0"), event: some("authz.deny"), ..Filter::default() }, 2),
    ];
    let ask = |filter: &Filter, missing| {
        let mut heard = Heard::default();
        let effort = query::scan(&directories, filter, missing, &mut heard).unwrap();
        (heard.lines, effort)
    };
    let indexed: Vec<_> = filters.iter().map(|(filter, _)| ask(filter, Indexes::Make)).collect();
    for segment in modgate::audit::segment::list(&directories[0]).unwrap() {
        let _there = std::fs::remove_file(segment.index());
    }
    for ((filter, count), (lines, effort)) in filters.iter().zip(indexed) {
        let (whole, all) = ask(filter, Indexes::IfThere);
        assert_eq!((lines.len(), &lines), (*count, &whole), "{filter:?}");
        assert!(effort.bytes <= all.bytes, "{filter:?}");
        assert!(*count > 0 || effort.skipped > 0, "{filter:?}: {effort:?}");
    }
    let mut heard = Heard::default();
    query::scan(&directories, &Filter::default(), Indexes::IfThere, &mut heard).unwrap();
    assert!(!modgate::audit::segment::list(&directories[0]).unwrap()[0].index().exists());
    // the first makes the indexes, the second counts by them
    for _look in 0..2 {
        let stats = rows(world.path(), &["audit", "stats"]);
        let counted: BTreeMap<String, u64> = stats
            .iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap();
                let kind = format!("{} {}", text("event"), text("outcome"));
                (kind, text("records").parse().unwrap())
            })
            .collect();
        assert_eq!(counted, heard.kinds);
    }
}

#[test]
fn exports_speak_the_words_of_others() {
    let world = world();
    let export = |format: &str| {
        let output = run(world.path(), &["audit", "export", "--format", format]);
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = export("jsonl");
    let ecs: Vec<Value> =
        export("ecs").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ocsf: Vec<Value> =
        export("ocsf").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((plain.lines().count(), ecs.len()), (ocsf.len(), ocsf.len()));
    let zip = ecs.iter().find(|event| event["event"]["action"] == "module.zip").unwrap();
    assert_eq!(
        (zip["user"]["id"].as_str(), zip["package"]["name"].as_str()),
        (Some(ALICE), Some(LEDGER))
    );
    assert_eq!(
        (zip["event"]["outcome"].as_str(), zip["rule"]["id"].as_str()),
        (Some("success"), Some("team"))
    );
    let access = ocsf.iter().find(|event| event["message"] == "module.zip").unwrap();
    assert_eq!(
        (access["class_uid"].as_u64(), access["type_uid"].as_u64()),
        (Some(6003), Some(600_302))
    );
    assert_eq!(access["actor"]["authorizations"][0]["policy"]["uid"], "sha256:ab12");
    assert_eq!(access["time"], 1_790_856_000_000_u64);
    let login = ocsf.iter().find(|event| event["message"] == "auth.failure").unwrap();
    assert_eq!((login["class_uid"].as_u64(), login["status_id"].as_u64()), (Some(3002), Some(2)));
    let csv = export("csv");
    assert!(
        csv.starts_with("time,node,boot,seq,event,")
            && csv.matches("\r\n").count() == plain.lines().count() + 1
    );
}

/// The schemas of the classes, from the package that publishes them.
fn ocsf_schemas() -> Vec<(u64, jsonschema::Validator)> {
    let classes = [
        (0, "base_event"),
        (3002, "authentication"),
        (3004, "entity_management"),
        (6002, "application_lifecycle"),
        (6003, "api_activity"),
    ];
    let script = "import json, sys\n\
        from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema\n\
        schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema('1.3.0'))\n\
        print(json.dumps(schemas.get_class_schema(sys.argv[1])))\n";
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/ocsf");
    let validator = |name: &str| {
        let mut python = std::process::Command::new("python3");
        let output =
            python.env("PYTHONPATH", packages).args(["-c", script, name]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        jsonschema::validator_for(&serde_json::from_slice(&output.stdout).unwrap()).unwrap()
    };
    classes.map(|(class, name)| (class, validator(name))).into()
}

#[test]
fn whatever_happened_is_exported_as_an_event_of_the_published_schema() {
    let directory = tempfile::tempdir().unwrap();
    let mut happened = events();
    for (n, name) in Name::ALL.iter().enumerate() {
        // with all that a record can tell, and with nothing
        let mut full = download("2026-10-01T12:00:00.000000Z", ALICE, &format!("corp.example/{n}"));
        full.name = *name;
        let act = Act::new(*name, Outcome::Failed).with("why", "nobody knows");
        happened.extend([full, act.event("2026-10-01T12:00:00.000000Z".to_owned())]);
    }
    write(settings(&directory.path().join(".modgate")), happened);
    let output = run(directory.path(), &["audit", "export", "--format", "ocsf"]);
    let schemas = ocsf_schemas();
    let mut names = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let class = event["class_uid"].as_u64().unwrap();
        let (_, schema) = schemas.iter().find(|(known, _)| *known == class).unwrap();
        let wrong: Vec<_> = schema.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:#?}\n{event}");
        names.insert(event["message"].as_str().unwrap().to_owned());
    }
    let all: BTreeSet<_> = Name::ALL.iter().map(|name| name.text().to_owned()).collect();
    assert_eq!(names, all);
}

#[test]
fn a_pseudonymised_log_is_searched_by_the_hash_of_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(&directory.path().join(".modgate"));
    settings.config.pseudonymise = true;
    let mut event = download("2026-10-01T12:00:00.000000Z", ALICE, LEDGER);
    let san = "uri:spiffe://corp.example/alice".to_owned();
    event.actor.as_mut().unwrap().cert = Some(Cert { san, sha256: "0".repeat(64) });
    write(settings, [event]);
    let hash = String::from_utf8(run(directory.path(), &["audit", "hash", ALICE]).stdout).unwrap();
    assert_eq!(rows(directory.path(), &["audit", "query", "--actor", hash.trim()]).len(), 1);
    let all = run(directory.path(), &["audit", "export"]).stdout;
    assert!(!String::from_utf8(all).unwrap().contains("alice"));
}

#[test]
fn somebody_in_very_many_groups_is_recorded_once_in_full() {
    let directory = tempfile::tempdir().unwrap();
    let member = || {
        let mut event = download("2026-10-01T12:00:00.000000Z", ALICE, LEDGER);
        event.actor.as_mut().unwrap().groups =
            (0..100).map(|n| format!("group:ldap/corp:team-{n:03}")).collect();
        event
    };
    write(settings(&directory.path().join(".modgate")), [member(), member()]);
    let sets = rows(directory.path(), &["audit", "query", "--event", "actor.groups"]);
    let all: Vec<&str> = sets
        .iter()
        .flat_map(|set| set["detail"]["groups"].as_str().unwrap().split("\\u{a}"))
        .collect();
    assert_eq!(all.len(), 100);
    let zips = rows(directory.path(), &["audit", "query", "--event", "module.zip"]);
    assert!(zips.iter().all(|zip| zip["actor"]["gset"] == sets[0]["detail"]["gset"]));
    assert_eq!(zips[0]["actor"]["groups"].as_array().unwrap().len(), 32);
}
