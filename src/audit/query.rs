//! Reading the log with a question: which records, from which segments, and how much can be left unread.
//!
//! A closed segment is skipped by the times in its index; a question about one principal, module path, rule, address or event
//! reads only the blocks that have it. The segment being written, and one whose index cannot be made, are read whole.

mod plan;
mod sieve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;

use crate::audit::filter::Filter;
use crate::audit::index;
use crate::audit::index::Index;
use crate::audit::index::Reader;
use crate::audit::query::plan::Planner;
use crate::audit::query::plan::Step;
use crate::audit::query::sieve::Sieve;
use crate::audit::segment::Segment;

/// The text at a place of a record.
pub fn text<'a>(record: &'a Value, path: &str) -> Option<&'a str> {
    record.pointer(path).and_then(Value::as_str)
}

/// What a scan had to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Segments that were opened.
    pub opened: u64,
    /// Segments that were left alone.
    pub skipped: u64,
    /// Bytes of records that were looked at.
    pub bytes: u64,
}

/// Who hears of records and of progress.
pub trait Listener {
    /// A wanted record: decoded, and as its line.
    fn record(&mut self, record: &Value, line: &str) -> ControlFlow<()>;
    /// How many records of each event and outcome a segment has whose records are all wanted; whoever needs no more breaks off,
    /// and the segment is left alone.
    fn counted(&mut self, _kinds: &BTreeMap<String, u64>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// What was read so far, after each block and each segment; the listener may have enough.
    fn progress(&mut self, _effort: Effort) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// How far indexes are relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexes {
    /// One that is missing is made first. Whoever may not write there reads the segment whole.
    Make,
    /// Where one is missing, the segment is read whole: a question that is bounded in what it reads makes no indexes.
    IfThere,
    /// Everything is read: no checkpoint covers an index, so evidence does not rest on one.
    Ignore,
}

/// Gives every wanted record of some directories to a listener: node by node, in order of sequence number.
pub fn scan(
    directories: &[PathBuf],
    filter: &Filter,
    indexes: Indexes,
    listener: &mut dyn Listener,
) -> io::Result<Effort> {
    let (sieve, blocks, effort) = (Sieve::new(filter), Reader::new()?, Effort::default());
    let mut scan = Scan { sieve, blocks, listener, effort };
    std::thread::scope(|scope| {
        let (plan, steps) = std::sync::mpsc::sync_channel(AHEAD_SEGMENTS);
        let planner = Planner::new(directories, filter, indexes);
        std::thread::Builder::new().spawn_scoped(scope, move || planner.run(&plan))?;
        // dropped when somebody has enough, at which the planner stops
        for step in steps {
            if scan.take(step?)?.is_break() {
                break;
            }
        }
        Ok(scan.effort)
    })
}

struct Scan<'a> {
    sieve: Sieve<'a>,
    blocks: Reader,
    listener: &'a mut dyn Listener,
    effort: Effort,
}

impl Scan<'_> {
    fn take(&mut self, step: Step) -> io::Result<ControlFlow<()>> {
        match step {
            Step::Counted(kinds, next) if self.listener.counted(&kinds).is_continue() => {
                self.take(*next)
            }
            Step::Skip | Step::Counted(..) => {
                self.effort.skipped += 1;
                Ok(self.listener.progress(self.effort))
            }
            Step::Blocks(index, blocks) => self.blocks(&index, &blocks).map_err(|error| {
                let segment = &index.head.segment;
                io::Error::new(error.kind(), format!("{segment} is not what its index says ({error}): run modgate audit verify, and modgate audit index --again"))
            }),
            Step::Whole(segment) => self.whole(&segment),
        }
    }

    fn blocks(&mut self, index: &Index, blocks: &[u64]) -> io::Result<ControlFlow<()>> {
        self.effort.opened += 1;
        for block in blocks {
            let lines = self.blocks.read(index, *block)?;
            if self.sieve.sift(lines, &mut self.effort, self.listener).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn whole(&mut self, segment: &Segment) -> io::Result<ControlFlow<()>> {
        self.effort.opened += 1;
        let mut records = match segment.open() {
            // removed since it was listed, because it was old enough: the log says so
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(ControlFlow::Continue(()));
            }
            opened => opened?,
        };
        let mut lines = Vec::new();
        loop {
            lines.clear();
            // half a line at the end is still being written, and left out
            index::read_lines(&mut records, CHUNK_BYTES, &mut lines)?;
            if lines.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            if self.sieve.sift(&lines, &mut self.effort, self.listener).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

/// So many segments are planned before they are read.
const AHEAD_SEGMENTS: usize = 8;
/// What is read at once of a segment that is read whole.
const CHUNK_BYTES: usize = 1 << 20;
