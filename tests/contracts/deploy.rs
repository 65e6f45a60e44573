//! What `deploy/` holds is checked as far as formats allow without a container engine.

use std::process::Command;

use crate::source::Tree;
use crate::source::has_extension;

/// Runs a tool in the root; its words are the error.
fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(name)
        .args(arguments)
        // modgate takes every variable of its own for a setting, and this is ours
        .env_remove("MODGATE_WRITE")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let output = output.map_err(|error| format!("{name}: {error}; tests/setup.sh installs it"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{name}: {said}{complaint}")) }
}

const COMPOSE: &str = "deploy/compose/compose.yml";
const COMPOSE_SETTINGS: &str = "deploy/compose/modgate.toml";

#[test]
fn the_tools_of_the_stack_take_their_files() {
    tool("promtool", &["check", "config", "deploy/prometheus/prometheus.yml"]).unwrap();
    tool("amtool", &["check-config", "deploy/compose/alertmanager.yml"]).unwrap();
    tool("docker-compose", &["-f", COMPOSE, "config", "-q"]).unwrap();
    tool("promtool", &["check", "config", COMPOSE]).unwrap_err();
}

#[test]
fn modgate_takes_every_settings_file_and_asks_nobody_for_it() {
    let tree = Tree::read();
    let files = tree.files().iter();
    let settings: Vec<_> =
        files.filter(|path| path.starts_with("deploy/") && has_extension(path, "toml")).collect();
    assert!(settings.len() >= 2, "{settings:?}");
    let modgate = env!("CARGO_BIN_EXE_modgate");
    for path in settings {
        tool(modgate, &["check-config", "--config", path]).unwrap();
    }
    let said = tool(modgate, &["check-config", "--config", COMPOSE_SETTINGS]).unwrap();
    for needed in ["nodes = [\"redis://redis:6379\"]", "url = \"http://athens:3000\""] {
        assert!(said.contains(needed), "{said}");
    }
    tool(modgate, &["check-config", "--config", "Cargo.toml"]).unwrap_err();
}

/// Whatever the settings of the stack name is one of its services.
#[test]
fn the_stack_has_every_neighbour_that_its_settings_name() {
    let tree = Tree::read();
    let (compose, settings) = (tree.text(COMPOSE), tree.text(COMPOSE_SETTINGS));
    let hosts: Vec<_> = settings
        .split("://")
        .skip(1)
        .filter_map(|rest| rest.split([':', '/', '"']).next())
        .collect();
    assert!(hosts.len() >= 3, "{hosts:?}");
    for host in hosts {
        assert!(compose.contains(&format!("\n  {host}:\n")), "no service {host}");
    }
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
