//! Why the answer is what it is: who the caller is to the rules, which rows are about the module, and what each lacks.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::policy::decision::Verdict;
use crate::policy::gates::Circumstances;
use crate::policy::rule;
use crate::policy::rule::Action;
use crate::policy::rule::Asked;
use crate::policy::rule::Question;
use crate::policy::rule::Rule;
use crate::policy::snapshot::ANYBODY;
use crate::policy::snapshot::Asker;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::policy::DecisionReason;

/// What somebody wants explained.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// On whose behalf.
    pub who: Who<'a>,
    /// Which module.
    pub path: &'a ModulePath,
    /// Which version, if one is meant.
    pub version: Option<&'a Version>,
    /// One action by its word; list and download without it.
    pub action: Option<&'a str>,
    /// From where and when.
    pub circumstances: Circumstances,
    /// How much may be shown.
    pub view: View,
}

/// On whose behalf something is explained.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// Somebody who asks about themselves.
    Caller(&'a Caller),
    /// Somebody who is only spoken of: a principal, and groups or roles. Nobody gets a proof for them.
    Named(&'a str, &'a [String]),
}

/// Which rows an explanation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Those about the caller: nobody learns of the rights of others.
    Own,
    /// Every row about the module.
    All,
}

/// An action that no policy knows.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0} is no action: give list, download, sumdb or admit")]
pub struct NoAction(String);

/// What the answer would be, and how it comes about.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// `path` or `path@version`.
    pub module: String,
    /// public or private.
    pub class: &'static str,
    /// Who.
    pub principal: String,
    /// What the rules see of them, and where each part comes from.
    pub subjects: Vec<Subject>,
    /// One for each action.
    pub answers: Vec<Answer>,
    /// The policy's revision.
    pub revision: String,
}

/// One name that rows can be about.
#[derive(Debug, Clone, Serialize)]
pub struct Subject {
    /// The name.
    pub name: String,
    /// Where it comes from.
    pub from: String,
}

/// The answer to one action.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// Its word.
    pub action: &'static str,
    /// allow, deny, absent or error.
    pub decision: &'static str,
    /// Why, as in the audit.
    pub reason: &'static str,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Rows about the module, in the order of the files.
    pub rows: Vec<Row>,
}

/// One row, and what it lacks.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its id.
    pub rule: String,
    /// File and line.
    pub origin: String,
    /// allow or deny.
    pub effect: &'static str,
    /// Why it does not apply; `None` if it does.
    pub lacks: Option<String>,
}

impl Explanation {
    /// Whether every action asked about is allowed.
    pub fn is_allowed(&self) -> bool {
        self.answers.iter().all(|answer| answer.decision == Decision::Allow.text())
    }
}

impl Snapshot {
    pub(in crate::policy) fn explain(&self, ask: Ask<'_>) -> Result<Explanation, NoAction> {
        match ask.who {
            Who::Caller(caller) => self.explain_to(caller, ask),
            Who::Named(principal, groups) => {
                self.explain_to(&Caller::imagined(principal, groups.to_vec()), ask)
            }
        }
    }

    fn explain_to(&self, caller: &Caller, ask: Ask<'_>) -> Result<Explanation, NoAction> {
        let actions = match ask.action {
            None => vec![Action::List, Action::Download],
            Some(word) => {
                let known = Action::OF_MODULES.into_iter().find(|action| action.word() == word);
                vec![known.ok_or_else(|| NoAction(word.to_owned()))?]
            }
        };
        let at = ask.version.map(|version| format!("@{version}")).unwrap_or_default();
        Ok(Explanation {
            module: format!("{}{at}", ask.path),
            class: if self.is_private(ask.path.as_str()) { "private" } else { "public" },
            principal: caller.principal().to_owned(),
            subjects: self.members(caller),
            answers: actions.into_iter().map(|action| self.answer(caller, ask, action)).collect(),
            revision: self.revision().to_string(),
        })
    }

    fn answer(&self, caller: &Caller, ask: Ask<'_>, action: Action) -> Answer {
        // nobody lists a version
        let version = ask.version.filter(|_| action != Action::List).map_or("", Version::as_str);
        let question = Question { name: ask.path.as_str(), version, action };
        let asker = Asker { realm: caller.realm(), circumstances: ask.circumstances };
        let verdict = if self.is_in_force() && caller.reaches(ask.path.as_str()) {
            self.judge(&self.subjects(caller), question, asker).0
        } else if self.is_in_force() {
            Verdict::limited()
        } else {
            Verdict::without_policy()
        };
        Answer {
            action: action.word(),
            decision: verdict.decision.text(),
            reason: verdict.reason.text(),
            rule: verdict.rule.and_then(|place| Some(self.told(place)?.id.to_string())),
            rows: self.rows(&self.full(caller), ask.view, asker, &self.asked(question)),
        }
    }

    /// Rows about the module, each with the first thing it lacks.
    fn rows(&self, full: &str, view: View, asker: Asker<'_>, asked: &Asked) -> Vec<Row> {
        let origin = |place| self.origins.get(place).map(ToString::to_string).unwrap_or_default();
        self.about(asked.name())
            .filter(|(_, rule)| about(rule, asked))
            .filter(|(_, rule)| view == View::All || rule::subject_in(full, &rule.subject))
            .map(|(place, rule)| Row {
                rule: rule.id.clone(),
                origin: origin(place),
                effect: rule.effect.word(),
                lacks: self.lacks(place, full, asker, asked),
            })
            .collect()
    }

    fn lacks(
        &self,
        place: usize,
        subjects: &str,
        asker: Asker<'_>,
        asked: &Asked,
    ) -> Option<String> {
        let rule = self.rules.get(place)?;
        if !rule::subject_in(subjects, &rule.subject) {
            return Some(format!("it is about {}", rule.subject));
        }
        if !rule::module_matches(&asked.module, &rule.target) {
            return Some("letter case differs".to_owned());
        }
        if !rule::action_matches(asked.action.word(), &rule.action) {
            return Some(format!("it is about {}", rule.action));
        }
        if !rule::version_matches(&asked.version, &rule.range) {
            let lacks = if asked.version.is_empty() {
                "no version was asked for"
            } else {
                "the version is another"
            };
            return Some(format!("{lacks}: {}", rule.range));
        }
        let (gate, wants) = self.closed(place, asker)?;
        Some(format!("condition {}: {wants}", gate.name))
    }

    /// Every name of a caller, not only those that rows name.
    fn full(&self, caller: &Caller) -> String {
        let members = self.members(caller);
        members.into_iter().map(|member| member.name).collect::<Vec<_>>().join("\n")
    }

    fn members(&self, caller: &Caller) -> Vec<Subject> {
        let mut members = vec![Subject { name: ANYBODY.to_owned(), from: "everybody".to_owned() }];
        let mut add =
            |name: &str, from: String| members.push(Subject { name: name.to_owned(), from });
        if !caller.is_anonymous() {
            add("any:authenticated", "somebody recognised".to_owned());
            add(caller.principal(), "the caller".to_owned());
        }
        for (group, how) in caller.groups_obtained() {
            let how = if how.is_empty() { "a group of the caller" } else { how };
            add(group, how.to_owned());
        }
        let own: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
        let roles: BTreeSet<&str> = own.iter().flat_map(|name| self.roles.of(name)).collect();
        for role in roles {
            let gives = |name: &str| {
                own.iter().any(|one| one == name)
                    || own.iter().any(|one| self.roles.of(one).any(|reached| reached == name))
            };
            let part = self.parts.iter().find(|part| part.role == role && gives(&part.member));
            let from = part.map_or_else(String::new, |part| {
                format!("{}, through {}", part.origin, part.member)
            });
            members.push(Subject { name: role.to_owned(), from });
        }
        members
    }
}

/// Whether a row is about what is asked for, letter case aside.
fn about(rule: &Rule, asked: &Asked) -> bool {
    rule::module_matches(&asked.module, &rule.target)
        || rule::module_matches(&asked.module, &rule.target.replacen("-exact ", "-folded ", 1))
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} ({}) for {}", self.module, self.class, self.principal)?;
        for Subject { name, from } in &self.subjects {
            writeln!(out, "  as {name:40} {from}")?;
        }
        for answer in &self.answers {
            writeln!(out, "{answer}")?;
        }
        writeln!(out, "policy revision {}", self.revision)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = |reason: DecisionReason| self.reason == reason.text();
        let word = match self.decision {
            "allow" => "allowed",
            "absent" => "nothing is served here: it lies above what you may read",
            _ => "denied",
        };
        write!(out, "{}: {word}", self.action)?;
        match &self.rule {
            Some(rule) if reason(DecisionReason::Gate) => {
                write!(out, ": a condition of rule {rule} does not hold")?;
            }
            Some(rule) => write!(out, " by rule {rule}")?,
            None if reason(DecisionReason::PolicyError) => {
                write!(out, ": the policy could not be evaluated")?;
            }
            None if reason(DecisionReason::NoPolicy) => write!(out, ": no valid policy is loaded")?,
            None if reason(DecisionReason::TokenLimit) => {
                write!(out, ": the token is limited to other modules")?;
            }
            None => write!(out, ": no rule allows it")?,
        }
        for Row { rule, origin, effect, lacks } in &self.rows {
            let says =
                lacks.as_ref().map_or_else(|| "applies".to_owned(), |lacks| format!("no: {lacks}"));
            write!(out, "\n  {effect:5} {rule:24} {origin:32} {says}")?;
        }
        Ok(())
    }
}
