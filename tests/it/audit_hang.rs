//! A directory of the audit that hangs in the kernel: the other one takes everything, nobody waits, and what was missed is
//! made up for when it answers again.

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
    let disk = Disk::mount_freezable();
    let mut tree = Tree::new();
    tree.module("corp.example/payments/ledger", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let (hangs, other) = (disk.path().join("audit"), ".modgate/audit");
    let places = match which {
        // quoted so, the harness looks for the record of every answer in the usual place, which is the other one here
        Which::First => format!("dir = '{}'\nsecond_dir = \"{other}\"\n", hangs.display()),
        Which::Second => format!("second_dir = \"{}\"\n", hangs.display()),
    };
    let settings = format!(
        "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\n\n\
         [audit]\n{places}max_segment = \"64 KiB\"\ncheckpoint_every = \"100ms\"\nreserve = \"1 MiB\"\n\
         private_mode = \"durable\"\ncompress = false\n",
        upstream.url()
    );
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    let other = gateway.state().join("audit");
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

    fn says(&self, what: &str) {
        until(what, || self.gateway.output().contains(what));
    }
}

/// Private bodies come, and enough of them to begin new segments.
fn bodies_come(client: &Client, other: &Path) {
    let before = segments(other).len();
    until("segments are closed", || {
        for _ in 0..20 {
            let answer = client.get(PRIVATE);
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        segments(other).len() >= before + 2
    });
}

/// The segments of a directory by name, and what they hold.
fn segments(directory: &Path) -> Vec<(String, String)> {
    let found = modgate::audit::segment::list(directory).unwrap();
    let held = found.into_iter().filter_map(|segment| {
        Some((segment.stem.clone(), std::fs::read_to_string(segment.plain()).ok()?))
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
        assert_eq!(world.gateway.ops_page("/readyz").0, 200);
        let sink = if which == Which::First { "segment" } else { "second" };
        let failed = format!("modgate_audit_events_total{{sink=\"{sink}\",result=\"failed\"}}");
        assert!(world.gateway.metric(&failed) > 0.5);
        world.disk.thaw();
        world.says("of the audit answers again");
        bodies_come(&client, &world.other);
        // hanging again at the end: it ends all the same
        world.disk.freeze();
        bodies_come(&client, &world.other);
        world.gateway.signal("TERM");
        until("the end is written", || {
            let records = records_in(&world.other);
            records.last().is_some_and(|last| last["event"] == "audit.stop")
        });
        world.says("the end of the log may be in the other one alone");
        world.disk.thaw();
        assert_eq!(world.gateway.wait(), Some(0));
        let told = world.gateway.output();
        let hung = told.matches("a directory of the audit hangs").count();
        assert!((1..=2).contains(&hung), "told {hung} times");
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
