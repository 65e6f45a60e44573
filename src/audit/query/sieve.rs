//! Finding wanted records among lines, most of which are not even decoded.

use std::ops::ControlFlow;

use memchr::memmem::Finder;
use serde_json::Value;

use crate::audit::filter::Filter;
use crate::audit::query::Effort;
use crate::audit::query::Listener;

/// What is wanted, and what a line must hold to be it.
pub(in crate::audit::query) struct Sieve<'a> {
    filter: &'a Filter,
    /// What a wanted line holds in any case.
    needles: Vec<Finder<'static>>,
}

impl<'a> Sieve<'a> {
    pub(in crate::audit::query) fn new(filter: &'a Filter) -> Self {
        let needles = filter.needles();
        let finder = |needle: &String| Finder::new(needle).into_owned();
        Self { filter, needles: needles.iter().map(finder).collect() }
    }

    /// Gives the wanted records among some lines to a listener.
    pub(in crate::audit::query) fn sift(
        &self,
        block: &[u8],
        effort: &mut Effort,
        listener: &mut dyn Listener,
    ) -> ControlFlow<()> {
        effort.bytes += block.len() as u64;
        let mut rest = block;
        while let Some((line, behind)) = self.next(rest) {
            rest = behind;
            if let Some((record, line)) = self.decode(line) {
                listener.record(&record, line)?;
            }
        }
        listener.progress(*effort)
    }

    /// The next line that may be wanted, and what stands behind it.
    fn next<'b>(&self, lines: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        let hit = match self.needles.first() {
            None if lines.is_empty() => return None,
            None => 0,
            Some(needle) => needle.find(lines)?,
        };
        let (before, from) = lines.split_at_checked(hit)?;
        let begins = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        let ends = memchr::memchr(b'\n', from).map_or(lines.len(), |newline| hit + newline);
        Some((lines.get(begins..ends)?, lines.get(ends + 1..).unwrap_or_default()))
    }

    fn decode<'b>(&self, line: &'b [u8]) -> Option<(Value, &'b str)> {
        let others = self.needles.get(1..).unwrap_or_default();
        if !others.iter().all(|needle| needle.find(line).is_some()) {
            return None;
        }
        // what is no record is for verification to find
        let line = std::str::from_utf8(line).ok()?;
        let record = serde_json::from_str(line).ok()?;
        self.filter.wants(&record).then_some((record, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Vec<u64>);

    impl Listener for Heard {
        fn record(&mut self, record: &Value, line: &str) -> ControlFlow<()> {
            assert_eq!(*record, serde_json::from_str::<Value>(line).unwrap());
            self.0.extend(record.get("seq").and_then(Value::as_u64));
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn lines_are_found_wherever_in_a_block_they_stand_and_what_is_no_record_is_passed_over() {
        let line = |seq: u64, actor: &str, rule: &str| {
            format!(r#"{{"seq":{seq},"actor":{{"id":"{actor}"}},"decision":{{"rule":"{rule}"}}}}"#)
        };
        let lines = [
            line(1, "user:a", "r"),
            line(2, "user:b", "user:a"),
            "\"user:a\" is no record, nor is \"r\"".to_owned(),
            String::new(),
            line(3, "user:a", "other"),
            line(4, "user:a", "r"),
        ];
        let heard = |filter: Filter, block: &str| {
            let (mut heard, mut effort) = (Heard::default(), Effort::default());
            let flow = Sieve::new(&filter).sift(block.as_bytes(), &mut effort, &mut heard);
            assert_eq!((flow, effort.bytes), (ControlFlow::Continue(()), block.len() as u64));
            heard.0
        };
        let actor = |rule: Option<&str>| Filter {
            actor: Some("user:a".to_owned()),
            rule: rule.map(str::to_owned),
            ..Filter::default()
        };
        for block in [lines.join("\n"), format!("{}\n", lines.join("\n"))] {
            assert_eq!(heard(Filter::default(), &block), [1, 2, 3, 4]);
            assert_eq!(heard(actor(None), &block), [1, 3, 4]);
            assert_eq!(heard(actor(Some("r")), &block), [1, 4]);
        }
        assert!(heard(actor(None), "").is_empty());
    }
}
