//! Contents of entries: inflated in small pieces, hashed, and held against what the directory declares.

use std::io;
use std::io::Read;

use flate2::Crc;
use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;
use sha2::Digest as _;
use sha2::Sha256;

use crate::content::Sum;
use crate::goproxy::zipfile::ZipError;
use crate::goproxy::zipfile::directory::Entry;
use crate::goproxy::zipfile::directory::Method;
use crate::goproxy::zipfile::names;

/// Reads one content after another with the same buffers: a zip has up to 100,000.
pub(in crate::goproxy::zipfile) struct Contents {
    inflate: Decompress,
    packed: Vec<u8>,
    plain: Vec<u8>,
}

/// The plain bytes of one entry so far.
struct Running {
    hasher: Sha256,
    crc: Crc,
    len: u64,
}

impl Running {
    fn new() -> Self {
        Self { hasher: Sha256::new(), crc: Crc::new(), len: 0 }
    }

    /// Takes more bytes; `None` as soon as there are more than declared.
    fn take(&mut self, part: &[u8], entry: &Entry) -> Option<()> {
        self.len += part.len() as u64;
        self.hasher.update(part);
        self.crc.update(part);
        (self.len <= entry.unpacked).then_some(())
    }

    fn finish(self, entry: &Entry) -> Option<Sum> {
        let right = self.len == entry.unpacked && self.crc.sum() == entry.crc;
        right.then(|| Sum::from(self.hasher))
    }
}

impl Contents {
    pub(in crate::goproxy::zipfile) fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            packed: vec![0; BUFFER_BYTES],
            plain: vec![0; BUFFER_BYTES],
        }
    }

    /// The sum of the content that begins where the reader stands, if it is exactly what is declared.
    pub(in crate::goproxy::zipfile) fn sum<R: Read>(
        &mut self,
        reader: &mut R,
        entry: &Entry,
    ) -> Result<Sum, ZipError> {
        let mut packed = reader.take(entry.packed);
        let sum = match entry.method {
            Method::Stored => self.stored(&mut packed, entry)?,
            Method::Deflated => self.deflated(&mut packed, entry)?,
        };
        sum.ok_or_else(|| ZipError::Data(names::shown(&entry.name)))
    }

    fn stored<R: Read>(&mut self, packed: &mut R, entry: &Entry) -> Result<Option<Sum>, ZipError> {
        let mut running = Running::new();
        loop {
            let part = fill(packed, &mut self.packed)?;
            if part.is_empty() {
                return Ok(running.finish(entry));
            }
            if running.take(part, entry).is_none() {
                return Ok(None);
            }
        }
    }

    /// `None` also for a stream that stops early or ends before its packed bytes do.
    fn deflated<R: Read>(
        &mut self,
        packed: &mut R,
        entry: &Entry,
    ) -> Result<Option<Sum>, ZipError> {
        self.inflate.reset(false);
        let mut running = Running::new();
        let mut read = 0_u64;
        let mut input: &[u8] = &[];
        loop {
            if input.is_empty() {
                input = fill(packed, &mut self.packed)?;
                read += input.len() as u64;
            }
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, &mut self.plain, FlushDecompress::None);
            let consumed = count(self.inflate.total_in() - before.0);
            let produced = count(self.inflate.total_out() - before.1);
            let (Ok(status), Some(rest), Some(part)) =
                (status, input.get(consumed..), self.plain.get(..produced))
            else {
                return Ok(None);
            };
            input = rest;
            if running.take(part, entry).is_none() {
                return Ok(None);
            }
            match status {
                Status::StreamEnd if input.is_empty() && read == entry.packed => {
                    return Ok(running.finish(entry));
                }
                Status::StreamEnd => return Ok(None),
                // more bytes were asked for above, and there were none
                Status::Ok | Status::BufError if consumed == 0 && produced == 0 => return Ok(None),
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

/// The next bytes, at most a buffer full; none at the end.
fn fill<'a, R: Read>(reader: &mut R, buffer: &'a mut [u8]) -> Result<&'a [u8], ZipError> {
    loop {
        match reader.read(buffer) {
            Ok(count) => return Ok(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ZipError::unread(error)),
        }
    }
}

/// A count within a buffer.
fn count(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Bytes read or inflated at once.
const BUFFER_BYTES: usize = 64 * 1024;
