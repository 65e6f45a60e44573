//! How long an answer that can change is fresh, and how much longer it may stand in.
//!
//! The life of an entry grows while the answer stays the same and is asked for, up to a limit, and shrinks when it
//! changed. So a list that everybody asks for and nobody adds to costs few requests, and one that moves is looked at
//! often. What runs out at the same moment is spread by up to a tenth, or a thousand keys learnt in one build would
//! be asked for again in one second.

use std::hash::BuildHasher as _;
use std::hash::BuildHasherDefault;
use std::hash::DefaultHasher;
use std::time::Duration;

use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::content::Sum;
use crate::goproxy::artifact::Mutability;

/// How long things are fresh.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// The first life of lists, `@latest` and queries, and the shortest.
    pub mutable: Duration,
    /// The longest life to which it grows.
    pub longest: Duration,
    /// The life of a remembered 404 or 410, which never grows.
    pub absent: Duration,
    /// How long after its life an answer is still given at once while it is renewed behind the scenes.
    pub meanwhile: Duration,
    /// How long after its life an answer is still given if it cannot be renewed.
    pub on_error: Duration,
}

/// What may be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Serve it.
    Fresh,
    /// Serve it, and renew it.
    Meanwhile,
    /// Serve it if it cannot be renewed.
    OnError,
    /// Nothing.
    Expired,
}

impl Freshness {
    /// Judges an entry at a time in seconds since 1970.
    pub fn judge(&self, key: &Key, entry: &Entry, now: u64) -> Age {
        let absent = match (&entry.held, key.mutability()) {
            (Held::Content(_), Mutability::Immutable) => return Age::Fresh,
            (Held::Content(_), Mutability::Mutable) => false,
            (Held::Absence(_), _) => true,
        };
        // an entry from the future (a clock that was set back) has an age nobody knows
        let Some(age) = now.checked_sub(entry.stored) else { return Age::Expired };
        let life = spread(key, entry);
        if age < life {
            Age::Fresh
        } else if absent {
            Age::Expired
        } else if age < life.saturating_add(self.meanwhile.as_secs()) {
            Age::Meanwhile
        } else if age < life.saturating_add(self.on_error.as_secs()) {
            Age::OnError
        } else {
            Age::Expired
        }
    }

    /// The life in seconds of content that was just fetched, given what was held before.
    pub fn life(&self, before: Option<&Entry>, sum: Sum, now: u64) -> u64 {
        let (shortest, longest) = (self.mutable.as_secs().max(1), self.longest.as_secs().max(1));
        let longest = longest.max(shortest);
        let held = before.and_then(|entry| match &entry.held {
            Held::Content(verified) => Some((entry, verified.content().sum())),
            Held::Absence(_) => None,
        });
        let Some((entry, before)) = held else { return shortest };
        let grown = if before == sum {
            // asked for again soon after it ran out: worth keeping longer
            let hot = now.saturating_sub(entry.stored) <= entry.life.saturating_mul(3);
            if hot { entry.life.saturating_mul(2) } else { entry.life }
        } else {
            entry.life / 4
        };
        grown.clamp(shortest, longest)
    }

    /// How long a tier that forgets by itself should keep an entry that can change.
    pub fn worth_keeping(&self, entry: &Entry) -> Duration {
        let longer = match entry.held {
            Held::Content(_) => self.on_error.max(self.meanwhile),
            Held::Absence(_) => Duration::ZERO,
        };
        Duration::from_secs(entry.life.max(1)) + longer
    }
}

/// The life of an entry, up to a tenth shorter: the same on every node, another for every key and renewal.
fn spread(key: &Key, entry: &Entry) -> u64 {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let tenth = entry.life / 10;
    let less = if tenth == 0 { 0 } else { hasher.hash_one((key, entry.stored)) % (tenth + 1) };
    entry.life.max(1).saturating_sub(less)
}

#[cfg(test)]
mod tests;
