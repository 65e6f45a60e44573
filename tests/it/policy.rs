//! The policy through the front door: the real `go` under narrow rights, and changes while requests are answered.

use std::path::Path;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::go::Go;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const MODEL: &str = include_str!("../../policies/model.conf");
const READ: &str = "# owner: #go-help\np, read, any:authenticated, example.com, *, read, allow\n";
const LIST: &str = "/example.com/lib/@v/list";

/// A file whole or not at all: a gateway may look at any moment. It is made outside the folders that are read.
fn write(directory: &Path, name: &str, text: &str) {
    let (path, aside) = (directory.join(name), directory.join("aside"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&aside, text).unwrap();
    std::fs::rename(aside, path).unwrap();
}

/// A policy in a directory of its own, with some rules.
fn policy(rules: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "policy/model.conf", MODEL);
    write(directory.path(), "policy/roles.csv", "g, group:token:developers, role:dev\n");
    write(directory.path(), "policy/rules/a.csv", rules);
    write(directory.path(), "policy/tests/none.toml", "");
    directory
}

fn settings(directory: &tempfile::TempDir, more: &str) -> String {
    format!(
        "[policy]\ndir = \"{}\"\ncontact = \"#mod-access\"\n{more}",
        directory.path().join("policy").display()
    )
}

/// `example.com/lib` with three versions, of which the newest takes the one before it back.
fn versions() -> Tree {
    let mut tree = Tree::new();
    for version in ["v1.0.0", "v1.1.0", "v1.2.0"] {
        tree.module("example.com/lib", version, &[]);
    }
    tree
}

fn project() -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    write(project.path(), "go.mod", "module example.com/main\n\ngo 1.21\n");
    project
}

fn go(gateway: &Gateway) -> Go {
    Go::at(gateway).with("GONOSUMDB", "*").with("GOFLAGS", "-mod=mod -modcacherw")
}

fn run(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let directory = gateway.state().parent().unwrap().to_owned();
    let output = modgate().current_dir(directory).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn go_gets_what_narrow_rights_cover_and_its_probes_are_no_denials() {
    let mut tree = Tree::new();
    tree.module("example.com/team/deep/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let rules = policy("# owner: a\np, narrow, role:dev, example.com/team/deep, *, read, allow\n");
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    let project = project();
    let said = go(&gateway).run(project.path(), &["get", "example.com/team/deep/lib"]);
    assert!(said.ok, "{}", said.err);
    let probes = gateway.audited(1, "a probe", |event| event["outcome"] == "ancestor");
    assert!(probes.iter().all(|probe| probe["decision"]["rule"] == "narrow"), "{probes:?}");
    assert!(gateway.audit().iter().all(|event| event["outcome"] != "denied"));
    assert!(
        upstream.asked().iter().all(|path| path.contains("/team/deep/")),
        "{:?}",
        upstream.asked()
    );
}

#[test]
fn go_prints_rule_reason_and_whom_to_ask() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let rules = policy(&format!(
        "{READ}# reason: its licence is not ours\np, no-lib, any:authenticated, example.com/lib, *, *, deny\n"
    ));
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    let project = project();
    let said = go(&gateway).run(project.path(), &["get", "example.com/lib@v1.0.0"]);
    assert!(!said.ok);
    for part in ["rule no-lib (deny)", "why: its licence is not ours", "ask #go-help", "trace "] {
        assert!(said.err.contains(part), "no {part} in:\n{}", said.err);
    }
    assert!(upstream.asked().iter().all(|path| !path.contains("/lib/")), "{:?}", upstream.asked());
}

#[test]
fn a_denied_version_is_not_chosen_by_go_get_u_nor_what_it_takes_back() {
    let tree = versions();
    let retracting = "module example.com/lib\n\ngo 1.21\n\nretract v1.1.0 // wrong\n";
    tree.put("example.com/lib", "@v/v1.2.0.mod", retracting.as_bytes());
    tree.put(
        "example.com/lib",
        "@latest",
        &std::fs::read(tree.file("example.com/lib", "@v/v1.2.0.info")).unwrap(),
    );
    let upstream = Upstream::serve(tree.path());
    let wall = "p, late, any:authenticated, example.com/lib, >=v1.2.0, *, deny\n";
    let rules = policy(&format!("{READ}{wall}"));
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    let client = gateway.client();
    assert_eq!(client.get(LIST).text(), "v1.0.0\n");
    let latest = client.get("/example.com/lib/@latest");
    assert_eq!(
        (latest.status, latest.text().contains("\"v1.0.0\"")),
        (200, true),
        "{}",
        latest.text()
    );
    assert_eq!(client.get("/example.com/lib/@v/v1.2.0.mod").status, 403);
    let project = project();
    write(
        project.path(),
        "main.go",
        "package main\n\nimport _ \"example.com/lib\"\n\nfunc main() {}\n",
    );
    let go = go(&gateway);
    let said = go.run(project.path(), &["get", "-u", "./..."]);
    assert!(said.ok, "{}", said.err);
    let gomod = std::fs::read_to_string(project.path().join("go.mod")).unwrap();
    assert!(gomod.contains("example.com/lib v1.0.0"), "{gomod}");
    // without the denial the newest is chosen: the test can fail
    write(rules.path(), "policy/rules/a.csv", READ);
    until("all versions are shown again", || client.get(LIST).text().contains("v1.2.0"));
}

#[test]
fn latest_of_which_nothing_is_left_is_the_refusal_and_never_404() {
    let tree = versions();
    tree.put(
        "example.com/lib",
        "@latest",
        &std::fs::read(tree.file("example.com/lib", "@v/v1.2.0.info")).unwrap(),
    );
    let upstream = Upstream::serve(tree.path());
    let rules =
        policy(&format!("{READ}p, all, any:authenticated, example.com/lib, >=v1.0.0, *, deny\n"));
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    let latest = gateway.client().get("/example.com/lib/@latest");
    assert!(latest.status == 403 && latest.text().contains("rule all (deny)"), "{}", latest.text());
    let list = gateway.client().get(LIST);
    assert_eq!((list.status, list.text().as_str()), (200, ""));
}

#[test]
fn a_changed_file_is_in_force_by_itself_and_a_broken_one_is_not() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let rules = policy(READ);
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    let client = gateway.client();
    assert_eq!(client.get(LIST).status, 200);
    write(
        rules.path(),
        "policy/rules/b.csv",
        "p, no, any:authenticated, example.com/lib, *, *, deny\n",
    );
    until("the new rule is in force", || client.get(LIST).status == 403);
    write(
        rules.path(),
        "policy/rules/b.csv",
        "p, no, any:authenticated, example.com/lib, *, *, Deny\n",
    );
    until("the broken file is told", || {
        gateway.ops_page("/readyz").1.contains("rules/b.csv:1:50: Deny is no effect")
    });
    assert_eq!(gateway.ops_page("/readyz").0, 200);
    assert_eq!(client.get(LIST).status, 403);
    assert!(gateway.metric("modgate_policy_last_reload_success ") < 0.5);
    let rejected = gateway.audited(1, "the refusal", |event| event["event"] == "policy.reject");
    assert_eq!(rejected[0]["detail"]["step"], "parse");
    std::fs::remove_file(rules.path().join("policy/rules/b.csv")).unwrap();
    until("the file is gone", || client.get(LIST).status == 200);
    let activated = gateway.audited(2, "activations", |event| event["event"] == "policy.activate");
    assert_eq!(activated[0]["detail"]["changes"], "rule no added");
    assert_eq!(activated[1]["detail"]["changes"], "rule no removed");
    assert!(gateway.metric("modgate_policy_last_reload_success ") > 0.5);
}

#[test]
fn a_mounted_volume_that_is_exchanged_as_a_whole_is_followed() {
    use std::os::unix::fs::symlink;
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let volume = tempfile::tempdir().unwrap();
    // as the kubelet does it: a dated folder, a link to it that is exchanged by renaming, and links through that
    let generation = |name: &str, rules: &str| {
        write(volume.path(), &format!("{name}/model.conf"), MODEL);
        write(volume.path(), &format!("{name}/roles.csv"), "g, group:token:developers, role:dev\n");
        write(volume.path(), &format!("{name}/rules/a.csv"), rules);
        write(volume.path(), &format!("{name}/tests/none.toml"), "");
        symlink(name, volume.path().join("..next")).unwrap();
        std::fs::rename(volume.path().join("..next"), volume.path().join("..data")).unwrap();
    };
    generation("..1", READ);
    for name in ["model.conf", "roles.csv", "rules", "tests"] {
        symlink(format!("..data/{name}"), volume.path().join(name)).unwrap();
    }
    let dir = format!("[policy]\ndir = \"{}\"\n", volume.path().display());
    let gateway = Setup::over(&upstream.url()).with(&dir).start();
    assert_eq!(gateway.client().get(LIST).status, 200);
    generation("..2", &format!("{READ}p, no, any:authenticated, example.com/lib, *, *, deny\n"));
    until("the new volume is in force", || gateway.client().get(LIST).status == 403);
}

#[test]
fn sighup_and_an_operators_call_look_at_once_and_say_what_they_found() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let rules = policy(READ);
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    let (status, text) = gateway.ops_call("POST", "/policy/reload");
    assert!(status == 200 && text.starts_with("in force: "), "{text}");
    write(rules.path(), "policy/rules/b.csv", "p, no\n");
    let (status, text) = gateway.ops_call("POST", "/policy/reload");
    assert!(status == 422 && text.contains("rules/b.csv:1:1: a rule has 7 columns"), "{text}");
    assert_eq!(gateway.ops_page("/policy/reload").0, 404);
    gateway.signal("HUP");
    until("SIGHUP was counted", || {
        gateway.metric_sum("modgate_policy_reloads_total{source=\"signal\"") >= 1.0
    });
    assert_eq!(gateway.client().get(LIST).status, 200);
}

#[test]
fn an_emergency_deny_is_in_force_within_a_moment_with_its_reason_and_its_end() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    assert_eq!(client.get(LIST).text().lines().count(), 3);
    let (code, text) = run(
        &gateway,
        &["deny", "example.com/lib@<v1.2.0", "--reason", "malware, SEC-7", "--until", "7d"],
    );
    assert!(code == Some(0) && text.starts_with("deny-"), "{text}");
    let id = text.split(':').next().unwrap().to_owned();
    until("the deny is in force", || client.get("/example.com/lib/@v/v1.1.0.zip").status == 403);
    let answer = client.get("/example.com/lib/@v/v1.1.0.zip").text();
    assert!(
        answer.contains(&format!("rule {id} (deny)")) && answer.contains("why: malware, SEC-7"),
        "{answer}"
    );
    assert_eq!(client.get(LIST).text(), "v1.2.0\n");
    let activated =
        gateway.audited(1, "the activation", |event| event["event"] == "policy.activate");
    assert_eq!(activated[0]["detail"]["changes"], format!("rule {id} added"));
    assert_eq!(activated[0]["detail"]["emergency_denies"], "1");
    let denied = activated[0]["detail"]["denied"].as_str().unwrap();
    assert!(denied.starts_with(&format!("{id} example.com/lib@<v1.2.0 until 20")), "{denied}");
    assert!(denied.ends_with("Z: malware, SEC-7"), "{denied}");
    let (_, text) = run(&gateway, &["deny", "--list"]);
    assert!(text.contains(&format!("{id} holds    example.com/lib@<v1.2.0")), "{text}");
    for (arguments, why) in [
        (&["deny", "example.com//x", "--reason", "x"][..], "empty element"),
        (&["deny", "example.com/x@v1", "--reason", "x"], "versions are"),
        (&["deny", "example.com/x"], "--reason"),
        (&["deny", "example.com/x", "--reason", "x", "--until", "yesterday"], "write a duration"),
        (&["deny", "example.com/x", "--reason", "x", "--until", "2020-01-01"], "over already"),
        (&["deny", "--lift", "deny-9"], "there is no emergency deny deny-9"),
    ] {
        let (code, text) = run(&gateway, arguments);
        assert!(code != Some(0) && text.contains(why), "{arguments:?}: {text}");
    }
    let (_, text) = run(&gateway, &["deny", "--list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["versions"]),
        (&id.as_str().into(), &"<v1.2.0".into())
    );
    let later = ["deny", "example.com/y", "--reason", "x", "--until", "2099-01-01"];
    let (code, text) = run(&gateway, &later);
    assert!(code == Some(0) && text.contains("until 2099-01-01T00:00:00Z"), "{text}");
    assert_eq!(run(&gateway, &["deny", "--lift", &id]).0, Some(0));
    until("it is lifted", || client.get("/example.com/lib/@v/v1.1.0.zip").status == 200);
}

#[test]
fn what_a_policy_said_when_it_decided_can_be_explained_when_it_is_gone() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let rules = policy(READ);
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    let client = gateway.client();
    assert_eq!(client.get(LIST).status, 200);
    let explain = |more: &[&str]| {
        let who = ["policy", "explain", "--as", "user:token:dev", "--action", "download"];
        let what = ["--module", "example.com/lib", "--version", "v1.0.0"];
        run(&gateway, &[&who[..], &what, more].concat())
    };
    assert_eq!(explain(&[]).0, Some(0));
    let (_, text) = run(&gateway, &["deny", "example.com/lib", "--reason", "malware, SEC-7"]);
    let id = text.split(':').next().unwrap().to_owned();
    // the denies that hold are part of the policy
    let (code, text) = explain(&[]);
    assert!(code == Some(1) && text.contains(&id), "{text}");
    until("the deny is in force", || client.get(LIST).status == 403);
    let denied = gateway.audited(1, "the denial", |event| event["decision"]["rule"] == *id);
    let revision = denied[0]["decision"]["policy"].as_str().unwrap();
    assert_eq!(run(&gateway, &["deny", "--lift", &id]).0, Some(0));
    until("it is lifted", || client.get(LIST).status == 200);
    write(rules.path(), "policy/rules/a.csv", &READ.replace("p, read", "p, other"));
    assert_eq!(explain(&[]).0, Some(0));
    let kept = |revision: &str| gateway.state().join(format!("audit/policies/{revision}.json"));
    until("it is kept", || kept(revision).exists());
    let (code, text) = explain(&["--kept", revision]);
    assert!(code == Some(1) && text.contains(&id) && text.contains(revision), "{text}");
    let allowed = gateway.audited(1, "what was allowed", |event| event["outcome"] == "allowed");
    let before = allowed[0]["decision"]["policy"].as_str().unwrap();
    assert_eq!(explain(&["--kept", before, "--at", "2026-10-01T12:00:00Z"]).0, Some(0));
    let text = std::fs::read_to_string(kept(revision)).unwrap();
    std::fs::write(kept(revision), text.replace("example.com/lib", "example.com/bib")).unwrap();
    for (kept, why) in [
        (revision, "it was changed, or another version of modgate kept it"),
        ("0123456789ab", "the kept ones lie in"),
        ("../audit", "a revision is hex digits"),
    ] {
        let (code, text) = explain(&["--kept", kept]);
        assert!(code == Some(2) && text.contains(why), "{kept}: {text}");
    }
}

#[test]
fn what_is_denied_while_it_is_fetched_is_not_answered() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let client = gateway.client();
    upstream.hold();
    let waiting = std::thread::spawn(move || client.get("/example.com/lib/@v/v1.1.0.zip"));
    until("the upstream is asked", || upstream.count("v1.1.0.zip") == 1);
    let (code, text) = run(&gateway, &["deny", "example.com/lib", "--reason", "malware, SEC-7"]);
    assert_eq!(code, Some(0), "{text}");
    gateway.audited(1, "the deny in force", |event| event["event"] == "policy.activate");
    upstream.release();
    let answer = waiting.join().unwrap();
    assert!(answer.status == 403 && answer.text().contains("SEC-7"), "{}", answer.text());
    gateway.audited(1, "the refusal", |event| event["outcome"] == "denied");
}

#[test]
fn what_is_denied_while_others_are_looked_for_is_not_shown_either() {
    let tree = versions();
    let newest = std::fs::read(tree.file("example.com/lib", "@v/v1.2.0.info")).unwrap();
    tree.put("example.com/lib", "@latest", &newest);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let latest = "/example.com/lib/@latest";
    assert!(gateway.client().get(latest).text().contains("v1.2.0"));
    let deny = |version: &str| {
        let what = format!("example.com/lib@{version}");
        let (code, text) = run(&gateway, &["deny", &what, "--reason", "malware"]);
        assert_eq!(code, Some(0), "{text}");
        let changes = format!("rule {} added", text.split(':').next().unwrap());
        gateway.audited(1, "the deny in force", |event| event["detail"]["changes"] == *changes);
    };
    deny("v1.2.0");
    // the newest is in a tier; the others are asked for, to find the newest of those that are left
    upstream.hold();
    let client = gateway.client();
    let waiting = std::thread::spawn(move || client.get(latest));
    until("the others are asked for", || upstream.count("@v/list") == 1);
    deny("v1.1.0");
    upstream.release();
    let answer = waiting.join().unwrap();
    assert!(answer.status == 200 && answer.text().contains("v1.0.0"), "{}", answer.text());
}

#[test]
fn a_candidate_is_observed_then_promoted_as_it_was_observed() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let rules = policy(READ);
    for name in ["model.conf", "roles.csv", "tests/none.toml"] {
        let text = std::fs::read_to_string(rules.path().join("policy").join(name)).unwrap();
        write(rules.path(), &format!("candidate/{name}"), &text);
    }
    let wall = "p, wall, any:authenticated, example.com/lib, <v1.1.0, *, deny\n";
    write(rules.path(), "candidate/rules/a.csv", &format!("{READ}{wall}"));
    let candidate = format!("candidate = \"{}\"\n", rules.path().join("candidate").display());
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, &candidate)).start();
    let client = gateway.client();
    for version in ["v1.0.0", "v1.1.0"] {
        assert_eq!(client.get(&format!("/example.com/lib/@v/{version}.info")).status, 200);
    }
    let shadowed =
        gateway.audited(1, "a difference", |event| event["decision"]["shadow"].is_object());
    assert_eq!(shadowed.len(), 1);
    let shadow = &shadowed[0]["decision"]["shadow"];
    assert_eq!((&shadow["effect"], &shadow["rule"]), (&"deny".into(), &"wall".into()));
    let series = "modgate_policy_shadow_diffs_total{from=\"allow\",to=\"deny\"}";
    assert!((gateway.metric(series) - 1.0).abs() < f64::EPSILON);
    let digest = shadow["policy"].as_str().unwrap().to_owned();
    let (code, text) = run(&gateway, &["policy", "promote", "--digest", "000000000000"]);
    assert!(code == Some(2) && text.contains(&digest), "{text}");
    assert_eq!(client.get("/example.com/lib/@v/v1.0.0.info").status, 200);
    let (code, text) = run(&gateway, &["policy", "promote", "--digest", &digest]);
    assert!(code == Some(0) && text.contains("promoted"), "{text}");
    // the folder was exchanged as a whole, which no notice of the file system tells: the look by time finds it
    until("the candidate is in force", || {
        client.get("/example.com/lib/@v/v1.0.0.info").status == 403
    });
    let denied = gateway.audited(1, "a denial", |event| event["event"] == "authz.deny");
    assert_eq!(denied[0]["decision"]["policy"], digest.as_str());
    until("the promotion is recorded", || {
        gateway.records().iter().any(|record| {
            let asked = record["detail"]["asked"].as_str().unwrap_or_default();
            record["event"] == "policy.promote" && asked.starts_with(&digest)
        })
    });
}

#[test]
fn a_start_without_a_valid_policy_is_not_ready_and_answers_503_until_there_is_one() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let rules = policy("p, read\n");
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    let client = gateway.client();
    let (status, text) = gateway.ops_page("/readyz");
    assert!(status == 503 && text.contains("no valid policy"), "{text}");
    for path in [LIST, "/-/whoami", "/"] {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.header("retry-after").as_str()), (503, "5"), "{path}");
    }
    assert_eq!(upstream.asked(), Vec::<String>::new());
    assert!(
        gateway.output().contains("rules/a.csv:1:1: a rule has 7 columns"),
        "{}",
        gateway.output()
    );
    write(rules.path(), "policy/rules/a.csv", READ);
    until("it is ready", || gateway.ops_page("/readyz").0 == 200);
    assert_eq!(client.get(LIST).status, 200);
}

#[test]
fn the_past_is_decided_again_and_two_policies_are_compared() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let rules = policy(READ);
    let gateway = Setup::over(&upstream.url()).with(&settings(&rules, "")).start();
    for version in ["v1.0.0", "v1.0.0", "v1.1.0"] {
        assert_eq!(gateway.client().get(&format!("/example.com/lib/@v/{version}.zip")).status, 200);
    }
    gateway.audited(3, "zips", |event| event["event"] == "module.zip");
    let candidate =
        policy(&format!("{READ}p, wall, any:authenticated, example.com/lib, <v1.1.0, *, deny\n"));
    let (old, new) = (rules.path().join("policy"), candidate.path().join("policy"));
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let segments = std::fs::read_dir(gateway.state().join("audit")).unwrap();
    let files: Vec<_> = segments.map(|entry| entry.unwrap().path().display().to_string()).collect();
    let mut arguments = vec!["policy", "replay", "--candidate", new];
    for file in files.iter().filter(|file| file.contains(".jsonl")) {
        arguments.extend(["--audit", file]);
    }
    let (code, text) = run(&gateway, &arguments);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("- user:token:dev zip example.com/lib@v1.0.0: allow -> deny (2 requests)"),
        "{text}"
    );
    assert!(text.contains("2 of 3 past decisions would differ"), "{text}");
    let (code, text) = run(&gateway, &["policy", "diff", old, new]);
    assert!(code == Some(1) && text.contains("rule wall added"), "{text}");
    assert!(
        text.contains(
            "- any:authenticated download example.com/lib@v1.0.0: allow -> deny (rule wall)"
        ),
        "{text}"
    );
    assert!(!text.contains("@v1.1.0: allow"), "{text}");
    assert_eq!(run(&gateway, &["policy", "diff", old, old]).0, Some(0));
    assert_eq!(run(&gateway, &["policy", "diff", old, "/nowhere"]).0, Some(2));
}

#[test]
fn explanations_tell_denied_from_broken_by_their_exit_codes() {
    let rules = policy(&format!(
        "{READ}p, wall, any:authenticated, example.com/lib, <v1.1.0, *, deny\np, team, role:dev, example.org/Team, *, read, allow\n"
    ));
    let at = rules.path().join("policy");
    let explain = |more: &[&str]| {
        let output = modgate()
            .current_dir(rules.path())
            .args([
                "policy",
                "explain",
                "--dir",
                at.to_str().unwrap(),
                "--as",
                "user:ldap/corp:alice",
            ])
            .args(more)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, text) = explain(&["--module", "example.com/lib", "--version", "v1.2.0"]);
    assert!(code == Some(0) && text.contains("download: allowed by rule read"), "{text}");
    assert!(text.contains("no: the version is another: <v1.1.0"), "{text}");
    let (code, text) = explain(&["--module", "example.com/lib", "--version", "v1.0.0"]);
    assert!(code == Some(1) && text.contains("download: denied by rule wall"), "{text}");
    let (code, text) =
        explain(&["--module", "example.org/team", "--group", "group:token:developers"]);
    assert!(code == Some(1) && text.contains("no: letter case differs"), "{text}");
    assert!(
        text.contains("role:dev") && text.contains("roles.csv:1, through group:token:developers"),
        "{text}"
    );
    let (code, text) = explain(&["--module", "example.org/Team"]);
    assert!(code == Some(1) && text.contains("no: it is about role:dev"), "{text}");
    assert_eq!(explain(&["--module", "Bad"]).0, Some(2));
    assert_eq!(explain(&["--module", "example.com/lib", "--action", "eat"]).0, Some(2));
    let (code, text) = explain(&["--module", "example.com/lib", "--action", "download", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["answers"][0]["rule"]), (Some(0), &"read".into()), "{text}");
    write(rules.path(), "policy/rules/b.csv", "p, x\n");
    assert_eq!(explain(&["--module", "example.com/lib"]).0, Some(2));
}

#[test]
fn only_who_may_read_the_policy_asks_why_about_others() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let other =
        "/-/why?module=corp.example/payments/x&as=user:token:pay&group=group:token:payments";
    assert_eq!(gateway.client().get(other).status, 403);
    let operator = gateway.stranger().bearer(&gateway.issue("ops", &["operators"]));
    let answer = operator.get(other);
    let text = answer.text();
    assert!(answer.status == 200 && text.contains("payments-read "), "{text}");
    assert!(text.contains("roles.csv:5, through group:token:payments"), "{text}");
    // about oneself everybody may ask, and sees rows about oneself alone
    let why = gateway.client().get("/-/why?module=corp.example/payments/x").text();
    assert!(why.contains("public-read ") && !why.contains("payments-read"), "{why}");
}

#[test]
fn with_explicit_admission_what_is_new_needs_somebody_who_admits_it() {
    let tree = versions();
    let upstream = Upstream::serve(tree.path());
    let rules =
        policy(&format!("{READ}p, first, group:token:release, example.com, *, admit, allow\n"));
    let gateway =
        Setup::over(&upstream.url()).with(&settings(&rules, "admit = \"explicit\"\n")).start();
    let (client, zip) = (gateway.client(), "/example.com/lib/@v/v1.0.0.zip");
    let answer = client.get(zip);
    assert!(
        answer.status == 403 && answer.text().contains("nobody who may admit it"),
        "{}",
        answer.text()
    );
    assert_eq!(upstream.asked(), Vec::<String>::new());
    let denied = gateway.audited(1, "a denial", |event| event["event"] == "authz.deny");
    assert_eq!(denied[0]["decision"]["reason"], "not_admitted");
    let releaser = gateway.stranger().bearer(&gateway.issue("ci", &["release"]));
    assert_eq!(releaser.get(zip).status, 200);
    assert_eq!(client.get(zip).status, 200);
}
