//! What a newer policy changes: row by row for the record of an activation, and decision by decision for people.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::policy::remembered::Decided;
use crate::policy::representatives;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::rule::Rule;
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
        found.push(Change { kind: "rule", id: ADMIT.to_owned(), what: "changed" });
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

impl Comparison {
    /// Whether somebody's access changes, or the conditions it is under.
    pub fn differs(&self) -> bool {
        !self.differences.is_empty() || self.changes.iter().any(|one| one.kind == "condition")
    }
}

impl Difference {
    /// Whether access is gained.
    pub fn gains(&self) -> bool {
        let open = Decision::Allow.text();
        self.new == open || (self.new == CONDITIONAL && self.old != open)
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
/// that their patterns and limits can tell apart. Only the paths of rows that could decide otherwise are looked at.
pub(in crate::policy) fn compare(old: &Snapshot, new: &Snapshot) -> Comparison {
    let changes = changes(old, new);
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
    let subjects = subjects(old, new);
    let sets = subjects.iter().map(|subject| [old.set_of(subject), new.set_of(subject)]);
    let sets: Vec<[Arc<str>; 2]> = sets.collect();
    let rules = || old.rules.iter().chain(&new.rules);
    let matters = Matters::of(&comparison.changes, &sets, rules());
    let rules = rules().filter(|rule| matters.is_met_by(rule));
    let mut paths = representatives::paths(rules, &old.private);
    paths.extend(representatives::paths(std::iter::empty(), &new.private));
    let questions = questions([old, new], &paths);
    for (subject, sets) in subjects.iter().zip(&sets).filter(|(_, sets)| matters.to(sets)) {
        for (name, version, action) in &questions {
            let question = Question { name, version, action: *action };
            comparison.compared += 1;
            comparison.differences.extend(differ([old, new], sets, subject, question));
        }
    }
    comparison
}

/// Which rows could decide otherwise: those that changed, also in their conditions, and those about a name that
/// somebody has in one policy only.
struct Matters<'a> {
    /// Something changed that is about every row.
    all: bool,
    ids: BTreeSet<&'a str>,
    /// Whom the rows that changed are about.
    changed: BTreeSet<&'a str>,
    subjects: BTreeSet<&'a str>,
}

impl<'a> Matters<'a> {
    fn of(
        changes: &'a [Change],
        sets: &'a [[Arc<str>; 2]],
        rules: impl Iterator<Item = &'a Rule>,
    ) -> Self {
        let of_rows = |one: &&Change| matches!(one.kind, "rule" | "condition");
        let ids: BTreeSet<&str> =
            changes.iter().filter(of_rows).map(|one| one.id.as_str()).collect();
        let changed = rules.filter(|rule| ids.contains(&*rule.id)).map(|rule| &*rule.subject);
        let changed = changed.collect();
        let mut subjects = BTreeSet::new();
        for [was, is] in sets.iter().filter(|[was, is]| was != is) {
            let names = |set: &'a str| set.split('\n').collect::<BTreeSet<_>>();
            subjects.extend(names(was).symmetric_difference(&names(is)).copied());
        }
        let all = changes.iter().any(|one| one.kind == "private" || one.id == ADMIT);
        Self { all, ids, changed, subjects }
    }

    /// Whether somebody of these sets could be answered otherwise.
    fn to(&self, [was, is]: &[Arc<str>; 2]) -> bool {
        let mut names = was.split('\n').chain(is.split('\n'));
        self.all || was != is || names.any(|name| self.changed.contains(name))
    }

    fn is_met_by(&self, rule: &Rule) -> bool {
        self.all || self.ids.contains(&*rule.id) || self.subjects.contains(&*rule.subject)
    }
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

/// Every path in every version that a row about it tells apart, with every action that fits; and the resources.
fn questions<'a>(
    policies: [&Snapshot; 2],
    paths: &'a BTreeSet<String>,
) -> Vec<(&'a str, String, Action)> {
    let mut questions = Vec::new();
    for path in paths {
        let rules = policies.into_iter().flat_map(|policy| policy.about(path));
        for version in representatives::versions(rules.map(|(_, rule)| rule)) {
            let fitting = |action: &Action| (*action == Action::List) == version.is_empty();
            let actions = Action::OF_MODULES.into_iter().filter(fitting);
            questions.extend(actions.map(|action| (path.as_str(), version.clone(), action)));
        }
    }
    let operators = Action::OF_OPERATORS.map(|action| ("@gateway", String::new(), action));
    questions.extend(operators);
    questions.push(("@sumdb", String::new(), Action::Sumdb));
    questions
}

fn differ(
    [old, new]: [&Snapshot; 2],
    [was, is]: &[Arc<str>; 2],
    subject: &str,
    question: Question<'_>,
) -> Option<Difference> {
    let (before, after) = (answer(old, was, question), answer(new, is, question));
    if before.0 == after.0 {
        return None;
    }
    let told =
        |snapshot: &Snapshot, place: Option<usize>| Some(snapshot.told(place?)?.id.to_string());
    Some(Difference {
        subject: subject.to_owned(),
        module: question.name.to_owned(),
        version: question.version.to_owned(),
        action: question.action.word(),
        old: before.0,
        new: after.0,
        rule: told(new, after.1).or_else(|| told(old, before.1)),
    })
}

/// What is answered, by which row. An allow under conditions alone is a word of its own: whether they hold is known only
/// when somebody asks.
fn answer(
    policy: &Snapshot,
    subjects: &Arc<str>,
    question: Question<'_>,
) -> (&'static str, Option<usize>) {
    let Decided { decision, rule, gated, .. } = policy.decide(subjects, question).0;
    let bound = |allows: Arc<[usize]>| allows.iter().all(|at| !policy.gates.of(*at).is_empty());
    let word = if gated.is_some_and(bound) { CONDITIONAL } else { decision.text() };
    (word, rule)
}

/// An allow whose every row has conditions.
const CONDITIONAL: &str = "conditional";
/// The setting, where it differs.
const ADMIT: &str = "policy.admit";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::with_private;

    fn compared(old: &str, new: &str) -> Comparison {
        let read = |rules: &str| with_private(rules, "corp.example").unwrap().snapshot.load_full();
        compare(&read(old), &read(new))
    }

    fn gained(comparison: &Comparison) -> BTreeSet<&str> {
        let gained = comparison.differences.iter().filter(|one| one.gains());
        gained.map(|one| one.module.as_str()).collect()
    }

    #[test]
    fn what_opens_private_modules_is_told_wherever_their_prefix_stands() {
        let read = "p, read, role:dev, **, *, read, allow\n";
        let open = format!("{read}p, open, role:reader, @private/**, *, read, allow\n");
        let told = compared(read, &open);
        assert!(gained(&told).contains("corp.example/below"), "{told}");
    }

    #[test]
    fn a_wildcard_shows_its_difference_although_another_row_hides_one_path_of_it() {
        let wall = "p, wall, role:dev, example.com/x, *, *, deny\n";
        let told =
            compared(wall, &format!("{wall}p, some, role:dev, example.com/*, *, read, allow\n"));
        assert!(gained(&told).contains("example.com/representative"), "{told}");
    }

    #[test]
    fn one_new_row_among_thousands_is_compared_alone() {
        let row = |number: usize| {
            format!("p, r{number}, role:dev, example.com/m{number}, v1.{number}.0, read, allow\n")
        };
        let old: String = (0..2_000).map(row).collect();
        let told =
            compared(&old, &format!("{old}p, new, role:dev, example.org/a, *, list, allow\n"));
        assert!(gained(&told).contains("example.org/a"), "{told}");
        assert!(told.compared < 2_000, "{}", told.compared);
        // a row about others is compared for those it is about
        let told =
            compared(&old, &format!("{old}p, new, role:reader, example.org/a, *, list, allow\n"));
        let whom: BTreeSet<&str> = told.differences.iter().map(|one| &*one.subject).collect();
        assert_eq!(whom, BTreeSet::from(["group:token:dev", "role:dev", "role:reader"]), "{told}");
    }
}
