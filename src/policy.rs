//! # Policy: may they?
//!
//! **Question.** May this caller have this answer, and by which rule?
//!
//! **Rule.** A request is permitted if an allow row applies and no deny row does; what no row allows is denied. Nothing
//! is read from a tier or asked of an upstream before there is a [`decision::Permit`], and only this station makes
//! one. Subjects are users, groups, roles and `any:*`; resources are prefixes of module paths, and the gateway itself;
//! actions are list, download, sumdb and admit, and those of operators.
//!
//! **Who decides.** Casbin, over the rows that could apply. An index finds those by the elements of the path, so that
//! ten thousand rows cost as little as ten. That is sound because deny-override depends neither on the order of
//! rows nor on rows that do not match; a test compares it with Casbin over all rows. An evaluation of our own finds
//! the row to name; if the two ever disagree, the answer is no, with the reason `policy_error`. Of several rows that
//! allow, Casbin is shown the one that is named, and every deny row that could object: a second yes changes nothing.
//!
//! **What it refuses.** A denial is 403 and says which rule, which revision and whom to ask; for somebody anonymous it is
//! 401, since credentials might help. It reads the same whether the module exists or not.
//!
//! **The ancestor rule.** `go get a/b/c` asks for `a/b/c`, `a/b` and `a`. A path strictly above a pattern that the caller
//! may read is answered from the rules alone: 403 if that pattern is private, so that the client does not go on to
//! its next proxy with the name; 404 if it is public. It is not counted as a denial.
//!
//! **Conditions** ([`gates`]) are looked at after an allow, for every request anew: what they look at is no part of what
//! decisions are remembered by.
//!
//! **How it changes** ([`reload`]). Read, parsed with file, line and column for every fault, linted, tried by its own
//! expectations, then swapped as one snapshot with all it remembers. Emergency denies ([`overlay`]) lie over it; a
//! candidate is asked beside it and decides nothing.
//!
//! **How it fails.** Every error, panic or doubt inside a decision is a denial. A policy loads whole or not at all, and one
//! that does not leaves the last good one in force; without any, nobody is judged (503). A sample of decisions is made
//! again over all rows; one that differs ends the use of the index, not the service.

mod ancestors;
mod crosscheck;
pub mod decision;
mod diff;
pub mod draft;
mod engine;
pub mod explain;
mod files;
pub mod gates;
mod index;
pub mod lint;
mod loader;
pub mod overlay;
pub mod past;
pub mod reach;
pub mod reload;
mod remembered;
pub mod replay;
mod representatives;
mod roles;
mod rule;
mod snapshot;
pub mod suite;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;

use crate::goproxy::pattern::Prefix;
use crate::goproxy::request::Request;
use crate::identity::caller::Caller;
use crate::policy::crosscheck::Way;
use crate::policy::decision::Permit;
use crate::policy::decision::Refusal;
use crate::policy::decision::Shadow;
use crate::policy::decision::Verdict;
use crate::policy::explain::Ask;
use crate::policy::explain::Explanation;
use crate::policy::explain::NoAction;
use crate::policy::files::Files;
use crate::policy::gates::Circumstances;
use crate::policy::overlay::Denies;
use crate::policy::reload::Known;
use crate::policy::reload::Looked;
use crate::policy::snapshot::Snapshot;

pub use crate::policy::diff::Change;
pub use crate::policy::loader::LoadError;

/// Where the files of a policy are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a directory.
    Directory(PathBuf),
    /// In the program itself.
    Embedded,
}

impl Source {
    fn files(&self) -> Result<Files, LoadError> {
        match self {
            Self::Directory(directory) => Files::read(directory),
            Self::Embedded => Ok(Files::embedded()),
        }
    }
}

/// Who may be the first for whom a version enters the tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// Whoever may download it.
    #[default]
    Implied,
    /// Whoever has the action `admit` on it; what is in a tier is open to all who may download it.
    Explicit,
}

impl Admission {
    const ALL: [Self; 2] = [Self::Implied, Self::Explicit];

    const fn word(self) -> &'static str {
        match self {
            Self::Implied => "implied",
            Self::Explicit => "explicit",
        }
    }
}

/// What holds besides the rules.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whom a denied caller should ask, if the file of the rule names nobody.
    pub contact: Option<Arc<str>>,
    /// Who may bring a version into the tiers.
    pub admission: Admission,
    /// One of how many decisions is made again over all rows; none for 0.
    pub crosscheck: u64,
    /// Whether rows may be found by the index.
    pub way: Way,
}

/// Where everything comes from that decides.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The rules.
    pub rules: Source,
    /// A candidate that is compared with them on live traffic and decides nothing.
    pub candidate: Option<Source>,
    /// Prefixes of private modules.
    pub private: Vec<Prefix>,
    /// Emergency denies, where somebody may give some.
    pub denies: Option<Denies>,
    /// What holds besides.
    pub settings: Settings,
}

impl Sources {
    /// Rules alone.
    pub fn of(rules: Source) -> Self {
        let (private, settings) = (Vec::new(), Settings::default());
        Self { rules, candidate: None, private, denies: None, settings }
    }
}

/// The policy in force.
#[derive(Debug)]
pub struct Policy {
    snapshot: ArcSwap<Snapshot>,
    candidate: ArcSwapOption<Snapshot>,
    sources: Sources,
    /// Taken before `known`, and held while files are read and tried.
    looked: Mutex<Looked>,
    /// Held for moments.
    known: Mutex<Known>,
}

impl Policy {
    /// No policy yet: every request is 503 until [`Policy::reload`] finds a valid one.
    pub fn none(sources: Sources) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot::none(sources.settings.clone())),
            candidate: ArcSwapOption::empty(),
            sources,
            looked: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Decides; and asks the candidate, if there is one, what it would have said.
    pub fn authorize(
        &self,
        caller: Arc<Caller>,
        request: Request,
        circumstances: Circumstances,
    ) -> Result<Permit, Refusal> {
        let snapshot = self.snapshot.load_full();
        let candidate = self.candidate.load_full();
        let other = candidate.map(|candidate| {
            let subjects = candidate.subjects_apart(&caller);
            let (verdict, _) = candidate.verdict(&caller, &subjects, &request, circumstances);
            (verdict, candidate)
        });
        let decided = Snapshot::authorize(&snapshot, caller, request, circumstances);
        let Some((other, candidate)) = other else { return decided };
        let shadow = |verdict: Verdict| {
            let same = (other.decision, other.reason) == (verdict.decision, verdict.reason);
            // an emergency deny lies over whichever policy is in force
            let stays = verdict.rule.is_some_and(|place| snapshot.is_emergency(place));
            (!same && !stays).then(|| Shadow {
                decision: (other.decision, other.reason),
                rule: other.rule.and_then(|place| Some(candidate.told(place)?.id)),
                revision: Arc::clone(candidate.revision()),
            })
        };
        match decided {
            Ok(permit) => {
                let shadow = shadow(permit.verdict);
                Ok(Permit { shadow, ..permit })
            }
            Err(refusal) => {
                let shadow = shadow(refusal.verdict);
                Err(Refusal { shadow: shadow.map(Box::new), ..refusal })
            }
        }
    }

    /// Whether a permit is one of the policy in force.
    pub fn holds(&self, permit: &Permit) -> bool {
        Arc::ptr_eq(&self.snapshot.load(), &permit.snapshot)
    }

    /// Decides about a permit's request once more: the policy may have changed since.
    pub fn renew(&self, permit: Permit) -> Result<Permit, Refusal> {
        self.authorize(permit.caller, permit.request, permit.circumstances)
    }

    /// What the answer would be, and why; asks nobody.
    pub fn explain(&self, ask: Ask<'_>) -> Result<Explanation, NoAction> {
        self.snapshot.load().explain(ask)
    }

    /// A short digest of everything that decides; `none` while there is no policy.
    pub fn revision(&self) -> Arc<str> {
        Arc::clone(self.snapshot.load().revision())
    }

    /// The digest of the candidate, if a valid one is observed.
    pub fn candidate_revision(&self) -> Option<Arc<str>> {
        Some(Arc::clone(self.candidate.load_full()?.revision()))
    }

    /// How many rows there are, emergency denies included, and how many that give roles.
    pub fn rules(&self) -> (usize, usize) {
        let snapshot = self.snapshot.load();
        (snapshot.rules.len(), snapshot.parts.len())
    }

    /// The rows that decide, by their ids, emergency denies included.
    pub fn rule_ids(&self) -> BTreeSet<String> {
        self.snapshot.load().rule_ids()
    }

    /// Whether there is a policy at all.
    pub fn is_in_force(&self) -> bool {
        self.snapshot.load().is_in_force()
    }

    /// Makes a sample of recent decisions again over all rows; says how many differ. Blocking.
    pub fn crosscheck(&self) -> usize {
        self.snapshot.load_full().crosscheck()
    }
}

#[cfg(test)]
mod tests;
