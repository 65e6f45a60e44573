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

/// Where an entry's sizes and checksum stand besides the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::goproxy::zipfile) enum Sizes {
    /// In the local header.
    Before,
    /// In a descriptor after the data (flag bit 3); the local header may say zero.
    After,
}

impl Sizes {
    pub(in crate::goproxy::zipfile) fn of(flags: u16) -> Self {
        if flags & DESCRIPTOR == 0 { Self::Before } else { Self::After }
    }
}

/// One entry, as the directory has it.
#[derive(Debug, Clone)]
pub(in crate::goproxy::zipfile) struct Entry {
    pub(in crate::goproxy::zipfile) name: String,
    pub(in crate::goproxy::zipfile) method: Method,
    pub(in crate::goproxy::zipfile) crc: u32,
    pub(in crate::goproxy::zipfile) packed: u64,
    pub(in crate::goproxy::zipfile) unpacked: u64,
    pub(in crate::goproxy::zipfile) sizes: Sizes,
    /// Where its local header begins.
    pub(in crate::goproxy::zipfile) offset: u64,
    /// Where the directory begins: no data reaches there.
    pub(in crate::goproxy::zipfile) limit: u64,
}

impl Entry {
    /// Whether the name is one of a directory, which has no content.
    pub(in crate::goproxy::zipfile) fn is_directory(&self) -> bool {
        self.name.ends_with('/')
    }
}

/// Where the directory lies and how many entries it says it has.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    len: u64,
    count: u64,
}

/// Reads little-endian numbers from a slice, front to back.
pub(in crate::goproxy::zipfile) struct Fields<'a>(pub(in crate::goproxy::zipfile) &'a [u8]);

impl<'a> Fields<'a> {
    pub(in crate::goproxy::zipfile) fn take(&mut self, count: usize) -> Result<&'a [u8], ZipError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DAMAGED)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(in crate::goproxy::zipfile) fn u16(&mut self) -> Result<u16, ZipError> {
        self.take(2)?.try_into().map(u16::from_le_bytes).map_err(|_| DAMAGED)
    }

    pub(in crate::goproxy::zipfile) fn u32(&mut self) -> Result<u32, ZipError> {
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| DAMAGED)
    }

    pub(in crate::goproxy::zipfile) fn u64(&mut self) -> Result<u64, ZipError> {
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
///
/// Of several marks only the last one counts, as it does for Go. Going on to an earlier one would find an archive
/// whose comment hides a second archive, and the go command would unpack that one.
fn find<R: Read + Seek>(reader: &mut R, size: u64) -> Result<Place, ZipError> {
    let tail_len = size.min(END_BYTES + COMMENT_LIMIT_BYTES);
    let tail = read_at(reader, size - tail_len, tail_len)?;
    let at = tail.windows(4).rposition(|four| four == b"PK\x05\x06").ok_or(ZipError::NotAZip)?;
    let mut fields = Fields(tail.get(at + 4..).unwrap_or_default());
    let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
    let (here, count) = (fields.u16()?, fields.u16()?);
    let (len, offset) = (fields.u32()?, fields.u32()?);
    if usize::from(fields.u16()?) != fields.0.len() {
        return Err(ZipError::NotAZip);
    }
    if disk != 0 || directory_disk != 0 || here != count {
        return Err(ZipError::Directory("it is one part of several"));
    }
    let end = size - tail_len + at as u64;
    let Some(wide) = find64(reader, end)? else {
        return ends_at(Place { offset: offset.into(), len: len.into(), count: count.into() }, end);
    };
    let same = (count == u16::MAX || u64::from(count) == wide.count)
        && (len == u32::MAX || u64::from(len) == wide.len)
        && (offset == u32::MAX || u64::from(offset) == wide.offset);
    if same { Ok(wide) } else { Err(CONTRADICTION) }
}

/// The 64-bit end record, found through its locator right before the plain one; `None` if there is no locator.
///
/// A locator counts whatever the plain record says: readers differ in which of its numbers makes them look for one.
fn find64<R: Read + Seek>(reader: &mut R, end: u64) -> Result<Option<Place>, ZipError> {
    let Some(locator_at) = end.checked_sub(20) else { return Ok(None) };
    let locator = read_at(reader, locator_at, 20)?;
    let mut fields = Fields(&locator);
    let (mark, disk, at, disks) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u32()?);
    if mark != 0x0706_4b50 {
        return Ok(None);
    }
    if disk != 0 || disks != 1 || at.checked_add(56) != Some(locator_at) {
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
    ends_at(Place { offset, len: directory_len, count }, at).map(Some)
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
    let (name, sizes) = (text.to_owned(), Sizes::of(flags));
    Ok(Entry { name, method, crc, packed, unpacked, sizes, offset, limit })
}

/// Size, packed size and offset; those that do not fit 32 bits stand in the 64-bit field, in this order.
///
/// Some writers put all of them there. What stands in both places must agree, and a number that is needed must
/// not come after one that is not, for Go takes the first ones it finds.
fn wide(extra: &[u8], narrow: [u32; 3]) -> Result<[u64; 3], ZipError> {
    let mut numbers = narrow.map(u64::from);
    let needed = narrow.iter().filter(|number| **number == u32::MAX).count();
    let Some(field) = field64(extra)? else {
        return if needed == 0 { Ok(numbers) } else { Err(DAMAGED) };
    };
    // the disk number may follow
    let bare = field.len() == needed * 8 || field.len() == needed * 8 + 4;
    let mut fields = Fields(field);
    let mut repeated = false;
    for (number, narrow) in numbers.iter_mut().zip(narrow) {
        if narrow == u32::MAX && repeated {
            return Err(CONTRADICTION);
        } else if narrow == u32::MAX {
            *number = fields.u64()?;
        } else if !bare && fields.0.len() >= 8 {
            repeated = true;
            if fields.u64()? != *number {
                return Err(CONTRADICTION);
            }
        }
    }
    Ok(numbers)
}

/// The 64-bit field among the extra fields. A broken tail of them is passed over, as Go does; a second one is not.
pub(in crate::goproxy::zipfile) fn field64(extra: &[u8]) -> Result<Option<&[u8]>, ZipError> {
    let mut fields = Fields(extra);
    let mut found = None;
    while fields.0.len() >= 4 {
        let (id, len) = (fields.u16()?, fields.u16()?);
        let Ok(field) = fields.take(len.into()) else { break };
        if id == 1 && found.replace(field).is_some() {
            return Err(CONTRADICTION);
        }
    }
    Ok(found)
}

/// Reads exactly `len` bytes.
pub(in crate::goproxy::zipfile) fn read_at<R: Read + Seek>(
    reader: &mut R,
    at: u64,
    len: u64,
) -> Result<Vec<u8>, ZipError> {
    let mut bytes = Vec::new();
    reader.seek(SeekFrom::Start(at)).map_err(ZipError::unread)?;
    reader.take(len).read_to_end(&mut bytes).map_err(ZipError::unread)?;
    if bytes.len() as u64 == len { Ok(bytes) } else { Err(DAMAGED) }
}

const CONTRADICTION: ZipError = ZipError::Directory("its 64-bit numbers contradict the plain ones");
pub(in crate::goproxy::zipfile) const DAMAGED: ZipError =
    ZipError::Directory("it ends early or points elsewhere");
/// Bit 0: encrypted; bit 6: strongly; bit 13: the directory itself.
pub(in crate::goproxy::zipfile) const ENCRYPTED: u16 = 0x2041;
/// Bit 3: sizes and checksum follow the data.
const DESCRIPTOR: u16 = 0x0008;
/// The end record without its comment.
const END_BYTES: u64 = 22;
/// A comment's length has 16 bits.
const COMMENT_LIMIT_BYTES: u64 = 65_535;
/// The largest modules have a tenth of that.
const ENTRIES_LIMIT: u64 = 100_000;
/// 100,000 names of 300 bytes.
const DIRECTORY_LIMIT_BYTES: u64 = 32 << 20;
