//! What nodes share: small bodies through Redis, everything through a bucket; and what is wrong with either is told.

use crate::support::authority::Authority;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::redis::Cluster;
use crate::support::redis::Monitor;
use crate::support::redis::PATIENT;
use crate::support::redis::Redis;
use crate::support::redis::Watched;
use crate::support::s3::S3;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const MOD: &str = "/example.com/lib/@v/v1.0.0.mod";
const LIST: &str = "/example.com/lib/@v/list";
const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

fn world() -> (Tree, Upstream) {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 20_000_000);
    let upstream = Upstream::serve(tree.path());
    (tree, upstream)
}

/// A gateway whose Redis is up.
fn node(upstream: &Upstream, settings: &str) -> Gateway {
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    until("Redis is up", || gateway.metric("modgate_redis_up") > 0.5);
    gateway
}

fn hits(gateway: &Gateway, tier: &str) -> f64 {
    gateway.metric(&format!("modgate_cache_lookups_total{{tier=\"{tier}\",result=\"hit\"}}"))
}

fn shared_by_two(settings: &str) {
    let (_tree, upstream) = world();
    let (one, other) = (node(&upstream, settings), node(&upstream, settings));
    for path in [MOD, LIST] {
        let first = one.client().get(path);
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(other.client().get(path).body, first.body);
    }
    // an absence as well
    assert_eq!(one.client().get("/example.com/none/@v/list").status, 404);
    assert_eq!(other.client().get("/example.com/none/@v/list").status, 404);
    assert_eq!(upstream.asked().len(), 3, "{:?}", upstream.asked());
    assert!((hits(&other, "redis") - 2.0).abs() < 0.1);
}

#[test]
fn two_nodes_with_one_redis_fetch_a_small_body_once() {
    let redis = Redis::start();
    shared_by_two(&redis.settings());
}

#[test]
fn two_nodes_share_a_redis_behind_sentinels() {
    let watched = Watched::start(5000);
    shared_by_two(&watched.settings());
}

#[test]
fn two_nodes_share_a_cluster_of_three_masters() {
    let cluster = Cluster::start(5000);
    shared_by_two(&cluster.settings());
}

#[test]
fn redis_is_reached_over_tls_with_a_password_from_a_file() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::make(home.path());
    let redis = Redis::with_tls(&authority.cert, &authority.key, &authority.ca, "canary-pw");
    let password = home.path().join("password");
    std::fs::write(&password, "canary-pw\n").unwrap();
    let only_us = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&password, only_us).unwrap();
    shared_by_two(&format!(
        "[redis]\nnodes = [\"rediss://localhost:{}\"]\nca_file = \"{}\"\npassword_file = \"{}\"\n{PATIENT}",
        redis.port,
        authority.ca.display(),
        password.display()
    ));
}

#[test]
fn a_hit_costs_redis_one_round_trip_and_a_hit_in_memory_none() {
    let (_tree, upstream) = world();
    let redis = Redis::start();
    // what their witnesses tell each other goes through Redis, too
    let settings = redis.settings() + "[audit]\nwitness = false\n";
    let (one, other) = (node(&upstream, &settings), node(&upstream, &settings));
    let commands = |gateway: &Gateway| {
        let page = gateway.metrics();
        // pings of an idle connection are counted as reading: what matters is what a request adds to scripts and writes
        let of = |series: &str| {
            let lines = page.lines().filter(|line| line.starts_with(series));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
        };
        of("modgate_redis_commands_total") - of("modgate_redis_commands_total{group=\"get\"")
    };
    assert_eq!(one.client().get(MOD).status, 200);
    let (before, monitor) = (commands(&other), redis.monitor());
    assert_eq!(other.client().get(MOD).status, 200);
    assert!((hits(&other, "redis") - 1.0).abs() < 0.1);
    assert_eq!(entry_gets(&redis, &monitor, "first"), 1, "one GET for the hit");
    for _ in 0..10 {
        assert_eq!(other.client().get(MOD).status, 200);
    }
    assert_eq!(entry_gets(&redis, &monitor, "second"), 1, "none for a hit in memory");
    assert!((commands(&other) - before).abs() < 0.1, "nothing but the one GET");
}

/// How often an entry was asked for up to now, as Redis tells it; nodes also look for news each second.
fn entry_gets(redis: &Redis, monitor: &Monitor, mark: &str) -> usize {
    redis.cli(&["ECHO", mark]);
    until("Redis has told it all", || monitor.told().contains(&format!("\"ECHO\" \"{mark}\"")));
    monitor.told().matches("\"GET\" \"modgate:entry:").count()
}

#[test]
fn what_somebody_else_wrote_into_redis_is_never_served() {
    let (tree, upstream) = world();
    let redis = Redis::start();
    let one = node(&upstream, &redis.settings());
    assert_eq!(one.client().get(MOD).status, 200);
    let key = redis.cli(&["KEYS", "modgate:entry:*.mod}"]);
    // with the end of its last line, which redis-cli cannot tell from its own: the length stays the same
    let honest = redis.cli(&["GET", &key]) + "\n";
    let gomod = std::fs::read_to_string(tree.file("example.com/lib", "@v/v1.0.0.mod")).unwrap();
    let forged = honest.replace("module example.com/lib", "module example.com/lie");
    assert_ne!(honest, forged);
    for value in [forged.as_str(), "{}", "", "nonsense\nwithout an end"] {
        redis.cli(&["SET", &key, value]);
        let other = node(&upstream, &redis.settings());
        assert_eq!(other.client().get(MOD).text(), gomod, "{value}");
        let series = "modgate_cache_evictions_total{tier=\"redis\",cause=\"corrupt\"}";
        assert!((other.metric(series) - 1.0).abs() < 0.1);
    }
}

#[test]
fn two_nodes_share_every_body_through_a_bucket_and_check_it_on_the_way_out() {
    let (tree, upstream) = world();
    let s3 = S3::start();
    let zip = std::fs::read(tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap();
    let start = || Setup::over(&upstream.url()).with(&s3.settings()).start();
    let (one, other) = (start(), start());
    assert!(one.client().get(ZIP).body == zip);
    assert!(other.client().get(ZIP).body == zip);
    assert_eq!(other.client().get(MOD).status, 200);
    assert_eq!(one.client().get(MOD).status, 200);
    assert_eq!(upstream.count(".zip"), 1);
    assert_eq!(upstream.count(".mod"), 1);
    assert!((hits(&other, "bucket") - 1.0).abs() < 0.1);
    // promoted: the next look stays in the house
    assert!(other.client().get(ZIP).body == zip);
    assert!((hits(&other, "blob") - 1.0).abs() < 0.1);
    // somebody changes a byte of the body in the bucket
    let mut line = serde_json::Value::Null;
    until("the store shows the entry", || {
        let entry = "/buckets/modules/entries/example.com/lib/@v/v1.0.0.zip";
        let (status, listed) = s3.filer("GET", entry, b"");
        line = serde_json::from_slice(&listed).unwrap_or_default();
        status == 200
    });
    let sum = line["sha256"].as_str().unwrap();
    let mut forged = zip.clone();
    forged[10_000_000] ^= 1;
    let shard: String = sum.chars().take(2).collect();
    let name = format!("/buckets/modules/blobs/{shard}/{sum}");
    until("the store takes it", || s3.filer("PUT", &name, &forged).0 == 201);
    let third = start();
    assert!(third.client().get(ZIP).body == zip);
    assert_eq!(upstream.count(".zip"), 2);
    let series = "modgate_cache_evictions_total{tier=\"bucket\",cause=\"corrupt\"}";
    assert!((third.metric(series) - 1.0).abs() < 0.1);
}

/// What `check-config --probe` says, and its exit code.
fn probe(settings: &str, wrapper: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("modgate.toml"), settings).unwrap();
    let binary = modgate();
    let mut command = match wrapper.split_first() {
        Some((first, rest)) => {
            let mut command = std::process::Command::new(first);
            command.args(rest).arg(binary.get_program());
            command
        }
        None => binary,
    };
    let output =
        command.current_dir(directory.path()).args(["check-config", "--probe"]).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&told).into_owned())
}

#[test]
fn a_probe_says_what_is_wrong_with_redis_and_what_to_do() {
    let mut redis = Redis::with(&["--requirepass", "canary-pw"]);
    let without = redis.settings();
    let with = format!("{without}password_file = \"password\"\n");
    let (code, told) = probe(&without, &[]);
    assert!(code == Some(1) && told.contains("FAILED  redis 127.0.0.1"), "{told}");
    assert!(told.contains("set redis.password_file"), "{told}");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("password");
    std::fs::write(&file, "wrong").unwrap();
    let only_us: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, only_us).unwrap();
    let with = with.replace("\"password\"", &format!("\"{}\"", file.display()));
    let (code, told) = probe(&with, &[]);
    assert!(code == Some(1) && told.contains("correct redis.username and"), "{told}");
    std::fs::write(&file, "canary-pw").unwrap();
    let (code, told) = probe(&with, &[]);
    assert!(code == Some(0) && told.contains("ok      redis 127.0.0.1"), "{told}");
    assert!(!told.contains("canary-pw"), "{told}");
    redis.stop();
    let (code, told) = probe(&with, &[]);
    assert!(code == Some(1) && told.contains("nobody listens there"), "{told}");
    let (code, told) = probe("[redis]\nnodes = [\"http://127.0.0.1:1\"]\n", &[]);
    assert!(code == Some(2) && told.contains("is neither redis nor rediss"), "{told}");
    assert!(told.contains("write redis://HOST:PORT"), "{told}");
}

#[test]
fn a_probe_says_what_is_wrong_with_a_bucket_and_what_to_do() {
    let mut s3 = S3::start();
    let (code, told) = probe(&s3.settings(), &[]);
    assert!(code == Some(0) && told.contains("ok      bucket modules"), "{told}");
    let (code, told) = probe(&s3.settings_of("elsewhere", "secret"), &[]);
    assert!(code == Some(1) && told.contains("cache.bucket.name"), "{told}");
    let (code, told) = probe(&s3.settings_of("modules", "wrong"), &[]);
    assert!(code == Some(1) && told.contains("cache.bucket.secret_key_file"), "{told}");
    let (code, told) = probe(&s3.settings(), &["faketime", "-f", "+1h"]);
    assert!(code == Some(1) && told.contains("set the clock"), "{told}");
    s3.stop();
    let (code, told) = probe(&s3.settings(), &[]);
    assert!(code == Some(1) && told.contains("nobody listens there"), "{told}");
    let scheme = s3.settings().replace("http://", "s3://");
    let (code, told) = probe(&scheme, &[]);
    assert!(code == Some(2) && told.contains("cache.bucket.endpoint"), "{told}");
    assert!(!told.contains("canary-secret"), "{told}");
}
