//! What is held is served, whatever breaks behind it: no answer is wrong, and when it is whole again it is used again.
//! `cargo test --test it outages -- --nocapture` prints how long answers took in each phase.

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::load::Load;
use crate::support::redis::Cluster;
use crate::support::redis::Redis;
use crate::support::redis::Watched;
use crate::support::s3::S3;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::until_at_last;
use crate::support::upstream::Upstream;

const MODULES: usize = 6;
/// So little memory that most looks go further.
const LITTLE_MEMORY: &str =
    "[cache]\nmemory = \"8 KiB\"\nmax_object_memory = \"8 KiB\"\nlist_ttl = \"1s\"\n";

fn world() -> (Tree, Upstream) {
    let mut tree = Tree::new();
    for n in 0..MODULES {
        tree.module_of_size(&format!("example.com/m{n}"), "v1.0.0", &[], 200_000);
    }
    let upstream = Upstream::serve(tree.path());
    (tree, upstream)
}

fn is_up(gateway: &Gateway) -> bool {
    gateway.metric("modgate_redis_up") > 0.5
}

fn looks(gateway: &Gateway, tier: &str, result: &str) -> f64 {
    let labels = format!("{{tier=\"{tier}\",result=\"{result}\"}}");
    gateway.metric(&format!("modgate_cache_lookups_total{labels}"))
}

/// Redis answers looks again.
fn is_used_again(gateway: &Gateway, load: &Load) {
    until("Redis is up again", || is_up(gateway));
    let before = looks(gateway, "redis", "hit");
    load.phase("  and back", 200);
    until("Redis has hits again", || looks(gateway, "redis", "hit") > before);
}

#[test]
fn redis_killed_hung_and_flushed_under_load_fails_nobody() {
    let (tree, upstream) = world();
    let mut redis = Redis::start();
    let settings = format!("{LITTLE_MEMORY}{}", redis.settings_as_preset());
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    until("Redis is up", || is_up(&gateway));
    let load = Load::of(&gateway.client(), &tree, MODULES);
    load.phase("redis well", 300);
    redis.signal("STOP");
    load.phase("redis hung", 300);
    until("the hung Redis is known to be down", || !is_up(&gateway));
    load.phase("redis hung, and known to be", 300);
    redis.signal("CONT");
    is_used_again(&gateway, &load);
    redis.stop();
    load.phase("redis killed", 300);
    redis.start_again();
    is_used_again(&gateway, &load);
    redis.cli(&["FLUSHALL"]);
    load.phase("redis flushed", 300);
    is_used_again(&gateway, &load);
    load.end();
    Gateway::vouch_for(&[&gateway], &upstream);
    assert!(looks(&gateway, "redis", "error") > 0.5, "the outages were seen");
}

#[test]
fn a_failover_by_sentinels_fails_nobody() {
    let (tree, upstream) = world();
    let mut watched = Watched::start(2000);
    let settings = format!("{LITTLE_MEMORY}{}", watched.settings_as_preset());
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    until("Redis is up", || is_up(&gateway));
    let load = Load::of(&gateway.client(), &tree, MODULES);
    load.phase("master well", 300);
    let master = watched.master();
    watched.servers.iter_mut().find(|server| server.port == master).unwrap().stop();
    load.phase("master killed", 300);
    until_at_last("the sentinels have another master", || watched.master() != master);
    is_used_again(&gateway, &load);
    load.end();
    Gateway::vouch_for(&[&gateway], &upstream);
}

#[test]
fn a_cluster_that_loses_a_master_fails_nobody() {
    let (tree, upstream) = world();
    let mut cluster = Cluster::start(2000);
    let settings = format!("{LITTLE_MEMORY}{}", cluster.settings_as_preset());
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    until("Redis is up", || is_up(&gateway));
    let load = Load::of(&gateway.client(), &tree, MODULES);
    load.phase("cluster well", 300);
    cluster.nodes[1].stop();
    load.phase("one master of three killed", 300);
    cluster.nodes[1].start_again();
    is_used_again(&gateway, &load);
    load.end();
    Gateway::vouch_for(&[&gateway], &upstream);
}

#[test]
fn a_bucket_that_hangs_or_dies_fails_nobody_and_costs_little() {
    let (tree, upstream) = world();
    let mut s3 = S3::start();
    let settings = s3.settings();
    let quick = format!("{settings}timeout = \"1s\"\nconnect_timeout = \"500ms\"\n");
    let settings = format!("{LITTLE_MEMORY}{quick}");
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    let load = Load::of(&gateway.client(), &tree, MODULES);
    load.phase("bucket well", 300);
    s3.signal("STOP");
    load.phase("bucket hung", 300);
    // a node that holds nothing itself goes on to the upstream
    let cold = Setup::over(&upstream.url()).with(&settings).start();
    let others = Load::of(&cold.client(), &tree, MODULES);
    others.phase("bucket hung, node without directory", 200);
    s3.signal("CONT");
    s3.stop();
    load.phase("bucket killed", 300);
    others.phase("bucket killed, the other node", 200);
    s3.start_again();
    // whether it has hits is what is asked now, not how soon
    let patient = format!("{LITTLE_MEMORY}{}timeout = \"10s\"\n", s3.settings());
    let third = Setup::over(&upstream.url()).with(&patient).start();
    let client = third.client();
    assert_eq!(client.get("/example.com/m0/@v/v1.0.0.zip").status, 200);
    assert!(looks(&third, "bucket", "hit") > 0.5, "what was stored before is still there");
    load.end();
    others.end();
    Gateway::vouch_for(&[&gateway, &cold, &third], &upstream);
}

/// A gateway whose cache is a file system of 4 MiB of its own.
fn on_a_small_disk(upstream: &Upstream) -> (tempfile::TempDir, Gateway) {
    let disk = tempfile::tempdir().unwrap();
    let place = disk.path().display().to_string();
    let settings = format!("{LITTLE_MEMORY}dir = \"{place}\"\n");
    let mount = format!("mount -t tmpfs -o size=4m none {place} && exec \"$0\" \"$@\"");
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount];
    let gateway = Setup::over(&upstream.url()).with(&settings).start_within(&wrapper);
    (disk, gateway)
}

#[test]
fn a_full_disk_fails_nobody_who_asks_for_what_is_held() {
    let (mut tree, _) = world();
    tree.module_of_size("example.com/large", "v1.0.0", &[], 3_000_000);
    let upstream = Upstream::serve(tree.path());
    let (disk, gateway) = on_a_small_disk(&upstream);
    let client = gateway.client();
    let load = Load::of(&client, &tree, MODULES);
    load.phase("disk well", 300);
    let full = |artifact: &str| client.get(&format!("/example.com/large/@v/v1.0.0.{artifact}"));
    // it is spooled, and then there is no room for it: it is served all the same, or refused as our fault
    let status = full("zip").status;
    assert!([200, 500].contains(&status), "{status}");
    assert_eq!(full("mod").status, 200);
    load.phase("disk full", 300);
    let kept = std::process::Command::new("nsenter")
        .args(["--user", "--mount", "--preserve-credentials", "-t", &gateway.id().to_string()])
        .args(["mount", "-o", "remount,ro"])
        .arg(disk.path())
        .status()
        .unwrap();
    assert!(kept.success());
    load.phase("disk read-only", 300);
    load.end();
    Gateway::vouch_for(&[&gateway], &upstream);
    assert!(gateway.metric_sum("modgate_integrity_failures_total") < 0.5, "nothing is corrupt");
}
