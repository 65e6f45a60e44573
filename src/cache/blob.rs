//! The blob tiers: a directory that survives restarts and kill -9, or a bucket that nodes share.
//!
//! Two kinds of objects: `blobs/xx/<sha256>` holds bytes under their own sum; `entries/<key>` is one line of JSON
//! that says which sum answers a key, followed by the bytes themselves if there are few of them. The blob is written
//! before the entry that names it, and both appear under their names only when they are whole. Whatever is
//! read is hashed again before it leaves; what does not fit is removed, so the next fill writes it anew.
//!
//! A directory has a bound, kept by a [`Shelf`]; a bucket has rules of its own for what to forget.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path as FilePath;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use object_store::GetResultPayload;
use object_store::MultipartUpload as _;
use object_store::ObjectStore;
use object_store::ObjectStoreExt as _;
use object_store::PutPayload;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use crate::cache::codec;
use crate::cache::codec::Read;
use crate::cache::codec::Where;
use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::cache::shelf::Shelf;
use crate::cache::tier::Tier;
use crate::cache::tier::TierError;
use crate::content::Content;
use crate::content::Spool;
use crate::content::SpoolError;
use crate::content::Sum;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels;
use crate::telemetry::labels::EvictionCause;
use crate::telemetry::labels::Integrity;

/// Entries in a directory or a bucket; clones share it.
#[derive(Debug, Clone)]
pub struct Blob {
    store: Arc<dyn ObjectStore>,
    name: labels::Tier,
    spools: Arc<FilePath>,
    shelf: Option<Shelf>,
    tasks: Tasks,
    telemetry: Arc<Telemetry>,
}

impl Blob {
    /// A tier in a directory, which is made if it is missing, of at most `capacity` bytes. Half-written files of a
    /// process that was killed are removed.
    pub fn open(
        directory: &FilePath,
        capacity: u64,
        tasks: Tasks,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, TierError> {
        std::fs::create_dir_all(directory)?;
        sweep(directory)?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(failed)?;
        let shelf = Shelf::new(directory, capacity, Arc::clone(&telemetry));
        Ok(Self {
            store: Arc::new(store),
            name: labels::Tier::Blob,
            spools: Arc::from(directory.join("spool")),
            shelf: Some(shelf),
            tasks,
            telemetry,
        })
    }

    /// The directory of a gateway that may be running: nothing is swept, nothing is evicted.
    pub fn join(
        directory: &FilePath,
        tasks: Tasks,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, TierError> {
        std::fs::create_dir_all(directory)?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(failed)?;
        Ok(Self {
            store: Arc::new(store),
            name: labels::Tier::Blob,
            spools: Arc::from(directory.join("spool")),
            shelf: None,
            tasks,
            telemetry,
        })
    }

    /// A tier in a bucket; what it gives is spooled below a directory while it is hashed.
    pub fn bucket(
        store: Arc<dyn ObjectStore>,
        spools: Arc<FilePath>,
        tasks: Tasks,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self { store, name: labels::Tier::Bucket, spools, shelf: None, tasks, telemetry }
    }

    /// The keys of all entries, as they stand in them. What cannot be read is left out.
    pub fn keys(&self) -> BoxStream<'_, Key> {
        let listed = self.store.list(Some(&Path::from(ENTRIES)));
        let found = listed.filter_map(move |listed| async move {
            let raw = self.store.get(&listed.ok()?.location).await.ok()?.bytes().await.ok()?;
            Key::parse(&codec::key_of(&raw)?)
        });
        found.boxed()
    }

    /// Removes bodies that no entry names and that have been there for a while: what an eviction, a crash between body
    /// and entry, or a lost entry left. Gives how many there were.
    pub async fn sweep_orphans(&self, named: &HashSet<Sum>) -> Result<usize, TierError> {
        let mut removed = 0;
        let mut bodies = self.store.list(Some(&Path::from("blobs")));
        while let Some(body) = bodies.next().await {
            let body = body.map_err(failed)?;
            let sum = body.location.filename().and_then(Sum::from_hex);
            let changed = SystemTime::from(body.last_modified);
            let is_old = changed.elapsed().is_ok_and(|age| age > ORPHAN_AGE);
            if is_old && sum.is_none_or(|sum| !named.contains(&sum)) {
                removed += usize::from(self.delete(&body.location).await?);
            }
        }
        Ok(removed)
    }

    /// Looks at the bucket or directory itself: writes, reads and removes a small object.
    pub async fn probe(&self) -> Result<(), TierError> {
        let name = Path::from("probe").join(uuid::Uuid::new_v4().simple().to_string());
        self.store.put(&name, PutPayload::from_static(b"modgate")).await.map_err(failed)?;
        let read = self.store.get(&name).await.map_err(failed)?.bytes().await.map_err(failed)?;
        self.store.delete(&name).await.map_err(failed)?;
        if read == b"modgate".as_slice() { Ok(()) } else { Err(TierError::Corrupt("the probe")) }
    }

    async fn read(&self, key: &Key) -> Result<Option<Entry>, TierError> {
        let name = entry_path(key);
        let raw = match self.store.get(&name).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let entry = match codec::read(&raw, key) {
            None => return self.corrupt(&[&name], "an entry").await,
            Some(Read::Whole(entry)) => entry,
            Some(Read::Apart(apart)) => {
                let blob = blob_path(apart.sum);
                let Some(content) = self.read_blob(&blob).await? else {
                    // evicted, or swept while the entry stayed: no corruption, only gone
                    self.delete(&name).await?;
                    return Ok(None);
                };
                match apart.with(content) {
                    Some(entry) => entry,
                    None => return self.corrupt(&[&name, &blob], "a body").await,
                }
            }
        };
        if let Some(shelf) = &self.shelf {
            shelf.used(key, &entry);
        }
        Ok(Some(entry))
    }

    /// The blob under a name, hashed as it is now.
    async fn read_blob(&self, name: &Path) -> Result<Option<Content>, TierError> {
        let found = match self.store.get(name).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let size = found.meta.size;
        let content = match found.payload {
            GetResultPayload::File(file, _path) => self.hash(file).await?,
            GetResultPayload::Stream(parts) => self.spool(parts, size).await?,
        };
        Ok(Some(content))
    }

    async fn spool(
        &self,
        mut parts: BoxStream<'static, object_store::Result<Bytes>>,
        size: u64,
    ) -> Result<Content, TierError> {
        let mut spool = Spool::new(Arc::clone(&self.spools), size);
        while let Some(part) = parts.next().await {
            spool.push(&part.map_err(failed)?)?;
        }
        Ok(spool.finish()?)
    }

    async fn hash(&self, file: File) -> Result<Content, TierError> {
        let hashed = self.tasks.block("hash a blob", move || Content::from_file(file)).await;
        Ok(hashed.map_err(|gone| TierError::Store(gone.to_string()))??)
    }

    /// Removes what is not what was stored, so that the next fill repairs it.
    async fn corrupt(
        &self,
        names: &[&Path],
        what: &'static str,
    ) -> Result<Option<Entry>, TierError> {
        for name in names {
            self.delete(name).await?;
        }
        let metrics = self.telemetry.metrics();
        metrics.cache_evictions.count((self.name, EvictionCause::Corrupt));
        metrics.integrity_failures.count((Integrity::ChecksumMismatch,));
        Err(TierError::Corrupt(what))
    }

    async fn delete(&self, name: &Path) -> Result<bool, TierError> {
        match self.store.delete(name).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn write(&self, key: &Key, entry: &Entry) -> Result<(), TierError> {
        // absences are short-lived and cheap to learn again: they stay in memory and Redis
        let Held::Content(verified) = &entry.held else { return Ok(()) };
        let (bytes, place) = codec::write(key, entry)?;
        if place == Where::Apart {
            self.write_blob(verified.content()).await?;
        }
        self.store.put(&entry_path(key), PutPayload::from(bytes)).await.map_err(failed)?;
        if let Some(shelf) = &self.shelf {
            shelf.put(key, entry);
        }
        Ok(())
    }

    async fn forget(&self, key: &Key) -> Result<bool, TierError> {
        let name = entry_path(key);
        let held = self.store.get(&name).await.ok();
        let raw = match held {
            Some(found) => found.bytes().await.ok(),
            None => None,
        };
        if let Some(Read::Apart(apart)) = raw.and_then(|raw| codec::read(&raw, key)) {
            self.delete(&blob_path(apart.sum)).await?;
        }
        if let Some(shelf) = &self.shelf {
            shelf.gone(key);
        }
        // a directory says so, a bucket removes what is not there without a word
        self.delete(&name).await
    }

    async fn write_blob(&self, content: &Content) -> Result<(), TierError> {
        let name = blob_path(content.sum());
        if let Ok(there) = self.store.head(&name).await
            && there.size == content.len()
        {
            return Ok(());
        }
        if content.len() < PART_BYTES as u64 {
            let bytes = content.to_bytes(PART_BYTES as u64)?;
            self.store.put(&name, PutPayload::from(bytes)).await.map_err(failed)?;
            return Ok(());
        }
        let mut upload = self.store.put_multipart(&name).await.map_err(failed)?;
        let uploaded = self.write_parts(content, upload.as_mut()).await;
        if uploaded.is_err() {
            // the parts that arrived would be paid for
            let _lost = upload.abort().await;
        }
        uploaded
    }

    async fn write_parts(
        &self,
        content: &Content,
        upload: &mut dyn object_store::MultipartUpload,
    ) -> Result<(), TierError> {
        let mut reader = content.reader();
        loop {
            let part = self.tasks.block("read a spool", move || {
                let mut part = vec![0_u8; PART_BYTES];
                let read = fill(&mut reader, &mut part);
                read.map(|read| {
                    part.truncate(read);
                    (reader, part)
                })
            });
            let part = part.await.map_err(|gone| TierError::Store(gone.to_string()))?;
            let bytes;
            (reader, bytes) = part?;
            if bytes.is_empty() {
                break;
            }
            upload.put_part(PutPayload::from(bytes)).await.map_err(failed)?;
        }
        upload.complete().await.map_err(failed)?;
        Ok(())
    }
}

impl Tier for Blob {
    fn name(&self) -> labels::Tier {
        self.name
    }

    fn look<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Entry>, TierError>> {
        Box::pin(self.read(key))
    }

    fn store<'a>(&'a self, key: &'a Key, entry: &'a Entry) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(self.write(key, entry))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, TierError>> {
        Box::pin(self.forget(key))
    }

    fn forget<'a>(&'a self, begin: &'a str) -> BoxFuture<'a, Result<usize, TierError>> {
        Box::pin(async move {
            let mut removed = 0;
            // a bucket is everybody's: whoever purged it has done so
            if self.name == labels::Tier::Blob {
                let mut keys = self.keys();
                while let Some(key) = keys.next().await {
                    if key.as_str().starts_with(begin) {
                        removed += usize::from(self.remove(&key).await?);
                    }
                }
            }
            // whoever purged the directory from beside us left nothing to be found in it
            if let Some(shelf) = &self.shelf {
                shelf.gone_below(begin);
            }
            Ok(removed)
        })
    }

    fn holds(&self) -> Option<(u64, u64)> {
        self.shelf.as_ref().map(Shelf::holds)
    }

    fn capacity(&self) -> Option<u64> {
        self.shelf.as_ref().map(Shelf::capacity)
    }
}

impl From<SpoolError> for TierError {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::TooLarge(_) => Self::Corrupt("a body that grew while it was read"),
            SpoolError::Io(error) => Self::Io(error),
        }
    }
}

fn fill(reader: &mut impl std::io::Read, part: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = part.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn entry_path(key: &Key) -> Path {
    std::iter::once(ENTRIES.to_owned()).chain(key.elements()).collect()
}

fn blob_path(sum: Sum) -> Path {
    blob_elements(sum).into_iter().collect()
}

/// Where the body of a sum stands.
pub(in crate::cache) fn blob_elements(sum: Sum) -> [String; 3] {
    let hex = sum.to_string();
    let shard: String = hex.chars().take(2).collect();
    ["blobs".to_owned(), shard, hex]
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of errors is needed")]
pub(in crate::cache) fn failed(error: object_store::Error) -> TierError {
    TierError::Store(crate::fault::chain_text(&error))
}

/// Removes the staging files of a process that was killed: the store writes `name#1` and renames it when whole.
fn sweep(directory: &FilePath) -> std::io::Result<()> {
    let mut open: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for found in std::fs::read_dir(&directory)? {
            let found = found?;
            let staging = found.file_name().to_string_lossy().contains('#');
            if found.file_type()?.is_dir() {
                open.push(found.path());
            } else if staging {
                std::fs::remove_file(found.path())?;
            }
        }
    }
    Ok(())
}

/// Where entries stand.
const ENTRIES: &str = "entries";

/// What is read from a spool and handed to the store at once; object stores want at least 5 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// A body is written before its entry: a young one without an entry may be about to get it.
const ORPHAN_AGE: Duration = Duration::from_hours(1);
