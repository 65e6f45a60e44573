//! Proof that one record is in the log: the line, the hashes beside its way up the tree, and a signed checkpoint. Whoever has
//! the node's key can check it without the log.

use std::io;
use std::io::BufRead as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;

use crate::audit::chain;
use crate::audit::query::Effort;
use crate::audit::recover;
use crate::audit::segment;
use crate::audit::verify;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note;
use crate::tlog::note::Note;
use crate::tlog::note::Verifier;
use crate::tlog::tree;
use crate::tlog::tree::Inclusion;

/// A proof, as it is handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The record's line, byte for byte.
    pub record: String,
    /// Its place in the log, from 0.
    pub index: u64,
    /// The hashes from its sibling to the root's child: SHA-256 in base64.
    pub path: Vec<String>,
    /// A signed checkpoint that covers it.
    pub checkpoint: String,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A file cannot be read.
    #[error("the log cannot be read: {0}")]
    File(#[from] io::Error),
    /// There is no such record.
    #[error("there is no such record in the log")]
    NoRecord,
    /// No checkpoint covers it yet.
    #[error("no checkpoint covers record {0} yet: try again in ten seconds")]
    NotSigned(u64),
    /// The log is damaged.
    #[error("the log is damaged around record {0}: run modgate audit verify")]
    Damaged(u64),
}

/// Proves a node's record by its number. `progress` hears of what was read, with each segment.
pub fn prove(
    directories: &[PathBuf],
    node: &str,
    seq: u64,
    progress: &mut dyn FnMut(Effort),
) -> Result<Proof, ProofError> {
    let place = seq.checked_sub(1).ok_or(ProofError::NoRecord)?;
    let segments = verify::segments(directories, node)?;
    let start = segments.iter().rposition(|segment| segment.first <= seq);
    let segments = start.and_then(|start| segments.get(start..)).ok_or(ProofError::NoRecord)?;
    let (size, checkpoint) = covering(directories, node, seq)?.ok_or(ProofError::NotSigned(seq))?;
    let mut gather = Inclusion::new(place, size).ok_or(ProofError::NoRecord)?;
    let (mut record, mut next, mut effort) = (None, None, Effort::default());
    for segment in segments {
        if next.is_some_and(|next| next > size) {
            break;
        }
        effort.opened += 1;
        progress(effort);
        let (mut lines, mut line) = (segment.open()?, Vec::new());
        while next.is_none_or(|next| next <= size) {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            let read = read.map_err(|error| {
                if verify::is_of_disk(&error) {
                    ProofError::File(error)
                } else {
                    ProofError::Damaged(next.unwrap_or(segment.first))
                }
            })?;
            effort.bytes += read as u64;
            if read == 0 || line.pop() != Some(b'\n') {
                break;
            }
            if next.is_none() {
                let opening = recover::opening(&line).filter(|chain| gather.skip(&chain.edge));
                next = Some(opening.ok_or(ProofError::Damaged(segment.first))?.next());
            }
            if chain::seq(&line) != next {
                return Err(ProofError::Damaged(next.unwrap_or(seq)));
            }
            if next == Some(seq) {
                record = String::from_utf8(line.clone()).ok();
            }
            gather.push(tree::leaf(&line));
            next = next.map(|next| next + 1);
        }
    }
    let path = gather.proof().ok_or(ProofError::Damaged(seq))?;
    let path = path.iter().map(|hash| STANDARD.encode(hash)).collect();
    Ok(Proof { record: record.ok_or(ProofError::NoRecord)?, index: place, path, checkpoint })
}

/// The smallest checkpoint over a record.
pub(in crate::audit) fn covering(
    directories: &[PathBuf],
    node: &str,
    seq: u64,
) -> io::Result<Option<(u64, String)>> {
    let mut best: Option<(u64, String)> = None;
    for directory in directories {
        for segment in segment::list(directory)?.iter().filter(|found| found.node == node) {
            let notes = std::fs::read_to_string(segment.checkpoints()).unwrap_or_default();
            for note in note::split(&notes) {
                let Some(told) = Checkpoint::parse(note).filter(|told| told.size >= seq) else {
                    continue;
                };
                if best.as_ref().is_none_or(|(size, _)| told.size < *size) {
                    best = Some((told.size, note.to_owned()));
                }
            }
        }
    }
    Ok(best)
}

/// What is wrong with a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disproved {
    /// The checkpoint is no signed note of a log.
    #[error("its checkpoint is no signed checkpoint")]
    NoCheckpoint,
    /// None of the keys signed it.
    #[error("its checkpoint is signed by none of the keys")]
    ForeignKey,
    /// The record is not the one with that number.
    #[error("its record has another number")]
    OtherRecord,
    /// The hashes lead elsewhere.
    #[error("its record is not in the signed log")]
    NotIncluded,
}

impl Proof {
    /// Checks it against keys, without the log. Gives what the checkpoint says.
    pub fn check(&self, keys: &[Verifier]) -> Result<Checkpoint, Disproved> {
        let note = Note::parse(&self.checkpoint).map_err(|_| Disproved::NoCheckpoint)?;
        let told = Checkpoint::parse(&note.text).ok_or(Disproved::NoCheckpoint)?;
        if !keys.iter().any(|key| note.is_signed_by(key)) {
            return Err(Disproved::ForeignKey);
        }
        if chain::seq(self.record.as_bytes()) != Some(self.index + 1) {
            return Err(Disproved::OtherRecord);
        }
        let hash = |text: &String| STANDARD.decode(text).ok()?.try_into().ok();
        let path: Option<Vec<tree::Hash>> = self.path.iter().map(hash).collect();
        let leaf = tree::leaf(self.record.as_bytes());
        let included = path
            .is_some_and(|path| tree::is_included(&leaf, self.index, told.size, &path, &told.root));
        if included { Ok(told) } else { Err(Disproved::NotIncluded) }
    }
}
