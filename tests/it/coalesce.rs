//! One fetch for each key, however many ask, and whoever gives up.

use std::io::Write as _;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

fn world() -> (Tree, Upstream) {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 300_000);
    let upstream = Upstream::serve(tree.path());
    (tree, upstream)
}

#[test]
fn fifty_cold_clients_of_one_zip_cause_one_upstream_request() {
    let (tree, upstream) = world();
    let gateway = Setup::over(&upstream.url()).start();
    upstream.hold();
    let client = gateway.client();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || client.get(ZIP))
        })
        .collect();
    // all of them are known to wait for the one fill before its answer is let go
    until("49 clients wait for one fill", || {
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let others = (CLIENTS - 1) as f64;
        (gateway.metric("modgate_fetch_waiters") - others).abs() < 0.5
    });
    upstream.release();
    let zip = std::fs::read(tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap();
    for answer in clients {
        let answer = answer.join().unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body == zip);
    }
    assert_eq!(upstream.count(".zip"), 1);
    Gateway::vouch_for(&[&gateway], &upstream);
}

#[test]
fn a_fill_outlives_the_caller_who_began_it() {
    let (_tree, upstream) = world();
    let gateway = Setup::over(&upstream.url()).start();
    upstream.hold();
    let client = gateway.client();
    let mut leader = client.connect();
    let authorization = client.authorization();
    write!(leader, "GET {ZIP} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n").unwrap();
    leader.flush().unwrap();
    until("the upstream is asked", || upstream.count(".zip") == 1);
    drop(leader);
    upstream.release();
    until("the fill is stored", || {
        let series = "modgate_cache_fills_total{endpoint=\"zip\",result=\"stored\"}";
        gateway.metric(series) > 0.5
    });
    assert_eq!(client.get(ZIP).status, 200);
    assert_eq!(upstream.count(".zip"), 1);
    // whoever hung up has a record too
    Gateway::vouch_for(&[&gateway], &upstream);
}

const CLIENTS: usize = 50;
