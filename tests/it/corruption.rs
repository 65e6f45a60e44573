//! Bytes that changed on the disk are never served: the entry goes, is fetched once more, and is whole again.

use std::path::PathBuf;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

/// The largest file of the blob tier.
fn blob(gateway: &Gateway) -> PathBuf {
    let mut waiting = vec![gateway.state().join("cache/blobs")];
    let mut files = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

fn flip(file: &PathBuf, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_flipped_byte_is_never_served_and_is_repaired_by_one_fetch() {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 2_000_000);
    let zip = std::fs::read(tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    assert_eq!(client.get(ZIP).status, 200);
    for (round, at) in [0, 1_000_000, zip.len() - 1].into_iter().enumerate() {
        flip(&blob(&gateway), at);
        assert!(client.get(ZIP).body == zip, "byte {at}");
        assert_eq!(upstream.count(".zip"), round + 2);
        assert!(std::fs::read(blob(&gateway)).unwrap() == zip);
        assert!(client.get(ZIP).body == zip);
        assert_eq!(upstream.count(".zip"), round + 2);
    }
    let series = "modgate_cache_evictions_total{tier=\"blob\",cause=\"corrupt\"}";
    assert!((gateway.metric(series) - 3.0).abs() < 0.1);
}

#[test]
fn a_file_cut_short_is_repaired_as_well() {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 2_000_000);
    let zip = std::fs::read(tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    assert_eq!(client.get(ZIP).status, 200);
    std::fs::write(blob(&gateway), &zip[..1000]).unwrap();
    assert!(client.get(ZIP).body == zip);
    assert_eq!(upstream.count(".zip"), 2);
}

#[test]
fn an_upstream_that_lies_is_502_and_leaves_nothing_behind() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let zip = std::fs::read(tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    let mut flipped = zip.clone();
    flipped[60] ^= 1;
    let foreign =
        crate::support::tree::zip("example.com/other@v1.0.0", &[("go.mod".to_owned(), Vec::new())]);
    let lies = [
        (ZIP, flipped),
        (ZIP, foreign),
        (ZIP, b"<html>sign in</html>".to_vec()),
        (ZIP, Vec::new()),
        ("/example.com/lib/@v/v1.0.0.info", b"{\"Version\":\"v1.0.1\"}".to_vec()),
        ("/example.com/lib/@v/v1.0.0.info", b"<html>".to_vec()),
        ("/example.com/lib/@v/v1.0.0.mod", b"<html>sign in</html>".to_vec()),
        ("/example.com/lib/@latest", b"{\"Version\":\"main\"}".to_vec()),
    ];
    for (path, lie) in lies {
        upstream.instead(path, Some(Instead::Bytes(lie.clone())));
        let answer = client.get(path);
        assert_eq!(answer.status, 502, "{path}: {}", answer.text());
        upstream.instead(path, None);
    }
    assert!(client.get(ZIP).body == zip);
    assert!(gateway.metric_sum("modgate_integrity_failures_total") > 7.5);
}
