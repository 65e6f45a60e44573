//! What the rules mean, what the reader refuses, and that the index changes no decision.

mod bad;
pub(in crate::policy) mod dice;
mod differential;
mod hazards;
mod lint;
mod mutation;
mod reload;
mod suites;
mod swaps;

use super::*;
use crate::fault::Fault as _;
use crate::fault::Kind;
use crate::goproxy::request::Routes;
use crate::goproxy::version::Version;
use crate::policy::draft::Draft;
use std::path::Path;
use std::time::SystemTime;

pub(in crate::policy) fn with_rules(rules: &str) -> Result<Policy, LoadError> {
    with_private(rules, "corp.example")
}

pub(in crate::policy) fn with_private(rules: &str, private: &str) -> Result<Policy, LoadError> {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "model.conf", loader::MODEL);
    write(
        directory.path(),
        "roles.csv",
        "g, group:token:dev, role:dev\ng, role:dev, role:reader\n",
    );
    write(directory.path(), "rules/a.csv", rules);
    write(directory.path(), "tests/none.toml", "");
    read(&Sources {
        private: vec![Prefix::parse(private).unwrap()],
        settings: Settings { contact: Some(Arc::from("#mod-access")), ..Settings::default() },
        ..Sources::of(Source::Directory(directory.path().to_owned()))
    })
}

pub(in crate::policy) fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A policy without the steps of a reload after the reading.
pub(in crate::policy) fn read(sources: &Sources) -> Result<Policy, LoadError> {
    let draft = Draft::read(sources)?;
    let policy = Policy::none(sources.clone());
    policy.snapshot.store(draft.snapshot);
    Ok(policy)
}

pub(in crate::policy) fn here() -> Circumstances {
    Circumstances { source: "10.20.3.4".parse().unwrap(), now: SystemTime::UNIX_EPOCH }
}

pub(in crate::policy) fn decide(
    policy: &Policy,
    caller: Arc<Caller>,
    raw: &str,
) -> Result<Permit, Refusal> {
    policy.authorize(caller, request(raw), here())
}

pub(in crate::policy) fn request(raw: &str) -> Request {
    Request::parse(raw, &Routes::new("", vec!["sum.example".to_owned()])).unwrap()
}

pub(in crate::policy) fn dev() -> Arc<Caller> {
    Arc::new(Caller::imagined("user:token:alice", vec!["group:token:dev".to_owned()]))
}

pub(in crate::policy) fn kind(policy: &Policy, raw: &str) -> Option<Kind> {
    decide(policy, dev(), raw).err().map(|refusal| refusal.kind())
}

pub(in crate::policy) const ZIP: &str = "@v/v1.0.0.zip";

#[test]
fn the_shipped_policy_loads_and_keeps_its_expectations() {
    let draft = Draft::read(&Sources::of(Source::Embedded)).unwrap();
    let outcome = draft.test().unwrap();
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
    assert!(told.contains("rules/a.csv:5:1: nobody plays role:other"), "{told}");
    let policy = with_rules(
        "p, a, role:dev, corp.example/team/lib, *, read, allow\n\
         p, b, role:dev, example.com/team/lib, *, read, allow\n\
         p, c, role:dev, example.net/team/lib, *, read, allow\n\
         p, d, any:authenticated, example.net/team, *, *, deny\n",
    )
    .unwrap();
    let refusal = |raw: &str| decide(&policy, dev(), raw).unwrap_err();
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
    let refusal = decide(&policy, dev(), "/example.com/bad/x/@v/v1.0.0.zip").unwrap_err();
    let expected = format!(
        "denied: example.com/bad/x@v1.0.0 (zip)\nfor user:token:alice\nrule no-evil (deny), policy revision {}\nask #mod-access",
        policy.revision()
    );
    assert_eq!(refusal.public(), expected);
    let nobody = Arc::new(Caller::imagined("any:anonymous", Vec::new()));
    let refusal = decide(&policy, nobody, "/example.com/x/@v/list").unwrap_err();
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
    let permit = decide(&policy, dev(), "/example.com/lib/@v/list").unwrap();
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
    let open = |raw: &str| decide(&policy, dev(), raw).unwrap().open();
    assert!(open("/example.com/open/x/@v/list"));
    assert!(!open("/example.com/closed/x/@v/list"));
}

#[test]
fn a_decision_is_remembered_and_says_so() {
    let policy = with_rules("p, dev, role:dev, example.com, *, read, allow\n").unwrap();
    let cached = || decide(&policy, dev(), "/example.com/a/@v/list").unwrap().verdict.cached;
    assert_eq!((cached(), cached()), (false, true));
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
    let sources = Sources::of(Source::Directory(directory.path().to_owned()));
    let told = Draft::read(&sources).unwrap_err().to_string();
    assert!(
        told.contains("model.conf:1:1: it differs") && told.contains("leads back to itself"),
        "{told}"
    );
}
