//! The closed list of what an upstream can do wrong: each word provoked, and the same in every account of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use modgate::telemetry::labels::Attempt;
use modgate::telemetry::labels::Label as _;

use crate::support::authority::Authority;
use crate::support::authority::Life;
use crate::support::chaos;
use crate::support::chaos::Chaos;
use crate::support::chaos::Fault;
use crate::support::client::Answer;
use crate::support::collector::Collector;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

/// One way to fail.
struct Case {
    /// Its name, which is that of the upstream, too.
    name: &'static str,
    /// The word of the closed list.
    word: &'static str,
    status: u16,
    url: String,
    /// More settings of the upstream.
    more: String,
}

impl Case {
    fn at(name: &'static str, word: &'static str, status: u16, url: impl Into<String>) -> Self {
        Self { name, word, status, url: url.into(), more: String::new() }
    }

    fn scripted(
        name: &'static str,
        word: &'static str,
        status: u16,
        tree: &Tree,
        what: Instead,
    ) -> Self {
        let upstream = Upstream::serve(tree.path());
        upstream.always(Some(what));
        Self::at(name, word, status, upstream.url())
    }

    fn chaotic(
        name: &'static str,
        word: &'static str,
        status: u16,
        tree: &Tree,
        fault: Fault,
    ) -> Self {
        let proxy = Chaos::before(Upstream::serve(tree.path()).address());
        proxy.set(fault);
        Self::at(name, word, status, proxy.url())
    }

    /// The artifact that is asked for: a zip where the zip is what is wrong.
    fn artifact(&self) -> &'static str {
        if self.word == "zip_invalid" { "v1.0.0.zip" } else { "v1.0.0.info" }
    }

    /// Whether an upstream after a comma may be asked.
    fn goes_on(&self) -> bool {
        matches!(self.word, "not_found" | "gone")
    }
}

fn at_the_connection() -> Vec<Case> {
    vec![
        Case::at("dns", "dns", 502, "http://nothing.invalid"),
        Case::at("refused", "connect_refused", 502, format!("http://{}", chaos::nobody())),
        Case::at("full", "connect_timeout", 504, format!("http://{}", chaos::full())),
        Case::at("unroutable", "connect", 502, "http://255.255.255.255"),
    ]
}

fn at_the_encryption(directory: &std::path::Path, tree: &Tree) -> Vec<Case> {
    let plain = Upstream::serve(tree.path()).address();
    let made = |name: &str, names: &[&str], life| {
        let directory = directory.join(name);
        std::fs::create_dir(&directory).unwrap();
        let authority = Authority::make(&directory);
        authority.sign_for(names, life);
        let address = chaos::tls(plain, &authority.cert, &authority.key);
        (format!("https://{address}"), format!("ca_file = \"{}\"\n", authority.ca.display()))
    };
    let case = |name, word, status, (url, more): (String, String)| Case {
        more,
        ..Case::at(name, word, status, url)
    };
    let (foreign, _unknown) = made("foreign", &["127.0.0.1"], Life::Good);
    let hello = chaos::saying("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    vec![
        case("encrypted", "success", 200, made("good", &["127.0.0.1"], Life::Good)),
        case("misnamed", "tls_untrusted", 502, made("misnamed", &["other.example"], Life::Good)),
        case("over", "tls_expired", 502, made("over", &["127.0.0.1"], Life::Over)),
        case("early", "tls_expired", 502, made("early", &["127.0.0.1"], Life::NotBegun)),
        Case::at("foreign", "tls_untrusted", 502, foreign),
        Case::at("unencrypted", "tls", 502, format!("https://{hello}")),
        Case::at("hung-up", "tls", 502, format!("https://{plain}")),
    ]
}

/// What is not the fault of what was asked: it is not asked at all, or the failure is ours.
fn of_our_own(directory: &std::path::Path) -> Vec<Case> {
    let root = directory.join("ours");
    for mark in ["comma", "bar"] {
        // a link to itself is there, and cannot be opened
        let info = root.join(format!("example.com/ours/{mark}/@v/v1.0.0.info"));
        std::fs::create_dir_all(info.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&info, &info).unwrap();
    }
    vec![
        Case::at("resting", "circuit_open", 502, format!("http://{}", chaos::nobody())),
        Case::at("ours", "local", 500, format!("file://{}", root.display())),
    ]
}

fn in_the_answer(tree: &Tree) -> Vec<Case> {
    let scripted = |name, word, status, what| Case::scripted(name, word, status, tree, what);
    let chaotic = |name, word, status, fault| Case::chaotic(name, word, status, tree, fault);
    let zip = tree::zip("example.com/elsewhere@v1.0.0", &[("go.mod".to_owned(), Vec::new())]);
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n";
    let other = "{\"Version\":\"v9.9.9\"}";
    vec![
        scripted("none", "not_found", 404, Instead::Status(404, "no")),
        scripted("gone", "gone", 410, Instead::Status(410, "gone")),
        scripted("forbidden", "upstream_4xx", 502, Instead::Status(403, "not you")),
        scripted("busy", "upstream_429", 502, Instead::Status(429, "slower")),
        scripted("broken", "upstream_5xx", 502, Instead::Status(500, "broken")),
        scripted("dripping", "timeout_total", 504, Instead::Drip),
        scripted("resetting", "reset", 502, Instead::Reset),
        scripted("half", "body_truncated", 502, Instead::Half),
        scripted("huge", "too_large", 502, Instead::Raw(huge)),
        scripted("another", "protocol", 502, Instead::Bytes(other.as_bytes().to_vec())),
        scripted("sign-in", "protocol", 502, Instead::Bytes(b"<html>sign in</html>".to_vec())),
        scripted(
            "redirecting",
            "protocol",
            502,
            Instead::Redirect("file:///etc/passwd".to_owned()),
        ),
        scripted("wrong-zip", "zip_invalid", 502, Instead::Bytes(zip)),
        chaotic("silent", "timeout_first_byte", 504, Fault::BlackHole),
        chaotic("cut", "reset", 502, Fault::Reset),
        chaotic("short", "body_truncated", 502, Fault::Truncate(120)),
        chaotic("late", "success", 200, Fault::Delay(200)),
        Case::at(
            "mail",
            "protocol",
            502,
            format!("http://{}", chaos::saying("220 mail.example\r\n")),
        ),
    ]
}

/// A gateway with three chains for each way to fail: one goes on after a comma, one after a bar, one ends.
fn start(cases: &[Case], good: &Upstream, collector: &Collector) -> Gateway {
    // connecting is part of the wait for the first byte: far enough apart for each to have its word
    let mut settings = format!(
        "[telemetry]\notlp_endpoint = \"{}\"\ntrace_ratio = 1.0\n[sumdb]\nnames = [\"sum.example\"]\n\
         [upstream]\nattempts = 1\nbreaker_rest = \"30s\"\n\
         connect_timeout = \"3s\"\nfirst_byte_timeout = \"6s\"\ntotal_timeout = \"8s\"\n",
        collector.url()
    );
    let _written =
        write!(settings, "[[upstream.servers]]\nname = \"good\"\nurl = \"{}\"\n", good.url());
    for Case { name, url, more, .. } in cases {
        let _written = write!(
            settings,
            "[[upstream.servers]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\
             [[upstream.chains]]\nname = \"{name}-comma\"\n\
             patterns = [\"example.com/{name}/comma\"]\nchain = \"{name},good\"\n\
             [[upstream.chains]]\nname = \"{name}-bar\"\n\
             patterns = [\"example.com/{name}/bar\"]\nchain = \"{name}|good\"\n\
             [[upstream.chains]]\nname = \"{name}-alone\"\n\
             patterns = [\"example.com/{name}/alone\"]\nchain = \"{name}\"\n"
        );
    }
    Setup::over("good").with(&settings).start()
}

/// A gateway, what it asks, and who is told.
struct World {
    gateway: Gateway,
    good: Upstream,
    collector: Collector,
}

impl World {
    /// Holds the accounts of an answer to the word of its case: body, headers, metric, audit, line and spans.
    fn compare(&self, case: &Case, path: &str, answer: &Answer) {
        let Case { name, word, .. } = case;
        if answer.status >= 500 {
            let reason = format!("reason {word}\n");
            assert!(answer.text().contains(&reason), "{name}: {}", answer.text());
            let details = format!("; details=\"{word}\"");
            let said = answer.header("proxy-status");
            assert!(said.starts_with("modgate; ") && said.ends_with(&details), "{name}: {said}");
        }
        let series =
            format!("modgate_upstream_requests_total{{upstream=\"{name}\",result=\"{word}\"}}");
        assert!(self.gateway.metric(&series) > 0.5, "{name}: no {word}");
        let trace = answer.header("traceparent").split('-').nth(1).unwrap().to_owned();
        self.tell(name, word, path, &trace);
    }

    /// The same for what is told of a trace: audit event, line and spans.
    fn tell(&self, name: &str, word: &str, path: &str, trace: &str) {
        let event = self.gateway.audited(1, name, |event| event["http"]["trace_id"] == *trace);
        assert_eq!(event[0]["upstream"]["name"], *name);
        assert_eq!(event[0]["upstream"]["result"], *word, "{name}");
        let said = format!("\"upstream.result\":\"{word}\"");
        until(&format!("{name}: the line of {path} says {word}"), || {
            let output = self.gateway.output();
            let mut lines = output.lines().filter(|line| line.contains(trace));
            lines.any(|line| line.contains(path) && line.contains(&said))
        });
        let mut spans = Vec::new();
        until(&format!("{name}: the spans of {path}"), || {
            spans = self.collector.trace(trace);
            spans.iter().any(|span| span.attribute("upstream.result") == word)
        });
        // an absence is an answer, and who was not asked has no span
        let fine = ["success", "not_found", "gone", "circuit_open"].contains(&word);
        let said: BTreeSet<_> = spans
            .iter()
            .filter(|span| span.name == "attempt")
            .map(|span| span.attribute("error.type").to_owned())
            .collect();
        assert!(fine || said.contains(word), "{name}: {said:?}");
    }
}

/// Both ways on for one case; what is wrong with them is panicked about.
fn judge(case: &Case, world: &World) {
    let (World { gateway, good, .. }, Case { name, word, status, .. }) = (world, case);
    let client = gateway.client();
    if *word == "circuit_open" {
        until("the breaker is open", || {
            let warm = client.get(&format!("/example.com/{name}/alone/warm/@v/list"));
            warm.text().contains("reason circuit_open\n")
        });
    }
    let path = format!("/example.com/{name}/comma/@v/{}", case.artifact());
    let answer = client.get(&path);
    let expected = if case.goes_on() { 200 } else { *status };
    assert_eq!(answer.status, expected, "{name}: {}", answer.text());
    assert_eq!(good.count(&path), usize::from(case.goes_on()), "{name}: after a comma");
    if case.goes_on() {
        let alone = path.replace("/comma/", "/alone/");
        let answer = client.get(&alone);
        assert_eq!(answer.status, *status, "{name}: {}", answer.text());
        world.compare(case, &alone, &answer);
    } else {
        world.compare(case, &path, &answer);
    }
    let path = format!("/example.com/{name}/bar/@v/{}", case.artifact());
    // content that is refused is not looked for elsewhere, or a lie would go unnoticed
    let refused = matches!(*name, "another" | "sign-in" | "wrong-zip");
    let answer = client.get(&path);
    assert_eq!(answer.status == 200, !refused, "{name}: {}", answer.text());
    assert_eq!(
        good.count(&path),
        usize::from(!refused && *word != "success"),
        "{name}: after a bar"
    );
}

/// An upstream says which sum its answer has, and other bytes come.
fn change(world: &World) {
    let World { gateway, good, .. } = world;
    let path = "/example.com/changed/@v/v1.0.0.info";
    good.instead(path, Some(Instead::Raw(OTHER_BYTES)));
    let answer = gateway.client().get(path);
    assert_eq!(answer.status, 502, "{}", answer.text());
    world.compare(&Case::at("good", "checksum_mismatch", 502, ""), path, &answer);
    let series = "modgate_integrity_failures_total{kind=\"checksum_mismatch\"}";
    assert!((gateway.metric(series) - 1.0).abs() < 0.1);
    good.instead(path, None);
    assert_eq!(gateway.client().get(path).status, 404, "nothing is kept of it");
}

/// The only caller leaves before there is a head: nobody is answered, and everybody else is told.
fn leave(world: &World) {
    let World { gateway, good, .. } = world;
    let path = "/sumdb/sum.example/lookup/example.com/left@v1.0.0";
    good.instead(path, Some(Instead::Silence));
    let client = gateway.client();
    let mut stream = client.connect();
    let asked = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", client.authorization());
    stream.write_all(asked.as_bytes()).unwrap();
    stream.flush().unwrap();
    until("it is asked", || good.count(path) == 1);
    drop(stream);
    let event =
        gateway.audited(1, "who left", |event| event["resource"]["module"] == "example.com/left");
    let trace = event[0]["http"]["trace_id"].as_str().unwrap().to_owned();
    world.tell("good", "client_closed", path, &trace);
    let series = "modgate_upstream_requests_total{upstream=\"good\",result=\"client_closed\"}";
    assert!(gateway.metric(series) > 0.5);
    let answers = "modgate_http_requests_total{endpoint=\"sumdb_lookup\",code=\"499\",outcome=\"client_closed\"}";
    assert!((gateway.metric(answers) - 1.0).abs() < 0.1);
}

#[test]
fn each_word_is_provoked_and_the_same_in_every_account_and_the_list_says_who_is_asked_next() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    for name in NAMES {
        for mark in ["comma", "bar"] {
            tree.module(&format!("example.com/{name}/{mark}"), "v1.0.0", &[]);
        }
    }
    let good = Upstream::serve(tree.path());
    let mut cases = at_the_connection();
    cases.extend(at_the_encryption(directory.path(), &tree));
    cases.extend(in_the_answer(&tree));
    cases.extend(of_our_own(directory.path()));
    assert_eq!(cases.iter().map(|case| case.name).collect::<Vec<_>>(), NAMES);
    let collector = Collector::listen();
    let world = World { gateway: start(&cases, &good, &collector), good, collector };
    std::thread::scope(|scope| {
        for case in &cases {
            scope.spawn(|| judge(case, &world));
        }
        scope.spawn(|| leave(&world));
        scope.spawn(|| change(&world));
    });
    let in_flight = world.gateway.metric("modgate_http_requests_in_flight");
    assert!(in_flight.abs() < 0.1, "{in_flight}");
    let mut provoked: BTreeSet<_> = cases.iter().map(|case| case.word).collect();
    provoked.extend(["client_closed", "checksum_mismatch"]);
    let words: BTreeSet<_> = Attempt::values().iter().map(|word| word.text()).collect();
    assert_eq!(provoked, words);
    let runbooks = std::fs::read_to_string(RUNBOOKS).unwrap();
    let (_, kinds) = runbooks.split_once("\n# Kinds of failure of an upstream\n").unwrap();
    let headings: BTreeSet<_> = kinds.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, words);
}

/// A whole info whose sum is not the one that its upstream names: that of nothing.
const OTHER_BYTES: &str = concat!(
    "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n",
    "Repr-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\r\n\r\n",
    "{\"Version\":\"v1.0.0\"}"
);
const RUNBOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/runbooks.md");
/// Every case; also names of upstreams and of modules.
const NAMES: [&str; 31] = [
    "dns",
    "refused",
    "full",
    "unroutable",
    "encrypted",
    "misnamed",
    "over",
    "early",
    "foreign",
    "unencrypted",
    "hung-up",
    "none",
    "gone",
    "forbidden",
    "busy",
    "broken",
    "dripping",
    "resetting",
    "half",
    "huge",
    "another",
    "sign-in",
    "redirecting",
    "wrong-zip",
    "silent",
    "cut",
    "short",
    "late",
    "mail",
    "resting",
    "ours",
];
