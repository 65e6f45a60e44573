//! The strict reader: a policy loads whole, or every problem is told with its file, line and column.

pub(in crate::policy) mod line;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use crate::policy::files::Files;
use crate::policy::gates::Gates;
use crate::policy::loader::line::Line;
use crate::policy::loader::line::Wrong;
use crate::policy::overlay::Deny;
use crate::policy::roles::Roles;
use crate::policy::roles::RolesError;
use crate::policy::rule::Rule;

/// Every problem of a policy, one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadError(Vec<String>);

impl LoadError {
    pub(in crate::policy) const fn of(problems: Vec<String>) -> Self {
        Self(problems)
    }

    /// The problems, each with its place.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(out, "{problem}")?;
        }
        write!(out, "{} problem(s); this policy is not in force", self.0.len())
    }
}

impl std::error::Error for LoadError {}

/// Where a row stands, and what stands there about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Origin {
    pub(in crate::policy) file: Arc<str>,
    /// From 1; 0 for an emergency deny, which stands in no file of the policy.
    pub(in crate::policy) line: usize,
    /// Of the file's last `# owner: …` line above the row: whom a refused caller may ask.
    pub(in crate::policy) owner: Option<Arc<str>>,
    /// Of the `# reason: …` line directly above the row: what a refused caller is told.
    pub(in crate::policy) reason: Option<Arc<str>>,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => out.write_str(&self.file),
            line => write!(out, "{}:{line}", self.file),
        }
    }
}

/// A row that gives somebody a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Part {
    pub(in crate::policy) member: String,
    pub(in crate::policy) role: String,
    pub(in crate::policy) origin: Origin,
}

/// Rows, roles and conditions that were read.
#[derive(Debug, Default)]
pub(in crate::policy) struct Loaded {
    pub(in crate::policy) rules: Vec<Rule>,
    /// Where each rule stands, in the same order.
    pub(in crate::policy) origins: Vec<Origin>,
    pub(in crate::policy) parts: Vec<Part>,
    pub(in crate::policy) roles: Roles,
    pub(in crate::policy) gates: Gates,
}

impl Loaded {
    /// Checks every line of every file.
    pub(in crate::policy) fn from(files: &Files) -> Result<Self, LoadError> {
        let mut reading = Reading::default();
        for (name, text) in files.iter() {
            match name {
                "model.conf" if text != MODEL => {
                    let remedy =
                        "use the model.conf of this release; the language of rules is fixed";
                    reading
                        .problems
                        .push(format!("{name}:1:1: it differs from the shipped one: {remedy}"));
                }
                name if name == "roles.csv" || name.starts_with("rules/") => {
                    reading.file(name, text);
                }
                _ => {}
            }
        }
        reading.finish(files.text("gates.toml"))
    }
}

impl Loaded {
    /// Adds emergency denies after all rows of files.
    pub(in crate::policy) fn add(&mut self, denies: &[Deny]) -> Result<(), LoadError> {
        for deny in denies {
            let rule =
                deny.rule().map_err(|what| LoadError(vec![format!("{}: {what}", deny.id)]))?;
            self.rules.push(rule);
            self.origins.push(deny.origin());
        }
        Ok(())
    }
}

/// Rows as they are read, and what is wrong with them.
#[derive(Debug, Default)]
struct Reading {
    rules: Vec<Rule>,
    origins: Vec<Origin>,
    parts: Vec<Part>,
    ids: HashMap<String, usize>,
    rows: HashMap<String, String>,
    problems: Vec<String>,
}

impl Reading {
    fn file(&mut self, name: &str, text: &str) {
        let file: Arc<str> = Arc::from(name);
        let (mut owner, mut reason) = (None, None);
        let mut last = 0;
        for (number, line) in text.split('\n').enumerate().map(|(at, line)| (at + 1, line)) {
            last = number;
            let read = Line::read(line);
            let stray = reason.is_some() && !matches!(read, Ok(Line::Rule(_)));
            if stray {
                self.problem(name, number, &STRAY_REASON);
            }
            let origin = Origin {
                file: Arc::clone(&file),
                line: number,
                owner: Option::clone(&owner),
                reason: reason.take(),
            };
            let taken = match read {
                Ok(Line::Nothing) => Ok(()),
                Ok(Line::Owner(text)) => {
                    owner = Some(Arc::from(text));
                    Ok(())
                }
                Ok(Line::Reason(text)) => {
                    reason = Some(Arc::from(text));
                    Ok(())
                }
                Ok(Line::Rule(rule)) => self.rule(rule, origin),
                Ok(Line::Part { member, role }) => self.part(Part { member, role, origin }),
                Err(wrong) => Err(wrong),
            };
            if let Err(wrong) = taken {
                self.problem(name, number, &wrong);
            }
        }
        if reason.is_some() {
            self.problem(name, last, &STRAY_REASON);
        }
        if self.rules.len() > RULES_LIMIT {
            let what = "over 200,000 rules: use prefixes instead of single paths".into();
            self.problem(name, 1, &Wrong { column: 1, what });
        }
    }

    fn problem(&mut self, file: &str, line: usize, Wrong { column, what }: &Wrong) {
        self.problems.push(format!("{file}:{line}:{column}: {what}"));
    }

    fn rule(&mut self, rule: Rule, origin: Origin) -> Result<(), Wrong> {
        if let Some(first) = self.ids.get(&rule.id).and_then(|place| self.origins.get(*place)) {
            return Err(Wrong::row(format!("the id {} stands at {first} already", rule.id)));
        }
        self.first(rule.columns().split_off(1).join(","), &origin)?;
        self.ids.insert(rule.id.clone(), self.rules.len());
        self.rules.push(rule);
        self.origins.push(origin);
        Ok(())
    }

    fn part(&mut self, part: Part) -> Result<(), Wrong> {
        self.first(format!("g,{},{}", part.member, part.role), &part.origin)?;
        self.parts.push(part);
        Ok(())
    }

    fn first(&mut self, columns: String, origin: &Origin) -> Result<(), Wrong> {
        match self.rows.entry(columns) {
            Entry::Occupied(first) => {
                Err(Wrong::row(format!("{} says the same: remove one", first.get())))
            }
            Entry::Vacant(free) => {
                free.insert(origin.to_string());
                Ok(())
            }
        }
    }

    fn finish(mut self, gates: Option<&str>) -> Result<Loaded, LoadError> {
        self.check_roles();
        if self.rules.is_empty() {
            self.problems.push("rules: there is no rule: nobody could have anything".to_owned());
        }
        let pairs: Vec<(&str, &str)> =
            self.parts.iter().map(|part| (part.member.as_str(), part.role.as_str())).collect();
        let roles = Roles::close(&pairs).unwrap_or_else(|error| {
            let problem = match error {
                RolesError::Circle(role) => {
                    let part = self.parts.iter().find(|part| part.member == role);
                    let place = part.map_or_else(String::new, |part| part.origin.to_string());
                    format!("{place}:1: {role} leads back to itself: remove one of its steps")
                }
                RolesError::Many => {
                    "roles.csv: members reach over a million roles in all: give groups fewer of them"
                        .to_owned()
                }
            };
            self.problems.push(problem);
            Roles::default()
        });
        let gates =
            gates.map_or_else(|| Ok(Gates::default()), |text| Gates::read(text, &self.rules));
        let gates = gates.unwrap_or_else(|problems| {
            self.problems.extend(problems);
            Gates::default()
        });
        if self.problems.is_empty() {
            let Self { rules, origins, parts, .. } = self;
            Ok(Loaded { rules, origins, parts, roles, gates })
        } else {
            Err(LoadError(self.problems))
        }
    }

    /// A rule for a role that nobody can play is a slip of the pen, in an allow row as much as in a deny row.
    fn check_roles(&mut self) {
        let played: BTreeSet<&str> = self.parts.iter().map(|part| part.role.as_str()).collect();
        let mut missing: BTreeMap<String, &str> = BTreeMap::new();
        for (rule, origin) in self.rules.iter().zip(&self.origins) {
            if rule.subject.starts_with("role:") && !played.contains(rule.subject.as_str()) {
                missing.insert(origin.to_string(), &rule.subject);
            }
        }
        self.problems.extend(missing.into_iter().map(|(place, role)| {
            format!("{place}:1: nobody plays {role}: add a g row, or correct the name")
        }));
    }
}

const STRAY_REASON: Wrong =
    Wrong { column: 1, what: Cow::Borrowed("a reason stands on the line directly above its rule") };
/// The shipped model, the only one that is taken.
pub(in crate::policy) const MODEL: &str = include_str!("../../policies/model.conf");
/// More are a sign of single paths where prefixes would do.
const RULES_LIMIT: usize = 200_000;

#[cfg(test)]
mod tests;
