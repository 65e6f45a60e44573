//! Expectations and invariants that do not hold are told, in every form, with what was found instead.

use super::*;

fn tested(rules: &str, tests: &str) -> suite::Outcome {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "model.conf", loader::MODEL);
    write(directory.path(), "roles.csv", "g, group:token:dev, role:dev\n");
    write(directory.path(), "rules/a.csv", rules);
    write(directory.path(), "tests/a.toml", tests);
    let source = Source::Directory(directory.path().to_owned());
    Draft::read(&Sources::of(source)).unwrap().test().unwrap()
}

const RULES: &str = "p, read, role:dev, example.com, *, read, allow\n\
                     p, some, role:dev, example.org/Lib, >=v1.4.2, download, allow\n\
                     p, wall, role:dev, example.com/bad, <v1.4.2, *, deny\n";

#[test]
fn an_invariant_finds_what_its_author_did_not_think_of() {
    let dev = "name = \"a < b\"\ngroups = [\"group:token:dev\"]\n";
    for (invariant, found) in [
        // nobody wrote this path, this version or this letter case into the test
        (
            "[[never_allow]]\nmodules = [\"example.org/lib\"]\nactions = [\"download\"]\n",
            "download of example.org/Lib",
        ),
        (
            "[[always_allow]]\nmodules = [\"example.com\"]\nactions = [\"download\"]\n",
            "is not allowed (rule wall)",
        ),
        ("[[always_allow]]\nmodules = [\"example.com/good\"]\nactions = [\"read\"]\n", ""),
        ("[[never_allow]]\nmodules = [\"example.net\"]\nactions = [\"read\", \"admit\"]\n", ""),
    ] {
        let (head, rest) = invariant.split_once('\n').unwrap();
        let outcome = tested(RULES, &format!("{head}\n{dev}{rest}"));
        let failed: Vec<String> = outcome.failed().collect();
        assert_eq!(failed.is_empty(), found.is_empty(), "{invariant}: {failed:?}");
        assert!(failed.iter().all(|told| told.contains(found)), "{invariant}: {failed:?}");
    }
}

#[test]
fn what_does_not_hold_is_told_in_every_form_with_the_rules_nothing_exercises() {
    let outcome = tested(
        RULES,
        "[[expect]]\nname = \"a < b\"\ngroups = [\"group:token:dev\"]\nmodule = \"example.com/x\"\noutcome = \"deny\"\n\n\
         [[expect]]\nname = \"other rule\"\ngroups = [\"group:token:dev\"]\nmodule = \"example.com/x\"\noutcome = \"allow\"\nrule = \"some\"\n\n\
         [[expect]]\nname = \"holds\"\nmodule = \"example.com/x\"\noutcome = \"deny\"\n",
    );
    assert_eq!((outcome.len(), outcome.failures()), (3, 2));
    assert_eq!(outcome.unexercised, ["some", "wall"]);
    let tap = outcome.to_string();
    for line in [
        "1..3",
        "not ok 1 - a < b: found allow (policy_allow, rule read)",
        "not ok 2 - other rule: found allow (policy_allow, rule read)",
        "ok 3 - holds",
        "# no expectation exercises: some, wall",
    ] {
        assert!(tap.lines().any(|one| one == line), "{line} in {tap}");
    }
    let junit = outcome.junit();
    assert!(
        junit.contains("<testsuite name=\"tests/a.toml\" tests=\"3\" failures=\"2\">"),
        "{junit}"
    );
    assert!(junit.contains("name=\"a &lt; b\"><failure message=\"found allow"), "{junit}");
    assert_eq!(outcome.json()["results"][0]["ok"], false);
}
