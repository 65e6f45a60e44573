//! Making an index, for which a segment's records are read once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde::Deserialize;
use serde_json::Value;

use crate::audit::index::BLOCK_BYTES;
use crate::audit::index::Head;
use crate::audit::index::Key;
use crate::audit::index::LARGEST_BLOCK_BYTES;
use crate::audit::index::MOST_KEYS;
use crate::audit::index::VERSION;
use crate::audit::index::inflate;
use crate::audit::index::put;
use crate::audit::index::read_lines;
use crate::audit::index::spoilt;
use crate::audit::index::top;
use crate::audit::keeper;
use crate::audit::segment::Segment;

/// Makes the index of a segment: of its plain file while that is there, else of the compressed one.
pub fn build(segment: &Segment) -> io::Result<()> {
    build_of(segment, if segment.plain().exists() { Form::Plain } else { Form::Packed })
}

/// Which file of a segment is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines as they are written, in blocks of whole lines.
    Plain,
    /// Compressed, frame by frame; each frame is a block.
    Packed,
}

/// Makes the index of one file of a segment.
pub fn build_of(segment: &Segment, form: Form) -> io::Result<()> {
    let head = Head {
        v: VERSION,
        segment: segment.stem.clone(),
        first: segment.first,
        last: segment.first.saturating_sub(1),
        packed: form == Form::Packed,
        ..Head::default()
    };
    let mut made = Making { head, places: Vec::new(), keys: HashMap::new() };
    match form {
        Form::Packed => made.frames(File::open(segment.packed())?)?,
        Form::Plain => made.lines(File::open(segment.plain())?)?,
    }
    made.head.sha256 = keeper::digest(&made.head.records(segment))?.to_string();
    made.write(segment)
}

struct Making {
    head: Head,
    /// Where each block begins, and where the last one ends.
    places: Vec<u64>,
    keys: HashMap<u64, List>,
}

/// The blocks that have a key.
#[derive(Default)]
struct List {
    last: Option<u64>,
    bytes: Vec<u8>,
}

impl List {
    fn add(&mut self, block: u64) {
        if self.last != Some(block) {
            put(block - self.last.unwrap_or(0), &mut self.bytes);
            self.last = Some(block);
        }
    }
}

impl Making {
    fn lines(&mut self, file: File) -> io::Result<()> {
        let (mut records, mut block) = (io::BufReader::new(file), Vec::new());
        let mut at = 0;
        loop {
            self.places.push(at);
            block.clear();
            read_lines(&mut records, BLOCK_BYTES, &mut block)?;
            if block.is_empty() {
                return Ok(());
            }
            at += block.len() as u64;
            self.note(&block);
        }
    }

    fn frames(&mut self, file: File) -> io::Result<()> {
        let mut inflater = zstd::bulk::Decompressor::new()?;
        let mut frames = Frames { file, held: Vec::new(), used: 0 };
        let (mut block, mut at) = (Vec::new(), 0);
        self.places.push(at);
        while let Some(frame) = frames.next()? {
            inflate(&mut inflater, frame, &mut block)?;
            at += frame.len() as u64;
            self.places.push(at);
            self.note(&block);
        }
        Ok(())
    }

    /// Notes what a block holds.
    fn note(&mut self, block: &[u8]) {
        let head = &mut self.head;
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Some(record) = Known::read(line) else { continue };
            head.last = record.seq.unwrap_or(head.last);
            if !record.time.is_empty() {
                if head.from.is_empty() || *record.time < *head.from {
                    head.from = record.time.clone().into_owned();
                }
                if *record.time > *head.to {
                    head.to = record.time.clone().into_owned();
                }
            }
            let kind = format!("{} {}", record.event, record.outcome);
            *head.events.entry(kind).or_default() += 1;
            let module = &*record.resource.module;
            let above = std::iter::successors(Some(top(module)), |path| {
                path.rsplit_once('/').map(|(above, _)| above)
            });
            let keys = [
                Key::Actor(&record.actor.id),
                Key::Module(module),
                Key::Rule(&record.decision.rule),
                Key::Source(&record.source.ip),
                Key::Event(&record.event),
            ];
            for key in keys.into_iter().chain(above.map(Key::Below)) {
                // records without an event are counted as such, so there is a key for them
                if !key.value().is_empty() || matches!(key, Key::Event(_)) {
                    self.keys.entry(key.hash()).or_default().add(head.blocks);
                }
            }
        }
        head.blocks += 1;
        if head.unkeyed || self.keys.len() > MOST_KEYS {
            head.unkeyed = true;
            self.keys.clear();
        }
    }

    fn write(self, segment: &Segment) -> io::Result<()> {
        // the keeper, a question and a command may make it at the same time
        let name = format!("{}.idx-{}", segment.stem, uuid::Uuid::now_v7().simple());
        let staged = segment.directory.join(name);
        // whoever may not read the records may not guess at their keys either
        let file = File::options().write(true).create_new(true).mode(0o640).open(&staged)?;
        let written = self.write_to(file).and_then(|()| std::fs::rename(&staged, segment.index()));
        if written.is_err() {
            let _left = std::fs::remove_file(&staged);
        }
        written
    }

    fn write_to(mut self, file: File) -> io::Result<()> {
        let mut file = io::BufWriter::new(file);
        self.head.keys = self.keys.len() as u64;
        self.head.lists = self.keys.values().map(|list| list.bytes.len() as u64).sum();
        serde_json::to_writer(&mut file, &self.head)?;
        file.write_all(b"\n")?;
        for place in &self.places {
            file.write_all(&place.to_le_bytes())?;
        }
        let mut keys: Vec<_> = self.keys.into_iter().collect();
        keys.sort_unstable_by_key(|(hash, _)| *hash);
        let mut at = 0_usize;
        let end = (u64::MAX, List::default());
        for (hash, list) in keys.iter().chain([&end]) {
            let begins = u32::try_from(at).map_err(|_| spoilt("the index would be too large"))?;
            file.write_all(&hash.to_be_bytes())?;
            file.write_all(&begins.to_le_bytes())?;
            at += list.bytes.len();
        }
        for (_, list) in &keys {
            file.write_all(&list.bytes)?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// What an index tells of a record; what is not there, or is no text, is empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Known<'a> {
    seq: Option<u64>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow)]
    actor: Actor<'a>,
    #[serde(borrow)]
    resource: Resource<'a>,
    #[serde(borrow)]
    decision: Decision<'a>,
    #[serde(borrow)]
    source: Source<'a>,
}

/// Members of records, of which an index needs one.
macro_rules! members {
    ($($name:ident $text:ident),+) => {
        $(#[derive(Default, Deserialize)]
        #[serde(default)]
        struct $name<'a> {
            #[serde(borrow)]
            $text: Cow<'a, str>,
        })+
    };
}
members! { Actor id, Resource module, Decision rule, Source ip }

impl<'a> Known<'a> {
    /// Reads a line; `None` if it is no record. A member of another kind than its own does not hide the others.
    fn read(line: &'a [u8]) -> Option<Self> {
        if let Ok(known) = serde_json::from_slice(line) {
            return Some(known);
        }
        let record: Value = serde_json::from_slice(line).ok()?;
        let text = |path: &str| {
            Cow::Owned(record.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned())
        };
        Some(Self {
            seq: record.get("seq").and_then(Value::as_u64),
            time: text("/time"),
            event: text("/event"),
            outcome: text("/outcome"),
            actor: Actor { id: text("/actor/id") },
            resource: Resource { module: text("/resource/module") },
            decision: Decision { rule: text("/decision/rule") },
            source: Source { ip: text("/source/ip") },
        })
    }
}

/// The frames of a compressed file, found by their own headers.
struct Frames {
    file: File,
    held: Vec<u8>,
    /// So many bytes of those were given already.
    used: usize,
}

impl Frames {
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let rest = self.held.get(self.used..).unwrap_or_default();
            // an error: the frame does not end in what was read yet
            let ends = zstd::zstd_safe::find_frame_compressed_size(rest);
            let left = rest.len();
            if let Some(len) = ends.ok().filter(|len| *len > 0) {
                let from = self.used;
                self.used += len;
                return Ok(self.held.get(from..self.used));
            }
            if left > LARGEST_BLOCK_BYTES {
                return Err(spoilt("a compressed block is too large"));
            }
            self.held.drain(..self.used);
            self.used = 0;
            if (&self.file).take(READ_BYTES).read_to_end(&mut self.held)? == 0 {
                return if left == 0 { Ok(None) } else { Err(spoilt("a block is cut")) };
            }
        }
    }
}

/// What is read of a compressed file at a time.
const READ_BYTES: u64 = 256 << 10;
