//! The command line as a person meets it: what it prints, and its exit codes.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::tree::Tree;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(directory: &std::path::Path, arguments: &[&str]) -> Ran {
    let output = modgate().current_dir(directory).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn every_problem_of_a_configuration_is_reported_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = "[server]\nlisten = \"nowhere\"\nlistn = \"x\"\n\n[cache]\nlist_ttl = \"soon\"\n\n[what]\nx = 1\n";
    std::fs::write(directory.path().join("modgate.toml"), file).unwrap();
    let ran = run(directory.path(), &["check-config"]);
    assert_eq!(ran.code, Some(2), "{}", ran.out);
    for part in [
        "modgate.toml:2",
        "modgate.toml:3",
        "modgate.toml:6",
        "modgate.toml:8",
        "server.listen",
        "listn",
        "cache.list_ttl",
    ] {
        assert!(ran.err.contains(part), "no {part} in:\n{}", ran.err);
    }
    let serve = run(directory.path(), &["serve"]);
    assert_eq!(serve.code, Some(2), "{}", serve.err);
}

#[test]
fn check_config_prints_values_and_where_they_come_from_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = "[cache]\nlist_ttl = \"90s\"\n\n[[upstream.servers]]\nname = \"corp\"\nurl = \"https://goproxy.example\"\nusername = \"u\"\npassword = \"hunter2\"\n";
    let path = directory.path().join("modgate.toml");
    std::fs::write(&path, file).unwrap();
    let refused = run(directory.path(), &["check-config"]);
    assert!(refused.code == Some(2) && refused.err.contains("chmod"), "{}", refused.err);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = modgate()
        .current_dir(directory.path())
        .env("MODGATE_CACHE_ABSENT_TTL", "7s")
        .args(["check-config", "--set", "server.workers=3"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in
        ["list_ttl", "modgate.toml:2", "MODGATE_CACHE_ABSENT_TTL", "workers", "default", "***"]
    {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn tokens_are_issued_once_listed_without_secrets_and_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let issued = run(at, &["token", "issue", "ci", "--group", "build", "--expires", "1h"]);
    assert_eq!(issued.code, Some(0), "{}", issued.err);
    let token = issued.out.trim();
    assert!(token.starts_with("mgt_") && token.len() == 53, "{token}");
    let list = run(at, &["token", "list"]);
    assert!(list.out.contains("ci") && list.out.contains("good") && list.out.contains("build"));
    assert!(!list.out.contains(token));
    assert_eq!(run(at, &["token", "issue", "ci"]).code, Some(1));
    assert_eq!(run(at, &["token", "issue", "long", "--expires", "500d"]).code, Some(1));
    assert_eq!(run(at, &["token", "revoke", "ci"]).code, Some(0));
    assert!(run(at, &["token", "list"]).out.contains("revoked"));
    let again = run(at, &["token", "revoke", "nobody"]);
    assert!(again.code == Some(1) && again.err.contains("nobody"), "{}", again.err);
}

#[test]
fn the_shipped_policy_keeps_its_own_expectations_and_a_broken_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let built_in = run(directory.path(), &["policy", "test"]);
    assert_eq!(built_in.code, Some(0), "{}{}", built_in.out, built_in.err);
    assert!(built_in.out.contains("\nok ") && !built_in.out.contains("not ok"), "{}", built_in.out);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let same = run(directory.path(), &["policy", "test", "--dir", shipped]);
    assert_eq!(same.code, Some(0), "{}{}", same.out, same.err);
    assert_eq!(same.out, built_in.out);
}

#[test]
fn wrong_arguments_are_two_and_help_is_zero() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(run(directory.path(), &["srve"]).code, Some(2));
    assert_eq!(run(directory.path(), &["serve", "--set", "nonsense"]).code, Some(2));
    let help = run(directory.path(), &["--help"]);
    assert!(help.code == Some(0) && help.out.contains("check-config"), "{}", help.out);
    assert!(run(directory.path(), &["--version"]).out.starts_with("modgate "));
}

#[test]
fn a_log_whose_checkpoints_nobody_else_keeps_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let said = |more: &[&str]| {
        let set: Vec<_> = more.iter().flat_map(|one| ["--set", *one]).collect();
        let ran = run(directory.path(), &[&["check-config"], set.as_slice()].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.err
    };
    let redis = "redis.nodes=rediss://redis.example:6379";
    let warned = said(&[]);
    for part in ["warning", "keeps the checkpoints", "cut off its end", "audit.announce = true"] {
        assert!(warned.contains(part), "no {part} in:\n{warned}");
    }
    assert!(said(&[redis, "audit.witness=false"]).contains("warning"));
    for kept in [&["audit.announce=true"][..], &[redis]] {
        assert_eq!(said(kept), "", "{kept:?}");
    }
}

#[test]
fn a_port_in_use_says_so_and_what_to_do() {
    let tree = Tree::new();
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).start();
    let directory = tempfile::tempdir().unwrap();
    let upstream = format!("file://{}", tree.path().display());
    let address = gateway.address.to_string();
    let ran =
        run(directory.path(), &["serve", "--dev", "--upstream", &upstream, "--listen", &address]);
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    assert!(ran.err.contains("in use") && ran.err.contains(&address), "{}", ran.err);
}

#[test]
fn dev_without_any_upstream_says_what_to_give() {
    let directory = tempfile::tempdir().unwrap();
    let output = modgate()
        .current_dir(directory.path())
        .env("PATH", "/nonexistent")
        .args(["serve", "--dev"])
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("--upstream"), "{err}");
    let output = modgate()
        .current_dir(directory.path())
        .env("GOPROXY", "direct")
        .args(["serve", "--dev"])
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("direct") && err.contains("ends the list"), "{err}");
}

#[test]
fn dev_takes_its_upstreams_from_goproxy_up_to_direct() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let list = format!("file://{},direct", tree.path().display());
    let gateway = Setup::over("").start_in(&[("GOPROXY".to_owned(), list)]);
    assert_eq!(gateway.client().get("/example.com/lib/@v/v1.0.0.zip").status, 200);
    assert!(gateway.output().contains("\"direct\" ends the list"), "{}", gateway.output());
}
