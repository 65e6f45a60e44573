//! What leaves the house: our own headers to the configured origin, and nothing of the caller's; no redirect out of bounds.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::support::authority::Authority;
use crate::support::chaos;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const INFO: &str = "/example.com/lib/@v/v1.0.0.info";

struct World {
    _tree: Tree,
    directory: tempfile::TempDir,
    first: Upstream,
    second: Upstream,
}

impl World {
    fn new() -> Self {
        let mut tree = Tree::new();
        tree.module("example.com/lib", "v1.0.0", &[]);
        tree.module("corp.example/payments/ledger", "v1.0.0", &[]);
        let (first, second) = (Upstream::serve(tree.path()), Upstream::serve(tree.path()));
        Self { _tree: tree, directory: tempfile::tempdir().unwrap(), first, second }
    }

    /// A file with a secret that only we may read.
    fn secret(&self, name: &str, secret: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.directory.path().join(name);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    fn start(&self, chain: &str, more: &str) -> Gateway {
        let mut settings = String::new();
        for (name, upstream) in [("first", &self.first), ("second", &self.second)] {
            let file = self.secret(name, &format!("secret-of-{name}"));
            let url = upstream.url();
            let _written = write!(
                settings,
                "[[upstream.servers]]\nname = \"{name}\"\nurl = \"{url}\"\nusername = \"modgate\"\n\
                 password_file = \"{file}\"\nallow_redirect_hosts = [\"localhost\"]\n\n"
            );
        }
        Setup::over(chain).with(&settings).with(more).start()
    }
}

fn basic(name: &str) -> String {
    use base64::Engine as _;
    let both = format!("modgate:secret-of-{name}");
    format!("authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}

#[test]
fn no_header_of_a_caller_reaches_an_upstream() {
    let world = World::new();
    let gateway = world.start("first", "");
    let headers = "Cookie: crumbs=planted\r\nProxy-Authorization: Basic planted\r\nX-Api-Key: planted\r\n\
                   X-Forwarded-For: 10.9.8.7\r\nForwarded: for=10.9.8.7\r\nVia: 1.1 planted\r\n\
                   Referer: https://planted.example/\r\nUser-Agent: planted/1.0\r\nAccept-Language: de-planted\r\n\
                   traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                   baggage: planted=1\r\nIf-None-Match: \"planted\"\r\nRange: bytes=3-5\r\n\
                   Accept-Encoding: gzip, planted\r\n";
    let answer = gateway.client().ask("GET", INFO, headers);
    assert!(matches!(answer.status, 200 | 206), "{}", answer.text());
    let heads = world.first.heads();
    assert_eq!(heads.len(), 1);
    let head = heads[0].to_lowercase();
    let token = gateway.token().to_lowercase();
    for planted in ["planted", "10.9.8.7", "0af7651916cd43dd8448eb211c80319c", token.as_str()] {
        assert!(!head.contains(planted), "{planted}: {head}");
    }
    let names: Vec<_> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    let known =
        ["host", "user-agent", "accept", "accept-encoding", "via", "traceparent", "authorization"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(head.contains("accept-encoding: identity") && head.contains("via: 1.1 modgate-"));
}

#[test]
fn credentials_go_to_their_own_origin_and_never_along_a_redirect() {
    let world = World::new();
    let gateway = world.start("first,second", "");
    let port = world.second.address().port();
    // localhost is another origin than 127.0.0.1, and allowed by name
    let elsewhere = format!("http://localhost:{port}{INFO}");
    world.first.instead(INFO, Some(Instead::Redirect(elsewhere)));
    assert_eq!(gateway.client().get(INFO).status, 200);
    let (first, second) = (world.first.heads(), world.second.heads());
    assert_eq!((first.len(), second.len()), (1, 1));
    assert!(first[0].contains(&basic("first")), "{}", first[0]);
    assert!(!second[0].to_lowercase().contains("authorization"), "{}", second[0]);
    // asked by itself, the second gets its own
    assert_eq!(gateway.client().get("/example.com/none/@v/list").status, 404);
    let last = world.second.heads().pop().unwrap();
    assert!(last.contains(&basic("second")), "{last}");
}

#[test]
fn no_redirect_leads_out_of_bounds() {
    let world = World::new();
    let gateway = world.start("first", "[upstream]\nbreaker_failures = 1000\n");
    let client = gateway.client();
    let port = world.second.address().port();
    let targets = [
        format!("http://127.0.0.1:{port}{INFO}"),
        format!("http://[::1]:{port}{INFO}"),
        format!("http://0x7f000001:{port}{INFO}"),
        format!("http://2130706433:{port}{INFO}"),
        format!("http://localhost.:{port}{INFO}"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://storage.example/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/x".to_owned(),
        "//169.254.169.254/x".to_owned(),
        "http://".to_owned(),
        INFO.to_owned(), // in a circle
    ];
    for (number, target) in targets.iter().enumerate() {
        let path = format!("/example.com/m{number}/@v/v1.0.0.info");
        let target = if target == INFO { path.clone() } else { target.clone() };
        world.first.instead(&path, Some(Instead::Redirect(target.clone())));
        let answer = client.get(&path);
        assert_eq!(answer.status, 502, "{target}: {}", answer.text());
        assert!(answer.header("location").is_empty(), "{target}");
        assert!(answer.text().contains("reason protocol"), "{target}: {}", answer.text());
    }
    assert_eq!(world.second.asked(), Vec::<String>::new());
    assert!(gateway.metric("modgate_security_events_total{kind=\"egress_blocked\"}") > 10.5);
    // once a minute is enough for the audit
    let mut told = Vec::new();
    until("the refusal is recorded", || {
        told = gateway.records();
        told.retain(|record| record["event"] == "egress.refused");
        !told.is_empty()
    });
    assert_eq!((told.len(), &told[0]["code"]), (1, &"MG303W".into()), "{told:?}");
    assert_eq!(told[0]["detail"]["about"], "first");
}

#[test]
fn a_private_name_follows_redirects_to_named_hosts_only() {
    let world = World::new();
    let private = "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"first\"]\n";
    let gateway = world.start("second", private);
    let token = gateway.issue("pay", &["payments"]);
    let client = gateway.stranger().bearer(&token);
    let port = world.second.address().port();
    let path = "/corp.example/payments/ledger/@v/v1.0.0.info";
    world.first.instead(path, Some(Instead::Redirect(format!("http://127.0.0.1:{port}{path}"))));
    assert_eq!(client.get(path).status, 502);
    assert_eq!(world.second.asked(), Vec::<String>::new());
}

#[test]
fn a_name_that_leads_into_the_house_is_not_followed_there_unless_that_is_configured() {
    let world = World::new();
    let port = world.first.address().port();
    // a name that the hosts file of this machine gives, and that is not localhost itself
    let Some(name) = house_name() else { panic!("no name in /etc/hosts leads to a local address") };
    for (allowed, refused) in
        [("", true), ("allow_networks = [\"loopback\", \"private\"]\n", false)]
    {
        let settings = format!(
            "[[upstream.servers]]\nname = \"named\"\nurl = \"http://{name}:{port}\"\n{allowed}"
        );
        let gateway = Setup::over("named").with(&settings).start();
        let answer = gateway.client().get(INFO);
        // the name may lead to ::1, where nobody listens: that is another reason
        assert_eq!(answer.text().contains("reason protocol"), refused, "{name}: {}", answer.text());
        if refused {
            assert_eq!((answer.status, world.first.asked().len()), (502, 0));
            until("the log says why", || gateway.output().contains("is not a public address"));
        }
    }
}

#[test]
fn tls_sessions_are_resumed_when_a_connection_is_new() {
    let world = World::new();
    let authority = Authority::make(world.directory.path());
    let plain = world.first.address();
    let (address, resumed) = chaos::tls_counting(plain, &authority.cert, &authority.key);
    let settings = format!(
        "[[upstream.servers]]\nname = \"tls\"\nurl = \"https://{address}\"\nca_file = \"{}\"\n",
        authority.ca.display()
    );
    let gateway = Setup::over("tls").with(&settings).start();
    for artifact in ["v1.0.0.info", "v1.0.0.mod", "v1.0.0.zip", "list"] {
        let answer = gateway.client().get(&format!("/example.com/lib/@v/{artifact}"));
        assert_eq!(answer.status, 200, "{artifact}: {}", answer.text());
    }
    // that listener ends each connection after one answer
    assert_eq!(resumed.load(Ordering::SeqCst), 3);
}

/// A name of this machine for its loopback address, other than localhost.
fn house_name() -> Option<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().filter(|line| line.starts_with("127.") || line.starts_with("::1"));
    let mut names = lines.flat_map(|line| line.split_whitespace().skip(1));
    names.find(|name| *name != "localhost").map(str::to_owned)
}
