//! Local headers, and what stands after the data: all of it must say what the directory says, and nothing else may
//! stand there, because some readers go from header to header and never look at the directory.

use std::io::Read;
use std::io::Seek;

use crate::goproxy::zipfile::ZipError;
use crate::goproxy::zipfile::directory::DAMAGED;
use crate::goproxy::zipfile::directory::ENCRYPTED;
use crate::goproxy::zipfile::directory::Entry;
use crate::goproxy::zipfile::directory::Fields;
use crate::goproxy::zipfile::directory::Method;
use crate::goproxy::zipfile::directory::Sizes;
use crate::goproxy::zipfile::directory::field64;
use crate::goproxy::zipfile::directory::read_at;
use crate::goproxy::zipfile::names;

/// Where an entry's data begin, after a local header that must say what the directory says.
pub(in crate::goproxy::zipfile) fn data_offset<R: Read + Seek>(
    reader: &mut R,
    entry: &Entry,
) -> Result<u64, ZipError> {
    if entry.offset.saturating_add(HEADER_BYTES) > entry.limit {
        return Err(DAMAGED);
    }
    let header = read_at(reader, entry.offset, HEADER_BYTES)?;
    let mut fields = Fields(&header);
    let (mark, _needed) = (fields.u32()?, fields.u16()?);
    let (flags, method) = (fields.u16()?, fields.u16()?);
    let _modified = fields.u32()?;
    let (crc, packed, unpacked) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name_len, extra_len) = (fields.u16()?, fields.u16()?);
    let same_method = match entry.method {
        Method::Stored => method == 0,
        Method::Deflated => method == 8,
    };
    let tail =
        read_at(reader, entry.offset + HEADER_BYTES, u64::from(name_len) + u64::from(extra_len))?;
    let (name, extra) = tail.split_at_checked(name_len.into()).ok_or(DAMAGED)?;
    let same = mark == 0x0403_4b50
        && same_method
        && flags & ENCRYPTED == 0
        && Sizes::of(flags) == entry.sizes
        && name == entry.name.as_bytes()
        && same_sizes(entry, crc, [unpacked, packed], extra)?;
    if same {
        Ok(entry.offset + HEADER_BYTES + tail.len() as u64)
    } else {
        Err(ZipError::Headers(names::shown(&entry.name)))
    }
}

/// Whether checksum and sizes before the data are those of the directory, or zero where a descriptor follows.
fn same_sizes(entry: &Entry, crc: u32, narrow: [u32; 2], extra: &[u8]) -> Result<bool, ZipError> {
    let mut found = narrow.map(u64::from);
    if narrow.contains(&u32::MAX) {
        let mut field = Fields(field64(extra)?.ok_or(DAMAGED)?);
        for number in found.iter_mut().filter(|number| **number == u64::from(u32::MAX)) {
            *number = field.u64()?;
        }
    }
    let declared = [entry.unpacked, entry.packed, u64::from(entry.crc)];
    let pairs = found.into_iter().chain([u64::from(crc)]).zip(declared);
    Ok(match entry.sizes {
        Sizes::Before => pairs.into_iter().all(|(found, declared)| found == declared),
        Sizes::After => pairs.into_iter().all(|(found, declared)| found == 0 || found == declared),
    })
}

/// What stands between the end of an entry's data and `next`, where the next header or the directory begins:
/// nothing, or the descriptor that its flags announce. A reader that goes from header to header sees these bytes.
pub(in crate::goproxy::zipfile) fn check_gap<R: Read + Seek>(
    reader: &mut R,
    entry: &Entry,
    end: u64,
    next: u64,
) -> Result<(), ZipError> {
    let len = next.checked_sub(end).ok_or(OVERLAP)?;
    match entry.sizes {
        Sizes::Before if len == 0 => return Ok(()),
        // Go reads none after a directory
        Sizes::After if len == 0 && entry.is_directory() => return Ok(()),
        Sizes::After if matches!(len, 12 | 16 | 20 | 24) => {}
        Sizes::Before | Sizes::After => return Err(GAP),
    }
    let bytes = read_at(reader, end, len)?;
    let mut fields = Fields(&bytes);
    // the mark is not required; the length tells whether there is one
    if matches!(len, 16 | 24) && fields.u32()? != 0x0807_4b50 {
        return Err(GAP);
    }
    let crc = fields.u32()?;
    let (packed, unpacked) = if len < 20 {
        (fields.u32()?.into(), fields.u32()?.into())
    } else {
        (fields.u64()?, fields.u64()?)
    };
    if (crc, packed, unpacked) == (entry.crc, entry.packed, entry.unpacked) {
        Ok(())
    } else {
        Err(ZipError::Headers(names::shown(&entry.name)))
    }
}

/// Two entries share bytes.
pub(in crate::goproxy::zipfile) const OVERLAP: ZipError =
    ZipError::Directory("entries overlap, or run into the directory");
const GAP: ZipError = ZipError::Directory("bytes that belong to no entry stand between two");
/// A local header without its name and extra fields.
const HEADER_BYTES: u64 = 30;
