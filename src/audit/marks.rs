//! Marks that make a report quiet without hiding a record: requests a client repeats, and denials that belong together.
//!
//! A go command of 1.24 or newer sends each request again that got a 4xx; and one `go get` of a forbidden path is refused
//! at every level above it. The table is bounded: losing an entry makes a report noisier and never loses a record.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::time::Duration;
use std::time::SystemTime;

use crate::audit::event::Event;
use crate::audit::name::Name;

/// What was refused not long ago.
#[derive(Debug, Default)]
pub(in crate::audit) struct Marks {
    refused: HashMap<u64, SystemTime>,
    families: HashMap<u64, Family>,
    hashing: RandomState,
}

#[derive(Debug)]
struct Family {
    first: String,
    path: String,
    seen: SystemTime,
}

/// The marks of one event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::audit) struct Marked {
    /// The same was refused to the same caller within two seconds.
    pub(in crate::audit) repeat: bool,
    /// The id of the first denial of this family.
    pub(in crate::audit) family: Option<String>,
}

impl Marks {
    /// Marks an event at a time, and remembers it.
    pub(in crate::audit) fn mark(&mut self, event: &Event, now: SystemTime) -> Marked {
        let status = event.http.as_ref().map_or(0, |http| http.status);
        if !(400..500).contains(&status) {
            return Marked::default();
        }
        self.bound(now);
        let source = event.source.as_ref().map(|source| source.ip.as_str());
        let actor = event.actor.as_ref().and_then(|actor| actor.id.as_deref());
        let method = event.http.as_ref().map(|http| http.method);
        let asked = event.resource.as_ref().map(|resource| {
            (&resource.module, &resource.version, resource.artifact, &resource.path)
        });
        let key = self.hashing.hash_one((source, actor, method, asked));
        let before = self.refused.insert(key, now);
        let repeat = before.is_some_and(|before| is_within(before, now, REPEAT));
        let module = event.resource.as_ref().and_then(|resource| resource.module.as_deref());
        let family = module.filter(|_| event.name == Name::AuthzDeny).map(|module| {
            let key = self.hashing.hash_one((source, actor));
            self.family(key, &event.id, module, now)
        });
        Marked { repeat, family }
    }

    fn family(&mut self, key: u64, id: &str, module: &str, now: SystemTime) -> String {
        let related = |family: &Family| {
            is_within(family.seen, now, FAMILY)
                && (is_prefix(&family.path, module) || is_prefix(module, &family.path))
        };
        if let Some(family) = self.families.get_mut(&key).filter(|family| related(family)) {
            family.seen = now;
            if module.len() > family.path.len() {
                module.clone_into(&mut family.path);
            }
            return family.first.clone();
        }
        let family = Family { first: id.to_owned(), path: module.to_owned(), seen: now };
        self.families.insert(key, family);
        id.to_owned()
    }

    fn bound(&mut self, now: SystemTime) {
        if self.refused.len() >= ENTRIES {
            self.refused.retain(|_, seen| is_within(*seen, now, REPEAT));
        }
        if self.families.len() >= ENTRIES {
            self.families.retain(|_, family| is_within(family.seen, now, FAMILY));
        }
        // a flood within seconds: forgetting is cheaper than growing
        if self.refused.len() >= ENTRIES || self.families.len() >= ENTRIES {
            self.refused.clear();
            self.families.clear();
        }
    }
}

/// Whether a path is another, or stands above it.
fn is_prefix(above: &str, below: &str) -> bool {
    below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_within(before: SystemTime, now: SystemTime, time: Duration) -> bool {
    now.duration_since(before).is_ok_and(|since| since <= time)
}

const REPEAT: Duration = Duration::from_secs(2);
const FAMILY: Duration = Duration::from_secs(10);
/// About ten megabytes.
const ENTRIES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::Http;
    use crate::audit::event::Resource;
    use crate::audit::name::Outcome;

    fn denial(id: &str, module: &str) -> Event {
        let mut event = Event::bare(String::new(), Name::AuthzDeny, id.to_owned(), Outcome::Denied);
        event.http = Some(Http {
            method: "GET",
            status: 403,
            bytes_out: None,
            complete: None,
            ms: 0.0,
            trace_id: String::new(),
        });
        event.resource = Some(Resource {
            module: Some(module.to_owned()),
            version: None,
            artifact: Some("list"),
            path: None,
            private: true,
        });
        event
    }

    #[test]
    fn one_go_get_is_one_family_and_its_second_try_a_repeat() {
        let (mut marks, now) = (Marks::default(), SystemTime::UNIX_EPOCH);
        let at = |seconds| now + Duration::from_secs(seconds);
        let first = marks.mark(&denial("1", "corp.example/a/b"), at(1));
        assert_eq!(first, Marked { repeat: false, family: Some("1".to_owned()) });
        let above = marks.mark(&denial("2", "corp.example/a"), at(2));
        assert_eq!(above, Marked { repeat: false, family: Some("1".to_owned()) });
        let again = marks.mark(&denial("3", "corp.example/a"), at(3));
        assert_eq!(again, Marked { repeat: true, family: Some("1".to_owned()) });
        let later = marks.mark(&denial("4", "corp.example/a"), at(20));
        assert_eq!(later, Marked { repeat: false, family: Some("4".to_owned()) });
        let other = marks.mark(&denial("5", "corp.example/ab"), at(21));
        assert_eq!(other, Marked { repeat: false, family: Some("5".to_owned()) });
    }

    #[test]
    fn a_flood_is_forgotten_and_not_kept() {
        let mut marks = Marks::default();
        for n in 0..ENTRIES + 10 {
            marks.mark(&denial("x", &format!("corp.example/{n}")), SystemTime::UNIX_EPOCH);
        }
        assert!(marks.refused.len() <= ENTRIES);
    }
}
