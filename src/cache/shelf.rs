//! What stands in the directory tier, so that it keeps its bound: the least asked for goes first.
//!
//! Nothing of this is on the disk: a start learns what is there by reading the directory through.

mod popular;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::cache::blob::blob_elements;
use crate::cache::codec::INLINE_LIMIT_BYTES;
use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::cache::shelf::popular::Popular;
use crate::content::Sum;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::EvictionCause;
use crate::telemetry::labels::Tier;

/// The books of a directory; clones share them.
#[derive(Debug, Clone)]
pub(in crate::cache) struct Shelf {
    books: Arc<Mutex<Popular<Apart>>>,
    root: PathBuf,
    capacity: u64,
    telemetry: Arc<Telemetry>,
}

/// The body that stands apart from its entry, if one does.
type Apart = Option<Sum>;

impl Shelf {
    /// The books of a directory of at most `capacity` bytes.
    pub(in crate::cache) fn new(
        directory: &Path,
        capacity: u64,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let books = Arc::new(Mutex::new(Popular::new(capacity)));
        Self { books, root: directory.to_owned(), capacity, telemetry }
    }

    /// An entry was written; what is worth less than it goes, or it goes itself. Blocking.
    pub(in crate::cache) fn put(&self, key: &Key, entry: &Entry) {
        let (bytes, apart) = weigh(key, entry);
        let gone = self.lock().put(key, apart, bytes);
        for (key, apart) in gone {
            remove(&self.root, &key, apart);
            self.telemetry.metrics().cache_evictions.count((Tier::Blob, EvictionCause::Size));
        }
    }

    /// An entry was read; one from before the start is noted now.
    pub(in crate::cache) fn used(&self, key: &Key, entry: &Entry) {
        let is_known = self.lock().used(key);
        if !is_known {
            self.put(key, entry);
        }
    }

    /// An entry was removed.
    pub(in crate::cache) fn gone(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Entries under keys that begin so were removed, by us or by somebody beside us.
    pub(in crate::cache) fn gone_below(&self, begin: &str) {
        self.lock().remove_below(begin);
    }

    /// Entries and bytes.
    pub(in crate::cache) fn holds(&self) -> (u64, u64) {
        self.lock().holds()
    }

    /// The bound in bytes.
    pub(in crate::cache) fn capacity(&self) -> u64 {
        self.capacity
    }

    fn lock(&self) -> MutexGuard<'_, Popular<Apart>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weigh(key: &Key, entry: &Entry) -> (u64, Apart) {
    let line = LINE_BYTES + key.as_str().len() as u64;
    let Held::Content(verified) = &entry.held else { return (line, None) };
    let content = verified.content();
    let apart = (content.len() > INLINE_LIMIT_BYTES).then(|| content.sum());
    (line + content.len(), apart)
}

/// The entry first: one without its body is nothing, a body without its entry is found by the scrubber.
fn remove(root: &Path, key: &Key, apart: Apart) {
    let entry = key.elements().into_iter().fold(root.join("entries"), |path, part| path.join(part));
    let below = |sum| blob_elements(sum).iter().fold(root.to_owned(), |path, part| path.join(part));
    for file in [Some(entry), apart.map(below)].into_iter().flatten() {
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, %key, "an entry could not be evicted"),
        }
    }
}

/// About the length of an entry's line without its key.
const LINE_BYTES: u64 = 300;
