//! How an entry is written where it outlives this process: one line of JSON, then the body if it is small.
//!
//! The line's format is stable. A line that cannot be read, or that belongs to another key, is treated as corrupt:
//! the entry goes, and the next fill writes it anew. Whatever is read here is hashed again before it is believed.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;

use crate::cache::Absence;
use crate::cache::AbsentStatus;
use crate::cache::entry::Entry;
use crate::cache::entry::Held;
use crate::cache::key::Key;
use crate::cache::tier::TierError;
use crate::content::Content;
use crate::content::Sum;
use crate::content::validator::Validator;
use crate::sumdb::Basis;
use crate::sumdb::Verified;

/// What was read.
#[derive(Debug)]
pub(in crate::cache) enum Read {
    /// The whole entry.
    Whole(Entry),
    /// An entry whose body stands elsewhere, under its sum.
    Apart(Apart),
}

/// An entry without its body.
#[derive(Debug)]
pub(in crate::cache) struct Apart {
    /// The sum of the body.
    pub(in crate::cache) sum: Sum,
    /// The length of the body in bytes.
    pub(in crate::cache) len: u64,
    line: Line,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u8,
    key: String,
    stored: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    life: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    fence: u64,
    len: u64,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    h1: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag_from: Option<String>,
    inline: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An entry as bytes; a body over [`INLINE_LIMIT_BYTES`] is left out, and the second value says so.
pub(in crate::cache) fn write(key: &Key, entry: &Entry) -> Result<(Vec<u8>, Where), TierError> {
    let (content, basis, absent) = match &entry.held {
        Held::Content(verified) => (verified.content().clone(), Some(verified.basis()), None),
        Held::Absence(absence) => {
            let text = absence.text.as_deref().unwrap_or_default();
            let content = Content::from_bytes(Bytes::copy_from_slice(text.as_bytes()));
            (content, None, Some(status(absence.status)))
        }
    };
    let (etag_from, etag) = entry.validator.as_ref().map(Validator::parts).unzip();
    let small = content.len() <= INLINE_LIMIT_BYTES;
    let line = Line {
        v: 1,
        key: key.as_str().to_owned(),
        stored: entry.stored,
        life: entry.life,
        fence: entry.fence,
        len: content.len(),
        sha256: content.sum().to_string(),
        h1: basis.and_then(Basis::h1).map(str::to_owned),
        names: basis.and_then(Basis::names).map(ToString::to_string),
        absent,
        etag: etag.map(str::to_owned),
        etag_from: etag_from.map(str::to_owned),
        inline: small,
    };
    let mut bytes =
        serde_json::to_vec(&line).map_err(|error| TierError::Store(error.to_string()))?;
    bytes.push(b'\n');
    if !small {
        return Ok((bytes, Where::Apart));
    }
    bytes.extend_from_slice(&content.to_bytes(INLINE_LIMIT_BYTES)?);
    Ok((bytes, Where::Inline))
}

/// Where the body of an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Where {
    /// Behind the line.
    Inline,
    /// Under its sum.
    Apart,
}

/// The entry of a key; `None` if it is not that, or its bytes are not those that were stored.
pub(in crate::cache) fn read(raw: &Bytes, key: &Key) -> Option<Read> {
    let end = raw.iter().position(|byte| *byte == b'\n')?;
    let line: Line = serde_json::from_slice(raw.get(..end)?).ok()?;
    if line.v != 1 || line.key != key.as_str() {
        return None;
    }
    let sum = Sum::from_hex(&line.sha256)?;
    let apart = Apart { sum, len: line.len, line };
    if !apart.line.inline {
        return Some(Read::Apart(apart));
    }
    apart.with(Content::from_bytes(raw.slice(end + 1..))).map(Read::Whole)
}

/// The key that an entry says it is of.
pub(in crate::cache) fn key_of(raw: &[u8]) -> Option<String> {
    let line = raw.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice::<Line>(line).ok().map(|line| line.key)
}

impl Apart {
    /// The entry, if this is its body.
    pub(in crate::cache) fn with(self, content: Content) -> Option<Entry> {
        if content.sum() != self.sum || content.len() != self.len {
            return None;
        }
        let Line { stored, life, fence, h1, names, absent, etag, etag_from, .. } = self.line;
        let validator = etag_from.zip(etag).and_then(|(from, tag)| Validator::new(&from, &tag));
        let held = match absent {
            None => Held::Content(Verified::restored(content, Basis::stored(h1, names))),
            Some(number) => {
                let bytes = content.to_bytes(INLINE_LIMIT_BYTES).ok()?;
                let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.is_empty());
                let status =
                    if number == 410 { AbsentStatus::Gone } else { AbsentStatus::NotFound };
                Held::Absence(Absence { status, text: text.map(Arc::from) })
            }
        };
        Some(Entry { held, stored, life, fence, validator })
    }
}

fn status(status: AbsentStatus) -> u16 {
    match status {
        AbsentStatus::NotFound => 404,
        AbsentStatus::Gone => 410,
    }
}

/// Bodies up to this size stand in their entry: one read instead of two for info, list and most go.mod files; and
/// what Redis takes, for one large value delays everybody on the connection.
pub(in crate::cache) const INLINE_LIMIT_BYTES: u64 = 64 * 1024;
