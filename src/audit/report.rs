//! The auditors' questions: what each looks at, what it counts together, and what it tells.
//!
//! A private body has two records: `decided`, before its first byte leaves, and `done` at its end. A question counts the two
//! once, by the id that joins them. Where the end is missing (a gateway was killed, a disk was full) the answer says "may have
//! been": whatever may have left is told, whatever is asked about what came of it.
//!
//! Some of what is asked cannot be judged record by record. What came of an answer stands in its end alone, and the first
//! access ever may lie long before the time that is asked about. That is taken out of the filter before the log is read, and
//! judged here.

mod questions;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::audit::filter::Filter;
use crate::audit::filter::is_among;
use crate::audit::query::text;
use crate::audit::report::questions::Order;
use crate::audit::report::questions::Shape;

/// Declares the questions: the word for each, and what it asks.
macro_rules! questions {
    ($($(#[doc = $doc:literal])+ $name:ident $text:literal),+ $(,)?) => {
        /// A question that has a report of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Question { $($(#[doc = $doc])+ $name),+ }

        impl Question {
            /// Every question, in the order of help texts.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its word, on the command line and as a parameter.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// What it asks: a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }
        }
    };
}

questions! {
    /// Who downloaded what, when; also what was cut off, and what may have been given.
    Downloads "downloads",
    /// Refusals of the policy by rule, families counted once, ancestors and repeats left out.
    Denials "denials",
    /// Which policy was in force (to a time), and whom it allowed what.
    Access "access",
    /// What some people did, by a list of principals.
    Leavers "leavers",
    /// The first access ever of each principal to each private module, if it was in the time asked about.
    Firsts "firsts",
    /// Failed logins by source and by name; many names from one source are a spray, many tries at one name are guesses.
    Logins "logins",
    /// Changes of policy, configuration, tokens and cache.
    Changes "changes",
    /// Who has a version, with the first and the last time.
    Holders "holders",
    /// How many different private modules each principal took in an hour, the most first.
    Spread "spread",
    /// Private modules at night and on weekends, UTC.
    OffHours "off-hours",
    /// Under which conditions of a rule (network, method, expiry) somebody was let in, or refused.
    Gates "gates",
    /// One proof of identity from several networks.
    Networks "networks",
    /// When each rule of the policy, or of a list, was last used, the longest unused first.
    Unused "unused",
    /// Rights that a principal used before a time and not since, by rule, the longest unused first.
    Idle "idle",
    /// Gaps, starts and stops.
    Gaps "gaps",
}

/// The word that asks for the records themselves, which is no question with a report.
pub const RECORDS: &str = "records";

impl Question {
    /// The question with this word, if there is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|question| question.text() == text)
    }

    /// Whether it cannot be answered without a list.
    pub const fn needs_list(self) -> bool {
        matches!(self, Self::Leavers)
    }

    /// Whether it is about rules that may have left no record; a list names them.
    pub const fn is_of_rules(self) -> bool {
        matches!(self, Self::Unused)
    }

    /// Whether what happened before the time that is asked about matters too.
    const fn looks_back(self) -> bool {
        matches!(self, Self::Firsts | Self::Idle)
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The names of its columns.
    pub columns: &'static [&'static str],
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Its rows, each with the names of its columns.
    pub fn objects(&self) -> impl Iterator<Item = Value> {
        self.rows.iter().map(|row| {
            let cells = self.columns.iter().zip(row);
            cells.map(|(name, cell)| ((*name).to_owned(), Value::from(cell.as_str()))).collect()
        })
    }
}

/// How much of a body its caller got, the least first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Delivery {
    /// Nothing.
    #[default]
    None,
    /// It was cut off, or they asked for a range.
    Part,
    /// The record of its end is missing.
    Maybe,
    /// All of it.
    Whole,
}

impl Delivery {
    /// What the record of an answer, or of the decision before it, says.
    fn of(record: &Value) -> Self {
        let status = record.pointer("/http/status").and_then(Value::as_u64);
        let is_body = text(record, "/http/method") == Some("GET")
            && status.is_some_and(|status| status == WHOLE || status == RANGE);
        let sent = record.pointer("/http/bytes_out").and_then(Value::as_u64);
        if !is_body {
            Self::None
        } else if text(record, "/phase") == Some(DECIDED) {
            Self::Maybe
        } else if status == Some(WHOLE)
            && record.pointer("/http/complete") == Some(&Value::Bool(true))
        {
            Self::Whole
        } else if sent.is_some_and(|sent| sent > 0) {
            // a range may be all of it: the record does not say which it was
            Self::Part
        } else {
            Self::None
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Part => "in part",
            Self::Maybe => "may have been",
            Self::Whole => "whole",
        }
    }
}

/// Gathers the answer to a question, record by record.
#[derive(Debug)]
pub struct Gathering {
    shape: &'static Shape,
    asked: Asked,
    /// Decisions whose end has not come yet, by the id that both have.
    open: BTreeMap<String, Value>,
    groups: BTreeMap<Vec<String>, Group>,
}

/// What a question is asked with.
#[derive(Debug, Default)]
struct Asked {
    /// Principals or rules.
    list: BTreeSet<String>,
    /// What must have come of an answer.
    outcome: Option<String>,
    /// Since when.
    from: Option<String>,
}

#[derive(Debug, Default)]
struct Group {
    count: u64,
    first: String,
    last: String,
    /// The most that was given.
    delivery: Delivery,
    first_delivery: Delivery,
    distinct: BTreeSet<String>,
}

impl Gathering {
    /// For a question; `list` holds principals or rules, one each, where it needs them. Takes out of the filter what a record
    /// alone cannot be judged by, and adds what the question is not about, so that it need not be read.
    pub fn over(question: Question, list: BTreeSet<String>, filter: &mut Filter) -> Self {
        let shape = question.shape();
        filter.among = shape.events;
        if question.needs_list() {
            filter.people.clone_from(&list);
        }
        let outcome = filter.outcome.take();
        let from = filter.from.clone();
        if question.looks_back() {
            filter.from = None;
        }
        let asked = Asked { list, outcome, from };
        Self { shape, asked, open: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// How many rows there are by now.
    pub fn len(&self) -> usize {
        self.groups.len() + self.open.len()
    }

    /// Whether nothing was found by now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a record into account.
    pub fn take(&mut self, record: &Value) {
        if !is_among(self.shape.events, text(record, "/event").unwrap_or_default()) {
            return;
        }
        let id = text(record, "/id").unwrap_or_default();
        if text(record, "/phase") == Some(DECIDED) {
            self.open.insert(id.to_owned(), record.clone());
            return;
        }
        // a session's record has the id of its first request
        if text(record, "/event") != Some(SESSION) {
            self.open.remove(id);
        }
        self.count(record);
    }

    fn count(&mut self, record: &Value) {
        let wanted = self.asked.outcome.as_deref();
        // what came of a decision without an end nobody knows
        let is_known = text(record, "/phase") != Some(DECIDED);
        if is_known && wanted.is_some_and(|wanted| text(record, "/outcome") != Some(wanted)) {
            return;
        }
        let seen = Seen { record, delivery: Delivery::of(record), list: &self.asked.list };
        if !(self.shape.concerns)(&seen) {
            return;
        }
        let time = seen.word("/time");
        for (key, member) in (self.shape.keys)(&seen) {
            let group = self.groups.entry(key).or_default();
            group.count += 1;
            group.delivery = group.delivery.max(seen.delivery);
            if group.first.is_empty() || time < group.first {
                group.first.clone_from(&time);
                group.first_delivery = seen.delivery;
            }
            if time > group.last {
                group.last.clone_from(&time);
            }
            group.distinct.extend(member.filter(|_| group.distinct.len() < DISTINCT));
        }
    }

    /// The answer.
    pub fn table(mut self) -> Table {
        for record in std::mem::take(&mut self.open).into_values() {
            self.count(&record);
        }
        let Self { shape, asked, mut groups, .. } = self;
        if shape.lists_all {
            // a rule that was never hit has no record; the list knows it
            for rule in &asked.list {
                groups.entry(vec![rule.clone()]).or_default();
            }
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.retain(|(_, group)| (shape.tells)(group, &asked));
        match shape.order {
            Order::Key => {}
            Order::MostDistinct => {
                groups.sort_by_key(|(_, group)| {
                    std::cmp::Reverse((group.distinct.len(), group.count))
                });
            }
            Order::LongestUnused => groups.sort_by(|(_, a), (_, b)| a.last.cmp(&b.last)),
        }
        let row = |(key, group): (Vec<String>, Group)| {
            let counted = (shape.counted)(&key, &group, &asked);
            [key, counted].concat()
        };
        Table { columns: shape.columns, rows: groups.into_iter().map(row).collect() }
    }
}

/// A record as a question sees it.
struct Seen<'a> {
    record: &'a Value,
    delivery: Delivery,
    list: &'a BTreeSet<String>,
}

impl Seen<'_> {
    /// A text in it; a dash if there is none.
    fn word(&self, path: &str) -> String {
        self.text(path).unwrap_or("-").to_owned()
    }

    fn text(&self, path: &str) -> Option<&str> {
        text(self.record, path)
    }

    /// Anything in it, as JSON.
    fn json(&self, path: &str) -> String {
        self.record.pointer(path).map_or_else(|| "-".to_owned(), Value::to_string)
    }

    fn is(&self, path: &str, wanted: &str) -> bool {
        self.text(path) == Some(wanted)
    }

    fn holds(&self, path: &str) -> bool {
        self.record.pointer(path) == Some(&Value::Bool(true))
    }
}

const SESSION: &str = "auth.success";
const DECIDED: &str = "decided";
/// OK, and Partial Content (RFC 9110, 15.3).
const WHOLE: u64 = 200;
const RANGE: u64 = 206;
/// Members remembered of one group.
const DISTINCT: usize = 10_000;

#[cfg(test)]
mod tests;
