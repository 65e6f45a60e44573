//! The record: one event, one line and the metrics of each request, which agree, and no secret in any of them.

use std::collections::HashSet;
use std::io::Write as _;

use serde_json::Value;

use crate::support::collector::Collector;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

fn world(size: usize) -> (Tree, Upstream, Gateway) {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], size);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    (tree, upstream, gateway)
}

fn lines(gateway: &Gateway) -> Vec<Value> {
    let output = gateway.output();
    let all = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|line| line["log_type"] == "access").collect()
}

#[test]
fn event_line_and_metrics_of_each_answer_agree() {
    let (_tree, _upstream, gateway) = world(1000);
    let client = gateway.client();
    let asked = [
        (ZIP, 200),
        (ZIP, 200),
        ("/example.com/lib/@v/list", 200),
        ("/example.com/none/@v/list", 404),
        ("/example.com/banned/x/@v/list", 403),
        ("/Bad/path/@v/list", 400),
        ("/-/whoami", 200),
    ];
    for (path, status) in asked {
        assert_eq!(client.get(path).status, status, "{path}");
    }
    assert_eq!(gateway.stranger().get(ZIP).status, 401);
    until("eight events and eight lines", || {
        gateway.audit().len() == 8 && lines(&gateway).len() == 8
    });
    let (events, lines) = (gateway.audit(), lines(&gateway));
    for event in &events {
        let line = lines.iter().find(|line| line["record.id"] == event["id"]).unwrap();
        assert_eq!(line["http.response.status_code"], event["http"]["status"]);
        // a refusal is recorded before it is sent
        let sent = if event["phase"] == "refused" {
            &Value::Null
        } else {
            &line["http.response.body.size"]
        };
        assert_eq!(*sent, event["http"]["bytes_out"]);
        assert_eq!(line["trace_id"], event["http"]["trace_id"]);
        assert_eq!(line["enduser.id"], event["actor"]["id"]);
        assert_eq!(line["module.path"], event["resource"]["module"]);
        assert_eq!(line["policy.rule"], event["decision"]["rule"]);
        assert_eq!(line["cache.result"], event["cache"]["result"]);
    }
    let total = gateway.metric_sum("modgate_http_requests_total");
    assert!((total - 8.0).abs() < 0.1, "{total}");
    for (outcome, count) in
        [("allowed", 4), ("not_found", 1), ("denied", 1), ("rejected", 1), ("unauthenticated", 1)]
    {
        let found = events.iter().filter(|event| event["outcome"] == outcome).count();
        assert_eq!(found, count, "{outcome}");
    }
    let waiting = gateway.metric("modgate_http_requests_in_flight");
    assert!(waiting.abs() < 0.1, "{waiting}");
}

#[test]
fn sequence_numbers_have_no_holes_and_ids_are_unique() {
    let (_tree, _upstream, gateway) = world(1000);
    let client = gateway.client();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || {
                (0..25).for_each(|_| assert_eq!(client.get(ZIP).status, 200));
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    until("two hundred events", || gateway.audit().len() == 200);
    let (events, records) = (gateway.audit(), gateway.records());
    let numbers: Vec<u64> = records.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let answers: HashSet<_> = events.iter().map(|event| &event["seq"]).collect();
    let besides = records.iter().filter(|record| !answers.contains(&record["seq"]));
    let besides: Vec<_> = besides.map(|record| record["event"].as_str().unwrap()).collect();
    assert_eq!(besides, ["audit.start", "config.reload", "policy.activate", "auth.success"]);
    let ids: HashSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 200);
}

#[test]
fn a_caller_who_hangs_up_closes_the_record_once_and_it_says_so() {
    let (_tree, _upstream, gateway) = world(60_000_000);
    let client = gateway.client();
    assert_eq!(client.ask("HEAD", ZIP, "").status, 200);
    let mut stream = client.connect();
    let authorization = client.authorization();
    write!(stream, "GET {ZIP} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n").unwrap();
    stream.flush().unwrap();
    let mut first = [0_u8; 4096];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    drop(stream);
    let is_it = |event: &Value| event["http"]["method"] == "GET";
    let cut = gateway.audited(1, "the answer that was cut", is_it);
    assert_eq!(cut.len(), 1);
    assert_eq!(cut[0]["http"]["complete"], false);
    assert!(cut[0]["http"]["bytes_out"].as_u64().unwrap() < 60_000_000);
    let series =
        "modgate_http_requests_total{endpoint=\"zip\",code=\"200\",outcome=\"client_closed\"}";
    assert!((gateway.metric(series) - 1.0).abs() < 0.1);
}

#[test]
fn no_secret_stands_in_any_output() {
    let (_tree, _upstream, gateway) = world(1000);
    let token = gateway.token();
    let client = gateway.client();
    client.get(ZIP);
    client.get(&format!("/{token}/@v/list"));
    gateway.stranger().basic("alice", "hunter2-secret").get(ZIP);
    gateway.stranger().bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2VjcmV0").get(ZIP);
    until("four events", || gateway.audit().len() == 4);
    let said = format!("{}{:?}{}", gateway.output(), gateway.audit(), gateway.metrics());
    for secret in ["hunter2-secret", "c2VjcmV0", "Authorization"] {
        assert!(!said.contains(secret), "{secret}");
    }
    // a token that its owner puts into a path is the owner's own doing, and is not repeated in answers
    let stored = std::fs::read_to_string(gateway.state().join("tokens")).unwrap();
    assert!(!stored.contains(&token));
}

#[test]
fn the_operations_listener_has_metrics_and_both_probes_and_nothing_else() {
    let (_tree, _upstream, gateway) = world(1000);
    assert_eq!(gateway.ops_page("/livez").0, 200);
    assert_eq!(gateway.ops_page("/readyz"), (200, "ready\n".to_owned()));
    let page = gateway.metrics();
    assert!(page.contains("# TYPE modgate_http_requests_total counter"));
    assert!(page.contains("# HELP modgate_http_requests_total Answers, counted at their end."));
    assert_eq!(gateway.ops_page(ZIP).0, 404);
    assert_eq!(gateway.client().get("/metrics").status, 404);
}

#[test]
fn a_sampled_request_leaves_a_trace_with_the_id_its_caller_was_told() {
    let (_tree, upstream, _) = world(1000);
    let collector = Collector::listen();
    let settings =
        format!("[telemetry]\notlp_endpoint = \"{}\"\ntrace_ratio = 1.0\n", collector.url());
    let mut gateway = Setup::over(&upstream.url()).with(&settings).start();
    let answer = gateway.client().get(ZIP);
    let trace: String = answer.header("traceparent").split('-').nth(1).unwrap().to_owned();
    assert!(answer.header("traceparent").ends_with("-01"));
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    // protobuf holds the id as bytes and names as text
    let bytes = u128::from_str_radix(&trace, 16).unwrap().to_be_bytes();
    let told = collector.bodies();
    let holds = |part: &[u8]| told.windows(part.len()).any(|window| window == part);
    assert!(holds(&bytes), "no trace {trace}");
    for name in [
        "identify",
        "authorize",
        "fetch",
        "upstream",
        "verify",
        "module.path",
        "example.com/lib",
        "upstream.result",
        "success",
    ] {
        assert!(holds(name.as_bytes()), "no {name}");
    }
}
