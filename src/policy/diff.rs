//! What a newer policy changes: row by row for the record of an activation, and decision by decision for people.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::policy::gates::Circumstances;
use crate::policy::representatives;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::rule::Rule;
use crate::policy::snapshot::Asker;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label as _;

/// One row, role or condition that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// rule, role, condition or private.
    pub kind: &'static str,
    /// The rule's id; `MEMBER > ROLE`; the condition's rule; the prefix.
    pub id: String,
    /// added, removed, changed or moved.
    pub what: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.kind, self.id, self.what)
    }
}

/// Rows that differ. Complete: policies of which nothing is told here decide alike.
pub(in crate::policy) fn changes(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let mut found = Vec::new();
    tell("rule", &by_id(old), &by_id(new), &mut found);
    tell("role", &named(steps(old)), &named(steps(new)), &mut found);
    tell("condition", &conditions(old), &conditions(new), &mut found);
    tell("private", &named(prefixes(old)), &named(prefixes(new)), &mut found);
    if old.admission() != new.admission() {
        found.push(Change { kind: "rule", id: "policy.admit".to_owned(), what: "changed" });
    }
    found
}

fn tell<T: PartialEq>(
    kind: &'static str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    found: &mut Vec<Change>,
) {
    for (id, row) in old {
        match new.get(id) {
            None => found.push(Change { kind, id: id.clone(), what: "removed" }),
            Some(other) if other != row => {
                found.push(Change { kind, id: id.clone(), what: "changed" });
            }
            Some(_) => {}
        }
    }
    let added = new.keys().filter(|id| !old.contains_key(*id));
    found.extend(added.map(|id| Change { kind, id: id.clone(), what: "added" }));
}

fn by_id(snapshot: &Snapshot) -> BTreeMap<String, Vec<String>> {
    snapshot.rules.iter().map(|rule| (rule.id.clone(), rule.columns())).collect()
}

fn steps(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    snapshot.parts.iter().map(|part| format!("{} > {}", part.member, part.role))
}

/// What is there or not, and has nothing to change.
fn named(names: impl Iterator<Item = String>) -> BTreeMap<String, bool> {
    names.map(|name| (name, true)).collect()
}

fn conditions(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let rules = snapshot.rules.iter().enumerate();
    let bound = rules.map(|(place, rule)| (rule, snapshot.gates.of(place)));
    bound
        .filter(|(_, gates)| !gates.is_empty())
        .map(|(rule, gates)| (rule.id.clone(), format!("{gates:?}")))
        .collect()
}

fn prefixes(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    snapshot.private.iter().map(ToString::to_string)
}

/// What somebody may do that they might not, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// A subject of the rules.
    pub subject: String,
    /// A representative path.
    pub module: String,
    /// A representative version; empty for none.
    pub version: String,
    /// Which action.
    pub action: &'static str,
    /// What was answered.
    pub old: &'static str,
    /// What will be.
    pub new: &'static str,
    /// The rule that will decide, or that decided.
    pub rule: Option<String>,
}

impl Difference {
    /// Whether access is gained.
    pub fn gains(&self) -> bool {
        self.new == Decision::Allow.text()
    }
}

/// Two policies, compared.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The older one's revision.
    pub old: String,
    /// The newer one's.
    pub new: String,
    /// Row by row.
    pub changes: Vec<Change>,
    /// Decision by decision, over representative paths and versions.
    pub differences: Vec<Difference>,
    /// How many decisions were compared.
    pub compared: usize,
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "policy revision {} -> {}", self.old, self.new)?;
        for change in &self.changes {
            writeln!(out, "{change}")?;
        }
        for one in &self.differences {
            let mark = if one.gains() { '+' } else { '-' };
            let at =
                if one.version.is_empty() { String::new() } else { format!("@{}", one.version) };
            let rule =
                one.rule.as_deref().map(|rule| format!(" (rule {rule})")).unwrap_or_default();
            let Difference { subject, module, action, old, new, .. } = one;
            writeln!(out, "{mark} {subject} {action} {module}{at}: {old} -> {new}{rule}")?;
        }
        write!(
            out,
            "{} of {} representative decisions differ",
            self.differences.len(),
            self.compared
        )
    }
}

/// Compares two policies decision by decision. Subjects are those either names, alone; paths and versions stand for all
/// that their patterns and limits can tell apart. If only rows differ, only the paths of those are looked at.
pub(in crate::policy) fn compare(old: &Snapshot, new: &Snapshot) -> Comparison {
    let changes = changes(old, new);
    let changed: BTreeSet<&str> =
        changes.iter().filter(|one| one.kind == "rule").map(|one| one.id.as_str()).collect();
    let only_rows = changes.iter().all(|one| one.kind == "rule" && one.id != "policy.admit");
    let matters = |rule: &&Rule| !only_rows || changed.contains(rule.id.as_str());
    let rules = || old.rules.iter().chain(&new.rules).filter(matters);
    let (paths, versions) = (representatives::paths(rules()), representatives::versions(rules()));
    let mut comparison = Comparison {
        old: old.revision().to_string(),
        new: new.revision().to_string(),
        differences: Vec::new(),
        compared: 0,
        changes,
    };
    if comparison.changes.is_empty() {
        return comparison;
    }
    for subject in subjects(old, new) {
        let sets = [old.set_of(&subject), new.set_of(&subject)];
        for question in questions(&paths, &versions) {
            comparison.compared += 1;
            comparison.differences.extend(differ([old, new], &sets, &subject, question));
        }
    }
    comparison
}

fn subjects(old: &Snapshot, new: &Snapshot) -> BTreeSet<String> {
    let of = |snapshot: &Snapshot| {
        let rules = snapshot.rules.iter().map(|rule| rule.subject.clone());
        let members =
            snapshot.parts.iter().flat_map(|part| [part.member.clone(), part.role.clone()]);
        rules.chain(members).collect::<BTreeSet<_>>()
    };
    of(old).union(&of(new)).cloned().collect()
}

fn questions<'a>(
    paths: &'a BTreeSet<String>,
    versions: &'a BTreeSet<String>,
) -> impl Iterator<Item = Question<'a>> {
    let of_modules = paths.iter().flat_map(move |name| {
        versions.iter().flat_map(move |version| {
            let fitting = move |action: &Action| (*action == Action::List) == version.is_empty();
            let actions = Action::OF_MODULES.into_iter().filter(fitting);
            actions.map(move |action| Question { name, version, action })
        })
    });
    let operators =
        Action::OF_OPERATORS.map(|action| Question { name: "@gateway", version: "", action });
    let sumdb = Question { name: "@sumdb", version: "", action: Action::Sumdb };
    of_modules.chain(operators).chain([sumdb])
}

fn differ(
    [old, new]: [&Snapshot; 2],
    [was, is]: &[Arc<str>; 2],
    subject: &str,
    question: Question<'_>,
) -> Option<Difference> {
    let realm = subject.split(':').nth(1).unwrap_or_default();
    let asker = Asker { realm, circumstances: NOWHERE };
    let (before, after) = (old.judge(was, question, asker).0, new.judge(is, question, asker).0);
    if before.decision == after.decision {
        return None;
    }
    let told =
        |snapshot: &Snapshot, place: Option<usize>| Some(snapshot.told(place?)?.id.to_string());
    Some(Difference {
        subject: subject.to_owned(),
        module: question.name.to_owned(),
        version: question.version.to_owned(),
        action: question.action.word(),
        old: before.decision.text(),
        new: after.decision.text(),
        rule: told(new, after.rule).or_else(|| told(old, before.rule)),
    })
}

/// Conditions are compared as rows; decisions are compared as for somebody who comes from nowhere at no time.
const NOWHERE: Circumstances = Circumstances {
    source: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    now: SystemTime::UNIX_EPOCH,
};
