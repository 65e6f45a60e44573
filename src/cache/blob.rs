//! The blob tier: a directory (later also an object store) that survives restarts and kill -9.
//!
//! Two kinds of objects: `blobs/xx/<sha256>` holds bytes under their own sum; `entries/<key>` is one line of JSON
//! that says which sum answers a key, followed by the bytes themselves if there are few of them. The blob is written
//! before the entry that names it, and both appear under their names only when they are whole. Whatever is
//! read is hashed again before it leaves; what does not fit is removed, so the next fill writes it anew.

use std::fs::File;
use std::path::Path as FilePath;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::GetResultPayload;
use object_store::MultipartUpload as _;
use object_store::ObjectStore;
use object_store::ObjectStoreExt as _;
use object_store::PutPayload;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use serde::Deserialize;
use serde::Serialize;

use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::cache::tier::Tier;
use crate::cache::tier::TierError;
use crate::content::Content;
use crate::content::Sum;
use crate::sumdb::Basis;
use crate::sumdb::Verified;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels;
use crate::telemetry::labels::EvictionCause;
use crate::telemetry::labels::Integrity;

/// Entries in a directory.
#[derive(Debug)]
pub struct Blob {
    store: Arc<dyn ObjectStore>,
    tasks: Tasks,
    telemetry: Arc<Telemetry>,
}

/// The first line of an entry. The format is stable; a field that is not known makes the entry unreadable, which
/// is a miss and a fill.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u8,
    key: String,
    stored: u64,
    len: u64,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    h1: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<String>,
    inline: bool,
}

impl Blob {
    /// A tier in a directory, which is made if it is missing. Half-written files of a process that was killed are
    /// removed.
    pub fn open(
        directory: &FilePath,
        tasks: Tasks,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, TierError> {
        std::fs::create_dir_all(directory)?;
        sweep(directory)?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(failed)?;
        Ok(Self { store: Arc::new(store), tasks, telemetry })
    }

    async fn read(&self, key: &Key) -> Result<Option<Entry>, TierError> {
        let name = entry_path(key);
        let raw = match self.store.get(&name).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let Some((line, inline)) = parse(&raw, key) else {
            return self.corrupt(&[&name], "an entry").await;
        };
        let Some(sum) = Sum::from_hex(&line.sha256) else {
            return self.corrupt(&[&name], "an entry's sum").await;
        };
        let content = if line.inline {
            Content::from_bytes(inline)
        } else {
            let blob = blob_path(sum);
            match self.read_blob(&blob).await? {
                Some(content) => content,
                None => return self.corrupt(&[&name], "an entry without its blob").await,
            }
        };
        if content.sum() != sum || content.len() != line.len {
            return self.corrupt(&[&name, &blob_path(sum)], "a body").await;
        }
        let verified = Verified::restored(content, Basis::stored(line.h1, line.names));
        Ok(Some(Entry { held: Held::Content(verified), stored: line.stored }))
    }

    /// The blob under a name, hashed as it is now.
    async fn read_blob(&self, name: &Path) -> Result<Option<Content>, TierError> {
        let found = match self.store.get(name).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let content = match found.payload {
            GetResultPayload::File(file, _path) => self.hash(file).await?,
            GetResultPayload::Stream(_) => {
                return Err(TierError::Store("the store gave a stream for a file".to_owned()));
            }
        };
        Ok(Some(content))
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
            match self.store.delete(name).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let metrics = self.telemetry.metrics();
        metrics.cache_evictions.count((labels::Tier::Blob, EvictionCause::Corrupt));
        metrics.integrity_failures.count((Integrity::ChecksumMismatch,));
        Err(TierError::Corrupt(what))
    }

    async fn write(&self, key: &Key, entry: &Entry) -> Result<(), TierError> {
        // absences are short-lived and cheap to learn again: they stay in memory
        let Held::Content(verified) = &entry.held else { return Ok(()) };
        let content = verified.content();
        let small = content.in_memory().filter(|bytes| bytes.len() <= INLINE_LIMIT_BYTES);
        if small.is_none() {
            self.write_blob(content).await?;
        }
        let line = Line {
            v: 1,
            key: key.as_str().to_owned(),
            stored: entry.stored,
            len: content.len(),
            sha256: content.sum().to_string(),
            h1: verified.basis().h1().map(str::to_owned),
            names: verified.basis().names().map(ToString::to_string),
            inline: small.is_some(),
        };
        let mut bytes =
            serde_json::to_vec(&line).map_err(|error| TierError::Store(error.to_string()))?;
        bytes.push(b'\n');
        if let Some(small) = small {
            bytes.extend_from_slice(small);
        }
        self.store.put(&entry_path(key), PutPayload::from(bytes)).await.map_err(failed)?;
        Ok(())
    }

    async fn write_blob(&self, content: &Content) -> Result<(), TierError> {
        let name = blob_path(content.sum());
        if let Ok(there) = self.store.head(&name).await
            && there.size == content.len()
        {
            return Ok(());
        }
        let mut upload = self.store.put_multipart(&name).await.map_err(failed)?;
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
        labels::Tier::Blob
    }

    fn look<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Entry>, TierError>> {
        Box::pin(self.read(key))
    }

    fn store<'a>(&'a self, key: &'a Key, entry: &'a Entry) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(self.write(key, entry))
    }
}

/// Splits an entry into its line and what follows; `None` if it is not an entry of this key.
fn parse(raw: &Bytes, key: &Key) -> Option<(Line, Bytes)> {
    let end = raw.iter().position(|byte| *byte == b'\n')?;
    let line: Line = serde_json::from_slice(raw.get(..end)?).ok()?;
    let ours = line.v == 1 && line.key == key.as_str();
    ours.then(|| (line, raw.slice(end + 1..)))
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
    std::iter::once("entries".to_owned()).chain(key.elements()).collect()
}

fn blob_path(sum: Sum) -> Path {
    let hex = sum.to_string();
    let shard: String = hex.chars().take(2).collect();
    ["blobs".to_owned(), shard, hex].into_iter().collect()
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of errors is needed")]
fn failed(error: object_store::Error) -> TierError {
    TierError::Store(error.to_string())
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

/// Bodies up to this size stand in their entry: one read instead of two for info, list and most go.mod files.
const INLINE_LIMIT_BYTES: usize = 64 * 1024;

/// What is read from a spool and handed to the store at once; object stores want at least 5 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;
