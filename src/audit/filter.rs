//! Which records are wanted: declared once, for the command line and for whoever asks a running gateway.

use std::time::SystemTime;

use serde_json::Value;

use crate::audit::index::Key;
use crate::audit::query::text;
use crate::clock::rfc3339_micros;

/// Declares what records can be told apart by: the field, where a record has it, what stands for its value in a help text, and
/// what it means.
macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident $kind:ident $value:literal),+ $(,)?) => {
        /// Which records are wanted; what is not given does not matter.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Filter { $($(#[doc = $doc])+ pub $name: Option<String>),+ }

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
            && self.event.as_deref().is_none_or(|wanted| {
                event == wanted || (wanted.ends_with('.') && event.starts_with(wanted))
            })
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

    /// What an index can find.
    pub(in crate::audit) fn keys(&self) -> Vec<Key<'_>> {
        let module = self.module.as_deref().filter(|module| !module.ends_with("/..."));
        [self.actor.as_deref().map(Key::Actor), module.map(Key::Module)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Texts that a wanted line holds as they are, so that most lines need not be decoded.
    pub(in crate::audit) fn needles(&self) -> Vec<String> {
        let quoted = |text: &String| serde_json::to_string(text).ok();
        let plain = |text: &&String| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let exact = [&self.actor, &self.version, &self.rule, &self.id].into_iter().flatten();
        let module = self.module.iter().filter(|module| !module.ends_with("/..."));
        exact.chain(module).filter(plain).filter_map(quoted).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_days_moments_and_spans_and_nothing_panics() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(24 * 40);
        assert_eq!(moment("30d", now).unwrap(), "1970-01-11T00:00:00.000000Z");
        assert_eq!(moment("2026-10-01", now).unwrap(), "2026-10-01T00:00:00.000000Z");
        assert_eq!(
            moment("2026-10-01T14:00:00+02:00", now).unwrap(),
            "2026-10-01T12:00:00.000000Z"
        );
        for wrong in ["", "yesterday", "2026-13-01", "400000000000y", "41d", "2026-10-01T12:00"] {
            assert!(moment(wrong, now).is_err(), "{wrong}");
        }
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
