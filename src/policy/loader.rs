//! The strict reader: a policy loads whole, or every problem is told with its file and line.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use crate::policy::files::Files;
use crate::policy::roles::Roles;
use crate::policy::rule;
use crate::policy::rule::Effect;
use crate::policy::rule::Rule;

/// Every problem of a policy, one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadError(Vec<String>);

impl LoadError {
    pub(in crate::policy) const fn of(problems: Vec<String>) -> Self {
        Self(problems)
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

/// Rows and roles that were read.
#[derive(Debug, Default)]
pub(in crate::policy) struct Loaded {
    pub(in crate::policy) rules: Vec<Rule>,
    pub(in crate::policy) roles: Roles,
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
                    reading.problem(name, 1, &format!("it differs from the shipped one: {remedy}"));
                }
                name if name == "roles.csv" || name.starts_with("rules/") => {
                    reading.file(name, text);
                }
                _ => {}
            }
        }
        reading.finish()
    }
}

/// Rows as they are read, and what is wrong with them.
#[derive(Debug, Default)]
struct Reading {
    rules: Vec<Rule>,
    pairs: Vec<(String, String)>,
    ids: HashMap<String, String>,
    rows: HashMap<String, String>,
    wanted: Vec<(String, String)>,
    problems: Vec<String>,
}

impl Reading {
    fn problem(&mut self, file: &str, line: usize, what: &str) {
        self.problems.push(format!("{file}:{line}: {what}"));
    }

    fn file(&mut self, name: &str, text: &str) {
        for (at, line) in text.split('\n').enumerate().map(|(at, line)| (at + 1, line)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(what) = self.line(&format!("{name}:{at}"), line) {
                self.problem(name, at, &what);
            }
        }
        if self.rules.len() > RULES_LIMIT {
            self.problem(name, 1, "over 200,000 rules: use prefixes instead of single paths");
        }
    }

    fn line(&mut self, place: &str, line: &str) -> Result<(), String> {
        plain(line)?;
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.iter().any(|field| field.is_empty()) {
            return Err("a field is empty: give a value, or * for any".to_owned());
        }
        if fields.iter().any(|field| field.len() > FIELD_LIMIT_BYTES) {
            return Err("a field is over 1 KiB".to_owned());
        }
        match fields.as_slice() {
            ["p", id, subject, target, range, action, effect] => {
                let rule = row([id, subject, target, range, action, effect])?;
                self.once(place, &rule)?;
                if subject.starts_with("role:") {
                    self.wanted.push((place.to_owned(), (*subject).to_owned()));
                }
                self.rules.push(rule);
                Ok(())
            }
            ["g", member, role] => {
                check_subject(member)?;
                if !role.starts_with("role:") || check_subject(role).is_err() {
                    return Err(format!("{role} is no role: write role:NAME"));
                }
                self.first(role_row(member, role), place)?;
                self.pairs.push(((*member).to_owned(), (*role).to_owned()));
                Ok(())
            }
            ["p", ..] => Err(format!("a rule has 7 columns, this one {}", fields.len())),
            ["g", ..] => Err(format!("a role has 3 columns, this one {}", fields.len())),
            _ => Err("a row begins with p or g; comments have a line of their own".to_owned()),
        }
    }

    fn once(&mut self, place: &str, rule: &Rule) -> Result<(), String> {
        if let Some(first) = self.ids.insert(rule.id.clone(), place.to_owned()) {
            return Err(format!("the id {} stands at {first} already", rule.id));
        }
        self.first(rule.columns().split_off(1).join(","), place)
    }

    fn first(&mut self, columns: String, place: &str) -> Result<(), String> {
        match self.rows.entry(columns) {
            Entry::Occupied(first) => Err(format!("{} says the same: remove one", first.get())),
            Entry::Vacant(free) => {
                free.insert(place.to_owned());
                Ok(())
            }
        }
    }

    /// Where a member's first step to a role stands.
    fn step_of(&self, member: &str) -> &str {
        let pair = self.pairs.iter().find(|(one, _)| one == member);
        let place = pair.and_then(|(member, role)| self.rows.get(&role_row(member, role)));
        place.map_or("roles.csv", String::as_str)
    }

    fn finish(mut self) -> Result<Loaded, LoadError> {
        let defined: BTreeSet<&str> = self.pairs.iter().map(|(_, role)| role.as_str()).collect();
        for (place, role) in &self.wanted {
            if !defined.contains(role.as_str()) {
                self.problems.push(format!(
                    "{place}: nobody plays {role}: add a g row, or correct the name"
                ));
            }
        }
        if self.rules.is_empty() {
            self.problems.push("rules: there is no rule: nobody could have anything".to_owned());
        }
        let roles = Roles::close(&self.pairs).unwrap_or_else(|role| {
            let place = self.step_of(&role);
            let problem = format!("{place}: {role} leads back to itself: remove one of its steps");
            self.problems.push(problem);
            Roles::default()
        });
        if self.problems.is_empty() {
            Ok(Loaded { rules: self.rules, roles })
        } else {
            Err(LoadError(self.problems))
        }
    }
}

/// The columns of a role row; no rule has these.
fn role_row(member: &str, role: &str) -> String {
    format!("g,{member},{role}")
}

/// Bytes that somebody could read as something else are refused, wherever they stand.
fn plain(line: &str) -> Result<(), String> {
    let refused =
        line.bytes().find(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\''));
    let what = match refused {
        None => return Ok(()),
        Some(b'\t') => "a tab: use blanks",
        Some(b'\r') => "a carriage return: save the file with LF line ends",
        Some(b'"' | b'\'') => "a quote: fields are not quoted",
        Some(_) => "a byte that is not printable ASCII",
    };
    Err(what.to_owned())
}

fn row([id, subject, target, range, action, effect]: [&str; 6]) -> Result<Rule, String> {
    if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) || id.len() > 48 {
        return Err(format!("{id} is no id: at most 48 letters, digits, - _ and ."));
    }
    check_subject(subject)?;
    let effect = match effect {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        other => return Err(format!("{other} is no effect: write allow or deny")),
    };
    match (action, effect) {
        ("list" | "download" | "sumdb" | "read", _) | ("*", Effect::Deny) => {}
        ("*", Effect::Allow) => return Err("* is for deny rules: write read".to_owned()),
        (other, _) => {
            return Err(format!("{other} is no action: write list, download, sumdb or read"));
        }
    }
    if target.split('/').count() > ELEMENTS_LIMIT {
        return Err("a pattern has at most 64 elements".to_owned());
    }
    rule::check_range(range)?;
    Ok(Rule {
        id: id.to_owned(),
        subject: subject.to_owned(),
        target: rule::target(target, effect)?,
        range: range.to_owned(),
        action: action.to_owned(),
        effect,
    })
}

fn check_subject(subject: &str) -> Result<(), String> {
    let plain = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@/+=-%".contains(&b))
    };
    let good = match subject.split_once(':') {
        Some(("any", name)) => matches!(name, "authenticated" | "anonymous"),
        Some(("role", name)) => plain(name),
        Some(("user" | "group", rest)) => rest
            .split_once(':')
            .is_some_and(|(realm, name)| plain(realm) && plain(&name.replace(':', ""))),
        _ => false,
    };
    if good {
        return Ok(());
    }
    Err(format!(
        "{subject} is no subject: write user:REALM:ID, group:REALM:NAME, role:NAME or any:authenticated"
    ))
}

/// The shipped model, the only one that is taken.
pub(in crate::policy) const MODEL: &str = include_str!("../../policies/model.conf");
/// More are a sign of single paths where prefixes would do.
const RULES_LIMIT: usize = 200_000;
/// No path is longer.
const FIELD_LIMIT_BYTES: usize = 1024;
/// No path is deeper.
const ELEMENTS_LIMIT: usize = 64;

#[cfg(test)]
mod tests;
