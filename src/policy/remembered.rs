//! Decisions that were made already, in the snapshot that made them: found by the whole question, compared byte by byte.

use std::sync::Arc;
use std::sync::OnceLock;

use quick_cache::Equivalent;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::policy::DecisionReason;

/// What the rows say, before the conditions of the one who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Decided {
    pub(in crate::policy) decision: Decision,
    pub(in crate::policy) reason: DecisionReason,
    /// The place of the row that decided.
    pub(in crate::policy) rule: Option<usize>,
    /// Every allow row that applies, if one of them has conditions.
    pub(in crate::policy) gated: Option<Arc<[usize]>>,
    /// Whether the module lies under a private prefix.
    pub(in crate::policy) private: bool,
    /// Whether its rows were found by the index: it holds as long as that is trusted.
    pub(in crate::policy) indexed: bool,
}

/// Bounded by bytes, so that long paths take no more than their share.
#[derive(Debug, Default)]
pub(in crate::policy) struct Remembered(OnceLock<Cache<Key, Decided, Bytes>>);

impl Remembered {
    pub(in crate::policy) fn get(&self, subjects: &str, question: Question<'_>) -> Option<Decided> {
        self.0.get()?.get(&Asking { subjects, question })
    }

    pub(in crate::policy) fn insert(
        &self,
        subjects: &Arc<str>,
        question: Question<'_>,
        decided: Decided,
    ) {
        let key = Key {
            subjects: Arc::clone(subjects),
            name: question.name.into(),
            version: question.version.into(),
            action: question.action,
        };
        self.0.get_or_init(table).insert(key, decided);
    }
}

/// Made when the first decision is: most policies are read to be looked at, and decide little.
fn table() -> Cache<Key, Decided, Bytes> {
    Cache::with_weighter(ENTRIES, ENTRIES_BYTES, Bytes)
}

/// A question that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    subjects: Arc<str>,
    name: Box<str>,
    version: Box<str>,
    action: Action,
}

/// The same without a copy of it. Its fields are hashed in the same order.
#[derive(Debug, Hash)]
struct Asking<'a> {
    subjects: &'a str,
    question: Question<'a>,
}

impl Equivalent<Key> for Asking<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.question.action == key.action
            && self.question.name == &*key.name
            && self.question.version == &*key.version
            && self.subjects == &*key.subjects
    }
}

/// What an entry takes.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Decided> for Bytes {
    fn weight(&self, key: &Key, _decided: &Decided) -> u64 {
        (ENTRY_BYTES + key.name.len() + key.version.len()) as u64
    }
}

/// Decisions that are remembered, if their paths are of ordinary length.
const ENTRIES: usize = 65_536;
/// 256 bytes for each of them; the subjects are shared with the caller and all others of the same set.
const ENTRIES_BYTES: u64 = 16 << 20;
/// Key, verdict and their places in the table, without the texts.
const ENTRY_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Decided {
        Decided {
            decision: Decision::Allow,
            reason: DecisionReason::PolicyAllow,
            rule: Some(0),
            gated: None,
            private: false,
            indexed: true,
        }
    }

    #[test]
    fn two_requests_never_share_an_entry() {
        let remembered = Remembered::default();
        let subjects: Arc<str> = Arc::from("role:a\nrole:b");
        let question =
            Question { name: "example.com/a", version: "v1.0.0", action: Action::Download };
        remembered.insert(&subjects, question, allowed());
        assert_eq!(remembered.get(&subjects, question), Some(allowed()));
        for other in [
            Question { name: "example.com/av", ..question },
            Question { name: "example.com/A", ..question },
            Question { version: "", ..question },
            Question { action: Action::Admit, ..question },
            // the same bytes, cut elsewhere
            Question { name: "example.com/av1.0.0", version: "", ..question },
        ] {
            assert_eq!(remembered.get(&subjects, other), None, "{other:?}");
        }
        for others in ["role:a", "role:a\nrole:", "role:a\nrole:b\n", ""] {
            assert_eq!(remembered.get(others, question), None, "{others:?}");
        }
    }
}
