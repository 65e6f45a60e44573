//! Request lines and headers made to be read in two ways: each has its status and its record, and nothing leaves.

use crate::support::client::Client;
use crate::support::client::parse;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::until;
use crate::support::upstream::Upstream;

/// A head as it is sent, and the status it must get.
struct Hostile {
    head: Vec<u8>,
    status: u16,
}

/// Targets of a GET by a good caller, and their status.
const TARGETS: &[(&str, u16)] = &[
    ("//example.com/lib/@v/list", 400),
    ("/example.com//lib/@v/list", 400),
    ("/example.com/lib//@v/list", 400),
    ("/./example.com/lib/@v/list", 400),
    ("/../example.com/lib/@v/list", 400),
    ("/example.com/./lib/@v/list", 400),
    ("/example.com/../secret/@v/list", 400),
    ("/example.com/lib/../../secret/@v/list", 400),
    ("/example.com/..%2fsecret/@v/list", 400),
    ("/example.com/%2e%2e/secret/@v/list", 400),
    ("/example.com/%2E%2E%2Fsecret/@v/list", 400),
    ("/example.com/.%2e/secret/@v/list", 400),
    ("/example.com%2Flib/@v/list", 400),
    ("/example.com%2flib%2f@v%2flist", 400),
    ("/example.com/lib%2F@v/list", 400),
    ("/example.com/lib/@v%2Flist", 400),
    ("/example.com/lib/%40v%2flist", 400),
    ("/example.com%252Flib/@v/list", 400),
    ("/example.com/%252e%252e/lib/@v/list", 400),
    ("/example.com/lib%2500/@v/list", 400),
    ("/example.com/lib%00/@v/list", 400),
    ("/example.com/lib/@v/v1.0.0%00.zip", 400),
    ("/example.com/lib%0d%0aX-Evil:1/@v/list", 400),
    ("/example.com/lib%0a/@v/list", 400),
    ("/example.com/lib%09/@v/list", 400),
    ("/example.com/lib%7f/@v/list", 400),
    ("/example.com/lib%1b[31m/@v/list", 400),
    ("/example.com\\lib/@v/list", 400),
    ("/example.com/..\\..\\secret/@v/list", 400),
    ("/example.com/%5c..%5csecret/@v/list", 400),
    ("/example.com/lib%/@v/list", 400),
    ("/example.com/lib%2/@v/list", 400),
    ("/example.com/lib%zz/@v/list", 400),
    ("/example.com/lib%u002e/@v/list", 400),
    ("/example.com/lib%c0%ae/@v/list", 400),
    ("/example.com/lib%ff/@v/list", 400),
    ("/example.com/l%C3%A4b/@v/list", 400),
    ("/example.com/lib%E2%80%AE/@v/list", 400),
    ("/example.com/Lib/@v/list", 400),
    ("/Example.com/lib/@v/list", 400),
    ("/EXAMPLE.COM/LIB/@V/LIST", 404),
    ("/example.com/%4Cib/@v/list", 400),
    ("/example.com/!Lib/@v/list", 400),
    ("/example.com/!!lib/@v/list", 400),
    ("/example.com/!/@v/list", 400),
    ("/example.com/lib!/@v/list", 400),
    ("/example.com/!1lib/@v/list", 400),
    ("/example.com/%21Lib/@v/list", 400),
    ("/example.com/%2521lib/@v/list", 400),
    ("/example.com/lib/@v/v1.0.0-Beta.info", 400),
    ("/example.com/lib/@v/V1.0.0.info", 400),
    ("/example.com/lib/@v/..info", 400),
    ("/example.com/lib/@v/....info", 400),
    ("/example.com/lib/@v/a*b.info", 400),
    ("/example.com/lib/@v/a:b.info", 400),
    ("/example.com/lib/@v/con.info", 400),
    ("/example.com/aux/@v/list", 400),
    ("/example.com/com1.x/@v/list", 400),
    ("/example.com/lib~1/@v/list", 400),
    ("/example.com/.lib/@v/list", 400),
    ("/example.com/lib./@v/list", 400),
    ("/.example.com/lib/@v/list", 400),
    ("/-example.com/lib/@v/list", 400),
    ("/examplecom/lib/@v/list", 400),
    ("/example_com.x/lib/@v/list", 400),
    ("/example.com/lib/v1/@v/list", 400),
    ("/example.com/lib/v02/@v/list", 400),
    ("/example.com/lib;x=1/@v/list", 400),
    ("/example.com/lib,x/@v/list", 400),
    ("/example.com/lib:80/@v/list", 400),
    ("/127.0.0.1:80/lib/@v/list", 400),
    ("/example.com/lib/@v/list?", 400),
    ("/example.com/lib/@v/list?a=b", 400),
    ("/example.com/lib/@v/v1.0.0.zip?token=x", 400),
    ("/sumdb/sum.example/lookup/example.com/Lib@v1.0.0", 400),
    ("/sumdb/169.254.169.254/latest/meta-data", 404),
    ("/example.com/lib/@v/../list", 404),
    ("/example.com/lib/@v/v1.0.0.zip/../list", 404),
    ("/example.com/lib@v1.0.0/@v/list", 404),
    ("/example.com/lib/@v/v2.0.0.zip", 404),
    ("/example.com/lib/@v/v1.0.0.exe", 404),
    ("/example.com/lib/@v/", 404),
    ("/.git/config", 404),
    ("/etc/passwd", 404),
    ("/-/../metrics", 404),
    ("*", 400),
];

const LIST: &str = "/example.com/lib/@v/list";

fn corpus(client: &Client) -> Vec<Hostile> {
    let auth = client.authorization();
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{auth}\r\n");
    let heads = TARGETS
        .iter()
        .map(|(path, status)| (target(path), *status))
        .chain(request_lines(&auth))
        .chain(fields(&auth))
        .chain(oversize(&auth))
        .chain(credentials())
        .map(|(head, status)| Hostile { head: head.into_bytes(), status });
    heads.chain(bytes()).collect()
}

fn request_lines(auth: &str) -> Vec<(String, u16)> {
    let lines = [
        (format!("POST {LIST} HTTP/1.1"), 405),
        (format!("PUT {LIST} HTTP/1.1"), 405),
        (format!("DELETE {LIST} HTTP/1.1"), 405),
        (format!("OPTIONS {LIST} HTTP/1.1"), 405),
        (format!("TRACE {LIST} HTTP/1.1"), 405),
        (format!("PROPFIND {LIST} HTTP/1.1"), 405),
        ("CONNECT example.com:443 HTTP/1.1".to_owned(), 405),
        (format!("get {LIST} HTTP/1.1"), 405),
        (format!("G<T {LIST} HTTP/1.1"), 400),
        (format!("GET  {LIST} HTTP/1.1"), 400),
        (format!("GET {LIST}  HTTP/1.1"), 400),
        (format!("GET {LIST} more HTTP/1.1"), 400),
        (format!("GET {LIST} HTTP/9.9"), 400),
        (format!("GET {LIST} HTP/1.1"), 400),
        ("GET  HTTP/1.1".to_owned(), 400),
        ("GET example.com/lib/@v/list HTTP/1.1".to_owned(), 400),
        (format!("GET http://evil.example{LIST} HTTP/1.1"), 400),
        (format!("GET https://evil.example@localhost{LIST} HTTP/1.1"), 400),
    ];
    let head = |line: String| format!("{line}\r\nHost: localhost\r\n{auth}\r\n");
    lines.into_iter().map(|(line, status)| (head(line), status)).collect()
}

fn fields(auth: &str) -> Vec<(String, u16)> {
    let more = [
        "Authorization: Bearer x\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\r\n folded\r\n",
        "X\r\n",
        ": no name\r\n",
        "X Y: 1\r\n",
        "X: a\0b\r\n",
        "Host: other\r\n",
    ];
    let head = |more| format!("GET {LIST} HTTP/1.1\r\nHost: localhost\r\n{auth}{more}\r\n");
    let mut heads: Vec<_> = more.into_iter().map(|more| (head(more), 400)).collect();
    heads.push((format!("GET {LIST} HTTP/1.1\r\n{auth}\r\n"), 400));
    heads.push((format!("GET {LIST} HTTP/1.1\r\nHost: \r\n{auth}\r\n"), 400));
    heads
}

fn oversize(auth: &str) -> Vec<(String, u16)> {
    let head = |more: String| format!("GET {LIST} HTTP/1.1\r\nHost: localhost\r\n{auth}{more}\r\n");
    let count = |fields: u32, size: usize| {
        head((0..fields).map(|n| format!("X-{n}: {}\r\n", "a".repeat(size))).collect())
    };
    let long = "a".repeat(9000);
    vec![
        (format!("GET /example.com/{long}/@v/list HTTP/1.1\r\nHost: localhost\r\n{auth}\r\n"), 414),
        (count(80, 1), 431),
        (count(200, 1), 431),
        (count(40, 1000), 431),
        (count(1, 140_000), 431),
    ]
}

fn credentials() -> Vec<(String, u16)> {
    let long = format!("Bearer {}", "a".repeat(9000));
    ["Digest x", "Basic ***", "Basic", "Bearer a b", long.as_str()]
        .map(|value| {
            (
                format!("GET {LIST} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {value}\r\n\r\n"),
                400,
            )
        })
        .into()
}

fn bytes() -> Vec<Hostile> {
    let raw: [&[u8]; 4] = [
        b"\0\0\0\0\r\n\r\n",
        b"GET /\xff\xfe/lib/@v/list HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: local\xffhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    raw.map(|head| Hostile { head: head.to_vec(), status: 400 }).into()
}

fn shown(head: &[u8]) -> String {
    head.iter().take(120).map(|byte| std::ascii::escape_default(*byte).to_string()).collect()
}

fn world() -> (Upstream, Gateway) {
    let upstream = Upstream::serve("/nonexistent");
    let gateway = Setup::over(&upstream.url()).with("[sumdb]\nnames = [\"sum.example\"]\n").start();
    (upstream, gateway)
}

#[test]
fn every_hostile_head_gets_its_status_and_its_record_and_nothing_goes_upstream() {
    let (upstream, gateway) = world();
    let client = gateway.client();
    let corpus = corpus(&client);
    assert!(corpus.len() >= 130, "{}", corpus.len());
    let mut wrong = Vec::new();
    for Hostile { head, status } in &corpus {
        let before = gateway.audit().len();
        // what follows must never be taken for an answerable request of its own
        let mut sent = head.clone();
        sent.extend_from_slice(
            b"GET /smuggled.example/x/@v/list HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        let raw = client.raw(&sent);
        let found = parse(&raw).map_or(0, |answer| answer.status);
        if found != *status {
            wrong.push(format!("{} instead of {status}: {}", found, shown(head)));
            continue;
        }
        until(&format!("a record of {}", shown(head)), || gateway.audit().len() > before);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), corpus.len(), wrong.join("\n"));
    assert_eq!(upstream.asked(), Vec::<String>::new());
    for kind in ["path_traversal", "smuggling"] {
        let series = format!("modgate_security_events_total{{kind=\"{kind}\"}}");
        assert!(gateway.metric(&series) > 9.5, "{kind}");
    }
    let followed = gateway.audit().into_iter().filter(|event| {
        event["resource"]["module"].as_str().is_some_and(|module| module.contains("smuggled"))
    });
    assert_eq!(followed.count(), 0, "a request behind a refused one was authorized");
}

#[test]
fn a_slow_head_is_408_and_recorded() {
    use std::io::Write as _;
    let (_upstream, gateway) = world();
    let client = gateway.client();
    let mut stream = client.connect();
    stream.write_all(b"GET /example.com/lib/@v/list HTTP/1.1\r\nHost: loc").unwrap();
    stream.flush().unwrap();
    let raw = crate::support::client::read_to_end(&mut stream);
    assert_eq!(parse(&raw).map(|answer| answer.status), Some(408));
    gateway.audited(1, "the slow head", |event| {
        event["event"] == "request.rejected"
            && event["detail"]["status"].as_str().unwrap_or("").starts_with("408")
    });
}
