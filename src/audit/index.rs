//! The index beside a closed segment: what a question needs to leave most of it unread. It is derived: [`build()`] makes it again.
//!
//! | part | what |
//! |---|---|
//! | first line | JSON ([`Head`]): numbers, times, counts, and how long the parts behind it are |
//! | blocks | where each block of records begins in the file of records, and where the last one ends: 8 bytes each |
//! | keys | in order, 12 bytes each: the first eight bytes of the SHA-256 of a letter and a value, and where its list begins |
//! | lists | the blocks that have a key, ascending, each as its distance from the one before ([LEB128][leb]) |
//!
//! A look begins where the key is to be expected, since hashes are spread evenly; nothing is read whole. Blocks are small, because a block is what one hit costs; they
//! are no smaller, because compression loses by it: 32 KiB compress to a tenth more than a mebibyte does, and 16 KiB to a
//! quarter more.
//!
//! [leb]: https://en.wikipedia.org/wiki/LEB128

mod build;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::Advice;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

pub use self::build::Form;
pub use self::build::build;
pub use self::build::build_of;
use crate::audit::segment::Segment;

/// What stands in the first line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Head {
    /// The version of this format: 2.
    pub v: u8,
    /// The segment's name.
    pub segment: String,
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// The earliest time of a record.
    pub from: String,
    /// The latest time of a record.
    pub to: String,
    /// The digest of the file of records: SHA-256 in hex digits.
    pub sha256: String,
    /// How many records there are of each event and outcome.
    pub events: BTreeMap<String, u64>,
    /// Whether blocks are compressed.
    pub packed: bool,
    /// How many blocks there are.
    pub blocks: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How many bytes the lists have.
    pub lists: u64,
    /// Whether there are no keys because there would be too many: it must be read whole.
    #[serde(default)]
    pub unkeyed: bool,
}

impl Head {
    /// The file that its blocks stand in.
    fn records(&self, segment: &Segment) -> PathBuf {
        if self.packed { segment.packed() } else { segment.plain() }
    }

    /// What stands behind the first line, in bytes.
    fn rest(&self) -> Option<u64> {
        let blocks = self.blocks.checked_add(1)?.checked_mul(PLACE_BYTES)?;
        // one more entry tells where the last list ends
        let keys = self.keys.checked_add(1)?.checked_mul(KEY_BYTES)?;
        blocks.checked_add(keys)?.checked_add(self.lists)
    }
}

/// An open index, and the file that it is about.
#[derive(Debug)]
pub struct Index {
    /// Its first line.
    pub head: Head,
    file: File,
    records: File,
    /// Where the blocks begin.
    start: u64,
}

/// What a question may look for by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A principal, as it is written.
    Actor(&'a str),
    /// A module path.
    Module(&'a str),
    /// A path, and whatever module stands there or below it.
    Below(&'a str),
    /// A rule's id.
    Rule(&'a str),
    /// An address.
    Source(&'a str),
    /// An event's name.
    Event(&'a str),
}

impl<'a> Key<'a> {
    /// A path, or the path above it that has as many elements as are told apart: somebody who asks for very long paths makes
    /// no index of millions.
    pub fn below(path: &'a str) -> Self {
        Self::Below(top(path))
    }

    const fn parts(self) -> (u8, &'a str) {
        match self {
            Self::Actor(name) => (b'a', name),
            Self::Module(path) => (b'm', path),
            Self::Below(path) => (b'b', path),
            Self::Rule(id) => (b'r', id),
            Self::Source(ip) => (b's', ip),
            Self::Event(name) => (b'e', name),
        }
    }

    const fn value(self) -> &'a str {
        self.parts().1
    }

    /// The number that stands for it in an index.
    pub fn hash(self) -> u64 {
        let (letter, value) = self.parts();
        let mut hash = Sha256::new();
        hash.update([letter]);
        hash.update(value);
        let digest: [u8; 32] = hash.finalize().into();
        digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

impl Index {
    /// Opens a segment's index, and makes it first if it is missing or of another version.
    pub fn open(segment: &Segment) -> io::Result<Self> {
        if let Ok(index) = Self::read(segment) {
            return Ok(index);
        }
        build(segment)?;
        Self::read(segment)
    }

    /// Opens an index that is there and about a file that is there.
    pub fn read(segment: &Segment) -> io::Result<Self> {
        let file = File::open(segment.index())?;
        let mut line = Vec::new();
        io::BufReader::new(&file).take(HEAD_BYTES).read_until(b'\n', &mut line)?;
        let head: Head = serde_json::from_slice(&line)?;
        let start = line.len() as u64;
        let whole = head.rest().and_then(|rest| rest.checked_add(start));
        if head.v != VERSION || whole != Some(file.metadata()?.len()) {
            return Err(spoilt("the index is of another version, or cut"));
        }
        // the same file counts for everybody: the plain one, while it is there
        if head.packed && segment.plain().exists() {
            return Err(spoilt("the index is about a copy of the segment"));
        }
        // one that was made before the segment was compressed may be about a file that is gone
        let records = File::open(head.records(segment))?;
        let index = Self { head, file, records, start };
        let (end, len) = (index.offset(index.head.blocks)?, index.records_bytes()?);
        if end == len { Ok(index) } else { Err(spoilt("the index is about another file")) }
    }

    /// How large the file of records is, compressed as it may be.
    pub fn records_bytes(&self) -> io::Result<u64> {
        Ok(self.records.metadata()?.len())
    }

    /// The blocks that hold a key, by its [`Key::hash`], in order.
    pub fn blocks_with(&self, wanted: u64) -> io::Result<Vec<u64>> {
        let (mut low, mut high) = (0, self.head.keys);
        // hashes are spread evenly, so the first look is nearly at the place, and the next ones are in the same page
        let mut look = guess(wanted, self.head.keys);
        let mut step = 1;
        while low < high {
            let (found, list) = self.key(look)?;
            look = match found.cmp(&wanted) {
                std::cmp::Ordering::Less => {
                    low = look + 1;
                    look.saturating_add(step)
                }
                std::cmp::Ordering::Greater => {
                    high = look;
                    look.saturating_sub(step)
                }
                std::cmp::Ordering::Equal => {
                    let (_, end) = self.key(look + 1)?;
                    return self.list(list, end);
                }
            };
            step = step.saturating_mul(2);
            // both ends are near by now, or the steps have passed one of them
            if !(low..high).contains(&look) {
                look = low + (high - low) / 2;
            }
        }
        Ok(Vec::new())
    }

    fn key(&self, number: u64) -> io::Result<(u64, u32)> {
        let mut entry = [0; 12];
        let keys = self.start + (self.head.blocks + 1) * PLACE_BYTES;
        self.file.read_exact_at(&mut entry, keys + number * KEY_BYTES)?;
        let [hash @ .., a, b, c, d] = entry;
        Ok((u64::from_be_bytes(hash), u32::from_le_bytes([a, b, c, d])))
    }

    fn list(&self, from: u32, to: u32) -> io::Result<Vec<u64>> {
        let len = to.checked_sub(from).filter(|_| u64::from(to) <= self.head.lists);
        // a list names a block once, in a few bytes
        let len = len.filter(|len| u64::from(*len) / LONGEST_NUMBER <= self.head.blocks);
        let len = len.ok_or_else(|| spoilt("a list of the index is outside it"))?;
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let lists =
            self.start + (self.head.blocks + 1) * PLACE_BYTES + (self.head.keys + 1) * KEY_BYTES;
        self.file.read_exact_at(&mut bytes, lists + u64::from(from))?;
        distances(&bytes).ok_or_else(|| spoilt("a list of the index is cut"))
    }

    /// Has the disk fetch what will be read, up to so many bytes: many at once take a fraction of one after the other.
    pub fn prefetch(&self, blocks: &[u64], bytes: usize) -> io::Result<()> {
        let mut left = bytes;
        for block in blocks {
            let (offset, len) = self.place(*block)?;
            let Some(less) = left.checked_sub(len) else { break };
            left = less;
            let len = std::num::NonZeroU64::new(len as u64);
            // a file system that takes no advice is read all the same
            let _advised = rustix::fs::fadvise(&self.records, offset, len, Advice::WillNeed);
        }
        Ok(())
    }

    /// Where a block stands: offset and length.
    fn place(&self, block: u64) -> io::Result<(u64, usize)> {
        let (from, to) = (self.offset(block)?, self.offset(block + 1)?);
        let len = to.checked_sub(from).and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|len| *len <= LARGEST_BLOCK_BYTES);
        Ok((from, len.ok_or_else(|| spoilt("the index names a block of an impossible length"))?))
    }

    /// Where a block begins; behind the last one, where that ends.
    fn offset(&self, block: u64) -> io::Result<u64> {
        if block > self.head.blocks {
            return Err(spoilt("the index names a block that is not there"));
        }
        let mut entry = [0; 8];
        self.file.read_exact_at(&mut entry, self.start + block * PLACE_BYTES)?;
        Ok(u64::from_le_bytes(entry))
    }
}

/// Reads blocks one after the other into the same memory.
pub struct Reader {
    inflate: zstd::bulk::Decompressor<'static>,
    raw: Vec<u8>,
    block: Vec<u8>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new() -> io::Result<Self> {
        let inflate = zstd::bulk::Decompressor::new()?;
        Ok(Self { inflate, raw: Vec::new(), block: Vec::new() })
    }

    /// The records of one block.
    pub fn read(&mut self, index: &Index, block: u64) -> io::Result<&[u8]> {
        let (offset, len) = index.place(block)?;
        self.raw.resize(len, 0);
        index.records.read_exact_at(&mut self.raw, offset)?;
        if !index.head.packed {
            return Ok(&self.raw);
        }
        inflate(&mut self.inflate, &self.raw, &mut self.block)?;
        Ok(&self.block)
    }
}

/// Inflates a block.
fn inflate(
    with: &mut zstd::bulk::Decompressor<'_>,
    frame: &[u8],
    block: &mut Vec<u8>,
) -> io::Result<()> {
    block.clear();
    // the room that is there is what may be filled
    block.reserve(LARGEST_BLOCK_BYTES);
    with.decompress_to_buffer(frame, block)?;
    Ok(())
}

/// Reads whole lines until there are so many bytes; nothing at the end. Half a line at the end is left out; a line that is
/// longer than any record is an error, since it might have no end.
pub fn read_lines(lines: &mut impl BufRead, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
    while into.len() < bytes {
        let before = into.len();
        lines.by_ref().take(LONGEST_LINE_BYTES).read_until(b'\n', into)?;
        if into.len() == before {
            break;
        }
        if into.last() != Some(&b'\n') {
            let len = (into.len() - before) as u64;
            into.truncate(before);
            return if len < LONGEST_LINE_BYTES {
                Ok(())
            } else {
                Err(spoilt("a line is no record"))
            };
        }
    }
    Ok(())
}

/// Where among so many evenly spread hashes one is to be expected.
fn guess(hash: u64, keys: u64) -> u64 {
    let place = (u128::from(hash) * u128::from(keys)) >> 64;
    u64::try_from(place).unwrap_or(0)
}

fn top(path: &str) -> &str {
    let end = path.match_indices('/').nth(LEVELS - 1).map_or(path.len(), |(at, _)| at);
    path.get(..end).unwrap_or(path)
}

/// Adds a number in LEB128.
fn put(mut number: u64, into: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        if number < 0x80 {
            into.push(low);
            return;
        }
        into.push(low | 0x80);
        number >>= 7;
    }
}

/// Reads distances in LEB128, and adds them up; `None` if the last one is cut, or too large.
fn distances(bytes: &[u8]) -> Option<Vec<u64>> {
    let (mut found, mut last, mut number, mut shift) = (Vec::new(), 0_u64, 0_u64, 0);
    for byte in bytes {
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            // only the first may be at no distance
            if number == 0 && !found.is_empty() {
                return None;
            }
            last = last.checked_add(number)?;
            found.push(last);
            (number, shift) = (0, 0);
        }
    }
    (shift == 0).then_some(found)
}

fn spoilt(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// About so many bytes of records are compressed together.
pub const BLOCK_BYTES: usize = 32 << 10;
/// A block ends with a whole record, and a record is 8 KiB at most; blocks were a mebibyte once.
const LARGEST_BLOCK_BYTES: usize = (1 << 20) + (64 << 10);
/// All events and outcomes.
const HEAD_BYTES: u64 = 1 << 20;
/// A record is 8 KiB at most.
const LONGEST_LINE_BYTES: u64 = 64 << 10;
/// Elements of a path that keys tell apart.
const LEVELS: usize = 8;
/// Keys of an index: some hundred megabytes while it is made.
const MOST_KEYS: usize = 1 << 20;
/// A number of blocks is never longer in LEB128.
const LONGEST_NUMBER: u64 = 10;
const PLACE_BYTES: u64 = 8;
const KEY_BYTES: u64 = 12;
const VERSION: u8 = 2;
