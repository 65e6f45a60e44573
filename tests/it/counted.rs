//! Numbers of the page of metrics that somebody on call looks at first: each is provoked, and seen to move.

use std::io::Write as _;

use crate::ldap::copy_policy;
use crate::support::faults::list::by_another_key;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::issuer::Issuer;
use crate::support::kernel::Doing;
use crate::support::kernel::Kernel;
use crate::support::redis::Redis;
use crate::support::slapd::People;
use crate::support::slapd::Slapd;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

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

/// How many observations of a histogram without labels lie above a bound: both from one page, for some tick on meanwhile.
pub(crate) fn late(gateway: &Gateway, name: &str, bound: &str) -> f64 {
    let page = gateway.metrics();
    let below = |bound: &str| -> f64 {
        let bucket = format!("{name}_bucket{{le=\"{bound}\"}}");
        let line = page.lines().find_map(|line| line.strip_prefix(&bucket));
        line.unwrap().trim().parse().unwrap()
    };
    below("+Inf") - below(bound)
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
fn what_a_redis_needs_lives_on_though_it_is_gone_and_when_it_is_back() {
    let mut redis = Redis::start();
    let (_tree, gateway) = world(&redis.settings());
    let services = [
        "audit_steps",
        "audit_witness",
        "cluster_bus",
        "cluster_news",
        "policy_news",
        "redis_link",
    ];
    let all_live = || {
        let up = |task| gateway.metric(&format!("modgate_background_task_up{{task=\"{task}\"}}"));
        assert!(services.iter().all(|task| up(task) > 0.5), "{}", gateway.metrics());
        assert!(gateway.metric_sum("modgate_background_task_ends_total") < 0.5);
    };
    reads(&gateway, &[("modgate_redis_up", 1.0)]);
    all_live();
    redis.stop();
    reads(&gateway, &[("modgate_redis_up", 0.0)]);
    assert_eq!(gateway.client().get(INFO).status, 200);
    all_live();
    redis.start_again();
    reads(&gateway, &[("modgate_redis_up", 1.0)]);
    all_live();
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

#[test]
fn a_directory_is_counted_by_operation_and_so_are_names_that_are_locked() {
    let mut slapd = Slapd::with(&People::new().person("alice"));
    let (_tree, gateway) = world(&slapd.settings(""));
    let server = format!("server=\"ldaps://localhost:{}\"", slapd.tls_port());
    let operations = |operation: &str, result: &str| {
        let labels = format!("{{{server},operation=\"{operation}\",result=\"{result}\"}}");
        gateway.metric(&format!("modgate_ldap_operations_total{labels}"))
    };
    let ask = |password: &str| gateway.stranger().basic("alice", password).get("/-/whoami").status;
    assert_eq!((ask("alice-pw"), ask("alice-pw")), (200, 200));
    for operation in ["connect", "bind", "search"] {
        assert!(operations(operation, "success") > 0.5, "{operation}");
        let seconds = format!(
            "modgate_ldap_operation_duration_seconds_count{{{server},operation=\"{operation}\"}}"
        );
        assert!(gateway.metric(&seconds) > 0.5, "{operation}");
    }
    let remembered = "modgate_auth_cache_requests_total{cache=\"ldap_bind\",result=";
    reads(
        &gateway,
        &[
            (&format!("modgate_ldap_up{{{server}}}"), 1.0),
            (&format!("modgate_ldap_connections{{{server},state=\"idle\"}}"), 1.0),
            (&format!("modgate_ldap_connections{{{server},state=\"busy\"}}"), 0.0),
            (&format!("{remembered}\"hit\"}}"), 1.0),
            (&format!("{remembered}\"miss\"}}"), 1.0),
            ("modgate_auth_locked{scope=\"user\"}", 0.0),
        ],
    );
    for guess in 0..3 {
        assert_eq!(ask(&format!("guess{guess}")), 401);
    }
    assert!((operations("bind", "invalid_credentials") - 3.0).abs() < 0.01);
    reads(&gateway, &[("modgate_auth_lockouts_total{scope=\"user\"}", 1.0)]);
    // a lock is short at first: each longer one is looked for until it is seen
    until("a name is locked now", || {
        ask(&format!("guess{}", gateway.metric_sum("modgate_http_requests_total")));
        gateway.metric("modgate_auth_locked{scope=\"user\"}") > 0.5
    });
    slapd.stop();
    assert_eq!(gateway.stranger().basic("bob", "bob-pw").get("/-/whoami").status, 503);
    assert!(operations("connect", "connect") > 0.5);
    reads(&gateway, &[(&format!("modgate_ldap_up{{{server}}}"), 0.0)]);
}

#[test]
fn an_issuers_keys_are_counted_and_dated() {
    let mut issuer = Issuer::start("ES256");
    let (_tree, gateway) = world(&issuer.settings("keys_cooldown = \"1s\"\n"));
    let token = issuer.token();
    let ask = |token: &str| gateway.stranger().bearer(token).get("/-/whoami").status;
    until("the token is good", || ask(&token) == 200);
    let before =
        gateway.metric("modgate_auth_cache_requests_total{cache=\"token\",result=\"hit\"}");
    assert_eq!(ask(&token), 200);
    let labels = "{issuer=\"corp\"";
    let hits = "modgate_auth_cache_requests_total{cache=\"token\",result=\"hit\"}";
    reads(&gateway, &[(hits, before + 1.0)]);
    assert!(gateway.metric(&format!("modgate_jwks_keys{labels}}}")) > 0.5);
    let since = gateway.metric(&format!("modgate_jwks_last_success_timestamp_seconds{labels}}}"));
    let started = gateway.metric("process_start_time_seconds");
    assert!((since - started).abs() < 60.0, "{since} {started}");
    assert!(
        gateway.metric("modgate_auth_cache_requests_total{cache=\"jwks\",result=\"hit\"}") > 0.5
    );
    let refreshes = |result: &str| {
        gateway.metric(&format!("modgate_jwks_refreshes_total{labels},result=\"{result}\"}}"))
    };
    assert!(refreshes("success") > 0.5 && refreshes("connect") < 0.5);
    reads(&gateway, &[("modgate_background_task_up{task=\"jwks_refresh\"}", 1.0)]);
    issuer.stop();
    let unknown = by_another_key(&token, 1);
    until("a look that failed", || {
        assert_eq!(ask(&unknown), 401);
        refreshes("connect") > 0.5
    });
    let missed =
        gateway.metric("modgate_auth_cache_requests_total{cache=\"jwks\",result=\"miss\"}");
    assert!(missed > 0.5);
}

#[test]
fn what_is_refused_so_that_others_are_served_says_why() {
    let shed = |reason: &str| format!("modgate_http_requests_shed_total{{reason=\"{reason}\"}}");
    for (rates, reason) in [("source_rate = 1", "rate_address"), ("caller_rate = 1", "rate_user")] {
        let (_tree, gateway) = world(&format!("[identity]\n{rates}\n"));
        assert!(gateway.metric_sum("modgate_http_requests_shed_total") < 0.5);
        let client = gateway.client();
        until("429", || client.get("/-/whoami").status == 429);
        assert!(gateway.metric(&shed(reason)) > 0.5, "{reason}");
    }
    let (kernel, mut tree) = (Kernel::new(), Tree::new());
    tree.module("corp.example/payments/ledger", "v1.0.0", &[]);
    let place = tree.path().display();
    let gateway = Setup::over(&format!("file://{place}"))
        .with(&format!(
            "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
             [[upstream.servers]]\nname = \"inner\"\nurl = \"file://{place}\"\n\n\
             [audit]\nprivate_mode = \"durable\""
        ))
        .start_in(&kernel.environment());
    let team = gateway.stranger().bearer(&gateway.issue("pay", &["payments", "developers"]));
    let ask = || team.get("/corp.example/payments/ledger/@v/v1.0.0.zip").status;
    // a busy disk may be too slow for some
    until("a private body comes", || ask() == 200);
    let long = || late(&gateway, "modgate_audit_append_duration_seconds", "0.05");
    let before = long();
    kernel.begin(Doing::HangSync);
    until("503", || ask() == 503);
    assert!(gateway.metric(&shed("audit")) > 0.5);
    assert!(long() > before + 0.5, "whoever was refused had waited for a fifth of a second");
    kernel.end(Doing::HangSync);
    // a head that never ends
    let mut slow = gateway.stranger().connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-").unwrap();
    slow.flush().unwrap();
    reads(&gateway, &[(&shed("header_timeout"), 1.0)]);
}

#[test]
fn connections_to_upstreams_look_ups_of_names_and_late_event_loops_are_measured() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let port = upstream.url().rsplit(':').next().unwrap().to_owned();
    let gateway = Setup::over(&format!("http://localhost:{port},http://nothing.invalid")).start();
    for path in [INFO, "/example.com/lib/@v/v1.0.0.mod"] {
        assert_eq!(gateway.client().get(path).status, 200);
    }
    let made = gateway.metric_sum("modgate_upstream_connect_duration_seconds_count");
    assert!((made - 1.0).abs() < 0.1, "one connection for two requests, not {made}");
    let looked = |result: &str| {
        let labels = format!("{{result=\"{result}\"}}");
        gateway.metric(&format!("modgate_upstream_dns_duration_seconds_count{labels}"))
    };
    assert!(looked("success") > 0.5 && looked("failure") < 0.5);
    gateway.client().get("/example.com/none/@v/list");
    assert!(looked("failure") > 0.5);
    let ticks = || gateway.metric("modgate_runtime_worker_lag_seconds_count");
    until("loops are watched", || ticks() > 5.0);
    let late = || late(&gateway, "modgate_runtime_worker_lag_seconds", "0.1");
    let before = late();
    // as a machine does that is held up by another one on the same host
    gateway.signal("STOP");
    std::thread::park_timeout(std::time::Duration::from_millis(500));
    gateway.signal("CONT");
    until("a loop was late", || late() > before + 0.5);
}

#[test]
fn each_check_of_content_is_counted_by_what_it_came_to() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).with("[cache]\nscrub_interval = \"1s\"").start();
    let checks = |kind: &str, result: &str| {
        let labels = format!("{{kind=\"{kind}\",result=\"{result}\"}}");
        format!("modgate_integrity_checks_total{labels}")
    };
    for kind in ["info", "mod", "zip"] {
        let path = format!("/example.com/lib/@v/v1.0.0.{kind}");
        assert_eq!(gateway.client().get(&path).status, 200, "{kind}");
        let kind = if kind == "mod" { "gomod" } else { kind };
        reads(&gateway, &[(&checks(kind, "ok"), 1.0), (&checks(kind, "failed"), 0.0)]);
    }
    let other = "/example.com/lib/@v/v1.0.1.info";
    upstream.instead(other, Some(Instead::Bytes(b"{\"Version\":\"v9.9.9\"}".to_vec())));
    assert_ne!(gateway.client().get(other).status, 200);
    assert!(gateway.metric(&checks("info", "failed")) > 0.5);
    until("the directory is read through", || gateway.metric(&checks("blob_scrub", "ok")) > 0.5);
}
