//! The log as an auditor meets it: every record fits the schema, Go verifies its checkpoints, a record is proved without the
//! log, and a killed gateway leaves at most a declared tail.

use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use modgate::audit::event::Event;
use modgate::audit::segment::Segment;
use modgate::clock::Clock;
use modgate::clock::ManualClock;
use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::gateway::records_in;
use crate::support::log::download;
use crate::support::log::during;
use crate::support::log::record;
use crate::support::log::settings;
use crate::support::log::verified;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const PRIVATE: &str = "/corp.example/payments/ledger/@v/v1.0.0.zip";

fn world(audit: &str) -> (Tree, Upstream, Gateway) {
    let mut tree = Tree::new();
    tree.module("corp.example/payments/ledger", "v1.0.0", &[]);
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let settings = format!(
        "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\n\n[audit]\n{audit}",
        upstream.url()
    );
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    (tree, upstream, gateway)
}

/// Runs `modgate audit` over a gateway's own state.
fn audit(state: &Path, arguments: &[&str]) -> Output {
    let key = format!("audit.key_file={}", state.join("audit.key").display());
    let mut command = modgate();
    command.current_dir(state).arg("audit").args(arguments);
    command.args(["--dir", &state.join("audit").display().to_string(), "--set", &key]);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(said).unwrap()
}

/// Requests of every kind: allowed, refused in each way, hostile, not there, cut off.
fn ask_everything(gateway: &Gateway) -> String {
    let team = gateway.stranger().bearer(&gateway.issue("pay", &["payments", "developers"]));
    // a busy disk may be too slow for some
    until("a private body comes", || team.get(PRIVATE).status == 200);
    assert_eq!(gateway.client().get(PRIVATE).status, 403);
    for path in [
        "/example.com/lib/@v/list",
        "/example.com/lib/@v/v1.0.0.zip",
        "/example.com/none/@v/list",
        "/Bad/path/@v/list",
        "/-/whoami",
        "/corp.example/@v/list",
    ] {
        gateway.client().get(path);
    }
    gateway.stranger().get(PRIVATE);
    gateway.stranger().basic("alice", "hunter2-secret").get(PRIVATE);
    gateway.client().get("/example.com/%e2%80%ae%1b%5b31m/@v/list");
    gateway.audited(1, "the private zip", |event| {
        event["resource"]["module"] == "corp.example/payments/ledger"
            && event["outcome"] == "allowed"
    })[0]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn every_record_fits_the_schema_and_is_one_plain_line() {
    let (_tree, _upstream, mut gateway) = world("max_segment = \"64 KiB\"\n");
    ask_everything(&gateway);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let schema: Value =
        serde_json::from_slice(&modgate().args(["audit", "schema"]).output().unwrap().stdout)
            .unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let records = gateway.records();
    assert!(records.len() > 12);
    for record in &records {
        let wrong: Vec<String> =
            validator.iter_errors(record).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{record}\n{wrong:?}");
    }
    let phases: Vec<_> = records.iter().map(|record| record["phase"].as_str().unwrap()).collect();
    assert!(phases.contains(&"decided") && phases.contains(&"refused"));
    let first = &records[0];
    assert_eq!(
        (first["event"].as_str(), first["detail"]["ended"].as_str()),
        (Some("audit.start"), Some("never begun"))
    );
    assert_eq!(records.last().unwrap()["event"], "audit.stop");
    // a member that is not in the schema is no record
    let mut odd = records[0].clone();
    odd["surprise"] = Value::Bool(true);
    assert!(!validator.is_valid(&odd));
}

#[test]
fn a_checkpoint_verifies_with_the_library_of_the_go_project() {
    let (_tree, _upstream, mut gateway) = world("");
    ask_everything(&gateway);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let state = gateway.state();
    let key = text(&audit(&state, &["key"])).trim().to_owned();
    let segments = modgate::audit::segment::list(&state.join("audit")).unwrap();
    let notes = std::fs::read_to_string(segments[0].checkpoints()).unwrap();
    let last = modgate::tlog::note::split(&notes).pop().unwrap().to_owned();
    let lines = u64::try_from(records_in(&state.join("audit")).len()).unwrap();
    let told = go_verifies(&key, &last).unwrap();
    assert!(told.contains(&format!("\n{lines}\n")), "{told}");
    let changed = last.replace(&format!("\n{lines}\n"), &format!("\n{}\n", lines + 1));
    assert!(go_verifies(&key, &changed).is_err());
}

/// Builds and runs a program of ten lines around golang.org/x/mod/sumdb/note.
fn go_verifies(key: &str, note: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("go.mod", "module verify.example\n\ngo 1.22\n\nrequire golang.org/x/mod v0.17.0\n");
    write("note.txt", note);
    write("main.go", VERIFY);
    let run = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.current_dir(directory.path()).args(arguments);
        go.env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local").env("GOWORK", "off");
        go.env("GONOSUMDB", "*").output().unwrap()
    };
    let built = run(&["build", "-o", "verify", "."]);
    assert!(
        built.status.success(),
        "golang.org/x/mod could not be fetched or built; this test needs a module proxy (go env GOPROXY):\n{}",
        text(&built)
    );
    let program = Command::new(directory.path().join("verify"))
        .args([key, "note.txt"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    if program.status.success() { Ok(text(&program)) } else { Err(text(&program)) }
}

const VERIFY: &str = r#"package main

import (
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
)

func main() {
	verifier, err := note.NewVerifier(os.Args[1])
	if err != nil {
		panic(err)
	}
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		panic(err)
	}
	fmt.Print(opened.Text)
}
"#;

#[test]
fn a_record_is_proved_without_the_log() {
    let (_tree, _upstream, mut gateway) = world("");
    let id = ask_everything(&gateway);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let state = gateway.state();
    let proof = audit(&state, &["prove", "--id", &id]);
    assert_eq!(proof.status.code(), Some(0), "{}", text(&proof));
    let file = state.join("proof.json");
    std::fs::write(&file, &proof.stdout).unwrap();
    let key = text(&audit(&state, &["key"])).trim().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let check = |proof: &str, key: &str| {
        let path = elsewhere.path().join("proof.json");
        std::fs::write(&path, proof).unwrap();
        let mut command = modgate();
        command.current_dir(elsewhere.path()).args(["audit", "prove", "--check", "proof.json"]);
        command.args(["--key", key]).output().unwrap()
    };
    let proof = String::from_utf8(proof.stdout).unwrap();
    assert!(proof.contains("corp.example/payments/ledger"));
    let checked = check(&proof, &key);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    assert_eq!(
        check(&proof.replace("payments/ledger", "payments/other"), &key).status.code(),
        Some(1)
    );
    let stranger = modgate::tlog::note::Signer::from_seed("modgate/x", [1; 32]).unwrap();
    assert_eq!(check(&proof, &stranger.verifier().to_string()).status.code(), Some(1));
    assert_eq!(check("{}", &key).status.code(), Some(2));
}

#[test]
fn verify_says_yes_no_and_cannot_tell_by_its_exit_code() {
    let (_tree, _upstream, mut gateway) = world("");
    ask_everything(&gateway);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let state = gateway.state();
    let good = audit(&state, &["verify"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    assert!(text(&good).contains("verified"));
    let no_key = modgate()
        .current_dir(&state)
        .args(["audit", "verify", "--dir", "audit", "--set", "audit.key_file=none"])
        .output()
        .unwrap();
    assert_eq!(no_key.status.code(), Some(2), "{}", text(&no_key));
    let path = modgate::audit::segment::list(&state.join("audit")).unwrap()[0].plain();
    let changed = std::fs::read_to_string(&path).unwrap().replacen("allowed", "alloweb", 2);
    std::fs::write(&path, changed).unwrap();
    let bad = audit(&state, &["verify", "--json"]);
    assert_eq!(bad.status.code(), Some(1), "{}", text(&bad));
    let report: Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(report["findings"][0]["kind"], "edited");
    assert_eq!(report["findings"][0]["seq"], 1);
}

#[test]
fn twenty_kills_leave_a_log_that_verifies_with_a_declared_tail() {
    let kills = crate::support::gateway::inherited("MODGATE_TEST_KILLS")
        .map_or(20, |kills| kills.parse().unwrap());
    let (_tree, upstream, mut gateway) = world("checkpoint_every = \"50ms\"\n");
    let token = gateway.issue("pay", &["payments", "developers"]);
    let mut came = 0;
    for n in 0..kills {
        let client = gateway.stranger().bearer(&token);
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let client = client.clone();
                // until the gateway is gone
                std::thread::spawn(move || {
                    let mut came = 0_usize;
                    while client.try_get(PRIVATE) == Some(200) {
                        came += 1;
                    }
                    came
                })
            })
            .collect();
        if n % 4 == 0 {
            // on a slow machine too some bodies come before the end
            until("a private body comes", || client.get(PRIVATE).status == 200);
            came += 1;
        }
        std::thread::park_timeout(Duration::from_millis(30 + n % 20 * 7));
        gateway = gateway.kill_and_restart(&upstream.url());
        came += asking.into_iter().map(|asking| asking.join().unwrap()).sum::<usize>();
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let state = gateway.state();
    let report = audit(&state, &["verify", "--json"]);
    assert_eq!(report.status.code(), Some(0), "{}", text(&report));
    let records = gateway.records();
    let decided = records.iter().filter(|record| record["phase"] == "decided").count();
    assert!(came > 0 && decided >= came, "{came} bodies came, {decided} decisions are recorded");
    let asked = ["query", "holders", "--module", "corp.example/payments/ledger", "--json"];
    let holders: Value = serde_json::from_str(&text(&audit(&state, &asked))).unwrap();
    let told: usize = holders["count"].as_str().unwrap().parse().unwrap();
    assert!(told >= came, "{came} bodies came, {told} are told of");
    let restarts =
        records.iter().filter(|record| record["detail"]["ended"] == "ended without a word").count();
    assert_eq!(u64::try_from(restarts).unwrap(), kills);
}

#[test]
fn segments_rotate_under_load_are_packed_indexed_and_retired_with_a_record() {
    let (_tree, _upstream, mut gateway) =
        world("max_segment = \"64 KiB\"\nplain_for = \"0s\"\nkeep_days = 1\n");
    let client = gateway.client();
    for _ in 0..400 {
        assert_eq!(client.get("/example.com/lib/@v/list").status, 200);
    }
    let audit_dir = gateway.state().join("audit");
    let packed = || {
        let segments = modgate::audit::segment::list(&audit_dir).unwrap();
        segments
            .iter()
            .filter(|segment| segment.packed().exists() && segment.index().exists())
            .count()
    };
    until("three segments are packed", || packed() >= 3);
    // a segment of long ago: its index says so
    let oldest = modgate::audit::segment::list(&audit_dir).unwrap()[0].clone();
    let index = std::fs::read(oldest.index()).unwrap();
    let end = index.iter().position(|byte| *byte == b'\n').unwrap();
    let mut head: Value = serde_json::from_slice(&index[..end]).unwrap();
    head["to"] = Value::from("2020-01-01T00:00:00.000000Z");
    std::fs::write(oldest.index(), [head.to_string().as_bytes(), &index[end..]].concat()).unwrap();
    until("the old segment is gone", || {
        client.get("/example.com/lib/@v/list");
        !oldest.is_there()
    });
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let state = gateway.state();
    let report = audit(&state, &["verify"]);
    assert_eq!(report.status.code(), Some(0), "{}", text(&report));
    assert!(text(&report).contains("deleted at 1: records 1 to"), "{}", text(&report));
    // and without the record of its removal it would be missing
    let second = modgate::audit::segment::list(&audit_dir).unwrap()[1].clone();
    std::fs::remove_file(second.packed()).unwrap();
    assert_eq!(audit(&state, &["verify"]).status.code(), Some(1));
}

/// A wall clock that somebody sets, in seconds since 1970.
#[derive(Debug)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// 2026-10-01T12:00:00Z.
const NOON: u64 = 1_790_856_000;

fn one() -> [Event; 1] {
    [download("2026-10-01T12:00:00.000000Z", "user:token:alice", "corp.example/a")]
}

#[test]
fn a_clock_that_is_set_back_is_recorded_and_the_log_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicU64::new(NOON)));
    let mut settings = settings(directory.path());
    settings.clock = clock.clone();
    during(settings, |audit| {
        // an hour back, an hour and more forward, and no further back than clocks are corrected
        for time in [NOON, NOON - 3600, NOON + 60, NOON + 59] {
            clock.0.store(time, Ordering::SeqCst);
            record(audit, one());
        }
    });
    let records = records_in(&directory.path().join("audit"));
    let names: Vec<_> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
    let downloaded = "module.zip";
    assert_eq!(
        names,
        [
            "audit.start",
            downloaded,
            "audit.clock",
            downloaded,
            downloaded,
            downloaded,
            "audit.stop"
        ]
    );
    let told = &records[2];
    assert_eq!((&told["code"], &told["outcome"]), (&"MG506E".into(), &"failed".into()));
    assert_eq!(told["time"], "2026-10-01T11:00:00.000000Z");
    assert_eq!(told["detail"]["before"], "2026-10-01T12:00:00.000000Z");
    assert_eq!(verified(directory.path(), "").exit_code(), 0);
}

/// The segments of a directory.
fn segments(directory: &Path) -> Vec<Segment> {
    modgate::audit::segment::list(&directory.join("audit")).unwrap()
}

#[test]
fn a_segment_is_closed_by_its_age_and_kept_on_hold_whatever_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at_unix(NOON));
    let mut settings = settings(directory.path());
    settings.clock = clock.clone();
    settings.config.keep_days = 1;
    settings.config.hold = true;
    let count = || segments(directory.path()).len();
    during(settings.clone(), |audit| {
        record(audit, one());
        clock.advance(Duration::from_mins(59));
        // what is due is looked at between the first and the second
        record(audit, one());
        record(audit, one());
        assert_eq!(count(), 1, "it is not an hour old");
        clock.advance(Duration::from_mins(1));
        until("the next one is begun", || count() == 2);
        // its keeper looks at the first one again when it closes the second
        clock.advance(Duration::from_hours(72));
        record(audit, one());
        until("and the one after it", || count() == 3);
        until("the second is closed", || segments(directory.path())[1].index().exists());
    });
    let records = || records_in(&directory.path().join("audit"));
    let begun = records().into_iter().find(|record| record["event"] == "audit.rotate").unwrap();
    assert_eq!(begun["seq"], 5, "{begun}");
    let oldest = segments(directory.path())[0].clone();
    assert!(oldest.is_there(), "it is on hold");
    settings.config.hold = false;
    during(settings, |_audit| until("it is removed", || !oldest.is_there()));
    let removed = records().into_iter().find(|record| record["event"] == "audit.delete").unwrap();
    assert_eq!(removed["detail"]["segment"], *oldest.stem);
    assert_eq!(removed["detail"]["why"], "older than 1 days");
    assert_eq!(verified(directory.path(), "").exit_code(), 0);
}

#[test]
fn an_announced_checkpoint_is_a_line_that_holds_the_log_to_its_word() {
    let settings =
        "announce = true\ncheckpoint_every = \"50ms\"\n[telemetry]\nlog_filter = \"off\"\n";
    let (_tree, _upstream, mut gateway) = world(settings);
    ask_everything(&gateway);
    let announced = || {
        let output = gateway.output();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let notes = lines.filter(|line| line["target"] == "modgate::audit::checkpoint");
        notes
            .map(|line| line["note"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned())
            .collect::<Vec<_>>()
    };
    until("two checkpoints are announced", || announced().len() >= 2);
    let kept = gateway.state().join("kept");
    std::fs::write(&kept, announced().concat()).unwrap();
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let state = gateway.state();
    let verify = || audit(&state, &["verify", "--checkpoints", kept.to_str().unwrap()]);
    assert_eq!(verify().status.code(), Some(0), "{}", text(&verify()));
    // whoever cuts the log, and what lies beside it, is found by what was announced
    let first = segments(&state)[0].clone();
    let records = std::fs::read_to_string(first.plain()).unwrap();
    let begin: String = records.lines().take(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(first.plain(), begin).unwrap();
    std::fs::remove_file(first.checkpoints()).unwrap();
    assert_eq!(verify().status.code(), Some(1), "{}", text(&verify()));
    // the harness counts what is recorded
    std::fs::write(first.plain(), records).unwrap();
}
