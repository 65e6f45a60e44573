//! The walk through one node's log, record by record.

use std::io;
use std::io::BufRead as _;

use serde_json::Value;

use crate::audit::chain;
use crate::audit::chain::Broken;
use crate::audit::chain::Chain;
use crate::audit::recover;
use crate::audit::segment::Segment;
use crate::audit::verify::Finding;
use crate::audit::verify::Kind;
use crate::audit::verify::Question;
use crate::audit::verify::Remark;
use crate::audit::verify::Report;
use crate::audit::verify::notes::Notes;
use crate::audit::verify::notes::Vouched;

pub(in crate::audit::verify) struct Walk {
    report: Report,
    chain: Chain,
    notes: Notes,
    /// The segment that may be in the middle of a record.
    newest: Option<String>,
    /// Records that a checkpoint covers, whoever signed it.
    noted: u64,
    /// The first checkpoint since the last believed one that nobody believed has signed: its size, who signed, and where.
    doubted: Option<(u64, String, String)>,
    /// First and last record of what is not there.
    holes: Vec<(u64, u64, String)>,
    /// First and last record of what the log says was removed.
    deleted: Vec<(u64, u64)>,
}

impl Walk {
    /// Before the first record.
    pub(in crate::audit::verify) fn begin(
        question: &Question,
        newest: Option<&Segment>,
    ) -> io::Result<Self> {
        Ok(Self {
            report: Report { node: question.node.clone(), ..Report::default() },
            chain: Chain::default(),
            notes: Notes::gather(question)?,
            newest: newest.map(|segment| segment.stem.clone()),
            noted: 0,
            doubted: None,
            holes: Vec::new(),
            deleted: Vec::new(),
        })
    }

    /// Reads a segment; whether to go on.
    pub(in crate::audit::verify) fn segment(
        &mut self,
        segment: &Segment,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<bool> {
        let (mut lines, mut line, mut is_first) = (segment.open()?, Vec::with_capacity(1024), true);
        self.report.segments += 1;
        let mut told = self.report.bytes;
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(true);
            }
            self.report.bytes += read as u64;
            if line.pop() != Some(b'\n') {
                return Ok(self.half_line(segment));
            }
            if std::mem::take(&mut is_first) && !self.enter(segment, &line) {
                return Ok(false);
            }
            if let Some(kind) = self.follow(&line) {
                let kind = if kind == Kind::Missing {
                    missing_or_moved(&mut lines, self.chain.next())?
                } else {
                    kind
                };
                let seq = self.chain.next();
                self.find(kind, seq, &segment.stem, words(kind, seq));
                return Ok(false);
            }
            if !self.check(segment) {
                return Ok(false);
            }
            if self.report.bytes - told >= PROGRESS_BYTES {
                told = self.report.bytes;
                progress(told);
            }
        }
    }

    /// A segment begins where the one before it ended, or after a hole that is explained later.
    fn enter(&mut self, segment: &Segment, line: &[u8]) -> bool {
        let (first, next) = (segment.first, self.chain.next());
        let opening = recover::opening(line);
        if first > next {
            let Some(chain) = opening.filter(|chain| chain.next() == first) else {
                self.find(Kind::Missing, next, &segment.stem, words(Kind::Missing, next));
                return false;
            };
            // what the first record says of the log before it is believed only if a checkpoint says the same
            let size = chain.edge.size();
            match self.notes.vouched(size, &chain.root()) {
                Vouched::Believed => self.believe(size),
                Vouched::Other(signers) => self.doubt(size, signers, segment),
                Vouched::Nobody => {
                    self.find(Kind::Missing, next, &segment.stem, words(Kind::Missing, next));
                    return false;
                }
            }
            self.notes.pass(size);
            self.holes.push((next, first - 1, segment.stem.clone()));
            self.chain = chain;
            return true;
        }
        if first == next && first > 1 {
            return self.closed_before(segment, line);
        }
        true
    }

    /// A segment that was closed in an orderly way ends with a checkpoint.
    fn closed_before(&mut self, segment: &Segment, line: &[u8]) -> bool {
        let ended = detail(line, "ended");
        match ended.as_deref() {
            None | Some("stopped") if self.noted != self.chain.edge.size() => {
                let seq = self.noted + 1;
                let what = format!(
                    "the checkpoint over records {seq} to {} is gone",
                    self.chain.edge.size()
                );
                self.find(Kind::Unsigned, seq, &segment.stem, what);
                false
            }
            None | Some("stopped") => true,
            Some(how) => {
                let cut = detail(line, "cut_bytes").unwrap_or_default();
                let what =
                    format!("the boot before {how}; {cut} bytes of half a record were cut off");
                self.remark("ended_without_a_word", self.chain.next(), what);
                true
            }
        }
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
                self.deleted.extend(number("first").zip(number("last")));
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
        (self.report.signed, self.noted) = (size, size);
        if let Some((at, signers, _)) = self.doubted.take().filter(|(at, ..)| *at < size) {
            let what = format!(
                "checkpoints from {at} records on are signed by {signers}, which is not believed here; the one over {size} is, and covers the same records"
            );
            self.remark("other_key", at, what);
        }
    }

    /// A checkpoint that nobody believed has signed is one of a former key, if a believed one follows.
    fn doubt(&mut self, size: u64, signers: String, segment: &Segment) {
        self.noted = size;
        if size > self.report.signed {
            self.doubted.get_or_insert_with(|| (size, signers, segment.stem.clone()));
        }
    }

    fn half_line(&mut self, segment: &Segment) -> bool {
        let seq = self.chain.next();
        if self.newest.as_deref() == Some(&segment.stem) {
            self.remark("half_line", seq, "half a record stands at the end: it is being written, or was when the gateway was killed".to_owned());
            return true;
        }
        self.find(Kind::Truncated, seq, &segment.stem, words(Kind::Truncated, seq));
        false
    }

    /// Says what stands at the end.
    pub(in crate::audit::verify) fn finish(mut self) -> Report {
        // what is found while reading leaves nothing to say about what stands behind it
        let was_read = self.report.findings.is_empty();
        if let Some((size, signers, stem)) = self.doubted.take() {
            let what = format!("the checkpoint over {size} records is signed by {signers}");
            self.find(Kind::ForeignKey, size, &stem, what);
        }
        if was_read {
            for (first, last, stem) in std::mem::take(&mut self.holes) {
                let explained = self.explained(first, last);
                let what = format!("records {first} to {last}");
                if explained {
                    self.remark(
                        "deleted",
                        first,
                        format!("{what} were removed by retention, with a record of each"),
                    );
                } else {
                    self.find(
                        Kind::Missing,
                        first,
                        &stem,
                        format!("{what} are not there, and no record says why"),
                    );
                }
            }
            let (last, next) = (self.chain.edge.size(), self.chain.next());
            if let Some(size) = self.notes.beyond(last) {
                let what = format!("a checkpoint covers {size} records, and there are {last}");
                self.find(Kind::Truncated, next, "", what);
            } else if last > self.report.signed {
                let seq = self.report.signed + 1;
                self.remark(
                    "unsigned_tail",
                    seq,
                    format!("records {seq} to {last} are covered by no checkpoint yet"),
                );
            }
        }
        self.report
    }

    /// Whether removals that were recorded cover every record of a hole.
    fn explained(&self, first: u64, last: u64) -> bool {
        let mut removed = self.deleted.clone();
        removed.sort_unstable();
        let end =
            removed.iter().fold(
                first,
                |next, (from, to)| {
                    if *from <= next && *to >= next { to + 1 } else { next }
                },
            );
        end > last
    }

    fn find(&mut self, kind: Kind, seq: u64, segment: &str, what: String) {
        self.report.findings.push(Finding { kind, seq, segment: segment.to_owned(), what });
    }

    fn remark(&mut self, kind: &'static str, seq: u64, what: String) {
        self.report.remarks.push(Remark { kind, seq, what });
    }
}

/// Whether a record that is not in its place stands further on in its segment.
fn missing_or_moved(lines: &mut dyn io::BufRead, seq: u64) -> io::Result<Kind> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(Kind::Missing);
        }
        if chain::seq(&line) == Some(seq) {
            return Ok(Kind::Reordered);
        }
    }
}

fn words(kind: Kind, seq: u64) -> String {
    match kind {
        Kind::Edited => format!("record {seq} was changed, or something stands in its place"),
        Kind::Missing => format!("record {seq} is not there"),
        Kind::Reordered => format!("record {seq} stands behind others"),
        Kind::Repeated => format!("an older record stands where {seq} should be"),
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
const PROGRESS_BYTES: u64 = 64 << 20;
