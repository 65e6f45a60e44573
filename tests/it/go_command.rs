//! The journey with the real `go` command: sixty modules, two clients, one set of upstream requests.

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::go::Go;
use crate::support::tree::Tree;
use crate::support::upstream::Upstream;

/// Sixty modules in a graph: each needs the two after it, and capitals are among them.
fn graph() -> (Tree, Vec<String>) {
    let mut tree = Tree::new();
    let path = |n: usize| match n % 5 {
        0 => format!("example.com/Upper/Mod{n:02}"),
        1 => format!("example.com/deep/er/mod{n:02}"),
        _ => format!("example.com/mod{n:02}"),
    };
    let mut modules = Vec::new();
    for n in 0..MODULES {
        let needs: Vec<_> = [n + 1, n + 2]
            .iter()
            .filter(|m| **m < MODULES)
            .map(|m| format!("{} v1.0.0", path(*m)))
            .collect();
        tree.module(&path(n), "v1.0.0", &needs);
        modules.push(path(n));
    }
    (tree, modules)
}

/// A main module that needs all of them, with a complete go.sum.
fn project(tree: &Tree, modules: &[String]) -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    let requires: String = modules.iter().map(|path| format!("require {path} v1.0.0\n")).collect();
    let gomod = format!("module example.com/main\n\ngo 1.21\n\n{requires}");
    std::fs::write(project.path().join("go.mod"), gomod).unwrap();
    std::fs::write(project.path().join("go.sum"), tree.gosum()).unwrap();
    project
}

fn downloads(gateway: &Gateway, project: &tempfile::TempDir) -> Go {
    let go = Go::at(gateway);
    let said = go.run(project.path(), &["mod", "download"]);
    assert!(said.ok, "{}\n{}", said.err, gateway.output());
    go
}

#[test]
fn sixty_modules_arrive_and_a_second_client_costs_the_upstream_nothing() {
    let (tree, modules) = graph();
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let project = project(&tree, &modules);

    let first = downloads(&gateway, &project);
    for path in &modules {
        let escaped = crate::support::tree::escaped(path);
        assert!(first.cache().join(format!("{escaped}@v1.0.0")).is_dir(), "{path}");
    }
    let asked = upstream.asked().len();
    assert!(asked >= 3 * MODULES, "{asked}");

    downloads(&gateway, &project);
    assert_eq!(upstream.asked().len(), asked, "{:?}", upstream.asked().get(asked..));

    let zips = gateway.audited(2 * MODULES, "a zip", |event| event["event"] == "module.zip");
    assert_eq!(zips.len(), 2 * MODULES);
    assert!(zips.iter().all(|zip| zip["outcome"] == "allowed" && zip["http"]["complete"] == true));
    assert!(zips.iter().all(|zip| zip["actor"]["id"] == "user:token:dev"));
}

#[test]
fn a_directory_is_an_upstream_too() {
    let (tree, modules) = graph();
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).start();
    let project = project(&tree, &modules);
    downloads(&gateway, &project);
}

#[test]
fn go_prints_why_a_module_is_denied() {
    let mut tree = Tree::new();
    tree.module("example.com/banned/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let project = project(&tree, &[]);
    let said = Go::at(&gateway).run(project.path(), &["get", "example.com/banned/lib@v1.0.0"]);
    assert!(!said.ok);
    for part in ["403", "denied", "example.com/banned/lib", "rule", "revision", "trace"] {
        assert!(said.err.contains(part), "no {part} in:\n{}", said.err);
    }
    assert!(!upstream.asked().iter().any(|path| path.contains("banned")), "{:?}", upstream.asked());
}

#[test]
fn go_finds_the_newest_version_and_probes_are_no_denials() {
    let mut tree = Tree::new();
    tree.module("example.com/a/b/lib", "v1.0.0", &[]);
    tree.module("example.com/a/b/lib", "v1.2.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    let project = project(&tree, &[]);
    let go = Go::at(&gateway).with("GONOSUMDB", "*").with("GOFLAGS", "-mod=mod -modcacherw");
    let said = go.run(project.path(), &["get", "example.com/a/b/lib"]);
    assert!(said.ok, "{}", said.err);
    let gomod = std::fs::read_to_string(project.path().join("go.mod")).unwrap();
    assert!(gomod.contains("example.com/a/b/lib v1.2.0"), "{gomod}");
    let denied = gateway.audit().into_iter().filter(|event| event["outcome"] == "denied").count();
    assert_eq!(denied, 0);
}

#[test]
fn a_wrong_token_is_401_and_go_says_so() {
    let tree = Tree::new();
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).start();
    let project = project(&tree, &[]);
    let netrc = project.path().join("netrc");
    let line = format!("machine localhost:{} login x password mgt_wrong\n", gateway.address.port());
    std::fs::write(&netrc, line).unwrap();
    let go = Go::at(&gateway).with("NETRC", &netrc.display().to_string());
    let said = go.run(project.path(), &["list", "-m", "-versions", "example.com/lib"]);
    assert!(!said.ok && said.err.contains("401"), "{}", said.err);
    assert!(said.err.contains("credentials are not good"), "{}", said.err);
}

const MODULES: usize = 60;
