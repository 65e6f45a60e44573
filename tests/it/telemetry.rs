//! What can be observed: traces, exemplars and the page of metrics, and that none of it costs a request anything.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;

use crate::ldap::copy_policy;
use crate::support::chaos::nobody;
use crate::support::client::Client;
use crate::support::client::Session;
use crate::support::collector::Collector;
use crate::support::collector::Span;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::kernel::Doing;
use crate::support::kernel::Kernel;
use crate::support::port;
use crate::support::redis::Redis;
use crate::support::slapd::People;
use crate::support::slapd::Slapd;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";
const INFO: &str = "/example.com/lib/@v/v1.0.0.info";
const STRANGE: &str = "0af7651916cd43dd8448eb211c80319c";

fn world(telemetry: &str) -> (Tree, Upstream, Gateway) {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 1000);
    let upstream = Upstream::serve(tree.path());
    let settings = format!("[telemetry]\n{telemetry}\n");
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    (tree, upstream, gateway)
}

fn exporting(collector: &Collector, more: &str) -> (Tree, Upstream, Gateway) {
    world(&format!("otlp_endpoint = \"{}\"\n{more}", collector.url()))
}

/// The trace id that an answer tells.
fn told(answer: &crate::support::client::Answer) -> String {
    answer.header("traceparent").split('-').nth(1).unwrap().to_owned()
}

/// Waits until spans of each name are there, which may come one batch after the other, and gives the whole trace.
fn exported(collector: &Collector, trace: &str, names: &[&str]) -> Vec<Span> {
    let mut spans = Vec::new();
    until(&format!("{names:?} of trace {trace}"), || {
        spans = collector.trace(trace);
        names.iter().all(|name| spans.iter().any(|span| span.name == *name))
    });
    spans
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[test]
fn a_trace_shows_each_stage_each_tier_and_each_attempt_below_its_root() {
    let collector = Collector::listen();
    let (_tree, upstream, gateway) = exporting(&collector, "trace_ratio = 1.0");
    upstream.instead(ZIP, Some(Instead::Status(503, "busy")));
    let field = format!("traceparent: 00-{STRANGE}-b7ad6b7169203331-00\r\n");
    let trace = told(&gateway.client().ask("GET", ZIP, &field));
    let stages = ["identify", "parse", "authorize", "fetch", "upstream"];
    let spans = exported(&collector, &trace, &[&["GET zip", "cache get"], &stages[..]].concat());
    let root = named(&spans, "GET zip");
    assert_eq!(root.links, [STRANGE], "a stranger's trace is pointed to, not continued");
    assert!(root.failed && root.parent.is_empty());
    assert_eq!(root.attribute("http.response.status_code"), "502");
    assert_eq!(root.attribute("upstream.result"), "upstream_5xx");
    for stage in stages {
        assert_eq!(named(&spans, stage).parent, root.id, "{stage}");
    }
    let fetch = named(&spans, "fetch");
    let looks: Vec<_> = spans.iter().filter(|span| span.name == "cache get").collect();
    assert!(looks.iter().any(|look| look.attribute("modgate.cache.tier") == "memory"), "{looks:?}");
    assert!(looks.iter().all(|look| look.parent == fetch.id), "{looks:?}");
    let attempts: Vec<_> = spans.iter().filter(|span| span.name == "attempt").collect();
    assert_eq!(attempts.len(), 2, "asked again once");
    for (count, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt.parent, named(&spans, "upstream").id);
        assert!(attempt.failed && attempt.nanos <= root.nanos);
        assert_eq!(attempt.attribute("error.type"), "upstream_5xx");
        assert_eq!(attempt.attribute("http.request.resend_count"), count.to_string());
    }
}

/// A collector of somebody else: takes OTLP over gRPC and hands it on over HTTP.
pub(crate) struct Hop(Child);

impl Hop {
    pub(crate) fn to(sink: &Collector, port: u16) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let child = Command::new(root.join("target/peers/rotel/rotel/rotel-agent"))
            .args(["start", "--otlp-grpc-endpoint", &format!("127.0.0.1:{port}")])
            .args(["--otlp-http-endpoint", &nobody().to_string()])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &sink.url(), "--batch-timeout", "200ms"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let hop = Self(child.unwrap());
        until("the collector listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        hop
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        // gone already is as good
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[test]
fn spans_reach_a_real_collector_over_grpc_and_go_on_from_there() {
    let (sink, port) = (Collector::listen(), port());
    let hop = Hop::to(&sink, port);
    let telemetry = format!(
        "otlp_endpoint = \"http://127.0.0.1:{port}\"\notlp_protocol = \"grpc\"\ntrace_ratio = 1.0"
    );
    let (_tree, _upstream, gateway) = world(&telemetry);
    let trace = told(&gateway.client().get(ZIP));
    let spans = exported(&sink, &trace, &["GET zip", "verify"]);
    assert_eq!(named(&spans, "verify").parent, named(&spans, "GET zip").id);
    let exported = "modgate_telemetry_items_total{signal=\"traces\",result=\"exported\"}";
    until("what was exported is counted", || gateway.metric(exported) >= 8.0);
    drop(hop);
}

#[test]
fn every_field_of_a_line_is_explained_and_everything_explained_is_a_field() {
    let (_tree, upstream, gateway) = world("");
    upstream.instead(INFO, Some(Instead::Status(500, "no")));
    let client = gateway.client();
    let paths = [ZIP, INFO, "/example.com/banned/x/@v/list", "/example.com/none/@v/list"];
    for path in paths.iter().chain([&ZIP]) {
        client.get(path);
    }
    assert_eq!(gateway.stranger().get(ZIP).status, 401);
    let _refused = client.raw(b"NONSENSE\r\n\r\n");
    let lines = || -> Vec<Value> {
        let output = gateway.output();
        output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    until("seven lines", || {
        lines().iter().filter(|line| line["log_type"] == "access").count() == 7
    });
    let page = include_str!("../../deploy/logs.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let explained: BTreeSet<_> = rows.map(|(field, _)| field.to_owned()).collect();
    let access = lines().into_iter().filter(|line| line["log_type"] == "access");
    let mut seen: BTreeSet<String> = access
        .flat_map(|line| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
        .collect();
    // the application's lines have these
    seen.extend(["target", "message"].map(str::to_owned));
    assert_eq!(seen, explained);
}

#[test]
fn a_stranger_cannot_force_sampling_and_a_trusted_network_can() {
    let collector = Collector::listen();
    let ask = |gateway: &Gateway, flags: &str| {
        let field = format!("traceparent: 00-{STRANGE}-b7ad6b7169203331-{flags}\r\n");
        gateway.client().ask("GET", INFO, &field)
    };
    let more = "trace_ratio = 0.000001\ntrace_late = false";
    let (_tree, _upstream, gateway) = exporting(&collector, more);
    let answer = ask(&gateway, "01");
    assert_ne!(told(&answer), STRANGE);
    assert!(answer.header("traceparent").ends_with("-00"));
    let more = "trace_ratio = 1.0\ntrace_slow = \"1h\"\ntrace_trusted = [\"127.0.0.0/8\"]";
    let (_other_tree, _other_upstream, trusting) = exporting(&collector, more);
    assert!(ask(&trusting, "00").header("traceparent").ends_with("-00"));
    let answer = ask(&trusting, "01");
    assert_eq!(told(&answer), STRANGE);
    assert!(answer.header("traceparent").ends_with("-01"));
    until("the trace of a trusted caller", || {
        collector.trace(STRANGE).iter().any(|span| span.name == "GET info")
    });
    assert_eq!(named(&collector.trace(STRANGE), "GET info").parent, "b7ad6b7169203331");
    // of the stranger nothing came, and nothing of the one whose flag said no
    assert_eq!(collector.spans().iter().filter(|span| span.name == "GET info").count(), 1);
}

#[test]
fn a_failure_is_exported_though_its_trace_was_not_sampled() {
    let collector = Collector::listen();
    // a slow one would be exported as well
    let more = "trace_ratio = 0.000001\ntrace_slow = \"1h\"";
    let (_tree, upstream, gateway) = exporting(&collector, more);
    assert_eq!(gateway.client().get(INFO).status, 200);
    upstream.instead(ZIP, Some(Instead::Status(500, "no")));
    let answer = gateway.client().get(ZIP);
    assert!(answer.header("traceparent").ends_with("-00"));
    let spans = exported(&collector, &told(&answer), &["GET zip", "authorize"]);
    let root = named(&spans, "GET zip");
    assert_eq!(root.attribute("modgate.trace.late"), "failed");
    assert_eq!(root.attribute("module.path"), "example.com/lib");
    assert_eq!(named(&spans, "authorize").parent, root.id);
    assert!(collector.spans().iter().all(|span| span.trace == root.trace), "only the failure");
    let late = "modgate_telemetry_sampling_total{decision=\"late\"}";
    assert!((gateway.metric(late) - 1.0).abs() < 0.1);
}

#[test]
fn a_slow_bucket_leads_to_the_trace_the_line_and_the_audit_record() {
    let collector = Collector::listen();
    let (_tree, _upstream, gateway) = exporting(&collector, "trace_ratio = 1.0");
    let answer = gateway.client().get(ZIP);
    let trace = told(&answer);
    let page = gateway.openmetrics();
    assert!(page.ends_with("# EOF\n") && page.contains("# TYPE modgate_http_requests counter"));
    let bucket = page.lines().find(|line| {
        line.starts_with("modgate_http_request_duration_seconds_bucket{endpoint=\"zip\"")
            && line.contains(" # {trace_id=")
    });
    assert!(bucket.unwrap().contains(&trace), "{bucket:?}");
    let spans = exported(&collector, &trace, &["GET zip"]);
    let id = named(&spans, "GET zip").attribute("record.id").to_owned();
    let record = gateway.audited(1, "its record", |event| event["http"]["trace_id"] == *trace);
    assert_eq!(record[0]["id"], id);
    until("its line", || {
        let output = gateway.output();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().any(|line| line["trace_id"] == *trace && line["record.id"] == *id)
    });
    assert!(!gateway.metrics().contains("trace_id"), "text format 0.0.4 has no exemplars");
}

#[test]
fn a_collector_that_is_away_or_hangs_costs_no_request_anything_and_is_counted() {
    let away = nobody();
    // accepted by the kernel, never by us: an export hangs until its time is over
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = hanging.local_addr().unwrap();
    for collector in [away, hangs] {
        let telemetry = format!("otlp_endpoint = \"http://{collector}\"\ntrace_ratio = 1.0");
        let (_tree, _upstream, gateway) = world(&telemetry);
        let client = gateway.client();
        (0..20).for_each(|_| assert_eq!(client.get(INFO).status, 200));
        let slow = "modgate_http_request_duration_seconds_bucket{endpoint=\"info\",code_class=\"2xx\",cache=\"hit\",le=\"2.5\"}";
        assert!(
            (gateway.metric(slow) - 19.0).abs() < 0.1,
            "an export hangs for five seconds, and nobody with it"
        );
        until("spans that failed", || {
            let failed = "modgate_telemetry_items_total{signal=\"traces\",result=\"failed\"}";
            gateway.metric(failed) > 0.0
        });
    }
    drop(hanging);
}

#[test]
fn how_long_the_queue_of_the_audit_is_stands_on_the_page_though_its_writer_hangs() {
    let kernel = Kernel::new();
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let gateway = Setup::over(&format!("file://{}", tree.path().display()))
        .with("[audit]\nrefusal_mode = \"durable\"\n")
        .start_in(&kernel.environment());
    let waiting = || gateway.metric("modgate_audit_queue_length");
    kernel.begin(Doing::HangSync);
    assert_eq!(gateway.stranger().get(INFO).status, 401);
    (0..5).for_each(|_| assert_eq!(gateway.client().get(INFO).status, 200));
    until("five wait behind the one that is synced", || waiting() > 4.5);
    kernel.end(Doing::HangSync);
    until("nothing waits", || waiting() < 0.5);
}

#[test]
fn a_trace_shows_the_wait_for_the_lease_each_command_of_redis_and_each_question_to_the_directory() {
    let (collector, redis) = (Collector::listen(), Redis::start());
    let slapd = Slapd::with(&People::new().person("alice"));
    let more = format!("trace_ratio = 1.0\n{}{}", redis.settings(), slapd.settings(""));
    let (_tree, _upstream, gateway) = exporting(&collector, &more);
    until("Redis is up", || gateway.metric("modgate_redis_up") > 0.5);
    let fetched = gateway.client().get(INFO);
    let spans = exported(
        &collector,
        &told(&fetched),
        &["GET info", "fetch", "lease", "redis script", "redis get", "cache get"],
    );
    let fetch = named(&spans, "fetch").id.clone();
    assert_eq!(named(&spans, "lease").parent, fetch);
    assert_eq!(named(&spans, "redis script").parent, named(&spans, "lease").id);
    let looked = named(&spans, "redis get");
    assert_eq!(looked.attribute("db.system.name"), "redis");
    let is_look = |span: &&Span| span.id == looked.parent && span.name == "cache get";
    assert!(spans.iter().any(|span| is_look(&span)), "{spans:#?}");
    let known = gateway.stranger().basic("alice", "alice-pw").get("/-/whoami");
    assert_eq!(known.status, 200);
    let asked = ["LDAP bind", "LDAP search"];
    let spans =
        exported(&collector, &told(&known), &[&["GET own", "identify"], &asked[..]].concat());
    let identify = &named(&spans, "identify").id;
    for operation in asked {
        assert_eq!(named(&spans, operation).parent, *identify, "{operation}");
    }
}

#[test]
fn a_slow_upstream_leads_to_the_trace_of_its_attempt() {
    let collector = Collector::listen();
    let (_tree, _upstream, gateway) = exporting(&collector, "trace_ratio = 1.0");
    let trace = told(&gateway.client().get(ZIP));
    let page = gateway.openmetrics();
    for phase in ["first_byte", "total"] {
        let labels = format!(",phase=\"{phase}\"");
        let is_it = |line: &&str| {
            line.starts_with("modgate_upstream_request_duration_seconds_bucket{")
                && line.contains(&labels)
        };
        assert!(page.lines().filter(is_it).any(|line| line.contains(&trace)), "{phase}");
    }
}

#[test]
fn the_page_says_which_policy_is_in_force_and_no_other() {
    let (tree, policy) = (Tree::new(), tempfile::tempdir().unwrap());
    copy_policy(policy.path(), "g, group:token:payments, role:payments\n");
    let gateway = Setup::over(&format!("file://{}", tree.path().display()))
        .with(&format!("[policy]\ndir = \"{}\"\n", policy.path().display()))
        .start();
    let shown = || {
        let page = gateway.metrics();
        let lines = page.lines().filter(|line| line.starts_with("modgate_policy_info"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = shown();
    assert_eq!(before.len(), 1, "{before:?}");
    copy_policy(policy.path(), "g, group:token:others, role:payments\n");
    let (_, said) = gateway.ops_call("POST", "/policy/reload");
    let revision = said.trim().strip_prefix("in force: ").unwrap_or_else(|| panic!("{said}"));
    let expected = format!("modgate_policy_info{{revision=\"{revision}\"}} 1");
    assert_eq!(shown(), [expected]);
    assert_ne!(shown(), before);
}

#[test]
fn connections_and_blocking_work_are_counted_while_they_last() {
    let (_tree, _upstream, gateway) = world("");
    let open = || gateway.metric("modgate_http_connections{protocol=\"h1\"}");
    let mut sessions: Vec<_> = (0..3).map(|_| Session::open(gateway.client())).collect();
    for session in &mut sessions {
        assert_eq!(session.ask("GET", ZIP), 200);
    }
    until("three are open", || (open() - 3.0).abs() < 0.1);
    drop(sessions);
    until("none is open", || open() < 0.5);
    until("no work is left", || gateway.metric_sum("modgate_runtime_blocking_jobs") < 0.5);
    let decided = gateway.metric_sum("modgate_authz_cache_requests_total");
    assert!(decided > 2.5, "{decided}");
}

/// A request in which everything that a caller can choose is made up.
fn hostile(client: &Client, number: u32) -> String {
    let method = if number % 50 == 49 { "BREW" } else { "GET" };
    let authorization = client.basic(&format!("u{number}"), "no").authorization();
    format!(
        "{method} /hostile{number}.example/x/@v/v1.0.{number}.info HTTP/1.1\r\n\
         Host: h{number}.example\r\nUser-Agent: ua{number}\r\n{authorization}\r\n"
    )
}

#[test]
fn names_that_a_stranger_makes_up_make_no_series() {
    let (_tree, _upstream, gateway) = world("access = \"off\"");
    let series = || gateway.metric("modgate_telemetry_series");
    let before = series();
    let threads: Vec<_> = (0..4)
        .map(|part| {
            let gateway = gateway.stranger();
            std::thread::spawn(move || {
                for start in (part * 2500..(part + 1) * 2500).step_by(50) {
                    let asked: String = (start..start + 50).map(|n| hostile(&gateway, n)).collect();
                    let end = "GET /-/whoami HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
                    assert!(!gateway.raw(format!("{asked}{end}").as_bytes()).is_empty());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    until("ten thousand answers", || gateway.metric_sum("modgate_http_requests_total") >= 10_000.0);
    assert!((series() - before).abs() < 0.1, "{} series, then {}", before, series());
}

#[test]
fn a_broken_section_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("modgate.toml");
    std::fs::write(&file, "[telemetry]\ntrace_ratio = 0.5\notlp_protocol = \"carrier pigeon\"\n")
        .unwrap();
    let mut command = modgate();
    let output = command.current_dir(directory.path()).arg("serve").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("modgate.toml:3") && said.contains("otlp_protocol"), "{said}");
}

#[test]
fn the_catalogue_is_printed_and_has_what_the_page_has() {
    let (_tree, _upstream, gateway) = world("");
    let run = |flag: &[&str]| {
        let output = modgate().arg("metrics").args(flag).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let entries: Vec<Value> = serde_json::from_str(&run(&["--json"])).unwrap();
    for line in gateway.metrics().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let entry = entries.iter().find(|entry| entry["name"] == name);
        assert_eq!(entry.unwrap_or_else(|| panic!("{name}"))["type"], kind, "{name}");
    }
    assert!(run(&[]).contains("modgate_ready (gauge)"));
    assert!(run(&["--markdown"]).contains("| `modgate_ready` | gauge |"));
}
