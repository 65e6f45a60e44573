//! The directory keeps its bound, and what changed on the disk is found without anybody asking for it.

use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

use crate::support::gateway::Setup;
use crate::support::s3::S3;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

/// Bytes of all files below a directory.
fn size(directory: &Path) -> u64 {
    let Ok(found) = std::fs::read_dir(directory) else { return 0 };
    let sizes = found.map_while(Result::ok).map(|entry| {
        let path = entry.path();
        if path.is_dir() { size(&path) } else { entry.metadata().map_or(0, |meta| meta.len()) }
    });
    sizes.sum()
}

#[test]
fn the_directory_keeps_its_bound_and_what_is_asked_for_most() {
    let mut tree = Tree::new();
    for n in 0..30 {
        tree.module_of_size(&format!("example.com/m{n}"), "v1.0.0", &[], 100_000);
    }
    let upstream = Upstream::serve(tree.path());
    let settings =
        "[cache]\nmax_size = \"1 MiB\"\nmemory = \"1 KiB\"\nmax_object_memory = \"1 KiB\"\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    let client = gateway.client();
    let zip = |n: usize| format!("/example.com/m{n}/@v/v1.0.0.zip");
    for _ in 0..5 {
        assert_eq!(client.get(&zip(0)).status, 200);
    }
    for n in 1..30 {
        assert_eq!(client.get(&zip(n)).status, 200);
        assert_eq!(client.get(&zip(0)).status, 200);
    }
    let place = gateway.state().join("cache");
    until("the directory is within its bound", || size(&place) <= 1 << 20);
    assert!(gateway.metric("modgate_cache_evictions_total{tier=\"blob\",cause=\"size\"}") > 15.0);
    assert_eq!(upstream.count("/example.com/m0/@v/v1.0.0.zip"), 1, "a scan did not push it out");
    // a start learns what is there without being asked for it
    let gateway = gateway.kill_and_restart(&upstream.url());
    until("the start has learnt what is there", || {
        gateway.metric("modgate_cache_entries{tier=\"blob\"}") > 5.0
    });
    let capacity = gateway.metric("modgate_cache_capacity_bytes{tier=\"blob\"}");
    assert!((capacity - f64::from(1 << 20)).abs() < 0.5);
    assert!(gateway.metric("modgate_cache_bytes{tier=\"blob\"}") <= capacity);
}

#[test]
fn a_scrubber_finds_what_changed_puts_back_what_the_bucket_has_and_sweeps_orphans() {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 300_000);
    let upstream = Upstream::serve(tree.path());
    let s3 = S3::start();
    let settings = format!("[cache]\nscrub_interval = \"1s\"\n{}", s3.settings());
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    assert_eq!(gateway.client().get("/example.com/lib/@v/v1.0.0.zip").status, 200);
    let blobs = gateway.state().join("cache/blobs");
    let shard = std::fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    let blob = std::fs::read_dir(shard).unwrap().next().unwrap().unwrap().path();
    let honest = std::fs::read(&blob).unwrap();
    let mut flipped = honest.clone();
    flipped[150_000] ^= 1;
    std::fs::write(&blob, &flipped).unwrap();
    let orphan = blobs.join("ab").join("ab".repeat(32));
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, "nobody names this").unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_hours(2);
    std::fs::File::options().write(true).open(&orphan).unwrap().set_modified(old).unwrap();
    until("the change is found", || {
        gateway.metric("modgate_cache_evictions_total{tier=\"blob\",cause=\"corrupt\"}") > 0.5
    });
    until("it is put back from the bucket", || {
        std::fs::read(&blob).is_ok_and(|bytes| bytes == honest)
    });
    until("the orphan is swept", || !orphan.exists());
    assert_eq!(upstream.count(".zip"), 1, "no upstream was asked for the repair");
}
