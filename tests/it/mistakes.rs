//! Mistakes that proxies of modules are known for, one test each.

use crate::support::gateway::Setup;
use crate::support::go::Go;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const LIST: &str = "/example.com/lib/@v/list";
const INFO: &str = "/example.com/lib/@v/v1.0.0.info";
const MOD: &str = "/example.com/lib/@v/v1.0.0.mod";

fn library() -> (Tree, Upstream) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    (tree, upstream)
}

#[test]
fn no_status_of_an_upstream_but_404_and_410_sends_a_name_onwards() {
    let (tree, upstream) = library();
    let next = Upstream::serve(tree.path());
    let chain = format!("{},{}", upstream.url(), next.url());
    let gateway =
        Setup::over(&chain).with("[upstream]\nattempts = 1\nbreaker_failures = 1000\n").start();
    let client = gateway.client();
    let statuses = [
        204, 206, 300, 304, 305, 400, 401, 402, 403, 405, 407, 409, 418, 451, 500, 501, 502, 503,
        504, 599,
    ];
    for status in statuses {
        upstream.instead(LIST, Some(Instead::Status(status, "not found: whatever")));
        let answer = client.get(LIST);
        assert_eq!(answer.status, 502, "{status}: {}", answer.text());
        assert!(!answer.text().contains("whatever"), "{status}: {}", answer.text());
    }
    for disguise in ["not found: fetch timed out", "not found: bad upstream: 503"] {
        upstream.instead(LIST, Some(Instead::Status(404, disguise)));
        assert_eq!(client.get(LIST).status, 502, "{disguise}");
    }
    assert_eq!(next.asked(), Vec::<String>::new());
}

#[test]
fn a_bad_go_mod_and_a_missing_zip_do_not_hide_the_info() {
    let (tree, upstream) = library();
    upstream.instead(MOD, Some(Instead::Bytes(b"<html>".to_vec())));
    std::fs::remove_file(tree.file("example.com/lib", "@v/v1.0.0.zip")).unwrap();
    let gateway = Setup::over(&upstream.url()).start();
    assert_eq!(gateway.client().get(INFO).status, 200);
    assert_eq!(upstream.asked(), [INFO]);
    assert_eq!(gateway.client().get(MOD).status, 502);
    assert_eq!(gateway.client().get(INFO).status, 200);
}

#[test]
fn a_list_is_the_upstreams_and_asked_for_once_within_its_time() {
    let (mut tree, upstream) = library();
    tree.module("example.com/lib", "v1.1.0", &[]);
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    assert_eq!(client.get(INFO).status, 200);
    for _ in 0..5 {
        assert_eq!(client.get(LIST).text(), "v1.0.0\nv1.1.0\n");
    }
    assert_eq!(upstream.count(LIST), 1);
}

#[test]
fn a_new_version_is_found_as_soon_as_its_absence_is_over() {
    let (mut tree, upstream) = library();
    let settings = "[cache]\nabsent_ttl = \"300ms\"\nlist_ttl = \"300ms\"\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    let client = gateway.client();
    let new = "/example.com/lib/@v/v1.1.0.info";
    assert_eq!((client.get(new).status, client.get(LIST).text().as_str()), (404, "v1.0.0\n"));
    tree.module("example.com/lib", "v1.1.0", &[]);
    until("the new version is there", || client.get(new).status == 200);
    until("the list names it", || client.get(LIST).text().contains("v1.1.0"));
}

#[test]
fn a_module_has_one_name_and_policy_upstream_and_audit_mean_the_same_one() {
    let mut tree = Tree::new();
    tree.module("example.com/Big/lib~x", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    let spellings = ["!big/lib~x", "%21big/lib~x", "!%62ig/lib%7ex", "%21%62%69%67/lib%7Ex"];
    for spelled in spellings {
        let answer = client.get(&format!("/example.com/{spelled}/@v/v1.0.0.mod"));
        assert_eq!(answer.status, 200, "{spelled}: {}", answer.text());
    }
    assert_eq!(upstream.asked(), ["/example.com/%21big/lib~x/@v/v1.0.0.mod"]);
    let events = gateway.audited(4, "a go.mod", |event| event["event"] == "module.mod");
    assert!(events.iter().all(|event| event["resource"]["module"] == "example.com/Big/lib~x"));
    for hostile in ["Big/lib", "!Big/lib", "!!big/lib", "big!/lib", "%2521big/lib", "!big%2Flib"] {
        let answer = client.get(&format!("/example.com/{hostile}/@v/v1.0.0.mod"));
        assert_eq!(answer.status, 400, "{hostile}: {}", answer.text());
    }
    assert_eq!(upstream.asked().len(), 1);
}

#[test]
fn what_is_blocked_is_blocked_in_every_artifact() {
    let mut tree = Tree::new();
    tree.module("example.com/banned/x", "v1.0.0", &[]);
    tree.module("example.com/vulnerable", "v1.4.1", &[]);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    for artifact in
        ["@v/list", "@latest", "@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip", "@v/main.info"]
    {
        let answer = gateway.client().get(&format!("/example.com/banned/x/{artifact}"));
        assert_eq!(answer.status, 403, "{artifact}: {}", answer.text());
    }
    assert_eq!(upstream.asked(), Vec::<String>::new());
    for artifact in ["@v/v1.4.1.info", "@v/v1.4.1.mod", "@v/v1.4.1.zip"] {
        assert_eq!(
            gateway.client().get(&format!("/example.com/vulnerable/{artifact}")).status,
            403
        );
    }
    assert_eq!(upstream.asked(), Vec::<String>::new());
}

#[test]
fn the_name_of_a_checksum_database_may_hold_a_path_and_makes_no_host() {
    let (_tree, upstream) = library();
    let settings = "[sumdb]\nnames = [\"sum.example/db\", \"sum.example\"]\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    let client = gateway.client();
    assert_eq!(client.get("/sumdb/sum.example/db/supported").status, 200);
    assert_eq!(client.get("/sumdb/sum.example/supported").status, 200);
    for other in ["127.0.0.1", "sum.example:80", "169.254.169.254", "localhost"] {
        assert_eq!(client.get(&format!("/sumdb/{other}/supported")).status, 404, "{other}");
    }
    assert_eq!(upstream.asked(), Vec::<String>::new());
}

#[test]
fn a_request_that_has_been_here_before_is_502() {
    let (_tree, upstream) = library();
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    assert_eq!(client.get(INFO).status, 200);
    let head = upstream.heads().pop().unwrap();
    let via = head.lines().find(|line| line.to_lowercase().starts_with("via:")).unwrap().to_owned();
    let answer = client.ask("GET", LIST, &format!("{via}\r\n"));
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.text().contains("in a circle"), "{}", answer.text());
    assert_eq!(upstream.count(LIST), 0);
}

#[test]
fn cached_answers_need_no_turn_at_the_upstream() {
    let (_tree, upstream) = library();
    let settings = "[upstream]\nmax_requests = 1\nmax_waiting = 1\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    let client = gateway.client();
    assert_eq!(client.get(INFO).status, 200);
    upstream.hold();
    let other = client.clone();
    let waiting = std::thread::spawn(move || other.get(LIST).status);
    until("the only turn is taken", || upstream.count(LIST) == 1);
    for _ in 0..10 {
        assert_eq!(client.get(INFO).status, 200);
    }
    upstream.release();
    assert_eq!(waiting.join().unwrap(), 200);
}

#[test]
fn an_answer_over_its_limit_is_refused_whether_it_says_so_or_not() {
    let (_tree, upstream) = library();
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    let announced = Instead::Bytes(vec![b' '; (1 << 20) + 1]);
    for what in [announced, Instead::Endless] {
        upstream.instead(INFO, Some(what));
        let answer = client.get(INFO);
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.text().contains("reason too_large"), "{}", answer.text());
    }
    // exactly the limit is taken
    let mut info = b"{\"Version\":\"v1.0.0\"}".to_vec();
    info.resize(1 << 20, b' ');
    upstream.instead(INFO, Some(Instead::Bytes(info)));
    assert_eq!(client.get(INFO).status, 200);
}

#[test]
fn a_second_proxy_of_go_hears_exactly_the_names_that_may_leave() {
    let mut tree = Tree::new();
    for path in ["example.com/here", "example.com/banned/x", "corp.example/secret/x"] {
        tree.module(path, "v1.0.0", &[]);
    }
    let (first, inner, second) = (
        Upstream::serve(tree.path()),
        Upstream::serve(tree.path()),
        Upstream::serve("/nonexistent"),
    );
    let info = |name: &str| format!("/{name}/@v/v1.0.0.info");
    first.instead(&info("example.com/gone"), Some(Instead::Status(410, "gone")));
    first.instead(&info("example.com/broken"), Some(Instead::Status(500, "broken")));
    first.instead(&info("example.com/forbidden"), Some(Instead::Status(403, "not you")));
    first.instead(&info("example.com/silent"), Some(Instead::Silence));
    first.instead(&info("example.com/lying"), Some(Instead::Bytes(b"<html>".to_vec())));
    let settings = format!(
        "[upstream]\nfirst_byte_timeout = \"5s\"\ntotal_timeout = \"8s\"\n\
         [[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\n",
        inner.url()
    );
    let gateway = Setup::over(&first.url()).with(&settings).start();
    let token = gateway.issue("pay", &["payments", "developers"]);
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("go.mod"), "module example.com/main\n\ngo 1.21\n").unwrap();
    let netrc = project.path().join("netrc");
    let line = format!("machine localhost:{} login x password {token}\n", gateway.address.port());
    std::fs::write(&netrc, line).unwrap();
    let both = format!("{},{}", gateway.url(), second.url());
    for (module, leaves) in [
        ("example.com/here", false),
        ("example.com/missing", true),
        ("example.com/gone", true),
        ("example.com/broken", false),
        ("example.com/forbidden", false),
        ("example.com/silent", false),
        ("example.com/lying", false),
        ("example.com/banned/x", false),
        ("corp.example/secret/x", false),
        ("corp.example/secret", false),
        ("corp.example", false),
    ] {
        let before = second.asked().len();
        let go =
            Go::at(&gateway).with("NETRC", &netrc.display().to_string()).with("GOPROXY", &both);
        let said = go.run(project.path(), &["mod", "download", &format!("{module}@v1.0.0")]);
        assert_eq!(said.ok, module == "example.com/here", "{module}: {}", said.err);
        let heard = second.asked().split_off(before);
        assert_eq!(!heard.is_empty(), leaves, "{module}: {heard:?} {}", said.err);
        assert!(heard.iter().all(|path| path.starts_with(&format!("/{module}/"))), "{heard:?}");
    }
}
