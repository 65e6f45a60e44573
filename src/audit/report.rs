//! The auditors' questions: what each looks at, what it counts together, and what it tells.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::audit::filter::Filter;
use crate::audit::filter::is_among;
use crate::audit::query::text;

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
    /// Who downloaded what, when.
    Downloads "downloads",
    /// Refusals of the policy by rule, families counted once, ancestors and repeats left out.
    Denials "denials",
    /// Which policy was in force (to a time), and who was allowed what under it.
    Access "access",
    /// What some people did, by a list of principals.
    Leavers "leavers",
    /// The first access of each principal to each private module.
    Firsts "firsts",
    /// Failed logins by source; many names from one source are a spray.
    Logins "logins",
    /// Changes of policy, configuration, tokens and cache.
    Changes "changes",
    /// Who has a version, with the first and the last time.
    Holders "holders",
    /// How many different private modules each principal took in an hour, the most first.
    Spread "spread",
    /// Private modules at night and on weekends, UTC.
    OffHours "off-hours",
    /// One proof of identity from several networks.
    Networks "networks",
    /// When each rule was last used, the longest unused first; a list names rules that may never have been.
    Unused "unused",
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

    /// The events that it is about, or groups of them with their dot; none if it is about all.
    pub const fn events(self) -> &'static [&'static str] {
        match self {
            Self::Downloads | Self::Holders => &["module.zip"],
            Self::Denials => &["authz.deny"],
            Self::Firsts | Self::Spread | Self::OffHours => &["module."],
            Self::Logins => &["auth.failure"],
            Self::Changes => &["policy.", "config.", "token.", "cache.", "admin."],
            Self::Gaps => {
                &["audit.gap", "audit.start", "audit.stop", "audit.delete", "audit.clock"]
            }
            Self::Access | Self::Leavers | Self::Networks | Self::Unused => &[],
        }
    }

    /// Leaves out of a filter what the question is not about, so that it need not be read.
    pub fn narrow(self, filter: &mut Filter, list: &BTreeSet<String>) {
        filter.among = self.events();
        if self.needs_list() {
            filter.people.clone_from(list);
        }
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

/// Gathers the answer to a question, record by record.
#[derive(Debug)]
pub struct Gathering {
    question: Question,
    list: BTreeSet<String>,
    groups: BTreeMap<Vec<String>, Group>,
}

#[derive(Debug, Default)]
struct Group {
    count: u64,
    first: String,
    last: String,
    distinct: BTreeSet<String>,
}

impl Gathering {
    /// For a question; `list` holds principals or rules, one each, where it needs them.
    pub fn new(question: Question, list: BTreeSet<String>) -> Self {
        Self { question, list, groups: BTreeMap::new() }
    }

    /// How many rows there are by now.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether nothing was found by now.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Takes a record into account.
    pub fn take(&mut self, record: &Value) {
        if !self.concerns(record) {
            return;
        }
        let (key, member) = self.key(record);
        let time = text(record, "/time").unwrap_or_default();
        let group = self.groups.entry(key).or_default();
        group.count += 1;
        if group.first.is_empty() || time < group.first.as_str() {
            time.clone_into(&mut group.first);
        }
        if time > group.last.as_str() {
            time.clone_into(&mut group.last);
        }
        group.distinct.extend(member.filter(|_| group.distinct.len() < DISTINCT));
    }

    fn concerns(&self, record: &Value) -> bool {
        let is = |path: &str, wanted: &str| text(record, path) == Some(wanted);
        let is_private = record.pointer("/resource/private") == Some(&Value::Bool(true));
        let is_answer = !is("/phase", "decided")
            && is("/outcome", "allowed")
            && text(record, "/resource/module").is_some();
        if !is_among(self.question.events(), text(record, "/event").unwrap_or_default()) {
            return false;
        }
        match self.question {
            Question::Downloads | Question::Holders => is_answer,
            Question::Denials => record.get("repeat") != Some(&Value::Bool(true)),
            Question::Access => {
                text(record, "/decision/policy").is_some() && is("/decision/effect", "allow")
            }
            Question::Leavers => text(record, "/actor/id").is_some_and(|id| self.list.contains(id)),
            Question::Firsts | Question::Spread => is_answer && is_private,
            Question::OffHours => {
                is_answer && is_private && is_off_hours(text(record, "/time").unwrap_or_default())
            }
            Question::Networks => is("/actor/result", "success"),
            Question::Unused => text(record, "/decision/rule").is_some(),
            Question::Logins | Question::Changes | Question::Gaps => true,
        }
    }

    /// What a record is counted under, and what is told apart within.
    fn key(&self, record: &Value) -> (Vec<String>, Option<String>) {
        let at = |path: &str| text(record, path).unwrap_or("-").to_owned();
        let (actor, module, version) =
            (at("/actor/id"), at("/resource/module"), at("/resource/version"));
        match self.question {
            Question::Downloads => {
                let bytes = record
                    .pointer("/http/bytes_out")
                    .map_or_else(|| "-".to_owned(), Value::to_string);
                (vec![at("/time"), actor, module, version, at("/source/ip"), bytes], None)
            }
            Question::Denials => (vec![at("/decision/rule"), actor, at("/family")], Some(module)),
            Question::Access => {
                (vec![at("/decision/policy"), module, actor, at("/decision/rule")], None)
            }
            Question::Leavers => (vec![actor, at("/event"), module, version, at("/outcome")], None),
            Question::Firsts => (vec![actor, module], None),
            Question::Logins => (
                vec![at("/source/ip"), at("/actor/result")],
                Some(actor).filter(|actor| actor != "-"),
            ),
            Question::Changes => {
                let detail = record.get("detail").map_or_else(|| "-".to_owned(), Value::to_string);
                (vec![at("/time"), at("/event"), at("/outcome"), actor, detail], None)
            }
            Question::Holders => (vec![module, version, actor], None),
            Question::Spread => {
                let hour = at("/time").get(..13).unwrap_or_default().to_owned();
                (vec![actor, hour], Some(module))
            }
            Question::OffHours => {
                (vec![at("/time"), actor, module, version, at("/source/ip")], None)
            }
            Question::Networks => (
                vec![actor, at("/actor/auth"), at("/actor/detail")],
                Some(network(&at("/source/ip"))),
            ),
            Question::Unused => (vec![at("/decision/rule")], None),
            Question::Gaps => {
                let detail =
                    |member: &str| text(record, &format!("/detail/{member}")).map(str::to_owned);
                let why =
                    detail("why").or_else(|| detail("ended")).unwrap_or_else(|| "-".to_owned());
                (
                    vec![
                        at("/time"),
                        at("/node"),
                        at("/event"),
                        why,
                        detail("count").unwrap_or_else(|| "-".to_owned()),
                    ],
                    None,
                )
            }
        }
    }

    /// The answer.
    pub fn table(mut self) -> Table {
        if self.question == Question::Unused {
            // a rule that was never hit has no record; the list knows it
            for rule in &self.list {
                self.groups.entry(vec![rule.clone()]).or_default();
            }
        }
        let question = self.question;
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        match question {
            Question::Logins => {
                groups.sort_by_key(|(_, group)| Reverse((group.distinct.len(), group.count)));
            }
            Question::Spread => groups.sort_by_key(|(_, group)| Reverse(group.distinct.len())),
            Question::Networks => groups.retain(|(_, group)| group.distinct.len() > 1),
            Question::Unused => groups.sort_by(|(_, a), (_, b)| a.last.cmp(&b.last)),
            Question::Downloads
            | Question::Denials
            | Question::Access
            | Question::Leavers
            | Question::Firsts
            | Question::Changes
            | Question::Holders
            | Question::OffHours
            | Question::Gaps => {}
        }
        let row = |(key, group): (Vec<String>, Group)| [key, question.tail(&group)].concat();
        Table { columns: question.columns(), rows: groups.into_iter().map(row).collect() }
    }
}

impl Question {
    /// The names of its columns: what is counted together, then what was counted.
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Downloads => &["time", "actor", "module", "version", "source", "bytes"],
            Self::Denials => &["rule", "actor", "family", "longest path", "tries", "first", "last"],
            Self::Access => &["policy", "module", "actor", "rule", "count", "first", "last"],
            Self::Leavers => {
                &["actor", "event", "module", "version", "outcome", "count", "first", "last"]
            }
            Self::Firsts => &["actor", "module", "first"],
            Self::Logins => &["source", "result", "names", "shape", "count", "first", "last"],
            Self::Changes => &["time", "event", "outcome", "actor", "detail"],
            Self::Holders => &["module", "version", "actor", "count", "first", "last"],
            Self::Spread => &["actor", "hour", "modules", "downloads"],
            Self::OffHours => &["time", "actor", "module", "version", "source"],
            Self::Networks => &["actor", "method", "proof", "networks", "count", "first", "last"],
            Self::Unused => &["rule", "count", "first", "last"],
            Self::Gaps => &["time", "node", "event", "why", "lost"],
        }
    }

    /// What was counted.
    fn tail(self, group: &Group) -> Vec<String> {
        let distinct = group.distinct.len();
        match self {
            Self::Downloads | Self::Changes | Self::OffHours | Self::Gaps => Vec::new(),
            Self::Access | Self::Leavers | Self::Holders | Self::Unused => counted(group),
            Self::Firsts => vec![group.first.clone()],
            Self::Spread => vec![distinct.to_string(), group.count.to_string()],
            Self::Denials => {
                let longest = group.distinct.iter().max_by_key(|path| path.len());
                [vec![longest.cloned().unwrap_or_default()], counted(group)].concat()
            }
            Self::Logins => {
                let shape = if distinct >= SPRAY { "spray" } else { "-" };
                [vec![distinct.to_string(), shape.to_owned()], counted(group)].concat()
            }
            Self::Networks => {
                let networks: Vec<_> = group.distinct.iter().cloned().collect();
                [vec![networks.join(" ")], counted(group)].concat()
            }
        }
    }
}

fn counted(group: &Group) -> Vec<String> {
    let known = |time: &String| if time.is_empty() { "never".to_owned() } else { time.clone() };
    vec![group.count.to_string(), known(&group.first), known(&group.last)]
}

/// Before seven, from nineteen on, or on a Saturday or Sunday; UTC.
fn is_off_hours(time: &str) -> bool {
    let parsed = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
    parsed.is_ok_and(|at| {
        let weekend = at.weekday().number_days_from_monday() >= 5;
        weekend || !(7..19).contains(&at.hour())
    })
}

/// The first three bytes of an IPv4 address, the first four groups of an IPv6 one.
fn network(ip: &str) -> String {
    match ip.parse() {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Err(_) => ip.to_owned(),
    }
}

/// Members remembered of one group.
const DISTINCT: usize = 10_000;
/// So many names from one source are no typing error.
const SPRAY: usize = 5;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hours_and_networks_are_told_apart() {
        assert!(is_off_hours("2026-10-01T03:00:00.000000Z"), "night");
        assert!(!is_off_hours("2026-10-01T12:00:00.000000Z"), "a Thursday");
        assert!(is_off_hours("2026-10-03T12:00:00.000000Z"), "a Saturday");
        assert_eq!(network("10.1.2.3"), "10.1.2.0/24");
        assert_eq!(network("2001:db8::1"), "2001:db8:0:0::/64");
    }

    #[test]
    fn denials_are_counted_in_families_without_repeats() {
        let denial = |module: &str, family: &str, repeat: bool| {
            json!({
                "time": "2026-10-01T12:00:00.000000Z", "event": "authz.deny", "outcome": "denied",
                "actor": {"id": "user:a"}, "resource": {"module": module},
                "decision": {"effect": "deny", "rule": "r1"}, "family": family, "repeat": repeat,
            })
        };
        let mut gathering = Gathering::new(Question::Denials, BTreeSet::new());
        gathering.take(&denial("c.example/a/b", "1", false));
        gathering.take(&denial("c.example/a", "1", false));
        gathering.take(&denial("c.example/a", "1", true));
        let rows = gathering.table().rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0][..5], ["r1", "user:a", "1", "c.example/a/b", "2"].map(str::to_owned));
    }

    #[test]
    fn a_rule_that_was_never_hit_stands_first() {
        let hit = json!({"time": "2026-10-01T12:00:00.000000Z", "decision": {"rule": "used"}});
        let list = ["used", "idle"].map(str::to_owned).into();
        let mut gathering = Gathering::new(Question::Unused, list);
        gathering.take(&hit);
        let rows = gathering.table().rows;
        assert_eq!((rows[0][0].as_str(), rows[0][2].as_str()), ("idle", "never"));
        assert_eq!((rows[1][0].as_str(), rows[1][1].as_str()), ("used", "1"));
    }
}
