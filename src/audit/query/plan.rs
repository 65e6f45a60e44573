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
use crate::audit::query::Indexes;
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
#[derive(Debug)]
pub(in crate::audit::query) struct Planner<'a> {
    directories: &'a [PathBuf],
    filter: &'a Filter,
    indexes: Indexes,
    /// A wanted record has one key of each list.
    lists: Vec<Vec<u64>>,
}

impl<'a> Planner<'a> {
    pub(in crate::audit::query) fn new(
        directories: &'a [PathBuf],
        filter: &'a Filter,
        indexes: Indexes,
    ) -> Self {
        let hashes = |keys: Vec<Key<'_>>| keys.into_iter().map(Key::hash).collect();
        let lists = filter.keys().into_iter().map(hashes).collect();
        Self { directories, filter, indexes, lists }
    }

    /// Plans every segment, node by node, in order, until there are no more or nobody takes them.
    pub(in crate::audit::query) fn run(&self, steps: &SyncSender<io::Result<Step>>) {
        if let Err(error) = self.all(steps) {
            // whoever reads has enough, if it cannot be told
            let _enough = steps.send(Err(error));
        }
    }

    fn all(&self, steps: &SyncSender<io::Result<Step>>) -> io::Result<()> {
        for node in verify::nodes(self.directories)? {
            let segments = verify::segments(self.directories, &node)?;
            let count = segments.len();
            for (place, segment) in segments.into_iter().enumerate() {
                let is_being_written = place + 1 == count && segment.plain().exists();
                let step =
                    if is_being_written { Step::Whole(segment) } else { self.closed(segment) };
                if steps.send(Ok(step)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whatever is wrong with an index, the segment itself can be read: by an auditor who may write none, too.
    fn closed(&self, segment: Segment) -> Step {
        let index = match self.indexes {
            Indexes::Make => Index::open(&segment),
            Indexes::IfThere => Index::read(&segment),
            Indexes::Ignore => return Step::Whole(segment),
        };
        let Ok(index) = index else { return Step::Whole(segment) };
        let (from, to) = (&index.head.from, &index.head.to);
        if !self.filter.overlaps(from, to) {
            return Step::Skip;
        }
        if self.filter.covers(from, to) {
            return Step::Counted(index.head.events, Box::new(Step::Whole(segment)));
        }
        match self.wanted(&index) {
            Ok(Some(blocks)) if blocks.is_empty() => Step::Skip,
            Ok(Some(blocks)) if index.prefetch(&blocks, AHEAD_BYTES).is_ok() => {
                Step::Blocks(index, blocks)
            }
            _ => Step::Whole(segment),
        }
    }

    /// The blocks that can have wanted records; `None` if the index cannot tell.
    fn wanted(&self, index: &Index) -> io::Result<Option<Vec<u64>>> {
        if index.head.unkeyed {
            return Ok(None);
        }
        let events = self.filter.wants_kind().map(|wants| {
            let kinds = index.head.events.keys().filter_map(|kind| kind.split_once(' '));
            let kinds = kinds.filter(|(event, outcome)| wants(event, outcome));
            let events: BTreeSet<_> = kinds.map(|(event, _)| event).collect();
            events.into_iter().map(|event| Key::Event(event).hash()).collect::<Vec<u64>>()
        });
        let mut blocks: Option<Vec<u64>> = None;
        for keys in self.lists.iter().chain(&events) {
            let mut found = Vec::new();
            for key in keys {
                found.append(&mut index.blocks_with(*key)?);
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

/// What the disk is asked for of each segment before anybody waits for it.
const AHEAD_BYTES: usize = 8 << 20;
