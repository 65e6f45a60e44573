//! One policy, immutable: rows, roles, private prefixes, the index, and the decisions it remembers. A new policy is a
//! new snapshot, so no decision of an old one can answer for it.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::content::Sum;
use crate::goproxy::artifact::Artifact;
use crate::goproxy::path::ModulePath;
use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::request::Request;
use crate::goproxy::request::SumdbAsk;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::policy::LoadError;
use crate::policy::Settings;
use crate::policy::ancestors::Ancestors;
use crate::policy::decision::Explanation;
use crate::policy::decision::Permit;
use crate::policy::decision::Refusal;
use crate::policy::decision::Verdict;
use crate::policy::engine::Engine;
use crate::policy::files::Files;
use crate::policy::index::Index;
use crate::policy::loader::Loaded;
use crate::policy::roles::Roles;
use crate::policy::rule::Action;
use crate::policy::rule::Asked;
use crate::policy::rule::Effect;
use crate::policy::rule::Rule;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::DecisionReason;

/// A policy in force.
#[derive(Debug)]
pub(in crate::policy) struct Snapshot {
    rules: Vec<Rule>,
    ids: Vec<Arc<str>>,
    named: BTreeSet<String>,
    roles: Roles,
    private: Vec<Prefix>,
    /// Ids of rows whose pattern lies below a private prefix.
    private_ids: HashSet<Arc<str>>,
    /// What everybody is, with or without credentials, reduced as any caller's set.
    anybody: Arc<str>,
    index: Index,
    ancestors: Ancestors,
    engine: Engine,
    remembered: Cache<(Arc<str>, Asked), Verdict, Bytes>,
    revision: Arc<str>,
    contact: Option<Arc<str>>,
}

impl Snapshot {
    pub(in crate::policy) fn build(
        files: &Files,
        private: Vec<Prefix>,
        settings: Settings,
    ) -> Result<Self, LoadError> {
        let Loaded { rules, roles } = Loaded::from(files)?;
        let ids: Vec<Arc<str>> = rules.iter().map(|rule| Arc::from(rule.id.as_str())).collect();
        let named: BTreeSet<String> = rules.iter().map(|rule| rule.subject.clone()).collect();
        let is_private =
            |rule: &Rule| rule.prefix().is_some_and(|pattern| covered(&private, pattern));
        Ok(Self {
            private_ids: rules
                .iter()
                .zip(&ids)
                .filter(|(rule, _)| is_private(rule))
                .map(|(_, id)| Arc::clone(id))
                .collect(),
            anybody: reduced([ANYBODY], &roles, &named),
            index: Index::of(&rules),
            ancestors: Ancestors::of(&rules),
            ids,
            named,
            roles,
            engine: Engine::default(),
            remembered: Cache::with_weighter(REMEMBERED, REMEMBERED_BYTES, Bytes),
            revision: revision(files, &private).into(),
            contact: settings.contact.map(Arc::from),
            private,
            rules,
        })
    }

    pub(in crate::policy) fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    pub(in crate::policy) fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Decides about a request.
    pub(in crate::policy) fn authorize(
        this: &Arc<Self>,
        caller: Arc<Caller>,
        request: Request,
    ) -> Result<Permit, Refusal> {
        let subjects = this.subjects(&caller);
        let private = request.module_path().is_some_and(|path| this.is_private(path));
        let reached = request.module_path().is_none_or(|path| caller.reaches(path));
        let verdict = match this.asked(&request, None) {
            _ if !reached => Verdict::limited(),
            Some(asked) => this.decide(&subjects, &asked),
            // pages about the caller: whoever was recognised may read them
            None => Verdict {
                decision: Decision::Allow,
                reason: DecisionReason::PolicyAllow,
                rule: None,
                cached: false,
            },
        };
        if verdict.decision == Decision::Allow {
            let snapshot = Arc::clone(this);
            return Ok(Permit { caller, subjects, request, verdict, private, snapshot });
        }
        Err(this.refusal(&caller, request, None, verdict))
    }

    fn refusal(
        &self,
        caller: &Caller,
        request: Request,
        version: Option<Version>,
        verdict: Verdict,
    ) -> Refusal {
        let path = request.module_path().unwrap_or_default();
        let private = self.is_private(path)
            || match verdict.decision {
                // a pattern above which it lies may be private although the path is not
                Decision::Absent => {
                    verdict.rule.as_ref().is_some_and(|id| self.private_ids.contains(id))
                }
                Decision::Allow | Decision::Deny | Decision::Error => false,
            };
        Refusal {
            principal: caller.principal().to_owned(),
            anonymous: caller.is_anonymous(),
            private,
            request,
            version,
            verdict,
            revision: Arc::clone(&self.revision),
            contact: self.contact.clone(),
        }
    }

    /// Whether anybody at all may have it.
    pub(in crate::policy) fn is_open(&self, request: &Request) -> bool {
        let Some(asked) = self.asked(request, None).filter(|_| !self.anybody.is_empty()) else {
            return false;
        };
        let open = |asked: &Asked| self.decide(&self.anybody, asked).decision == Decision::Allow;
        match request {
            // these answers name a version, and whoever may keep them must be one who may have it
            Request::Module(module)
                if matches!(module.artifact, Artifact::Latest | Artifact::Query(_)) =>
            {
                open(&asked) && open(&Asked { action: Action::Download, ..asked })
            }
            Request::Module(_) | Request::Sumdb(_) | Request::Own(_) | Request::Root => {
                open(&asked)
            }
        }
    }

    /// Whether a version may stand in a list: unless a deny row is about downloading it.
    pub(in crate::policy) fn shows(
        &self,
        subjects: &Arc<str>,
        request: &Request,
        version: &Version,
    ) -> bool {
        let Some(asked) = self.asked(request, Some(version)) else { return false };
        let candidates = self.index.candidates(&asked);
        let ranged =
            candidates.iter().filter_map(|place| self.rules.get(*place)).any(|r| r.range != "*");
        !ranged || Self::shown(&self.decide(subjects, &asked))
    }

    /// Whether a decision about a version leaves it in a list; doubt does not.
    pub(in crate::policy) const fn shown(verdict: &Verdict) -> bool {
        match verdict.reason {
            DecisionReason::PolicyAllow | DecisionReason::NoMatch | DecisionReason::Ancestor => {
                true
            }
            DecisionReason::PolicyDeny
            | DecisionReason::PolicyError
            | DecisionReason::TokenLimit => false,
        }
    }

    /// Decides about a download of what a query turned out to be.
    pub(in crate::policy) fn resolve(
        &self,
        permit: &Permit,
        version: &Version,
    ) -> Result<(), Refusal> {
        let Some(asked) = self.asked(&permit.request, Some(version)) else { return Ok(()) };
        let verdict = self.decide(&permit.subjects, &asked);
        if verdict.decision == Decision::Allow {
            return Ok(());
        }
        let request = permit.request.clone();
        Err(self.refusal(&permit.caller, request, Some(version.clone()), verdict))
    }

    pub(in crate::policy) fn explain(
        &self,
        caller: &Caller,
        path: &ModulePath,
        version: Option<&Version>,
    ) -> Explanation {
        let subjects = self.subjects(caller);
        let module = self.module(path.as_str());
        let about = |action: Action, version: Option<&Version>| {
            let version = version.map(Version::to_string).unwrap_or_default();
            if !caller.reaches(path.as_str()) {
                return Verdict::limited();
            }
            self.decide(&subjects, &Asked { module: module.clone(), version, action })
        };
        let verdicts = vec![
            (Action::List.word(), about(Action::List, None)),
            (Action::Download.word(), about(Action::Download, version)),
        ];
        let at = version.map(|version| format!("@{version}")).unwrap_or_default();
        Explanation {
            what: format!("{path}{at}"),
            principal: caller.principal().to_owned(),
            roles: subjects.split('\n').map(str::to_owned).collect(),
            private: self.is_private(path.as_str()),
            verdicts,
            revision: Arc::clone(&self.revision),
        }
    }

    /// The caller's set, reduced to what rows name: others cannot match, and thousands of callers share a set.
    fn subjects(&self, caller: &Caller) -> Arc<str> {
        let authenticated = (!caller.is_anonymous()).then_some("any:authenticated");
        let own = [ANYBODY, caller.principal()].into_iter().chain(authenticated);
        let groups = caller.groups().iter().map(String::as_str);
        reduced(own.chain(groups), &self.roles, &self.named)
    }

    fn asked(&self, request: &Request, resolved: Option<&Version>) -> Option<Asked> {
        let (module, version, action) = match request {
            Request::Own(_) | Request::Root => return None,
            Request::Module(asked) => {
                let version = resolved.or_else(|| asked.artifact.version());
                let action = if version.is_some() { Action::Download } else { Action::List };
                (self.module(asked.path.as_str()), version.map(Version::to_string), action)
            }
            Request::Sumdb(asked) => match &asked.ask {
                SumdbAsk::Lookup { path, version } => {
                    (self.module(path.as_str()), Some(version.to_string()), Action::Sumdb)
                }
                SumdbAsk::Supported | SumdbAsk::Latest | SumdbAsk::Tile(_) => {
                    ("resource @sumdb".to_owned(), None, Action::Sumdb)
                }
            },
        };
        Some(Asked { module, version: version.unwrap_or_default(), action })
    }

    fn module(&self, path: &str) -> String {
        let class = if self.is_private(path) { "private" } else { "public" };
        format!("{class} {path}")
    }

    fn is_private(&self, path: &str) -> bool {
        covered(&self.private, path)
    }

    fn decide(&self, subjects: &Arc<str>, asked: &Asked) -> Verdict {
        let key = (Arc::clone(subjects), asked.clone());
        if let Some(verdict) = self.remembered.get(&key) {
            return Verdict { cached: true, ..verdict };
        }
        let verdict = self.evaluate(subjects, asked);
        if verdict.decision != Decision::Error {
            self.remembered.insert(key, verdict.clone());
        }
        verdict
    }

    /// Casbin decides over the candidates; an evaluation of ours names the row, and has to agree.
    fn evaluate(&self, subjects: &str, asked: &Asked) -> Verdict {
        let candidates = self.index.candidates(asked);
        let rows: Vec<(usize, &Rule)> = candidates
            .iter()
            .filter_map(|place| Some((*place, self.rules.get(*place)?)))
            .filter(|(_, rule)| rule.concerns(subjects, asked))
            .collect();
        let applies = |effect| {
            let mut rows = rows.iter();
            rows.find(|(_, rule)| rule.effect == effect && rule.applies(subjects, asked))
        };
        let (deny, allow) = (applies(Effect::Deny), applies(Effect::Allow));
        let allowed = match rows.as_slice() {
            [] => Ok(false),
            rows => {
                let rules: Vec<&Rule> = rows.iter().map(|(_, rule)| *rule).collect();
                self.engine.decide(&rules, subjects, asked)
            }
        };
        let ours = deny.is_none() && allow.is_some();
        let (decision, reason, row) = match allowed {
            Ok(theirs) if theirs != ours => {
                tracing::error!(
                    module = asked.module,
                    "two evaluations of the policy disagree: denied"
                );
                (Decision::Error, DecisionReason::PolicyError, None)
            }
            Err(error) => {
                tracing::error!(module = asked.module, %error, "the policy could not be evaluated: denied");
                (Decision::Error, DecisionReason::PolicyError, None)
            }
            Ok(true) => (Decision::Allow, DecisionReason::PolicyAllow, allow),
            Ok(false) => match deny {
                Some(_) => (Decision::Deny, DecisionReason::PolicyDeny, deny),
                None => return self.unmatched(subjects, asked),
            },
        };
        let rule = row.and_then(|(place, _)| self.ids.get(*place)).cloned();
        Verdict { decision, reason, rule, cached: false }
    }

    /// No row applies: perhaps the path lies above something the caller may read.
    fn unmatched(&self, subjects: &str, asked: &Asked) -> Verdict {
        let path = asked.module.split_once(' ').map_or("", |(_, path)| path);
        let above = |rule: &&Rule| {
            rule.grants_reading()
                && crate::policy::rule::subject_in(subjects, &rule.subject)
                && rule.prefix().is_some_and(|pattern| {
                    crate::goproxy::pattern::is_strict_ancestor(pattern, path, Case::Exact)
                        && !self.denies(subjects, pattern)
                })
        };
        let mut found = None;
        if asked.action != Action::Sumdb {
            let candidates = self.ancestors.candidates(path);
            let rows =
                candidates.iter().filter_map(|place| Some((*place, self.rules.get(*place)?)));
            for (place, _) in rows.filter(|(_, rule)| above(rule)) {
                // of several, a private one: its answer keeps the client from asking others for names below
                if self.ids.get(place).is_some_and(|id| self.private_ids.contains(id)) {
                    found = Some(place);
                    break;
                }
                found = found.or(Some(place));
            }
        }
        let (decision, reason) = match found {
            Some(_) => (Decision::Absent, DecisionReason::Ancestor),
            None => (Decision::Deny, DecisionReason::NoMatch),
        };
        let rule = found.and_then(|place| self.ids.get(place)).cloned();
        Verdict { decision, reason, rule, cached: false }
    }

    /// Whether a deny row takes everything back that a pattern would give.
    fn denies(&self, subjects: &str, pattern: &str) -> bool {
        let asked =
            Asked { module: self.module(pattern), version: String::new(), action: Action::List };
        let candidates = self.index.candidates(&asked);
        let mut rows = candidates.iter().filter_map(|place| self.rules.get(*place));
        rows.any(|rule| rule.effect == Effect::Deny && rule.applies(subjects, &asked))
    }
}

/// Members and the roles they reach, reduced to what rows name.
fn reduced<'a>(
    members: impl IntoIterator<Item = &'a str>,
    roles: &'a Roles,
    named: &BTreeSet<String>,
) -> Arc<str> {
    let reached = members.into_iter().flat_map(|one| roles.of(one).chain([one]));
    let all: BTreeSet<&str> = reached.filter(|one| named.contains(*one)).collect();
    Arc::from(all.into_iter().collect::<Vec<_>>().join("\n"))
}

fn covered(private: &[Prefix], path: &str) -> bool {
    private.iter().any(|prefix| prefix.covers(path, Case::Folded))
}

/// What a remembered decision takes, so that long paths do not take more than their share.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<(Arc<str>, Asked), Verdict> for Bytes {
    fn weight(&self, (subjects, asked): &(Arc<str>, Asked), _verdict: &Verdict) -> u64 {
        (ENTRY_BYTES + subjects.len() + asked.module.len() + asked.version.len()) as u64
    }
}

/// Everybody, with or without credentials.
const ANYBODY: &str = "any:anonymous";
/// Decisions that are remembered, if their paths are of ordinary length.
const REMEMBERED: usize = 65_536;
/// 256 bytes for each of them.
const REMEMBERED_BYTES: u64 = 16 << 20;
/// Key, verdict and their places in the table, without the texts.
const ENTRY_BYTES: usize = 160;

/// Twelve hex digits over everything that decides.
fn revision(files: &Files, private: &[Prefix]) -> String {
    let mut all = String::new();
    let mut add = |name: &str, text: &str| {
        // writing to a string cannot fail
        let _written = write!(all, "{name}\0{}\0{text}\0", text.len());
    };
    for (name, text) in files.iter() {
        add(name, text);
    }
    for prefix in private {
        add("private", prefix.as_str());
    }
    Sum::of(all.as_bytes()).to_string().chars().take(12).collect()
}

#[cfg(test)]
mod tests;
