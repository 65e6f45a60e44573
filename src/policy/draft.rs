//! A policy that was read and is not in force: what commands work on, and what a reload checks before it swaps.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::policy::LoadError;
use crate::policy::Source;
use crate::policy::Sources;
use crate::policy::diff;
use crate::policy::diff::Comparison;
use crate::policy::explain::Ask;
use crate::policy::explain::Explanation;
use crate::policy::explain::NoAction;
use crate::policy::files::Files;
use crate::policy::lint;
use crate::policy::lint::Finding;
use crate::policy::overlay::Deny;
use crate::policy::reach::NoAnswer;
use crate::policy::reach::Reach;
use crate::policy::snapshot::Snapshot;
use crate::policy::suite;
use crate::policy::suite::Outcome;
use crate::policy::suite::SuiteError;

/// A policy that was read, without emergency denies unless it was put under some.
#[derive(Debug, Clone)]
pub struct Draft {
    pub(in crate::policy) files: Files,
    pub(in crate::policy) snapshot: Arc<Snapshot>,
}

impl Draft {
    /// Reads and checks the rules, or says everything that is wrong with them. Blocking.
    pub fn read(sources: &Sources) -> Result<Self, LoadError> {
        Self::of(sources.rules.files()?, sources)
    }

    /// The same rules, read from a directory.
    pub fn read_from(directory: &Path, sources: &Sources) -> Result<Self, LoadError> {
        Self::of(Source::Directory(directory.to_owned()).files()?, sources)
    }

    pub(in crate::policy) fn of(files: Files, sources: &Sources) -> Result<Self, LoadError> {
        let (private, settings) = (sources.private.clone(), sources.settings.clone());
        let snapshot = Arc::new(Snapshot::build(&files, &[], private, settings)?);
        Ok(Self { files, snapshot })
    }

    /// The same with emergency denies over it, which decide before every row.
    pub fn under(self, denies: &[Deny], sources: &Sources) -> Result<Self, LoadError> {
        if denies.is_empty() {
            return Ok(self);
        }
        let (private, settings) = (sources.private.clone(), sources.settings.clone());
        let snapshot = Arc::new(Snapshot::build(&self.files, denies, private, settings)?);
        Ok(Self { snapshot, ..self })
    }

    /// Twelve hex digits over everything that decides.
    pub fn revision(&self) -> &Arc<str> {
        self.snapshot.revision()
    }

    /// Who may have a module: every name that the policy knows, each alone.
    pub fn reach(&self, path: &ModulePath, version: Option<&Version>) -> Result<Reach, NoAnswer> {
        self.snapshot.reach(path, version)
    }

    /// The rows that decide, by their ids.
    pub fn rule_ids(&self) -> BTreeSet<String> {
        self.snapshot.rule_ids()
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.snapshot.rules.len()
    }

    /// Runs its expectations.
    pub fn test(&self) -> Result<Outcome, SuiteError> {
        suite::run(self)
    }

    /// Says what nobody can have meant.
    pub fn lint(&self, now: SystemTime) -> Result<Vec<Finding>, String> {
        lint::findings(&self.snapshot, &self.files, now)
    }

    /// What the answer would be, and why.
    pub fn explain(&self, ask: Ask<'_>) -> Result<Explanation, NoAction> {
        self.snapshot.explain(ask)
    }

    /// What a newer policy changes for whom.
    pub fn compare(&self, newer: &Self) -> Comparison {
        diff::compare(&self.snapshot, &newer.snapshot)
    }

    /// Names and texts of its files, in the order they are read.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter()
    }
}
