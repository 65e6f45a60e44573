//! The audit's events: the schema lists them, the reference page tells of them, and each is written somewhere.

use std::fmt::Write as _;

use modgate::audit::name::Name;
use modgate::audit::name::Outcome;
use serde_json::Value;

use crate::source::Finding;
use crate::source::Source;
use crate::source::Tree;
use crate::written;

const PAGE: &str = "deploy/audit/EVENTS.md";
const SCHEMA: &str = "deploy/audit/schema-v1.json";

/// All findings about events.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut found = written(tree, PAGE, &page());
    found.extend(enumerated(&tree.text(SCHEMA)));
    let shipped: Vec<&str> = tree
        .sources()
        .iter()
        .filter(|source| source.path().starts_with("src/") && source.path() != "src/audit/name.rs")
        .map(Source::shipped)
        .collect();
    found.extend(unwritten(&shipped));
    found
}

/// Every event with its code and what it means.
fn page() -> String {
    let mut text = String::from(concat!(
        "# Events of the audit\n\n",
        "Written from the sources by `make alerts`. A code ends with I where it was done, W where it was refused, E where it\n",
        "failed. `modgate audit schema --events` prints the same.\n\n",
        "| code | event | what happened |\n|---|---|---|\n",
    ));
    for name in Name::ALL {
        let (number, event, meaning) = (name.number(), name.text(), name.meaning().trim());
        writeln!(text, "| MG{number:03} | `{event}` | {meaning} |").unwrap();
    }
    text
}

/// Whether the schema has exactly the events and outcomes that there are.
fn enumerated(schema: &str) -> Vec<Finding> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let listed = |member: &str| -> Vec<String> {
        let words = schema["properties"][member]["enum"].as_array().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let names: Vec<_> = Name::ALL.iter().map(|name| name.text().to_owned()).collect();
    let outcomes: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.text().to_owned()).collect();
    let pairs = [("event", names), ("outcome", outcomes)];
    let differing = pairs.into_iter().filter(|(member, there)| listed(member) != *there);
    let told = differing.map(|(member, there)| {
        Finding::new(SCHEMA, 1, "events", format!("{member} must be {there:?}"))
    });
    told.collect()
}

/// Names that nothing outside their declaration mentions.
fn unwritten(shipped: &[&str]) -> Vec<Finding> {
    let missing = Name::ALL.iter().filter(|name| {
        let mention = format!("Name::{name:?}");
        let is_whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric());
        let mut all = shipped.iter().flat_map(|text| text.split(&mention).skip(1));
        !all.any(is_whole)
    });
    let told = missing.map(|name| {
        let what = format!("{} is written nowhere", name.text());
        Finding::new("src/audit/name.rs", 1, "events", what)
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_nothing_writes_is_found() {
        let all: String = Name::ALL.iter().map(|name| format!("Name::{name:?}, ")).collect();
        assert_eq!(unwritten(&[&all]).len(), 0);
        assert_eq!(
            unwritten(&[&all.replace("Name::AuthLockout,", "Name::AuthLockouts,")]).len(),
            1
        );
    }

    #[test]
    fn a_schema_that_lacks_an_event_is_found() {
        let schema = include_str!("../../deploy/audit/schema-v1.json");
        assert_eq!(enumerated(schema).len(), 0);
        assert_eq!(enumerated(&schema.replace("\"auth.lockout\"", "\"auth.locked\"")).len(), 1);
    }
}
