//! The audit asked over the operations listener: by whom, with which bounds, and never without a record of the question.

use std::path::Path;
use std::time::Duration;

use modgate::audit::report::Question;
use modgate::clock::Clock as _;
use modgate::clock::SystemClock;
use modgate::clock::rfc3339_micros;
use serde_json::Value;

use crate::support::client::Answer;
use crate::support::disk::Disk;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const RULES: &str = "# owner: #go-help\n\
    p, read, any:authenticated, example.com, *, read, allow\n\
    p, inner, role:developers, inner.example, *, read, allow\n\
    # reason: auditors look, and take nothing away\n\
    p, look, group:token:auditors, @gateway, *, audit.read, allow\n\
    # reason: the collector takes everything away, and asks nothing\n\
    p, take, group:token:collectors, @gateway, *, audit.export, allow\n";
const ASK: &str = "/audit/query";

struct World {
    _tree: Tree,
    _upstream: Upstream,
    _policy: tempfile::TempDir,
    gateway: Gateway,
    auditor: String,
}

fn world(audit: &str) -> World {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    tree.module("inner.example/plans", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let policy = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = policy.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("model.conf", include_str!("../../policies/model.conf"));
    write("roles.csv", "g, group:token:developers, role:developers\n");
    write("gates.toml", "[office]\nrules = [\"inner\"]\ncidr = [\"127.0.0.0/8\"]\n");
    write("rules/a.csv", RULES);
    write("tests/none.toml", "");
    let settings = format!(
        "[[private]]\nprefix = \"inner.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\n\n\
         [policy]\ndir = \"{}\"\n\n[audit]\n{audit}",
        upstream.url(),
        policy.path().display()
    );
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    let auditor = gateway.issue("ada", &["auditors"]);
    World { _tree: tree, _upstream: upstream, _policy: policy, gateway, auditor }
}

impl World {
    fn ask(&self, query: &str) -> Answer {
        self.gateway.ops_as(&self.auditor, &format!("{ASK}?{query}"))
    }

    /// What `modgate audit query` says to the same.
    fn command(&self, arguments: &[&str]) -> Vec<Value> {
        lines(&self.run(&[&["audit", "query", "--json"], arguments].concat()))
    }

    /// What a command beside the gateway prints.
    fn run(&self, arguments: &[&str]) -> String {
        let directory = self.gateway.state();
        let mut command = modgate();
        command.current_dir(directory.parent().unwrap()).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Records of questions, in order.
    fn questions(&self) -> Vec<Value> {
        let records = self.gateway.records().into_iter();
        records.filter(|record| record["event"] == "audit.read").collect()
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_question_has_the_same_answer_as_on_the_command_line() {
    let world = world("");
    let client = world.gateway.client();
    for path in [
        "example.com/lib/@v/list",
        "example.com/lib/@v/v1.0.0.zip",
        "inner.example/plans/@v/v1.0.0.zip",
    ] {
        until("it comes", || client.get(&format!("/{path}")).status == 200);
    }
    assert_eq!(client.get("/example.org/secret/@v/list").status, 403);
    world.gateway.stranger().bearer("mgt_wrong").get("/example.com/lib/@v/list");
    world.gateway.audited(1, "the last of them", |event| event["event"] == "auth.failure");
    // what is asked about ends before the first question, which is itself an event
    let now = rfc3339_micros(SystemClock.now());
    let before = rfc3339_micros(SystemClock.now() - Duration::from_hours(24));
    let range = format!("from={before}&to={now}");
    let records = world.ask(&format!("{range}&limit=10000"));
    assert_eq!(records.status, 200, "{}", records.text());
    assert_eq!(records.header("content-type"), "application/x-ndjson");
    assert_eq!(records.header("cache-control"), "no-store");
    let records = lines(&records.text());
    assert!(records.len() >= 6);
    assert_eq!(records, world.command(&["--from", &before, "--to", &now]));
    let list = "user:token:dev";
    std::fs::write(world.gateway.state().join("../list.txt"), list).unwrap();
    let mut answered = Vec::new();
    for question in Question::ALL {
        let word = question.text();
        let answer = world.ask(&format!("question={word}&list={list}&{range}"));
        assert_eq!(answer.status, 200, "{word}: {}", answer.text());
        let said = lines(&answer.text());
        let arguments = [word, "--list", "list.txt", "--from", &before, "--to", &now];
        assert_eq!(said, world.command(&arguments), "{word}");
        answered.extend((!said.is_empty()).then_some(word));
    }
    // one network, no hours that are sure to be odd, and nothing was used long ago
    let empty = ["off-hours", "networks", "idle"];
    answered.retain(|word| !empty.contains(word));
    let words = Question::ALL.iter().map(|question| question.text());
    assert_eq!(answered, words.filter(|word| !empty.contains(word)).collect::<Vec<_>>());
    let zips = world.ask(&format!("{range}&event=module.zip&actor=user:token:dev&outcome=allowed"));
    assert_eq!(lines(&zips.text()).len(), 3, "one of a public module, two of a private one");
    let unused = lines(&world.ask(&format!("question=unused&{range}")).text());
    assert_eq!(unused, world.command(&["unused", "--from", &before, "--to", &now]));
    let never = unused.iter().filter(|row| row["count"] == "0").map(|row| row["rule"].clone());
    assert_eq!(never.collect::<Vec<_>>(), ["look", "take"], "the policy in force knows it");
    let stats = lines(&world.ask(&format!("question=stats&{range}")).text());
    let arguments = ["audit", "stats", "--json", "--from", &before, "--to", &now];
    assert_eq!(stats, lines(&world.run(&arguments)));
    assert!(stats.iter().any(|row| row["event"] == "module.zip" && row["records"] == "3"));
}

#[test]
fn an_export_is_for_whoever_may_take_away_and_is_recorded_as_one() {
    let world = world("");
    assert_eq!(world.gateway.client().get("/example.com/lib/@v/v1.0.0.zip").status, 200);
    world.gateway.audited(1, "the zip", |event| event["event"] == "module.zip");
    // what is taken ends before whatever this test does next
    let now = rfc3339_micros(SystemClock.now());
    let collector = world.gateway.issue("carl", &["collectors"]);
    let take = |query: &str| world.gateway.ops_as(&collector, &format!("/audit/export?{query}"));
    let before = rfc3339_micros(SystemClock.now() - Duration::from_hours(24));
    for (format, media_type) in [
        ("jsonl", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8; header=present"),
        ("ecs", "application/x-ndjson"),
        ("ocsf", "application/x-ndjson"),
    ] {
        let taken = take(&format!("format={format}&from={before}&to={now}"));
        assert_eq!((taken.status, taken.header("content-type").as_str()), (200, media_type));
        let arguments = ["audit", "export", "--format", format, "--from", &before, "--to", &now];
        assert_eq!(taken.text(), world.run(&arguments), "{format}");
        assert!(taken.text().contains("module.zip"));
    }
    let part = take("from=1d&event=module.zip&limit=1&format=csv");
    assert_eq!((part.text().lines().count(), part.header("modgate-more").as_str()), (2, ""));
    // to look and to take away are two rights
    assert_eq!(world.gateway.ops_as(&collector, "/audit/query?from=1d").status, 403);
    let refused = world.gateway.ops_as(&world.auditor, "/audit/export?from=1d");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("audit.export on @gateway"), "{}", refused.text());
    let records = world.gateway.records();
    let of = |phase: &str, actor: &str| {
        let is_it = |record: &&Value| {
            record["event"] == "audit.export"
                && record["phase"] == phase
                && record["actor"]["id"] == actor
        };
        records.iter().filter(is_it).collect::<Vec<_>>()
    };
    assert_eq!(
        (of("decided", "user:token:carl").len(), of("refused", "user:token:ada").len()),
        (5, 1)
    );
    assert_eq!(of("decided", "user:token:carl")[1]["detail"]["question"], "csv");
}

#[test]
fn whoever_may_not_ask_is_refused_with_the_reason_and_is_in_the_audit() {
    let world = world("");
    let stranger = world.gateway.ops_page(&format!("{ASK}?from=1d"));
    assert_eq!(stranger.0, 401);
    let dev = world.gateway.token();
    for query in ["from=1d", "", "nonsense"] {
        let refused = world.gateway.ops_as(&dev, &format!("{ASK}?{query}"));
        // who may not ask does not learn how
        assert_eq!(refused.status, 403);
        let text = refused.text();
        assert!(
            text.contains("audit.read on @gateway") && text.contains("no rule allows"),
            "{text}"
        );
    }
    let denied = world.questions();
    assert_eq!(denied.len(), 3);
    for record in &denied {
        let told = ["outcome", "code", "phase"].map(|name| record[name].as_str().unwrap());
        assert_eq!(told, ["denied", "MG507W", "refused"]);
        assert_eq!(record["actor"]["id"], "user:token:dev");
        assert_eq!(record["decision"]["effect"], "deny");
    }
    world.gateway.audited(1, "the stranger", |event| {
        event["event"] == "auth.challenge" && event["resource"]["path"] == ASK
    });
    // no path of the module listener leads there
    assert_eq!(world.gateway.stranger().bearer(&world.auditor).get("/-/audit").status, 404);
    assert_eq!(
        world.gateway.stranger().bearer(&world.auditor).get("/audit/query?from=1d").status,
        404
    );
}

#[test]
fn a_question_is_recorded_with_its_filters_and_its_count_before_it_is_answered() {
    let world = world("");
    for _ in 0..5 {
        world.gateway.client().get("/example.com/lib/@v/list");
    }
    world.gateway.audited(5, "lists", |event| event["event"] == "module.list");
    let answer = world.ask("from=1d&event=module.list&limit=3");
    assert_eq!((lines(&answer.text()).len(), answer.header("modgate-more").as_str()), (3, "yes"));
    let all = world.ask("from=1d&event=module.list&limit=5");
    assert_eq!((lines(&all.text()).len(), all.header("modgate-more").as_str()), (5, ""));
    let bytes = answer.body.len();
    let records = world.questions();
    let (decided, done) = (&records[0], &records[1]);
    assert_eq!(
        (decided["phase"].as_str(), done["phase"].as_str()),
        (Some("decided"), Some("done"))
    );
    assert_eq!(decided["id"], done["id"]);
    for record in [decided, done] {
        let detail = &record["detail"];
        assert_eq!(
            ["question", "event", "limit", "answered", "more"].map(|name| detail[name].as_str()),
            ["records", "module.list", "3", "3", "yes"].map(Some)
        );
        assert_eq!(record["actor"]["id"], "user:token:ada");
        assert_eq!(record["decision"]["rule"], "look");
        assert_eq!(record["code"], "MG507I");
    }
    assert_eq!(done["http"]["bytes_out"].as_u64(), Some(u64::try_from(bytes).unwrap()));
    assert_eq!(done["http"]["complete"], true);
    for (query, says) in [
        ("", "since when"),
        ("from=1d&colour=red", "there is no parameter colour"),
        ("from=yesterday", "from cannot be read"),
        ("from=1d&limit=99999", "limit is a number from 1 to 10000"),
    ] {
        let refused = world.ask(query);
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains(says), "{query}: {}", refused.text());
    }
    let rejected: Vec<_> =
        world.questions().into_iter().filter(|record| record["outcome"] == "rejected").collect();
    assert_eq!(rejected.len(), 4);
    assert!(rejected[0]["detail"]["why"].as_str().unwrap().contains("since when"));
    let series =
        "modgate_http_requests_total{endpoint=\"admin\",code=\"400\",outcome=\"complete\"}";
    assert!((world.gateway.metric(series) - 4.0).abs() < 0.1);
}

/// The page is not given while nothing can be recorded.
#[test]
fn while_the_audit_cannot_be_written_nobody_reads_it_here() {
    let disk = Disk::mount("size=6m");
    let audit = format!("dir = \"{}\"\nreserve = \"1 MiB\"\n", disk.path().display());
    let world = world(&audit);
    assert_eq!(world.ask("from=1d").status, 200);
    let filler = disk.fill();
    let mut refused = None;
    until("questions are refused", || {
        let answer = world.ask("from=1d");
        refused = (answer.status != 200).then_some(answer);
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("its disk is full"), "{}", refused.text());
    std::fs::remove_file(filler).unwrap();
    until("questions are answered again", || world.ask("from=1d").status == 200);
    let records = records_of(disk.path());
    let decided = |record: &&Value| record["event"] == "audit.read" && record["phase"] == "decided";
    assert!(records.iter().filter(decided).count() >= 2);
}

fn records_of(directory: &Path) -> Vec<Value> {
    crate::support::gateway::records_in(directory)
}
