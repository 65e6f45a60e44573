//! What the sources promise about themselves, held by reading them as text: no server, no network, done in a second.
//!
//! | file | promise |
//! |---|---|
//! | [`layers`] | a module names only what stands below it; each outside crate has one door |
//! | [`shape`] | sizes, names, and what is never written |
//! | [`docs`] | every file says what it is for; documents lead somewhere and give no place away |
//! | [`faults`] | each alert is fired by a fault of the fault run |
//! | [`events`] | each event of the audit is written, listed and told |
//! | [`manifest`] | each dependency has a reason and a use; the top level holds what belongs there |
//!
//! Every finding of every rule is printed at once, as `file:line: rule: what`. Each rule has a test beside it that
//! shows it a bad example: a check that cannot fail is a defect.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod alerts;
mod boards;
mod catalogue;
mod deploy;
mod docs;
mod events;
mod faults;
mod layers;
mod manifest;
mod shape;
mod source;

use std::fmt::Write as _;

use crate::source::Finding;
use crate::source::Tree;

#[test]
fn the_tree_keeps_every_rule() {
    let tree = Tree::read();
    assert!(tree.sources().iter().any(|source| source.path() == "src/lib.rs"), "no sources read");
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(layers::findings(&tree));
    findings.extend(shape::findings(&tree));
    findings.extend(docs::findings(&tree));
    findings.extend(manifest::findings(&tree));
    findings.extend(alerts::findings(&tree));
    findings.extend(faults::findings(&tree));
    findings.extend(boards::findings(&tree));
    findings.extend(events::findings(&tree));
    findings.sort();
    let mut listing = String::new();
    for finding in &findings {
        writeln!(listing, "  {finding}").unwrap();
    }
    assert!(findings.is_empty(), "{} findings\n{listing}", findings.len());
}

/// A file that is not what its source says; with `MODGATE_WRITE` set it is written anew.
fn written(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    if tree.text(path) == text {
        return Vec::new();
    }
    if std::env::vars().any(|(name, _)| name == "MODGATE_WRITE") {
        std::fs::write(tree.root().join(path), text).unwrap();
        return Vec::new();
    }
    vec![Finding::new(path, 1, "written", "is not what its source says: make alerts boards")]
}
