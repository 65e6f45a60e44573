//! What one node is told, all hear: at once if all is well, a second later if the word was lost, and never wrongly.

use std::path::Path;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::redis::Redis;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const MOD: &str = "/example.com/lib/@v/v1.0.0.mod";
const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";
const LIST: &str = "/example.com/lib/@v/list";

struct World {
    _tree: Tree,
    upstream: Upstream,
    redis: Redis,
    nodes: [Gateway; 2],
}

/// Two nodes that hold a go.mod, a list and a zip.
fn world() -> World {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 300_000);
    let upstream = Upstream::serve(tree.path());
    let redis = Redis::start();
    let nodes = [(), ()].map(|()| Setup::over(&upstream.url()).with(&redis.settings()).start());
    for node in &nodes {
        until("Redis is up", || node.metric("modgate_redis_up") > 0.5);
        for path in [MOD, LIST, ZIP] {
            assert_eq!(node.client().get(path).status, 200);
        }
    }
    // small bodies through Redis, the zip in each node's own directory
    assert_eq!(upstream.asked().len(), 4);
    World { _tree: tree, upstream, redis, nodes }
}

impl World {
    /// `modgate cache purge` beside the first node.
    fn purge(&self) {
        let home = self.nodes[0].state();
        let output = modgate()
            .current_dir(home.parent().unwrap())
            .args(["cache", "purge", "example.com/lib"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains("was told to forget it"), "{told}");
    }

    fn heard(&self, node: usize) -> f64 {
        let labels = "{kind=\"invalidate\",direction=\"received\"}";
        self.nodes[node].metric(&format!("modgate_cluster_messages_total{labels}"))
    }

    /// Both nodes must fetch again: the go.mod one of them, since the other finds it in Redis; the zip both.
    fn is_fetched_again(&self, times: usize) {
        for node in &self.nodes {
            for path in [MOD, ZIP] {
                assert_eq!(node.client().get(path).status, 200);
            }
        }
        assert_eq!(self.upstream.count(".mod"), times);
        assert_eq!(self.upstream.count(".zip"), times * 2);
    }
}

/// Waits until both nodes have forgotten what they held: that news is counted as received says only that they will.
fn forgot(world: &World) {
    for node in 0..2 {
        until("a node hears", || world.heard(node) > 0.5);
        for tier in ["memory", "blob"] {
            let series =
                format!("modgate_cache_evictions_total{{tier=\"{tier}\",cause=\"purged\"}}");
            // the directory of the first node was purged by the command itself
            if (node, tier) != (0, "blob") {
                until("it counts what it forgot", || world.nodes[node].metric(&series) > 0.5);
            }
        }
        let books = "modgate_cache_bytes{tier=\"blob\"}";
        until("its books say so", || world.nodes[node].metric(books) < 0.5);
    }
}

#[test]
fn a_purge_reaches_the_memory_and_the_directory_of_every_node() {
    let world = world();
    world.purge();
    forgot(&world);
    world.is_fetched_again(2);
}

#[test]
fn news_that_was_not_published_is_found_by_polling() {
    let world = world();
    // the generation moves and nobody is woken: as if the message had been lost
    let message = "{\"v\":1,\"from\":\"x\",\"kind\":\"invalidate\",\"what\":\"example.com/lib/@\"}";
    let tell = |number: &str| {
        world.redis.cli(&["LPUSH", "modgate:news:{bus}", &format!("{number}|{message}")]);
        world.redis.cli(&["SET", "modgate:generation:{bus}", number]);
    };
    for number in 1..=3 {
        tell(&(1000 + number).to_string());
        for node in 0..2 {
            until("the news is found", || world.heard(node) > f64::from(number) - 0.5);
        }
    }
    for node in &world.nodes {
        assert!(node.metric("modgate_cluster_gaps_total") < 0.5);
    }
}

#[test]
fn a_node_that_missed_news_distrusts_what_it_has_in_memory() {
    let world = world();
    world.purge();
    forgot(&world);
    world.is_fetched_again(2);
    // Redis loses everything, generations as well
    world.redis.cli(&["FLUSHALL"]);
    for node in &world.nodes {
        until("a gap is noticed", || node.metric("modgate_cluster_gaps_total") > 0.5);
    }
    for node in &world.nodes {
        until("the memory is empty", || node.metric("modgate_cache_bytes{tier=\"memory\"}") < 0.5);
    }
    // and what comes afterwards is heard
    world.purge();
    for node in 0..2 {
        until("a node hears again", || world.heard(node) > 1.5);
    }
}

/// Two nodes with state of their own that share a Redis.
fn pair(redis: &Redis, upstream: &Upstream) -> [Gateway; 2] {
    let nodes = [(), ()].map(|()| Setup::over(&upstream.url()).with(&redis.settings()).start());
    for node in &nodes {
        until("Redis is up", || node.metric("modgate_redis_up") > 0.5);
    }
    nodes
}

/// A command beside a node.
fn run(node: &Gateway, arguments: &[&str]) -> String {
    let home = node.state().parent().unwrap().to_owned();
    let output = modgate().current_dir(home).args(arguments).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn a_token_that_was_revoked_on_one_node_is_refused_on_all_whatever_their_files_say() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let redis = Redis::start();
    let [here, there] = pair(&redis, &upstream);
    let (ci, other) = (here.issue("ci", &["dev"]), here.issue("other", &["dev"]));
    let file = there.state().join("tokens");
    std::fs::copy(here.state().join("tokens"), &file).unwrap();
    let status = |node: &Gateway, token: &str| node.stranger().bearer(token).get("/").status;
    until("the copy is known", || status(&there, &ci) == 200 && status(&there, &other) == 200);
    let before = std::fs::read(&file).unwrap();
    assert!(run(&here, &["token", "revoke", "ci"]).contains("was told"));
    until("it is refused there", || status(&there, &ci) == 401);
    until("it is refused here", || status(&here, &ci) == 401);
    assert_eq!(status(&there, &other), 200);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // the file still calls it good, the list that a start reads does not
    let there = there.kill_and_restart(&upstream.url());
    until("it is refused after a start", || status(&there, &ci) == 401);
    assert_eq!(status(&there, &other), 200);
}

#[test]
fn an_emergency_deny_holds_on_every_node_until_it_is_lifted_on_one() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let redis = Redis::start();
    let [here, there] = pair(&redis, &upstream);
    let status = |node: &Gateway| node.client().get(MOD).status;
    assert_eq!((status(&here), status(&there)), (200, 200));
    let text = run(&here, &["deny", "example.com/lib", "--reason", "malware, SEC-7"]);
    assert!(text.contains("was told"), "{text}");
    let id = text.split(':').next().unwrap();
    for node in [&here, &there] {
        until("it is denied", || status(node) == 403);
        let answer = node.client().get(MOD).text();
        assert!(answer.contains(id) && answer.contains("why: malware, SEC-7"), "{answer}");
        let activated =
            node.audited(1, "the activation", |event| event["event"] == "policy.activate");
        assert_eq!(activated[0]["detail"]["changes"], format!("rule {id} added"));
    }
    run(&here, &["deny", "--lift", id]);
    for node in [&here, &there] {
        until("it is lifted", || status(node) == 200);
    }
    // a node that is down hears at its start what it has missed, and forgets nothing that was lifted
    let mut there = there;
    there.signal("TERM");
    there.wait();
    let text = run(&here, &["deny", "example.com/lib@v1.0.0", "--reason", "again"]);
    let there = there.kill_and_restart(&upstream.url());
    until("it is denied after a start", || status(&there) == 403);
    let answer = there.client().get(MOD).text();
    assert!(answer.contains(text.split(':').next().unwrap()), "{answer}");
    let list = run(&there, &["deny", "--list"]);
    assert!(list.contains(&format!("{id} lifted")), "{list}");
}

/// A policy in a folder of its own, with one row.
fn written(folder: &Path, row: &str) {
    let read = format!("# owner: #go-help\np, read, any:authenticated, {row}, *, read, allow\n");
    for (name, text) in [
        ("model.conf", include_str!("../../policies/model.conf")),
        ("roles.csv", ""),
        ("rules/a.csv", &read),
        ("tests/none.toml", ""),
    ] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Lets a link lead elsewhere, as a whole: nothing below the folder that is watched changes.
fn lead(link: &Path, to: &str) {
    let fresh = link.with_extension("fresh");
    std::os::unix::fs::symlink(to, &fresh).unwrap();
    std::fs::rename(fresh, link).unwrap();
}

#[test]
fn a_policy_that_one_node_takes_makes_the_others_look_at_their_files() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let redis = Redis::start();
    // both nodes read one folder, as on a shared volume, which tells nobody of changes
    let shared = tempfile::tempdir().unwrap();
    written(&shared.path().join("open"), "example.com");
    written(&shared.path().join("shut"), "example.org");
    let link = shared.path().join("policy");
    lead(&link, "open");
    let settings = format!("{}\n[policy]\ndir = \"{}\"\n", redis.settings(), link.display());
    let nodes = [(), ()].map(|()| Setup::over(&upstream.url()).with(&settings).start());
    for node in &nodes {
        until("Redis is up", || node.metric("modgate_redis_up") > 0.5);
        assert_eq!(node.client().get(MOD).status, 200);
    }
    let taken = "modgate_policy_reloads_total{source=\"cluster\",result=\"success\"}";
    // the look by time may come first, but hardly each time
    let by_word = ["shut", "open", "shut", "open"].into_iter().any(|policy| {
        lead(&link, policy);
        nodes[0].signal("HUP");
        let wanted = if policy == "open" { 200 } else { 403 };
        for node in &nodes {
            until("the policy is in force", || node.client().get(MOD).status == wanted);
        }
        nodes[1].metric(taken) > 0.5
    });
    assert!(by_word, "no look of the second node was due to the first one's word");
}
