//! Commands beside a gateway: what they leave for its log, the keys they change, and what they hand over.

use std::path::Path;
use std::process::Output;

use modgate::audit::keeper;
use modgate::config::audit::Packing;
use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::log::download;
use crate::support::log::settings;
use crate::support::log::write;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

struct World {
    _tree: Tree,
    upstream: Upstream,
    gateway: Gateway,
}

fn world() -> World {
    let tree = Tree::new();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    World { _tree: tree, upstream, gateway }
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_question_to_a_gateways_own_log_is_recorded_however_its_directory_is_named() {
    let world = world();
    let audit = world.gateway.state().join("audit");
    let copy = world.gateway.state().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&audit).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let link = world.gateway.state().join("link");
    std::os::unix::fs::symlink(&audit, &link).unwrap();
    let around = audit.join("../audit");
    // a copy is nobody's; each of the others is the log itself
    for (directory, event) in [(&copy, "of-a-copy"), (&audit, "a"), (&link, "b"), (&around, "c")] {
        let directory = directory.to_str().unwrap();
        let asked = ["audit", "query", "--event", event, "--dir", directory];
        succeeded(&world.gateway.command(&asked));
    }
    succeeded(&world.gateway.command(&["audit", "query", "--event", "d"]));
    let is_question = |record: &Value| record["event"] == "audit.read";
    let mut asked = Vec::new();
    until("four questions are recorded", || {
        asked = world.gateway.records().into_iter().filter(is_question).collect();
        asked.len() >= 4
    });
    let asked = asked.iter().map(|record| record["detail"]["asked"].as_str().unwrap());
    let questions = ["a", "b", "c", "d"].map(|event| format!("records event={event}"));
    assert_eq!(asked.collect::<Vec<_>>(), questions);
}

#[test]
fn a_key_is_rotated_beside_a_running_gateway_which_records_it_and_signs_with_both_after_a_restart()
{
    let World { _tree, upstream, gateway } = world();
    let former = succeeded(&gateway.command(&["audit", "key"]));
    let printed = gateway.command(&["audit", "key", "--rotate"]);
    let both = succeeded(&printed);
    assert!(String::from_utf8_lossy(&printed.stderr).contains("Restart the gateway"));
    let keys: Vec<&str> = both.lines().collect();
    assert_eq!((keys.len(), keys[0]), (2, former.trim()));
    let rotations = |gateway: &Gateway| -> Vec<Value> {
        let records = gateway.records().into_iter();
        records.filter(|record| record["event"] == "admin.action").collect()
    };
    until("the rotation is recorded", || !rotations(&gateway).is_empty());
    let recorded = rotations(&gateway);
    assert_eq!(recorded[0]["detail"]["command"], "audit key --rotate");
    assert!(recorded[0]["actor"]["id"].as_str().unwrap().starts_with("user:os:"));
    // to print them is no change of anything
    succeeded(&gateway.command(&["audit", "key"]));
    let gateway = gateway.kill_and_restart(&upstream.url());
    let starts: Vec<Value> =
        gateway.records().into_iter().filter(|record| record["event"] == "audit.start").collect();
    let told = |start: &Value| start["detail"]["keys"].as_str().unwrap().to_owned();
    assert_eq!(
        starts.iter().map(told).collect::<Vec<_>>(),
        [former.trim().to_owned(), keys.join(" ")]
    );
    for key in keys {
        let verified = gateway.command(&["audit", "verify", "--key", key]);
        assert!(succeeded(&verified).contains("  verified"));
    }
    assert_eq!(rotations(&gateway).len(), 1);
}

/// A log of two segments below `.modgate`, as a gateway leaves it.
fn log() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for day in 1..=2 {
        let time = format!("2026-10-{day:02}T12:00:00.000000Z");
        let events = (0..5).map(|n| download(&time, "user:a", &format!("corp.example/m{n}")));
        write(settings(&directory.path().join(".modgate")), events);
    }
    directory
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    modgate().current_dir(directory).arg("audit").args(arguments).output().unwrap()
}

const PACK: [&str; 5] = ["export", "--control", "PCI-10.2", "--out", "evidence"];

#[test]
fn an_evidence_pack_knows_the_notes_that_this_node_and_others_have_kept() {
    let world = log();
    let kept = world.path().join(".modgate/witness/notes");
    let segments = modgate::audit::segment::list(&world.path().join(".modgate/audit")).unwrap();
    let notes = std::fs::read_to_string(segments[1].checkpoints()).unwrap();
    let last = modgate::tlog::note::split(&notes).pop().unwrap().to_owned();
    // the end is cut, with its checkpoints: by itself it looks well
    std::fs::remove_file(segments[1].plain()).unwrap();
    std::fs::remove_file(segments[1].checkpoints()).unwrap();
    succeeded(&run(world.path(), &PACK));
    succeeded(&run(world.path(), &["verify"]));
    let is_cut = |more: &[&str]| {
        assert_eq!(run(world.path(), &[&["verify"], more].concat()).status.code(), Some(1));
        let packed = run(world.path(), &[&PACK, more].concat());
        assert_eq!(packed.status.code(), Some(1), "{}", String::from_utf8_lossy(&packed.stderr));
        let read = |name: &str| std::fs::read_to_string(world.path().join("evidence").join(name));
        let reports: Value = serde_json::from_str(&read("verification.json").unwrap()).unwrap();
        assert_eq!(reports[0]["findings"][0]["kind"], "truncated");
        assert!(read("checkpoints.txt").unwrap().contains(&last));
    };
    std::fs::write(world.path().join("elsewhere.txt"), &last).unwrap();
    is_cut(&["--checkpoints", "elsewhere.txt"]);
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join("gw.notes"), &last).unwrap();
    is_cut(&[]);
}

#[test]
fn an_evidence_pack_of_a_damaged_log_says_where_it_is_damaged() {
    let world = log();
    let segments = modgate::audit::segment::list(&world.path().join(".modgate/audit")).unwrap();
    keeper::close(&segments[0], Packing::Compress).unwrap();
    let bytes = std::fs::read(segments[0].packed()).unwrap();
    std::fs::write(segments[0].packed(), &bytes[..bytes.len() / 2]).unwrap();
    let packed = run(world.path(), &PACK);
    assert_eq!(packed.status.code(), Some(1), "{}", String::from_utf8_lossy(&packed.stderr));
    let read = |name: &str| std::fs::read_to_string(world.path().join("evidence").join(name));
    let reports: Value = serde_json::from_str(&read("verification.json").unwrap()).unwrap();
    assert_eq!(reports[0]["findings"][0]["kind"], "unreadable");
    assert!(read("incomplete.txt").unwrap().contains("verification.json says where"));
    let told = read("digests.txt").unwrap();
    assert!(told.contains("  records.jsonl\n") && told.contains("  incomplete.txt\n"));
}

#[test]
fn what_an_automation_asks_is_answered_in_json() {
    let world = log();
    let json = |arguments: &[&str]| run(world.path(), &[arguments, &["--json"]].concat());
    let proof = run(world.path(), &["prove", "--seq", "3", "--node", "gw"]);
    std::fs::write(world.path().join("proof.json"), succeeded(&proof)).unwrap();
    let checked = json(&["prove", "--check", "proof.json"]);
    let told = &objects(&checked)[0];
    assert_eq!(
        (checked.status.code(), &told["proved"], &told["record"]),
        (Some(0), &true.into(), &3.into())
    );
    assert_eq!(told["log"], "modgate/gw");
    let other = succeeded(&proof).replace("\"index\":2", "\"index\":3");
    std::fs::write(world.path().join("proof.json"), other).unwrap();
    let checked = json(&["prove", "--check", "proof.json"]);
    let told = &objects(&checked)[0];
    assert_eq!((checked.status.code(), &told["proved"]), (Some(1), &false.into()));
    assert_eq!(told["why"], "its record has another number");
    let keys = objects(&json(&["key"]));
    let plain = succeeded(&run(world.path(), &["key"]));
    assert_eq!(
        (keys[0]["name"].as_str(), keys[0]["key"].as_str()),
        (Some("modgate/gw"), Some(plain.trim()))
    );
    assert_eq!(objects(&json(&["index"]))[0]["segments"], 1);
    let witness =
        ["witness", "--state", "seen", "--witness-key", "w.key", "--name", "w", "--node", "gw"];
    let signed = &objects(&json(&witness))[0];
    let seen = std::fs::read_to_string(world.path().join("seen")).unwrap();
    assert_eq!((&signed["node"], &signed["note"]), (&"gw".into(), &seen.into()));
    let segments = modgate::audit::segment::list(&world.path().join(".modgate/audit")).unwrap();
    std::fs::remove_file(segments[1].plain()).unwrap();
    let refused = json(&witness);
    let report = &objects(&refused)[0];
    assert_eq!(
        (refused.status.code(), &report["findings"][0]["kind"]),
        (Some(1), &"truncated".into())
    );
}
