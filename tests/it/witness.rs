//! Nodes sign how each other's logs grow: restarts and crashes change nothing, a log that was put back is refused.

use std::path::Path;
use std::process::Command;

use modgate::tlog::note;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::redis::Redis;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const LIST: &str = "/example.com/lib/@v/list";

fn node(name: &str, redis: &Redis, upstream: &Upstream) -> Gateway {
    let settings = format!(
        "{}\n[telemetry]\nnode = \"{name}\"\n[audit]\ncheckpoint_every = \"200ms\"\n",
        redis.settings()
    );
    let node = Setup::over(&upstream.url()).with(&settings).start();
    until("Redis is up", || node.metric("modgate_redis_up") > 0.5);
    node
}

/// What a witness made of steps.
fn witnessed(node: &Gateway, result: &str) -> f64 {
    node.metric(&format!("modgate_audit_witnessed_total{{result=\"{result}\"}}"))
}

/// Lets a node write records, and its witness sign them.
fn grow(node: &Gateway, witness: &Gateway) {
    let before = witnessed(witness, "grown");
    until("a step is signed", || {
        assert_eq!(node.client().get(LIST).status, 200);
        witnessed(witness, "grown") > before
    });
}

/// Waits until the witness has signed all that the node has signed.
fn signed(node: &Gateway, witness: &Gateway) {
    let newest = |text: &str| {
        // none while the file is written anew
        let note = note::split(text).last().copied()?;
        Some(note.lines().take(3).collect::<Vec<_>>().join(" "))
    };
    until("everything is signed", || {
        let segments = std::fs::read_dir(node.state().join("audit")).unwrap();
        let paths = segments.map(|entry| entry.unwrap().path());
        let mut notes: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "checkpoints")).collect();
        notes.sort();
        let own = std::fs::read_to_string(notes.last().unwrap()).unwrap_or_default();
        let told = std::fs::read_to_string(witness.state().join("witness/notes/gate-1.notes"));
        let own = newest(&own);
        told.is_ok_and(|told| own.is_some() && newest(&told) == own)
    });
}

fn verify(node: &Gateway, notes: &Path) -> (Option<i32>, String) {
    let home = node.state().parent().unwrap().to_owned();
    let mut command = modgate();
    command.current_dir(home).args(["audit", "verify", "--checkpoints"]).arg(notes);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Copies a directory as a whole, in place of another one.
fn copy(from: &Path, to: &Path) {
    let _absent = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// A witness signs no step of a node's log any more, and says why.
fn refuses(node: &Gateway, witness: &Gateway) {
    until("the witness refuses", || {
        assert_eq!(node.client().get(LIST).status, 200);
        witnessed(witness, "refused") > 0.5
    });
    until("the refusal is recorded", || {
        witness.records().iter().any(|record| {
            let why = record["detail"]["why"].as_str().unwrap_or_default();
            record["event"] == "audit.verify"
                && record["detail"]["node"] == "gate-1"
                && why.contains("were signed before")
        })
    });
    let signed = witnessed(witness, "grown");
    let refused = witnessed(witness, "refused");
    until("another step is refused", || {
        assert_eq!(node.client().get(LIST).status, 200);
        witnessed(witness, "refused") > refused
    });
    assert!((witnessed(witness, "grown") - signed).abs() < 0.5);
}

#[test]
fn a_node_signs_what_another_logs_through_its_restarts_and_refuses_a_log_that_was_put_back() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let redis = Redis::start();
    let mut node = node("gate-1", &redis, &upstream);
    let witness = self::node("gate-2", &redis, &upstream);
    until("the first step is signed", || witnessed(&witness, "first") > 0.5);
    grow(&node, &witness);
    until("the node hears of it", || {
        assert_eq!(node.client().get(LIST).status, 200);
        let lag = node.metric("modgate_audit_witness_lag_records");
        let written =
            node.metric("modgate_audit_events_total{sink=\"segment\",result=\"written\"}");
        // 0 before it was measured, and all of them if nobody signed
        lag > 0.5 && lag * 2.0 < written
    });
    let audit = node.state().join("audit");
    let earlier = node.state().join("earlier");
    // an orderly end, whose last checkpoint nobody could be told, and one without a word
    node.signal("TERM");
    node.wait();
    copy(&audit, &earlier);
    let node = node.kill_and_restart(&upstream.url());
    grow(&node, &witness);
    let node = node.kill_and_restart(&upstream.url());
    grow(&node, &witness);
    // Redis loses everything, and the node is not there to tell it again at once
    signed(&node, &witness);
    redis.cli(&["FLUSHALL"]);
    let mut node = node.kill_and_restart(&upstream.url());
    grow(&node, &witness);
    let complaints = witnessed(&witness, "anew") + witnessed(&witness, "refused");
    assert!(complaints < 0.5, "{}", witness.output());
    node.signal("TERM");
    node.wait();
    let notes = witness.state().join("witness/notes");
    let (code, text) = verify(&node, &notes);
    assert_eq!(code, Some(0), "{text}");
    // what happened since is taken back, as if it had never been; a node that was killed owes no records
    let mut node = node.kill_and_restart(&upstream.url());
    node.signal("KILL");
    node.wait();
    copy(&earlier, &audit);
    let (code, text) = verify(&node, &notes);
    assert!(code == Some(1), "{text}");
    let mut node = node.kill_and_restart(&upstream.url());
    refuses(&node, &witness);
    // its records do not tell what it did: that was the point
    node.signal("KILL");
    node.wait();
}
