//! Where the log stood when the gateway ended: read back from its newest segment, so that one log goes on for ever.
//!
//! The first record of each segment holds what the tree and the chain were before it, so the newest segment is enough.
//! Half a line at its end was never acknowledged: it is cut off, and the first record of the new segment says so.

use std::fs::OpenOptions;
use std::io;
use std::io::BufRead as _;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::audit::chain;
use crate::audit::chain::Chain;
use crate::audit::segment;
use crate::audit::segment::Segment;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note;
use crate::tlog::note::Note;
use crate::tlog::tree;
use crate::tlog::tree::Edge;
use crate::tlog::tree::Growth;

/// What there was before.
#[derive(Debug, Default)]
pub(in crate::audit) struct Before {
    /// Where the log stood.
    pub(in crate::audit) chain: Chain,
    /// The boot that wrote last.
    pub(in crate::audit) boot: Option<String>,
    /// Whether it said that it stopped.
    pub(in crate::audit) stopped: bool,
    /// Bytes of half a line that were cut off.
    pub(in crate::audit) cut: u64,
    /// A line that does not continue the chain; everything behind it was taken as it stands.
    pub(in crate::audit) broken_at: Option<u64>,
    /// The checkpoints beside the segment, oldest first, and how the log grew up to each.
    pub(in crate::audit) steps: Vec<(String, Growth)>,
    /// How it grew since the last of them, or since the segment's beginning.
    pub(in crate::audit) growth: Growth,
    /// Directories that did not tell in time what they hold.
    pub(in crate::audit) unread: Vec<PathBuf>,
}

/// Reads where a node's log stood as one directory knows it.
pub(in crate::audit) fn recover(directory: &Path, node: &str) -> io::Result<Before> {
    let of_node = segment::list(directory)?;
    let there = of_node.into_iter().filter(|found| found.node == node && found.is_there());
    let mut cut = 0;
    for newest in there.rev() {
        let notes = std::fs::read_to_string(newest.checkpoints()).unwrap_or_default();
        let before = replay(&newest, note::split(&notes))?;
        cut += cut_tail(&newest)?;
        // one that was begun on a full disk holds no record, and says nothing of where the log stood
        if before.chain.next() > newest.first {
            return Ok(Before { cut, boot: Some(newest.boot), ..before });
        }
    }
    Ok(Before { cut, ..Before::default() })
}

/// The one of several directories that knows more; all of them say how much was cut off.
pub(in crate::audit) fn newest(known: Vec<Before>) -> Before {
    let cut = known.iter().map(|before| before.cut).max().unwrap_or(0);
    let more = |before: &Before| {
        (before.chain.next(), before.broken_at.is_none(), before.steps.len(), before.boot.is_some())
    };
    Before { cut, ..known.into_iter().max_by_key(more).unwrap_or_default() }
}

/// Follows a segment from its first line to its last whole one, and the notes beside it.
fn replay(segment: &Segment, notes: Vec<&str>) -> io::Result<Before> {
    let mut before = Before::default();
    let size = |note: &str| Some(Checkpoint::parse(&Note::parse(note).ok()?.text)?.size);
    let mut notes = notes.into_iter().filter_map(|note| Some((note, size(note)?))).peekable();
    let (mut lines, mut line, mut is_first) = (segment.open()?, Vec::new(), true);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 || line.pop() != Some(b'\n') {
            return Ok(before);
        }
        if is_first {
            before.chain = opening(&line).unwrap_or_else(|| at(segment.first));
            before.growth = Growth::of(before.chain.edge.clone());
            is_first = false;
        }
        if before.chain.follow(&line).is_err() {
            before.broken_at.get_or_insert_with(|| before.chain.next());
            if let Some((_, value)) = chain::open(&line) {
                before.chain.last = value;
            }
            before.chain.edge.push(tree::leaf(&line));
        }
        before.growth.push(tree::leaf(&line));
        let edge = &before.chain.edge;
        while let Some((note, _)) = notes.next_if(|(_, size)| *size <= edge.size()) {
            let step = std::mem::replace(&mut before.growth, Growth::of(edge.clone()));
            before.steps.push((note.to_owned(), step));
        }
        before.stopped = chain::event(&line) == Some("audit.stop");
    }
}

/// The log before the first record of a segment, as that record tells it.
pub(in crate::audit) fn opening(line: &[u8]) -> Option<Chain> {
    let record: Value = serde_json::from_slice(line).ok()?;
    let text = |member: &str| record.get("detail")?.get(member)?.as_str();
    let size = text("tree_size")?.parse().ok().filter(|size| *size <= chain::MOST_RECORDS)?;
    let hash = |text: &str| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok();
    let roots: Option<Vec<_>> = text("tree_edge")?.split_whitespace().map(hash).collect();
    let last = chain::value_of(text("chain_before")?.as_bytes())?;
    Some(Chain { last, edge: Edge::restore(size, roots?)? })
}

/// A log whose past is not known: the numbers go on, and no checkpoint will fit, which is what verification says.
fn at(first: u64) -> Chain {
    let size = first.saturating_sub(1).min(chain::MOST_RECORDS);
    let roots = vec![[0; 32]; usize::try_from(size.count_ones()).unwrap_or(0)];
    Chain { last: [0; 32], edge: Edge::restore(size, roots).unwrap_or_default() }
}

/// Cuts half a line off the end of a segment; how many bytes it had.
fn cut_tail(segment: &Segment) -> io::Result<u64> {
    let path = segment.plain();
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut reader = io::BufReader::new(&file);
    let (mut whole, mut line) = (0_u64, Vec::new());
    loop {
        line.clear();
        let len = reader.read_until(b'\n', &mut line)?;
        if len == 0 || line.last() != Some(&b'\n') {
            if len > 0 {
                file.set_len(whole)?;
            }
            return Ok(len as u64);
        }
        whole += len as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_holds_no_record_says_nothing_of_where_the_log_stood() {
        let directory = tempfile::tempdir().unwrap();
        let mut chain = Chain::default();
        let mut text = Vec::new();
        for _ in 0..3 {
            let mut line = b"{\"event\":\"audit.start\"}".to_vec();
            chain.seal(&mut line);
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        let segment =
            |boot: &str, first| Segment::new(directory.path(), "gw", &boot.repeat(32), first);
        std::fs::write(segment("0", 1).plain(), &text).unwrap();
        // begun on a full disk, twice; once half a line got there
        std::fs::write(segment("1", 4).plain(), "").unwrap();
        std::fs::write(segment("2", 4).plain(), "{\"seq").unwrap();
        let before = recover(directory.path(), "gw").unwrap();
        assert_eq!((before.chain.next(), before.cut), (4, 5));
        assert_eq!(before.boot, Some("0".repeat(32)));
        assert_eq!(before.chain.last, chain.last);
        assert_eq!(std::fs::metadata(segment("2", 4).plain()).unwrap().len(), 0);
    }
}
