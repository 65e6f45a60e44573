//! What the rules mean, what the reader refuses, and that the index changes no decision.

use super::*;
use crate::fault::Fault as _;
use crate::fault::Kind;
use crate::goproxy::request::Routes;
use crate::policy::engine::Engine;
use crate::policy::index::Index;
use crate::policy::rule::Action;
use crate::policy::rule::Asked;
use crate::policy::rule::Effect;
use crate::policy::rule::Rule;
use proptest::prelude::*;

pub(in crate::policy) fn with_rules(rules: &str) -> Result<Policy, LoadError> {
    with_private(rules, "corp.example")
}

pub(in crate::policy) fn with_private(rules: &str, private: &str) -> Result<Policy, LoadError> {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("model.conf", loader::MODEL);
    write("roles.csv", "g, group:token:dev, role:dev\ng, role:dev, role:reader\n");
    write("rules/a.csv", rules);
    write("tests/none.toml", "expect = []\n");
    let private = vec![Prefix::parse(private).unwrap()];
    let settings = Settings { contact: Some("#mod-access".to_owned()) };
    Policy::load(&Source::Directory(directory.path().to_owned()), private, settings)
}

pub(in crate::policy) fn request(raw: &str) -> Request {
    Request::parse(raw, &Routes::new("", vec!["sum.example".to_owned()])).unwrap()
}

pub(in crate::policy) fn dev() -> Arc<Caller> {
    Arc::new(Caller::imagined("user:token:alice", vec!["group:token:dev".to_owned()]))
}

pub(in crate::policy) fn kind(policy: &Policy, raw: &str) -> Option<Kind> {
    policy.authorize(dev(), request(raw)).err().map(|refusal| refusal.kind())
}

pub(in crate::policy) const ZIP: &str = "@v/v1.0.0.zip";

#[test]
fn the_shipped_policy_loads_and_keeps_its_expectations() {
    let policy = Policy::load(&Source::Embedded, Vec::new(), Settings::default()).unwrap();
    let outcome = suite::run(&policy).unwrap();
    assert_eq!(outcome.failures(), 0, "{outcome}");
    assert!(outcome.to_string().contains("ok 12 - "), "{outcome}");
}

#[test]
fn what_no_rule_allows_is_denied_and_a_deny_wins_wherever_it_stands() {
    let policy = with_rules(
        "p, no, any:authenticated, example.com/bad, *, *, deny\n\
         p, yes, role:reader, example.com, *, read, allow\n\
         p, late, any:authenticated, =example.com/exact, *, *, deny\n",
    )
    .unwrap();
    assert_eq!(kind(&policy, &format!("/example.com/lib/{ZIP}")), None);
    assert_eq!(kind(&policy, &format!("/example.com/bad/x/{ZIP}")), Some(Kind::Denied));
    assert_eq!(kind(&policy, &format!("/example.com/!bad/x/{ZIP}")), Some(Kind::Denied));
    assert_eq!(kind(&policy, &format!("/example.com/exact/{ZIP}")), Some(Kind::Denied));
    assert_eq!(kind(&policy, &format!("/example.com/exact/below/{ZIP}")), None);
    assert_eq!(kind(&policy, &format!("/example.org/lib/{ZIP}")), Some(Kind::Denied));
    assert_eq!(kind(&policy, "/sumdb/sum.example/latest"), Some(Kind::Denied));
    assert_eq!(kind(&policy, "/sumdb/sum.example/lookup/example.com/lib@v1.0.0"), None);
    assert_eq!(kind(&policy, "/-/whoami"), None);
}

#[test]
fn two_stars_never_mean_a_private_module() {
    let policy = with_rules("p, all, role:dev, **, *, read, allow\n").unwrap();
    assert_eq!(kind(&policy, &format!("/example.com/lib/{ZIP}")), None);
    assert_eq!(kind(&policy, &format!("/corp.example/lib/{ZIP}")), Some(Kind::Denied));
    assert_eq!(kind(&policy, &format!("/corp.example/!lib/{ZIP}")), Some(Kind::Denied));
    let private = with_rules("p, all, role:dev, @private/**, *, read, allow\n").unwrap();
    assert_eq!(kind(&private, &format!("/corp.example/lib/{ZIP}")), None);
}

#[test]
fn a_path_above_is_403_below_a_private_pattern_and_404_below_a_public_one() {
    let policy = with_rules(
        "p, a, role:dev, corp.example/team/lib, *, read, allow\n\
         p, b, role:dev, example.com/team/lib, *, read, allow\n\
         p, c, role:dev, example.net/team/lib, *, read, allow\n\
         p, d, any:authenticated, example.net/team, *, *, deny\n\
         p, e, role:other, example.edu/team/lib, *, read, allow\n",
    );
    let told = policy.unwrap_err().to_string();
    assert!(told.contains("rules/a.csv:5: nobody plays role:other"), "{told}");
    let policy = with_rules(
        "p, a, role:dev, corp.example/team/lib, *, read, allow\n\
         p, b, role:dev, example.com/team/lib, *, read, allow\n\
         p, c, role:dev, example.net/team/lib, *, read, allow\n\
         p, d, any:authenticated, example.net/team, *, *, deny\n",
    )
    .unwrap();
    let refusal = |raw: &str| policy.authorize(dev(), request(raw)).unwrap_err();
    for (raw, kind, public) in [
        (
            "/corp.example/team/@v/list",
            Kind::Denied,
            "denied: corp.example/team: above what you may read",
        ),
        ("/corp.example/@v/list", Kind::Denied, "denied: corp.example: above what you may read"),
        (
            "/example.com/team/@v/list",
            Kind::NotFound,
            "not found: example.com/team: nothing is served here",
        ),
        ("/example.com/@latest", Kind::NotFound, "not found: example.com: nothing is served here"),
    ] {
        let refusal = refusal(raw);
        assert_eq!((refusal.kind(), refusal.public().as_ref()), (kind, public), "{raw}");
    }
    // a pattern that is denied again has no ancestors
    assert!(refusal("/example.net/@v/list").public().contains("no rule allows it"));
    assert!(refusal("/example.com/other/@v/list").public().contains("no rule allows it"));
}

#[test]
fn a_refusal_names_rule_revision_and_contact_in_lines_that_go_prints() {
    let policy =
        with_rules("p, no-evil, any:authenticated, example.com/bad, *, *, deny\n").unwrap();
    let refusal = policy.authorize(dev(), request("/example.com/bad/x/@v/v1.0.0.zip")).unwrap_err();
    let expected = format!(
        "denied: example.com/bad/x@v1.0.0 (zip)\nfor user:token:alice\nrule no-evil (deny), policy revision {}\nask #mod-access",
        policy.revision()
    );
    assert_eq!(refusal.public(), expected);
    let nobody = Arc::new(Caller::imagined("any:anonymous", Vec::new()));
    let refusal = policy.authorize(nobody, request("/example.com/x/@v/list")).unwrap_err();
    assert_eq!(refusal.kind(), Kind::Unauthenticated);
}

#[test]
fn a_denied_version_is_hidden_and_a_query_that_turns_out_to_be_it_is_refused() {
    let policy = with_rules(
        "p, yes, role:dev, **, *, read, allow\n\
         p, old, any:authenticated, example.com/lib, <v1.4.2, download, deny\n\
         p, pre, any:authenticated, example.com/lib, prerelease, download, deny\n",
    )
    .unwrap();
    let permit = policy.authorize(dev(), request("/example.com/lib/@v/list")).unwrap();
    for (text, shown) in [
        ("v1.4.1", false),
        ("v1.4.2", true),
        ("v1.5.0-rc.1", false),
        ("v0.0.0-20240102030405-0123456789ab", false),
    ] {
        let version = Version::parse(text).unwrap();
        assert_eq!(permit.allows_version(&version), shown, "{text}");
        assert_eq!(permit.resolve(&version).is_ok(), shown, "{text}");
    }
    assert_eq!(kind(&policy, "/example.com/lib/@v/v1.4.1.mod"), Some(Kind::Denied));
    assert_eq!(kind(&policy, "/example.com/lib/@v/v1.4.2.mod"), None);
}

#[test]
fn only_what_anybody_may_have_is_open() {
    let policy = with_rules(
        "p, open, any:anonymous, example.com/open, *, read, allow\np, dev, role:dev, example.com, *, read, allow\n",
    )
    .unwrap();
    let open = |raw: &str| policy.authorize(dev(), request(raw)).unwrap().open();
    assert!(open("/example.com/open/x/@v/list"));
    assert!(!open("/example.com/closed/x/@v/list"));
}

#[test]
fn a_decision_is_remembered_and_says_so() {
    let policy = with_rules("p, dev, role:dev, example.com, *, read, allow\n").unwrap();
    let cached =
        || policy.authorize(dev(), request("/example.com/a/@v/list")).unwrap().verdict.cached;
    assert_eq!((cached(), cached()), (false, true));
}

#[test]
fn every_problem_of_a_policy_is_told_with_its_file_and_line() {
    let rows = "p, one, role:dev, **, *, read, allow\n\
                p, one, role:dev, example.com, *, read, allow\n\
                p, two, role:dev, **, *, read, allow\n\
                p, b1, dev, **, *, read, allow\n\
                p, b2, role:dev, **, *, write, allow\n\
                p, b3, role:dev, **, *, *, allow\n\
                p, b4, role:dev, **, *, read, maybe\n\
                p, b5, role:dev, Corp.example, *, read, allow\n\
                p, b6, role:dev, =example.com/x, *, read, allow\n\
                p, b7, role:dev, example.com, v1, read, allow\n\
                p, b8, role:dev, example.com, , read, allow\n\
                p, b9, role:dev, example.com, *, read\n\
                q, x\n\
                p, c1, role:dev, \"example.com\", *, read, allow\n\
                p,\tc2, role:dev, example.com/t, *, read, allow\n\
                p, c3, role:dev, example.com/r, *, read, allow\r\n\
                p, c4, role:dev, ex\u{e4}mple.com, *, read, allow\n\
                p, c5, role:dev, example.com/c, *, read, allow # why\n\
                p, c6, role:dev, @gateway, *, read, allow\n\
                p, c7, role:nobody, example.com/n, *, read, allow\n\
                p, c8, any:body, example.com/b, *, read, allow\n\
                p, c9, role:dev, example.com/**, *, read, allow\n";
    let told = with_rules(rows).unwrap_err().to_string();
    for line in 2..=22 {
        assert!(
            told.contains(&format!("rules/a.csv:{line}: ")),
            "nothing about line {line} in:\n{told}"
        );
    }
    assert!(!told.contains("rules/a.csv:1: "), "{told}");
    assert!(with_rules("# nothing\n").unwrap_err().to_string().contains("there is no rule"));
}

#[test]
fn a_changed_model_and_roles_in_a_circle_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("rules")).unwrap();
    std::fs::create_dir_all(directory.path().join("tests")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("model.conf", &loader::MODEL.replace("!some", "some"));
    write("roles.csv", "g, role:a, role:b\ng, role:b, role:a\n");
    write("rules/a.csv", "p, x, role:a, **, *, read, allow\n");
    let source = Source::Directory(directory.path().to_owned());
    let told = Policy::load(&source, Vec::new(), Settings::default()).unwrap_err().to_string();
    assert!(
        told.contains("model.conf:1: it differs") && told.contains("leads back to itself"),
        "{told}"
    );
}

fn joined(host: &str, rest: &[String]) -> String {
    rest.iter().fold(host.to_owned(), |path, element| path + "/" + element.as_str())
}

pub(in crate::policy) fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let element = prop_oneof!["[ab]", "\\*", "a\\*", "A"];
    let path = (
        prop_oneof![Just("corp.example"), Just("example.com"), Just("*.com")],
        proptest::collection::vec(element, 0..3),
    )
        .prop_map(|(host, rest)| joined(host, &rest));
    let target = prop_oneof![
        path.clone(),
        path,
        Just("**".to_owned()),
        Just("@private/**".to_owned()),
        Just("@sumdb".to_owned())
    ];
    let row = (
        prop_oneof![Just("role:r"), Just("user:token:u"), Just("any:authenticated")],
        target,
        prop_oneof![
            Just("*"),
            Just("<v1.4.2"),
            Just("v1.0.0"),
            Just("prerelease"),
            Just(">=v1.0.0 <v1.5.0")
        ],
        prop_oneof![Just("read"), Just("list"), Just("download"), Just("sumdb")],
        any::<bool>(),
        any::<bool>(),
    );
    proptest::collection::vec(row, 1..12).prop_map(|rows| {
        let rule = |(place, (subject, target, range, action, allow, exact)): (
            usize,
            (&str, String, &str, &str, bool, bool),
        )| {
            let effect = if allow { Effect::Allow } else { Effect::Deny };
            let exact = exact && !allow && !target.contains(['*', '@']);
            let text = if exact { format!("={target}") } else { target };
            Some(Rule {
                id: format!("r{place}"),
                subject: subject.to_owned(),
                target: rule::target(&text, effect).ok()?,
                range: range.to_owned(),
                action: action.to_owned(),
                effect,
            })
        };
        rows.into_iter().enumerate().filter_map(rule).collect()
    })
}

pub(in crate::policy) fn asked() -> impl Strategy<Value = Asked> {
    let path = (
        prop_oneof![Just("corp.example"), Just("example.com"), Just("x.com")],
        proptest::collection::vec("[abAB]", 0..4),
    )
        .prop_map(|(host, rest)| joined(host, &rest));
    let version = prop_oneof![Just(""), Just("v1.0.0"), Just("v1.4.2"), Just("v1.4.2-rc.1")];
    let action = prop_oneof![Just(Action::List), Just(Action::Download), Just(Action::Sumdb)];
    (path, version, action).prop_map(|(path, version, action)| {
        let class = if path.starts_with("corp.example") { "private" } else { "public" };
        Asked { module: format!("{class} {path}"), version: version.to_owned(), action }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn casbin_over_the_candidates_is_casbin_over_all_rows_and_our_own_evaluation(rules in rules(), asked in asked()) {
        let subjects = "any:authenticated\nrole:r";
        let engine = Engine::default();
        let all: Vec<&Rule> = rules.iter().collect();
        prop_assume!(!all.is_empty());
        let over_all = engine.decide(&all, subjects, &asked).unwrap();
        let candidates: Vec<&Rule> =
            Index::of(&rules)
            .candidates(&asked)
            .into_iter()
            .filter_map(|place| rules.get(place))
            .filter(|rule| rule.concerns(subjects, &asked))
            .collect();
        let over_candidates = match candidates.as_slice() {
            [] => false,
            rows => engine.decide(rows, subjects, &asked).unwrap(),
        };
        let lost: Vec<&&Rule> =
            all.iter().filter(|rule| rule.applies(subjects, &asked) && !candidates.contains(*rule)).collect();
        prop_assert!(lost.is_empty(), "{:?}", lost);
        let applies = |effect| rules.iter().any(|rule| rule.effect == effect && rule.applies(subjects, &asked));
        let ours = applies(Effect::Allow) && !applies(Effect::Deny);
        prop_assert_eq!(over_all, over_candidates);
        prop_assert_eq!(over_all, ours);
    }
}
