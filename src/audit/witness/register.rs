//! What a node keeps as a witness of others: for each the key it believes and the note it signed last, in one file, and
//! the notes in files of their own, as `modgate audit verify --checkpoints` takes them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::audit::keys;
use crate::audit::keys::KeyError;
use crate::audit::witness::step;
use crate::audit::witness::step::Known;
use crate::audit::witness::step::Seen;
use crate::audit::witness::step::Step;
use crate::kept::Kept;
use crate::kept::KeptError;
use crate::telemetry::labels::audit::Witnessed;
use crate::tlog::note::Signer;

/// Why nothing could be kept.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// What is kept cannot be read or changed.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// A note cannot be written.
    #[error("{0}: {1}")]
    Note(PathBuf, #[source] io::Error),
}

/// What is kept of other nodes.
#[derive(Debug)]
pub struct Register {
    kept: Kept<BTreeMap<String, Other>>,
    notes: PathBuf,
    origin: String,
    signer: Signer,
}

/// What is remembered of another node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Other {
    /// The number of the newest step that was looked at.
    seen: i64,
    known: Option<Known>,
    /// Notes from which the log is not known to have grown, oldest first.
    former: Vec<String>,
    /// Why the newest step was refused.
    refused: Option<String>,
}

/// What came of a look at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It was signed.
    Signed(Witnessed, String),
    /// It was not, for this reason.
    Refused {
        /// A sentence.
        why: String,
        /// Whether the step before was refused for the same.
        again: bool,
    },
}

impl Register {
    /// What a directory holds; it is made, with a key that signs under this node's name, when there is none. `origin` is
    /// what the logs are called, before the names of their nodes.
    pub fn open(directory: &Path, origin: &str, me: &str) -> Result<Self, KeyError> {
        let failed = |error| KeyError::File(directory.to_owned(), error);
        let notes = directory.join("notes");
        std::fs::create_dir_all(&notes).map_err(failed)?;
        let file = directory.join("witness.key");
        let signer = keys::signers(&file, me)?.pop();
        let signer = signer.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        let kept = Kept::new(directory.join("known.json"));
        Ok(Self { kept, notes, origin: origin.to_owned(), signer })
    }

    /// The number of the newest step of a node that was looked at; 0 for none.
    pub fn seen(&self, node: &str) -> Result<i64, RegisterError> {
        Ok(self.kept.read()?.get(node).map_or(0, |other| other.seen))
    }

    /// Looks at a step with its number; signs and keeps its note if the log grew. Blocking.
    pub fn look(&self, node: &str, number: i64, text: &str) -> Result<Looked, RegisterError> {
        let origin = format!("{}/{node}", self.origin);
        let (looked, notes) = self.kept.change(|others: &mut BTreeMap<String, Other>| {
            let other = others.entry(node.to_owned()).or_default();
            other.seen = number;
            let judged = match Step::read(text) {
                Some(step) => step::judge(other.known.as_ref(), &origin, &step, &self.signer)
                    .map_err(|why| why.to_string()),
                None => Err("it is no step of a log".to_owned()),
            };
            Ok::<_, KeptError>((other.take(judged), other.notes()))
        })?;
        if matches!(looked, Looked::Signed(..)) {
            let path = self.notes.join(format!("{node}.notes"));
            let staged = path.with_extension("staged");
            std::fs::write(&staged, notes)
                .and_then(|()| std::fs::rename(&staged, &path))
                .map_err(|error| RegisterError::Note(path.clone(), error))?;
        }
        Ok(looked)
    }
}

impl Other {
    fn take(&mut self, judged: Result<Seen, String>) -> Looked {
        let (how, known) = match judged {
            Ok(Seen::First(known)) => (Witnessed::First, known),
            Ok(Seen::Grown(known)) => (Witnessed::Grown, known),
            Ok(Seen::Anew(known)) => {
                self.former.extend(self.known.take().map(|former| former.note));
                let more = self.former.len().saturating_sub(FORMER_NOTES);
                self.former.drain(..more);
                (Witnessed::Anew, known)
            }
            Err(why) => {
                let again = self.refused.as_ref() == Some(&why);
                self.refused = Some(why.clone());
                return Looked::Refused { why, again };
            }
        };
        self.refused = None;
        let note = known.note.clone();
        self.known = Some(known);
        Looked::Signed(how, note)
    }

    fn notes(&self) -> String {
        self.former.concat() + self.known.as_ref().map_or("", |known| &known.note)
    }
}

/// A log that begins anew more often has older notes in the audits of those who look after it.
const FORMER_NOTES: usize = 100;
