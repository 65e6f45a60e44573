//! What a decision comes to: a permit that only this station makes, or a refusal that explains itself.

use std::borrow::Cow;
use std::sync::Arc;

use crate::fault::Fault;
use crate::fault::Kind;
use crate::goproxy::artifact::Artifact;
use crate::goproxy::request::Own;
use crate::goproxy::request::Request;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::policy::Admission;
use crate::policy::gates::Circumstances;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::snapshot;
use crate::policy::snapshot::Asker;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::policy::DecisionReason;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Facts;
use crate::telemetry::record::Shadowed;

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
    pub(in crate::policy) circumstances: Circumstances,
    pub(in crate::policy) verdict: Verdict,
    pub(in crate::policy) private: bool,
    pub(in crate::policy) purpose: Purpose,
    pub(in crate::policy) shadow: Option<Shadow>,
    pub(in crate::policy) snapshot: Arc<Snapshot>,
}

/// What a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Purpose {
    /// An answer to the caller.
    Answer,
    /// What a hidden version retracts, for the gateway itself.
    Retractions,
}

/// What the rules say, and the conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) struct Verdict {
    pub(in crate::policy) decision: Decision,
    pub(in crate::policy) reason: DecisionReason,
    /// The place of the row that decided.
    pub(in crate::policy) rule: Option<usize>,
    /// Whether it was remembered.
    pub(in crate::policy) cached: bool,
}

impl Verdict {
    const fn of(decision: Decision, reason: DecisionReason) -> Self {
        Self { decision, reason, rule: None, cached: false }
    }

    /// The proof itself is good for other modules only; no rule was looked at.
    pub(in crate::policy) const fn limited() -> Self {
        Self::of(Decision::Deny, DecisionReason::TokenLimit)
    }

    /// There is no policy: nobody can judge.
    pub(in crate::policy) const fn without_policy() -> Self {
        Self::of(Decision::Error, DecisionReason::NoPolicy)
    }

    /// A page about the caller.
    pub(in crate::policy) const fn page() -> Self {
        Self::of(Decision::Allow, DecisionReason::PolicyAllow)
    }

    pub(in crate::policy) const fn is_allowed(self) -> bool {
        matches!(self.decision, Decision::Allow)
    }
}

/// What the candidate policy would have answered instead; it decided nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// The candidate's word and reason.
    pub decision: (Decision, DecisionReason),
    /// The candidate's rule.
    pub rule: Option<Arc<str>>,
    /// The candidate's revision.
    pub revision: Arc<str>,
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

    /// Whether anybody at all may have it, so that anybody may keep it. A list or a query that comes out differently
    /// for different callers is nobody else's.
    pub fn open(&self) -> bool {
        let narrowed = || match &self.request {
            Request::Module(asked) => {
                asked.artifact.version().is_none() && self.tells_versions_apart()
            }
            Request::Sumdb(_) | Request::Own(_) | Request::Root => false,
        };
        !self.private && !narrowed() && self.snapshot.is_open(&self.request)
    }

    /// Whether this caller may have some versions of the module and others not.
    pub fn tells_versions_apart(&self) -> bool {
        self.request.module_path().is_some_and(|path| self.snapshot.tells_versions_apart(path))
    }

    /// Whether a version may stand in a list that this caller is shown: if they may download it; and to somebody who
    /// may list a module but download nothing of it, what no deny row is about.
    pub fn allows_version(&self, version: &Version) -> bool {
        let Some(verdict) = self.about(version) else { return false };
        match verdict.reason {
            DecisionReason::PolicyAllow => true,
            DecisionReason::NoMatch | DecisionReason::Ancestor => {
                let path = self.request.module_path().unwrap_or_default();
                !self.snapshot.grants_some(&self.subjects, path)
            }
            DecisionReason::PolicyDeny
            | DecisionReason::PolicyError
            | DecisionReason::Gate
            | DecisionReason::NotAdmitted
            | DecisionReason::NoPolicy
            | DecisionReason::TokenLimit => false,
        }
    }

    /// Decides again when `@latest`, a branch or a commit turned out to be a version.
    pub fn resolve(&self, version: &Version) -> Result<(), Refusal> {
        match self.about(version) {
            Some(verdict) if !verdict.is_allowed() => {
                Err(self.refuse(self.request.clone(), Some(version.clone()), verdict))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Decides for the same caller about another artifact of the same module.
    pub fn also(&self, artifact: Artifact) -> Result<Self, Refusal> {
        let request = self.with(artifact);
        let (caller, circumstances) = (Arc::clone(&self.caller), self.circumstances);
        Snapshot::authorize(&self.snapshot, caller, request, circumstances)
    }

    /// The go.mod of a version that is hidden from this caller, for the gateway itself: what it retracts is nobody's
    /// secret and must not be recommended. Its bytes are shown to nobody.
    #[must_use]
    pub fn for_retractions(&self, hidden: &Version) -> Self {
        let request = self.with(Artifact::Mod(hidden.clone()));
        Self { request, purpose: Purpose::Retractions, ..self.clone() }
    }

    /// The permit once more, if this caller may be the first for whom a version enters the tiers. Where downloading
    /// implies it, for what is no version, and for the gateway itself, that is everybody.
    pub fn admitted(&self) -> Result<&Self, Refusal> {
        let Some(question) = snapshot::question(&self.request, None) else { return Ok(self) };
        let free = self.snapshot.admission() == Admission::Implied
            || self.purpose == Purpose::Retractions
            || question.action != Action::Download;
        if free {
            return Ok(self);
        }
        let verdict = self.judge(Question { action: Action::Admit, ..question });
        if verdict.is_allowed() {
            return Ok(self);
        }
        let verdict = match verdict.reason {
            DecisionReason::NoMatch => Verdict { reason: DecisionReason::NotAdmitted, ..verdict },
            _ => verdict,
        };
        Err(self.refuse(self.request.clone(), None, verdict))
    }

    /// The permit once more, with what decided, if the caller may do something as an operator of this gateway. A token that
    /// is limited to some modules is good for nothing else, whatever the policy allows its owner.
    pub fn operates(&self, right: Right) -> Result<Self, Refusal> {
        if !self.caller.limits().is_empty() {
            return Err(self.refuse(self.request.clone(), None, Verdict::limited()));
        }
        let verdict =
            self.judge(Question { name: "@gateway", version: "", action: right.action() });
        if verdict.is_allowed() {
            return Ok(Self { verdict, ..self.clone() });
        }
        Err(self.refuse(self.request.clone(), None, verdict))
    }

    fn with(&self, artifact: Artifact) -> Request {
        match &self.request {
            Request::Module(asked) => Request::Module(crate::goproxy::request::ModuleRequest {
                artifact,
                ..asked.clone()
            }),
            other => other.clone(),
        }
    }

    fn about(&self, version: &Version) -> Option<Verdict> {
        Some(self.judge(snapshot::question(&self.request, Some(version))?))
    }

    fn judge(&self, question: Question<'_>) -> Verdict {
        let asker = Asker { realm: self.caller.realm(), circumstances: self.circumstances };
        self.snapshot.judge(&self.subjects, question, asker).0
    }

    fn refuse(&self, request: Request, version: Option<Version>, verdict: Verdict) -> Refusal {
        self.snapshot.refusal(&self.caller, request, version, verdict)
    }
}

impl Observed for &Permit {
    fn note(&self, facts: &mut Facts) {
        (**self).note(facts);
    }
}

impl Observed for Permit {
    fn note(&self, facts: &mut Facts) {
        facts.private = self.private;
        facts.decision = Some((self.verdict.decision, self.verdict.reason));
        let told = self.verdict.rule.and_then(|place| self.snapshot.told(place));
        facts.gates = gates_of(told.as_ref());
        facts.rule = told.map(|told| told.id.to_string());
        facts.revision = Some(self.snapshot.revision().to_string());
        facts.generation = Some(self.snapshot.generation());
        facts.roles = snapshot::roles(&self.subjects);
        facts.decision_cached = self.verdict.cached;
        note_shadow(self.shadow.as_ref(), facts);
    }
}

/// What an operator may be allowed to do, on the resource `@gateway`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
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

impl Right {
    const fn action(self) -> Action {
        match self {
            Self::Purge => Action::Purge,
            Self::PolicyRead => Action::PolicyRead,
            Self::PolicyWrite => Action::PolicyWrite,
            Self::AuditRead => Action::AuditRead,
            Self::AuditExport => Action::AuditExport,
            Self::Admin => Action::Admin,
        }
    }
}

/// What may be said of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Told {
    pub(in crate::policy) id: Arc<str>,
    /// Of the comment above it.
    pub(in crate::policy) reason: Option<Arc<str>>,
    /// The names of its conditions.
    pub(in crate::policy) gates: Vec<Arc<str>>,
}

/// Why a caller may not have it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} refused to {principal} ({:?}, rule {})", self.what(), verdict.reason, self.rule())]
pub struct Refusal {
    pub(in crate::policy) principal: String,
    pub(in crate::policy) anonymous: bool,
    pub(in crate::policy) request: Request,
    pub(in crate::policy) version: Option<Version>,
    pub(in crate::policy) private: bool,
    pub(in crate::policy) verdict: Verdict,
    pub(in crate::policy) told: Option<Box<Told>>,
    pub(in crate::policy) shadow: Option<Box<Shadow>>,
    pub(in crate::policy) revision: Arc<str>,
    pub(in crate::policy) generation: u64,
    pub(in crate::policy) subjects: Arc<str>,
    pub(in crate::policy) contact: Option<Arc<str>>,
}

impl Refusal {
    /// The id of the row that decided, or `none`.
    fn rule(&self) -> &str {
        self.told.as_ref().map_or("none", |told| &told.id)
    }

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
            Request::Own(Own::Audit) => "audit.read on @gateway".to_owned(),
            Request::Own(Own::AuditExport) => "audit.export on @gateway".to_owned(),
            Request::Own(_) | Request::Root => "this page".to_owned(),
        }
    }

    /// Which rule, or why none: a few words.
    fn because(&self) -> String {
        let gates = || {
            let names = self.told.iter().flat_map(|told| told.gates.iter());
            names.map(|name| &**name).collect::<Vec<_>>().join(", ")
        };
        match (self.verdict.reason, &self.told) {
            (DecisionReason::PolicyError, _) => "the policy could not be evaluated".to_owned(),
            (DecisionReason::TokenLimit, _) => "the token is limited to other modules".to_owned(),
            (DecisionReason::NotAdmitted, _) => {
                "nobody who may admit it has fetched it yet".to_owned()
            }
            (DecisionReason::Gate, Some(told)) => {
                format!("rule {} allows it only under {}", told.id, gates())
            }
            (_, Some(told)) => format!("rule {} (deny)", told.id),
            (_, None) => "no rule allows it".to_owned(),
        }
    }
}

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        match (self.verdict.decision, self.anonymous) {
            _ if self.verdict.reason == DecisionReason::NoPolicy => Kind::Unavailable,
            (Decision::Absent, _) if !self.private => Kind::NotFound,
            (_, true) => Kind::Unauthenticated,
            _ => Kind::Denied,
        }
    }

    fn public(&self) -> Cow<'static, str> {
        let path = self.request.module_path().unwrap_or("this");
        if self.verdict.reason == DecisionReason::NoPolicy {
            return "unavailable: no valid policy is loaded, so nobody can be judged".into();
        }
        if self.verdict.decision == Decision::Absent {
            return if self.private {
                fitted(&format!("denied: {path}: above what you may read")).into()
            } else {
                fitted(&format!("not found: {path}: nothing is served here")).into()
            };
        }
        let (because, revision) = (self.because(), format!("policy revision {}", self.revision));
        let mut lines = vec![
            fitted(&format!("denied: {}", self.what())),
            fitted(&format!("for {}", self.principal)),
        ];
        let both = format!("{because}, {revision}");
        if both.len() <= LINE_BYTES {
            lines.push(both);
        } else {
            lines.extend([fitted(&because), revision]);
        }
        let reason = self.told.as_ref().and_then(|told| told.reason.as_ref());
        lines.extend(reason.map(|reason| fitted(&format!("why: {reason}"))));
        lines.extend(self.contact.iter().map(|contact| fitted(&format!("ask {contact}"))));
        lines.join("\n").into()
    }
}

impl Observed for Refusal {
    fn note(&self, facts: &mut Facts) {
        facts.private = self.private;
        facts.decision = Some((self.verdict.decision, self.verdict.reason));
        facts.gates = gates_of(self.told.as_deref());
        facts.rule = self.told.as_ref().map(|told| told.id.to_string());
        facts.revision = Some(self.revision.to_string());
        facts.generation = Some(self.generation);
        facts.roles = snapshot::roles(&self.subjects);
        facts.decision_cached = self.verdict.cached;
        note_shadow(self.shadow.as_deref(), facts);
    }
}

fn gates_of(told: Option<&Told>) -> Vec<String> {
    told.iter().flat_map(|told| &told.gates).map(ToString::to_string).collect()
}

fn note_shadow(shadow: Option<&Shadow>, facts: &mut Facts) {
    if let Some(Shadow { decision, rule, revision }) = shadow {
        let rule = rule.as_deref().map(str::to_owned);
        facts.shadow = Some(Shadowed { decision: *decision, rule, revision: revision.to_string() });
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
