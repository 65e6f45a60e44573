//! What Casbin was seen to do with data, and what keeps it from doing it here: one promise each.

use super::*;
use crate::clock::SystemClock;
use crate::policy::engine::Engine;
use crate::policy::rule;
use crate::policy::rule::Action;
use crate::policy::rule::Asked;
use crate::policy::rule::Effect;
use crate::policy::rule::Rule;
use proptest::prelude::*;

/// A directory with a wall, for changes.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "model.conf", loader::MODEL);
    write(directory.path(), "roles.csv", "g, group:token:dev, role:dev\n");
    write(directory.path(), "rules/a.csv", READ);
    write(directory.path(), "rules/b.csv", WALL);
    write(directory.path(), "tests/none.toml", "");
    directory
}

const READ: &str = "p, read, role:dev, **, *, read, allow\n";
const WALL: &str = "p, wall, any:authenticated, example.com/bad, *, *, deny\n";
const BAD: &str = "/example.com/bad/x/@v/v1.0.0.zip";
const GOOD: &str = "/example.com/good/@v/v1.0.0.zip";

fn of(directory: &tempfile::TempDir) -> Policy {
    Policy::none(Sources::of(Source::Directory(directory.path().to_owned())))
}

#[test]
fn a_reload_forgets_every_cached_decision() {
    let directory = directory();
    let policy = of(&directory);
    policy.reload(&SystemClock);
    let caller = dev();
    for cached in [false, true] {
        assert_eq!(decide(&policy, Arc::clone(&caller), GOOD).unwrap().verdict.cached, cached);
    }
    write(directory.path(), "rules/a.csv", "p, read, role:dev, example.org, *, read, allow\n");
    assert!(!policy.reload(&SystemClock).activated.is_empty());
    assert_eq!(decide(&policy, caller, GOOD).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_failed_load_leaves_the_last_policy() {
    let directory = directory();
    let policy = of(&directory);
    policy.reload(&SystemClock);
    let revision = policy.revision();
    for broken in ["p, read\n", "p, read, role:dev, **, *, read, Allow\n", "\u{feff}", ""] {
        write(
            directory.path(),
            "rules/a.csv",
            &format!("{broken}{READ}p, x, role:x, **, *, read, allow\n"),
        );
        let reload = policy.reload(&SystemClock);
        assert!(!reload.rejected.is_empty() && reload.activated.is_empty(), "{broken:?}");
        assert_eq!(policy.revision(), revision);
        assert_eq!(kind(&policy, BAD), Some(Kind::Denied));
        assert_eq!(kind(&policy, GOOD), None);
    }
    std::fs::remove_dir_all(directory.path().join("rules")).unwrap();
    assert!(!policy.reload(&SystemClock).rejected.is_empty());
    assert_eq!((kind(&policy, BAD), kind(&policy, GOOD)), (Some(Kind::Denied), None));
}

#[test]
fn every_typo_in_a_deny_row_is_a_load_error() {
    let row = "p, wall, any:authenticated, example.com/bad, *, *, deny";
    for typo in [
        format!("\u{feff}{row}"),
        row.replacen('p', "P", 1),
        row.replace("deny", "Deny"),
        row.replace("deny", "DENY"),
        row.replace("deny", "denny"),
        format!("{row} # since 2026"),
        format!("{row}, since 2026"),
        format!("{row};"),
        format!("{row}\r"),
        row.replace(", ", "; "),
        row.replace(", ", ",\t"),
        row.replace("any:authenticated", "any:authenticate"),
        row.replace("any:authenticated", "\"any:authenticated\""),
        row.replace("example.com/bad", "example.com/bad/"),
        row.replace("example.com/bad", "/example.com/bad"),
        row.replace("example.com/bad", "https://example.com/bad"),
        row.replace("example.com/bad", "example.com/[bad]"),
        row.replace("example.com/bad", "example.com/!bad"),
        row.replace("example.com/bad", "Example.com/bad"),
        row.replace("*, *", "*, all"),
        row.replace("*, *", "latest, *"),
    ] {
        assert!(with_rules(&format!("{READ}{typo}\n")).is_err(), "{typo:?}");
    }
    assert!(with_rules(&format!("{READ}{row}\n")).is_ok());
}

#[test]
fn a_row_with_a_missing_column_never_loads() {
    let columns = ["p", "wall", "any:authenticated", "example.com/bad", "*", "*", "deny"];
    for missing in 0..columns.len() {
        let mut short = columns.to_vec();
        short.remove(missing);
        assert!(with_rules(&format!("{READ}{}\n", short.join(", "))).is_err(), "{short:?}");
        let mut empty = columns;
        empty[missing] = "";
        assert!(with_rules(&format!("{READ}{}\n", empty.join(", "))).is_err(), "{empty:?}");
    }
}

#[test]
fn a_second_role_type_is_refused() {
    for row in ["g2, example.com, role:dev", "g, group:token:dev, role:dev, domain", "p2, a, b"] {
        assert!(with_rules(&format!("{READ}{row}\n")).is_err(), "{row}");
    }
    let model = loader::MODEL.replace("g = _, _", "g = _, _\ng2 = _, _");
    let directory = directory();
    write(directory.path(), "model.conf", &model);
    assert!(!of(&directory).reload(&SystemClock).rejected.is_empty());
}

#[test]
fn a_user_called_admin_has_no_role() {
    let policy = with_rules("p, all, role:dev, example.com, *, read, allow\n").unwrap();
    for name in ["user:token:dev", "user:token:role:dev", "user:role:dev", "group:token:role:dev"] {
        let caller = Arc::new(Caller::imagined(name, Vec::new()));
        assert!(decide(&policy, caller, GOOD).is_err(), "{name}");
    }
    // names are encoded where they come from, so none can hold the line break that joins a set
    let hostile = crate::identity::caller::encode_name("x\nrole:dev");
    let caller = Arc::new(Caller::imagined(&format!("user:token:{hostile}"), Vec::new()));
    assert!(decide(&policy, caller, GOOD).is_err());
}

#[test]
fn a_role_chain_of_100_links_holds() {
    let directory = directory();
    let chain: String = (0..100).map(|n| format!("g, role:r{n}, role:r{}\n", n + 1)).collect();
    write(
        directory.path(),
        "roles.csv",
        &format!("g, group:token:dev, role:r0\ng, role:r100, role:dev\n{chain}"),
    );
    let policy = of(&directory);
    assert!(policy.reload(&SystemClock).rejected.is_empty());
    assert_eq!((kind(&policy, GOOD), kind(&policy, BAD)), (None, Some(Kind::Denied)));
}

#[test]
fn a_changed_model_is_refused() {
    for (from, to) in [
        ("&& !some(where (p.eft == deny))", ""),
        ("some(where (p.eft == allow)) && ", ""),
        ("p.eft == allow", "p.eft==allow"),
        ("moduleMatch(r.mod, p.mod)", "keyMatch(r.mod, p.mod)"),
        ("&& subjectIn(r.subs, p.sub)", ""),
        ("id, sub", "sub, id"),
    ] {
        let directory = directory();
        let model = loader::MODEL.replace(from, to);
        assert_ne!(model, loader::MODEL, "{from}");
        write(directory.path(), "model.conf", &model);
        let rejected = of(&directory).reload(&SystemClock).rejected.pop().unwrap();
        assert!(rejected.problems[0].starts_with("model.conf:1:1: "), "{rejected}");
    }
}

#[test]
fn an_empty_policy_denies_an_empty_request() {
    let asked = Asked { module: String::new(), version: String::new(), action: Action::List };
    assert!(!rule::module_matches("", "public"));
    let row = Rule {
        id: "r".to_owned(),
        subject: "role:dev".to_owned(),
        target: "public".to_owned(),
        range: "*".to_owned(),
        action: "read".to_owned(),
        effect: Effect::Allow,
    };
    assert_eq!(Engine::default().decide(&[&row], "", &asked), Ok(false));
    let policy = Policy::none(Sources::of(Source::Embedded));
    for raw in [GOOD, "/-/whoami", "/"] {
        let refusal = decide(&policy, dev(), raw).unwrap_err();
        assert_eq!(refusal.kind(), Kind::Unavailable, "{raw}");
    }
    assert!(with_rules("").is_err());
}

#[test]
fn pattern_table() {
    for (modules, path, means) in [
        ("example.com/x", "example.com/x", true),
        ("example.com/x", "example.com/x/y", true),
        ("example.com/x", "example.com/x2", false),
        ("example.com/x", "example.com", false),
        ("example.com/x", "example.com/X", false),
        ("example.com/*", "example.com/x/y", true),
        ("example.com/*", "example.com", false),
        ("example.com/x*", "example.com/xy/z", true),
        ("example.com/x*z", "example.com/xyz", true),
        ("example.com/x*z", "example.com/xy/z", false),
        ("example.com/?", "example.com/x", true),
        ("example.com/?", "example.com/xy", false),
        // a dot is a dot
        ("a.example.com/x", "abexample.com/x", false),
    ] {
        let policy = with_rules(&format!("p, r, role:dev, {modules}, *, read, allow\n")).unwrap();
        let raw = format!("/{}/@v/list", path.replace('X', "!x"));
        let allowed = decide(&policy, dev(), &raw).is_ok();
        assert_eq!(allowed, means, "{modules} {path}");
    }
}

#[test]
fn a_difference_ends_the_use_of_the_index_and_not_the_service() {
    let directory = directory();
    let settings = Settings { crosscheck: 1, ..Settings::default() };
    let way = settings.way.clone();
    let policy = Policy::none(Sources {
        settings,
        ..Sources::of(Source::Directory(directory.path().to_owned()))
    });
    policy.reload(&SystemClock);
    assert_eq!((kind(&policy, GOOD), kind(&policy, BAD)), (None, Some(Kind::Denied)));
    assert_eq!((policy.crosscheck(), way.is_index_trusted()), (0, true));
    // as if the index had lost the wall: the decision that stands there is not what all rows say
    let snapshot = policy.snapshot.load_full();
    let lost = Snapshot::build(
        &Draft::read(&policy.sources).unwrap().files,
        &[],
        Vec::new(),
        policy.sources.settings.clone(),
    );
    let lost = lost.unwrap().without_in_index("wall");
    policy.snapshot.store(Arc::new(lost));
    assert_eq!(kind(&policy, BAD), None);
    assert_eq!((policy.crosscheck(), way.is_index_trusted()), (1, false));
    // what was remembered is forgotten, and rows are found by looking at all of them
    assert_eq!((kind(&policy, GOOD), kind(&policy, BAD)), (None, Some(Kind::Denied)));
    policy.snapshot.store(snapshot);
    assert_eq!((kind(&policy, GOOD), kind(&policy, BAD)), (None, Some(Kind::Denied)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn hostile_strings_never_panic(asked in any::<String>(), column in any::<String>(), odd in "[*?/!@=. a-z\u{e9}\u{4e2d}-]{0,24}") {
        for (asked, column) in [(&asked, &column), (&odd, &column), (&asked, &odd), (&odd, &odd)] {
            let _any = rule::module_matches(asked, column);
            let _any = rule::module_matches(&format!("public {asked}"), &format!("prefix-exact {column}"));
            let _any = rule::module_matches(&format!("public {asked}"), &format!("prefix-folded {column}"));
            let _any = rule::subject_in(asked, column);
            let _any = rule::action_matches(asked, column);
            let _any = rule::version_matches(asked, column);
            let _any = rule::check_range(column);
            let _any = rule::target(column, Effect::Deny);
            let _any = rule::target(column, Effect::Allow);
        }
        let row = Rule {
            id: odd.clone(),
            subject: column.clone(),
            target: format!("prefix-folded {odd}"),
            range: column,
            action: asked.clone(),
            effect: Effect::Deny,
        };
        let question = Asked { module: format!("public {odd}"), version: asked.clone(), action: Action::Download };
        // a decision, or an error: never a panic that reaches anybody
        let _any = Engine::default().decide(&[&row], &asked, &question);
    }
}
