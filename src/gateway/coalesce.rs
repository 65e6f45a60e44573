//! One fill for each key, however many wait for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::future::Shared;

use crate::cache::key::Key;
use crate::gateway::Error;
use crate::sumdb::Verified;

/// What a fill comes to.
pub(in crate::gateway) type Outcome = Result<Verified, Error>;

/// A fill under way, to be awaited by anybody.
pub(in crate::gateway) type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Who started the fill one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Role {
    /// This request.
    Leader,
    /// Another one.
    Follower,
}

/// The fills under way.
#[derive(Clone, Default)]
pub(in crate::gateway) struct Flights(Arc<Mutex<HashMap<Key, Flight>>>);

impl fmt::Debug for Flights {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flying = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(out, "{} fills under way", flying.len())
    }
}

/// Takes a fill off the list when it has ended, however it ended.
#[derive(Debug)]
pub(in crate::gateway) struct Landing {
    flights: Flights,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flying = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flying.remove(&self.key);
    }
}

impl Flights {
    /// Joins the fill of a key, or starts one. The fill must keep the landing until it has ended and must not
    /// depend on being polled by whoever started it.
    pub(in crate::gateway) fn board(
        &self,
        key: &Key,
        start: impl FnOnce(Landing) -> BoxFuture<'static, Outcome>,
    ) -> (Flight, Role) {
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
