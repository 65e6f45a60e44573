//! What is worth its place: whoever was asked for least goes, and a newcomer stays only if it is asked for more.
//!
//! Counts are kept for longer than entries, so something that was evicted and is asked for again and again comes back,
//! and a scan of things that are asked for once pushes nothing out. All counts are halved now and then, so that what
//! was popular last year does not stay for ever. Ours and not moka's: moka counts over ten times its entries, which on
//! a skewed workload keeps nine tenths of what is possible; a longer memory keeps more (`make bench` prints both).

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::hash::RandomState;

use crate::cache::key::Key;

/// Entries by how often they were asked for; `V` is what is told of one that goes.
#[derive(Debug)]
pub(in crate::cache::shelf) struct Popular<V> {
    capacity: u64,
    bytes: u64,
    held: HashMap<Key, Place<V>>,
    /// The least asked for first; of equals the one that was asked for longest ago.
    order: BTreeSet<(u32, u64, Key)>,
    /// How often each key was asked for, held or not, by a hash of it.
    counts: HashMap<u64, u32>,
    hasher: RandomState,
    tick: u64,
    since_halving: u64,
}

#[derive(Debug)]
struct Place<V> {
    value: V,
    bytes: u64,
    count: u32,
    tick: u64,
}

impl<V> Popular<V> {
    pub(in crate::cache::shelf) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            bytes: 0,
            held: HashMap::new(),
            order: BTreeSet::new(),
            counts: HashMap::new(),
            hasher: RandomState::new(),
            tick: 0,
            since_halving: 0,
        }
    }

    /// A key was asked for; tells whether it is held.
    pub(in crate::cache::shelf) fn used(&mut self, key: &Key) -> bool {
        let count = self.count(key);
        let Some(place) = self.held.get_mut(key) else { return false };
        self.order.remove(&(place.count, place.tick, key.clone()));
        (place.count, place.tick) = (count, self.tick);
        self.order.insert((count, self.tick, key.clone()));
        true
    }

    /// An entry came; gives those that go for it, which may be the entry itself.
    pub(in crate::cache::shelf) fn put(
        &mut self,
        key: &Key,
        value: V,
        bytes: u64,
    ) -> Vec<(Key, V)> {
        let count = self.count(key);
        self.remove(key);
        if bytes > self.capacity {
            return vec![(key.clone(), value)];
        }
        self.bytes += bytes;
        let tick = self.tick;
        self.held.insert(key.clone(), Place { value, bytes, count, tick });
        self.order.insert((count, tick, key.clone()));
        let mut gone = Vec::new();
        while self.bytes > self.capacity {
            let Some((_, _, least)) = self.order.first().cloned() else { break };
            let Some(value) = self.remove(&least) else { break };
            gone.push((least, value));
        }
        gone
    }

    pub(in crate::cache::shelf) fn remove(&mut self, key: &Key) -> Option<V> {
        let place = self.held.remove(key)?;
        self.order.remove(&(place.count, place.tick, key.clone()));
        self.bytes -= place.bytes;
        Some(place.value)
    }

    pub(in crate::cache::shelf) fn remove_below(&mut self, begin: &str) {
        let below = self.held.keys().filter(|key| key.as_str().starts_with(begin));
        for key in below.cloned().collect::<Vec<_>>() {
            self.remove(&key);
        }
    }

    /// Entries and bytes.
    pub(in crate::cache::shelf) fn holds(&self) -> (u64, u64) {
        (self.held.len() as u64, self.bytes)
    }

    /// Counts one more question, and lets old ones fade.
    fn count(&mut self, key: &Key) -> u32 {
        self.tick += 1;
        self.since_halving += 1;
        if self.since_halving > (self.held.len() as u64 * ASKED_PER_ENTRY).max(LEAST_ASKED) {
            self.halve();
        }
        let count = self.counts.entry(self.hasher.hash_one(key)).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn halve(&mut self) {
        self.since_halving = 0;
        self.counts.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
        self.order.clear();
        for (key, place) in &mut self.held {
            place.count /= 2;
            self.order.insert((place.count, place.tick, key.clone()));
        }
    }
}

/// Counts are halved when so many questions came for each entry that is held...
const ASKED_PER_ENTRY: u64 = 100;
/// ...and not before this many: a small directory is not in a hurry.
const LEAST_ASKED: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::parse(&format!("example.com/m{n}/@v/v1.0.0.mod")).unwrap()
    }

    #[test]
    fn a_scan_pushes_nothing_out_and_what_is_asked_for_again_comes_in() {
        let mut popular = Popular::new(10);
        for _ in 0..3 {
            for n in 0..10 {
                if !popular.used(&key(n)) {
                    assert!(popular.put(&key(n), n, 1).is_empty());
                }
            }
        }
        for n in 100..200 {
            let gone: Vec<_> = popular.put(&key(n), n, 1).into_iter().map(|(_, n)| n).collect();
            assert_eq!(gone, [n], "the newcomer itself");
        }
        for _ in 0..4 {
            popular.used(&key(150));
        }
        let gone = popular.put(&key(150), 150, 1);
        assert_eq!(gone.len(), 1);
        assert!(gone[0].1 < 10);
        assert_eq!(popular.holds(), (10, 10));
    }

    #[test]
    fn bytes_are_kept_whatever_comes_and_goes() {
        let mut popular = Popular::new(1000);
        for n in 0..500 {
            popular.used(&key(n % 37));
            popular.put(&key(n % 53), (), (n as u64 * 7) % 400);
            if n % 5 == 0 {
                popular.remove(&key(n % 29));
            }
            let sum: u64 = popular.held.values().map(|place| place.bytes).sum();
            assert_eq!(popular.holds(), (popular.order.len() as u64, sum));
            assert!(sum <= 1000);
        }
        let held = popular.holds();
        for _ in 0..9 {
            assert_eq!(popular.put(&key(999), (), 5000).len(), 1, "it has no place at all");
        }
        assert_eq!(popular.holds(), held);
    }

    #[test]
    fn counts_fade() {
        let mut popular = Popular::new(1);
        popular.put(&key(0), (), 1);
        for _ in 0..=LEAST_ASKED {
            popular.used(&key(0));
        }
        assert!(popular.held[&key(0)].count <= u32::try_from(LEAST_ASKED / 2 + 2).unwrap());
        assert_eq!(popular.order.len(), 1);
    }
}
