//! A policy as it was once in force, whole and in one text, so that what it decided can be explained when it is long gone.
//!
//! The text holds everything that the revision is made of. Whoever reads it makes the revision again: one that was changed, or
//! that this version reads otherwise, is told apart from the policy that records name.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

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
    /// What it holds is another policy than its name says.
    #[error(
        "it says that it is {told}, and what it holds is {found}: it was changed, or another version of modgate kept it"
    )]
    Another {
        /// What it says.
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
    /// Reads a policy that was kept, its emergency denies included. Of the sources only what does not decide is taken.
    pub fn of_past(text: &str, sources: &Sources) -> Result<Self, PastError> {
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
        if *found != *stored.revision {
            return Err(PastError::Another { told: stored.revision, found });
        }
        Ok(Self { files, snapshot })
    }
}
