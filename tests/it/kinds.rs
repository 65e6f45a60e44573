//! The closed list of what an upstream can do wrong: each word provoked, and the same in every account of it.

use std::fmt::Write as _;

use crate::support::authority::Authority;
use crate::support::authority::Life;
use crate::support::chaos;
use crate::support::chaos::Chaos;
use crate::support::chaos::Fault;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree;
use crate::support::tree::Tree;
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

/// A gateway with two chains for each way to fail: one goes on after a comma, one after a bar.
fn start(cases: &[Case], good: &Upstream) -> Gateway {
    let mut settings = String::from(
        "[upstream]\nconnect_timeout = \"1s\"\nfirst_byte_timeout = \"1500ms\"\ntotal_timeout = \"4s\"\n",
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
             patterns = [\"example.com/{name}/bar\"]\nchain = \"{name}|good\"\n"
        );
    }
    Setup::over("good").with(&settings).start()
}

/// Both ways on for one case; what is wrong with them is panicked about.
fn judge(case: &Case, gateway: &Gateway, good: &Upstream) {
    let Case { name, word, status, .. } = case;
    let client = gateway.client();
    let path = format!("/example.com/{name}/comma/@v/{}", case.artifact());
    let answer = client.get(&path);
    let expected = if case.goes_on() { 200 } else { *status };
    assert_eq!(answer.status, expected, "{name}: {}", answer.text());
    assert_eq!(good.count(&path), usize::from(case.goes_on()), "{name}: after a comma");
    if expected >= 500 {
        let reason = format!("reason {word}\n");
        assert!(answer.text().contains(&reason), "{name}: {}", answer.text());
        let details = format!("; details=\"{word}\"");
        let said = answer.header("proxy-status");
        assert!(said.starts_with("modgate; ") && said.ends_with(&details), "{name}: {said}");
    }
    let series =
        format!("modgate_upstream_requests_total{{upstream=\"{name}\",result=\"{word}\"}}");
    assert!(gateway.metric(&series) > 0.5, "{name}: no {word}");
    if !case.goes_on() {
        let event = gateway.audited(1, name, |event| {
            event["resource"]["module"] == format!("example.com/{name}/comma")
        });
        assert_eq!(event[0]["upstream"]["name"], *name);
        assert_eq!(event[0]["upstream"]["result"], *word, "{name}");
        let line = gateway.output().lines().find(|line| line.contains(&path)).map(str::to_owned);
        let said = format!("\"upstream.result\":\"{word}\"");
        assert!(line.as_ref().is_some_and(|line| line.contains(&said)), "{name}: {line:?}");
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

#[test]
fn each_word_is_provoked_and_the_same_in_every_account_and_the_list_says_who_is_asked_next() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    let names = [
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
    ];
    for name in names {
        for mark in ["comma", "bar"] {
            tree.module(&format!("example.com/{name}/{mark}"), "v1.0.0", &[]);
        }
    }
    let good = Upstream::serve(tree.path());
    let mut cases = at_the_connection();
    cases.extend(at_the_encryption(directory.path(), &tree));
    cases.extend(in_the_answer(&tree));
    assert_eq!(cases.iter().map(|case| case.name).collect::<Vec<_>>(), names);
    let gateway = start(&cases, &good);
    std::thread::scope(|scope| {
        for case in &cases {
            scope.spawn(|| judge(case, &gateway, &good));
        }
    });
    // not here: circuit_open and client_closed, which care.rs provokes
    let mut words: Vec<_> = cases.iter().map(|case| case.word).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 20, "{words:?}");
}
