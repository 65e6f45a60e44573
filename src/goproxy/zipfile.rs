//! Module zips: every rule that Go has for them, and a few that keep two readers from seeing two archives.
//!
//! The central directory is read by own code, because readers that key entries by name drop duplicates, and with
//! them a reason to refuse and a line of the sum. Contents are inflated in small pieces, so that memory depends on
//! the number of entries and not on their size.

mod contents;
mod directory;
mod local;
mod names;

use std::collections::HashMap;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::sync::Arc;

use crate::content::Sum;
use crate::goproxy::dirhash::H1;
use crate::goproxy::dirhash::Lines;
use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::goproxy::zipfile::contents::Contents;
use crate::goproxy::zipfile::directory::Entry;

/// What a zip that keeps every rule comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipReport {
    /// Its sum.
    pub h1: H1,
    /// Entries, directories included.
    pub entries: usize,
    /// Bytes of its contents, inflated.
    pub unpacked: u64,
    /// The sum its go.mod has by itself, if it has one: what `.mod` of this version should come to.
    pub gomod_h1: Option<H1>,
}

/// Which rule a zip breaks. Names of entries are cut and shown escaped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ZipError {
    /// It could not be read; this says nothing about the zip.
    #[error("it could not be read: {0}")]
    Io(#[source] Arc<io::Error>),
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

impl ZipError {
    fn unread(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
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
    let sums = contents(&mut reader, &entries)?;
    let mut lines = Lines::default();
    let mut gomod_h1 = None;
    let mut unpacked = 0;
    for entry in &entries {
        if let Some(sum) = sums.get(&entry.offset) {
            lines.add(&entry.name, *sum);
            unpacked += entry.unpacked;
            if entry.name.strip_prefix(&prefix) == Some("go.mod") {
                gomod_h1 = Some(H1::of_gomod_with(*sum));
            }
        }
    }
    Ok(ZipReport { h1: lines.sum(), entries: entries.len(), unpacked, gomod_h1 })
}

/// Reads the file once from front to back, header by header, and gives the sum of each content by its offset.
fn contents<R: Read + Seek>(
    reader: &mut R,
    entries: &[Entry],
) -> Result<HashMap<u64, Sum>, ZipError> {
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|entry| entry.offset);
    if order.first().is_some_and(|first| first.offset != 0) {
        return Err(ZipError::NotAZip);
    }
    let mut sums = HashMap::with_capacity(entries.len());
    let mut content = Contents::new();
    let mut order = order.into_iter().peekable();
    while let Some(entry) = order.next() {
        let next = order.peek().map_or(entry.limit, |next| next.offset);
        let data = local::data_offset(reader, entry)?;
        let end = data.checked_add(entry.packed).filter(|end| *end <= next);
        let end = end.ok_or(local::OVERLAP)?;
        local::check_gap(reader, entry, end, next)?;
        reader.seek(SeekFrom::Start(data)).map_err(ZipError::unread)?;
        sums.insert(entry.offset, content.sum(reader, entry)?);
    }
    Ok(sums)
}

/// What the entries declare, before any of it is inflated.
fn sizes(entries: &[Entry], prefix: &str) -> Result<(), ZipError> {
    let mut total = 0_u64;
    for entry in entries {
        total = total.saturating_add(entry.unpacked);
        let name = entry.name.strip_prefix(prefix).unwrap_or(&entry.name);
        let small = matches!(name, "go.mod" | "LICENSE");
        if entry.is_directory() && entry.unpacked != 0 {
            return Err(ZipError::Data(names::shown(&entry.name)));
        }
        if total > LIMIT_BYTES || small && entry.unpacked > SMALL_LIMIT_BYTES {
            return Err(ZipError::Contents);
        }
    }
    Ok(())
}

/// The go command's own limit, for the zip and for its contents.
const LIMIT_BYTES: u64 = 500 << 20;
/// And for the two files it reads into memory.
const SMALL_LIMIT_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests;
