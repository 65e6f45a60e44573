//! What a collector gets as log records: copies of the audit's checkpoints, and of the application's lines if it shall.

use std::net::TcpListener;

use crate::support::chaos::nobody;
use crate::support::collector::Collector;
use crate::support::collector::Record;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::port;
use crate::support::tree::Tree;
use crate::support::until;
use crate::telemetry::Hop;

const INFO: &str = "/example.com/lib/@v/v1.0.0.info";
const CHECKPOINT: &str = "modgate::audit::checkpoint";

fn sending(endpoint: &str, telemetry: &str) -> (Tree, Gateway) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let gateway = Setup::over(&format!("file://{}", tree.path().display()))
        .with(&format!(
            "[telemetry]\notlp_endpoint = \"{endpoint}\"\n{telemetry}\n\
             [audit]\ncheckpoint_every = \"100ms\""
        ))
        .start();
    (tree, gateway)
}

fn notes(collector: &Collector) -> Vec<String> {
    let records = collector.records().into_iter().filter(|record| record.target == CHECKPOINT);
    records.map(|record| record.attribute("note").to_owned()).collect()
}

fn stop(gateway: &mut Gateway) {
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0), "{}", gateway.output());
}

#[test]
fn a_collector_keeps_each_checkpoint_down_to_the_last_though_the_log_says_nothing() {
    let collector = Collector::listen();
    let telemetry = "otlp_logs = \"checkpoints\"\nlog_filter = \"off\"\nnode = \"gw\"";
    let (_tree, mut gateway) = sending(&collector.url(), telemetry);
    assert_eq!(gateway.client().get(INFO).status, 200);
    until("a checkpoint came", || !notes(&collector).is_empty());
    stop(&mut gateway);
    let segments = modgate::audit::segment::list(&gateway.state().join("audit")).unwrap();
    let kept = std::fs::read_to_string(segments[0].checkpoints()).unwrap();
    let came = notes(&collector);
    assert_eq!(came.concat(), kept, "the same, in the same order");
    // the log is verified against nothing but what the collector has
    let copies = gateway.state().join("copies.txt");
    std::fs::write(&copies, came.join("\n")).unwrap();
    std::fs::remove_file(segments[0].checkpoints()).unwrap();
    let words = ["audit", "verify", "--checkpoints", copies.to_str().unwrap()];
    let verified = gateway.command(&words);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(0), "{said}");
    assert!(!gateway.output().contains(CHECKPOINT), "it was not asked to announce them");
    let records = collector.records();
    assert!(records.iter().all(|record| record.target == CHECKPOINT), "{records:?}");
    let named = ("service.instance.id".to_owned(), "gw".to_owned());
    assert!(records.iter().all(|record| record.resource.contains(&named)), "{records:?}");
}

#[test]
fn the_applications_lines_go_too_if_they_shall_and_nobody_elses() {
    let collector = Collector::listen();
    let telemetry = "otlp_logs = \"application\"\nlog_filter = \"debug\"\ntrace_ratio = 1.0";
    let (_tree, mut gateway) = sending(&collector.url(), telemetry);
    assert_eq!(gateway.client().get(INFO).status, 200);
    let exported = "modgate_telemetry_items_total{signal=\"logs\",result=\"exported\"}";
    until("they are counted", || gateway.metric(exported) > 0.5);
    assert!(gateway.metric("modgate_telemetry_queue_capacity{signal=\"logs\"}") > 1.0);
    stop(&mut gateway);
    let records = collector.records();
    let stopping = |record: &&Record| record.message.starts_with("stopping");
    let stopping = records.iter().find(stopping).unwrap_or_else(|| panic!("{records:?}"));
    assert_eq!((stopping.target.as_str(), stopping.level.as_str()), ("modgate::lifecycle", "INFO"));
    assert_eq!(stopping.attribute("drain"), "30s");
    assert!(records.iter().all(|record| record.target.starts_with("modgate")), "{records:?}");
    let spans = records.iter().filter(|record| record.target == "modgate::trace");
    assert_eq!(spans.count(), 0, "spans have a way of their own");
    assert!(!notes(&collector).is_empty());
    // what the way itself has to say is on standard output, and would be news without end on that way
    assert!(gateway.output().contains("\"target\":\"hyper"), "{}", gateway.output());
}

#[test]
fn a_real_collector_takes_checkpoints_over_grpc() {
    let (sink, port) = (Collector::listen(), port());
    let _hop = Hop::to(&sink, port);
    let telemetry = "otlp_protocol = \"grpc\"\notlp_logs = \"checkpoints\"";
    let (_tree, mut gateway) = sending(&format!("http://127.0.0.1:{port}"), telemetry);
    assert_eq!(gateway.client().get(INFO).status, 200);
    until("a checkpoint came through", || {
        notes(&sink)
            .iter()
            .any(|note| note.starts_with("modgate/") && note.contains("\n\n\u{2014} "))
    });
    stop(&mut gateway);
    // the one over the end is signed when nothing else runs any more
    let segments = modgate::audit::segment::list(&gateway.state().join("audit")).unwrap();
    let kept = std::fs::read_to_string(segments[0].checkpoints()).unwrap();
    until("the last checkpoint came through", || {
        notes(&sink).last().is_some_and(|last| kept.ends_with(last.as_str()))
    });
}

#[test]
fn a_collector_that_is_away_or_hangs_takes_no_checkpoint_and_holds_nobody_up() {
    let away = nobody();
    // accepted by the kernel, never by us: an export hangs until its time is over
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = hanging.local_addr().unwrap();
    for collector in [away, hangs] {
        let telemetry = "otlp_logs = \"application\"\nlog_filter = \"trace\"";
        let (_tree, mut gateway) = sending(&format!("http://{collector}"), telemetry);
        let client = gateway.client();
        (0..20).for_each(|_| assert_eq!(client.get(INFO).status, 200));
        let slow = "modgate_http_request_duration_seconds_bucket{endpoint=\"info\",code_class=\"2xx\",cache=\"hit\",le=\"2.5\"}";
        assert!(
            (gateway.metric(slow) - 19.0).abs() < 0.1,
            "an export hangs for five seconds, and nobody with it"
        );
        until("records that failed", || {
            let failed = "modgate_telemetry_items_total{signal=\"logs\",result=\"failed\"}";
            gateway.metric(failed) > 0.0
        });
        stop(&mut gateway);
    }
    drop(hanging);
}
