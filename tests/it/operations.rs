//! What an operator does with a cache: fill it beforehand, carry it elsewhere, look into it, take something out.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::go::Go;
use crate::support::tree::Tree;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const MODULES: usize = 12;

/// A project with an import of every module, and its modules.
fn world() -> (Tree, tempfile::TempDir) {
    let mut tree = Tree::new();
    let path = |n: usize| format!("example.com/Deep/lib{n:02}");
    let (mut requires, mut imports) = (String::new(), String::new());
    for n in 0..MODULES {
        let needs: Vec<_> =
            (n + 1..MODULES.min(n + 2)).map(|m| format!("{} v1.0.0", path(m))).collect();
        tree.module(&path(n), "v1.0.0", &needs);
        let _written = writeln!(requires, "require {} v1.0.0", path(n));
        let _written = writeln!(imports, "\t_ \"{}\"", path(n));
    }
    let project = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(project.path().join(name), text).unwrap();
    write("go.mod", format!("module example.com/main\n\ngo 1.21\n\n{requires}"));
    write("go.sum", tree.gosum());
    write("main.go", format!("package main\n\nimport (\n{imports})\n\nfunc main() {{}}\n"));
    (tree, project)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

fn warm(gateway: &Gateway, file: &Path) -> Output {
    modgate()
        .args(["cache", "warm", &gateway.url()])
        .arg(file)
        .env("SSL_CERT_FILE", gateway.ca())
        .env("NETRC", gateway.netrc())
        .env("HOME", gateway.state())
        .output()
        .unwrap()
}

/// A command beside a gateway, on its cache.
fn beside(gateway: &Gateway, arguments: &[&str]) -> Output {
    let home = gateway.state();
    let home = home.parent().unwrap();
    modgate().current_dir(home).arg("cache").args(arguments).output().unwrap()
}

#[test]
fn after_a_warm_up_go_builds_although_every_upstream_is_gone() {
    let (tree, project) = world();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let first = warm(&gateway, &project.path().join("go.sum"));
    assert!(first.status.success(), "{}", text(&first));
    assert!(text(&first).contains(&format!("fetched  {:6}", MODULES * 3)), "{}", text(&first));
    let again = warm(&gateway, &project.path().join("go.mod"));
    assert!(text(&again).contains(&format!("held     {:6}", MODULES * 3)), "{}", text(&again));
    // every upstream answers nothing but 500 from now on, and the memory of the gateway is empty
    let asked = upstream.asked();
    for path in &asked {
        upstream.instead(path, Some(Instead::Status(500, "gone")));
    }
    let gateway = gateway.kill_and_restart(&upstream.url());
    let go = Go::at(&gateway);
    let built = go.run(project.path(), &["build", "./..."]);
    assert!(built.ok, "{}", built.err);
    assert_eq!(upstream.asked().len(), asked.len(), "no upstream was asked again");
}

#[test]
fn a_warm_up_tells_what_is_not_to_be_had_and_can_be_run_again() {
    let (tree, project) = world();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    upstream.instead("/example.com/%21deep/lib03/@v/v1.0.0.zip", Some(Instead::Status(500, "no")));
    upstream.instead("/example.com/%21deep/lib04/@v/v1.0.0.zip", Some(Instead::Status(404, "no")));
    let first = warm(&gateway, &project.path().join("go.sum"));
    let told = text(&first);
    assert_eq!(first.status.code(), Some(1), "{told}");
    for line in [
        "failed   /example.com/!deep/lib03/@v/v1.0.0.zip: status 502",
        "absent   /example.com/!deep/lib04/@v/v1.0.0.zip: no upstream has it",
        "2 of 36 are not held; run it again",
    ] {
        assert!(told.contains(line), "no {line} in\n{told}");
    }
    upstream.instead("/example.com/%21deep/lib03/@v/v1.0.0.zip", None);
    let again = text(&warm(&gateway, &project.path().join("go.sum")));
    assert!(again.contains("fetched       1") && again.contains("held         34"), "{again}");
}

#[test]
fn a_module_cache_is_carried_into_a_gateway_that_is_offline() {
    let (tree, project) = world();
    let upstream = Upstream::serve(tree.path());
    let online = Setup::over(&upstream.url()).start();
    let go = Go::at(&online);
    assert!(go.run(project.path(), &["mod", "download"]).ok);
    let asked = upstream.asked().len();
    // elsewhere there is no upstream at all
    let offline = Setup::over(&upstream.url()).with("[cache]\noffline = true\n").start();
    let refused = offline.client().get("/example.com/!deep/lib00/@v/v1.0.0.zip");
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("cache import"), "{}", refused.text());
    // a zip that was tampered with on the way
    let tampered = go.cache().join("cache/download/example.com/!deep/lib05/@v/v1.0.0.zip");
    let honest = std::fs::read(&tampered).unwrap();
    let mut bytes = honest.clone();
    let at = bytes.windows(7).position(|seven| seven == b"package").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&tampered, &bytes).unwrap();
    let directory = go.cache().display().to_string();
    let imported = beside(&offline, &["import", &directory]);
    let told = text(&imported);
    assert_eq!(imported.status.code(), Some(1), "{told}");
    assert!(told.contains("refused  example.com/!deep/lib05/@v/v1.0.0.zip"), "{told}");
    std::fs::write(&tampered, honest).unwrap();
    let imported = beside(&offline, &["import", &directory]);
    assert!(imported.status.success(), "{}", text(&imported));
    let built = Go::at(&offline).run(project.path(), &["build", "./..."]);
    assert!(built.ok, "{}", built.err);
    assert_eq!(upstream.asked().len(), asked);
    // and out again: a directory that go itself can use
    let out = tempfile::tempdir().unwrap();
    let place = out.path().display().to_string();
    let exported = beside(&offline, &["export", &place]);
    assert!(exported.status.success(), "{}", text(&exported));
    let alone = Go::at(&offline).with("GOPROXY", &format!("file://{place}"));
    let built = alone.run(project.path(), &["build", "./..."]);
    assert!(built.ok, "{}", built.err);
    let list = out.path().join("example.com/!deep/lib00/@v/list");
    assert_eq!(std::fs::read_to_string(list).unwrap(), "v1.0.0\n");
}

#[test]
fn verify_finds_and_removes_what_changed_on_the_disk_and_stat_counts() {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 300_000);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    for artifact in ["info", "mod", "zip"] {
        assert_eq!(
            gateway.client().get(&format!("/example.com/lib/@v/v1.0.0.{artifact}")).status,
            200
        );
    }
    let stat = text(&beside(&gateway, &["stat"]));
    let line = stat.lines().find(|line| line.starts_with("blob")).unwrap();
    assert_eq!(line.split_whitespace().nth(1), Some("3"), "{stat}");
    let good = beside(&gateway, &["verify"]);
    assert!(good.status.success() && text(&good).contains("everything is what was stored"));
    let entry = gateway.state().join("cache/entries/example.com/lib/@v/v1.0.0.mod");
    let mut bytes = std::fs::read(&entry).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&entry, bytes).unwrap();
    let bad = beside(&gateway, &["verify"]);
    let told = text(&bad);
    assert_eq!(bad.status.code(), Some(1), "{told}");
    assert!(told.contains("removed    blob example.com/lib/@v/v1.0.0.mod"), "{told}");
    assert!(beside(&gateway, &["verify"]).status.success());
    let gateway = gateway.kill_and_restart(&upstream.url());
    assert_eq!(gateway.client().get("/example.com/lib/@v/v1.0.0.mod").status, 200);
    assert_eq!(upstream.count(".mod"), 2);
}

#[test]
fn a_purge_takes_one_version_or_a_whole_module() {
    let mut tree = Tree::new();
    for version in ["v1.0.0", "v1.0.1"] {
        tree.module_of_size("example.com/lib", version, &[], 300_000);
    }
    tree.module("example.com/library", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let paths = [
        "/example.com/lib/@v/v1.0.0.zip",
        "/example.com/lib/@v/v1.0.1.zip",
        "/example.com/lib/@v/list",
        "/example.com/library/@v/v1.0.0.zip",
    ];
    for path in paths {
        assert_eq!(gateway.client().get(path).status, 200);
    }
    let purged = text(&beside(&gateway, &["purge", "example.com/lib@v1.0.0"]));
    assert!(purged.starts_with("1 entries"), "{purged}");
    let purged = text(&beside(&gateway, &["purge", "example.com/lib"]));
    assert!(purged.starts_with("2 entries"), "{purged}");
    let gateway = gateway.kill_and_restart(&upstream.url());
    for path in paths {
        assert_eq!(gateway.client().get(path).status, 200);
    }
    assert_eq!(upstream.asked().len(), 7, "all but the other module were fetched again");
    let wrong = beside(&gateway, &["purge", "not a module"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
}
