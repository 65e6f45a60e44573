//! Where a segment meets the one before it: it leads on, or a hole lies between them that the log must explain.

use crate::audit::recover;
use crate::audit::segment::Segment;
use crate::audit::verify::Kind;
use crate::audit::verify::notes::Vouched;
use crate::audit::verify::walk::Walk;
use crate::audit::verify::walk::detail;
use crate::audit::verify::walk::sentence;

impl Walk {
    /// A segment begins where the one before it ended, or after a hole that is explained later. Behind what is not what it
    /// should be, or could not be read, it is read if its beginning is vouched for; whether it is.
    pub(in crate::audit::verify::walk) fn enter(&mut self, segment: &Segment, line: &[u8]) -> bool {
        let (first, next) = (segment.first, self.chain.next());
        if self.is_trusted && first <= next {
            if first == next && first > 1 {
                self.check_orderly_close(segment, line);
            }
            return true;
        }
        let opening = recover::opening(line).filter(|opening| opening.next() == first);
        let Some(opening) = opening else { return self.pass_by(segment) };
        // what the first record says of the log before it is believed only if a checkpoint says the same
        let size = opening.edge.size();
        match self.notes.vouched(size, &opening.root()) {
            Vouched::Nobody if opening.edge == self.chain.edge => {}
            Vouched::Nobody => return self.pass_by(segment),
            Vouched::Believed => {
                self.leave(segment);
                self.believe(size);
            }
            Vouched::Other(signers) => {
                self.leave(segment);
                self.doubt(size, signers, segment);
            }
        }
        self.notes.pass(size);
        if self.is_trusted {
            self.holes.push((next, first - 1, segment.stem.clone()));
        }
        self.is_trusted = true;
        self.chain = opening;
        true
    }

    /// A segment whose beginning nobody vouches for does not lead on from anything.
    fn pass_by(&mut self, segment: &Segment) -> bool {
        if self.is_trusted {
            let next = self.chain.next();
            self.find(Kind::Missing, next, &segment.stem, sentence(Kind::Missing, next));
        } else {
            let stem = &segment.stem;
            let what =
                format!("{stem} was not verified: no checkpoint covers just what was before it");
            self.remark("not_verified", segment.first, what);
        }
        false
    }

    /// What stands behind a hole says nothing of the records before it: a checkpoint among themselves must cover them.
    fn leave(&mut self, segment: &Segment) {
        let (signed, last) = (self.report.signed, self.chain.edge.size());
        if let Some(doubted) = self.doubted.take() {
            self.disbelieve(doubted);
        } else if self.is_trusted && signed < last {
            let seq = signed + 1;
            let what = format!(
                "no checkpoint covers records {seq} to {last}, and none will: a hole is behind them"
            );
            self.find(Kind::Unsigned, seq, &segment.stem, what);
        }
    }

    /// A segment that was closed in an orderly way ends with a checkpoint.
    fn check_orderly_close(&mut self, segment: &Segment, line: &[u8]) {
        let last = self.chain.edge.size();
        match detail(line, "ended").as_deref() {
            None | Some("stopped") if self.last_noted != last => {
                let seq = self.last_noted + 1;
                let what = format!("the checkpoint over records {seq} to {last} is gone");
                self.find(Kind::Unsigned, seq, &segment.stem, what);
                // the records are those of the chain all the same
                self.is_trusted = true;
            }
            None | Some("stopped") => {}
            Some(how) => {
                let cut = detail(line, "cut_bytes").unwrap_or_default();
                let what =
                    format!("the boot before {how}; {cut} bytes of half a record were cut off");
                self.remark("ended_without_a_word", self.chain.next(), what);
            }
        }
    }

    /// Says of each hole whether a record explains it.
    pub(in crate::audit::verify::walk) fn explain_holes(&mut self) {
        for (first, last, stem) in std::mem::take(&mut self.holes) {
            let what = format!("records {first} to {last}");
            if self.explained(first, last, self.report.signed) {
                let what = format!("{what} were removed by retention, with a record of each");
                self.remark("deleted", first, what);
            } else if self.explained(first, last, u64::MAX) {
                // anybody can write a record at the end
                let what = format!(
                    "{what} are not there; that they were removed says a record that no checkpoint covers yet"
                );
                self.remark("hole", first, what);
            } else if self.report.unread.is_empty() {
                let what = format!("{what} are not there, and no record that was read says why");
                self.find(Kind::Missing, first, &stem, what);
            } else {
                let what = format!("{what} are not there; what could not be read may say why");
                self.remark("hole", first, what);
            }
        }
        // a hole may stand before what was found on the way
        self.report.findings.sort_by_key(|found| found.seq);
    }

    /// Whether removals that were recorded, up to a record, cover every record of a hole.
    pub(in crate::audit::verify::walk) fn explained(
        &self,
        first: u64,
        last: u64,
        recorded: u64,
    ) -> bool {
        let mut removed = self.deleted.clone();
        removed.retain(|(.., seq)| *seq <= recorded);
        removed.sort_unstable();
        let behind = |next, (from, to, _): &(u64, u64, u64)| {
            if *from <= next && *to >= next { to.saturating_add(1) } else { next }
        };
        removed.iter().fold(first, behind) > last
    }
}
