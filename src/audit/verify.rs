//! Whether a node's log is what it was: every line, the chain through them, and every checkpoint over them.
//!
//! Reading stops at the first record that is not what it should be, because nothing behind it can be told from it. What a
//! [`Finding`] says is evidence of a change; what a [`Remark`] says was declared by the log itself, or cannot be signed yet.
//!
//! One key is enough, a former one or the newest. A former one hands over to the keys that a record covered by it names. Under
//! the newest, checkpoints of former keys say nothing by themselves, but the first believed one behind them covers the same
//! records; if none follows they are a stranger's.

mod notes;
mod walk;

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::audit::index::Index;
use crate::audit::segment;
use crate::audit::segment::Segment;
use crate::audit::verify::walk::Walk;
use crate::tlog::note::Verifier;

/// What to verify, and against what.
#[derive(Debug, Clone, Default)]
pub struct Question {
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
    /// `declared_gap`, `deleted`, `unsigned_tail`, `half_line`, `ended_without_a_word`, `other_key`.
    pub kind: &'static str,
    /// The first record it concerns.
    pub seq: u64,
    /// In words.
    pub what: String,
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
    /// The number of the last record.
    pub last: u64,
    /// The last record that a believed checkpoint covers.
    pub signed: u64,
    /// Evidence of changes; the first is the first bad record.
    pub findings: Vec<Finding>,
    /// What was declared.
    pub remarks: Vec<Remark>,
}

impl Report {
    /// 0: it is what it was. 1: it was changed. 2: nobody can tell, because no believed checkpoint covers anything.
    pub fn exit_code(&self) -> u8 {
        match (self.findings.is_empty(), self.signed) {
            (false, _) => 1,
            (true, 0) => 2,
            (true, _) => 0,
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
                Some(known) if is_shorter(known, &segment)? => *known = segment,
                Some(_) => {}
                None => found.push(segment),
            }
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// Whether a segment holds less than its twin: one of them may be compressed, and be all the same the longer one.
fn is_shorter(one: &Segment, twin: &Segment) -> io::Result<bool> {
    let size = |path: PathBuf| std::fs::metadata(path).map(|found| found.len()).ok();
    let inflated = |segment: &Segment| io::copy(&mut segment.open()?, &mut io::sink());
    if let (Ok(one), Ok(twin)) = (Index::read(one), Index::read(twin)) {
        return Ok(one.head.last < twin.head.last);
    }
    match (size(one.plain()), size(twin.plain())) {
        (Some(one), Some(twin)) => Ok(one < twin),
        (Some(one), None) => Ok(one < inflated(twin)?),
        (None, Some(twin)) => Ok(inflated(one)? < twin),
        (None, None) => Ok(size(one.packed()) < size(twin.packed())),
    }
}

/// Verifies one node's log. `progress` hears of bytes read, now and then.
pub fn verify(question: &Question, progress: &mut dyn FnMut(u64)) -> io::Result<Report> {
    let segments = segments(&question.directories, &question.node)?;
    let mut walk = Walk::begin(question, segments.last())?;
    for segment in &segments {
        if !walk.segment(segment, progress)? {
            break;
        }
    }
    Ok(walk.finish())
}
