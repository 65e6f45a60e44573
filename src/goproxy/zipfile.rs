//! Module zips: every rule that Go has for them, and a few that keep two readers from seeing two archives.
//!
//! The central directory is read by own code, because readers that key entries by name drop duplicates, and with
//! them a reason to refuse and a line of the sum. Contents are inflated in small pieces, so that memory depends on
//! the number of entries and not on their size.

mod directory;
mod names;

use std::collections::HashMap;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

use flate2::Crc;
use flate2::read::DeflateDecoder;
use sha2::Digest as _;
use sha2::Sha256;

use crate::content::Sum;
use crate::goproxy::dirhash::H1;
use crate::goproxy::dirhash::Lines;
use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::goproxy::zipfile::directory::Entry;
use crate::goproxy::zipfile::directory::Method;

/// What a zip that keeps every rule comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipReport {
    /// Its sum.
    pub h1: H1,
    /// Entries, directories included.
    pub entries: usize,
    /// Bytes of its contents, inflated.
    pub unpacked: u64,
}

/// Which rule a zip breaks. Names of entries are cut and shown escaped.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// It could not be read; this says nothing about the zip.
    #[error("it could not be read: {0}")]
    Io(#[source] io::Error),
    /// Over 500 MiB.
    #[error("it is over 500 MiB")]
    TooLarge,
    /// There is no end record, or bytes stand after it.
    #[error("it is not a zip, or bytes stand before or after it")]
    NotAZip,
    /// The directory contradicts itself.
    #[error("its directory is damaged: {0}")]
    Directory(&'static str),
    /// A name that no module zip holds.
    #[error("entry {0}: {1}")]
    Name(String, &'static str),
    /// A header before the data that says something else than the directory.
    #[error("entry {0}: its two headers differ")]
    Headers(String),
    /// Encrypted, or compressed by a method that Go does not read.
    #[error("entry {0}: it is encrypted or compressed by an unknown method")]
    Method(String),
    /// Declared sizes over the limits.
    #[error("its contents are over 500 MiB, or its go.mod or LICENSE over 16 MiB")]
    Contents,
    /// More or less data than declared, a wrong checksum, or a broken stream.
    #[error("entry {0}: its data are not what is declared")]
    Data(String),
}

/// Reads a whole zip of `size` bytes and checks it as the zip of one version of a module. Blocking.
pub fn check<R: Read + Seek>(
    mut reader: R,
    size: u64,
    path: &ModulePath,
    version: &Version,
) -> Result<ZipReport, ZipError> {
    if size > LIMIT_BYTES {
        return Err(ZipError::TooLarge);
    }
    let entries = directory::read(&mut reader, size)?;
    let prefix = format!("{path}@{version}/");
    names::check(&entries, &prefix)?;
    sizes(&entries, &prefix)?;
    let mut sums = HashMap::with_capacity(entries.len());
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|entry| entry.offset);
    let mut end = 0;
    let mut unpacked = 0;
    for entry in order {
        if entry.offset < end || (end == 0 && entry.offset != 0) {
            return Err(ZipError::Directory("entries overlap, or bytes stand before the first"));
        }
        let data = directory::data_offset(&mut reader, entry)?;
        end = data.checked_add(entry.packed).ok_or(ZipError::Directory("an offset overflows"))?;
        if end > entry.limit {
            return Err(ZipError::Directory("an entry runs into the directory"));
        }
        reader.seek(SeekFrom::Start(data)).map_err(ZipError::Io)?;
        sums.insert(entry.offset, content_sum(&mut reader, entry)?);
        unpacked += entry.unpacked;
    }
    let mut lines = Lines::default();
    for entry in &entries {
        if let Some(sum) = sums.get(&entry.offset) {
            lines.add(&entry.name, *sum);
        }
    }
    Ok(ZipReport { h1: lines.sum(), entries: entries.len(), unpacked })
}

/// What the entries declare, before any of it is inflated.
fn sizes(entries: &[Entry], prefix: &str) -> Result<(), ZipError> {
    let mut total = 0_u64;
    for entry in entries {
        total = total.saturating_add(entry.unpacked);
        let name = entry.name.strip_prefix(prefix).unwrap_or(&entry.name);
        let small = matches!(name, "go.mod" | "LICENSE");
        if total > LIMIT_BYTES || small && entry.unpacked > SMALL_LIMIT_BYTES {
            return Err(ZipError::Contents);
        }
    }
    Ok(())
}

/// Inflates an entry and gives the sum of its content, if it is exactly what is declared.
fn content_sum<R: Read>(reader: &mut R, entry: &Entry) -> Result<Sum, ZipError> {
    let packed = reader.take(entry.packed);
    match entry.method {
        Method::Stored => drain(packed, entry),
        Method::Deflated => drain(DeflateDecoder::new(packed), entry),
    }
}

fn drain(mut content: impl Read, entry: &Entry) -> Result<Sum, ZipError> {
    let wrong = || ZipError::Data(names::shown(&entry.name));
    let (mut hasher, mut crc) = (Sha256::new(), Crc::new());
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    let mut len = 0_u64;
    loop {
        let count = match content.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // a broken stream and a broken disk look alike here; neither is content
            Err(_broken) => return Err(wrong()),
        };
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        len += count as u64;
        if len > entry.unpacked {
            return Err(wrong());
        }
        hasher.update(part);
        crc.update(part);
    }
    if len != entry.unpacked || crc.sum() != entry.crc {
        return Err(wrong());
    }
    Ok(Sum::from(hasher))
}

/// The go command's own limit, for the zip and for its contents.
const LIMIT_BYTES: u64 = 500 << 20;
/// And for the two files it reads into memory.
const SMALL_LIMIT_BYTES: u64 = 16 << 20;
/// Bytes inflated at once.
const BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
