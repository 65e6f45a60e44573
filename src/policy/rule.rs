//! One row: what its columns mean, and the one text of each that both evaluations read.

use crate::goproxy::pattern;
use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::PatternError;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::version;
use crate::goproxy::version::Version;

/// What a row does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::policy) enum Action {
    List,
    Download,
    Sumdb,
}

impl Action {
    pub(in crate::policy) const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Download => "download",
            Self::Sumdb => "sumdb",
        }
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
    /// list, download, sumdb, read or `*`.
    pub(in crate::policy) action: String,
    pub(in crate::policy) effect: Effect,
}

/// What is asked for, as the matcher reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::policy) struct Asked {
    /// `public PATH`, `private PATH` or `resource NAME`.
    pub(in crate::policy) module: String,
    /// A canonical version, or nothing.
    pub(in crate::policy) version: String,
    pub(in crate::policy) action: Action,
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
        let known = RESOURCES.contains(&name);
        return if known {
            Ok(format!("resource {text}"))
        } else {
            Err(format!("{text} is no resource: write @sumdb"))
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

/// Whether a subject stands in a set that is joined by newlines.
pub(in crate::policy) fn subject_in(subjects: &str, subject: &str) -> bool {
    subjects.split('\n').any(|one| one == subject)
}

/// Whether an action column means an action.
pub(in crate::policy) fn action_matches(asked: &str, column: &str) -> bool {
    column == asked || column == "*" || column == "read"
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
    let Ok(asked) = Version::parse(asked) else { return false };
    match range {
        "pseudo" => asked.is_pseudo(),
        "prerelease" => asked.is_prerelease(),
        range => bounds(range).all(|(side, limit)| within(&asked, side, limit)),
    }
}

fn within(asked: &Version, side: Side, limit: &str) -> bool {
    let than = version::compare(asked.as_str(), limit);
    match side {
        Side::AtLeast => than.is_ge(),
        Side::AtMost => than.is_le(),
        Side::Above => than.is_gt(),
        Side::Below => than.is_lt(),
        Side::Exactly => asked.as_str() == limit,
    }
}

/// Things that are no modules.
const RESOURCES: [&str; 1] = ["sumdb"];
