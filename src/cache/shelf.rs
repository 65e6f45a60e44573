//! What stands in the directory tier, so that it keeps its bound: the least asked for goes first.
//!
//! moka decides what is worth its place, as in the memory tier, so a scan of things that are asked for once does not
//! push out what everybody builds with. Nothing of this is on the disk: a start learns what is there by walking.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use moka::future::Cache as Moka;
use moka::notification::RemovalCause;

use crate::cache::blob::blob_elements;
use crate::cache::codec::INLINE_LIMIT_BYTES;
use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::content::Sum;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::EvictionCause;
use crate::telemetry::labels::Tier;

/// The books of a directory; clones share them.
#[derive(Debug, Clone)]
pub(in crate::cache) struct Shelf {
    books: Moka<Key, Shelved>,
    capacity: u64,
}

/// One entry, and the body that stands apart from it.
#[derive(Debug, Clone, Copy)]
struct Shelved {
    bytes: u64,
    apart: Option<Sum>,
}

impl Shelf {
    /// The books of a directory of at most `capacity` bytes.
    pub(in crate::cache) fn new(
        directory: &Path,
        capacity: u64,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let root: PathBuf = directory.to_owned();
        let books = Moka::builder()
            .max_capacity(capacity / UNIT_BYTES)
            .weigher(|_key, shelved: &Shelved| {
                u32::try_from(shelved.bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |key: Arc<Key>, shelved, cause| {
                if cause == RemovalCause::Size {
                    remove(&root, &key, shelved);
                    telemetry.metrics().cache_evictions.count((Tier::Blob, EvictionCause::Size));
                }
            })
            .build();
        Self { books, capacity }
    }

    /// An entry was written.
    pub(in crate::cache) async fn put(&self, key: &Key, entry: &Entry) {
        self.books.insert(key.clone(), shelved(key, entry)).await;
        // what has no place goes now, not when the next one comes
        self.books.run_pending_tasks().await;
    }

    /// An entry was read; one from before the start is noted now.
    pub(in crate::cache) async fn used(&self, key: &Key, entry: &Entry) {
        if self.books.get(key).await.is_none() {
            self.put(key, entry).await;
        }
    }

    /// An entry was removed.
    pub(in crate::cache) async fn gone(&self, key: &Key) {
        self.books.invalidate(key).await;
    }

    /// Entries and bytes.
    pub(in crate::cache) fn holds(&self) -> (u64, u64) {
        (self.books.entry_count(), self.books.weighted_size() * UNIT_BYTES)
    }

    /// The bound in bytes.
    pub(in crate::cache) fn capacity(&self) -> u64 {
        self.capacity
    }
}

fn shelved(key: &Key, entry: &Entry) -> Shelved {
    let line = LINE_BYTES + key.as_str().len() as u64;
    let Held::Content(verified) = &entry.held else { return Shelved { bytes: line, apart: None } };
    let content = verified.content();
    let apart = (content.len() > INLINE_LIMIT_BYTES).then(|| content.sum());
    Shelved { bytes: line + content.len(), apart }
}

/// The entry first: one without its body is nothing, a body without its entry is found by the scrubber.
fn remove(root: &Path, key: &Key, shelved: Shelved) {
    let entry = key.elements().into_iter().fold(root.join("entries"), |path, part| path.join(part));
    let body =
        shelved.apart.map(|sum| blob_elements(sum).iter().fold(root.to_owned(), |p, e| p.join(e)));
    for file in [Some(entry), body].into_iter().flatten() {
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, %key, "an entry could not be evicted"),
        }
    }
}

/// moka weighs with 32 bits, and a zip may have more bytes than that.
const UNIT_BYTES: u64 = 256;
/// About the length of an entry's line without its key.
const LINE_BYTES: u64 = 300;
