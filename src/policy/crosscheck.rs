//! A second opinion on live decisions: a sample of those made over the index is made again over all rows, later and
//! elsewhere. One that differs ends the use of the index: slow and right until the next start.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::policy::remembered::Decided;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::telemetry::labels::Decision;

/// Whether rows may be found by the index: shared by all policies of a process, so that a new one is no way back.
#[derive(Debug, Clone)]
pub struct Way(Arc<AtomicBool>);

impl Default for Way {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Way {
    /// Whether the index is still trusted.
    pub fn is_index_trusted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Decisions that wait for a second opinion.
#[derive(Debug)]
pub(in crate::policy) struct Crosscheck {
    every: u64,
    seen: AtomicU64,
    waiting: Mutex<Vec<Sample>>,
    way: Way,
}

/// A decision, and what it was about.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Sample {
    pub(in crate::policy) subjects: Arc<str>,
    name: Box<str>,
    version: Box<str>,
    action: Action,
    pub(in crate::policy) allowed: bool,
}

impl Sample {
    pub(in crate::policy) fn question(&self) -> Question<'_> {
        Question { name: &self.name, version: &self.version, action: self.action }
    }
}

impl Crosscheck {
    /// Takes the first of every so many decisions; none for 0.
    pub(in crate::policy) fn new(every: u64, way: Way) -> Self {
        Self { every, seen: AtomicU64::new(0), waiting: Mutex::new(Vec::new()), way }
    }

    pub(in crate::policy) fn is_index_trusted(&self) -> bool {
        self.way.is_index_trusted()
    }

    /// Keeps a decision if it is its turn and there is room.
    pub(in crate::policy) fn sample(
        &self,
        subjects: &Arc<str>,
        question: Question<'_>,
        decided: &Decided,
    ) {
        let turn = self.seen.fetch_add(1, Ordering::Relaxed).checked_rem(self.every) == Some(0);
        if !turn || decided.decision == Decision::Error || !self.is_index_trusted() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push(Sample {
                subjects: Arc::clone(subjects),
                name: question.name.into(),
                version: question.version.into(),
                action: question.action,
                allowed: decided.decision == Decision::Allow,
            });
        }
    }

    /// Hands every waiting decision to a judge that says whether it differs; gives the number that do.
    pub(in crate::policy) fn drain(&self, differs: impl Fn(&Sample) -> bool) -> usize {
        let taken =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let differing = taken.iter().filter(|sample| differs(sample)).count();
        if differing > 0 {
            self.way.0.store(false, Ordering::Relaxed);
        }
        differing
    }
}

/// A second opinion takes as long as thousands of first ones; more samples than this would not be told sooner.
const WAITING: usize = 16;
