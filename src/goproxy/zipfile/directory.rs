//! The central directory: every entry of it, in order, duplicates included (APPNOTE 6.3, sections 4.3 and 4.5).

use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

use crate::goproxy::zipfile::ZipError;
use crate::goproxy::zipfile::names;

/// How an entry is compressed; Go reads these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::goproxy::zipfile) enum Method {
    Stored,
    Deflated,
}

/// One entry, as the directory has it.
#[derive(Debug, Clone)]
pub(in crate::goproxy::zipfile) struct Entry {
    pub(in crate::goproxy::zipfile) name: String,
    pub(in crate::goproxy::zipfile) method: Method,
    pub(in crate::goproxy::zipfile) crc: u32,
    pub(in crate::goproxy::zipfile) packed: u64,
    pub(in crate::goproxy::zipfile) unpacked: u64,
    /// Where its local header begins.
    pub(in crate::goproxy::zipfile) offset: u64,
    /// Where the directory begins: no data reaches there.
    pub(in crate::goproxy::zipfile) limit: u64,
}

/// Where the directory lies and how many entries it says it has.
struct Place {
    offset: u64,
    len: u64,
    count: u64,
}

/// Reads little-endian numbers from a slice, front to back.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ZipError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DAMAGED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, ZipError> {
        self.take(2)?.try_into().map(u16::from_le_bytes).map_err(|_| DAMAGED)
    }

    fn u32(&mut self) -> Result<u32, ZipError> {
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| DAMAGED)
    }

    fn u64(&mut self) -> Result<u64, ZipError> {
        self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| DAMAGED)
    }
}

/// Reads the directory of a zip of `size` bytes.
pub(in crate::goproxy::zipfile) fn read<R: Read + Seek>(
    reader: &mut R,
    size: u64,
) -> Result<Vec<Entry>, ZipError> {
    let place = find(reader, size)?;
    if place.count > ENTRIES_LIMIT || place.len > DIRECTORY_LIMIT_BYTES {
        return Err(ZipError::Directory("it has over 100,000 entries, or over 32 MiB of names"));
    }
    let bytes = read_at(reader, place.offset, place.len)?;
    let mut fields = Fields(&bytes);
    let mut entries = Vec::new();
    while !fields.0.is_empty() {
        entries.push(entry(&mut fields, place.offset)?);
        if entries.len() as u64 > place.count {
            break;
        }
    }
    if entries.len() as u64 != place.count {
        return Err(ZipError::Directory("it has more or fewer entries than it says"));
    }
    if entries.is_empty() && place.offset != 0 {
        return Err(ZipError::NotAZip);
    }
    Ok(entries)
}

/// Finds the end record: the last thing in the file but for the comment whose length it states.
fn find<R: Read + Seek>(reader: &mut R, size: u64) -> Result<Place, ZipError> {
    let tail_len = size.min(END_BYTES + COMMENT_LIMIT_BYTES);
    let tail = read_at(reader, size - tail_len, tail_len)?;
    let last = tail.len().checked_sub(22).ok_or(ZipError::NotAZip)?;
    let is_end = |at: &usize| {
        let record = tail.get(*at..).unwrap_or_default();
        let comment =
            record.get(20..22).and_then(|two| two.try_into().ok()).map(u16::from_le_bytes);
        record.starts_with(b"PK\x05\x06") && comment.map(usize::from) == Some(record.len() - 22)
    };
    let at = (0..=last).rev().find(is_end).ok_or(ZipError::NotAZip)?;
    let mut fields = Fields(tail.get(at + 4..).unwrap_or_default());
    let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
    let (here, count) = (fields.u16()?, fields.u16()?);
    let (len, offset) = (fields.u32()?, fields.u32()?);
    let end = size - tail_len + at as u64;
    if count == u16::MAX || len == u32::MAX || offset == u32::MAX {
        return find64(reader, end);
    }
    if disk != 0 || directory_disk != 0 || here != count {
        return Err(ZipError::Directory("it is one part of several"));
    }
    let place = Place { offset: offset.into(), len: len.into(), count: count.into() };
    ends_at(place, end)
}

/// The 64-bit end record, found through its locator right before the plain one.
fn find64<R: Read + Seek>(reader: &mut R, end: u64) -> Result<Place, ZipError> {
    let locator_at = end.checked_sub(20).ok_or(DAMAGED)?;
    let locator = read_at(reader, locator_at, 20)?;
    let mut fields = Fields(&locator);
    let (mark, disk, at, disks) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u32()?);
    if mark != 0x0706_4b50 || disk != 0 || disks > 1 || at.checked_add(56) != Some(locator_at) {
        return Err(DAMAGED);
    }
    let record = read_at(reader, at, 56)?;
    let mut fields = Fields(&record);
    let (mark, len) = (fields.u32()?, fields.u64()?);
    let (_versions, disk, directory_disk) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (here, count) = (fields.u64()?, fields.u64()?);
    let (directory_len, offset) = (fields.u64()?, fields.u64()?);
    if mark != 0x0606_4b50 || len != 44 || disk != 0 || directory_disk != 0 || here != count {
        return Err(DAMAGED);
    }
    ends_at(Place { offset, len: directory_len, count }, at)
}

/// The directory ends where the end record begins: nothing is hidden between them.
fn ends_at(place: Place, end: u64) -> Result<Place, ZipError> {
    if place.offset.checked_add(place.len) == Some(end) {
        Ok(place)
    } else {
        Err(ZipError::NotAZip)
    }
}

fn entry(fields: &mut Fields<'_>, limit: u64) -> Result<Entry, ZipError> {
    if fields.u32()? != 0x0201_4b50 {
        return Err(DAMAGED);
    }
    let (_made_by, _needed) = (fields.u16()?, fields.u16()?);
    let (flags, method) = (fields.u16()?, fields.u16()?);
    let _modified = fields.u32()?;
    let (crc, packed, unpacked) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name_len, extra_len, comment_len) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let (_disk, _internal, _external) = (fields.u16()?, fields.u16()?, fields.u32()?);
    let offset = fields.u32()?;
    let name = fields.take(name_len.into())?;
    let extra = fields.take(extra_len.into())?;
    let _comment = fields.take(comment_len.into())?;
    let text = std::str::from_utf8(name).map_err(|_| {
        ZipError::Name(names::shown(&String::from_utf8_lossy(name)), "its name is not UTF-8")
    })?;
    let method = match (flags & ENCRYPTED, method) {
        (0, 0) => Method::Stored,
        (0, 8) => Method::Deflated,
        _ => return Err(ZipError::Method(names::shown(text))),
    };
    let [unpacked, packed, offset] = wide(extra, [unpacked, packed, offset])?;
    Ok(Entry { name: text.to_owned(), method, crc, packed, unpacked, offset, limit })
}

/// Numbers that do not fit 32 bits stand in an extra field, in this order; numbers that fit must not.
fn wide(extra: &[u8], narrow: [u32; 3]) -> Result<[u64; 3], ZipError> {
    let mut numbers = narrow.map(u64::from);
    if !narrow.contains(&u32::MAX) {
        return Ok(numbers);
    }
    let mut fields = Fields(extra);
    while fields.0.len() >= 4 {
        let (id, len) = (fields.u16()?, fields.u16()?);
        let mut field = Fields(fields.take(len.into())?);
        if id == 1 {
            for (number, narrow) in numbers.iter_mut().zip(narrow) {
                if narrow == u32::MAX {
                    *number = field.u64()?;
                }
            }
            return Ok(numbers);
        }
    }
    Err(DAMAGED)
}

/// Where an entry's data begin, after a local header that must say what the directory says.
pub(in crate::goproxy::zipfile) fn data_offset<R: Read + Seek>(
    reader: &mut R,
    entry: &Entry,
) -> Result<u64, ZipError> {
    let header = read_at(reader, entry.offset, 30)?;
    let mut fields = Fields(&header);
    let (mark, _needed) = (fields.u32()?, fields.u16()?);
    let (flags, method) = (fields.u16()?, fields.u16()?);
    let _rest = fields.take(16)?;
    let (name_len, extra_len) = (fields.u16()?, fields.u16()?);
    let same_method = match entry.method {
        Method::Stored => method == 0,
        Method::Deflated => method == 8,
    };
    let name = read_at(reader, entry.offset + 30, name_len.into())?;
    let same = mark == 0x0403_4b50 && same_method && flags & ENCRYPTED == 0;
    if !same || name != entry.name.as_bytes() {
        return Err(ZipError::Headers(names::shown(&entry.name)));
    }
    Ok(entry.offset + 30 + u64::from(name_len) + u64::from(extra_len))
}

fn read_at<R: Read + Seek>(reader: &mut R, at: u64, len: u64) -> Result<Vec<u8>, ZipError> {
    let mut bytes = Vec::new();
    reader.seek(SeekFrom::Start(at)).map_err(ZipError::Io)?;
    reader.take(len).read_to_end(&mut bytes).map_err(ZipError::Io)?;
    if bytes.len() as u64 == len { Ok(bytes) } else { Err(DAMAGED) }
}

const DAMAGED: ZipError = ZipError::Directory("it ends early or points elsewhere");
/// Bit 0: encrypted; bit 6: strongly; bit 13: the directory itself.
const ENCRYPTED: u16 = 0x2041;
/// The end record without its comment.
const END_BYTES: u64 = 22;
/// A comment's length has 16 bits.
const COMMENT_LIMIT_BYTES: u64 = 65_535;
/// The largest modules have a tenth of that.
const ENTRIES_LIMIT: u64 = 100_000;
/// 100,000 names of 300 bytes.
const DIRECTORY_LIMIT_BYTES: u64 = 32 << 20;
