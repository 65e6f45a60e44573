//! What a tier must be able to do.

use std::fmt;
use std::io;

use futures_util::future::BoxFuture;

use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::telemetry::labels;

/// Why a tier could not do it.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// Reading or writing failed.
    #[error("reading or writing failed")]
    Io(#[from] io::Error),
    /// It failed several times, so it is not asked for a while.
    #[error("the tier rests after failures")]
    Resting,
    /// What was found is not what was stored; it has been removed.
    #[error("{0}: not what was stored; removed")]
    Corrupt(&'static str),
}

/// A place that holds entries. Every method may fail without failing a request.
pub trait Tier: Send + Sync + fmt::Debug {
    /// Its label.
    fn name(&self) -> labels::Tier;

    /// What it holds under a key. Content is checked against its sum if the tier is shared or durable.
    fn look<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Entry>, TierError>>;

    /// Takes an entry, replacing any older one; a tier may decline what does not suit it.
    fn store<'a>(&'a self, key: &'a Key, entry: &'a Entry) -> BoxFuture<'a, Result<(), TierError>>;

    /// Forgets an entry, and tells whether there was one.
    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, TierError>>;

    /// Forgets every entry whose key begins so, in a tier that is this node's alone; tells how many.
    fn forget<'a>(&'a self, _begin: &'a str) -> BoxFuture<'a, Result<usize, TierError>> {
        Box::pin(async { Ok(0) })
    }

    /// Entries and bytes held, if the tier knows.
    fn holds(&self) -> Option<(u64, u64)> {
        None
    }

    /// How many bytes it may hold, if it has a bound.
    fn capacity(&self) -> Option<u64> {
        None
    }
}
