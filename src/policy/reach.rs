//! Who may have a module: every name that the policy knows, each alone, as the policy answers it.
//!
//! Somebody has several names (a principal, groups, the roles that follow). A row that denies one of them wins over what
//! another allows, which is why the names that are shut out are told too; `explain` answers for somebody with all of theirs.
//! Without a version every version is asked about that some row tells apart from others.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::policy::remembered::Decided;
use crate::policy::representatives;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::Decision;

/// The answer to everybody whom a policy names.
#[derive(Debug, Clone, Serialize)]
pub struct Reach {
    /// `path` or `path@version`.
    pub module: String,
    /// The policy's revision.
    pub revision: String,
    /// Whom rows let in, perhaps under conditions, or shut out.
    pub names: Vec<Answer>,
}

/// The answer to one name and action.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// A user, a group, a role, or everybody (`any:…`).
    pub subject: String,
    /// list or download.
    pub action: &'static str,
    /// Versions that stand for those it is about; none for all.
    pub versions: Vec<String>,
    /// What is answered.
    pub decision: Word,
    /// The rows that say so, each enough.
    pub rules: Vec<Row>,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A row without conditions lets them in.
    Allow,
    /// Every row that lets them in has conditions.
    Conditional,
    /// A row shuts them out.
    Deny,
}

/// A row that decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Row {
    /// Its id.
    pub rule: String,
    /// What its conditions are called.
    pub gates: Vec<String>,
}

/// The policy cannot be evaluated for somebody, who is answered 403 until it can.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the policy cannot be evaluated for {0}: see modgate policy explain")]
pub struct NoAnswer(String);

impl Reach {
    /// Whether anybody may have it.
    pub fn is_reached(&self) -> bool {
        self.let_in() > 0
    }

    fn let_in(&self) -> usize {
        let may = |answer: &&Answer| {
            answer.action == Action::Download.word() && answer.decision != Word::Deny
        };
        let names = self.names.iter().filter(may).map(|answer| &answer.subject);
        names.collect::<BTreeSet<_>>().len()
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}, policy revision {}", self.module, self.revision)?;
        for Answer { subject, action, versions, decision, rules } in &self.names {
            let word = match decision {
                Word::Allow => "allow",
                Word::Conditional => "conditional",
                Word::Deny => "deny",
            };
            let rows: Vec<_> = rules.iter().map(ToString::to_string).collect();
            let at = if versions.is_empty() { "" } else { " at such as " };
            let (rows, versions) = (rows.join(" or "), versions.join(", "));
            writeln!(out, "  {word:12}{action:10}{subject}  {rows}{at}{versions}")?;
        }
        match self.let_in() {
            0 => write!(out, "nobody may have it"),
            names => write!(out, "{names} of the policy's names may have it, each alone"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "rule {}", self.rule)?;
        if !self.gates.is_empty() {
            write!(out, " under {}", self.gates.join(" and "))?;
        }
        Ok(())
    }
}

impl Snapshot {
    pub(in crate::policy) fn reach(
        &self,
        path: &ModulePath,
        version: Option<&Version>,
    ) -> Result<Reach, NoAnswer> {
        let versions = match version {
            Some(version) => BTreeSet::from([version.to_string()]),
            None => representatives::versions(self.about(path.as_str()).map(|(_, rule)| rule)),
        };
        let versions: Vec<_> = versions.iter().filter(|version| !version.is_empty()).collect();
        let subjects = self.rules.iter().map(|rule| rule.subject.as_str());
        let members = self.parts.iter().flat_map(|part| [part.member.as_str(), part.role.as_str()]);
        let subjects: BTreeSet<_> = subjects.chain(members).collect();
        let mut names = Vec::new();
        for subject in subjects {
            let list = Question { name: path.as_str(), version: "", action: Action::List };
            let listed = self.answer_to(subject, list)?;
            names.extend(listed.map(|found| answer(subject, Action::List, found, Vec::new())));
            let mut told: BTreeMap<_, Vec<String>> = BTreeMap::new();
            for version in &versions {
                let question = Question { name: path.as_str(), version, action: Action::Download };
                if let Some(found) = self.answer_to(subject, question)? {
                    told.entry(found).or_default().push((*version).clone());
                }
            }
            for (found, mut at) in told {
                // what holds for every version needs none to show it
                if at.len() == versions.len() {
                    at.clear();
                }
                names.push(answer(subject, Action::Download, found, at));
            }
        }
        let at = version.map(|version| format!("@{version}")).unwrap_or_default();
        let revision = self.revision().to_string();
        Ok(Reach { module: format!("{path}{at}"), revision, names })
    }

    /// What rows say to a name; `None` if none is about it. What lies above something they may have is nothing they may have.
    fn answer_to(
        &self,
        subject: &str,
        question: Question<'_>,
    ) -> Result<Option<(Word, Vec<Row>)>, NoAnswer> {
        let Decided { decision, rule, gated, .. } = self.decide(&self.set_of(subject), question).0;
        let is_free = |place: &usize| self.gates.of(*place).is_empty();
        let (word, places) = match (decision, gated) {
            (Decision::Error, _) => return Err(NoAnswer(subject.to_owned())),
            (Decision::Absent, _) => return Ok(None),
            (Decision::Deny, _) => (Word::Deny, Vec::from_iter(rule)),
            (Decision::Allow, Some(all)) if all.iter().any(is_free) => {
                (Word::Allow, all.iter().copied().filter(is_free).collect())
            }
            (Decision::Allow, Some(all)) => (Word::Conditional, all.to_vec()),
            (Decision::Allow, None) => (Word::Allow, Vec::from_iter(rule)),
        };
        let rows = places.into_iter().filter_map(|place| self.told(place));
        let rows: Vec<_> = rows
            .map(|told| Row {
                rule: told.id.to_string(),
                gates: told.gates.iter().map(ToString::to_string).collect(),
            })
            .collect();
        Ok((!rows.is_empty()).then_some((word, rows)))
    }
}

fn answer(
    subject: &str,
    action: Action,
    (decision, rules): (Word, Vec<Row>),
    versions: Vec<String>,
) -> Answer {
    Answer { subject: subject.to_owned(), action: action.word(), versions, decision, rules }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::with_private;

    /// Who may, and who may not, download it.
    fn told(rules: &str, path: &str, version: Option<&str>) -> (Vec<String>, Reach) {
        let policy = with_private(rules, "corp.example").unwrap();
        let path = ModulePath::parse(path).unwrap();
        let version = version.map(|version| Version::parse(version).unwrap());
        let reach = policy.snapshot.load_full().reach(&path, version.as_ref()).unwrap();
        let downloads = reach.names.iter().filter(|one| one.action == "download");
        let told = downloads.map(|one| format!("{} {:?}", one.subject, one.decision));
        (told.collect(), reach)
    }

    #[test]
    fn every_name_is_told_that_a_row_lets_in_or_shuts_out() {
        let rules = "p, read, role:dev, corp.example/a, >=v1.0.0, read, allow\n\
                     p, wall, group:token:guests, **, *, *, deny\n\
                     p, other, group:token:ops, corp.example/b, *, read, allow\n";
        let (names, reach) = told(rules, "corp.example/a", Some("v1.2.0"));
        assert!(names.contains(&"role:dev Allow".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("ops")), "{names:?}");
        assert!(reach.is_reached() && reach.to_string().contains("role:dev  rule read"));
        let (names, reach) = told(rules, "corp.example/a", Some("v0.9.0"));
        assert!(!reach.is_reached(), "{names:?}");
        let (_, nobody) = told(rules, "corp.example/c", None);
        assert!(!nobody.is_reached() && nobody.to_string().ends_with("nobody may have it"));
    }

    #[test]
    fn without_a_version_those_are_asked_about_that_rows_tell_apart() {
        let rules = "p, read, role:dev, corp.example/a, *, read, allow\n\
                     p, some, group:token:some, corp.example/a, >=v2.0.0, read, allow\n\
                     p, flaw, any:authenticated, corp.example/a, <v1.4.2, *, deny\n";
        let (names, reach) = told(rules, "corp.example/a", None);
        for name in ["role:dev Allow", "role:dev Deny", "group:token:some Allow"] {
            assert!(names.contains(&name.to_owned()), "{name}: {names:?}");
        }
        let dev = |word: Word| {
            let is_it = |one: &&Answer| {
                one.subject == "role:dev" && one.decision == word && one.action == "download"
            };
            reach.names.iter().find(is_it).unwrap().versions.clone()
        };
        assert!(dev(Word::Allow).contains(&"v1.4.2".to_owned()), "{reach}");
        assert!(dev(Word::Deny).contains(&"v1.4.1".to_owned()), "{reach}");
    }

    #[test]
    fn what_lies_above_something_is_nothing_that_anybody_may_have() {
        let rules = "p, read, role:dev, corp.example/payments/ledger, *, read, allow\n";
        let (names, reach) = told(rules, "corp.example/payments", None);
        assert_eq!((names.len(), reach.is_reached()), (0, false), "{reach}");
    }
}
