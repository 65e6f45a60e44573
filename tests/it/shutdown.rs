//! Stopping: what is under way is finished, what comes later is refused, and a second signal ends it at once.

use std::io::Read as _;
use std::io::Write as _;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

fn begun() -> (Tree, Upstream, Gateway, crate::support::client::Tls) {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 5_000_000);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    upstream.hold();
    let client = gateway.client();
    let mut stream = client.connect();
    let authorization = client.authorization();
    write!(stream, "GET {ZIP} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n").unwrap();
    stream.flush().unwrap();
    until("the upstream is asked", || upstream.count(".zip") == 1);
    (tree, upstream, gateway, stream)
}

#[test]
fn a_request_under_way_is_finished_and_its_event_is_written() {
    for signal in ["TERM", "INT"] {
        let (tree, upstream, mut gateway, mut stream) = begun();
        gateway.signal(signal);
        until("the listener is closed", || std::net::TcpStream::connect(gateway.address).is_err());
        upstream.release();
        let mut raw = Vec::new();
        let mut buffer = vec![0_u8; 65_536];
        let zip = std::fs::read(tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap();
        while !raw.ends_with(&zip[zip.len() - 100..]) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the answer was cut at {} bytes", raw.len());
            raw.extend_from_slice(&buffer[..count]);
        }
        drop(stream);
        assert_eq!(gateway.wait(), Some(0));
        let events = gateway.audit();
        assert_eq!(events.last().unwrap()["http"]["complete"], true);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (_tree, _upstream, mut gateway, _stream) = begun();
    gateway.signal("TERM");
    until("it says that it stops", || gateway.output().contains("stopping"));
    gateway.signal("TERM");
    gateway.wait();
}

#[test]
fn an_idle_connection_does_not_hold_it_up() {
    let tree = Tree::new();
    let mut gateway = Setup::over(&format!("file://{}", tree.path().display())).start();
    let client = gateway.client();
    let mut idle = client.connect();
    let authorization = client.authorization();
    write!(idle, "GET /-/whoami HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n").unwrap();
    idle.flush().unwrap();
    let mut first = [0_u8; 16];
    idle.read_exact(&mut first).unwrap();
    gateway.signal("TERM");
    // the time to drain is 30 seconds, this waits for 20
    assert_eq!(gateway.wait(), Some(0));
}
