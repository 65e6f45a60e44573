//! Which records are wanted: declared once, for the command line and for whoever asks a running gateway.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::SystemTime;

use serde_json::Value;
use uuid::Uuid;

use crate::audit::index::Key;
use crate::audit::query::text;
use crate::clock::rfc3339_micros;

/// Declares what records can be told apart by: the field, where a record has it, what stands for its value in a help text, and
/// what it means.
macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident $kind:ident $value:literal),+ $(,)?) => {
        /// Which records are wanted; what is not given does not matter.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Filter {
            $($(#[doc = $doc])+ pub $name: Option<String>,)+
            /// Events, or groups of them with their dot, of which it must be one; none if that does not matter.
            pub among: &'static [&'static str],
            /// Principals of which its own must be one; none if that does not matter.
            pub people: BTreeSet<String>,
        }

        impl Filter {
            /// Everything that can be given, in the order of help texts.
            pub const FIELDS: &'static [Field] = &[$(Field {
                name: stringify!($name),
                value: $value,
                help: concat!($($doc),+),
                kind: Kind::$kind,
                place: |filter| &mut filter.$name,
            }),+];

            /// What was given, by name.
            pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
                [$((stringify!($name), self.$name.as_deref())),+]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
            }
        }
    };
}

fields! {
    /// The principal, such as user:token:alice, as it is written.
    actor Text "PRINCIPAL",
    /// The module path; with /... at its end everything below it too.
    module Text "PATH",
    /// The version.
    version Text "VERSION",
    /// What the policy said: allow, deny, absent or error.
    decision Text "WORD",
    /// The rule that decided.
    rule Text "ID",
    /// The address it came from.
    source Text "IP",
    /// The event, such as module.zip, or a group of them, such as auth. with its dot.
    event Text "NAME",
    /// What came of it, such as allowed, denied, unauthenticated or failed.
    outcome Text "WORD",
    /// The record's id, as answers and log lines show it.
    id Text "UUID",
    /// No earlier than a time: 2026-10-01, 2026-10-01T12:00:00Z, or 30d for thirty days ago.
    from Time "TIME",
    /// Earlier than a time.
    to Time "TIME",
}

/// One thing that records can be told apart by.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name, as an option and as a parameter.
    pub name: &'static str,
    /// What stands for its value in a help text.
    pub value: &'static str,
    /// What it means: a sentence.
    pub help: &'static str,
    kind: Kind,
    place: fn(&mut Filter) -> &mut Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Time,
}

impl Field {
    /// What a given value means to a filter, as records write it; or what to write instead.
    pub fn read(&self, value: &str, now: SystemTime) -> Result<String, &'static str> {
        match self.kind {
            Kind::Text if value.is_empty() || value == "/..." => Err("it is empty: leave it out"),
            Kind::Text => Ok(value.to_owned()),
            Kind::Time => moment(value, now),
        }
    }

    /// Puts a value that was read in its place.
    pub fn set(&self, filter: &mut Filter, value: String) {
        *(self.place)(filter) = Some(value);
    }
}

/// A time as records write it.
fn moment(text: &str, now: SystemTime) -> Result<String, &'static str> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let then = now.checked_sub(ago).filter(|then| *then >= SystemTime::UNIX_EPOCH);
        return then.map(rfc3339_micros).ok_or("that is before time began: write a shorter one");
    }
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let format = &time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(&whole, format)
        .map_err(|_| "write 2026-10-01, 2026-10-01T12:00:00Z, or 30d for thirty days ago")?;
    // with an offset even a year that fits may not
    let at = at.checked_to_offset(time::UtcOffset::UTC).ok_or("that is past the year 9999")?;
    Ok(rfc3339_micros(at.into()))
}

impl Filter {
    /// Whether a record is wanted.
    pub fn wants(&self, record: &Value) -> bool {
        let is = |wanted: &Option<String>, path: &str| match wanted {
            None => true,
            Some(wanted) => text(record, path) == Some(wanted),
        };
        let time = text(record, "/time").unwrap_or_default();
        let event = text(record, "/event").unwrap_or_default();
        self.from.as_deref().is_none_or(|from| time >= from)
            && self.to.as_deref().is_none_or(|to| time < to)
            && is(&self.actor, "/actor/id")
            && self.wants_module(text(record, "/resource/module"))
            && is(&self.version, "/resource/version")
            && is(&self.decision, "/decision/effect")
            && is(&self.rule, "/decision/rule")
            && is(&self.source, "/source/ip")
            && self.wants_event(event)
            && self.wants_one_of(text(record, "/actor/id"))
            && is(&self.outcome, "/outcome")
            && is(&self.id, "/id")
    }

    fn wants_module(&self, module: Option<&str>) -> bool {
        let Some(wanted) = &self.module else { return true };
        let Some(module) = module else { return false };
        match wanted.strip_suffix("/...") {
            None => module == wanted,
            Some(above) => {
                let below = module.strip_prefix(above);
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    fn wants_event(&self, event: &str) -> bool {
        self.event.as_deref().is_none_or(|wanted| fits(wanted, event))
            && is_among(self.among, event)
    }

    fn wants_one_of(&self, actor: Option<&str>) -> bool {
        self.people.is_empty() || actor.is_some_and(|actor| self.people.contains(actor))
    }

    /// Whether records of an event and an outcome can be wanted; `None` if neither matters.
    pub(in crate::audit) fn wants_kind(&self) -> Option<impl Fn(&str, &str) -> bool> {
        let matters = self.event.is_some() || self.outcome.is_some() || !self.among.is_empty();
        matters.then_some(|event: &str, outcome: &str| {
            self.wants_event(event) && self.outcome.as_deref().is_none_or(|only| only == outcome)
        })
    }

    /// What an index can find: a wanted record has one key of each list.
    pub(in crate::audit) fn keys(&self) -> Vec<Vec<Key<'_>>> {
        let module = self.module.as_deref().map(|module| match module.strip_suffix("/...") {
            Some(above) => Key::below(above),
            None => Key::Module(module),
        });
        let one = [
            self.actor.as_deref().map(Key::Actor),
            module,
            self.rule.as_deref().map(Key::Rule),
            self.source.as_deref().map(Key::Source),
        ];
        let people: Vec<_> = self.people.iter().map(|name| Key::Actor(name)).collect();
        let one = one.into_iter().flatten().map(|key| vec![key]);
        one.chain(Some(people).filter(|people| !people.is_empty())).collect()
    }

    /// The earliest time that a wanted record can have. An id tells when its request came, and a record is made after that; a
    /// clock that was set back meanwhile is allowed an hour.
    fn since(&self) -> Option<String> {
        let id = self.id.as_deref().and_then(|id| Uuid::parse_str(id).ok());
        let (seconds, _) = id.and_then(|id| id.get_timestamp()).map(|at| at.to_unix()).unzip();
        let born =
            seconds.map(|seconds| Duration::from_secs(seconds.saturating_sub(SLACK_SECONDS)));
        let born = born.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        born.map(rfc3339_micros).max(self.from.clone())
    }

    /// Whether records of a stretch of time can be wanted.
    pub(in crate::audit) fn overlaps(&self, from: &str, to: &str) -> bool {
        self.to.as_deref().is_none_or(|end| from < end)
            && self.since().as_deref().is_none_or(|since| to >= since)
    }

    /// Whether all records of a stretch of time are wanted.
    pub(in crate::audit) fn covers(&self, from: &str, to: &str) -> bool {
        let times = Self { from: self.from.clone(), to: self.to.clone(), ..Self::default() };
        *self == times
            && self.from.as_deref().is_none_or(|begin| from >= begin)
            && self.to.as_deref().is_none_or(|end| to < end)
    }

    /// Texts that a wanted line holds as they are, so that most lines need not be decoded.
    pub(in crate::audit) fn needles(&self) -> Vec<String> {
        let quoted = |text: &String| serde_json::to_string(text).ok();
        let plain = |text: &&String| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let exact = [&self.actor, &self.version, &self.rule, &self.source, &self.id];
        let module = self.module.iter().filter(|module| !module.ends_with("/..."));
        let event = self.event.iter().filter(|event| !event.ends_with('.'));
        let texts = exact.into_iter().flatten().chain(module).chain(event);
        let mut needles: Vec<_> = texts.filter(plain).filter_map(quoted).collect();
        if let [only] = self.among
            && !only.ends_with('.')
        {
            needles.extend(quoted(&(*only).to_owned()));
        }
        // the longest first: it is in the fewest lines
        needles.sort_unstable_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles
    }
}

/// Whether an event is one of some, or in one of some groups with their dot; none stand for all.
pub fn is_among(wanted: &[&str], event: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| fits(wanted, event))
}

fn fits(wanted: &str, event: &str) -> bool {
    event == wanted || (wanted.ends_with('.') && event.starts_with(wanted))
}

/// How far a clock may have been set back between a request and its record.
const SLACK_SECONDS: u64 = 3_600;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_days_moments_and_spans_and_nothing_panics() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 40);
        assert_eq!(moment("30d", now).unwrap(), "1970-01-11T00:00:00.000000Z");
        assert_eq!(moment("2026-10-01", now).unwrap(), "2026-10-01T00:00:00.000000Z");
        assert_eq!(
            moment("2026-10-01T14:00:00+02:00", now).unwrap(),
            "2026-10-01T12:00:00.000000Z"
        );
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "400000000000y",
            "41d",
            "2026-10-01T12:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert!(moment(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_leaves_alone_what_was_written_long_before_its_request() {
        // 01a215bd-00c5 is 2026-11-26, half past three
        let id = Some("01a215bd-00c5-727c-81d6-5d057b2f5518".to_owned());
        let of_id = Filter { id, ..Filter::default() };
        let overlaps = |filter: &Filter, to: &str| filter.overlaps("2026-01-01", to);
        assert!(!overlaps(&of_id, "2026-11-25T23:59:59.000000Z"));
        assert!(overlaps(&of_id, "2026-11-26T04:00:00.000000Z"));
        let later = Filter { from: Some("2026-12-01".to_owned()), ..of_id.clone() };
        assert!(!overlaps(&later, "2026-11-30"));
        let never =
            Filter { id: Some("ffffffff-ffff-7fff-bfff-ffffffffffff".to_owned()), ..of_id.clone() };
        assert!(!overlaps(&never, "2026-11-26T04:00:00.000000Z"));
        for odd in ["", "no uuid", "550e8400-e29b-41d4-a716-446655440000"] {
            assert!(
                overlaps(&Filter { id: Some(odd.to_owned()), ..of_id.clone() }, "1970"),
                "{odd}"
            );
        }
        let month = Filter {
            from: Some("2026-10-01".to_owned()),
            to: Some("2026-11-01".to_owned()),
            ..Filter::default()
        };
        assert!(month.covers("2026-10-01T00", "2026-10-31T23"));
        assert!(!month.covers("2026-09-30T23", "2026-10-31T23"));
        assert!(!month.covers("2026-10-01T00", "2026-11-01T00"));
        assert!(!Filter { rule: Some("r".to_owned()), ..month }.covers("2026-10-02", "2026-10-03"));
    }

    #[test]
    fn what_was_given_can_be_told() {
        let mut filter = Filter::default();
        for field in Filter::FIELDS.iter().filter(|field| ["from", "rule"].contains(&field.name)) {
            let value = field.read("2026-10-01", SystemTime::UNIX_EPOCH).unwrap();
            field.set(&mut filter, value);
        }
        let given: Vec<_> = filter.given().collect();
        assert_eq!(given, [("rule", "2026-10-01"), ("from", "2026-10-01T00:00:00.000000Z")]);
    }

    #[test]
    fn a_filter_wants_what_fits_in_every_respect() {
        let record = json!({
            "time": "2026-10-01T12:00:00.000000Z", "event": "module.zip", "outcome": "allowed",
            "actor": {"id": "user:token:alice"}, "source": {"ip": "10.1.2.3"},
            "resource": {"module": "corp.example/a/b", "version": "v1.0.0"},
            "decision": {"effect": "allow", "rule": "r1"},
        });
        let of = |change: &dyn Fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.wants(&record)
        };
        let some = |text: &str| Some(text.to_owned());
        assert!(of(&|_| ()));
        assert!(of(&|f| f.module = some("corp.example/a/...")));
        assert!(of(&|f| f.module = some("corp.example/a/b/...")));
        assert!(!of(&|f| f.module = some("corp.example/a")));
        assert!(!of(&|f| f.module = some("corp.example/a/bb/...")));
        assert!(of(&|f| f.event = some("module.")) && !of(&|f| f.event = some("module")));
        assert!(of(&|f| f.from = some("2026-10-01")) && !of(&|f| f.to = some("2026-10-01")));
        for wrong in ["actor", "version", "rule", "source", "decision", "outcome"] {
            assert!(!of(&|f| match wrong {
                "actor" => f.actor = some("x"),
                "version" => f.version = some("x"),
                "rule" => f.rule = some("x"),
                "source" => f.source = some("x"),
                "decision" => f.decision = some("x"),
                _ => f.outcome = some("x"),
            }));
        }
    }
}
