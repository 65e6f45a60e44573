//! Four ways to the same decision: the snapshot (index, reduced subjects, cache), Casbin over all rows with every subject,
//! and a reading of the language that shares no code with either.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::policy::engine::Engine;
use crate::policy::files::Files;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::rule::Rule;
use crate::policy::snapshot::Asker;
use crate::policy::tests::dice::Dice;
use crate::policy::tests::dice::cases;

/// A row before it is text.
struct Row {
    subject: String,
    modules: String,
    versions: &'static str,
    action: &'static str,
    allow: bool,
}

impl Row {
    fn columns(&self) -> String {
        let effect = if self.allow { "allow" } else { "deny" };
        let Self { subject, modules, versions, action, .. } = self;
        format!("{subject}, {modules}, {versions}, {action}, {effect}")
    }
}

/// A policy, the steps of its roles, and rows with a condition each.
struct Made {
    rows: Vec<Row>,
    steps: Vec<(String, String)>,
    gates: Vec<(usize, Condition)>,
}

/// What a row asks for besides.
#[derive(Clone, Copy)]
enum Condition {
    Realm(&'static str),
    Network,
    Until,
}

impl Condition {
    fn line(self) -> String {
        match self {
            Self::Realm(realm) => format!("method = [\"{realm}\"]"),
            Self::Network => "cidr = [\"10.0.0.0/8\"]".to_owned(),
            Self::Until => "until = 2027-01-01".to_owned(),
        }
    }

    fn holds(self, realm: &str, circumstances: &Circumstances) -> bool {
        match self {
            Self::Realm(wanted) => wanted == realm,
            Self::Network => circumstances.source.to_string().starts_with("10."),
            Self::Until => circumstances.now == SystemTime::UNIX_EPOCH,
        }
    }
}

const CONDITIONS: [Condition; 4] =
    [Condition::Realm("token"), Condition::Realm("mtls"), Condition::Network, Condition::Until];

const PRIVATE: &str = "corp.example";
const HOSTS: [&str; 4] = ["corp.example", "example.com", "x.example.com", "corp.example2"];
const ELEMENTS: [&str; 7] = ["a", "b", "A", "ab", "Ab", "c-d", "v2"];
const PATTERNS: [&str; 9] = ["a", "b", "A", "ab", "*", "a*", "?b", "*b*", "v2"];
const RANGES: [&str; 9] = [
    "*",
    "*",
    "v1.0.0",
    "<v1.4.2",
    ">=v1.0.0 <v1.5.0",
    ">v1.4.2",
    "<=v1.4.2-rc.1",
    "pseudo",
    "prerelease",
];
const VERSIONS: [&str; 7] = [
    "v1.0.0",
    "v1.4.2",
    "v1.4.2-rc.1",
    "v1.4.3",
    "v2.0.0+incompatible",
    "v0.0.0-20240102030405-0123456789ab",
    "v1.5.0",
];
const ROLES: [&str; 5] = ["role:a", "role:b", "role:c", "role:d", "role:e"];
const SUBJECTS: [&str; 6] = [
    "user:token:alice",
    "group:token:dev",
    "any:authenticated",
    "any:anonymous",
    "user:token:bob",
    "group:ldap/corp:dev",
];

fn path(dice: &mut Dice, elements: &[&str]) -> String {
    let host = (*dice.pick(&HOSTS)).to_owned();
    let count = dice.below(4);
    (0..count).fold(host, |path, _| format!("{path}/{}", dice.pick(elements)))
}

fn made(dice: &mut Dice) -> Made {
    // a role leads only to later ones, so there is no circle
    let mut steps: BTreeSet<(String, String)> = BTreeSet::new();
    for (at, role) in ROLES.iter().enumerate() {
        steps.insert(((*dice.pick(&SUBJECTS)).to_owned(), (*role).to_owned()));
        if at + 1 < ROLES.len() && dice.below(2) == 0 {
            steps.insert(((*role).to_owned(), (*dice.pick(&ROLES[at + 1..])).to_owned()));
        }
    }
    let count = dice.below(24) + 1;
    let rows = (0..count).map(|_| {
        let allow = dice.below(3) > 0;
        let modules = match dice.below(10) {
            0 => "**".to_owned(),
            1 => "@private/**".to_owned(),
            2 => (*dice.pick(&["@sumdb", "@gateway"])).to_owned(),
            3 if !allow => format!("={}", path(dice, &ELEMENTS)),
            4 if !allow => format!("*{}", path(dice, &PATTERNS)),
            _ => path(dice, &PATTERNS),
        };
        let actions: &[&str] = match (modules.as_str(), allow) {
            ("@sumdb", true) => &["sumdb", "read"],
            ("@sumdb", false) => &["sumdb", "read", "*"],
            ("@gateway", true) => &["purge", "policy.write", "audit.read", "admin"],
            ("@gateway", false) => &["purge", "audit.read", "admin", "*"],
            (_, true) => &["read", "read", "list", "download", "sumdb", "admit"],
            (_, false) => &["read", "list", "download", "sumdb", "admit", "*"],
        };
        let subject = if dice.below(2) == 0 { *dice.pick(&ROLES) } else { *dice.pick(&SUBJECTS) };
        let (versions, action) = (*dice.pick(&RANGES), *dice.pick(actions));
        Row { subject: subject.to_owned(), modules, versions, action, allow }
    });
    let mut rows: Vec<Row> = rows.collect();
    // rows that say the same are refused
    let mut seen = BTreeSet::new();
    rows.retain(|row| seen.insert(row.columns()));
    let bound: Vec<usize> =
        (0..rows.len()).filter(|place| rows[*place].allow && dice.below(6) == 0).collect();
    let gates = bound.into_iter().map(|place| (place, *dice.pick(&CONDITIONS))).collect();
    Made { rows, steps: steps.into_iter().collect(), gates }
}

impl Made {
    /// As files.
    fn files(&self) -> Files {
        let mut rules = String::new();
        for (place, row) in self.rows.iter().enumerate() {
            let _written = writeln!(rules, "p, r{place}, {}", row.columns());
        }
        let steps = self.steps.iter().map(|(member, role)| format!("g, {member}, {role}\n"));
        let gates = self.gates.iter().map(|(place, condition)| {
            format!("[g{place}]\nrules = [\"r{place}\"]\n{}\n", condition.line())
        });
        let gates: String = gates.collect();
        let named = |name: &str, text: String| (name.to_owned(), text);
        Files::of(vec![
            named("model.conf", loader::MODEL.to_owned()),
            named("roles.csv", steps.collect()),
            named("rules/a.csv", rules),
            named("gates.toml", gates),
        ])
    }

    /// Every name of a caller.
    fn names(&self, caller: &Caller) -> BTreeSet<String> {
        let mut names = BTreeSet::from(["any:anonymous".to_owned()]);
        if !caller.is_anonymous() {
            names.extend(["any:authenticated".to_owned(), caller.principal().to_owned()]);
        }
        names.extend(caller.groups().iter().cloned());
        loop {
            let before = names.len();
            for (member, role) in &self.steps {
                if names.contains(member) {
                    names.insert(role.clone());
                }
            }
            if names.len() == before {
                return names;
            }
        }
    }

    /// The language, read once more and as simply as it can be said: what the rows allow, and what is left of that
    /// under their conditions.
    fn allows(
        &self,
        names: &BTreeSet<String>,
        question: Question<'_>,
        asker: Asker<'_>,
    ) -> (bool, bool) {
        let applies = |row: &Row| {
            names.contains(&row.subject)
                && means_action(row.action, question.action)
                && means_module(row, question.name)
                && means_version(row.versions, question.version)
        };
        let (mut allowed, mut open, mut denied) = (false, false, false);
        for (place, row) in self.rows.iter().enumerate().filter(|(_, row)| applies(row)) {
            if row.allow {
                let mut conditions = self.gates.iter().filter(|(bound, _)| *bound == place);
                allowed = true;
                open |= conditions.all(|(_, one)| one.holds(asker.realm, &asker.circumstances));
            } else {
                denied = true;
            }
        }
        (allowed && !denied, open && !denied)
    }
}

fn means_action(column: &str, action: Action) -> bool {
    match column {
        "*" => true,
        "read" => matches!(action, Action::List | Action::Download | Action::Sumdb),
        word => word == action.word(),
    }
}

fn means_module(row: &Row, name: &str) -> bool {
    let under = |prefix: &str, path: &str| {
        let (prefix, path) = (prefix.to_lowercase(), path.to_lowercase());
        path == prefix || path.starts_with(&format!("{prefix}/"))
    };
    let private = under(PRIVATE, name);
    match (row.modules.as_str(), name) {
        (resource @ ("@sumdb" | "@gateway"), name) => name == resource,
        (_, "@sumdb" | "@gateway") => false,
        ("**", _) => !row.allow || !private,
        ("@private/**", _) => private,
        (modules, name) => {
            let fold = |text: &str| if row.allow { text.to_owned() } else { text.to_lowercase() };
            let (modules, name) = (fold(modules), fold(name));
            if let Some(exact) = modules.strip_prefix('=') {
                return exact == name;
            }
            let (patterns, elements): (Vec<_>, Vec<_>) =
                (modules.split('/').collect(), name.split('/').collect());
            patterns.len() <= elements.len()
                && patterns.iter().zip(&elements).all(|(p, e)| glob(p.as_bytes(), e.as_bytes()))
        }
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        (Some((b'?', rest)), Some((_, others))) => glob(rest, others),
        (Some((a, rest)), Some((b, others))) => a == b && glob(rest, others),
        _ => false,
    }
}

/// The versions of these tests, lowest first: order is data here and no code.
const ORDER: [&str; 8] = [
    "v0.0.0-20240102030405-0123456789ab",
    "v1.0.0",
    "v1.4.2-rc.1",
    "v1.4.2",
    "v1.4.3",
    "v1.5.0",
    "v2.0.0+incompatible",
    "v9.9.9",
];

fn means_version(range: &str, version: &str) -> bool {
    let at = |text: &str| ORDER.iter().position(|known| *known == text).unwrap();
    match (range, version) {
        ("*", _) => true,
        (_, "") => false,
        ("pseudo", version) => version.contains("-2024"),
        ("prerelease", version) => version.contains('-'),
        (">=v1.0.0 <v1.5.0", version) => (at("v1.0.0")..at("v1.5.0")).contains(&at(version)),
        ("<v1.4.2", version) => at(version) < at("v1.4.2"),
        (">v1.4.2", version) => at(version) > at("v1.4.2"),
        ("<=v1.4.2-rc.1", version) => at(version) <= at("v1.4.2-rc.1"),
        (exact, version) => exact == version,
    }
}

fn caller(dice: &mut Dice) -> Caller {
    let groups: Vec<String> = ["group:token:dev", "group:ldap/corp:dev", "group:token:other"]
        .iter()
        .filter(|_| dice.below(2) == 0)
        .map(|&group| group.to_owned())
        .collect();
    match dice.below(8) {
        0 => Caller::imagined("any:anonymous", Vec::new()),
        1 => Caller::imagined("user:token:bob", groups),
        _ => Caller::imagined("user:token:alice", groups),
    }
}

fn circumstances(dice: &mut Dice) -> Circumstances {
    let source = IpAddr::V4(*dice.pick(&[Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::LOCALHOST]));
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    Circumstances { source, now: *dice.pick(&[SystemTime::UNIX_EPOCH, late]) }
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure that the documents quote")]
fn the_snapshot_decides_as_casbin_over_all_rows_and_as_a_plain_reading_of_the_language() {
    let wanted = cases("MODGATE_POLICY_CASES", 100_000);
    let engine = Engine::default();
    let sources =
        Sources { private: vec![Prefix::parse(PRIVATE).unwrap()], ..Sources::of(Source::Embedded) };
    let (mut seen, mut allowed, mut gated, mut seed) = (0, 0, 0, 1);
    while seen < wanted {
        let mut dice = Dice::new(seed);
        let made = made(&mut dice);
        let draft =
            Draft::of(made.files(), &sources).unwrap_or_else(|error| panic!("{seed}: {error}"));
        let all: Vec<&Rule> = draft.snapshot.rules.iter().collect();
        for _question in 0..QUESTIONS {
            let caller = caller(&mut dice);
            let name = match dice.below(16) {
                0 => "@sumdb".to_owned(),
                1 => "@gateway".to_owned(),
                _ => path(&mut dice, &ELEMENTS),
            };
            let action = match name.as_str() {
                "@sumdb" => Action::Sumdb,
                "@gateway" => *dice.pick(&Action::OF_OPERATORS),
                _ => *dice.pick(&Action::OF_MODULES),
            };
            let version = match action {
                Action::List => "",
                _ if name.starts_with('@') => "",
                _ => *dice.pick(&VERSIONS),
            };
            let question = Question { name: &name, version, action };
            let asker = Asker { realm: caller.realm(), circumstances: circumstances(&mut dice) };
            let (verdict, _) =
                draft.snapshot.judge(&draft.snapshot.subjects(&caller), question, asker);
            let names = made.names(&caller);
            let joined = names.iter().cloned().collect::<Vec<_>>().join("\n");
            let theirs = engine.decide(&all, &joined, &draft.snapshot.asked(question)).unwrap();
            // Casbin knows the rows, and conditions are looked at after it
            let (rows, under_conditions) = made.allows(&names, question, asker);
            let ours = verdict.is_allowed();
            assert_eq!(
                (ours, theirs),
                (under_conditions, rows),
                "seed {seed}, {question:?} for {joined:?}"
            );
            gated += usize::from(rows && !ours);
            seen += 1;
            allowed += usize::from(ours);
        }
        seed += 1;
    }
    println!(
        "{seen} decisions over {} policies, {allowed} of them allowed, {gated} stopped by a condition: 0 differ",
        seed - 1
    );
    // chance that never allows, or always does, would prove nothing
    assert!(allowed * 20 > seen && allowed * 2 < seen, "{allowed} of {seen}");
    assert!(gated * 200 > seen, "{gated} of {seen}");
}

const QUESTIONS: usize = 100;
