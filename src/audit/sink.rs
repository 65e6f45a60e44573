//! The files that records go to: one directory or two, which get the same bytes; a record in either is enough.
//!
//! What a sink could not take waits in memory and is written first when it can be again. A sink that is gone for longer
//! than that gives up until the next segment; the other one has what it missed.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use crate::audit::segment::Segment;
use crate::telemetry::labels::Sink as Name;

/// One directory.
#[derive(Debug)]
pub(in crate::audit) struct Sink {
    name: Name,
    directory: PathBuf,
    segment: Option<Segment>,
    file: Option<File>,
    written: u64,
    waiting: Vec<u8>,
    reserve: u64,
    given_up: bool,
}

impl Sink {
    /// A sink that holds back `reserve` bytes.
    pub(in crate::audit) fn new(name: Name, directory: PathBuf, reserve: u64) -> Self {
        Self {
            name,
            directory,
            segment: None,
            file: None,
            written: 0,
            waiting: Vec::new(),
            reserve,
            given_up: false,
        }
    }

    /// Which one it is.
    pub(in crate::audit) const fn name(&self) -> Name {
        self.name
    }

    /// Begins a segment; what still waits for the old one is tried a last time.
    pub(in crate::audit) fn begin(&mut self, node: &str, boot: &str, first: u64) {
        let _tried = self.flush();
        self.segment = Some(Segment::new(&self.directory, node, boot, first));
        self.file = None;
        self.written = 0;
        self.waiting.clear();
        self.given_up = false;
    }

    /// Takes whole lines, to write them at the next [`Self::flush`].
    pub(in crate::audit) fn take(&mut self, lines: &[u8]) {
        if self.waiting.len() + lines.len() > WAITING_BYTES {
            self.given_up = true;
            self.waiting.clear();
        }
        if !self.given_up {
            self.waiting.extend_from_slice(lines);
        }
    }

    /// Writes what waits. After an error the file is cut back to its last whole line, so that a retry leaves no half one.
    pub(in crate::audit) fn flush(&mut self) -> io::Result<()> {
        if self.given_up {
            return Err(io::Error::other(
                "it was gone for too long, and is left alone until the next segment",
            ));
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = self.written;
        let mut file = self.open()?;
        match file.write_all(&self.waiting) {
            Ok(()) => {
                self.written += self.waiting.len() as u64;
                self.waiting.clear();
                Ok(())
            }
            Err(error) => {
                file.set_len(written)?;
                Err(error)
            }
        }
    }

    fn open(&mut self) -> io::Result<File> {
        let segment = self.segment.as_ref().ok_or_else(|| io::Error::other("no segment"))?;
        if self.file.is_none() {
            std::fs::create_dir_all(&self.directory)?;
            self.file = Some(append(&segment.plain())?);
        }
        // a second handle of the same open file, so that the buffer can be borrowed meanwhile
        self.file.as_ref().ok_or_else(|| io::Error::other("no file"))?.try_clone()
    }

    /// Has the disk take what was written.
    pub(in crate::audit) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Adds a signed note beside the segment.
    pub(in crate::audit) fn note(&self, note: &str) -> io::Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let mut file = append(&segment.checkpoints())?;
        file.write_all(note.as_bytes())
    }

    /// Bytes of the segment, those that wait included.
    pub(in crate::audit) fn len(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    /// Holds space back, so that a full disk can still take what is under way.
    pub(in crate::audit) fn reserve(&self) -> io::Result<()> {
        let path = self.reserve_path();
        if std::fs::metadata(&path).is_ok_and(|found| found.len() >= self.reserve) {
            return Ok(());
        }
        std::fs::create_dir_all(&self.directory)?;
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let held =
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.reserve);
        match held {
            // a file system that cannot hold space back has none to give back either
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => {
                std::fs::remove_file(&path)?;
                Err(error.into())
            }
        }
    }

    /// Gives the space back; whether there was any.
    pub(in crate::audit) fn give_back(&self) -> bool {
        std::fs::remove_file(self.reserve_path()).is_ok()
    }

    fn reserve_path(&self) -> PathBuf {
        self.directory.join("reserve")
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// What one sink may miss while the other takes it: about fifty thousand records.
const WAITING_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_written_is_written_first_when_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("audit");
        // a file where the directory should be
        std::fs::write(&inner, "").unwrap();
        let mut sink = Sink::new(Name::Segment, inner.clone(), 4096);
        sink.begin("gw", &"0".repeat(32), 1);
        sink.take(b"one\n");
        assert!(sink.flush().is_err());
        sink.take(b"two\n");
        std::fs::remove_file(&inner).unwrap();
        sink.flush().unwrap();
        sink.sync().unwrap();
        let written =
            std::fs::read(Segment::new(&inner, "gw", &"0".repeat(32), 1).plain()).unwrap();
        assert_eq!(written, b"one\ntwo\n");
        sink.reserve().unwrap();
        assert!(sink.give_back() && !sink.give_back());
    }
}
