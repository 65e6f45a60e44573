//! What a policy says that nobody can have meant: told by `modgate policy lint` and before every reload. An error keeps a
//! policy out of force; a warning does not.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::goproxy::pattern;
use crate::goproxy::pattern::Case;
use crate::policy::files::Files;
use crate::policy::files::LINT_ALLOW;
use crate::policy::gates;
use crate::policy::index::Index;
use crate::policy::rule::Action;
use crate::policy::rule::Effect;
use crate::policy::rule::Question;
use crate::policy::rule::Rule;
use crate::policy::snapshot::Snapshot;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// The policy is not taken.
    Error,
    /// Somebody should look.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its stable name, such as `L-PRIVATE-OPEN`.
    pub lint: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// The rule, role or prefix it is about.
    pub about: String,
    /// File and line, where there is one.
    pub origin: String,
    /// What is odd, and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Error => "error",
            Weight::Warning => "warning",
        };
        write!(out, "{}: {weight} {} {}: {}", self.origin, self.lint, self.about, self.what)
    }
}

/// A finding that was looked at and accepted; it has to say why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    lint: String,
    about: String,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowances {
    #[serde(default)]
    allow: Vec<Accepted>,
}

/// Findings, the accepted ones left out; or why the list of accepted ones cannot be read.
pub(in crate::policy) fn findings(
    snapshot: &Snapshot,
    files: &Files,
    now: SystemTime,
) -> Result<Vec<Finding>, String> {
    let text = files.text(LINT_ALLOW).unwrap_or_default();
    let accepted: Allowances =
        toml::from_str(text).map_err(|error| gates::placed(LINT_ALLOW, text, &error))?;
    if let Some(bare) = accepted.allow.iter().find(|one| one.reason.trim().is_empty()) {
        return Err(format!("{LINT_ALLOW}: {} of {}: give a reason", bare.lint, bare.about));
    }
    let mut linter = Linter {
        snapshot,
        walls: Index::among(&snapshot.rules, is_wall),
        lists: Index::among(&snapshot.rules, lists),
        found: Vec::new(),
    };
    for (place, rule) in snapshot.rules.iter().enumerate() {
        linter.rule(place, rule);
        linter.conditions(place, now);
    }
    linter.shadowed();
    linter.roles();
    linter.owners();
    linter.parents();
    let mut used = BTreeSet::new();
    let mut found = linter.found;
    found.retain(|finding| {
        let is_it = |one: &Accepted| one.lint == finding.lint && one.about == finding.about;
        match accepted.allow.iter().position(is_it) {
            Some(place) => {
                used.insert(place);
                false
            }
            None => true,
        }
    });
    for (place, one) in accepted.allow.iter().enumerate() {
        if !used.contains(&place) {
            found.push(Finding {
                lint: "L-ACCEPTED-NOTHING",
                weight: Weight::Warning,
                about: one.about.clone(),
                origin: LINT_ALLOW.to_owned(),
                what: format!("{} is found no more: remove the entry", one.lint),
            });
        }
    }
    Ok(found)
}

/// Thousands of rows must not be compared with thousands of others: each is with the few that an index finds.
struct Linter<'a> {
    snapshot: &'a Snapshot,
    /// Rows that deny every version.
    walls: Index,
    /// Rows that let every version be listed.
    lists: Index,
    found: Vec<Finding>,
}

impl Linter<'_> {
    fn say(&mut self, place: usize, lint: &'static str, weight: Weight, what: impl Into<String>) {
        let about = self.snapshot.rules.get(place).map(|rule| rule.id.clone()).unwrap_or_default();
        let origin = self.snapshot.origins.get(place).map(ToString::to_string).unwrap_or_default();
        self.found.push(Finding { lint, weight, about, origin, what: what.into() });
    }

    /// What can be said of a row alone.
    fn rule(&mut self, place: usize, rule: &Rule) {
        let everybody = rule.subject.starts_with("any:");
        let private = self.snapshot.private.iter().any(|prefix| touches(rule, prefix.as_str()));
        if rule.effect == Effect::Allow && everybody && (private || rule.target == "private") {
            let what = format!(
                "{} reads a private prefix: name a role, or accept it in {LINT_ALLOW}",
                rule.subject
            );
            self.say(place, "L-PRIVATE-OPEN", Weight::Error, what);
        }
        let wide = rule.prefix().is_some_and(|pattern| {
            let host = pattern.split('/').next().unwrap_or_default();
            host.contains(['*', '?'])
        });
        if rule.effect == Effect::Allow && wide {
            let what = "a wildcard in the host lets hosts in that nobody thought of: name them";
            self.say(place, "L-BROAD", Weight::Warning, what);
        }
        if rule.effect == Effect::Allow && rule.range != "*" && !self.can_list(rule) {
            let what =
                "whoever has it cannot list the module, so go finds no version: allow list with *";
            self.say(place, "L-NO-LIST", Weight::Warning, what);
        }
    }

    /// Whether the subject of a row for some versions may list what it is about.
    fn can_list(&self, row: &Rule) -> bool {
        let fits = |rule: &Rule| {
            (rule.subject == row.subject || rule.subject.starts_with("any:")) && covers(rule, row)
        };
        self.found_by(&self.lists, row.prefix().unwrap_or_default()).any(fits)
    }

    /// Rows of an index that could be about a pattern.
    fn found_by(&self, index: &Index, pattern: &str) -> impl Iterator<Item = &Rule> {
        let asked =
            self.snapshot.asked(Question { name: pattern, version: "", action: Action::List });
        index.candidates(&asked).into_iter().filter_map(|place| self.snapshot.rules.get(place))
    }

    fn conditions(&mut self, place: usize, now: SystemTime) {
        let over = |gate: &&gates::Gate| gate.until.is_some_and(|until| until <= now);
        let names: Vec<String> = self
            .snapshot
            .gates
            .of(place)
            .iter()
            .filter(over)
            .map(|gate| gate.name.to_string())
            .collect();
        for name in names {
            let what =
                format!("the time of its condition {name} is over: remove rule and condition");
            self.say(place, "L-GATE-EXPIRED", Weight::Warning, what);
        }
    }

    /// Rows that never decide, because another of the same effect does whenever they apply. Only rows of the same
    /// pattern are compared, by a table.
    fn shadowed(&mut self) {
        let mut by_target: BTreeMap<(&str, &str, Effect), Vec<usize>> = BTreeMap::new();
        let rules = &self.snapshot.rules;
        for (place, rule) in rules.iter().enumerate() {
            let key = (rule.subject.as_str(), rule.target.as_str(), rule.effect);
            by_target.entry(key).or_default().push(place);
        }
        let mut useless = Vec::new();
        for places in by_target.values() {
            // only rows for all versions are wider than others, and no two of them have the same action
            let wide: Vec<(usize, &Rule)> = places
                .iter()
                .filter_map(|place| Some((*place, rules.get(*place)?)))
                .filter(|(_, rule)| rule.range == "*")
                .collect();
            for (place, row) in places.iter().filter_map(|place| Some((*place, rules.get(*place)?)))
            {
                let wider =
                    wide.iter().find(|(other, wide)| *other != place && contains(wide, row));
                useless.extend(wider.map(|(wider, _)| (place, *wider)));
            }
        }
        for (place, wider) in useless {
            let id = rules.get(wider).map(|rule| rule.id.as_str()).unwrap_or_default();
            self.say(
                place,
                "L-UNREACHABLE",
                Weight::Warning,
                format!("{id} decides whenever it does: remove one"),
            );
        }
        for (place, rule) in rules.iter().enumerate() {
            let Some(pattern) = rule.prefix().filter(|_| rule.effect == Effect::Allow) else {
                continue;
            };
            let wall = self.found_by(&self.walls, pattern).find(|wall| walls(wall, rule));
            if let Some(wall) = wall {
                let what = format!("{} denies everything it allows: remove one", wall.id);
                self.say(place, "L-UNREACHABLE", Weight::Warning, what);
            }
        }
    }

    fn roles(&mut self) {
        let named: BTreeSet<&str> =
            self.snapshot.rules.iter().map(|rule| rule.subject.as_str()).collect();
        let members: BTreeSet<&str> =
            self.snapshot.parts.iter().map(|part| part.member.as_str()).collect();
        let played: BTreeSet<&str> =
            self.snapshot.parts.iter().map(|part| part.role.as_str()).collect();
        let mut told = BTreeSet::new();
        for part in &self.snapshot.parts {
            let role = part.role.as_str();
            let leads = named.contains(role) || members.contains(role);
            if !leads && told.insert(role) {
                self.found.push(Finding {
                    lint: "L-UNUSED-ROLE",
                    weight: Weight::Warning,
                    about: role.to_owned(),
                    origin: part.origin.to_string(),
                    what: "no rule is about it: remove its rows, or correct the name".to_owned(),
                });
            }
            if part.member.starts_with("role:") && !played.contains(part.member.as_str()) {
                self.found.push(Finding {
                    lint: "L-NOBODY",
                    weight: Weight::Warning,
                    about: part.member.clone(),
                    origin: part.origin.to_string(),
                    what: "nobody plays it: give it to a user or a group, or remove the row"
                        .to_owned(),
                });
            }
        }
    }

    fn owners(&mut self) {
        let mut told = BTreeSet::new();
        let bare =
            self.snapshot.origins.iter().filter(|origin| origin.owner.is_none() && origin.line > 0);
        for origin in bare.filter(|origin| told.insert(origin.file.to_string())) {
            self.found.push(Finding {
                lint: "L-NO-OWNER",
                weight: Weight::Warning,
                about: origin.file.to_string(),
                origin: origin.to_string(),
                what: "nobody answers for it: begin the file with # owner: WHOM TO ASK".to_owned(),
            });
        }
    }

    /// `go get` asks for every path above a module, so the name of a private prefix's parent leaves.
    fn parents(&mut self) {
        let private = &self.snapshot.private;
        for prefix in private {
            let Some((parent, _)) = prefix.as_str().rsplit_once('/') else { continue };
            if !private.iter().any(|other| other.covers(parent, Case::Folded)) {
                self.found.push(Finding {
                    lint: "L-PRIVATE-PARENT",
                    weight: Weight::Warning,
                    about: prefix.to_string(),
                    origin: "[[private]]".to_owned(),
                    what: format!(
                        "{parent} above it is public, so its name reaches public upstreams"
                    ),
                });
            }
        }
    }
}

/// Whether an allow row reaches into a private prefix.
fn touches(rule: &Rule, private: &str) -> bool {
    rule.prefix().is_some_and(|pattern| {
        pattern::covers(private, pattern, Case::Folded)
            || pattern::covers(pattern, private, Case::Folded)
    })
}

/// Whether a row for all versions applies whenever another of the same subject, modules and effect does.
fn contains(wide: &Rule, row: &Rule) -> bool {
    let action = wide.action == row.action
        || wide.action == "*"
        || (wide.action == "read" && matches!(row.action.as_str(), "list" | "download" | "sumdb"));
    action && (row.range != "*" || wide.action != row.action)
}

/// Whether a row's modules are all modules of another row.
fn covers(wide: &Rule, row: &Rule) -> bool {
    match (wide.prefix(), row.prefix()) {
        (Some(wide), Some(row)) => wide == row || pattern::covers(wide, row, Case::Exact),
        (None, _) => wide.target == row.target || matches!(wide.target.as_str(), "public" | "all"),
        (Some(_), None) => false,
    }
}

/// Whether a row denies every version.
fn is_wall(rule: &Rule) -> bool {
    rule.effect == Effect::Deny && rule.range == "*"
}

/// Whether a row lets every version be listed.
fn lists(rule: &Rule) -> bool {
    rule.effect == Effect::Allow
        && rule.range == "*"
        && matches!(rule.action.as_str(), "list" | "read")
}

/// Whether a deny row leaves nothing of an allow row.
fn walls(wall: &Rule, rule: &Rule) -> bool {
    is_wall(wall)
        && (wall.subject == rule.subject || wall.subject.starts_with("any:"))
        && (wall.action == "*" || wall.action == rule.action)
        && (wall.target == "all"
            || matches!((wall.prefix(), rule.prefix()), (Some(wall), Some(rule))
                if pattern::covers(wall, rule, Case::Folded)))
}
