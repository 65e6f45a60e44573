//! Each lint finds what it is for, and says nothing of what is right.

use super::*;
use crate::clock::Clock as _;
use crate::clock::ManualClock;

/// The names and subjects of what is found, and the policy's private prefix is `corp.example/team`.
fn found(rules: &str, roles: &str, gates: &str) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "model.conf", loader::MODEL);
    write(directory.path(), "roles.csv", roles);
    write(directory.path(), "rules/a.csv", rules);
    write(directory.path(), "gates.toml", gates);
    write(directory.path(), "tests/none.toml", "");
    let private = vec![Prefix::parse("corp.example/team").unwrap()];
    let source = Source::Directory(directory.path().to_owned());
    let draft = Draft::read(&Sources { private, ..Sources::of(source) }).unwrap();
    let findings = draft.lint(ManualClock::at_unix(1_800_000_000).now()).unwrap();
    let told = findings.into_iter().map(|one| (one.lint.to_owned(), one.about));
    // the prefix is as it is for every case
    told.filter(|(lint, _)| lint != "L-PRIVATE-PARENT").collect()
}

const ROLES: &str = "g, group:token:dev, role:dev\n";
const OWNED: &str = "# owner: #a\n";

#[test]
fn each_lint_finds_what_it_is_for() {
    let read = "p, read, role:dev, example.com, *, read, allow\n";
    for (rules, lint, about) in [
        ("p, x, any:authenticated, corp.example/team/x, *, read, allow\n", "L-PRIVATE-OPEN", "x"),
        ("p, x, any:authenticated, corp.example, *, read, allow\n", "L-PRIVATE-OPEN", "x"),
        ("p, x, any:authenticated, @private/**, *, list, allow\n", "L-PRIVATE-OPEN", "x"),
        ("p, x, role:dev, *.example.org, *, read, allow\n", "L-BROAD", "x"),
        ("p, x, role:dev, example.org/a, <v2.0.0, download, allow\n", "L-NO-LIST", "x"),
        ("p, x, role:dev, example.com, *, download, allow\n", "L-UNREACHABLE", "x"),
        ("p, x, role:dev, example.com, <v2.0.0, read, allow\n", "L-UNREACHABLE", "x"),
        ("p, x, any:authenticated, example.com, *, *, deny\n", "L-UNREACHABLE", "read"),
        ("p, x, role:dev, **, *, read, deny\n", "L-UNREACHABLE", "read"),
        // each of these leaves something
        ("p, x, role:dev, example.com, <v2.0.0, *, deny\n", "", ""),
        ("p, x, role:dev, example.com/a, *, *, deny\n", "", ""),
        ("p, x, role:dev, example.com, *, list, deny\n", "", ""),
        ("p, x, role:dev, example.com/a, <v2.0.0, download, allow\n", "", ""),
        ("p, x, role:dev, corp.example/team, *, read, allow\n", "", ""),
    ] {
        let found = found(&format!("{OWNED}{read}{rules}"), ROLES, "");
        let wanted: Vec<_> = [(lint.to_owned(), about.to_owned())].into();
        assert_eq!(found, if lint.is_empty() { Vec::new() } else { wanted }, "{rules}");
    }
    let owners = found(read, ROLES, "");
    assert_eq!(owners, [("L-NO-OWNER".to_owned(), "rules/a.csv".to_owned())]);
}

#[test]
fn roles_of_nobody_and_conditions_that_are_over_are_told() {
    let rules = format!("{OWNED}p, read, role:dev, example.com, *, read, allow\n");
    for (roles, lint, about) in [
        ("g, user:token:a, role:idle\n", "L-UNUSED-ROLE", "role:idle"),
        ("g, role:ghost, role:dev\n", "L-NOBODY", "role:ghost"),
    ] {
        let found = found(&rules, &format!("{ROLES}{roles}"), "");
        assert_eq!(found, [(lint.to_owned(), about.to_owned())], "{roles}");
    }
    for (until, over) in [("2026-01-01", true), ("2028-01-01", false)] {
        let gates = format!("[x]\nrules = [\"read\"]\nuntil = {until}\n");
        let lints = found(&rules, ROLES, &gates);
        assert_eq!(lints == [("L-GATE-EXPIRED".to_owned(), "read".to_owned())], over, "{lints:?}");
    }
}
