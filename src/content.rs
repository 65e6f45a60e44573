//! Bytes whose length and SHA-256 are known, in memory or spooled to a file; not yet trusted by anybody.

pub mod validator;

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use sha2::Digest as _;
use sha2::Sha256;

/// A SHA-256 sum; displays as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sum([u8; 32]);

impl Sum {
    /// The sum of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hex digits of either case; anything else is `None`.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut sum = [0_u8; 32];
        for (byte, pair) in sum.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(sum))
    }
}

impl From<Sha256> for Sum {
    /// The sum of everything the hasher was given.
    fn from(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Where the bytes are. A file is held open, so removing its name does not disturb a reader.
#[derive(Debug, Clone)]
enum Body {
    Memory(Bytes),
    File(Arc<File>),
}

/// Bytes with known length and SHA-256. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Content {
    body: Body,
    len: u64,
    sum: Sum,
}

impl Content {
    /// Content from memory; the sum is computed here.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let sum = Sum::of(&bytes);
        Self { len: bytes.len() as u64, sum, body: Body::Memory(bytes) }
    }

    /// Content from an open file, which is read once to learn length and sum. Blocking.
    pub fn from_file(file: File) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0_u8; BUFFER_BYTES];
        let mut len = 0_u64;
        loop {
            let read = file.read_at(&mut buffer, len)?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
            hasher.update(part);
            len += read as u64;
        }
        Ok(Self { body: Body::File(Arc::new(file)), len, sum: Sum(hasher.finalize().into()) })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The SHA-256 of the bytes as they were received or stored.
    pub fn sum(&self) -> Sum {
        self.sum
    }

    /// The bytes, if they are in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes),
            Body::File(_) => None,
        }
    }

    /// The open file, if they are spooled.
    pub fn as_file(&self) -> Option<&Arc<File>> {
        match &self.body {
            Body::Memory(_) => None,
            Body::File(file) => Some(file),
        }
    }

    /// All bytes in memory, if there are at most `limit` of them. Blocking for a spooled body.
    pub fn to_bytes(&self, limit: u64) -> io::Result<Bytes> {
        if self.len > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "content is over the limit"));
        }
        match &self.body {
            Body::Memory(bytes) => Ok(bytes.clone()),
            Body::File(_) => {
                let mut bytes = Vec::with_capacity(usize::try_from(self.len).unwrap_or(0));
                self.reader().read_to_end(&mut bytes)?;
                Ok(Bytes::from(bytes))
            }
        }
    }

    /// A reader from the first byte. Blocking for a spooled body.
    pub fn reader(&self) -> Reader {
        Reader { content: self.clone(), at: 0 }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.body {
            Body::File(file) => file.read_at(buffer, at),
            Body::Memory(bytes) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let rest = bytes.get(from..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                for (to, byte) in buffer.iter_mut().zip(rest) {
                    *to = *byte;
                }
                Ok(count)
            }
        }
    }
}

/// Reads content from front to back, or anywhere.
#[derive(Debug)]
pub struct Reader {
    content: Content,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.content.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// Takes bytes as they arrive: a small body stays in memory, a larger one goes to a nameless file.
///
/// Writing blocks, so a spool is fed on the fetch runtime and never on a listener's worker.
#[derive(Debug)]
pub struct Spool {
    directory: Arc<Path>,
    limit: u64,
    buffer: BytesMut,
    file: Option<File>,
    hasher: Sha256,
    len: u64,
}

/// Why a spool did not take more bytes.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The body is longer than the limit, given in bytes.
    #[error("the body is longer than {0} bytes")]
    TooLarge(u64),
    /// The spool file could not be made or written.
    #[error("the spool could not be written")]
    Io(#[from] io::Error),
}

impl Spool {
    /// A spool that refuses more than `limit` bytes and puts its file into `directory`.
    pub fn new(directory: Arc<Path>, limit: u64) -> Self {
        Self {
            directory,
            limit,
            buffer: BytesMut::new(),
            file: None,
            hasher: Sha256::new(),
            len: 0,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.len += bytes.len() as u64;
        if self.len > self.limit {
            return Err(SpoolError::TooLarge(self.limit));
        }
        self.hasher.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was taken yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole, with its sum.
    pub fn finish(mut self) -> Result<Content, SpoolError> {
        if self.file.is_some() {
            self.flush()?;
        }
        let sum = Sum(self.hasher.finalize().into());
        let body = match self.file {
            Some(file) => Body::File(Arc::new(file)),
            None => Body::Memory(self.buffer.freeze()),
        };
        Ok(Content { body, len: self.len, sum })
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match self.file.as_mut() {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(&self.directory)?),
        };
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Bytes read or written at once, and the size up to which a body stays in memory: large enough that
/// system calls do not count, small enough that a hundred transfers do not either.
const BUFFER_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(limit: u64) -> Spool {
        Spool::new(Arc::from(std::env::temp_dir()), limit)
    }

    #[test]
    fn a_small_body_stays_in_memory_and_a_large_one_is_spooled() {
        for size in [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, 3 * BUFFER_BYTES + 7] {
            let bytes: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut spool = spool(u64::MAX);
            for part in bytes.chunks(1000) {
                spool.push(part).unwrap();
            }
            let content = spool.finish().unwrap();
            assert_eq!(content.in_memory().is_some(), size < BUFFER_BYTES);
            assert_eq!(content.sum(), Sum::of(&bytes));
            assert_eq!(content.to_bytes(u64::MAX).unwrap(), bytes);
            let mut tail = Vec::new();
            let mut reader = content.reader();
            reader.seek(SeekFrom::End(-i64::try_from(size / 2).unwrap())).unwrap();
            reader.read_to_end(&mut tail).unwrap();
            assert_eq!(tail, bytes[size - size / 2..]);
        }
    }

    #[test]
    fn a_body_over_its_limit_is_refused_at_the_first_byte_too_many() {
        let mut spool = spool(10);
        spool.push(&[0; 10]).unwrap();
        assert!(matches!(spool.push(&[0]), Err(SpoolError::TooLarge(10))));
    }

    #[test]
    fn a_sum_survives_hex() {
        let sum = Sum::of(b"x");
        assert_eq!(Sum::from_hex(&sum.to_string()), Some(sum));
        assert_eq!(Sum::from_hex("+f"), None);
        assert_eq!(Sum::from_hex(&"+f".repeat(32)), None);
    }
}
