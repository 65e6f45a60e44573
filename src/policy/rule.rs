//! One row: what its columns mean, and the one text of each that both evaluations read.

use crate::goproxy::pattern;
use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::PatternError;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::version;
use crate::goproxy::version::Version;

/// What a row does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::policy) enum Effect {
    Allow,
    Deny,
}

impl Effect {
    pub(in crate::policy) const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::policy) enum Action {
    /// Learn which versions there are.
    List,
    /// Have a version.
    Download,
    /// Have its sums looked up.
    Sumdb,
    /// Be the first for whom a version enters the tiers.
    Admit,
    /// Make the tiers forget.
    Purge,
    /// Ask what the policy says about others.
    PolicyRead,
    /// Have the policy read again.
    PolicyWrite,
    /// Search the audit.
    AuditRead,
    /// Take the audit away.
    AuditExport,
    /// Everything else that operators do.
    Admin,
}

impl Action {
    /// Those about modules.
    pub(in crate::policy) const OF_MODULES: [Self; 4] =
        [Self::List, Self::Download, Self::Sumdb, Self::Admit];
    /// Those about the gateway itself: their rows name `@gateway`.
    pub(in crate::policy) const OF_OPERATORS: [Self; 6] = [
        Self::Purge,
        Self::PolicyRead,
        Self::PolicyWrite,
        Self::AuditRead,
        Self::AuditExport,
        Self::Admin,
    ];

    pub(in crate::policy) const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Download => "download",
            Self::Sumdb => "sumdb",
            Self::Admit => "admit",
            Self::Purge => "purge",
            Self::PolicyRead => "policy.read",
            Self::PolicyWrite => "policy.write",
            Self::AuditRead => "audit.read",
            Self::AuditExport => "audit.export",
            Self::Admin => "admin",
        }
    }

    /// The action of a word, `read` and `*` aside.
    pub(in crate::policy) fn of(word: &str) -> Option<Self> {
        Self::OF_MODULES.into_iter().chain(Self::OF_OPERATORS).find(|one| one.word() == word)
    }
}

/// A row. Columns are texts that were checked when they were read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Rule {
    pub(in crate::policy) id: String,
    pub(in crate::policy) subject: String,
    /// As [`target`] writes it.
    pub(in crate::policy) target: String,
    /// As [`check_range`] takes it.
    pub(in crate::policy) range: String,
    /// The word of an [`Action`], `read` or `*`.
    pub(in crate::policy) action: String,
    pub(in crate::policy) effect: Effect,
}

/// What is asked for, without a copy of it: the key by which decisions are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Question<'a> {
    /// A module path, or a resource such as `@sumdb`.
    pub(in crate::policy) name: &'a str,
    /// A canonical version, or nothing.
    pub(in crate::policy) version: &'a str,
    pub(in crate::policy) action: Action,
}

/// What is asked for, as the matchers read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Asked {
    /// `public PATH`, `private PATH` or `resource NAME`.
    pub(in crate::policy) module: String,
    /// A canonical version, or nothing.
    pub(in crate::policy) version: String,
    pub(in crate::policy) action: Action,
}

impl Asked {
    /// The path or name.
    pub(in crate::policy) fn name(&self) -> &str {
        self.module.split_once(' ').map_or("", |(_, name)| name)
    }
}

impl Rule {
    /// Whether the row applies to somebody of these subjects, joined by newlines.
    pub(in crate::policy) fn applies(&self, subjects: &str, asked: &Asked) -> bool {
        self.concerns(subjects, asked)
            && module_matches(&asked.module, &self.target)
            && version_matches(&asked.version, &self.range)
    }

    /// Whether the row is about somebody of these subjects and this action: if not, it cannot apply.
    pub(in crate::policy) fn concerns(&self, subjects: &str, asked: &Asked) -> bool {
        subject_in(subjects, &self.subject) && action_matches(asked.action.word(), &self.action)
    }

    /// The columns as Casbin gets them.
    pub(in crate::policy) fn columns(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.subject.clone(),
            self.target.clone(),
            self.range.clone(),
            self.action.clone(),
            self.effect.word().to_owned(),
        ]
    }

    /// The pattern of a prefix row.
    pub(in crate::policy) fn prefix(&self) -> Option<&str> {
        let (head, pattern) = self.target.split_once(' ')?;
        head.starts_with("prefix").then_some(pattern)
    }

    /// Whether the row grants list or download.
    pub(in crate::policy) fn grants_reading(&self) -> bool {
        self.effect == Effect::Allow && matches!(self.action.as_str(), "list" | "download" | "read")
    }
}

/// Writes the modules column so that a matcher that sees no other column reads it right: which class of paths is
/// meant, whether letter case counts, and the pattern.
pub(in crate::policy) fn target(text: &str, effect: Effect) -> Result<String, String> {
    let case = match effect {
        Effect::Allow => "exact",
        Effect::Deny => "folded",
    };
    match (text, effect) {
        ("**", Effect::Allow) => return Ok("public".to_owned()),
        ("**", Effect::Deny) => return Ok("all".to_owned()),
        ("@private/**", _) => return Ok("private".to_owned()),
        _ => {}
    }
    if let Some(name) = text.strip_prefix('@') {
        return if RESOURCES.contains(&name) {
            Ok(format!("resource {text}"))
        } else {
            Err(format!("{text} is no resource: write @sumdb or @gateway"))
        };
    }
    if let Some(path) = text.strip_prefix('=') {
        if effect == Effect::Allow {
            return Err("=PATH is for deny rules: an allow without what lies below breaks go get"
                .to_owned());
        }
        if path.contains(['*', '?']) {
            return Err("=PATH is one path and takes no wildcard".to_owned());
        }
        return pattern_of(path).map(|path| format!("path-{case} {path}"));
    }
    let host = text.split('/').next().unwrap_or_default();
    if effect == Effect::Allow && !host.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        // ** that lost a star would otherwise open every private module
        return Err(format!(
            "{host} for a host means private modules too: write **, @private/** or a name"
        ));
    }
    pattern_of(text).map(|pattern| format!("prefix-{case} {pattern}"))
}

fn pattern_of(text: &str) -> Result<String, String> {
    Prefix::parse(text)
        .map(|prefix| prefix.as_str().to_owned())
        .map_err(|why: PatternError| why.to_string())
}

/// Whether a versions column can be read.
pub(in crate::policy) fn check_range(text: &str) -> Result<(), String> {
    if matches!(text, "*" | "pseudo" | "prerelease") {
        return Ok(());
    }
    let bounds: Vec<(Side, &str)> = bounds(text).collect();
    let marked =
        |(side, limit): &(Side, &str)| *side != Side::Exactly && Version::parse(limit).is_ok();
    match bounds.as_slice() {
        [(_, limit)] if Version::parse(limit).is_ok() => Ok(()),
        [a, b] if marked(a) && marked(b) => {
            if none_between(*a, *b) || none_between(*b, *a) {
                return Err(format!("no version lies in {text}: write a rule for each side"));
            }
            Ok(())
        }
        _ => {
            let known = "versions are *, v1.2.3, <v1.4.2, >=v2.0.0 <v2.1.3, pseudo or prerelease";
            Err(known.to_owned())
        }
    }
}

/// Whether a lower and an upper bound leave no room: a deny row would never apply.
fn none_between((lower, from): (Side, &str), (upper, to): (Side, &str)) -> bool {
    let facing =
        matches!(lower, Side::AtLeast | Side::Above) && matches!(upper, Side::AtMost | Side::Below);
    let order = version::compare(from, to);
    let touching = lower == Side::AtLeast && upper == Side::AtMost;
    facing && if touching { order.is_gt() } else { order.is_ge() }
}

/// On which side of a limit versions are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    AtLeast,
    AtMost,
    Above,
    Below,
    Exactly,
}

/// Sides and limits of a range; read alike when a row is checked and when it is matched.
fn bounds(range: &str) -> impl Iterator<Item = (Side, &str)> {
    let marks =
        [(">=", Side::AtLeast), ("<=", Side::AtMost), (">", Side::Above), ("<", Side::Below)];
    range.split(' ').filter(|bound| !bound.is_empty()).map(move |bound| {
        let marked = |(mark, side): &(&str, Side)| Some((*side, bound.strip_prefix(*mark)?));
        marks.iter().find_map(marked).unwrap_or((Side::Exactly, bound))
    })
}

/// The versions that a range names.
pub(in crate::policy) fn limits(range: &str) -> impl Iterator<Item = &str> {
    bounds(range).map(|(_, limit)| limit).filter(|limit| Version::parse(limit).is_ok())
}

/// Whether a subject stands in a set that is joined by newlines.
pub(in crate::policy) fn subject_in(subjects: &str, subject: &str) -> bool {
    subjects.split('\n').any(|one| one == subject)
}

/// Whether an action column means an action.
pub(in crate::policy) fn action_matches(asked: &str, column: &str) -> bool {
    column == asked || column == "*" || (column == READ && READING.contains(&asked))
}

/// Whether a target means what is asked for.
pub(in crate::policy) fn module_matches(asked: &str, target: &str) -> bool {
    let Some((class, path)) = asked.split_once(' ') else { return false };
    match target {
        "all" => class != "resource",
        "public" => class == "public",
        "private" => class == "private",
        target => match target.split_once(' ') {
            Some(("resource", name)) => class == "resource" && name == path,
            Some(_) if class == "resource" => false,
            Some(("prefix-exact", pattern)) => pattern::covers(pattern, path, Case::Exact),
            Some(("prefix-folded", pattern)) => pattern::covers(pattern, path, Case::Folded),
            Some(("path-folded", pattern)) => pattern.eq_ignore_ascii_case(path),
            _ => false,
        },
    }
}

/// Whether a range means a version; a request without one is meant by `*` alone.
pub(in crate::policy) fn version_matches(asked: &str, range: &str) -> bool {
    if range == "*" {
        return true;
    }
    // what is no version is below every limit, and meant by none
    if !version::is_valid(asked) {
        return false;
    }
    let parsed = || Version::parse(asked);
    match range {
        "pseudo" => parsed().is_ok_and(|version| version.is_pseudo()),
        "prerelease" => parsed().is_ok_and(|version| version.is_prerelease()),
        // without a copy: rows with limits are asked a hundred thousand times a second
        range => bounds(range).all(|(side, limit)| within(asked, side, limit)),
    }
}

fn within(asked: &str, side: Side, limit: &str) -> bool {
    let than = version::compare(asked, limit);
    match side {
        Side::AtLeast => than.is_ge(),
        Side::AtMost => than.is_le(),
        Side::Above => than.is_gt(),
        Side::Below => than.is_lt(),
        Side::Exactly => asked == limit,
    }
}

/// Whether an action and a target can stand in one row: operators act on the gateway, all others on modules.
pub(in crate::policy) fn check_action(
    action: &str,
    target: &str,
    effect: Effect,
) -> Result<(), String> {
    let operators = Action::of(action).is_some_and(|one| Action::OF_OPERATORS.contains(&one));
    match (action, effect, target) {
        ("*", Effect::Deny, _) => Ok(()),
        ("*", Effect::Allow, _) => Err("* is for deny rules: write read, or one action".to_owned()),
        (_, _, "@gateway") if operators => Ok(()),
        (_, _, "@gateway") => Err(format!("{action} is no action on @gateway: write {OPERATORS}")),
        (_, _, _) if operators => Err(format!("{action} is an action on @gateway alone")),
        ("sumdb" | READ, _, "@sumdb") => Ok(()),
        (_, _, "@sumdb") => Err("the action on @sumdb is sumdb, or read".to_owned()),
        (word, _, _) if word == READ || Action::of(word).is_some() => Ok(()),
        (other, _, _) => {
            Err(format!("{other} is no action: write list, download, sumdb, read or admit"))
        }
    }
}

/// Short for the three actions of an ordinary caller.
const READ: &str = "read";
const READING: [&str; 3] = ["list", "download", "sumdb"];
const OPERATORS: &str = "purge, policy.read, policy.write, audit.read, audit.export or admin";
/// Things that are no modules.
const RESOURCES: [&str; 2] = ["sumdb", "gateway"];
