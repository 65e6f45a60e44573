//! The journey, live: a real module graph through `serve --dev` to the upstreams of `go env GOPROXY`, and a table.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed demonstration")]
#![expect(clippy::panic, reason = "a failed step is a failed demonstration")]
#![expect(clippy::print_stdout, reason = "a demonstration prints its table")]

#[expect(dead_code, reason = "the harness of the promises; a demonstration needs a part of it")]
#[path = "../it"]
mod it {
    pub(crate) mod support;
}

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use it::support::gateway::Gateway;
use it::support::gateway::Setup;
use it::support::go::Go;
use serde_json::Value;

fn main() {
    println!("upstreams: GOPROXY={}", go_env("GOPROXY"));
    let inner = tempfile::tempdir().unwrap();
    let settings = format!(
        "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"file://{}\"\n",
        inner.path().display()
    );
    // as in a developer's shell: the gateway finds upstreams and database by itself
    let mut environment: Vec<_> = std::env::vars().collect();
    environment.push(("GOSUMDB".to_owned(), go_env("GOSUMDB")));
    let gateway = Setup::over("").with(&settings).start_in(&environment);
    let project = copy(Sums::Kept);
    println!("{:34} {:>9} {:>10} {:>10} {:>9}", "", "requests", "upstream", "MiB out", "seconds");
    step(&gateway, "first client, empty module cache", || {
        download(&gateway, project.path(), "off");
    });
    let again = step(&gateway, "second client, empty module cache", || {
        download(&gateway, project.path(), "off");
    });
    let database = go_env("GOSUMDB");
    if database != "off" {
        let bare = copy(Sums::LeftOut);
        step(&gateway, "without go.sum, checksum database", || {
            download(&gateway, bare.path(), &database);
            compare(bare.path());
        });
    }
    step(&gateway, "go get of a denied module", || denied(&gateway, project.path()));
    step(&gateway, "go get of a private module", || private(&gateway, project.path()));
    summary(&gateway);
    assert_eq!(again, 0, "the second client caused upstream requests");
}

/// Runs one step and prints its line; gives the upstream requests it caused.
fn step(gateway: &Gateway, name: &str, run: impl FnOnce()) -> usize {
    let (events, upstream) =
        (settled(gateway).len(), gateway.metric_sum("modgate_upstream_requests_total"));
    let begun = Instant::now();
    run();
    let seconds = begun.elapsed().as_secs_f64();
    let all = settled(gateway);
    let bytes: u64 =
        all.iter().skip(events).filter_map(|event| event["http"]["bytes_out"].as_u64()).sum();
    let asked = gateway.metric_sum("modgate_upstream_requests_total") - upstream;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("{name:34} {:>9} {asked:>10} {mib:>10.1} {seconds:>9.1}", all.len() - events);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let asked = asked as usize;
    asked
}

/// Every audit event, once all requests have ended.
fn settled(gateway: &Gateway) -> Vec<Value> {
    it::support::until("every request has its event", || {
        let answered = gateway.metric_sum("modgate_http_requests_total");
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let written = gateway.audit().len() as f64;
        (answered - written).abs() < 0.5 && gateway.metric("modgate_http_requests_in_flight") < 0.5
    });
    gateway.audit()
}

fn download(gateway: &Gateway, project: &Path, database: &str) {
    let go = Go::at(gateway).with("GOSUMDB", database).with("GOFLAGS", "-mod=mod -modcacherw");
    let said = go.run(project, &["mod", "download"]);
    assert!(said.ok, "{}", said.err);
}

fn denied(gateway: &Gateway, project: &Path) {
    let said = Go::at(gateway).run(project, &["get", "example.com/banned/lib@v1.0.0"]);
    assert!(!said.ok && said.err.contains("rule banned-example"), "{}", said.err);
    print_indented(&said.err);
}

fn private(gateway: &Gateway, project: &Path) {
    let said = Go::at(gateway).run(project, &["get", "corp.example/payments/ledger@v1.0.0"]);
    assert!(!said.ok && said.err.contains("403"), "{}", said.err);
    let left = settled(gateway).into_iter().filter(|event| {
        let module = event["resource"]["module"].as_str().unwrap_or_default();
        module.starts_with("corp.example") && !event["upstream"].is_null()
    });
    assert_eq!(left.count(), 0, "a private name was sent to an upstream");
    print_indented(&said.err);
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("    | {line}");
    }
}

/// The sums that go found through the database are those of the fixture.
fn compare(project: &Path) {
    let lines = |path: &Path| -> BTreeSet<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    };
    let (found, known) = (lines(&project.join("go.sum")), lines(&fixture().join("go.sum")));
    let strange: Vec<_> = found.difference(&known).collect();
    assert!(found.len() > 60 && strange.is_empty(), "{strange:?}");
}

fn summary(gateway: &Gateway) {
    let events = settled(gateway);
    let zips: Vec<&Value> = events.iter().filter(|event| event["event"] == "module.zip").collect();
    let modules: BTreeSet<_> = zips
        .iter()
        .map(|zip| (zip["resource"]["module"].as_str(), zip["resource"]["version"].as_str()))
        .collect();
    let times = |found: &str| {
        let mut times: Vec<f64> = events
            .iter()
            .filter(|event| event["cache"]["result"] == found)
            .filter_map(|event| event["http"]["ms"].as_f64())
            .collect();
        times.sort_by(f64::total_cmp);
        times
    };
    println!();
    println!("modules served            {:>9}", modules.len());
    println!("audit lines               {:>9}", events.len());
    println!("{:14} {:>9} {:>10} {:>10}", "", "answers", "p50 ms", "p99 ms");
    for found in ["hit", "miss", "coalesced", "negative_hit", "bypass"] {
        let times = times(found);
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        if !times.is_empty() {
            println!("{found:14} {:>9} {:>10.1} {:>10.1}", times.len(), at(50), at(99));
        }
    }
}

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/demo")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sums {
    Kept,
    LeftOut,
}

/// A copy of the main module, with or without its go.sum.
fn copy(sums: Sums) -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    for name in ["go.mod", "go.sum", "main.go"] {
        if sums == Sums::Kept || name != "go.sum" {
            std::fs::copy(fixture().join(name), project.path().join(name)).unwrap();
        }
    }
    project
}

fn go_env(name: &str) -> String {
    let said = Command::new("go").args(["env", name]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}
