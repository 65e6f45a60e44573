//! A policy as it was once in force, whole and in one text, so that what it decided can be explained when it is long gone.
//!
//! The text holds everything that the revision is made of. Whoever reads it makes the revision again: one that was changed, or
//! that this version reads otherwise, is told apart from the policy that records name.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::content::Sum;
use crate::goproxy::pattern::Prefix;
use crate::policy::Admission;
use crate::policy::LoadError;
use crate::policy::Sources;
use crate::policy::draft::Draft;
use crate::policy::files::Files;
use crate::policy::overlay::Deny;
use crate::policy::snapshot::Snapshot;

/// A policy that was in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its revision.
    pub revision: Arc<str>,
    /// Everything that decides: one JSON object.
    pub text: String,
}

impl Past {
    /// The digest of the text. A revision is short; this cannot be met by another text that somebody looked for.
    pub fn sum(&self) -> Sum {
        Sum::of(self.text.as_bytes())
    }
}

/// Why a kept policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// It is no kept policy of this version.
    #[error("it is no kept policy: {0}")]
    Format(#[from] serde_json::Error),
    /// A prefix of private modules is none.
    #[error("{0} is no prefix of private modules")]
    Private(String),
    /// Its rules cannot be read.
    #[error("{0}")]
    Rules(#[from] LoadError),
    /// What it holds is another policy than the one that was asked for.
    #[error(
        "what is kept under {told} is {found}: it was changed, or another version of modgate kept it"
    )]
    Another {
        /// What was asked for.
        told: String,
        /// What it is.
        found: Arc<str>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u8,
    revision: String,
    private: Vec<String>,
    admission: String,
    denies: Vec<Deny>,
    files: Vec<(String, String)>,
}

impl Past {
    pub(in crate::policy) fn of(files: &Files, denies: &[Deny], snapshot: &Snapshot) -> Self {
        let revision = Arc::clone(snapshot.revision());
        let texts = files.deciding().map(|(name, text)| (name.to_owned(), text.to_owned()));
        let stored = Stored {
            v: 1,
            revision: revision.to_string(),
            private: snapshot.private().iter().map(|prefix| prefix.as_str().to_owned()).collect(),
            admission: snapshot.admission().word().to_owned(),
            denies: denies.to_vec(),
            files: texts.collect(),
        };
        // texts and numbers cannot fail to be written
        Self { revision, text: serde_json::to_string_pretty(&stored).unwrap_or_default() }
    }
}

impl Draft {
    /// Reads a policy that was kept under a revision, its emergency denies included. Of the sources only what does not decide
    /// is taken.
    pub fn of_past(text: &str, revision: &str, sources: &Sources) -> Result<Self, PastError> {
        let stored: Stored = serde_json::from_str(text)?;
        let private = stored.private.iter().map(|prefix| {
            Prefix::parse(prefix).map_err(|_none| PastError::Private(prefix.clone()))
        });
        let private = private.collect::<Result<_, _>>()?;
        let mut settings = sources.settings.clone();
        settings.admission = Admission::ALL
            .into_iter()
            .find(|admission| admission.word() == stored.admission)
            .unwrap_or_default();
        let files = Files::of(stored.files);
        let snapshot = Arc::new(Snapshot::build(&files, &stored.denies, private, settings)?);
        let found = Arc::clone(snapshot.revision());
        if *found != *revision {
            return Err(PastError::Another { told: revision.to_owned(), found });
        }
        Ok(Self { files, snapshot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::policy::Policy;
    use crate::policy::Source;

    #[test]
    fn a_kept_policy_is_read_under_its_own_revision_and_no_change_passes() {
        let sources = Sources::of(Source::Embedded);
        let reload = Policy::none(sources.clone()).reload(&SystemClock);
        let past = reload.activated.into_iter().next().unwrap().past;
        let read = |text: &str, revision: &str| Draft::of_past(text, revision, &sources);
        assert_eq!(read(&past.text, &past.revision).unwrap().revision(), &past.revision);
        let refused = read(&past.text, "0123456789ab").unwrap_err().to_string();
        assert!(refused.contains("what is kept under 0123456789ab"), "{refused}");
        let stored: Stored = serde_json::from_str(&past.text).unwrap();
        let files = stored.files.clone();
        assert!(files.len() > 4);
        // a file that is taken into the name of the one before it would hide its rows
        let merged = |at: usize| {
            let mut files = files.clone();
            let (name, text) = files.remove(at);
            let after = &mut files[at];
            let len = text.len();
            after.0 = format!("{name}\0{len}\0{text}\0{}", after.0);
            files
        };
        let texts = (1..files.len() - 1).map(merged).chain((0..files.len()).map(|at| {
            let mut files = files.clone();
            files.remove(at);
            files
        }));
        for files in texts {
            let changed =
                Stored { files, private: Vec::new(), denies: Vec::new(), ..copy(&stored) };
            let text = serde_json::to_string(&changed).unwrap();
            assert!(read(&text, &past.revision).is_err(), "{text}");
        }
        for private in ["corp.example", "not a prefix/"] {
            let changed = Stored { private: vec![private.to_owned()], ..copy(&stored) };
            let text = serde_json::to_string(&changed).unwrap();
            assert!(read(&text, &past.revision).is_err());
        }
    }

    fn copy(stored: &Stored) -> Stored {
        Stored {
            v: stored.v,
            revision: stored.revision.clone(),
            private: stored.private.clone(),
            admission: stored.admission.clone(),
            denies: stored.denies.clone(),
            files: stored.files.clone(),
        }
    }
}
