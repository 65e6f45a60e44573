//! One piece of work for each key, however many wait for it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::future::Shared;

/// Work under way, to be awaited by anybody.
pub type Flight<V> = Shared<BoxFuture<'static, V>>;

/// Who started the work one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This caller.
    Leader,
    /// Another one.
    Follower,
}

/// The work under way.
pub struct Flights<K, V>(Arc<Mutex<HashMap<K, Flight<V>>>>);

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flying = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(out, "{} under way", flying.len())
    }
}

/// Takes work off the list when it has ended, however it ended.
pub struct Landing<K: Eq + Hash, V> {
    flights: Flights<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> fmt::Debug for Landing<K, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a landing")
    }
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut flying = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flying.remove(&self.key);
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Flights<K, V> {
    /// Joins the work of a key, or starts it. The work must keep the landing until it has ended and must not
    /// depend on being polled by whoever started it.
    pub fn board(
        &self,
        key: &K,
        start: impl FnOnce(Landing<K, V>) -> BoxFuture<'static, V>,
    ) -> (Flight<V>, Role) {
        let mut flying = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flying.get(key) {
            return (flight.clone(), Role::Follower);
        }
        let landing = Landing { flights: self.clone(), key: key.clone() };
        let flight = start(landing).shared();
        flying.insert(key.clone(), flight.clone());
        (flight, Role::Leader)
    }
}
