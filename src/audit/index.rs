//! The index beside a closed segment: what a query needs to leave most of it unread. It is derived: [`build`] makes it again.
//!
//! The first line is JSON ([`Head`]): numbers, times, counts, and where each block of about a mebibyte begins. Then come the
//! keys in order, each of the same length: the first eight bytes of the SHA-256 of `a` and a principal, or `m` and a module
//! path, and one bit for each block that has it. A look is a binary search in the file; nothing is read whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;

use crate::audit::keeper;
use crate::audit::segment::Segment;

/// What stands in the first line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Head {
    /// The version of this format: 1.
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
    /// The digest of the file of records: SHA-256 in base64url.
    pub sha256: String,
    /// How many records there are of each event and outcome.
    pub events: BTreeMap<String, u64>,
    /// Offset and length of each block in the file of records.
    pub blocks: Vec<(u64, u64)>,
    /// Whether blocks are compressed.
    pub packed: bool,
    /// How many keys follow.
    pub keys: u64,
}

impl Head {
    /// The file that its blocks stand in.
    fn records(&self, segment: &Segment) -> PathBuf {
        if self.packed { segment.packed() } else { segment.plain() }
    }
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    /// Its first line.
    pub head: Head,
    file: File,
    /// Where the keys begin.
    start: u64,
}

/// What a query may look for by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A principal, as it is written.
    Actor(&'a str),
    /// A module path.
    Module(&'a str),
}

impl Key<'_> {
    fn hash(self) -> u64 {
        let mut hash = Sha256::new();
        match self {
            Self::Actor(name) => hash.update([b"a", name.as_bytes()].concat()),
            Self::Module(path) => hash.update([b"m", path.as_bytes()].concat()),
        }
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
        build(segment, None)?;
        Self::read(segment)
    }

    fn read(segment: &Segment) -> io::Result<Self> {
        let file = File::open(segment.index())?;
        let mut line = Vec::new();
        io::BufReader::new(&file).take(HEAD_BYTES).read_until(b'\n', &mut line)?;
        let head: Head = serde_json::from_slice(&line)?;
        let start = line.len() as u64;
        let whole = file.metadata()?.len() == start + head.keys * entry_bytes(head.blocks.len());
        // one that was made while the segment was being compressed may be about a file that is gone
        if head.v == VERSION && whole && head.records(segment).exists() {
            return Ok(Self { head, file, start });
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the index is of another version, cut, or of another file",
        ))
    }

    /// The blocks that hold a key: one bit each, the lowest first; `None` if none does.
    pub fn blocks_with(&self, key: Key<'_>) -> io::Result<Option<Vec<usize>>> {
        let (wanted, width) = (key.hash(), entry_bytes(self.head.blocks.len()));
        let (mut low, mut high) = (0, self.head.keys);
        let mut entry = vec![0; usize::try_from(width).unwrap_or(8)];
        while low < high {
            let middle = low + (high - low) / 2;
            self.file.read_exact_at(&mut entry, self.start + middle * width)?;
            let (found, bits) = entry
                .split_first_chunk()
                .map_or((0, &[][..]), |(first, rest)| (u64::from_be_bytes(*first), rest));
            match found.cmp(&wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(places(bits))),
            }
        }
        Ok(None)
    }

    /// The records of one block.
    pub fn read_block(&self, segment: &Segment, block: usize) -> io::Result<Vec<u8>> {
        let missing = || {
            io::Error::new(io::ErrorKind::InvalidData, "the index names a block that is not there")
        };
        let (offset, len) = *self.head.blocks.get(block).ok_or_else(missing)?;
        let path = self.head.records(segment);
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| missing())?];
        File::open(path)?.read_exact_at(&mut bytes, offset)?;
        if self.head.packed {
            return zstd::bulk::decompress(&bytes, LARGEST_BLOCK_BYTES);
        }
        Ok(bytes)
    }
}

fn places(bits: &[u8]) -> Vec<usize> {
    (0..bits.len() * 8)
        .filter(|at| bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1))
        .collect()
}

/// A hash and a bit for each block.
const fn entry_bytes(blocks: usize) -> u64 {
    8 + (blocks as u64).div_ceil(8)
}

/// Makes the index of a segment, for which its records are read once. `packed` tells where the blocks of a compressed file
/// stand; without it they are found.
pub fn build(segment: &Segment, packed: Option<Vec<(u64, u64)>>) -> io::Result<()> {
    let is_packed = packed.is_some() || !segment.plain().exists();
    let mut head = Head {
        v: VERSION,
        segment: segment.stem.clone(),
        first: segment.first,
        last: segment.first.saturating_sub(1),
        packed: is_packed,
        ..Head::default()
    };
    let mut keys: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let (mut records, mut block, mut at) = (segment.open()?, Vec::new(), 0);
    loop {
        block.clear();
        read_block(&mut records, &mut block)?;
        if block.is_empty() {
            break;
        }
        note_block(&block, head.blocks.len(), &mut head, &mut keys);
        head.blocks.push((at, block.len() as u64));
        at += block.len() as u64;
    }
    if is_packed {
        head.blocks = match packed {
            Some(blocks) => blocks,
            None => frames(segment)?,
        };
    }
    let path = if is_packed { segment.packed() } else { segment.plain() };
    head.sha256 = keeper::digest(&path)?;
    head.keys = keys.len() as u64;
    write(segment, &head, &keys)
}

fn note_block(block: &[u8], number: usize, head: &mut Head, keys: &mut BTreeMap<u64, Vec<usize>>) {
    for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(record) = serde_json::from_slice::<Value>(line) else { continue };
        let text = |path: &str| record.pointer(path).and_then(Value::as_str);
        head.last = record.get("seq").and_then(Value::as_u64).unwrap_or(head.last);
        if let Some(time) = text("/time") {
            if head.from.is_empty() || time < head.from.as_str() {
                time.clone_into(&mut head.from);
            }
            if time > head.to.as_str() {
                time.clone_into(&mut head.to);
            }
        }
        let name = format!(
            "{} {}",
            text("/event").unwrap_or_default(),
            text("/outcome").unwrap_or_default()
        );
        *head.events.entry(name).or_default() += 1;
        let actor = text("/actor/id").map(Key::Actor);
        let module = text("/resource/module").map(Key::Module);
        for key in [actor, module].into_iter().flatten() {
            let blocks = keys.entry(key.hash()).or_default();
            if blocks.last() != Some(&number) {
                blocks.push(number);
            }
        }
    }
}

fn write(segment: &Segment, head: &Head, keys: &BTreeMap<u64, Vec<usize>>) -> io::Result<()> {
    // the keeper, a question and a command may make it at the same time
    let name = format!("{}.idx-{}", segment.stem, uuid::Uuid::now_v7().simple());
    let staged = segment.directory.join(name);
    let mut file = io::BufWriter::new(File::create(&staged)?);
    serde_json::to_writer(&mut file, head)?;
    file.write_all(b"\n")?;
    let width = usize::try_from(entry_bytes(head.blocks.len())).unwrap_or(8) - 8;
    for (hash, blocks) in keys {
        let mut bits = vec![0_u8; width];
        for block in blocks {
            if let Some(byte) = bits.get_mut(block / 8) {
                *byte |= 1 << (block % 8);
            }
        }
        file.write_all(&hash.to_be_bytes())?;
        file.write_all(&bits)?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&staged, segment.index())
}

/// Reads whole lines until a block is full; nothing at the end. Half a line at the end is left out.
pub fn read_block(lines: &mut impl BufRead, block: &mut Vec<u8>) -> io::Result<()> {
    while block.len() < BLOCK_BYTES {
        let before = block.len();
        lines.read_until(b'\n', block)?;
        if block.len() == before {
            break;
        }
        if block.last() != Some(&b'\n') {
            block.truncate(before);
            break;
        }
    }
    Ok(())
}

/// Where the frames of a compressed segment stand, found by their own headers.
fn frames(segment: &Segment) -> io::Result<Vec<(u64, u64)>> {
    let bytes = std::fs::read(segment.packed())?;
    let (mut at, mut found) = (0, Vec::new());
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let len = zstd::zstd_safe::find_frame_compressed_size(rest).map_err(|_code| {
            io::Error::new(io::ErrorKind::InvalidData, "a compressed block is cut")
        })?;
        found.push((at as u64, len as u64));
        at += len;
    }
    Ok(found)
}

/// About so many bytes of records are compressed together.
pub const BLOCK_BYTES: usize = 1 << 20;
/// A block ends with a whole record, and a record is 8 KiB at most.
const LARGEST_BLOCK_BYTES: usize = BLOCK_BYTES + (64 << 10);
/// A thousand blocks and all events.
const HEAD_BYTES: u64 = 1 << 20;
const VERSION: u8 = 1;
