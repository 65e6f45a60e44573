//! Every file says what it is for; documents lead somewhere, speak our words, and give no place away.

use crate::source::Finding;
use crate::source::Source;
use crate::source::Tree;
use crate::source::has_extension;

/// All findings about documents.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut found: Vec<Finding> = tree.sources().iter().filter_map(opening).collect();
    found.extend(tree.sources().iter().filter_map(essay));
    for path in tree.files().iter().filter(|path| !is_foreign(path)) {
        let text = tree.text(path);
        found.extend(places(path, &text));
        found.extend(vocabulary(path, &text));
        if has_extension(path, "md") {
            found.extend(links(path, &text, &|target| tree.root().join(target).exists()));
        }
    }
    found
}

/// Files whose words are not ours.
fn is_foreign(path: &str) -> bool {
    ["Cargo.lock", "LICENSE"].contains(&path) || has_extension(path, "sum")
}

/// A file that does not begin with a sentence about itself.
fn opening(source: &Source) -> Option<Finding> {
    let first = source.text().lines().next().and_then(|line| line.strip_prefix("//! "));
    let says = first.is_some_and(|sentence| sentence.chars().any(char::is_alphabetic));
    (!says).then(|| {
        Finding::new(source.path(), 1, "opening", "begin with //! and what the file is for")
    })
}

/// The head file of a station without its essay.
fn essay(source: &Source) -> Option<Finding> {
    let name = source.path().strip_prefix("src/")?.strip_suffix(".rs")?;
    if !STATIONS.contains(&name) {
        return None;
    }
    let lines = source.text().lines().take_while(|line| line.starts_with("//!")).count();
    let what = format!("{lines} lines of //!: question, rule, refusals, how it fails");
    (lines < ESSAY_LINES).then(|| Finding::new(source.path(), 1, "essay", what))
}

/// Paths of some machine, and hosts of public registries.
fn places(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for [begin, end] in PLACES {
            if line.contains(&format!("{begin}{end}")) {
                found.push(Finding::new(path, number, "a place", format!("{begin}…{end}")));
            }
        }
    }
    found
}

/// Words that the vocabulary replaces by others.
fn vocabulary(path: &str, text: &str) -> Vec<Finding> {
    // a name of the framework, which we cannot choose
    let text = &text.replace("graceful_shutdown_signal", "its_signal");
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let lower = line.to_lowercase();
        let words: Vec<_> = lower.split(|letter: char| !letter.is_alphanumeric()).collect();
        for ([begin, end], say) in WORDS {
            let bad = format!("{begin}{end}");
            let parts: Vec<_> = bad.split(' ').collect();
            if words.windows(parts.len()).any(|window| window == parts) {
                found.push(Finding::new(
                    path,
                    number,
                    "vocabulary",
                    format!("say {say}, not {bad}"),
                ));
            }
        }
    }
    found
}

/// Relative links of a document that lead nowhere.
fn links(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', ' ', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !resolve(directory, target).is_some_and(|below| exists(&below)) {
                found.push(Finding::new(path, number, "dead link", target));
            }
        }
    }
    found
}

/// A relative target as a path below the root; none where it leaves the root.
fn resolve(directory: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "." | "" => {}
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The modules that answer a question of their own, and say at their head which.
const STATIONS: [&str; 14] = [
    "lib",
    "server",
    "gateway",
    "identity",
    "policy",
    "sumdb",
    "upstream",
    "cache",
    "audit",
    "egress",
    "telemetry",
    "config",
    "goproxy",
    "cluster",
];
/// Fewer lines cannot say the question, the rule, the refusals and how it fails.
const ESSAY_LINES: usize = 15;
/// Where a build ran is nobody's business, and a registry is named by whoever runs the gateway. In two parts, so that
/// this file does not name them either.
const PLACES: [[&str; 2]; 15] = [
    ["/wo", "rk/"],
    ["/fa", "rm/"],
    ["/ro", "ot/"],
    ["/tmp/bash", "_jobs"],
    ["sha", "red/design"],
    ["proxy.go", "lang.org"],
    ["index.go", "lang.org"],
    ["static.cra", "tes.io"],
    ["index.cra", "tes.io"],
    ["pypi", ".org"],
    ["python", "hosted.org"],
    ["registry.np", "mjs.org"],
    ["deb.deb", "ian.org"],
    ["repo.ma", "ven"],
    ["repo1.ma", "ven"],
];
/// One word for one thing, everywhere. In two parts, for the same reason.
const WORDS: [([&str; 2], &str); 8] = [
    (["single", "flight"], "coalesce"),
    (["negative", " entry"], "absence"),
    (["negative", " cache"], "absence"),
    (["ac", "l"], "policy"),
    (["auth", "n"], "identify"),
    (["circuit", " breaker"], "breaker"),
    (["checksum", " server"], "checksum database"),
    (["graceful", " shutdown"], "drain"),
];

fn rules(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(Finding::rule).collect()
}

#[test]
fn a_file_without_an_opening_sentence_is_found() {
    for text in ["", "use std::fmt;\n//! Late.", "//!\n//! Late.", "// Not it.", "//! ---"] {
        assert!(opening(&Source::new("tests/it/x.rs", text)).is_some(), "{text}");
    }
    assert!(opening(&Source::new("src/x.rs", "//! Says it.")).is_none());
}

#[test]
fn a_station_without_an_essay_is_found() {
    let lines = |count| Source::new("src/cache.rs", &"//! Line.\n".repeat(count));
    assert!(essay(&lines(ESSAY_LINES - 1)).is_some());
    assert!(essay(&lines(ESSAY_LINES)).is_none());
    assert!(essay(&Source::new("src/cache/key.rs", "//! Line.\n")).is_none());
}

#[test]
fn places_are_found() {
    for [begin, end] in PLACES {
        let found = places("README.md", &format!("a\nsee {begin}{end}x"));
        assert_eq!(rules(&found), ["a place"], "{begin}{end}");
        assert!(found[0].to_string().starts_with("README.md:2: "));
    }
    assert_eq!(rules(&places("README.md", "https://goproxy.example and src/server.rs")), [""; 0]);
}

#[test]
fn words_of_others_are_found() {
    for ([begin, end], _) in WORDS {
        assert_eq!(rules(&vocabulary("x.md", &format!("An {begin}{end}, here."))), ["vocabulary"]);
    }
    assert_eq!(rules(&vocabulary("x.md", "oracle, author, a circuit, an entry")), [""; 0]);
}

#[test]
fn links_that_lead_nowhere_are_found() {
    let exists = |path: &str| ["LICENSE", "deploy/README.md"].contains(&path);
    let text =
        "[a](LICENSE) [b](../LICENSE)\n[c](deploy/README.md#d) [e](https://x.example) [f](#g)";
    let found = links("README.md", text, &exists);
    assert_eq!(rules(&found), ["dead link"], "{found:?}");
    assert_eq!(
        rules(&links("deploy/README.md", "[a](../LICENSE) [b](none.md)", &exists)),
        ["dead link"]
    );
    assert_eq!(rules(&links("README.md", "```\n[a](none.md)\n```", &exists)), [""; 0]);
}
