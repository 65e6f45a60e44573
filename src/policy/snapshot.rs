//! One policy, immutable: rows, roles, private prefixes, the index, and the decisions it remembers. A new policy is a
//! new snapshot, so no decision of an old one can answer for it.

mod evaluate;

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::content::Sum;
use crate::goproxy::artifact::Artifact;
use crate::goproxy::pattern::Case;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::request::Request;
use crate::goproxy::request::SumdbAsk;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::identity::caller::Mark;
use crate::policy::Admission;
use crate::policy::LoadError;
use crate::policy::Settings;
use crate::policy::ancestors::Ancestors;
use crate::policy::crosscheck::Crosscheck;
use crate::policy::decision::Permit;
use crate::policy::decision::Purpose;
use crate::policy::decision::Refusal;
use crate::policy::decision::Told;
use crate::policy::decision::Verdict;
use crate::policy::engine::Engine;
use crate::policy::files::Files;
use crate::policy::gates::Circumstances;
use crate::policy::gates::Gate;
use crate::policy::gates::Gates;
use crate::policy::index::Index;
use crate::policy::loader::Loaded;
use crate::policy::loader::Origin;
use crate::policy::loader::Part;
use crate::policy::overlay::Deny;
use crate::policy::remembered::Decided;
use crate::policy::remembered::Remembered;
use crate::policy::roles::Roles;
use crate::policy::rule;
use crate::policy::rule::Action;
use crate::policy::rule::Asked;
use crate::policy::rule::Effect;
use crate::policy::rule::Question;
use crate::policy::rule::Rule;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::policy::DecisionReason;

/// A policy in force, or the want of one.
#[derive(Debug)]
pub(in crate::policy) struct Snapshot {
    /// Whether there is a policy at all: without one nothing is decided.
    in_force: bool,
    pub(in crate::policy) rules: Vec<Rule>,
    /// Where each rule stands.
    pub(in crate::policy) origins: Vec<Origin>,
    pub(in crate::policy) parts: Vec<Part>,
    pub(in crate::policy) gates: Gates,
    named: BTreeSet<String>,
    pub(in crate::policy) roles: Roles,
    pub(in crate::policy) private: Vec<Prefix>,
    /// Places of rows whose pattern lies below a private prefix.
    pub(in crate::policy) private_rules: HashSet<usize>,
    /// What everybody is, with or without credentials, reduced as any caller's set.
    anybody: Arc<str>,
    pub(in crate::policy) index: Index,
    pub(in crate::policy) ancestors: Ancestors,
    pub(in crate::policy) engine: Engine,
    pub(in crate::policy) remembered: Remembered,
    pub(in crate::policy) crosscheck: Crosscheck,
    mark: Mark,
    revision: Arc<str>,
    /// Which policy in force it is since the start; 0 for none.
    generation: AtomicU64,
    settings: Settings,
}

/// Who asks, as conditions see them.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Asker<'a> {
    pub(in crate::policy) realm: &'a str,
    pub(in crate::policy) circumstances: Circumstances,
}

impl Snapshot {
    /// Reads and indexes files and emergency denies, or says everything that is wrong.
    pub(in crate::policy) fn build(
        files: &Files,
        denies: &[Deny],
        private: Vec<Prefix>,
        settings: Settings,
    ) -> Result<Self, LoadError> {
        let mut loaded = Loaded::from(files)?;
        loaded.add(denies)?;
        let revision = revision(files, denies, &private, &settings);
        Ok(Self { in_force: true, ..Self::of(loaded, private, settings, &revision) })
    }

    /// No policy: every request is 503 until there is one.
    pub(in crate::policy) fn none(settings: Settings) -> Self {
        Self::of(Loaded::default(), Vec::new(), settings, "none")
    }

    fn of(loaded: Loaded, private: Vec<Prefix>, settings: Settings, revision: &str) -> Self {
        let Loaded { rules, origins, parts, roles, gates } = loaded;
        let named: BTreeSet<String> = rules.iter().map(|rule| rule.subject.clone()).collect();
        let is_private =
            |rule: &Rule| rule.prefix().is_some_and(|pattern| covered(&private, pattern));
        let private_rules = rules.iter().enumerate().filter(|(_, rule)| is_private(rule));
        Self {
            in_force: false,
            private_rules: private_rules.map(|(place, _)| place).collect(),
            anybody: reduced([ANYBODY], &roles, &named),
            index: Index::of(&rules),
            ancestors: Ancestors::of(&rules),
            engine: Engine::default(),
            remembered: Remembered::default(),
            crosscheck: Crosscheck::new(settings.crosscheck, settings.way.clone()),
            mark: Mark::default(),
            revision: Arc::from(revision),
            generation: AtomicU64::new(0),
            rules,
            origins,
            parts,
            gates,
            named,
            roles,
            private,
            settings,
        }
    }

    /// The same, with a row that the index does not find.
    /// The rows that decide, by their ids, emergency denies included.
    pub(in crate::policy) fn rule_ids(&self) -> BTreeSet<String> {
        self.rules.iter().map(|rule| rule.id.clone()).collect()
    }

    #[cfg(test)]
    pub(in crate::policy) fn without_in_index(self, id: &str) -> Self {
        let rules: Vec<Rule> = self
            .rules
            .iter()
            .map(|rule| {
                let target = if rule.id == id { "resource @lost" } else { &rule.target };
                Rule { target: target.to_owned(), ..rule.clone() }
            })
            .collect();
        Self { index: Index::of(&rules), ..self }
    }

    pub(in crate::policy) fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    pub(in crate::policy) const fn is_in_force(&self) -> bool {
        self.in_force
    }

    /// Decides about a request.
    pub(in crate::policy) fn authorize(
        this: &Arc<Self>,
        caller: Arc<Caller>,
        request: Request,
        circumstances: Circumstances,
    ) -> Result<Permit, Refusal> {
        let subjects = this.subjects(&caller);
        let (verdict, private) = this.verdict(&caller, &subjects, &request, circumstances);
        if verdict.decision == Decision::Allow {
            let snapshot = Arc::clone(this);
            return Ok(Permit {
                caller,
                subjects,
                request,
                circumstances,
                verdict,
                private,
                purpose: Purpose::Answer,
                shadow: None,
                snapshot,
            });
        }
        Err(this.refusal(&caller, request, None, verdict))
    }

    /// The verdict about a request, and whether it is about a private module.
    pub(in crate::policy) fn verdict(
        &self,
        caller: &Caller,
        subjects: &Arc<str>,
        request: &Request,
        circumstances: Circumstances,
    ) -> (Verdict, bool) {
        let path = request.module_path();
        if !self.in_force {
            return (Verdict::without_policy(), true);
        }
        if path.is_some_and(|path| !caller.reaches(path)) {
            return (Verdict::limited(), path.is_some_and(|path| self.is_private(path)));
        }
        match question(request, None) {
            Some(question) => {
                let asker = Asker { realm: caller.realm(), circumstances };
                self.judge(subjects, question, asker)
            }
            // pages about the caller: whoever was recognised may read them
            None => (Verdict::page(), false),
        }
    }

    /// Decides, and looks at the conditions of what allows it: the next one who asks may come from elsewhere.
    pub(in crate::policy) fn judge(
        &self,
        subjects: &Arc<str>,
        question: Question<'_>,
        asker: Asker<'_>,
    ) -> (Verdict, bool) {
        let (decided, cached) = self.decide(subjects, question);
        let Decided { decision, reason, rule, gated, private, .. } = decided;
        let verdict = Verdict { decision, reason, rule, cached };
        let Some(allows) = gated else { return (verdict, private) };
        match allows.iter().find(|place| self.closed(**place, asker).is_none()) {
            Some(open) => (Verdict { rule: Some(*open), ..verdict }, private),
            None => (
                Verdict { decision: Decision::Deny, reason: DecisionReason::Gate, ..verdict },
                private,
            ),
        }
    }

    /// The first condition of a row that does not hold, and what it wants.
    pub(in crate::policy) fn closed(
        &self,
        place: usize,
        asker: Asker<'_>,
    ) -> Option<(&Gate, &'static str)> {
        let gates = self.gates.of(place).iter();
        let mut checked =
            gates.map(|gate| (gate, gate.check(asker.realm, &asker.circumstances).err()));
        checked.find_map(|(gate, wants)| Some((gate, wants?)))
    }

    /// Which policy in force it is since the start, the first being 1; 0 for one that never was.
    pub(in crate::policy) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Numbers it behind the one it takes the place of.
    pub(in crate::policy) fn follow(&self, before: &Self) {
        self.generation.store(before.generation() + 1, Ordering::Relaxed);
    }

    pub(in crate::policy) fn refusal(
        &self,
        caller: &Caller,
        request: Request,
        version: Option<Version>,
        verdict: Verdict,
    ) -> Refusal {
        let path = request.module_path().unwrap_or_default();
        // a pattern above which it lies may be private although the path is not
        let above_private = verdict.decision == Decision::Absent
            && verdict.rule.is_some_and(|place| self.private_rules.contains(&place));
        let owner = verdict.rule.and_then(|place| self.origins.get(place)?.owner.clone());
        Refusal {
            principal: caller.principal().to_owned(),
            anonymous: caller.is_anonymous(),
            private: above_private || self.is_private(path),
            request,
            version,
            told: verdict.rule.and_then(|place| self.told(place)).map(Box::new),
            verdict,
            shadow: None,
            revision: Arc::clone(&self.revision),
            generation: self.generation(),
            subjects: self.subjects(caller),
            contact: owner.or_else(|| self.settings.contact.clone()),
        }
    }

    /// What an answer may say of a row.
    pub(in crate::policy) fn told(&self, place: usize) -> Option<Told> {
        let (rule, origin) = (self.rules.get(place)?, self.origins.get(place)?);
        let gates = self.gates.of(place).iter().map(|gate| Arc::clone(&gate.name)).collect();
        Some(Told { id: Arc::from(rule.id.as_str()), reason: origin.reason.clone(), gates })
    }

    /// Whether a row is an emergency deny, which stands in no file of the policy.
    pub(in crate::policy) fn is_emergency(&self, place: usize) -> bool {
        self.origins.get(place).is_some_and(|origin| origin.line == 0)
    }

    /// Whether anybody at all may have it, under any circumstances.
    pub(in crate::policy) fn is_open(&self, request: &Request) -> bool {
        let Some(question) = question(request, None).filter(|_| !self.anybody.is_empty()) else {
            return false;
        };
        let open = |question: Question<'_>| {
            let (decided, _) = self.decide(&self.anybody, question);
            decided.decision == Decision::Allow && decided.gated.is_none()
        };
        match request {
            // these answers name a version, and whoever may keep them must be one who may have it
            Request::Module(module)
                if matches!(module.artifact, Artifact::Latest | Artifact::Query(_)) =>
            {
                open(question) && open(Question { action: Action::Download, ..question })
            }
            Request::Module(_) | Request::Sumdb(_) | Request::Own(_) | Request::Root => {
                open(question)
            }
        }
    }

    /// Whether it makes a difference for which version of a module is asked.
    pub(in crate::policy) fn tells_versions_apart(&self, path: &str) -> bool {
        self.about(path).any(|(_, rule)| rule.range != "*")
    }

    /// Whether a row lets these subjects download some versions of a module, if not others.
    pub(in crate::policy) fn grants_some(&self, subjects: &str, path: &str) -> bool {
        let asked = self.asked(Question { name: path, version: "", action: Action::Download });
        self.about(path).any(|(_, rule)| {
            rule.effect == Effect::Allow
                && rule.concerns(subjects, &asked)
                && rule::module_matches(&asked.module, &rule.target)
        })
    }

    /// Rows that could be about a path, letter case aside, with their places; some are not. All of them once the index
    /// is not trusted.
    pub(in crate::policy) fn about(&self, path: &str) -> impl Iterator<Item = (usize, &Rule)> {
        let asked = self.asked(Question { name: path, version: "", action: Action::List });
        let places = if self.crosscheck.is_index_trusted() {
            self.index.candidates(&asked)
        } else {
            (0..self.rules.len()).collect()
        };
        places.into_iter().filter_map(|place| Some((place, self.rules.get(place)?)))
    }

    /// The caller's set, reduced to what rows name: others cannot match, and thousands of callers share a set.
    pub(in crate::policy) fn subjects(&self, caller: &Caller) -> Arc<str> {
        caller.subjects(&self.mark, || self.subjects_apart(caller))
    }

    /// The same, worked out anew.
    pub(in crate::policy) fn subjects_apart(&self, caller: &Caller) -> Arc<str> {
        let authenticated = (!caller.is_anonymous()).then_some("any:authenticated");
        let own = [ANYBODY, caller.principal()].into_iter().chain(authenticated);
        let groups = caller.groups().iter().map(String::as_str);
        reduced(own.chain(groups), &self.roles, &self.named)
    }

    /// The set of somebody who is one subject, and what comes with being somebody.
    pub(in crate::policy) fn set_of(&self, subject: &str) -> Arc<str> {
        let authenticated = (subject != ANYBODY).then_some("any:authenticated");
        reduced([ANYBODY, subject].into_iter().chain(authenticated), &self.roles, &self.named)
    }

    pub(in crate::policy) fn asked(&self, question: Question<'_>) -> Asked {
        let Question { name, version, action } = question;
        let class = match name {
            resource if resource.starts_with('@') => "resource",
            path if self.is_private(path) => "private",
            _ => "public",
        };
        Asked { module: format!("{class} {name}"), version: version.to_owned(), action }
    }

    pub(in crate::policy) fn is_private(&self, path: &str) -> bool {
        covered(&self.private, path)
    }

    pub(in crate::policy) fn private(&self) -> &[Prefix] {
        &self.private
    }

    pub(in crate::policy) const fn admission(&self) -> Admission {
        self.settings.admission
    }
}

/// What a request asks of the policy; `None` for a page about the caller. `resolved` is what a query turned out to be.
pub(in crate::policy) fn question<'a>(
    request: &'a Request,
    resolved: Option<&'a Version>,
) -> Option<Question<'a>> {
    Some(match request {
        Request::Own(_) | Request::Root => return None,
        Request::Module(asked) => {
            let version = resolved.or_else(|| asked.artifact.version());
            let action = if version.is_some() { Action::Download } else { Action::List };
            let version = version.map(Version::as_str).unwrap_or_default();
            Question { name: asked.path.as_str(), version, action }
        }
        Request::Sumdb(asked) => match &asked.ask {
            SumdbAsk::Lookup { path, version } => {
                let (name, version) = (path.as_str(), version.as_str());
                Question { name, version, action: Action::Sumdb }
            }
            SumdbAsk::Supported | SumdbAsk::Latest | SumdbAsk::Tile(_) => {
                Question { name: "@sumdb", version: "", action: Action::Sumdb }
            }
        },
    })
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

/// The roles among subjects.
pub(in crate::policy) fn roles(subjects: &str) -> Vec<String> {
    subjects.lines().filter(|one| one.starts_with("role:")).map(str::to_owned).collect()
}

fn covered(private: &[Prefix], path: &str) -> bool {
    private.iter().any(|prefix| prefix.covers(path, Case::Folded))
}

/// Everybody, with or without credentials.
pub(in crate::policy) const ANYBODY: &str = "any:anonymous";

/// Twelve hex digits over everything that decides; expectations do not.
fn revision(files: &Files, denies: &[Deny], private: &[Prefix], settings: &Settings) -> String {
    let mut all = String::new();
    let mut add = |name: &str, text: &str| {
        // writing to a string cannot fail
        let _written = write!(all, "{}\0{name}\0{}\0{text}\0", name.len(), text.len());
    };
    for (name, text) in files.deciding() {
        add(name, text);
    }
    for prefix in private {
        add("private", prefix.as_str());
    }
    for deny in denies {
        add("deny", &deny.row());
    }
    add("admission", settings.admission.word());
    Sum::of(all.as_bytes()).to_string().chars().take(12).collect()
}

#[cfg(test)]
mod tests;
