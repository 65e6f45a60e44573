//! Killed without warning in the middle of a fill: the next start serves only what is whole and verified.

use std::io::Write as _;

use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

#[test]
fn twenty_kills_during_a_fill_leave_nothing_half() {
    let mut tree = Tree::new();
    for n in 0..KILLS {
        tree.module_of_size(&format!("example.com/lib{n}"), "v1.0.0", &[], 3_000_000);
    }
    let upstream = Upstream::serve(tree.path());
    let mut gateway = Setup::over(&upstream.url()).start();
    for n in 0..KILLS {
        let path = format!("/example.com/lib{n}/@v/v1.0.0.zip");
        let client = gateway.client();
        let mut stream = client.connect();
        let authorization = client.authorization();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n").unwrap();
        stream.flush().unwrap();
        until("the fill has begun", || upstream.count(&path) >= 1);
        // a different moment each time: from the first byte of the fetch to after the store
        let pause = std::time::Duration::from_millis(u64::try_from(n).unwrap() * 3);
        std::thread::park_timeout(pause);
        gateway = gateway.kill_and_restart(&upstream.url());
        for m in 0..=n {
            let answer = gateway.client().get(&format!("/example.com/lib{m}/@v/v1.0.0.zip"));
            let file = tree.file(&format!("example.com/lib{m}"), "@v/v1.0.0.zip");
            assert_eq!(answer.status, 200, "lib{m} after kill {n}");
            assert!(answer.body == std::fs::read(file).unwrap(), "lib{m} after kill {n}");
        }
    }
    // what a kill between write and rename leaves, whether or not one of the twenty came just then
    let blobs = gateway.state().join("cache/blobs");
    std::fs::write(blobs.join("half#1"), "half a blob").unwrap();
    assert!(!staged(&blobs).is_empty());
    let gateway = gateway.kill_and_restart(&upstream.url());
    assert_eq!(staged(&gateway.state().join("cache")), Vec::<String>::new());
}

/// Files that a store had begun and not finished.
fn staged(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(staged(&path));
        } else if path.to_string_lossy().contains('#') {
            found.push(path.display().to_string());
        }
    }
    found
}

const KILLS: usize = 20;
