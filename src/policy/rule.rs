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
        subject_in(subjects, &self.subject)
            && action_matches(asked.action.word(), &self.action)
            && module_matches(&asked.module, &self.target)
            && version_matches(&asked.version, &self.range)
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
    let bounds: Vec<&str> = text.split(' ').filter(|bound| !bound.is_empty()).collect();
    let good = |bound: &&str| Version::parse(bound.trim_start_matches(['<', '>', '='])).is_ok();
    let marked = |bound: &&str| bounds.len() == 1 || bound.starts_with(['<', '>']);
    if bounds.len() <= 2
        && !bounds.is_empty()
        && bounds.iter().all(|bound| good(bound) && marked(bound))
    {
        return Ok(());
    }
    Err("versions are *, v1.2.3, <v1.4.2, >=v2.0.0 <v2.1.3, pseudo or prerelease".to_owned())
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
        range => {
            range.split(' ').filter(|bound| !bound.is_empty()).all(|bound| within(&asked, bound))
        }
    }
}

fn within(asked: &Version, bound: &str) -> bool {
    let than = |limit: &str| version::compare(asked.as_str(), limit);
    if let Some(limit) = bound.strip_prefix(">=") {
        than(limit).is_ge()
    } else if let Some(limit) = bound.strip_prefix("<=") {
        than(limit).is_le()
    } else if let Some(limit) = bound.strip_prefix('>') {
        than(limit).is_gt()
    } else if let Some(limit) = bound.strip_prefix('<') {
        than(limit).is_lt()
    } else {
        asked.as_str() == bound
    }
}

/// Things that are no modules.
const RESOURCES: [&str; 1] = ["sumdb"];
