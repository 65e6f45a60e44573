//! What `deploy/` holds is checked as far as formats allow without a container engine.

use std::process::Command;

use crate::source::Tree;
use crate::source::has_extension;

/// Runs a tool in the root; its words are the error.
fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(name).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.map_err(|error| format!("{name}: {error}; tests/setup.sh installs it"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{name}: {said}{complaint}")) }
}

const COMPOSE: &str = "deploy/compose/compose.yml";

#[test]
fn the_tools_of_the_stack_take_their_files() {
    tool("promtool", &["check", "config", "deploy/prometheus/prometheus.yml"]).unwrap();
    tool("amtool", &["check-config", "deploy/compose/alertmanager.yml"]).unwrap();
    tool("docker-compose", &["-f", COMPOSE, "config", "-q"]).unwrap();
    tool("promtool", &["check", "config", COMPOSE]).unwrap_err();
}

#[test]
fn every_other_file_is_yaml() {
    let tree = Tree::read();
    let yaml: Vec<_> = tree
        .files()
        .iter()
        .filter(|path| path.starts_with("deploy/") && has_extension(path, "yml"))
        .collect();
    assert!(yaml.len() >= 6, "{yaml:?}");
    for path in yaml {
        let script = "import sys, yaml; yaml.safe_load(open(sys.argv[1]))";
        tool("/usr/bin/python3", &["-c", script, path]).unwrap();
    }
}

#[test]
fn what_is_mounted_exists_and_nobody_is_root() {
    let tree = Tree::read();
    let compose = tree.text(COMPOSE);
    let mounts: Vec<_> = compose
        .split(['"', ' ', '\n'])
        .filter_map(|word| word.strip_suffix(":ro")?.split_once(':'))
        .collect();
    assert!(mounts.len() >= 7, "{mounts:?}");
    for (from, _) in mounts {
        assert!(tree.root().join("deploy/compose").join(from).exists(), "{from}");
    }
    let image = tree.text("deploy/Dockerfile");
    let last = image.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("\nUSER 65532:65532\n"), "the image runs as root");
    assert!(!last.contains("build-essential"));
}
