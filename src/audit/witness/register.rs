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
    /// Why the log is not what was signed: it is signed again only if it leads on from there.
    #[serde(default)]
    changed: Option<String>,
}

/// What came of a look at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It was signed: how, the note, and the note signed before if it is not known to have grown from that.
    Signed(Witnessed, String, Option<String>),
    /// It was signed before.
    Repeated,
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

    /// The nodes that are known.
    pub fn nodes(&self) -> Result<Vec<String>, RegisterError> {
        Ok(self.kept.read()?.into_keys().collect())
    }

    /// Looks at a step with its number; signs and keeps its note if the log grew. Blocking.
    pub fn look(&self, node: &str, number: i64, text: &str) -> Result<Looked, RegisterError> {
        let origin = format!("{}/{node}", self.origin);
        let (looked, notes) = self.kept.change(|others: &mut BTreeMap<String, Other>| {
            let known = others.get(node).cloned();
            if known.is_none() && others.len() >= NODES {
                let why = "this witness knows as many nodes as it can".to_owned();
                return Ok((Looked::Refused { why, again: true }, String::new()));
            }
            let is_new = known.is_none();
            let mut other = known.unwrap_or_default();
            other.seen = number;
            let step = Some(text).filter(|text| text.len() <= STEP_BYTES).and_then(Step::read);
            let judged = match step {
                Some(step) => other.judge(&origin, &step, &self.signer),
                None => Err("it is no step of a log".to_owned()),
            };
            let (mut looked, notes) = (other.take(judged), other.notes());
            // a name is known from its first step on: anybody can invent names
            match &mut looked {
                Looked::Refused { again, .. } if is_new => *again = true,
                _ => drop(others.insert(node.to_owned(), other)),
            }
            Ok::<_, KeptError>((looked, notes))
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
    fn judge(&mut self, origin: &str, step: &Step, signer: &Signer) -> Result<Seen, String> {
        match (step::judge(self.known.as_ref(), origin, step, signer), &self.changed) {
            (Ok(Seen::Anew(_)), Some(why)) => Err(why.clone()),
            (Ok(Seen::Anew(_)), None) if self.former.len() >= FORMER_NOTES => {
                Err("it began anew too often: no note before may be lost".to_owned())
            }
            (Ok(seen), _) => Ok(seen),
            (Err(why), _) => {
                if why.is_final() {
                    self.changed = Some(why.to_string());
                }
                Err(why.to_string())
            }
        }
    }

    fn take(&mut self, judged: Result<Seen, String>) -> Looked {
        let (how, known, former) = match judged {
            Ok(Seen::First(known)) => (Witnessed::First, known, None),
            Ok(Seen::Grown(known)) => (Witnessed::Grown, known, None),
            Ok(Seen::Anew(known)) => {
                let former = self.known.take().map(|former| former.note);
                self.former.extend(former.clone());
                (Witnessed::Anew, known, former)
            }
            Ok(Seen::Repeated) => return Looked::Repeated,
            Err(why) => {
                let again = self.refused.as_ref() == Some(&why);
                self.refused = Some(why.clone());
                return Looked::Refused { why, again };
            }
        };
        (self.refused, self.changed) = (None, None);
        let note = known.note.clone();
        self.known = Some(known);
        Looked::Signed(how, note, former)
    }

    fn notes(&self) -> String {
        self.former.concat() + self.known.as_ref().map_or("", |known| &known.note)
    }
}

/// More than share one Redis: whoever can write there can invent names.
const NODES: usize = 256;
/// Whoever begins anew more often wants older notes to be forgotten, or has people who should look at it.
const FORMER_NOTES: usize = 100;
/// Two edges of the tallest tree, a note with many signatures, and room to spare.
const STEP_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::checkpoint::Checkpoint;
    use crate::tlog::note;
    use crate::tlog::tree;
    use crate::tlog::tree::Edge;
    use crate::tlog::tree::Growth;

    fn register(directory: &Path) -> Register {
        Register::open(directory, "modgate", "gate-2").unwrap()
    }

    /// A step of the log of `gate-1` that begins behind `before` records and adds one.
    fn step(before: u64) -> String {
        let signer = Signer::from_seed("modgate/gate-1", [1; 32]).unwrap();
        let (mut edge, record) = (Edge::default(), |n: u64| tree::leaf(&n.to_be_bytes()));
        (0..before).for_each(|n| edge.push(record(n)));
        let mut growth = Growth::of(edge.clone());
        growth.push(record(before));
        edge.push(record(before));
        let origin = "modgate/gate-1".to_owned();
        let told = Checkpoint { origin, size: edge.size(), root: edge.root() };
        let note = note::sign(&told.to_string(), [&signer]);
        Step { key: signer.verifier().clone(), note, growth }.write()
    }

    fn how(looked: &Looked) -> Witnessed {
        match looked {
            Looked::Signed(how, ..) => *how,
            Looked::Repeated => Witnessed::Repeated,
            Looked::Refused { .. } => Witnessed::Refused,
        }
    }

    #[test]
    fn what_was_signed_is_known_after_a_restart_and_older_notes_are_kept_over_a_gap() {
        let directory = tempfile::tempdir().unwrap();
        let look =
            |number, text: &str| register(directory.path()).look("gate-1", number, text).unwrap();
        assert_eq!(how(&look(7, &step(0))), Witnessed::First);
        assert_eq!(how(&look(8, &step(1))), Witnessed::Grown);
        assert_eq!(register(directory.path()).seen("gate-1").unwrap(), 8);
        let notes =
            || std::fs::read_to_string(directory.path().join("notes/gate-1.notes")).unwrap();
        assert_eq!(note::split(&notes()).len(), 1);
        assert_eq!(how(&look(20, &step(9))), Witnessed::Anew);
        assert_eq!(note::split(&notes()).len(), 2);
        let told = [look(21, "words"), look(22, "words"), look(23, &step(0)), look(24, "words")];
        let again: Vec<bool> = told
            .iter()
            .map(|looked| matches!(looked, Looked::Refused { again: true, .. }))
            .collect();
        assert_eq!(again, [false, true, false, false]);
        // a log that was seen to be shorter is no stranger by growing, unless it is the old one again
        assert_eq!(how(&look(25, &step(12))), Witnessed::Refused);
        assert_eq!(how(&look(26, "words")), Witnessed::Refused);
        assert_eq!(how(&look(27, &step(13))), Witnessed::Refused);
        assert_eq!(how(&look(28, &step(10))), Witnessed::Grown);
        assert_eq!(how(&look(29, &step(13))), Witnessed::Anew);
    }

    #[test]
    fn invented_nodes_fill_no_disk() {
        let directory = tempfile::tempdir().unwrap();
        let register = register(directory.path());
        for number in 0..3 {
            let looked = register.look(&format!("gate-{number}"), 1, "words").unwrap();
            assert!(matches!(looked, Looked::Refused { again: true, .. }));
        }
        assert_eq!(register.nodes().unwrap(), [""; 0]);
        let long = format!("{}{}", " ".repeat(STEP_BYTES), step(0));
        assert_eq!(how(&register.look("gate-1", 1, &long).unwrap()), Witnessed::Refused);
        assert_eq!(how(&register.look("gate-1", 2, &step(0)).unwrap()), Witnessed::First);
        assert_eq!(how(&register.look("gate-1", 3, &step(0)).unwrap()), Witnessed::Repeated);
        assert_eq!(register.nodes().unwrap(), ["gate-1"]);
    }

    #[test]
    fn the_oldest_note_is_never_lost_however_often_a_log_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let register = register(directory.path());
        let first = register.look("gate-1", 1, &step(0)).unwrap();
        let Looked::Signed(_, oldest, None) = first else { panic!("{first:?}") };
        // each begins one record behind the end of the one before
        let signed = (1..FORMER_NOTES as u64 + 20).filter(|n| {
            let looked = register.look("gate-1", 1 + n.cast_signed(), &step(2 * n)).unwrap();
            how(&looked) == Witnessed::Anew
        });
        assert_eq!(signed.count(), FORMER_NOTES);
        let notes = std::fs::read_to_string(directory.path().join("notes/gate-1.notes")).unwrap();
        assert_eq!(note::split(&notes)[0], oldest);
    }
}
