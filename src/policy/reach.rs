//! Who may have a module: every name that the policy knows, each alone, as the policy answers it.
//!
//! Somebody has several names (a principal, groups, the roles that follow). A row that denies one of them wins over what
//! another allows, which is why the names that are denied are told too; `explain` answers for somebody with all of theirs.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::policy::diff;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label as _;

/// The answer to everybody whom a policy names.
#[derive(Debug, Clone, Serialize)]
pub struct Reach {
    /// `path` or `path@version`.
    pub module: String,
    /// The policy's revision.
    pub revision: String,
    /// Whom a row lets in, perhaps under conditions, or shuts out.
    pub names: Vec<Answer>,
}

/// The answer to one name and action.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// A user, a group, a role, or everybody (`any:…`).
    pub subject: String,
    /// list or download.
    pub action: &'static str,
    /// allow, conditional or deny.
    pub decision: &'static str,
    /// The row that says so.
    pub rule: String,
    /// What the row's conditions are called.
    pub gates: Vec<String>,
}

impl Reach {
    /// Whether anybody may have it.
    pub fn is_reached(&self) -> bool {
        self.names.iter().any(|answer| answer.decision != Decision::Deny.text())
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}, policy revision {}", self.module, self.revision)?;
        let same = |one: &Answer, next: &Answer| {
            (&one.subject, one.decision, &one.rule) == (&next.subject, next.decision, &next.rule)
        };
        for answers in self.names.chunk_by(same) {
            let actions: Vec<_> = answers.iter().map(|answer| answer.action).collect();
            let Some(Answer { subject, decision, rule, gates, .. }) = answers.first() else {
                continue;
            };
            let under = if gates.is_empty() { "" } else { " under " };
            let (actions, gates) = (actions.join(", "), gates.join(", "));
            writeln!(out, "  {decision:12}{actions:16}{subject}  rule {rule}{under}{gates}")?;
        }
        let open = self.names.iter().filter(|answer| answer.decision != Decision::Deny.text());
        match open.map(|answer| &answer.subject).collect::<BTreeSet<_>>().len() {
            0 => write!(out, "nobody may have it"),
            names => write!(out, "{names} of the policy's names may have it, alone"),
        }
    }
}

impl Snapshot {
    pub(in crate::policy) fn reach(&self, path: &ModulePath, version: Option<&Version>) -> Reach {
        let version = version.map(ToString::to_string).unwrap_or_default();
        let at = if version.is_empty() { String::new() } else { format!("@{version}") };
        let subjects = self.rules.iter().map(|rule| rule.subject.as_str());
        let members = self.parts.iter().flat_map(|part| [part.member.as_str(), part.role.as_str()]);
        let subjects: BTreeSet<_> = subjects.chain(members).collect();
        let mut names = Vec::new();
        for subject in subjects {
            let set = self.set_of(subject);
            for (action, version) in [(Action::List, ""), (Action::Download, version.as_str())] {
                let question = Question { name: path.as_str(), version, action };
                let (decision, rule) = diff::answer(self, &set, question);
                // what no row is about is nobody's, and needs no line for each name
                let Some(told) = rule.and_then(|place| self.told(place)) else { continue };
                names.push(Answer {
                    subject: subject.to_owned(),
                    action: action.word(),
                    decision,
                    rule: told.id.to_string(),
                    gates: told.gates.iter().map(ToString::to_string).collect(),
                });
            }
        }
        let revision = self.revision().to_string();
        Reach { module: format!("{path}{at}"), revision, names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::with_private;

    #[test]
    fn every_name_is_told_that_a_row_lets_in_or_shuts_out() {
        let rules = "p, read, role:dev, corp.example/a, >=v1.0.0, read, allow\n\
                     p, wall, group:token:guests, **, *, *, deny\n\
                     p, other, group:token:ops, corp.example/b, *, read, allow\n";
        let policy = with_private(rules, "corp.example").unwrap();
        let snapshot = policy.snapshot.load_full();
        let path = ModulePath::parse("corp.example/a").unwrap();
        let told = |version: Option<&str>| {
            let version = version.map(|version| Version::parse(version).unwrap());
            let reach = snapshot.reach(&path, version.as_ref());
            let names = reach.names.iter();
            let names = names.map(|one| format!("{} {} {}", one.subject, one.action, one.decision));
            (names.collect::<Vec<_>>(), reach)
        };
        let (names, reach) = told(Some("v1.2.0"));
        assert!(names.contains(&"role:dev download allow".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("group:token:ops")), "{names:?}");
        assert!(reach.is_reached() && reach.to_string().contains("role:dev  rule read"));
        let (names, _) = told(Some("v0.9.0"));
        assert!(!names.iter().any(|name| name.starts_with("role:dev download")), "{names:?}");
        let path = ModulePath::parse("corp.example/c").unwrap();
        let nobody = snapshot.reach(&path, None);
        assert!(!nobody.is_reached() && nobody.to_string().ends_with("nobody may have it"));
    }
}
