//! The log of a period: the segments that overlap it, and as much around them as proves that they are the log's.
//!
//! The first record of a segment tells when it began. What ended before the period is left unread, up to a segment whose
//! beginning a believed checkpoint covers; so is what begins behind the period, once a believed checkpoint covers the first
//! record behind it and every hole is explained. Which segments are read rests on records that were verified, and on no index.
//! A clock may have been wrong and set back: what is left out are segments at the beginning that all began before the
//! period, and segments at the end that all began behind it. One that does not tell when it began is read.
//!
//! Anybody can write a first record that tells of a long gone time and of the log as it stood. So reading begins with a
//! segment only if a believed checkpoint covers that record too; if none does, all that is before is read as well.

use std::io::BufRead as _;
use std::io::Read as _;

use serde_json::Value;

use crate::audit::chain::Chain;
use crate::audit::query::text;
use crate::audit::recover;
use crate::audit::segment::Segment;
use crate::audit::verify::walk::LONGEST_LINE_BYTES;

/// From when on, and until when, as records write times; what is not given does not matter.
#[derive(Debug, Clone, Default)]
pub struct Period {
    /// No earlier than this.
    pub from: Option<String>,
    /// Earlier than this.
    pub to: Option<String>,
}

/// A segment's first record, as it stands.
#[derive(Debug, Default)]
struct Beginning {
    time: Option<String>,
    before: Option<Chain>,
}

impl Beginning {
    fn of(segment: &Segment) -> Self {
        let mut line = Vec::new();
        let read = segment.open().and_then(|lines| {
            let mut lines = lines.take(LONGEST_LINE_BYTES);
            lines.read_until(b'\n', &mut line)
        });
        // what cannot be read is read again with the rest, which says so
        let Ok(1..) = read else { return Self::default() };
        let record: Option<Value> = serde_json::from_slice(&line).ok();
        let time = record.as_ref().and_then(|record| text(record, "/time"));
        Self { time: time.map(str::to_owned), before: recover::opening(line.trim_ascii_end()) }
    }
}

/// Which of a log's segments are to be read.
#[derive(Debug)]
pub(in crate::audit::verify) struct Reach {
    /// The first one.
    pub(in crate::audit::verify) first: usize,
    /// The one in which the period begins, by what its first record says.
    pub(in crate::audit::verify) begins: usize,
    /// The last one that must be: the first one behind which, and with which, all are behind the period.
    pub(in crate::audit::verify) last: usize,
}

impl Period {
    /// Whether it leaves nothing out.
    pub(in crate::audit::verify) const fn is_whole(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// `is_vouched` says whether a believed checkpoint covers just what was before a segment.
    pub(in crate::audit::verify) fn reach(
        &self,
        segments: &[Segment],
        is_vouched: impl Fn(&Chain) -> bool,
    ) -> Reach {
        if self.is_whole() {
            return Reach { first: 0, begins: 0, last: segments.len() };
        }
        let beginnings: Vec<_> = segments.iter().map(Beginning::of).collect();
        let from = self.from.as_deref().unwrap_or_default();
        let begins_by = |found: &Beginning| found.time.as_deref().is_some_and(|time| time <= from);
        // a clock that was set back leaves later segments that tell of an earlier time: they end no search
        let begins =
            beginnings.iter().take_while(|found| begins_by(found)).count().saturating_sub(1);
        let mut first = begins;
        while first > 0 {
            let before = beginnings.get(first).and_then(|found| found.before.as_ref());
            // a copy of a segment as it was must not stand in for a changed one
            let is_alone = segments.get(first - 1).map(|segment| segment.first)
                != segments.get(first).map(|segment| segment.first);
            if is_alone && before.is_some_and(&is_vouched) {
                break;
            }
            first -= 1;
        }
        let is_behind = |found: &Beginning| {
            found.time.as_ref().zip(self.to.as_ref()).is_some_and(|(time, to)| time >= to)
        };
        let within = beginnings.iter().rposition(|found| !is_behind(found));
        let last = within.map_or(first, |within| first.max(within + 1));
        Reach { first, begins, last }
    }
}
