//! Each dependency has a reason, a use and a door; the lock file has one source; the top level holds what belongs there.

use std::collections::BTreeSet;
use std::fs;

use crate::layers::crates_with_a_door;
use crate::source::Finding;
use crate::source::Tree;
use crate::source::path_heads;

/// All findings about the manifest, the lock file and the top level.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let manifest = tree.text("Cargo.toml");
    let dependencies = dependencies(&manifest);
    let mut found = without_reason(&dependencies);
    found.extend(without_use(&dependencies, &used(tree)));
    found.extend(without_door(&dependencies, &crates_with_a_door().collect()));
    found.extend(lock(&tree.text("Cargo.lock"), &tree.text(".gitignore")));
    let entries = fs::read_dir(tree.root()).unwrap();
    let names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.extend(top_level(&names));
    found
}

/// One line of a table of dependencies.
#[derive(Debug)]
struct Dependency {
    /// As code names it.
    name: String,
    line: usize,
    table: Table,
    reasoned: bool,
}

/// Which of the tables it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Product,
    Tests,
    Other,
}

/// The dependencies of a manifest; one has a reason if a comment stands above it in its paragraph.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let (mut table, mut reasoned) = (Table::Other, false);
    let mut found = Vec::new();
    for (line, text) in (1..).zip(manifest.lines().map(str::trim)) {
        if text.starts_with('[') {
            table = table_of(text);
            reasoned = false;
        } else if let Some(comment) = text.strip_prefix('#') {
            reasoned = comment.chars().any(char::is_alphabetic);
        } else if let (Some((name, _)), true) = (text.split_once(" = "), table != Table::Other) {
            found.push(Dependency { name: name.replace('-', "_"), line, table, reasoned });
        } else if text.is_empty() {
            reasoned = false;
        }
    }
    found
}

fn table_of(header: &str) -> Table {
    let name = header.trim_matches(['[', ']']);
    if name.ends_with("dev-dependencies") {
        Table::Tests
    } else if name.ends_with("dependencies") {
        Table::Product
    } else {
        Table::Other
    }
}

fn at(dependency: &Dependency, rule: &'static str, what: &str) -> Finding {
    Finding::new("Cargo.toml", dependency.line, rule, format!("{} {what}", dependency.name))
}

fn without_reason(dependencies: &[Dependency]) -> Vec<Finding> {
    let found = dependencies.iter().filter(|dependency| !dependency.reasoned);
    found
        .map(|dependency| at(dependency, "reason", "stands under no comment that says why"))
        .collect()
}

/// The words that begin a path anywhere, apart for the product and for all.
struct Used {
    shipped: BTreeSet<String>,
    anywhere: BTreeSet<String>,
}

fn used(tree: &Tree) -> Used {
    let heads = |code: &str| {
        path_heads(code).into_iter().map(|(_, head, _)| head.to_owned()).collect::<Vec<_>>()
    };
    Used {
        shipped: tree.sources().iter().flat_map(|source| heads(source.shipped())).collect(),
        anywhere: tree.sources().iter().flat_map(|source| heads(source.code())).collect(),
    }
}

fn without_use(dependencies: &[Dependency], used: &Used) -> Vec<Finding> {
    let unused = dependencies.iter().filter(|dependency| match dependency.table {
        Table::Product => !used.shipped.contains(&dependency.name),
        Table::Tests | Table::Other => !used.anywhere.contains(&dependency.name),
    });
    unused
        .map(|dependency| at(dependency, "unused crate", "is named by no code it is listed for"))
        .collect()
}

fn without_door(dependencies: &[Dependency], doors: &BTreeSet<&str>) -> Vec<Finding> {
    let product = || dependencies.iter().filter(|dependency| dependency.table == Table::Product);
    let without = product().filter(|dependency| !doors.contains(dependency.name.as_str()));
    let mut found: Vec<_> =
        without.map(|dependency| at(dependency, "one door", "has none in layers.rs")).collect();
    for door in doors.iter().filter(|door| !product().any(|dependency| dependency.name == **door)) {
        let what = format!("a door for {door}, which is no dependency");
        found.push(Finding::new("tests/contracts/layers.rs", 1, "one door", what));
    }
    found
}

/// The lock file is kept, has one source, and locks no second provider of cryptography.
fn lock(lock: &str, ignored: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    if lock.is_empty() || ignored.lines().any(|line| line.trim_start_matches('/') == "Cargo.lock") {
        found.push(Finding::new("Cargo.lock", 1, "lock file", "commit it"));
    }
    for (number, line) in (1..).zip(lock.lines()) {
        if let Some(source) =
            line.strip_prefix("source = ").filter(|source| !source.starts_with(REGISTRY))
        {
            found.push(Finding::new("Cargo.lock", number, "lock file", format!("from {source}")));
        }
        let name = line.strip_prefix("name = ").map(|name| name.trim_matches('"'));
        if let Some(name) = name.filter(|name| REFUSED.contains(name)) {
            found.push(Finding::new(
                "Cargo.lock",
                number,
                "lock file",
                format!("{name} is refused"),
            ));
        }
    }
    found
}

/// What stands at the top level and does not belong there, or belongs there and does not stand.
fn top_level(names: &[String]) -> Vec<Finding> {
    let known = |name: &str| name.starts_with('.') || TOP_LEVEL.contains(&name);
    let odd = names.iter().filter(|name| !known(name));
    let odd = odd.map(|name| Finding::new(name, 1, "top level", "belongs below another entry"));
    let gone = ALWAYS.iter().filter(|name| !names.iter().any(|there| there == *name));
    odd.chain(gone.map(|name| Finding::new(name, 1, "top level", "is missing"))).collect()
}

/// How the lock file names the one registry.
const REGISTRY: &str = "\"registry+";
/// A second provider of cryptography. `ring` is missing: the lock file lists it for a feature nobody switches on;
/// `.cargo/deny.toml` bans it from the graph.
const REFUSED: [&str; 4] = ["openssl", "openssl-sys", "native-tls", "rsa"];
/// All that may stand beside the manifest; `target` is what a build makes.
const TOP_LEVEL: [&str; 14] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "policies",
    "dashboards",
    "alerts",
    "tests",
    "deploy",
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "Makefile",
    "target",
];
/// What a stranger looks for first, and what CI runs.
const ALWAYS: [&str; 8] = [
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "Makefile",
    ".ci",
    "policies",
];

fn lines(found: &[Finding]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let manifest = "[package]\nname = \"x\"\n# later\n[dependencies]\nbare = \"1\"\n\n# why\ngood-one = \"1\"\n\
                    also = \"1\"\n\nalone = \"1\"\n[dev-dependencies]\nnaked = \"1\"\n[lints.rust]\nunsafe_code = 1";
    let dependencies = dependencies(manifest);
    let names: Vec<_> = dependencies.iter().map(|dependency| dependency.name.as_str()).collect();
    assert_eq!(names, ["bare", "good_one", "also", "alone", "naked"]);
    let found = without_reason(&dependencies);
    let found: Vec<_> =
        lines(&found).iter().map(|line| line.split(": ").last().unwrap().to_owned()).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found
            .iter()
            .all(|line| ["bare ", "alone ", "naked "].iter().any(|name| line.starts_with(name)))
    );
}

#[test]
fn a_dependency_without_a_use_is_found() {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let used = Used { shipped: set(&["a"]), anywhere: set(&["a", "b", "c"]) };
    let manifest = "[dependencies]\na = \"1\"\nb = \"1\"\n[dev-dependencies]\nc = \"1\"\nd = \"1\"";
    let found = lines(&without_use(&dependencies(manifest), &used));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("Cargo.toml:3: ") && found[1].contains("Cargo.toml:6: "),
        "{found:?}"
    );
}

#[test]
fn a_dependency_without_a_door_and_a_door_without_a_dependency_are_found() {
    let dependencies =
        dependencies("[dependencies]\na = \"1\"\nb = \"1\"\n[dev-dependencies]\nc = \"1\"");
    let found = lines(&without_door(&dependencies, &BTreeSet::from(["a", "d"])));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("b has none") && found[1].contains("for d"), "{found:?}");
}

#[test]
fn a_lock_file_that_is_missing_ignored_mixed_or_double_is_found() {
    let good = "name = \"modgate\"\nname = \"a\"\nsource = \"registry+https://index.example\"";
    assert_eq!(lock(good, "/target"), []);
    assert_eq!(lock("", "").len(), 1);
    assert_eq!(lock(good, "/Cargo.lock").len(), 1);
    assert_eq!(lock("source = \"git+https://git.example\"", "").len(), 1);
    assert_eq!(lock("name = \"openssl\"", "").len(), 1);
}

#[test]
fn what_does_not_belong_to_the_top_level_and_what_is_missing_are_found() {
    let names: Vec<_> =
        ALWAYS.iter().chain(&["src", ".git"]).map(|name| (*name).to_owned()).collect();
    assert_eq!(top_level(&names), []);
    assert_eq!(lines(&top_level(&names[1..])), ["Cargo.lock:1: top level: is missing"]);
    let more = [names, vec!["notes.txt".to_owned()]].concat();
    assert_eq!(lines(&top_level(&more)), ["notes.txt:1: top level: belongs below another entry"]);
}
