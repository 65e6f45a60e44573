//! Reading the policy again: read, parse, lint, build, its own expectations, swap. Whatever fails keeps the last good one.

use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;

use crate::clock::Clock;
use crate::content::Sum;
use crate::policy::Change;
use crate::policy::LoadError;
use crate::policy::Policy;
use crate::policy::diff;
use crate::policy::draft::Draft;
use crate::policy::files::Files;
use crate::policy::lint::Finding;
use crate::policy::lint::Weight;
use crate::policy::overlay::Deny;
use crate::policy::past::Past;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::policy::PolicyReload;

/// What was looked at last: what the files said then, whatever became of it.
#[derive(Debug, Default)]
pub(in crate::policy) struct Looked {
    rules: Option<Sum>,
    candidate: Option<Sum>,
}

/// What is good, and what is wrong.
#[derive(Debug, Default)]
pub(in crate::policy) struct Known {
    /// The last good files.
    good: Option<Checked>,
    /// The emergency denies in force; `None` until they could be read once.
    denies: Option<Vec<Deny>>,
    /// What is wrong with the files as they lie there.
    files_refused: Option<Rejected>,
    denies_refused: Option<Rejected>,
}

/// Rules that passed every step.
#[derive(Debug, Clone)]
struct Checked {
    draft: Draft,
    findings: Vec<Finding>,
    expectations: usize,
}

/// What a look at the sources came to.
#[derive(Debug, Default)]
pub struct Reload {
    /// New policies that came into force, one after the other.
    pub activated: Vec<Activated>,
    /// What was refused and was not told before; the last good of it is still in force.
    pub rejected: Vec<Rejected>,
    /// What lies there and is not in force, whether it was told before or not.
    pub behind: Option<Rejected>,
    /// The candidate changed: its new revision, or what is wrong with it.
    pub candidate: Option<Result<Arc<str>, Vec<String>>>,
}

/// A policy that came into force.
#[derive(Debug, Clone)]
pub struct Activated {
    /// The revision before, `none` for the first.
    pub old: Arc<str>,
    /// The revision now.
    pub new: Arc<str>,
    /// How many rows it has.
    pub rules: usize,
    /// The emergency denies among them.
    pub denies: Vec<Deny>,
    /// What differs, row by row.
    pub changes: Vec<Change>,
    /// What its lint says.
    pub findings: Vec<Finding>,
    /// How many of its own expectations hold: all.
    pub expectations: usize,
    /// All of it, for whoever must explain its decisions later.
    pub past: Past,
}

/// A policy that did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Which step refused it.
    pub step: PolicyReload,
    /// Why, one problem a line.
    pub problems: Vec<String>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.problems.first().map(String::as_str).unwrap_or_default();
        let (count, step) = (self.problems.len(), self.step.text());
        write!(out, "the policy's files were refused ({step}, {count} problems): {first}")
    }
}

impl Rejected {
    fn at(step: PolicyReload, problems: Vec<String>) -> Self {
        Self { step, problems }
    }
}

impl Policy {
    /// Looks at all sources and takes what changed, if it is good. What did not change since the last look is not told
    /// again. Blocking; rules are looked at by one at a time.
    pub fn reload(&self, clock: &dyn Clock) -> Reload {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reload = Reload::default();
        // a deny waits for nobody's parser, lint or tests, not even for those of another look
        self.take_denies(&mut known(), clock, &mut reload);
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        reload.candidate = self.reload_candidate(&mut looked);
        let draft = self.draft(&mut looked, clock);
        let mut known = known();
        match draft {
            None => {}
            Some(Ok(checked)) => {
                (known.good, known.files_refused) = (Some(checked), None);
                self.put_in_force(&mut known, &mut reload);
            }
            Some(Err(rejected)) => {
                known.files_refused = Some(rejected.clone());
                reload.rejected.push(rejected);
            }
        }
        reload.behind = known.files_refused.clone().or_else(|| known.denies_refused.clone());
        reload
    }

    /// Looks at the emergency denies alone, whoever looks at the rules meanwhile. Blocking for moments.
    pub fn reload_denies(&self, clock: &dyn Clock) -> Reload {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reload = Reload::default();
        self.take_denies(&mut known, clock, &mut reload);
        reload.behind = known.files_refused.clone().or_else(|| known.denies_refused.clone());
        reload
    }

    /// Takes emergency denies that changed. If they cannot be read, those that hold go on holding; if they never could
    /// be, no policy comes into force, because it would allow what they take away.
    fn take_denies(&self, known: &mut Known, clock: &dyn Clock, reload: &mut Reload) {
        let read = self.sources.denies.as_ref().map(|from| from.in_force(clock.unix_seconds()));
        match read.unwrap_or_else(|| Ok(Vec::new())) {
            Ok(denies) => {
                known.denies_refused = None;
                if known.denies.as_ref() != Some(&denies) {
                    known.denies = Some(denies);
                    self.put_in_force(known, reload);
                }
            }
            Err(error) => {
                let rejected = Rejected::at(PolicyReload::Io, vec![error.to_string()]);
                if known.denies_refused.replace(rejected.clone()).as_ref() != Some(&rejected) {
                    reload.rejected.push(rejected);
                }
            }
        }
    }

    /// Puts the last good files in force, with emergency denies over them.
    fn put_in_force(&self, known: &mut Known, reload: &mut Reload) {
        let (Some(checked), Some(denies)) = (known.good.clone(), &known.denies) else { return };
        match self.over(&checked.draft, denies) {
            Ok(snapshot) => {
                reload.activated.push(self.activate(&snapshot, denies.clone(), checked));
            }
            Err(rejected) => {
                known.files_refused = Some(rejected.clone());
                reload.rejected.push(rejected);
            }
        }
    }

    /// The rules, if they changed since the last look: read, parsed, linted and tested.
    fn draft(&self, looked: &mut Looked, clock: &dyn Clock) -> Option<Result<Checked, Rejected>> {
        let source = &self.sources.rules;
        let read = source.files().and_then(|files| {
            if looked.rules == Some(files.digest()) {
                return Ok(files);
            }
            at_rest(files, || source.files())
        });
        let files = match read {
            Ok(files) => files,
            Err(error) => {
                let seen = Sum::of(error.to_string().as_bytes());
                let told = looked.rules.replace(seen) == Some(seen);
                let problems = error.problems().to_vec();
                return (!told).then(|| Err(Rejected::at(PolicyReload::Io, problems)));
            }
        };
        let seen = files.digest();
        if looked.rules.replace(seen) == Some(seen) {
            return None;
        }
        Some(self.check(files, clock))
    }

    fn check(&self, files: Files, clock: &dyn Clock) -> Result<Checked, Rejected> {
        let draft = Draft::of(files, &self.sources)
            .map_err(|error| Rejected::at(PolicyReload::Parse, error.problems().to_vec()))?;
        let findings = draft
            .lint(clock.now())
            .map_err(|problem| Rejected::at(PolicyReload::Lint, vec![problem]))?;
        let errors: Vec<String> = findings
            .iter()
            .filter(|finding| finding.weight == Weight::Error)
            .map(ToString::to_string)
            .collect();
        if !errors.is_empty() {
            return Err(Rejected::at(PolicyReload::Lint, errors));
        }
        let outcome = draft
            .test()
            .map_err(|error| Rejected::at(PolicyReload::Suite, vec![error.to_string()]))?;
        if outcome.failures() > 0 {
            return Err(Rejected::at(PolicyReload::Suite, outcome.failed().collect()));
        }
        Ok(Checked { draft, findings, expectations: outcome.len() })
    }

    /// The rules with emergency denies over them.
    fn over(&self, draft: &Draft, denies: &[Deny]) -> Result<Arc<Snapshot>, Rejected> {
        if denies.is_empty() {
            return Ok(Arc::clone(&draft.snapshot));
        }
        let (private, settings) = (self.sources.private.clone(), self.sources.settings.clone());
        Snapshot::build(&draft.files, denies, private, settings)
            .map(Arc::new)
            .map_err(|error| Rejected::at(PolicyReload::Parse, error.problems().to_vec()))
    }

    fn activate(&self, new: &Arc<Snapshot>, denies: Vec<Deny>, checked: Checked) -> Activated {
        new.follow(&self.snapshot.load());
        let old = self.snapshot.swap(Arc::clone(new));
        let past = Past::of(&checked.draft.files, &denies, new);
        Activated {
            past,
            old: Arc::clone(old.revision()),
            new: Arc::clone(new.revision()),
            rules: new.rules.len(),
            denies,
            changes: diff::changes(&old, new),
            findings: checked.findings,
            expectations: checked.expectations,
        }
    }

    fn reload_candidate(&self, looked: &mut Looked) -> Option<Result<Arc<str>, Vec<String>>> {
        let source = self.sources.candidate.as_ref()?;
        let read = source.files();
        let seen = match &read {
            Ok(files) => files.digest(),
            Err(error) => Sum::of(error.to_string().as_bytes()),
        };
        if looked.candidate.replace(seen) == Some(seen) {
            return None;
        }
        match read.and_then(|files| Draft::of(files, &self.sources)) {
            Ok(draft) => {
                let revision = Arc::clone(draft.revision());
                self.candidate.store(Some(draft.snapshot));
                Some(Ok(revision))
            }
            Err(error) => {
                self.candidate.store(None);
                Some(Err(error.problems().to_vec()))
            }
        }
    }
}

/// Files that are alike in two looks. Half of an old policy and half of a new one are a third that nobody wrote: a rule
/// that moves from one file to another would be in neither.
fn at_rest(
    mut files: Files,
    mut look: impl FnMut() -> Result<Files, LoadError>,
) -> Result<Files, LoadError> {
    for _look in 0..LOOKS {
        let again = look()?;
        if again.digest() == files.digest() {
            return Ok(again);
        }
        files = again;
    }
    let what = "the files change while they are read: exchange them as a whole, by renaming";
    Err(LoadError::of(vec![what.to_owned()]))
}

/// An exchange of files takes milliseconds.
const LOOKS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_is_half_exchanged_is_never_taken() {
        let files = |text: &str| Files::of(vec![("rules/a.csv".to_owned(), text.to_owned())]);
        let mut looks = ["half", "new", "new"].into_iter();
        let taken = at_rest(files("old"), || Ok(files(looks.next().unwrap_or("late")))).unwrap();
        assert_eq!((taken.text("rules/a.csv"), looks.next()), (Some("new"), None));
        let mut look = 0;
        let restless = at_rest(files("old"), || {
            look += 1;
            Ok(files(&look.to_string()))
        });
        assert!(restless.unwrap_err().to_string().contains("change while they are read"));
    }
}
