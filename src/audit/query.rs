//! Reading the log with a question: which records, from which segments, and how much can be left unread.
//!
//! A closed segment is skipped by the times in its index; a question about one principal or one module path reads only the
//! blocks that have it. The segment being written, and one whose index cannot be made, are read whole.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;

use crate::audit::filter::Filter;
use crate::audit::index;
use crate::audit::index::Index;
use crate::audit::segment::Segment;
use crate::audit::verify;

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
    /// What was read so far, after each mebibyte or so; the listener may have enough.
    fn progress(&mut self, _effort: Effort) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Gives every wanted record of some directories to a listener: node by node, in order of sequence number.
pub fn scan(
    directories: &[PathBuf],
    filter: &Filter,
    listener: &mut dyn Listener,
) -> io::Result<Effort> {
    let needles = filter.needles();
    let mut scan = Scan { filter, needles, listener, effort: Effort::default() };
    for node in verify::nodes(directories)? {
        let segments = verify::segments(directories, &node)?;
        for (place, segment) in segments.iter().enumerate() {
            let flow = if place + 1 == segments.len() && segment.plain().exists() {
                scan.whole(segment)?
            } else {
                scan.closed(segment)?
            };
            if flow.is_break() {
                return Ok(scan.effort);
            }
        }
    }
    Ok(scan.effort)
}

struct Scan<'a> {
    filter: &'a Filter,
    needles: Vec<String>,
    listener: &'a mut dyn Listener,
    effort: Effort,
}

impl Scan<'_> {
    fn closed(&mut self, segment: &Segment) -> io::Result<ControlFlow<()>> {
        // an auditor may read without being allowed to write an index
        let Ok(index) = Index::open(segment) else { return self.whole(segment) };
        let late = self.filter.to.as_deref().is_some_and(|to| index.head.from.as_str() >= to);
        let early = self.filter.from.as_deref().is_some_and(|from| index.head.to.as_str() < from);
        if late || early {
            self.effort.skipped += 1;
            return Ok(ControlFlow::Continue(()));
        }
        let mut wanted: Option<Vec<usize>> = None;
        for key in self.filter.keys() {
            let found = index.blocks_with(key)?.unwrap_or_default();
            wanted = Some(match wanted {
                None => found,
                Some(before) => before.into_iter().filter(|block| found.contains(block)).collect(),
            });
        }
        match wanted {
            Some(blocks) if blocks.is_empty() => {
                self.effort.skipped += 1;
                Ok(ControlFlow::Continue(()))
            }
            Some(blocks) => self.blocks(segment, &index, &blocks),
            None => self.whole(segment),
        }
    }

    fn blocks(
        &mut self,
        segment: &Segment,
        index: &Index,
        blocks: &[usize],
    ) -> io::Result<ControlFlow<()>> {
        self.effort.opened += 1;
        for block in blocks {
            let bytes = match index.read_block(segment, *block) {
                // it was compressed meanwhile: in the same blocks
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Index::open(segment)?.read_block(segment, *block)?
                }
                read => read?,
            };
            if self.lines(&bytes).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn whole(&mut self, segment: &Segment) -> io::Result<ControlFlow<()>> {
        self.effort.opened += 1;
        let (mut records, mut block) = (segment.open()?, Vec::new());
        loop {
            block.clear();
            // half a line at the end is still being written, and left out
            index::read_block(&mut records, &mut block)?;
            if block.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            if self.lines(&block).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    fn lines(&mut self, block: &[u8]) -> ControlFlow<()> {
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.line(line)?;
        }
        self.listener.progress(self.effort)
    }

    fn line(&mut self, line: &[u8]) -> ControlFlow<()> {
        self.effort.bytes += line.len() as u64 + 1;
        let Ok(line) = std::str::from_utf8(line) else { return ControlFlow::Continue(()) };
        if !self.needles.iter().all(|needle| line.contains(needle.as_str())) {
            return ControlFlow::Continue(());
        }
        // what is no record is for verification to find
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            return ControlFlow::Continue(());
        };
        if self.filter.wants(&record) {
            self.listener.record(&record, line)
        } else {
            ControlFlow::Continue(())
        }
    }
}
