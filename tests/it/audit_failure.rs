//! An audit that cannot be written: nothing private is served unrecorded, what is lost elsewhere is counted and declared,
//! and nobody waits.

use std::collections::HashSet;
use std::io::Write as _;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::counted::late;
use crate::support::client::Client;
use crate::support::disk::Disk;
use crate::support::disk::slow_sync;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::records_in;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::until_told;
use crate::support::upstream::Upstream;

const PRIVATE: &str = "/corp.example/payments/ledger/@v/v1.0.0.zip";
const PUBLIC: &str = "/example.com/lib/@v/v1.0.0.zip";

struct World {
    _tree: Tree,
    upstream: Upstream,
    gateway: Gateway,
}

fn world(audit: &str, environment: &[(String, String)]) -> World {
    let mut tree = Tree::new();
    tree.module("corp.example/payments/ledger", "v1.0.0", &[]);
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let url = upstream.url();
    let settings = format!(
        "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{url}\"\n\n[audit]\n{audit}"
    );
    let gateway = Setup::over(&url).with(&settings).start_in(environment);
    World { _tree: tree, upstream, gateway }
}

impl World {
    fn team(&self) -> Client {
        self.gateway.stranger().bearer(&self.gateway.issue("pay", &["payments", "developers"]))
    }
}

/// Asks for a private zip; gives the request's trace id if a body came.
fn body(client: &Client) -> Option<String> {
    let answer = client.get(PRIVATE);
    let trace = answer.header("traceparent").split('-').nth(1).unwrap().to_owned();
    (answer.status == 200).then_some(trace)
}

/// Asks until a private body comes: a busy disk may be too slow for some.
fn comes(client: &Client, came: &mut Vec<String>) {
    until("a private body comes", || {
        let trace = body(client);
        came.extend(trace.clone());
        trace.is_some()
    });
}

/// Bodies that came without a record of the decision.
fn unrecorded(came: &[String], records: &[Value]) -> usize {
    let decided: HashSet<&str> = records
        .iter()
        .filter(|record| record["phase"] == "decided")
        .map(|record| record["http"]["trace_id"].as_str().unwrap())
        .collect();
    came.iter().filter(|trace| !decided.contains(trace.as_str())).count()
}

/// Asks until the answer is 503, then a few more times: each says why, and nobody waits for the audit for longer than
/// promised, by the gateway's own clock. Prints the longest wait of a client, in which a busy machine has its share.
fn refused(world: &World, client: &Client, came: &mut Vec<String>, why: &str) {
    until("private bodies stop", || match body(client) {
        Some(trace) => {
            came.push(trace);
            false
        }
        None => true,
    });
    let waited_long = || late(&world.gateway, "modgate_audit_append_duration_seconds", "0.25");
    let mut longest = Duration::ZERO;
    // a machine that has other things to do may wake a timer late: ten in a row that it does not
    until("ten refusals wait for the audit for 250 ms at most", || {
        let before = waited_long();
        for _ in 0..10 {
            let begun = Instant::now();
            let answer = client.get(PRIVATE);
            longest = longest.max(begun.elapsed());
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(answer.text().contains(why), "{}", answer.text());
            assert!(!answer.header("retry-after").is_empty());
        }
        waited_long() - before < 0.5
    });
    let text = format!("{why}: the slowest answer 503 took {longest:?} at the client\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
    assert!(longest < Duration::from_secs(5), "{why}: {longest:?}");
}

/// How many events a log says it has lost.
fn declared(records: &[Value]) -> u32 {
    let gaps = records.iter().filter(|record| record["event"] == "audit.gap");
    gaps.map(|gap| gap["detail"]["count"].as_str().unwrap().parse::<u32>().unwrap()).sum()
}

const LOST: &str = "modgate_audit_events_total{sink=\"segment\",result=\"dropped\"}";

#[test]
fn a_full_disk_stops_private_bodies_and_the_loss_of_others_is_declared() {
    let disk = Disk::mount("size=6m");
    let audit = format!("dir = \"{}\"\nreserve = \"1 MiB\"\n", disk.path().display());
    let world = world(&audit, &[]);
    let (client, mut came) = (world.team(), Vec::new());
    comes(&client, &mut came);
    let filler = disk.fill();
    refused(&world, &client, &mut came, "its disk is full");
    assert_eq!(world.gateway.ops_page("/readyz").0, 503);
    // everything else is served, and a refusal is refused
    for _ in 0..5 {
        assert_eq!(client.get(PUBLIC).status, 200);
    }
    assert_eq!(world.gateway.client().get(PRIVATE).status, 403);
    std::fs::remove_file(filler).unwrap();
    comes(&client, &mut came);
    assert_eq!(world.gateway.ops_page("/readyz").0, 200);
    let records = records_in(disk.path());
    assert_eq!(unrecorded(&came, &records), 0, "of {} bodies", came.len());
    let (declared, lost) = (declared(&records), world.gateway.metric(LOST));
    assert!(declared >= 6, "{declared}");
    assert!((f64::from(declared) - lost).abs() < 0.5, "{declared} {lost}");
}

#[test]
fn starts_on_a_full_disk_go_on_where_the_log_stood() {
    let disk = Disk::mount("size=6m");
    let audit = format!("dir = \"{}\"\nreserve = \"1 MiB\"\n", disk.path().display());
    let mut world = world(&audit, &[]);
    let url = world.upstream.url();
    comes(&world.team(), &mut Vec::new());
    world.gateway.signal("TERM");
    assert_eq!(world.gateway.wait(), Some(0));
    // not even what is held back
    std::fs::remove_file(disk.path().join("reserve")).unwrap();
    let filler = disk.fill();
    for _ in 0..2 {
        world.gateway = world.gateway.kill_and_restart(&url);
        until("it is said", || world.gateway.output().contains("the audit cannot be written"));
        world.gateway.signal("KILL");
        world.gateway.wait();
    }
    std::fs::remove_file(filler).unwrap();
    world.gateway = world.gateway.kill_and_restart(&url);
    until("the start is recorded", || {
        let records = records_in(disk.path());
        records.iter().filter(|record| record["event"] == "audit.start").count() == 2
    });
    let records = records_in(disk.path());
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], at + 1, "{record}");
    }
    let node = records[0]["node"].as_str().unwrap().to_owned();
    let keys = modgate::audit::keys::verifiers(&world.gateway.state().join("audit.key")).unwrap();
    let directories = vec![disk.path().to_owned()];
    let question = modgate::audit::verify::Subject { directories, node, keys, kept: String::new() };
    let report = modgate::audit::verify::verify(&question, &mut |_| ()).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:?}");
    let held = modgate::audit::segment::list(disk.path()).unwrap();
    assert!(held.len() >= 3, "no segment without a record: {held:?}");
}

#[test]
fn a_read_only_disk_stops_private_bodies_until_it_can_be_written() {
    let disk = Disk::mount("size=6m,ro");
    let audit = format!("dir = \"{}\"\nreserve = \"1 MiB\"\n", disk.path().display());
    let world = world(&audit, &[]);
    let (client, mut came) = (world.team(), Vec::new());
    refused(&world, &client, &mut came, "its directory cannot be written");
    assert_eq!(came.len(), 0);
    assert_eq!(client.get(PUBLIC).status, 200);
    disk.remount("rw");
    comes(&client, &mut came);
    let records = records_in(disk.path());
    assert_eq!(unrecorded(&came, &records), 0);
    assert!(records.iter().any(|record| record["event"] == "audit.gap"));
}

#[test]
fn a_disk_that_takes_its_time_to_sync_is_a_failure_and_never_a_hang() {
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("slow");
    let environment = slow_sync(directory.path(), &flag);
    let world = world("private_mode = \"durable\"\n", &environment);
    let (client, mut came) = (world.team(), Vec::new());
    comes(&client, &mut came);
    std::fs::write(&flag, "").unwrap();
    refused(&world, &client, &mut came, "it is too slow");
    std::fs::remove_file(&flag).unwrap();
    comes(&client, &mut came);
    assert_eq!(unrecorded(&came, &world.gateway.records()), 0, "of {} bodies", came.len());
    // an answer that was decided and not given: one record says what was sent instead
    let refused = world.gateway.audited(10, "decided and not given", |event| {
        event["http"]["status"] == 503 && event["fault"] == "unavailable"
    });
    let records = world.gateway.records();
    for one in refused.iter().take(10) {
        let of_it = records.iter().filter(|record| record["id"] == one["id"]);
        let phases: Vec<_> = of_it.map(|record| record["phase"].as_str().unwrap()).collect();
        assert_eq!(phases, ["decided", "done"]);
    }
}

#[test]
fn an_open_gateway_serves_on_and_declares_what_it_lost() {
    let disk = Disk::mount("size=6m");
    let audit = format!(
        "dir = \"{}\"\nreserve = \"1 MiB\"\non_failure = \"open\"\n",
        disk.path().display()
    );
    let world = world(&audit, &[]);
    let client = world.team();
    let mut asked = vec![body(&client).unwrap()];
    let filler = disk.fill();
    until("events are lost", || {
        asked.push(body(&client).unwrap());
        world.gateway.metric(LOST) > 9.0
    });
    assert_eq!(world.gateway.ops_page("/readyz").0, 200);
    std::fs::remove_file(filler).unwrap();
    // of each body two records, that it was decided and what was sent: written, or declared lost
    until_told("every record is written or declared lost", || {
        let records = records_in(disk.path());
        let is_asked = |record: &&Value| {
            asked.iter().any(|trace| record["http"]["trace_id"] == trace.as_str())
        };
        let written = u32::try_from(records.iter().filter(is_asked).count()).unwrap();
        let (lost, all) = (declared(&records), u32::try_from(asked.len() * 2).unwrap());
        let holds = lost > 9 && written + lost == all;
        if holds { Ok(()) } else { Err(format!("({written} written, {lost} lost, of {all})")) }
    });
    let (declared, lost) = (declared(&records_in(disk.path())), world.gateway.metric(LOST));
    assert!((f64::from(declared) - lost).abs() < 0.5, "{declared} {lost}");
}

#[test]
fn a_second_directory_is_enough_and_holds_everything() {
    let disk = Disk::mount("size=6m");
    let audit = format!("second_dir = \"{}\"\nreserve = \"1 MiB\"\n", disk.path().display());
    let world = world(&audit, &[]);
    let client = world.team();
    comes(&client, &mut Vec::new());
    let _filler = disk.fill();
    let failed = "modgate_audit_events_total{sink=\"second\",result=\"failed\"}";
    until("the second directory refuses", || {
        client.get(PRIVATE);
        world.gateway.metric(failed) > 0.5
    });
    comes(&client, &mut Vec::new());
    assert_eq!(world.gateway.ops_page("/readyz").0, 200);
}
