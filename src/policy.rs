//! # Policy: may they?
//!
//! **Question.** May this caller have this answer, and by which rule?
//!
//! **Rule.** A request is permitted if an allow row applies and no deny row does; what no row allows is denied. Nothing
//! is read from a tier or asked of an upstream before there is a [`decision::Permit`], and only this station makes
//! one. Subjects are users, groups, roles and `any:*`; resources are prefixes of module paths; actions are list,
//! download and sumdb.
//!
//! **Who decides.** Casbin, over the rows that could apply. An index finds those by the elements of the path, so that
//! ten thousand rows cost as little as ten. That is sound because deny-override depends neither on the order of
//! rows nor on rows that do not match; a test compares it with Casbin over all rows. An evaluation of our own finds
//! the row to name; if the two ever disagree, the answer is no, with the reason `policy_error`.
//!
//! **What it refuses.** A denial is 403 and says which rule, which revision and whom to ask; for somebody anonymous it is
//! 401, since credentials might help. It reads the same whether the module exists or not.
//!
//! **The ancestor rule.** `go get a/b/c` asks for `a/b/c`, `a/b` and `a`. A path strictly above a pattern that the caller
//! may read is answered from the rules alone: 403 if that pattern is private, so that the client does not go on to
//! its next proxy with the name; 404 if it is public. It is not counted as a denial.
//!
//! **How it fails.** Every error, panic or doubt inside a decision is a denial. A policy loads whole or not at all.

mod ancestors;
pub mod decision;
mod engine;
mod files;
mod index;
mod loader;
mod roles;
mod rule;
mod snapshot;
pub mod suite;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::goproxy::path::ModulePath;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::request::Request;
use crate::goproxy::version::Version;
use crate::identity::caller::Caller;
use crate::policy::decision::Explanation;
use crate::policy::decision::Permit;
use crate::policy::decision::Refusal;
use crate::policy::files::Files;
use crate::policy::snapshot::Snapshot;

pub use crate::policy::loader::LoadError;

/// Where the files of a policy are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a directory.
    Directory(PathBuf),
    /// In the program itself.
    Embedded,
}

/// What the answers say besides the rules.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whom a denied caller should ask.
    pub contact: Option<String>,
}

/// The policy in force.
#[derive(Debug)]
pub struct Policy {
    snapshot: ArcSwap<Snapshot>,
    files: Files,
}

impl Policy {
    /// Reads, checks and indexes a policy, or says everything that is wrong with it. Blocking.
    pub fn load(
        source: &Source,
        private: Vec<Prefix>,
        settings: Settings,
    ) -> Result<Self, LoadError> {
        let files = match source {
            Source::Directory(directory) => Files::read(directory)?,
            Source::Embedded => Files::embedded(),
        };
        Self::of(files, private, settings)
    }

    fn of(files: Files, private: Vec<Prefix>, settings: Settings) -> Result<Self, LoadError> {
        let snapshot = Snapshot::build(&files, private, settings)?;
        Ok(Self { snapshot: ArcSwap::from_pointee(snapshot), files })
    }

    /// Decides.
    pub fn authorize(&self, caller: Arc<Caller>, request: Request) -> Result<Permit, Refusal> {
        Snapshot::authorize(&self.snapshot.load_full(), caller, request)
    }

    /// What the answer would be, and why; asks nobody.
    pub fn explain(
        &self,
        caller: &Caller,
        path: &ModulePath,
        version: Option<&Version>,
    ) -> Explanation {
        self.snapshot.load().explain(caller, path, version)
    }

    /// A short digest of everything that decides.
    pub fn revision(&self) -> Arc<str> {
        Arc::clone(self.snapshot.load().revision())
    }

    /// How many rows there are.
    pub fn rules(&self) -> usize {
        self.snapshot.load().rules()
    }

    /// The same rules with other private prefixes, for a suite of expectations.
    fn with_private(&self, private: Vec<Prefix>) -> Result<Self, LoadError> {
        Self::of(self.files.clone(), private, Settings::default())
    }
}

#[cfg(test)]
mod tests;
