//! Numbers of the page of metrics that somebody on call looks at first: each is provoked, and seen to move.

use crate::ldap::copy_policy;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::slapd::People;
use crate::support::slapd::Slapd;
use crate::support::tree::Tree;
use crate::support::until;

const INFO: &str = "/example.com/lib/@v/v1.0.0.info";

fn world(settings: &str) -> (Tree, Gateway) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let chain = format!("file://{}", tree.path().display());
    let gateway = Setup::over(&chain).with(settings).start();
    (tree, gateway)
}

/// Waits until each series has its value.
fn reads(gateway: &Gateway, expected: &[(&str, f64)]) {
    for (series, value) in expected {
        until(&format!("{series} is {value}"), || (gateway.metric(series) - value).abs() < 0.01);
    }
}

#[test]
fn the_page_says_which_services_live_and_by_which_settings() {
    let (_tree, gateway) = world("");
    let services = [
        "access_log",
        "audit_keeper",
        "audit_writer",
        "blob_scrub",
        "certificates",
        "deny_watch",
        "metrics_upkeep",
        "policy_watch",
        "upstream_probe",
    ];
    let page = gateway.metrics();
    let up = page.lines().filter(|line| line.starts_with("modgate_background_task_up{"));
    let expected = services.map(|task| format!("modgate_background_task_up{{task=\"{task}\"}} 1"));
    let mut up: Vec<_> = up.collect();
    up.sort_unstable();
    assert_eq!(up, expected, "what is not needed has no series");
    assert!(gateway.metric_sum("modgate_background_task_ends_total") < 0.5);
    let info: Vec<_> =
        page.lines().filter(|line| line.starts_with("modgate_config_info{")).collect();
    let digest = info[0].strip_prefix("modgate_config_info{revision=\"").unwrap();
    let digest = digest.strip_suffix("\"} 1").unwrap();
    assert!(info.len() == 1 && digest.len() == 8, "{info:?}");
    assert!(digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    assert!(gateway.metric_sum("modgate_insecure_setting") < 0.5);
}

#[test]
fn a_policy_that_is_none_and_an_audit_that_cannot_be_kept_are_named() {
    let policy = tempfile::tempdir().unwrap();
    copy_policy(policy.path(), "nonsense\n");
    let settings = format!(
        "[policy]\ndir = \"{}\"\n[audit]\ncheckpoint_every = \"50ms\"\n",
        policy.path().display()
    );
    let (_tree, gateway) = world(&settings);
    let (policy, audit) =
        ("modgate_ready_check{check=\"policy\"}", "modgate_ready_check{check=\"audit\"}");
    reads(&gateway, &[("modgate_ready", 0.0), (policy, 0.0), (audit, 1.0)]);
    let checkpoints = |result: &str| {
        gateway.metric(&format!("modgate_audit_checkpoints_total{{result=\"{result}\"}}"))
    };
    until("a checkpoint", || checkpoints("signed") > 0.5);
    assert!(checkpoints("failed") < 0.5);
    // what is open is written on, but a note is a file of its own
    let (here, away) = (gateway.state().join("audit"), gateway.state().join("away"));
    std::fs::rename(&here, &away).unwrap();
    until("a checkpoint that nobody keeps", || {
        gateway.client().get(INFO);
        checkpoints("failed") > 0.5
    });
    std::fs::rename(&away, &here).unwrap();
}

#[test]
fn passwords_that_travel_in_clear_are_on_the_page() {
    let slapd = Slapd::with(&People::new().person("alice"));
    let server = format!("\"ldap://localhost:{}\"", slapd.plain_port());
    let (_tree, gateway) =
        world(&slapd.settings_for(&server, "insecure_plaintext = true").replace("ca_file", "#"));
    reads(
        &gateway,
        &[
            ("modgate_insecure_setting{setting=\"insecure_plaintext\"}", 1.0),
            ("modgate_insecure_setting{setting=\"insecure_anywhere\"}", 0.0),
        ],
    );
}
