//! One fetch for all nodes, however many ask, and whoever dies.

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::redis::Redis;
use crate::support::s3::S3;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

struct World {
    tree: Tree,
    upstream: Upstream,
    redis: Redis,
    s3: S3,
}

fn world() -> World {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 5_000_000);
    let upstream = Upstream::serve(tree.path());
    World { tree, upstream, redis: Redis::start(), s3: S3::start() }
}

impl World {
    fn settings(&self, node: &str) -> String {
        let node = format!("[telemetry]\nnode = \"{node}\"\n");
        format!("{}{}{node}", self.redis.settings(), self.s3.settings())
    }

    fn node(&self, name: &str) -> Gateway {
        self.node_over(&self.upstream, name)
    }

    fn node_over(&self, upstream: &Upstream, name: &str) -> Gateway {
        self.node_with(upstream, name, "")
    }

    /// The same with more settings.
    fn node_with(&self, upstream: &Upstream, name: &str, more: &str) -> Gateway {
        let settings = self.settings(name) + more;
        let gateway = Setup::over(&upstream.url()).with(&settings).start();
        until("Redis is up", || gateway.metric("modgate_redis_up") > 0.5);
        gateway
    }

    fn zip(&self) -> Vec<u8> {
        std::fs::read(self.tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap()
    }

    /// Every lease as `modgate locks` shows it.
    fn locks(&self) -> String {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("modgate.toml"), self.redis.settings()).unwrap();
        let output = modgate().current_dir(directory.path()).arg("locks").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

type Answers = Vec<std::thread::JoinHandle<(u16, Vec<u8>)>>;

fn ask(gateway: &Gateway, clients: usize) -> Answers {
    let client = gateway.client();
    let one = |_| {
        let client = client.clone();
        std::thread::spawn(move || {
            let answer = client.get(ZIP);
            (answer.status, answer.body)
        })
    };
    (0..clients).map(one).collect()
}

fn waiting(gateway: &Gateway, clients: usize) {
    let series = "modgate_http_requests_in_flight";
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    until("all clients of a node wait", || gateway.metric(series) > clients as f64 - 0.5);
}

#[test]
fn a_hundred_cold_clients_on_three_nodes_cause_one_upstream_request() {
    let world = world();
    let nodes = ["a", "b", "c"].map(|name| world.node(name));
    world.upstream.hold();
    let answers: Vec<_> =
        nodes.iter().zip([34, 33, 33]).flat_map(|(node, clients)| ask(node, clients)).collect();
    for (node, clients) in nodes.iter().zip([34, 33, 33]) {
        waiting(node, clients);
    }
    until("the upstream is asked", || world.upstream.count(".zip") == 1);
    until("the lease is shown, with its owner", || {
        let told = world.locks();
        told.contains("example.com/lib/@v/v1.0.0.zip")
            && ["a", "b", "c"]
                .iter()
                .any(|node| told.lines().any(|line| line.split_whitespace().nth(1) == Some(node)))
    });
    world.upstream.release();
    let zip = world.zip();
    for answer in answers {
        let (status, body) = answer.join().unwrap();
        assert_eq!(status, 200);
        assert!(body == zip);
    }
    assert_eq!(world.upstream.count(".zip"), 1);
    until("the lease is given back", || world.locks().contains("no locks"));
    Gateway::vouch_for(&nodes.each_ref(), &world.upstream);
}

#[test]
fn a_leader_that_is_killed_costs_one_more_request_and_no_client() {
    let world = world();
    let mut leader = world.node("leader");
    world.upstream.hold();
    // its own clients die with it, so nobody counts them
    let _lost = ask(&leader, 1);
    until("the leader asks the upstream", || world.upstream.count(".zip") == 1);
    let nodes = ["b", "c"].map(|name| world.node(name));
    let answers: Vec<_> = nodes.iter().flat_map(|node| ask(node, 50)).collect();
    for node in &nodes {
        waiting(node, 50);
    }
    leader.signal("KILL");
    leader.wait();
    until("another node takes over", || world.upstream.count(".zip") == 2);
    world.upstream.release();
    let zip = world.zip();
    for answer in answers {
        let (status, body) = answer.join().unwrap();
        assert_eq!(status, 200);
        assert!(body == zip);
    }
    assert_eq!(world.upstream.count(".zip"), 2);
}

#[test]
fn a_leader_that_hangs_loses_its_lease_and_its_late_answer_replaces_nothing() {
    const LIST: &str = "/example.com/lib/@v/list";
    let world = world();
    // the time that it sleeps is no time that its upstream took
    let patient = "[upstream]\nfirst_byte_timeout = \"5m\"\ntotal_timeout = \"10m\"\n";
    let leader = world.node_with(&world.upstream, "leader", patient);
    let mut newer = Tree::new();
    newer.module("example.com/lib", "v1.0.0", &[]);
    newer.module("example.com/lib", "v1.1.0", &[]);
    let newer = Upstream::serve(newer.path());
    let other = world.node_over(&newer, "other");
    world.upstream.hold();
    let client = leader.client();
    let late = std::thread::spawn(move || client.get(LIST).text());
    until("the leader asks the upstream", || world.upstream.count("/list") == 1);
    leader.signal("STOP");
    // while it sleeps its lease runs out, and another node fetches the list of an upstream that knows more
    until("the lease has run out", || world.locks().contains("no locks"));
    let text = other.client().get(LIST).text();
    assert_eq!(text, "v1.0.0\nv1.1.0\n");
    world.upstream.release();
    leader.signal("CONT");
    assert_eq!(late.join().unwrap(), "v1.0.0\n");
    // what Redis holds is still the newer answer
    let third = world.node_over(&newer, "third");
    assert_eq!(third.client().get(LIST).text(), text);
    assert_eq!((world.upstream.count("/list"), newer.count("/list")), (1, 1));
    for upstream in [&world.upstream, &newer] {
        Gateway::vouch_for(&[&leader, &other, &third], upstream);
    }
}

#[test]
fn a_failed_fetch_is_not_repeated_by_one_node_after_the_other() {
    let world = world();
    world.upstream.instead(ZIP, Some(Instead::Status(500, "no")));
    let nodes = ["a", "b", "c"].map(|name| world.node(name));
    world.upstream.hold();
    let answers: Vec<_> = nodes.iter().flat_map(|node| ask(node, 3)).collect();
    for node in &nodes {
        waiting(node, 3);
    }
    world.upstream.release();
    for answer in answers {
        assert_eq!(answer.join().unwrap().0, 502);
    }
    // and it is no absence: when the upstream is well again, so are they
    world.upstream.instead(ZIP, None);
    for node in &nodes {
        assert_eq!(node.client().get(ZIP).status, 200);
    }
    Gateway::vouch_for(&nodes.each_ref(), &world.upstream);
}

#[test]
fn without_redis_every_node_fetches_once_and_nobody_fails() {
    let mut world = world();
    let nodes = ["a", "b", "c"].map(|name| world.node(name));
    world.redis.stop();
    world.upstream.hold();
    let answers: Vec<_> = nodes.iter().flat_map(|node| ask(node, 10)).collect();
    for node in &nodes {
        waiting(node, 10);
    }
    until("each node asks", || world.upstream.count(".zip") == 3);
    world.upstream.release();
    for answer in answers {
        assert_eq!(answer.join().unwrap().0, 200);
    }
    assert_eq!(world.upstream.count(".zip"), 3);
    Gateway::vouch_for(&nodes.each_ref(), &world.upstream);
}
