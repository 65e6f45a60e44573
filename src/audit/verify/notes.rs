//! The checkpoints of a log, and whose word is believed.

use std::collections::BTreeMap;
use std::io;

use crate::audit::segment;
use crate::audit::verify::Subject;
use crate::audit::verify::Unread;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note;
use crate::tlog::note::Note;
use crate::tlog::note::Verifier;
use crate::tlog::tree::Hash;

/// A checkpoint and its signatures.
#[derive(Debug, Clone)]
pub(in crate::audit::verify) struct Signed {
    pub(in crate::audit::verify) told: Checkpoint,
    note: Note,
}

impl Signed {
    /// Who is said to have signed.
    pub(in crate::audit::verify) fn signers(&self) -> String {
        self.note.signers().collect::<Vec<_>>().join(", ")
    }
}

/// Who says that the log had a root.
pub(in crate::audit::verify) enum Vouched {
    /// A believed key.
    Believed,
    /// These, whom nobody here knows.
    Other(String),
    /// Nobody.
    Nobody,
}

/// Every checkpoint there is, by size.
#[derive(Debug)]
pub(in crate::audit::verify) struct Notes {
    by_size: BTreeMap<u64, Vec<Signed>>,
    believed: Vec<Verifier>,
    /// Keys that a record names, which are believed once a checkpoint of a believed one covers it.
    heard_of: Vec<(u64, Verifier)>,
}

impl Notes {
    /// Those beside the segments, removed segments included, and those kept elsewhere. What is no text is no note.
    pub(in crate::audit::verify) fn gather(
        subject: &Subject,
        unread: &mut Vec<Unread>,
    ) -> io::Result<Self> {
        let mut by_size: BTreeMap<u64, Vec<Signed>> = BTreeMap::new();
        let mut add = |text: &str| {
            for text in note::split(text) {
                let Ok(note) = Note::parse(text) else { continue };
                let Some(told) = Checkpoint::parse(&note.text) else { continue };
                let is_ours =
                    told.origin.rsplit_once('/').is_some_and(|(_, node)| node == subject.node);
                let at = by_size.entry(told.size).or_default();
                let signed = Signed { told, note };
                if is_ours && !at.iter().any(|known| known.note == signed.note) {
                    at.push(signed);
                }
            }
        };
        add(&subject.kept);
        for directory in &subject.directories {
            for segment in
                segment::list(directory)?.iter().filter(|found| found.node == subject.node)
            {
                match std::fs::read(segment.checkpoints()) {
                    Ok(bytes) => add(&String::from_utf8_lossy(&bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        let (segment, seq) = (segment.stem.clone(), segment.first);
                        let why = format!("its checkpoints: {error}");
                        unread.push(Unread { segment, seq, why });
                    }
                }
            }
        }
        by_size.retain(|_, at| !at.is_empty());
        Ok(Self { by_size, believed: subject.keys.clone(), heard_of: Vec::new() })
    }

    /// Takes the checkpoints of a size.
    pub(in crate::audit::verify) fn at(&mut self, size: u64) -> Option<Vec<Signed>> {
        let is_next = self.by_size.first_key_value().is_some_and(|(next, _)| *next <= size);
        if is_next { self.by_size.remove(&size) } else { None }
    }

    /// Who signed a size and a root.
    pub(in crate::audit::verify) fn vouched(&self, size: u64, root: &Hash) -> Vouched {
        let at = self.by_size.get(&size).into_iter().flatten();
        let mut fits = at.filter(|note| note.told.root == *root).peekable();
        let Some(first) = fits.peek().map(|note| note.signers()) else { return Vouched::Nobody };
        if fits.any(|note| self.is_believed(note)) {
            Vouched::Believed
        } else {
            Vouched::Other(first)
        }
    }

    /// Leaves the checkpoints of what is no longer there.
    pub(in crate::audit::verify) fn pass(&mut self, size: u64) {
        self.by_size = self.by_size.split_off(&(size + 1));
    }

    pub(in crate::audit::verify) fn is_believed(&self, note: &Signed) -> bool {
        self.believed.iter().any(|key| note.note.is_signed_by(key))
    }

    /// A record names keys.
    pub(in crate::audit::verify) fn hear_of(&mut self, seq: u64, keys: &str) {
        let keys = keys.split(' ').filter_map(|key| Verifier::parse(key).ok());
        self.heard_of.extend(keys.map(|key| (seq, key)));
    }

    /// A believed checkpoint covers so many records: keys that they name are believed from now on.
    pub(in crate::audit::verify) fn learn(&mut self, size: u64) {
        let covered = self.heard_of.extract_if(.., |(seq, _)| *seq <= size);
        for (_, key) in covered {
            if !self.believed.contains(&key) {
                self.believed.push(key);
            }
        }
    }

    /// The largest believed checkpoint over more records than there are.
    pub(in crate::audit::verify) fn beyond(&self, size: u64) -> Option<u64> {
        let larger = self.by_size.range(size + 1..).rev();
        larger
            .filter(|(_, at)| at.iter().any(|note| self.is_believed(note)))
            .map(|(size, _)| *size)
            .next()
    }
}
