//! The walk through one node's log, record by record.

mod seams;

use std::io;
use std::io::BufRead as _;
use std::io::Read as _;

use serde_json::Value;

use crate::audit::chain;
use crate::audit::chain::Broken;
use crate::audit::chain::Chain;
use crate::audit::query::Effort;
use crate::audit::segment::Segment;
use crate::audit::verify::Finding;
use crate::audit::verify::Kind;
use crate::audit::verify::Remark;
use crate::audit::verify::Report;
use crate::audit::verify::Subject;
use crate::audit::verify::Unread;
use crate::audit::verify::ahead::FURTHEST_BYTES;
use crate::audit::verify::ahead::stands_behind;
use crate::audit::verify::is_of_disk;
use crate::audit::verify::notes::Notes;

pub(in crate::audit::verify) struct Walk {
    report: Report,
    chain: Chain,
    notes: Notes,
    /// The segment that may be in the middle of a record.
    newest: Option<String>,
    /// Whether the chain is that of the log: not behind something that is not what it should be, or could not be read.
    is_trusted: bool,
    /// The last record that a checkpoint covers, whoever signed it.
    last_noted: u64,
    /// The first checkpoint since the last believed one that nobody believed has signed: its size, who signed, and where.
    doubted: Option<(u64, String, String)>,
    /// First and last record of what is not there.
    holes: Vec<(u64, u64, String)>,
    /// First and last record of what the log says was removed, and the number of the record that says so.
    deleted: Vec<(u64, u64, u64)>,
}

impl Walk {
    /// Before the first record.
    pub(in crate::audit::verify) fn begin(
        subject: &Subject,
        newest: Option<&Segment>,
    ) -> io::Result<Self> {
        let mut report = Report { node: subject.node.clone(), ..Report::default() };
        let notes = Notes::gather(subject, &mut report.unread)?;
        Ok(Self {
            report,
            chain: Chain::default(),
            notes,
            newest: newest.map(|segment| segment.stem.clone()),
            is_trusted: true,
            last_noted: 0,
            doubted: None,
            holes: Vec::new(),
            deleted: Vec::new(),
        })
    }

    /// Reads a segment, up to the first record that is not what it should be.
    pub(in crate::audit::verify) fn segment(
        &mut self,
        segment: &Segment,
        progress: &mut dyn FnMut(Effort),
    ) {
        self.report.segments += 1;
        progress(self.effort());
        if segment.first == 0 {
            let what =
                "records are numbered from 1: no segment of a log begins before it".to_owned();
            return self.find(Kind::Edited, self.chain.next(), &segment.stem, what);
        }
        let Err(error) = self.lines(segment, progress) else { return };
        let seq = self.place(segment);
        if is_of_disk(&error) {
            self.is_trusted = false;
            let (segment, why) = (segment.stem.clone(), error.to_string());
            self.report.unread.push(Unread { segment, seq, why });
        } else {
            let what = format!("{}: {error}", sentence(Kind::Unreadable, seq));
            self.find(Kind::Unreadable, seq, &segment.stem, what);
        }
    }

    fn lines(&mut self, segment: &Segment, progress: &mut dyn FnMut(Effort)) -> io::Result<()> {
        let (mut lines, mut line, mut is_first) = (segment.open()?, Vec::with_capacity(1024), true);
        let mut told = self.report.bytes;
        loop {
            line.clear();
            let read = (&mut lines).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line)? as u64;
            if read == 0 {
                return Ok(());
            }
            self.report.bytes += read;
            if line.pop() != Some(b'\n') {
                self.unended(segment, read);
                return Ok(());
            }
            if std::mem::take(&mut is_first) && !self.enter(segment, &line) {
                return Ok(());
            }
            if let Some(kind) = self.follow(&line) {
                let seq = self.chain.next();
                let effort = self.effort();
                let mut hear = |bytes| progress(Effort { bytes: effort.bytes + bytes, ..effort });
                let kind = match kind {
                    Kind::Missing if stands_behind(&mut lines, seq, FURTHEST_BYTES, &mut hear) => {
                        Kind::Reordered
                    }
                    other => other,
                };
                self.find(kind, seq, &segment.stem, sentence(kind, seq));
                return Ok(());
            }
            if !self.check(segment) {
                return Ok(());
            }
            if self.report.bytes - told >= PROGRESS_BYTES {
                told = self.report.bytes;
                progress(self.effort());
            }
        }
    }

    fn effort(&self) -> Effort {
        let Report { segments: opened, bytes, .. } = self.report;
        Effort { opened, bytes, ..Effort::default() }
    }

    /// The number of the record that is to be read next in a segment.
    fn place(&self, segment: &Segment) -> u64 {
        let next = self.chain.next();
        if self.is_trusted { next } else { next.max(segment.first) }
    }

    /// Takes a line into the chain, or says what is wrong with it.
    fn follow(&mut self, line: &[u8]) -> Option<Kind> {
        let next = self.chain.next();
        match chain::seq(line) {
            None => return Some(Kind::Edited),
            Some(seq) if seq > next => return Some(Kind::Missing),
            Some(seq) if seq < next => return Some(Kind::Repeated),
            Some(_) => {}
        }
        match self.chain.follow(line) {
            Err(Broken::Unreadable | Broken::Value) => return Some(Kind::Edited),
            Ok(()) => {}
        }
        self.report.records += 1;
        self.report.last = next;
        if self.report.first == 0 {
            self.report.first = next;
        }
        if chain::is_own(line) {
            self.listen(line, next);
        }
        None
    }

    /// What the audit says about itself.
    fn listen(&mut self, line: &[u8], seq: u64) {
        match chain::event(line) {
            Some("audit.start") => {
                if let Some(keys) = detail(line, "keys") {
                    self.notes.hear_of(seq, &keys);
                }
            }
            Some("audit.gap") => {
                let why = detail(line, "why").unwrap_or_default();
                let count = detail(line, "count").map(|count| format!(", {count} events lost"));
                self.remark("declared_gap", seq, format!("{why}{}", count.unwrap_or_default()));
            }
            Some("audit.delete") => {
                let number = |member| detail(line, member).and_then(|text| text.parse().ok());
                let removed = number("first").zip(number("last"));
                self.deleted.extend(removed.map(|(first, last)| (first, last, seq)));
            }
            _ => {}
        }
    }

    /// Compares the tree with every checkpoint of its size.
    fn check(&mut self, segment: &Segment) -> bool {
        let size = self.chain.edge.size();
        let Some(at) = self.notes.at(size) else { return true };
        for note in at {
            if note.told.root != self.chain.root() {
                let seq = self.report.signed + 1;
                let what =
                    format!("records {seq} to {size} are not those of the checkpoint over {size}");
                self.find(Kind::Rewritten, seq, &segment.stem, what);
                return false;
            }
            if self.notes.is_believed(&note) {
                self.report.checkpoints += 1;
                self.believe(size);
            } else {
                self.doubt(size, note.signers(), segment);
            }
        }
        true
    }

    /// A believed checkpoint covers so many records, and with them whatever others have signed before.
    fn believe(&mut self, size: u64) {
        self.notes.learn(size);
        (self.report.signed, self.last_noted) = (size, size);
        if let Some((at, signers, _)) = self.doubted.take().filter(|(at, ..)| *at < size) {
            let what = format!(
                "checkpoints from {at} records on are signed by {signers}, which is not believed here; the one over {size} is, and covers the same records"
            );
            self.remark("other_key", at, what);
        }
    }

    /// A checkpoint that nobody believed has signed is one of a former key, if a believed one follows.
    fn doubt(&mut self, size: u64, signers: String, segment: &Segment) {
        self.last_noted = size;
        if size > self.report.signed {
            self.doubted.get_or_insert_with(|| (size, signers, segment.stem.clone()));
        }
    }

    /// A line without an end is being written, or what is left of one.
    fn unended(&mut self, segment: &Segment, bytes: u64) {
        let seq = self.place(segment);
        if bytes >= LONGEST_LINE_BYTES {
            self.find(Kind::Edited, seq, &segment.stem, sentence(Kind::Edited, seq));
        } else if self.newest.as_deref() == Some(&segment.stem) {
            self.remark("half_line", seq, "half a record stands at the end: it is being written, or was when the gateway was killed".to_owned());
        } else {
            self.find(Kind::Truncated, seq, &segment.stem, sentence(Kind::Truncated, seq));
        }
    }

    /// Says what stands at the end.
    pub(in crate::audit::verify) fn finish(mut self) -> Report {
        let is_trusted = self.is_trusted;
        self.explain_holes();
        if let Some(doubted) = self.doubted.take() {
            self.disbelieve(doubted);
        }
        // what stands behind something that is not what it should be tells nothing of the end
        if is_trusted {
            let (last, next) = (self.chain.edge.size(), self.chain.next());
            if let Some(size) = self.notes.beyond(last) {
                let what = format!("a checkpoint covers {size} records, and there are {last}");
                self.find(Kind::Truncated, next, "", what);
            } else if last > self.report.signed {
                let seq = self.report.signed + 1;
                let what = format!("records {seq} to {last} are covered by no checkpoint yet");
                self.remark("unsigned_tail", seq, what);
            }
        }
        self.report
    }

    fn disbelieve(&mut self, (size, signers, stem): (u64, String, String)) {
        let what = format!("the checkpoint over {size} records is signed by {signers}");
        self.find(Kind::ForeignKey, size, &stem, what);
    }

    fn find(&mut self, kind: Kind, seq: u64, segment: &str, what: String) {
        self.is_trusted = false;
        self.report.findings.push(Finding { kind, seq, segment: segment.to_owned(), what });
    }

    fn remark(&mut self, kind: &'static str, seq: u64, what: String) {
        self.report.remarks.push(Remark { kind, seq, what });
    }
}

/// What a finding says that has no more to say than its kind.
fn sentence(kind: Kind, seq: u64) -> String {
    match kind {
        Kind::Edited => format!("record {seq} was changed, or something stands in its place"),
        Kind::Missing => format!("record {seq} is not there"),
        Kind::Reordered => format!("record {seq} stands behind others"),
        Kind::Repeated => format!("an older record stands where {seq} should be"),
        Kind::Unreadable => format!("the compressed segment cannot be read from record {seq} on"),
        Kind::Truncated => format!("the segment ends in the middle of record {seq}"),
        Kind::Rewritten => format!("record {seq} does not fit its checkpoint"),
        Kind::ForeignKey => {
            format!("the checkpoint over record {seq} is signed by nobody who is believed")
        }
        Kind::Unsigned => format!("the checkpoint over record {seq} is gone"),
    }
}

/// A member of a record's detail.
fn detail(line: &[u8], member: &str) -> Option<String> {
    let record: Value = serde_json::from_slice(line).ok()?;
    Some(record.get("detail")?.get(member)?.as_str()?.to_owned())
}

/// Progress is told about this often.
pub(in crate::audit::verify) const PROGRESS_BYTES: u64 = 64 << 20;
/// A record is 8 KiB at most, the first one of a start with many keys a little more; what has no end is no line.
pub(in crate::audit::verify) const LONGEST_LINE_BYTES: u64 = 64 << 10;
