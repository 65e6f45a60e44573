//! What to read of which segment: planned some segments ahead of the reading, so that the disk is fetching already what will
//! be read next.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use crate::audit::filter::Filter;
use crate::audit::index::Index;
use crate::audit::index::Key;
use crate::audit::query::Missing;
use crate::audit::segment::Segment;
use crate::audit::verify;

/// What to do about a segment.
#[derive(Debug)]
pub(in crate::audit::query) enum Step {
    /// Nothing: no wanted record can be in it.
    Skip,
    /// Read it from its beginning to its end.
    Whole(Segment),
    /// Read these blocks, which the disk was asked for.
    Blocks(Index, Vec<u64>),
    /// Tell how many records it has of each event and outcome, which are all wanted; then perhaps what stands behind.
    Counted(BTreeMap<String, u64>, Box<Self>),
}

/// Who plans.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit::query) struct Planner<'a> {
    pub(in crate::audit::query) directories: &'a [PathBuf],
    pub(in crate::audit::query) filter: &'a Filter,
    pub(in crate::audit::query) missing: Missing,
}

impl Planner<'_> {
    /// Plans every segment, node by node, in order, until there are no more or nobody takes them.
    pub(in crate::audit::query) fn run(self, steps: &SyncSender<io::Result<Step>>) {
        if let Err(error) = self.all(steps) {
            // whoever reads has enough, if it cannot be told
            let _enough = steps.send(Err(error));
        }
    }

    fn all(self, steps: &SyncSender<io::Result<Step>>) -> io::Result<()> {
        for node in verify::nodes(self.directories)? {
            let segments = verify::segments(self.directories, &node)?;
            let count = segments.len();
            for (place, segment) in segments.into_iter().enumerate() {
                let is_being_written = place + 1 == count && segment.plain().exists();
                let step =
                    if is_being_written { Step::Whole(segment) } else { self.closed(segment)? };
                if steps.send(Ok(step)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn closed(self, segment: Segment) -> io::Result<Step> {
        let index = match self.missing {
            Missing::Make => Index::open(&segment),
            Missing::ReadWhole => Index::read(&segment),
        };
        // an auditor may read without being allowed to write an index
        let Ok(index) = index else { return Ok(Step::Whole(segment)) };
        let (from, to) = (&index.head.from, &index.head.to);
        if !self.filter.overlaps(from, to) {
            return Ok(Step::Skip);
        }
        if self.filter.covers(from, to) {
            return Ok(Step::Counted(index.head.events, Box::new(Step::Whole(segment))));
        }
        match self.wanted(&index)? {
            Some(blocks) if blocks.is_empty() => Ok(Step::Skip),
            Some(blocks) => {
                index.prefetch(blocks.iter().take(AHEAD_BLOCKS))?;
                Ok(Step::Blocks(index, blocks))
            }
            None => Ok(Step::Whole(segment)),
        }
    }

    /// The blocks that can have wanted records; `None` if the index cannot tell.
    fn wanted(self, index: &Index) -> io::Result<Option<Vec<u64>>> {
        let mut lists = self.filter.keys();
        if let Some(wants) = self.filter.wants_kind() {
            let kinds = index.head.events.keys().filter_map(|kind| kind.split_once(' '));
            let kinds = kinds.filter(|(event, outcome)| wants(event, outcome));
            let events: BTreeSet<_> = kinds.map(|(event, _)| event).collect();
            lists.push(events.into_iter().map(Key::Event).collect());
        }
        let mut blocks: Option<Vec<u64>> = None;
        for keys in lists {
            let mut found = Vec::new();
            for key in keys {
                found.append(&mut index.blocks_with(key)?);
            }
            found.sort_unstable();
            found.dedup();
            if let Some(before) = blocks {
                found.retain(|block| before.binary_search(block).is_ok());
            }
            blocks = Some(found);
        }
        Ok(blocks)
    }
}

/// What the disk is asked for before anybody waits for it: with blocks of 32 KiB, a few mebibytes of each segment at most.
const AHEAD_BLOCKS: usize = 512;
