//! Who may name whom: modules only what stands below them, and outside crates only behind their door.

use std::collections::BTreeSet;

use crate::source::Finding;
use crate::source::Source;
use crate::source::Tree;
use crate::source::path_heads;

/// All findings about layers and doors.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut found: Vec<Finding> = tree.sources().iter().flat_map(of).collect();
    found.extend(unknown_modules(tree.files()));
    found
}

fn of(source: &Source) -> Vec<Finding> {
    let mut found = edges(source);
    found.extend(hidden_edges(source));
    found.extend(doors(source));
    found
}

/// Names of our own modules that do not stand below the file that names them. Tests inside `src/` count too.
fn edges(source: &Source) -> Vec<Finding> {
    let Some(from) = module_of(source.path()).filter(|module| *module != "lib") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (at, head, to) in path_heads(source.code()) {
        // `modgate::` is how main.rs names the library
        if !["crate", "modgate"].contains(&head) || to == from {
            continue;
        }
        if to.is_empty() {
            found.push(source.at(
                at,
                "hidden edge",
                "one path a line: no braces or star after crate::",
            ));
        } else if !may_name(from, to) {
            found.push(source.at(at, "layers", format!("{from} names {to}")));
        }
    }
    found
}

fn may_name(from: &str, to: &str) -> bool {
    let declared = EDGES.contains(&(from, to));
    declared || matches!((layer(from), layer(to)), (Some(from), Some(to)) if to < from)
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

/// In a file of the top level, `super::` is another way to say `crate::`.
fn hidden_edges(source: &Source) -> Vec<Finding> {
    let top = source.path().strip_prefix("src/").is_some_and(|rest| !rest.contains('/'));
    if !top {
        return Vec::new();
    }
    let heads = path_heads(source.shipped()).into_iter().filter(|(_, head, _)| *head == "super");
    heads.map(|(at, _, _)| source.at(at, "hidden edge", "write crate:: at the top level")).collect()
}

/// Files of `src/` whose module has no layer, and modules with a layer that are gone.
fn unknown_modules(files: &[String]) -> Vec<Finding> {
    let there: BTreeSet<_> = files.iter().filter_map(|path| module_of(path)).collect();
    let table: BTreeSet<_> =
        LAYERS.iter().flat_map(|(_, modules)| modules.iter().copied()).collect();
    let unknown = there.difference(&table).filter(|module| **module != "lib").map(|module| {
        Finding::new(&format!("src/{module}.rs"), 1, "layers", "stands on no layer of the table")
    });
    let gone = table.difference(&there).map(|module| {
        Finding::new(
            "tests/contracts/layers.rs",
            1,
            "layers",
            format!("{module} has a layer and no file"),
        )
    });
    unknown.chain(gone).collect()
}

/// `src/cache/key.rs` belongs to `cache`.
fn module_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    let first = below.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// Outside crates that are named elsewhere than behind their door.
fn doors(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, head, _) in path_heads(source.shipped()) {
        let Some((_, reach)) = DOORS.iter().find(|(name, _)| *name == head) else { continue };
        if !reach.covers(source.path()) && !is_shadowed(source, head) {
            found.push(source.at(at, "one door", format!("{head} is not used here: {reach:?}")));
        }
    }
    found
}

/// Whether the word means something else in this file: a module of its own, or `use tokio::time;`.
fn is_shadowed(source: &Source, name: &str) -> bool {
    let code = source.code();
    code.contains(&format!("mod {name};")) || code.contains(&format!("::{name};"))
}

/// The crates that have a door; [`super::manifest`] compares them with `Cargo.toml`.
pub(crate) fn crates_with_a_door() -> impl Iterator<Item = &'static str> {
    DOORS.iter().map(|(name, _)| *name)
}

/// Where a crate may be named.
#[derive(Debug)]
enum Reach {
    /// In these files, and in files below these directories.
    In(&'static [&'static str]),
    /// On this layer and above.
    From(u8),
    /// It is a word everybody speaks.
    Anywhere,
}

impl Reach {
    fn covers(&self, path: &str) -> bool {
        match self {
            Self::In(places) => places.iter().any(|place| {
                let rest = path.strip_prefix(place);
                rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
            }),
            Self::From(lowest) => {
                module_of(path).and_then(layer).is_some_and(|layer| layer >= *lowest)
            }
            Self::Anywhere => true,
        }
    }
}

/// The table of `src/lib.rs`. A module names modules of lower layers only, and itself.
const LAYERS: [(u8, &[&str]); 10] = [
    (10, &["main", "cli"]),
    (9, &["app", "lifecycle"]),
    (8, &["server"]),
    (6, &["gateway"]),
    (5, &["identity", "policy", "sumdb", "upstream", "cache", "audit", "cluster"]),
    (4, &["egress", "link", "tasks", "breaker"]),
    (3, &["telemetry"]),
    (2, &["config"]),
    (1, &["goproxy", "tlog"]),
    (0, &["clock", "fault", "content", "head", "kept"]),
];

/// What one module may name on its own layer.
const EDGES: [(&str, &str); 5] = [
    // the service that keeps a connection ends with the tasks
    ("link", "tasks"),
    // the binary is nothing but its command line
    ("main", "cli"),
    // the end of a process is told in terms of what was assembled
    ("lifecycle", "app"),
    // a decision takes a Caller
    ("policy", "identity"),
    // a tier takes and gives Verified content
    ("cache", "sumdb"),
];

/// Each dependency of `Cargo.toml` and where the product may name it.
const DOORS: &[(&str, Reach)] = &[
    ("actix_web", Reach::In(&["src/server"])),
    ("actix_http", Reach::In(&["src/server"])),
    ("actix_server", Reach::In(&["src/server"])),
    ("actix_service", Reach::In(&["src/server"])),
    // the client's failures hold the TLS library's own errors, which are told apart there
    // the listener, and the directory's client, which takes a finished configuration
    (
        "rustls",
        Reach::In(&[
            "src/server/tls.rs",
            "src/egress/classify.rs",
            "src/identity/ldap.rs",
            "src/identity/ldap",
        ]),
    ),
    ("tokio_rustls", Reach::In(&["src/server"])),
    ("rcgen", Reach::In(&["src/server/devca.rs", "src/cli/store.rs"])),
    ("rustix", Reach::In(&["src/server/body.rs", "src/audit/sink.rs", "src/audit/index.rs"])),
    ("reqwest", Reach::In(&["src/egress"])),
    ("ipnet", Reach::In(&["src/egress", "src/config", "src/policy"])),
    ("tokio_util", Reach::In(&["src/tasks.rs"])),
    // formats, settings and telemetry know of no runtime
    ("tokio", Reach::From(4)),
    ("futures_util", Reach::From(4)),
    ("tower_layer", Reach::In(&["src/egress"])),
    ("tower_service", Reach::In(&["src/egress"])),
    ("tracing", Reach::From(3)),
    ("tracing_subscriber", Reach::In(&["src/telemetry"])),
    ("tracing_opentelemetry", Reach::In(&["src/telemetry"])),
    ("opentelemetry", Reach::In(&["src/telemetry"])),
    ("opentelemetry_sdk", Reach::In(&["src/telemetry"])),
    ("opentelemetry_otlp", Reach::In(&["src/telemetry"])),
    ("opentelemetry_appender_tracing", Reach::In(&["src/telemetry"])),
    ("metrics", Reach::In(&["src/telemetry"])),
    ("metrics_exporter_prometheus", Reach::In(&["src/telemetry"])),
    ("metrics_process", Reach::In(&["src/telemetry"])),
    ("jsonwebtoken", Reach::In(&["src/identity"])),
    ("casbin", Reach::In(&["src/policy"])),
    ("notify", Reach::In(&["src/lifecycle"])),
    ("redis", Reach::In(&["src/link"])),
    ("quick_cache", Reach::In(&["src/policy", "src/identity"])),
    ("governor", Reach::In(&["src/identity/attempts.rs"])),
    ("x509_parser", Reach::In(&["src/server/tls.rs"])),
    ("ldap3", Reach::In(&["src/identity/ldap.rs", "src/identity/ldap"])),
    ("moka", Reach::In(&["src/cache/memory.rs"])),
    ("object_store", Reach::In(&["src/cache/blob.rs", "src/cache/bucket.rs"])),
    // spools; and files that are replaced whole
    (
        "tempfile",
        Reach::In(&["src/content.rs", "src/kept.rs", "src/server/devca.rs", "src/cli/store.rs"]),
    ),
    ("flate2", Reach::In(&["src/goproxy/zipfile"])),
    ("unicode_properties", Reach::In(&["src/goproxy/zipfile"])),
    ("unicode_case_mapping", Reach::In(&["src/goproxy/zipfile"])),
    ("zstd", Reach::In(&["src/audit"])),
    ("memchr", Reach::In(&["src/audit/query/sieve.rs"])),
    // the provider of signatures, randomness and constant-time comparison
    ("aws_lc_rs", Reach::In(&["src/identity", "src/server/tls.rs", "src/tlog", "src/audit"])),
    ("clap", Reach::In(&["src/cli"])),
    ("toml_edit", Reach::In(&["src/config"])),
    ("toml", Reach::In(&["src/config", "src/policy"])),
    ("humantime", Reach::In(&["src/config", "src/cli", "src/audit/filter.rs"])),
    // an error without a type is for those who only print it
    ("anyhow", Reach::From(9)),
    ("tikv_jemallocator", Reach::In(&["src/main.rs"])),
    ("uuid", Reach::From(3)),
    ("arc_swap", Reach::From(5)),
    ("sha2", Reach::Anywhere),
    ("base64", Reach::Anywhere),
    ("bytes", Reach::Anywhere),
    ("serde", Reach::Anywhere),
    ("serde_json", Reach::Anywhere),
    ("thiserror", Reach::Anywhere),
    ("time", Reach::Anywhere),
    ("url", Reach::Anywhere),
];

fn rules(path: &str, text: &str) -> Vec<&'static str> {
    of(&Source::new(path, text)).iter().map(Finding::rule).collect()
}

#[test]
fn a_name_from_above_or_beside_is_found() {
    assert_eq!(rules("src/telemetry.rs", "use crate::gateway::Gateway;"), ["layers"]);
    assert_eq!(rules("src/cache/key.rs", "fn f() -> crate::upstream::Chain {}"), ["layers"]);
    assert_eq!(
        rules("src/goproxy.rs", "#[cfg(test)] mod tests { use crate::policy::P; }"),
        ["layers"]
    );
    assert_eq!(rules("src/identity.rs", "use crate::policy::Policy;"), ["layers"]);
    assert_eq!(rules("src/cli.rs", "use crate::unheard::Of;"), ["layers"]);
}

#[test]
fn names_from_below_declared_edges_and_comments_pass() {
    let harmless = "//! See [`crate::gateway`].\nuse crate::fault::Kind;\nuse crate::cache::key::Key;\n\
                    use crate::sumdb::Verified;\npub(in crate::cache) fn f() {}";
    assert_eq!(rules("src/cache/tier.rs", harmless), [""; 0]);
    assert_eq!(rules("src/policy.rs", "use crate::identity::caller::Caller;"), [""; 0]);
    assert_eq!(rules("src/main.rs", "fn main() { modgate::cli::run() }"), [""; 0]);
}

#[test]
fn what_would_hide_an_edge_is_found() {
    assert_eq!(rules("src/fault.rs", "use crate::{clock, head};"), ["hidden edge"]);
    assert_eq!(rules("src/fault.rs", "use super::gateway::Gateway;"), ["hidden edge"]);
    assert_eq!(rules("src/fault.rs", "#[cfg(test)]\nmod tests { use super::*; }"), [""; 0]);
}

#[test]
fn a_module_without_a_layer_and_a_layer_without_a_module_are_found() {
    let found = unknown_modules(&["src/lib.rs".to_owned(), "src/odd/part.rs".to_owned()]);
    let listing: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(listing.iter().any(|line| line.starts_with("src/odd.rs:1: layers")), "{listing:?}");
    assert!(
        listing.iter().any(|line| line.contains("gateway has a layer and no file")),
        "{listing:?}"
    );
}

#[test]
fn a_crate_behind_another_door_is_found() {
    assert_eq!(rules("src/gateway.rs", "use reqwest::Url;"), ["one door"]);
    assert_eq!(rules("src/cache.rs", "use anyhow::Result;"), ["one door"]);
    assert_eq!(
        rules("src/config.rs", "async fn f() { tokio::task::yield_now().await }"),
        ["one door"]
    );
    assert_eq!(rules("src/egress/resolve.rs", "use reqwest::dns::Name;"), [""; 0]);
    assert_eq!(rules("src/egress_two.rs", "use reqwest::dns::Name;"), ["one door"]);
    assert_eq!(
        rules("src/upstream.rs", "use crate::telemetry::metrics; fn f() { metrics::g() }"),
        [""; 0]
    );
    assert_eq!(
        rules("src/gateway.rs", "#[cfg(test)] mod tests { use tempfile::tempdir; }"),
        [""; 0]
    );
}
