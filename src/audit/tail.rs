//! The end of the log, and what is added to it while somebody watches: the newest segment is read once, then what is added.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::io;
use std::io::BufRead as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::audit::query::text;
use crate::audit::segment::Segment;
use crate::audit::verify;

/// A record: its line, and decoded.
pub type Shown = (String, Value);

/// Where somebody stands in the log of each node.
#[derive(Debug)]
pub struct Tail {
    directories: Vec<PathBuf>,
    nodes: BTreeMap<String, Place>,
}

/// Behind the last record that was shown: the segment, by its first record, and bytes of it.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    first: u64,
    bytes: u64,
}

impl Tail {
    /// Stands at the end of each log, and gives the last records before it: so many of all nodes together, in order of time.
    pub fn last(directories: Vec<PathBuf>, count: usize) -> io::Result<(Self, Vec<Shown>)> {
        let (mut nodes, mut found) = (BTreeMap::new(), Vec::new());
        for node in verify::nodes(&directories)? {
            let (mut place, mut last) = (None, VecDeque::new());
            for segment in verify::segments(&directories, &node)?.iter().rev() {
                let mut lines = VecDeque::new();
                let missing = count - last.len();
                let bytes = read(segment, 0, &mut |line| {
                    lines.push_back(line);
                    if lines.len() > missing {
                        lines.pop_front();
                    }
                })?;
                lines.append(&mut last);
                last = lines;
                place.get_or_insert(Place { first: segment.first, bytes });
                if last.len() >= count {
                    break;
                }
            }
            nodes.insert(node, place.unwrap_or_default());
            found.extend(last.into_iter().filter_map(decoded));
        }
        let mut found = in_order(found);
        found.drain(..found.len().saturating_sub(count));
        Ok((Self { directories, nodes }, found))
    }

    /// What was added since, in order of time.
    pub fn more(&mut self) -> io::Result<Vec<Shown>> {
        let mut found = Vec::new();
        for node in verify::nodes(&self.directories)? {
            let segments = verify::segments(&self.directories, &node)?;
            let place = self.nodes.entry(node).or_default();
            let stood = *place;
            for segment in segments.iter().filter(|segment| segment.first >= stood.first) {
                let seen = if segment.first == stood.first { stood.bytes } else { 0 };
                let bytes = read(segment, seen, &mut |line| found.extend(decoded(line)))?;
                *place = Place { first: segment.first, bytes };
            }
        }
        Ok(in_order(found))
    }
}

/// Reads whole lines from a place on, and gives the place behind them.
fn read(segment: &Segment, from: u64, each: &mut dyn FnMut(Vec<u8>)) -> io::Result<u64> {
    let (mut lines, mut at) = (segment.open_at(from)?, from);
    loop {
        let mut line = Vec::new();
        let len = lines.read_until(b'\n', &mut line)? as u64;
        // half a line is still being written
        if line.pop() != Some(b'\n') {
            return Ok(at);
        }
        at += len;
        each(line);
    }
}

/// What is no record is for verification to find.
fn decoded(line: Vec<u8>) -> Option<Shown> {
    let record = serde_json::from_slice(&line).ok()?;
    Some((String::from_utf8(line).ok()?, record))
}

fn in_order(mut records: Vec<Shown>) -> Vec<Shown> {
    // stable: the records of one node stay in order of their numbers while its clock stands still
    records.sort_by(|a, b| text(&a.1, "/time").cmp(&text(&b.1, "/time")));
    records
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::audit::keeper;
    use crate::config::audit::Packing;

    #[test]
    fn a_tail_shows_the_last_records_of_all_nodes_and_follows_across_segments() {
        let directory = tempfile::tempdir().unwrap();
        let boot = "0191".repeat(8);
        let segment = |node: &str, first| Segment::new(directory.path(), node, &boot, first);
        let add = |segment: &Segment, seqs: std::ops::Range<u64>| {
            let options =
                std::fs::OpenOptions::new().append(true).create(true).open(segment.plain());
            let mut file = options.unwrap();
            for seq in seqs {
                let node = &segment.node;
                writeln!(file, r#"{{"seq":{seq},"node":"{node}","time":"t{seq:04}"}}"#).unwrap();
            }
            file
        };
        let seqs = |shown: &[Shown]| -> Vec<u64> {
            shown.iter().map(|(_, record)| record["seq"].as_u64().unwrap()).collect()
        };
        add(&segment("a", 1), 1..10);
        add(&segment("a", 10), 10..12);
        let mut half = add(&segment("b", 1), 3..11);
        write!(half, r#"{{"seq":11,"#).unwrap();
        keeper::close(&segment("a", 1), Packing::Compress).unwrap();
        let (mut tail, last) = Tail::last(vec![directory.path().to_owned()], 5).unwrap();
        assert_eq!(seqs(&last), [8, 9, 9, 10, 10, 11][1..]);
        assert!(tail.more().unwrap().is_empty());
        writeln!(half, r#""node":"b","time":"t0011"}}"#).unwrap();
        add(&segment("a", 10), 12..13);
        add(&segment("a", 13), 13..15);
        assert_eq!(seqs(&tail.more().unwrap()), [11, 12, 13, 14]);
        // compressed behind the reader's back, after something was added
        add(&segment("a", 13), 15..16);
        keeper::close(&segment("a", 13), Packing::Compress).unwrap();
        assert_eq!(seqs(&tail.more().unwrap()), [15]);
        let (mut tail, none) = Tail::last(vec![directory.path().to_owned()], 0).unwrap();
        assert!(none.is_empty() && tail.more().unwrap().is_empty());
        let (_, all) = Tail::last(vec![directory.path().to_owned()], 100).unwrap();
        assert_eq!(all.len(), 15 + 9);
    }
}
