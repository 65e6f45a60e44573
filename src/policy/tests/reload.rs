//! What a look at the sources comes to: each step that refuses, emergency denies, candidates, conditions and admission.

use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::policy::decision::Right;
use crate::policy::overlay::Wanted;
use crate::telemetry::labels::policy::DecisionReason;
use crate::telemetry::labels::policy::PolicyReload;

/// A policy in a directory, with its denies beside it.
struct World {
    directory: tempfile::TempDir,
    clock: ManualClock,
    denies: Denies,
}

impl World {
    fn new(rules: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let denies = Denies::new(directory.path().join("denies.json"));
        let world = Self { directory, clock: ManualClock::at_unix(1_800_000_000), denies };
        for folder in ["policy", "candidate"] {
            world.write(folder, "model.conf", loader::MODEL);
            world.write(folder, "roles.csv", "g, group:token:dev, role:dev\n");
            world.write(folder, "rules/a.csv", rules);
            world.write(folder, "tests/none.toml", "");
        }
        world
    }

    fn write(&self, folder: &str, name: &str, text: &str) {
        write(&self.directory.path().join(folder), name, text);
    }

    fn sources(&self) -> Sources {
        Sources {
            private: vec![Prefix::parse("corp.example").unwrap()],
            denies: Some(self.denies.clone()),
            ..Sources::of(Source::Directory(self.directory.path().join("policy")))
        }
    }

    fn policy(&self) -> Policy {
        let policy = Policy::none(self.sources());
        let reload = policy.reload(&self.clock);
        assert!(!reload.activated.is_empty(), "{:?}", reload.rejected);
        policy
    }
}

const READ: &str = "# owner: #go-admins\np, read, role:dev, **, *, read, allow\n";
const ZIP: &str = "/example.com/lib/@v/v1.4.1.zip";

#[test]
fn each_step_refuses_what_is_its_business_and_tells_it_once() {
    let world = World::new(READ);
    let policy = world.policy();
    let open = "p, open, any:authenticated, corp.example/x, *, read, allow\n";
    let expectation = "[[expect]]\nname = \"nobody reads\"\ngroups = [\"group:token:dev\"]\nmodule = \"example.com/lib\"\noutcome = \"deny\"\n";
    for (file, text, step, told) in [
        ("rules/b.csv", "p, x\n", PolicyReload::Parse, "rules/b.csv:1:1: a rule has 7 columns"),
        ("rules/b.txt", "p, x\n", PolicyReload::Io, "rules/b.txt: only files that end in .csv"),
        (
            "gates.toml",
            "[x]\nrules = [\"none\"]\nmethod = [\"mtls\"]\n",
            PolicyReload::Parse,
            "gates.toml: [x]: there is no rule none",
        ),
        (
            "rules/b.csv",
            open,
            PolicyReload::Lint,
            "rules/b.csv:1: error L-PRIVATE-OPEN open: any:authenticated reads a private prefix",
        ),
        (
            "lint-allow.toml",
            "[[allow]]\nlint = \"L-NO-OWNER\"\nabout = \"x\"\nreason = \"\"\n",
            PolicyReload::Lint,
            "give a reason",
        ),
        (
            "tests/b.toml",
            expectation,
            PolicyReload::Suite,
            "tests/b.toml: nobody reads: found allow",
        ),
        (
            "tests/b.toml",
            "[[expect]]\nnam = \"x\"\n",
            PolicyReload::Suite,
            "tests/b.toml:2:1: unknown field",
        ),
    ] {
        world.write("policy", file, text);
        let mut reload = policy.reload(&world.clock);
        let rejected = reload.rejected.pop().unwrap_or_else(|| panic!("{file} {text}"));
        assert_eq!(rejected.step, step, "{rejected}");
        assert!(rejected.problems.iter().any(|problem| problem.contains(told)), "{rejected:?}");
        let again = policy.reload(&world.clock);
        assert!(again.rejected.is_empty() && again.behind.is_some(), "told twice: {file}");
        assert_eq!(kind(&policy, ZIP), None);
        std::fs::remove_file(world.directory.path().join("policy").join(file)).unwrap();
        // as it was before: nothing new, but no longer refused
        assert_eq!(policy.reload(&world.clock).behind, None);
    }
}

#[test]
fn an_accepted_finding_says_why_and_keeps_nobody_from_work() {
    let world =
        World::new(&format!("{READ}p, open, any:authenticated, corp.example/x, *, read, allow\n"));
    let allow = "[[allow]]\nlint = \"L-PRIVATE-OPEN\"\nabout = \"open\"\nreason = \"published on purpose\"\n";
    world.write("policy", "lint-allow.toml", allow);
    let policy = world.policy();
    assert_eq!(kind(&policy, "/corp.example/x/@v/list"), None);
}

#[test]
fn an_emergency_deny_is_in_force_at_the_next_look_and_ends_by_itself() {
    let world = World::new(READ);
    let policy = world.policy();
    assert_eq!(kind(&policy, ZIP), None);
    let wanted = |what: &str, life| Wanted {
        what: what.to_owned(),
        reason: "malware, see SEC-7".to_owned(),
        life,
    };
    world.denies.add(&wanted("Example.com/lib", None), &world.clock).unwrap_err();
    let life = Some(Duration::from_hours(1));
    world.denies.add(&wanted("example.com/Lib@<v1.4.2", life), &world.clock).unwrap();
    let activated = policy.reload(&world.clock).activated.pop().unwrap();
    assert_eq!((activated.denies.len(), activated.changes.len()), (1, 1));
    let refusal = decide(&policy, dev(), ZIP).unwrap_err();
    let public = refusal.public().into_owned();
    assert!(
        public.contains("rule deny-")
            && public.contains(" (deny)")
            && public.contains("why: malware, see SEC-7"),
        "{public}"
    );
    assert_eq!(kind(&policy, "/example.com/lib/@v/v1.4.2.zip"), None);
    // also while the reviewed files are broken, and over those that come next
    world.write("policy", "rules/b.csv", "p, x\n");
    world.denies.add(&wanted("example.com/other", None), &world.clock).unwrap();
    let reload = policy.reload(&world.clock);
    assert!(!reload.rejected.is_empty() && !reload.activated.is_empty());
    assert_eq!(kind(&policy, "/example.com/other/@v/list"), Some(Kind::Denied));
    world.write("policy", "rules/b.csv", "p, more, role:dev, corp.example, *, read, allow\n");
    assert!(!policy.reload(&world.clock).activated.is_empty());
    assert_eq!(kind(&policy, "/example.com/other/@v/list"), Some(Kind::Denied));
    world.clock.advance(Duration::from_hours(1));
    assert!(!policy.reload(&world.clock).activated.is_empty());
    assert_eq!(kind(&policy, ZIP), None);
    // what cannot be read takes no deny away
    std::fs::write(world.directory.path().join("denies.json"), "words").unwrap();
    let reload = policy.reload(&world.clock);
    assert!(!reload.rejected.is_empty() && reload.activated.is_empty());
    assert_eq!(kind(&policy, "/example.com/other/@v/list"), Some(Kind::Denied));
}

#[test]
fn an_emergency_deny_waits_for_no_other_look() {
    let world = World::new(READ);
    let policy = world.policy();
    let wanted = Wanted { what: "example.com/lib".into(), reason: "malware".into(), life: None };
    // somebody else looks at the rules, and their expectations take as long as they like
    let looking = policy.looked.lock().unwrap();
    world
        .denies
        .add(&Wanted { what: "example.com/other".into(), ..wanted.clone() }, &world.clock)
        .unwrap();
    assert_eq!(policy.reload_denies(&world.clock).activated.len(), 1);
    assert_eq!(kind(&policy, "/example.com/other/@v/list"), Some(Kind::Denied));
    world.denies.add(&wanted, &world.clock).unwrap();
    std::thread::scope(|scope| {
        let own = scope.spawn(|| policy.reload(&world.clock));
        while kind(&policy, ZIP) != Some(Kind::Denied) {
            assert!(!own.is_finished(), "the look ended without the deny");
            std::thread::yield_now();
        }
        assert!(!own.is_finished(), "two looked at the rules at once");
        drop(looking);
        assert_eq!(own.join().unwrap().activated.len(), 1);
    });
}

#[test]
fn without_its_emergency_denies_no_policy_begins() {
    let world = World::new(READ);
    let file = world.directory.path().join("denies.json");
    let wanted = Wanted { what: "example.com/lib".into(), reason: "malware".into(), life: None };
    world.denies.add(&wanted, &world.clock).unwrap();
    let whole = std::fs::read_to_string(&file).unwrap();
    for broken in ["words", &whole.replace("example.com/lib", "example.com//lib")] {
        std::fs::write(&file, broken).unwrap();
        let policy = Policy::none(world.sources());
        let reload = policy.reload(&world.clock);
        assert!(reload.activated.is_empty() && reload.behind.is_some(), "{broken}");
        assert_eq!(kind(&policy, ZIP), Some(Kind::Unavailable), "{broken}");
        std::fs::write(&file, &whole).unwrap();
        assert_eq!(policy.reload(&world.clock).behind, None);
        assert_eq!(kind(&policy, ZIP), Some(Kind::Denied), "{broken}");
    }
}

#[test]
fn what_is_refused_stays_told_until_it_is_mended_whatever_else_changes() {
    let world = World::new(READ);
    let policy = world.policy();
    world.write("policy", "rules/b.csv", "p, x\n");
    assert!(policy.reload(&world.clock).behind.is_some());
    let wanted = Wanted { what: "example.com/lib".into(), reason: "malware".into(), life: None };
    world.denies.add(&wanted, &world.clock).unwrap();
    let reload = policy.reload(&world.clock);
    assert!(!reload.activated.is_empty() && reload.behind.is_some());
    world.write("policy", "rules/b.csv", "");
    assert_eq!(policy.reload(&world.clock).behind, None);
    // a file of denies that is broken and then as it was
    let file = world.directory.path().join("denies.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "words").unwrap();
    assert!(policy.reload(&world.clock).behind.is_some());
    std::fs::write(&file, whole).unwrap();
    assert_eq!(policy.reload(&world.clock).behind, None);
}

#[test]
fn a_candidate_decides_nothing_and_says_where_it_would_differ() {
    let world = World::new(READ);
    let source = Source::Directory(world.directory.path().join("candidate"));
    world.write(
        "candidate",
        "rules/b.csv",
        "p, wall, any:authenticated, example.com/lib, *, *, deny\n",
    );
    let policy = Policy::none(Sources { candidate: Some(source), ..world.sources() });
    let revision = policy.reload(&world.clock).candidate.unwrap().unwrap();
    assert_eq!(policy.candidate_revision(), Some(revision.clone()));
    let permit = decide(&policy, dev(), ZIP).unwrap();
    let shadow = permit.shadow.unwrap();
    assert_eq!(
        shadow.decision,
        (crate::telemetry::labels::Decision::Deny, DecisionReason::PolicyDeny)
    );
    assert_eq!((shadow.rule.as_deref(), shadow.revision), (Some("wall"), revision));
    assert!(decide(&policy, dev(), "/example.com/other/@v/list").unwrap().shadow.is_none());
    // what an emergency deny refuses, it would refuse under the candidate as well
    let wanted = Wanted { what: "example.com/other".into(), reason: "malware".into(), life: None };
    world.denies.add(&wanted, &world.clock).unwrap();
    policy.reload(&world.clock);
    let refusal = decide(&policy, dev(), "/example.com/other/@v/list").unwrap_err();
    assert!(refusal.shadow.is_none());
    world.write("candidate", "rules/b.csv", "p, wall\n");
    assert!(policy.reload(&world.clock).candidate.unwrap().is_err());
    assert!(decide(&policy, dev(), ZIP).unwrap().shadow.is_none());
}

#[test]
fn a_condition_is_looked_at_for_every_request_and_never_remembered() {
    let rules = "p, ci, role:dev, example.com, *, read, allow\np, late, role:dev, example.com/lib, *, read, allow\n";
    let world = World::new(rules);
    world.write("policy", "gates.toml", "[ci-net]\nrules = [\"ci\"]\ncidr = [\"10.20.0.0/16\"]\n\n[until-may]\nrules = [\"late\"]\nuntil = 1970-05-01\n");
    let policy = world.policy();
    let from = |source: &str, days: u64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
        let circumstances = Circumstances { source: source.parse().unwrap(), now };
        match policy.authorize(dev(), request(ZIP), circumstances) {
            Ok(permit) => {
                permit.snapshot.told(permit.verdict.rule.unwrap()).unwrap().id.to_string()
            }
            Err(refusal) => refusal.public().into_owned(),
        }
    };
    assert_eq!(from("10.20.1.1", 0), "ci");
    assert_eq!(from("10.21.1.1", 0), "late");
    let told = from("10.21.1.1", 200);
    assert!(told.contains("rule ci allows it only under ci-net"), "{told}");
    assert_eq!(from("::ffff:10.20.1.1", 200), "ci");
    // what has a condition is kept by nobody else
    let permit = decide(&policy, dev(), ZIP).unwrap();
    assert!(!permit.open());
}

#[test]
fn explicit_admission_opens_new_versions_to_those_who_may_admit_them() {
    let world =
        World::new(&format!("{READ}p, first, group:token:release, example.com, *, admit, allow\n"));
    let settings = Settings { admission: Admission::Explicit, ..Settings::default() };
    let policy = Policy::none(Sources { settings, ..world.sources() });
    policy.reload(&world.clock);
    let permit = decide(&policy, dev(), ZIP).unwrap();
    let refusal = permit.admitted().unwrap_err();
    assert_eq!(
        (refusal.kind(), refusal.verdict.reason),
        (Kind::Denied, DecisionReason::NotAdmitted)
    );
    assert!(
        refusal.public().contains("nobody who may admit it has fetched it yet"),
        "{}",
        refusal.public()
    );
    assert!(permit.for_retractions(&Version::parse("v1.5.0").unwrap()).admitted().is_ok());
    let groups = vec!["group:token:dev".to_owned(), "group:token:release".to_owned()];
    let releaser = Arc::new(Caller::imagined("user:token:ci", groups));
    assert!(decide(&policy, releaser, ZIP).unwrap().admitted().is_ok());
    assert!(decide(&policy, dev(), "/example.com/lib/@v/list").unwrap().admitted().is_ok());
    // implied: whoever may download it
    assert!(decide(&world.policy(), dev(), ZIP).unwrap().admitted().is_ok());
}

#[test]
fn what_nobody_had_admitted_is_no_access_gained_when_the_past_is_decided_again() {
    let world =
        World::new(&format!("{READ}p, first, group:token:release, example.com, *, admit, allow\n"));
    let event = |groups: &str| {
        format!(
            "{{\"decision\":{{\"effect\":\"deny\",\"reason\":\"not_admitted\"}},\
             \"actor\":{{\"id\":\"user:token:alice\",\"groups\":[{groups}]}},\
             \"resource\":{{\"module\":\"example.com/lib\",\"artifact\":\"zip\",\"version\":\"v1.4.1\"}}}}"
        )
    };
    let (dev, both) = ("\"group:token:dev\"", "\"group:token:dev\",\"group:token:release\"");
    for (admission, groups, differing) in [
        (Admission::Explicit, dev, 0),
        (Admission::Explicit, both, 1),
        (Admission::Implied, dev, 1),
    ] {
        let settings = Settings { admission, ..Settings::default() };
        let draft = Draft::read(&Sources { settings, ..world.sources() }).unwrap();
        let mut replay = replay::Replay::default();
        replay.event(&draft, &event(groups));
        assert_eq!(replay.differing(), differing, "{admission:?} {groups}: {replay}");
    }
}

#[test]
fn operators_need_rows_of_their_own() {
    let world = World::new(&format!("{READ}p, ask, role:dev, @gateway, *, policy.read, allow\n"));
    let policy = world.policy();
    let permit = decide(&policy, dev(), "/-/why").unwrap();
    assert!(permit.operates(Right::PolicyRead).is_ok());
    for right in
        [Right::Purge, Right::PolicyWrite, Right::AuditRead, Right::AuditExport, Right::Admin]
    {
        assert_eq!(permit.operates(right).unwrap_err().kind(), Kind::Denied, "{right:?}");
    }
    // a token for some modules is good for nothing else, whoever it belongs to
    let limited = (*dev()).clone().limited(vec!["example.com".to_owned()]);
    let permit = decide(&policy, Arc::new(limited), "/-/why").unwrap();
    assert_eq!(permit.operates(Right::PolicyRead).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_version_bound_right_shows_its_versions_and_no_others() {
    let rules = "p, names, role:dev, example.com, *, list, allow\np, some, role:dev, example.com/lib, >=v1.4.2, download, allow\n";
    let world = World::new(rules);
    let policy = world.policy();
    let permit = decide(&policy, dev(), "/example.com/lib/@v/list").unwrap();
    let shown = |permit: &Permit, text: &str| permit.allows_version(&Version::parse(text).unwrap());
    assert!(permit.tells_versions_apart());
    assert_eq!((shown(&permit, "v1.4.1"), shown(&permit, "v1.4.2")), (false, true));
    // who may list and download nothing sees all names
    let permit = decide(&policy, dev(), "/example.com/other/@v/list").unwrap();
    assert!(!permit.tells_versions_apart() && shown(&permit, "v1.0.0"));
}
