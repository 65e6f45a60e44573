//! What a decision comes to: a permit that only this station makes, or a refusal that explains itself.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::fault::Fault;
use crate::fault::Kind;
use crate::goproxy::request::Request;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::DecisionReason;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Facts;

/// Proof that a caller may have what a request asks for.
///
/// Only a policy makes one:
///
/// ```compile_fail
/// use modgate::policy::decision::Permit;
/// fn forge(permit: Permit, request: modgate::goproxy::request::Request) -> Permit {
///     Permit { request, ..permit }
/// }
/// ```
///
/// ```
/// use modgate::policy::decision::Permit;
/// fn keep(permit: Permit) -> Permit {
///     permit
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Permit {
    pub(in crate::policy) caller: Arc<Caller>,
    pub(in crate::policy) subjects: Arc<str>,
    pub(in crate::policy) request: Request,
    pub(in crate::policy) verdict: Verdict,
    pub(in crate::policy) private: bool,
    pub(in crate::policy) snapshot: Arc<Snapshot>,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Verdict {
    pub(in crate::policy) decision: Decision,
    pub(in crate::policy) reason: DecisionReason,
    /// The id of the row that decided.
    pub(in crate::policy) rule: Option<Arc<str>>,
    /// Whether it was remembered.
    pub(in crate::policy) cached: bool,
}

impl Verdict {
    /// The proof itself is good for other modules only; no rule was looked at.
    pub(in crate::policy) fn limited() -> Self {
        let (decision, reason) = (Decision::Deny, DecisionReason::TokenLimit);
        Self { decision, reason, rule: None, cached: false }
    }
}

impl Permit {
    /// Who.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// What.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether it lies under a private prefix.
    pub fn private(&self) -> bool {
        self.private
    }

    /// Whether anybody at all may have it, so that anybody may keep it.
    pub fn open(&self) -> bool {
        !self.private && self.snapshot.is_open(&self.request)
    }

    /// Whether a version may stand in a list that this caller is shown.
    pub fn allows_version(&self, version: &Version) -> bool {
        self.snapshot.shows(&self.subjects, &self.request, version)
    }

    /// Decides again when `@latest`, a branch or a commit turned out to be a version.
    pub fn resolve(&self, version: &Version) -> Result<(), Refusal> {
        self.snapshot.resolve(self, version)
    }
}

impl Observed for Permit {
    fn note(&self, facts: &mut Facts) {
        facts.private = self.private;
        facts.decision = Some((self.verdict.decision, self.verdict.reason));
        facts.rule = self.verdict.rule.as_deref().map(str::to_owned);
        facts.revision = Some(self.snapshot.revision().to_string());
        facts.decision_cached = self.verdict.cached;
    }
}

/// Why a caller may not have it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} refused to {principal} ({:?}, rule {})", self.what(), verdict.reason, verdict.rule.as_deref().unwrap_or("none"))]
pub struct Refusal {
    pub(in crate::policy) principal: String,
    pub(in crate::policy) anonymous: bool,
    pub(in crate::policy) request: Request,
    pub(in crate::policy) version: Option<Version>,
    pub(in crate::policy) private: bool,
    pub(in crate::policy) verdict: Verdict,
    pub(in crate::policy) revision: Arc<str>,
    pub(in crate::policy) contact: Option<Arc<str>>,
}

impl Refusal {
    /// `path@version (artifact)`.
    fn what(&self) -> String {
        match &self.request {
            Request::Module(asked) => {
                let resolved = self.version.as_ref().map(Version::as_str);
                let version = resolved.or_else(|| asked.artifact.asked_version());
                let at = version.map(|version| format!("@{version}")).unwrap_or_default();
                format!("{}{at} ({})", asked.path, asked.artifact.word())
            }
            Request::Sumdb(asked) => match self.request.module_path() {
                Some(path) => format!("{path} ({})", asked.database),
                None => asked.database.to_string(),
            },
            Request::Own(_) | Request::Root => "this page".to_owned(),
        }
    }
}

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        match (self.verdict.decision, self.anonymous) {
            (Decision::Absent, _) if !self.private => Kind::NotFound,
            (_, true) => Kind::Unauthenticated,
            _ => Kind::Denied,
        }
    }

    fn public(&self) -> Cow<'static, str> {
        let path = self.request.module_path().unwrap_or("this");
        if self.verdict.decision == Decision::Absent {
            return if self.private {
                fitted(&format!("denied: {path}: above what you may read")).into()
            } else {
                fitted(&format!("not found: {path}: nothing is served here")).into()
            };
        }
        let rule = match (&self.verdict.rule, self.verdict.reason) {
            (_, DecisionReason::PolicyError) => "the policy could not be evaluated".to_owned(),
            (_, DecisionReason::TokenLimit) => "the token is limited to other modules".to_owned(),
            (Some(rule), _) => format!("rule {rule} (deny)"),
            (None, _) => "no rule allows it".to_owned(),
        };
        let revision = format!("policy revision {}", self.revision);
        let mut lines = vec![
            fitted(&format!("denied: {}", self.what())),
            fitted(&format!("for {}", self.principal)),
        ];
        let both = format!("{rule}, {revision}");
        if both.len() <= LINE_BYTES {
            lines.push(both);
        } else {
            lines.extend([rule, revision]);
        }
        lines.extend(self.contact.iter().map(|contact| fitted(&format!("ask {contact}"))));
        lines.join("\n").into()
    }
}

impl Observed for Refusal {
    fn note(&self, facts: &mut Facts) {
        facts.private = self.private;
        facts.decision = Some((self.verdict.decision, self.verdict.reason));
        facts.rule = self.verdict.rule.as_deref().map(str::to_owned);
        facts.revision = Some(self.revision.to_string());
        facts.decision_cached = self.verdict.cached;
    }
}

/// What the answer would be, in words.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub(in crate::policy) what: String,
    pub(in crate::policy) principal: String,
    pub(in crate::policy) roles: Vec<String>,
    pub(in crate::policy) private: bool,
    pub(in crate::policy) verdicts: Vec<(&'static str, Verdict)>,
    pub(in crate::policy) revision: Arc<str>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = if self.private { "private" } else { "public" };
        writeln!(out, "{} ({class}) for {}", self.what, self.principal)?;
        writeln!(out, "as {}", self.roles.join(", "))?;
        for (action, verdict) in &self.verdicts {
            let word = match verdict.decision {
                Decision::Allow => "allowed",
                Decision::Deny | Decision::Error => "denied",
                Decision::Absent => "nothing is served here: it lies above what you may read",
            };
            match (&verdict.rule, verdict.decision) {
                (Some(rule), _) => writeln!(out, "{action}: {word} by rule {rule}")?,
                (None, Decision::Error) => {
                    writeln!(out, "{action}: {word}: the policy could not be evaluated")?;
                }
                (None, _) if verdict.reason == DecisionReason::TokenLimit => {
                    writeln!(out, "{action}: {word}: the token is limited to other modules")?;
                }
                (None, _) => writeln!(out, "{action}: {word}: no rule allows it")?,
            }
        }
        writeln!(out, "policy revision {}", self.revision)
    }
}

/// A line that `go` prints whole. A long one loses its middle: what it is about and its version stand at the ends.
fn fitted(line: &str) -> String {
    if line.len() <= LINE_BYTES {
        return line.to_owned();
    }
    let keep = (LINE_BYTES - 3) / 2;
    let (head, tail) = (line.floor_char_boundary(keep), line.ceil_char_boundary(line.len() - keep));
    format!("{}...{}", line.get(..head).unwrap_or_default(), line.get(tail..).unwrap_or_default())
}

/// What the go command prints of a line.
const LINE_BYTES: usize = 79;
