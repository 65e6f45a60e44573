//! A directory of the audit that hangs in the kernel: the other one takes everything, nobody waits, and what was missed is
//! made up for when it answers again.

use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use crate::support::client::Client;
use crate::support::disk::Disk;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::records_in;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const PRIVATE: &str = "/corp.example/payments/ledger/@v/v1.0.0.zip";

struct World {
    // first: a process that hangs in it cannot be ended
    disk: Disk,
    gateway: Gateway,
    _tree: Tree,
    upstream: Upstream,
    other: PathBuf,
}

/// Which of the two directories is on the disk that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    First,
    Second,
}

fn world(which: Which) -> World {
    world_with(which, Path::new(".modgate/audit"))
}

fn world_with(which: Which, other: &Path) -> World {
    let disk = Disk::mount_freezable();
    let mut tree = Tree::new();
    tree.module("corp.example/payments/ledger", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let (hangs, second) = (disk.path().join("audit"), other.display());
    let places = match which {
        // quoted so, the harness looks for the record of every answer in the usual place, which is the other one here
        Which::First => format!("dir = '{}'\nsecond_dir = \"{second}\"\n", hangs.display()),
        Which::Second => format!("second_dir = \"{}\"\n", hangs.display()),
    };
    let settings = format!(
        "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\n\n\
         [audit]\n{places}max_segment = \"64 KiB\"\ncheckpoint_every = \"100ms\"\nreserve = \"1 MiB\"\n\
         private_mode = \"durable\"\n",
        upstream.url()
    );
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    let other = gateway.state().join("..").join(other);
    World { disk, gateway, _tree: tree, upstream, other }
}

impl World {
    fn hangs(&self) -> PathBuf {
        self.disk.path().join("audit")
    }

    fn token(&self) -> String {
        self.gateway.issue("pay", &["payments", "developers"])
    }

    fn team(&self, token: &str) -> Client {
        self.gateway.stranger().bearer(token)
    }

    /// Denies a module, and waits until that is in force and recorded.
    fn deny(&self, module: &str) {
        let denied = self.gateway.command(&["deny", module, "--reason", "malware"]);
        let said = String::from_utf8_lossy(&denied.stdout).into_owned();
        let id = said.split(':').next().unwrap().to_owned();
        until("the deny is in force", || {
            let is_it = |record: &serde_json::Value| {
                record["event"] == "policy.deny" && record["detail"]["id"] == *id
            };
            records_in(&self.other).iter().any(is_it)
        });
    }

    fn says(&self, what: &str) {
        until(what, || self.gateway.output().contains(what));
    }
}

/// Private bodies come, and enough of them to begin new segments.
fn bodies_come(client: &Client, other: &Path) {
    let before = segments(other).len();
    until("segments are closed", || {
        for _ in 0..20 {
            // a busy machine may take its time to sync once
            until("a private body comes", || client.get(PRIVATE).status == 200);
        }
        segments(other).len() >= before + 2
    });
}

/// The segments of a directory by name, and what they hold.
fn segments(directory: &Path) -> Vec<(String, String)> {
    let found = modgate::audit::segment::list(directory).unwrap();
    let held = found.into_iter().filter_map(|segment| {
        // compressed between two looks: the next one finds it
        let mut text = String::new();
        segment.open().ok()?.read_to_string(&mut text).ok()?;
        Some((segment.stem, text))
    });
    held.collect()
}

#[test]
fn whichever_directory_hangs_private_bodies_come_and_it_gets_what_it_missed() {
    for which in [Which::First, Which::Second] {
        let mut world = world(which);
        let client = world.team(&world.token());
        bodies_come(&client, &world.other);
        world.disk.freeze();
        bodies_come(&client, &world.other);
        world.says("a directory of the audit hangs");
        bodies_come(&client, &world.other);
        until("it is ready", || world.gateway.ops_page("/readyz").0 == 200);
        let sink = if which == Which::First { "segment" } else { "second" };
        let failed = format!("modgate_audit_events_total{{sink=\"{sink}\",result=\"failed\"}}");
        assert!(world.gateway.metric(&failed) > 0.5);
        world.disk.thaw();
        world.says("of the audit answers again");
        bodies_come(&client, &world.other);
        // hanging again at the end: it ends all the same
        world.disk.freeze();
        bodies_come(&client, &world.other);
        world.deny("example.com/one");
        if which == Which::First {
            // somebody looks for slips of commands there, would keep the policy there, and hangs as well
            until("a look hangs", || {
                world.gateway.metric("modgate_runtime_blocking_jobs{state=\"running\"}") > 0.5
            });
        }
        world.deny("example.com/two");
        world.gateway.signal("TERM");
        until("the end is written", || {
            let records = records_in(&world.other);
            records.last().is_some_and(|last| last["event"] == "audit.stop")
        });
        world.says("the end of the log may be in the other one alone");
        world.disk.thaw();
        assert_eq!(world.gateway.wait(), Some(0));
        let told = world.gateway.output();
        // once for each time, whatever is asked meanwhile; a busy disk may seem to hang once more
        let hung = told.matches("a directory of the audit hangs").count();
        assert!((1..=4).contains(&hung), "told {hung} times");
        // the same bytes in both, as far as the one that hung at the end has got
        let (all, held) = (segments(&world.other), segments(&world.hangs()));
        let whole = held.iter().filter(|one| all.contains(one)).count();
        assert!(whole + 1 >= held.len() && whole > 6, "{which:?}: {whole} of {}", held.len());
    }
}

#[test]
fn a_start_does_not_wait_for_ever_for_a_directory_that_hangs() {
    let mut world = world(Which::Second);
    let token = world.token();
    let client = world.team(&token);
    bodies_come(&client, &world.other);
    let mut gateway = world.gateway;
    gateway.signal("KILL");
    gateway.wait();
    world.disk.freeze();
    world.gateway = gateway.kill_and_restart(&world.upstream.url());
    let client = world.team(&token);
    until("private bodies come", || client.get(PRIVATE).status == 200);
    let starts: Vec<_> = records_in(&world.other)
        .into_iter()
        .filter(|record| record["event"] == "audit.start")
        .collect();
    let unread = starts.last().unwrap()["detail"]["unread"].as_str().unwrap();
    assert_eq!(unread, world.hangs().display().to_string());
    world.disk.thaw();
    world.says("that did not answer at the start does now");
    bodies_come(&client, &world.other);
    until("it holds the new start", || {
        let records = records_in(&world.hangs());
        records.iter().filter(|record| record["event"] == "audit.start").count() == 2
    });
}

/// What verification says of both directories together.
fn verified(world: &World) -> modgate::audit::verify::Report {
    let directories = vec![world.hangs(), world.other.clone()];
    let question = modgate::audit::verify::Subject {
        node: modgate::audit::verify::nodes(&directories).unwrap().remove(0),
        directories,
        keys: modgate::audit::keys::verifiers(&world.gateway.state().join("audit.key")).unwrap(),
        kept: String::new(),
    };
    modgate::audit::verify::verify(&question, &mut |_| ()).unwrap()
}

#[test]
fn kills_while_a_directory_hangs_leave_one_log() {
    for which in [Which::First, Which::Second] {
        let mut world = world(which);
        let token = world.token();
        for _ in 0..3 {
            let client = world.team(&token);
            until("private bodies come", || client.get(PRIVATE).status == 200);
            world.disk.freeze();
            bodies_come(&client, &world.other);
            let mut gateway = world.gateway;
            gateway.signal("KILL");
            // whoever hangs in the kernel is not gone before
            world.disk.thaw();
            gateway.wait();
            world.gateway = gateway.kill_and_restart(&world.upstream.url());
        }
        let client = world.team(&token);
        bodies_come(&client, &world.other);
        world.gateway.signal("TERM");
        assert_eq!(world.gateway.wait(), Some(0));
        let report = verified(&world);
        assert_eq!((report.exit_code(), report.signed), (0, report.last), "{which:?} {report:?}");
        let starts = records_in(&world.other);
        let starts = starts.iter().filter(|record| record["event"] == "audit.start").count();
        assert_eq!(starts, 4);
    }
}

#[test]
fn records_that_only_a_silent_directory_had_are_missed_aloud() {
    let mut world = world(Which::Second);
    let token = world.token();
    let client = world.team(&token);
    bodies_come(&client, &world.other);
    // the first one fails, so that the second one alone has what comes now
    let away = world.other.with_extension("away");
    std::fs::rename(&world.other, &away).unwrap();
    std::fs::write(&world.other, "").unwrap();
    bodies_come(&client, &world.hangs());
    let mut gateway = world.gateway;
    gateway.signal("KILL");
    gateway.wait();
    std::fs::remove_file(&world.other).unwrap();
    std::fs::rename(&away, &world.other).unwrap();
    world.disk.freeze();
    world.gateway = gateway.kill_and_restart(&world.upstream.url());
    let client = world.team(&token);
    until("private bodies come", || client.get(PRIVATE).status == 200);
    world.disk.thaw();
    world.says("holds records that this start did not know");
    let report = verified(&world);
    assert_eq!(report.exit_code(), 1, "{report:?}");
}

#[test]
fn a_full_disk_beside_one_that_hangs_is_refused_in_time_and_either_is_enough_again() {
    let full = Disk::mount("size=6m");
    let mut world = world_with(Which::First, &full.path().join("audit"));
    let client = world.team(&world.token());
    until("private bodies come", || client.get(PRIVATE).status == 200);
    let filler = full.fill();
    // in the first one alone
    bodies_come(&client, &world.hangs());
    world.disk.freeze();
    let refused = || {
        until("private bodies stop", || client.get(PRIVATE).status == 503);
        for _ in 0..20 {
            let begun = std::time::Instant::now();
            assert_eq!(client.get(PRIVATE).status, 503);
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "it hangs");
        }
        assert_eq!(world.gateway.stranger().get(PRIVATE).status, 401);
    };
    refused();
    std::fs::remove_file(filler).unwrap();
    until("private bodies come from the one that is not full", || {
        client.get(PRIVATE).status == 200
    });
    let filler = full.fill();
    refused();
    world.disk.thaw();
    until("private bodies come from the one that hung", || client.get(PRIVATE).status == 200);
    std::fs::remove_file(filler).unwrap();
    bodies_come(&client, &world.other);
    let report = verified(&world);
    assert!(report.findings.is_empty(), "{report:?}");
    // the harness knows neither directory, and asks nothing of one that was killed
    world.gateway.signal("KILL");
    world.gateway.wait();
}
