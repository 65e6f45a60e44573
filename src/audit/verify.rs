//! Whether a node's log is what it was: every line, the chain through them, and every checkpoint over them.
//!
//! Reading stops at the first record that is not what it should be, because nothing behind it in its segment can be told from
//! it. It goes on with the next segment whose first record tells of a log before it that a believed checkpoint covers. What a
//! [`Finding`] says is evidence of a change; what a [`Remark`] says was declared by the log itself, or cannot be signed yet.
//! What is compressed and cannot be inflated was changed; what the disk does not give is [`Unread`], and nobody can tell.
//!
//! A log is verified whole. Which segments a time is about rests on times that anybody can write into a first record: whoever
//! verifies a part by them can be shown a part that is whole.
//!
//! A hole is what retention makes and records. The record counts once a believed checkpoint covers it: whoever removes segments
//! could write one at the end. Behind a hole, nothing vouches for the records before it: they need a checkpoint of
//! their own, or anybody could put records into it.
//!
//! One key is enough, a former one or the newest. A former one hands over to the keys that a record covered by it names. Under
//! the newest, checkpoints of former keys say nothing by themselves, but the first believed one behind them covers the same
//! records; if none follows they are a stranger's.

mod ahead;
mod notes;
mod walk;

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::audit::index::Index;
use crate::audit::query::Effort;
use crate::audit::segment;
use crate::audit::segment::Segment;
use crate::audit::verify::walk::Walk;
use crate::tlog::note::Verifier;

/// What to verify, and against what.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The directories of segments; two if there is a second sink.
    pub directories: Vec<PathBuf>,
    /// The node whose log it is.
    pub node: String,
    /// Keys whose checkpoints are believed.
    pub keys: Vec<Verifier>,
    /// Notes that were kept elsewhere, one after the other.
    pub kept: String,
}

/// How a record, or a checkpoint, is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A record was changed, or stands where none was.
    Edited,
    /// A record is not there.
    Missing,
    /// A record stands in another place.
    Reordered,
    /// A record stands there twice.
    Repeated,
    /// The end is not there.
    Truncated,
    /// What is compressed was damaged: it cannot be inflated.
    Unreadable,
    /// Records were changed and chained again: they do not fit a checkpoint.
    Rewritten,
    /// A checkpoint is signed by a key nobody named.
    ForeignKey,
    /// A checkpoint that must be there is not.
    Unsigned,
}

/// Evidence of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind it is.
    pub kind: Kind,
    /// The first record it concerns.
    pub seq: u64,
    /// The segment.
    pub segment: String,
    /// In words.
    pub what: String,
}

/// Something declared, or not signed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// `declared_gap`, `deleted`, `unsigned_tail`, `half_line`, `ended_without_a_word`, `other_key`, `hole`, `not_verified`.
    pub kind: &'static str,
    /// The first record it concerns.
    pub seq: u64,
    /// In words.
    pub what: String,
}

/// What the disk did not give, so that nobody can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// The segment.
    pub segment: String,
    /// The first record that could not be read.
    pub seq: u64,
    /// What the operating system says.
    pub why: String,
}

/// What verification came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The node.
    pub node: String,
    /// How many segments were read.
    pub segments: u64,
    /// How many records.
    pub records: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many checkpoints fit.
    pub checkpoints: u64,
    /// The number of the first record that was read and stands in its place; 0 if there is none.
    pub first: u64,
    /// The number of the last one.
    pub last: u64,
    /// The last record that a believed checkpoint covers.
    pub signed: u64,
    /// Evidence of changes; the first is the first bad record.
    pub findings: Vec<Finding>,
    /// What was declared.
    pub remarks: Vec<Remark>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

impl Report {
    /// 0: it is what it was. 1: it was changed. 2: nobody can tell, because no believed checkpoint covers anything of it,
    /// or the disk did not give all of it, or no checkpoint covers what says why records are not there.
    pub fn exit_code(&self) -> u8 {
        let has_hole = self.remarks.iter().any(|remark| remark.kind == "hole");
        if !self.findings.is_empty() {
            1
        } else if self.signed == 0 || !self.unread.is_empty() || has_hole {
            2
        } else {
            0
        }
    }
}

/// The nodes whose segments lie in some directories.
pub fn nodes(directories: &[PathBuf]) -> io::Result<Vec<String>> {
    let mut nodes = Vec::new();
    for directory in directories {
        nodes.extend(segment::list(directory)?.into_iter().map(|segment| segment.node));
    }
    nodes.sort();
    nodes.dedup();
    Ok(nodes)
}

/// A node's segments whose records are there, each from the directory that has more of it; oldest first.
pub fn segments(directories: &[PathBuf], node: &str) -> io::Result<Vec<Segment>> {
    let mut found: Vec<Segment> = Vec::new();
    for directory in directories {
        let of_node = segment::list(directory)?.into_iter().filter(|found| found.node == node);
        for segment in of_node.filter(Segment::is_there) {
            match found.iter_mut().find(|known| known.stem == segment.stem) {
                Some(known) if is_shorter(known, &segment) => *known = segment,
                Some(_) => {}
                None => found.push(segment),
            }
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// Whether a segment holds less than its twin: one of them may be compressed, and be all the same the longer one.
fn is_shorter(one: &Segment, twin: &Segment) -> bool {
    let size = |path: PathBuf| std::fs::metadata(path).map(|found| found.len()).ok();
    if let (Ok(one), Ok(twin)) = (Index::read(one), Index::read(twin)) {
        return one.head.last < twin.head.last;
    }
    match (size(one.plain()), size(twin.plain())) {
        (Some(one), Some(twin)) => one < twin,
        (Some(one), None) => one < inflated(twin),
        (None, Some(twin)) => inflated(one) < twin,
        (None, None) => size(one.packed()) < size(twin.packed()),
    }
}

/// How many bytes of records can be read of a segment, as far as it is read for that.
fn inflated(segment: &Segment) -> u64 {
    segment.open().map_or(0, |mut lines| ahead::length(&mut lines, ahead::FURTHEST_BYTES))
}

/// Whether it is the disk that fails, and not what stands on it.
pub(in crate::audit) fn is_of_disk(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
}

/// Verifies one node's log. `progress` hears of what was read, with each segment and now and then within one.
pub fn verify(subject: &Subject, progress: &mut dyn FnMut(Effort)) -> io::Result<Report> {
    let segments = segments(&subject.directories, &subject.node)?;
    let mut walk = Walk::begin(subject, segments.last())?;
    for segment in &segments {
        walk.segment(segment, progress);
    }
    Ok(walk.finish())
}
