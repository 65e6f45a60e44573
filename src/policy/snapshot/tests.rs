//! How far a row reaches: through roles of everybody, up to ancestors, and into what others may keep.

use super::*;
use crate::fault::Fault as _;
use crate::fault::Kind;
use crate::goproxy::pattern::is_strict_ancestor;
use crate::policy::Source;
use crate::policy::Sources;
use crate::policy::loader;
use crate::policy::tests::ZIP;
use crate::policy::tests::decide;
use crate::policy::tests::dev;
use crate::policy::tests::dice::Dice;
use crate::policy::tests::kind;
use crate::policy::tests::read;
use crate::policy::tests::with_private;
use crate::policy::tests::with_rules;

#[test]
fn a_role_of_everybody_authenticated_is_everybodys() {
    let directory = tempfile::tempdir().unwrap();
    for folder in ["rules", "tests"] {
        std::fs::create_dir(directory.path().join(folder)).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("model.conf", loader::MODEL);
    write("roles.csv", "g, any:authenticated, role:staff\n");
    write("tests/none.toml", "expect = []\n");
    write(
        "rules/a.csv",
        "p, read, any:authenticated, **, *, read, allow\np, wall, role:staff, example.com/bad, *, *, deny\n",
    );
    let policy = read(&Sources::of(Source::Directory(directory.path().to_owned()))).unwrap();
    assert_eq!(kind(&policy, &format!("/example.com/bad/{ZIP}")), Some(Kind::Denied));
}

#[test]
fn a_private_path_above_a_wildcard_pattern_is_never_404() {
    let policy = with_rules("p, a, role:dev, *.example/team/lib, *, read, allow\n").unwrap();
    assert_eq!(kind(&policy, "/corp.example/team/@v/list"), Some(Kind::Denied));
    assert_eq!(kind(&policy, "/other.example/team/@v/list"), Some(Kind::NotFound));
}

#[test]
fn a_path_above_both_a_public_and_a_private_pattern_is_403_in_whichever_order_they_stand() {
    let rows = [
        "p, a, role:dev, example.com/a/b, *, read, allow\n",
        "p, b, role:dev, example.com/secret/lib, *, read, allow\n",
    ];
    for rows in [rows.concat(), rows.into_iter().rev().collect::<Vec<_>>().concat()] {
        let policy = with_private(&rows, "example.com/secret").unwrap();
        assert_eq!(kind(&policy, "/example.com/@v/list"), Some(Kind::Denied), "{rows}");
        assert_eq!(kind(&policy, "/example.com/a/@v/list"), Some(Kind::NotFound), "{rows}");
    }
}

#[test]
fn a_private_module_is_never_open_and_latest_only_if_the_download_is() {
    let policy = with_rules(
        "p, corp, any:anonymous, corp.example/x, *, read, allow\n\
         p, names, any:anonymous, example.com, *, list, allow\n\
         p, bytes, role:dev, example.com, *, download, allow\n",
    )
    .unwrap();
    let open = |raw: &str| decide(&policy, dev(), raw).unwrap().open();
    assert!(!open("/corp.example/x/@v/list"));
    assert!(open("/example.com/x/@v/list"));
    assert!(!open("/example.com/x/@latest"));
    assert!(!open("/example.com/x/@v/main.info"));
    assert!(!open(&format!("/example.com/x/{ZIP}")));
}

#[test]
fn what_comes_out_differently_for_different_callers_is_kept_by_nobody_else() {
    let policy = with_rules(
        "p, all, any:anonymous, example.com, *, read, allow\n\
         p, late, role:dev, example.com/lib, >=v1.2.0, *, deny\n",
    )
    .unwrap();
    let open = |raw: &str| decide(&policy, dev(), raw).unwrap().open();
    for narrowed in ["@v/list", "@latest", "@v/main.info"] {
        assert!(!open(&format!("/example.com/lib/{narrowed}")), "{narrowed}");
        assert!(open(&format!("/example.com/other/{narrowed}")), "{narrowed}");
    }
    assert!(open("/example.com/lib/@v/v1.0.0.zip"));
}

#[test]
fn a_refusal_keeps_to_lines_of_79_bytes_whatever_the_names_are() {
    let (id, path) = ("r".repeat(48), format!("example.com/{}", "a/".repeat(90)));
    let rows = format!("p, {id}, any:authenticated, example.com, *, *, deny\n");
    let policy = with_rules(&rows).unwrap();
    let caller = Arc::new(Caller::imagined(&format!("user:token:{}", "u".repeat(200)), Vec::new()));
    let asked = format!("/{path}b/@v/v1.0.0.zip");
    let public = decide(&policy, caller, &asked).unwrap_err().public().into_owned();
    assert!(public.lines().all(|line| line.len() <= 79) && public.lines().count() <= 7, "{public}");
    assert!(public.contains(&id) && public.contains(&*policy.revision()), "{public}");
}

#[test]
fn a_probe_above_one_of_ten_thousand_teams_looks_at_that_team_only() {
    let rule = |number: usize| Rule {
        id: format!("t{number}"),
        subject: "role:r".to_owned(),
        target: format!("prefix-exact corp.example/team{number}/lib"),
        range: "*".to_owned(),
        action: "read".to_owned(),
        effect: Effect::Allow,
    };
    let rules: Vec<Rule> = (0..10_000).map(rule).collect();
    let ancestors = Ancestors::of(&rules);
    assert_eq!(ancestors.candidates("corp.example/team77"), [77]);
    assert_eq!(ancestors.candidates("corp.example/other"), [0; 0]);
}

/// Rows that grant reading, of which some stand above wildcards.
fn granting(dice: &mut Dice) -> Vec<Rule> {
    let count = dice.below(12) + 1;
    let rows = (0..count).filter_map(|place| {
        let host = *dice.pick(&["corp.example", "example.com", "*.com"]);
        let elements = (0..dice.below(3)).map(|_| *dice.pick(&["a", "b", "*", "a*", "A"]));
        let path = elements.fold(host.to_owned(), |path, element| format!("{path}/{element}"));
        Some(Rule {
            id: format!("r{place}"),
            subject: "role:r".to_owned(),
            target: rule::target(&path, Effect::Allow).ok()?,
            range: "*".to_owned(),
            action: (*dice.pick(&["read", "list", "download", "sumdb"])).to_owned(),
            effect: Effect::Allow,
        })
    });
    rows.collect()
}

#[test]
fn the_index_of_ancestors_finds_every_row_that_a_look_at_all_rows_finds() {
    let mut dice = Dice::new(7);
    for _case in 0..2_000 {
        let rules = granting(&mut dice);
        let elements = (0..dice.below(4)).map(|_| *dice.pick(&["a", "b", "A", "aa"]));
        let host = "example.com".to_owned();
        let path = elements.fold(host, |path, element| format!("{path}/{element}"));
        let above = |place: &usize| {
            rules.get(*place).is_some_and(|rule| {
                rule.grants_reading()
                    && rule
                        .prefix()
                        .is_some_and(|pattern| is_strict_ancestor(pattern, &path, Case::Exact))
            })
        };
        let all: Vec<usize> = (0..rules.len()).filter(above).collect();
        let found = Ancestors::of(&rules).candidates(&path);
        let indexed: Vec<usize> = found.into_iter().filter(above).collect();
        assert_eq!(all, indexed, "{path}: {rules:?}");
    }
}
