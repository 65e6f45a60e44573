//! The files that records go to in one directory.
//!
//! What a sink could not take waits in memory and is written first when it can be again. A sink that is gone for longer
//! than that gives up until the next segment; the other one has what it missed.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use crate::audit::keeper::Job;
use crate::audit::recover;
use crate::audit::recover::Before;
use crate::audit::segment::Segment;
use crate::telemetry::labels::Sink as Name;

/// What is asked of a sink. What must end up in its files comes in the order in which it is asked.
#[derive(Debug, Clone)]
pub(in crate::audit) enum Ask {
    /// Keep other gateways with this node's name out of the directory, and tell where its log stood.
    Look(Arc<str>),
    /// Begin a segment.
    Begin(Arc<Opening>),
    /// Write so many records, and before them what waits.
    Write(Arc<[u8]>, u64),
    /// Have the disk take what was written.
    Sync,
    /// Add a signed note beside the segment.
    Note(Arc<str>),
    /// Hold space back.
    Reserve,
    /// Give it back.
    GiveBack,
}

/// What a segment is called after.
#[derive(Debug)]
pub(in crate::audit) struct Opening {
    pub(in crate::audit) node: String,
    pub(in crate::audit) boot: String,
    pub(in crate::audit) first: u64,
}

/// What a sink did.
#[derive(Debug)]
pub(in crate::audit) enum Done {
    /// It looked, and this is what it found.
    Stood(Box<Before>),
    /// It wrote so many records.
    Written(u64),
    /// What it was asked.
    Well,
}

/// One directory.
#[derive(Debug)]
pub(in crate::audit) struct Sink {
    name: Name,
    directory: PathBuf,
    lock: Option<File>,
    segment: Option<Segment>,
    file: Option<File>,
    written: u64,
    waiting: Vec<u8>,
    waiting_records: u64,
    reserve: u64,
    given_up: bool,
    keeper: mpsc::Sender<Job>,
}

impl Sink {
    /// A sink that holds back `reserve` bytes, and who tidies up behind it.
    pub(in crate::audit) fn new(
        name: Name,
        directory: PathBuf,
        reserve: u64,
        keeper: mpsc::Sender<Job>,
    ) -> Self {
        Self {
            name,
            directory,
            lock: None,
            segment: None,
            file: None,
            written: 0,
            waiting: Vec::new(),
            waiting_records: 0,
            reserve,
            given_up: false,
            keeper,
        }
    }

    /// Which one it is.
    pub(in crate::audit) const fn name(&self) -> Name {
        self.name
    }

    /// Where it writes.
    pub(in crate::audit) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Does what is asked. Blocks for as long as the file system does.
    pub(in crate::audit) fn answer(&mut self, ask: &Ask) -> io::Result<Done> {
        match ask {
            Ask::Look(node) => return self.look(node),
            Ask::Begin(opening) => self.begin(opening),
            Ask::Write(lines, records) => {
                self.take(lines, *records);
                // it may have been too slow to tell that another gateway writes here; what else is wrong the write will tell
                let node = self.segment.as_ref().map(|segment| segment.node.clone());
                let locked = node.map_or(Ok(()), |node| self.lock(&node));
                locked.or_else(|error| match error.kind() {
                    io::ErrorKind::ResourceBusy => Err(error),
                    _ => Ok(()),
                })?;
                return self.flush().map(Done::Written);
            }
            Ask::Sync => self.sync()?,
            Ask::Note(note) => self.note(note)?,
            Ask::Reserve => self.reserve()?,
            Ask::GiveBack => std::fs::remove_file(self.reserve_path())?,
        }
        Ok(Done::Well)
    }

    fn look(&mut self, node: &str) -> io::Result<Done> {
        std::fs::create_dir_all(&self.directory)?;
        self.lock(node)?;
        recover::recover(&self.directory, node).map(|before| Done::Stood(Box::new(before)))
    }

    /// Keeps a second gateway with the same node name out of the directory: two writers would be two logs.
    fn lock(&mut self, node: &str) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let path = self.directory.join(format!("{LOCK}{node}{LOCKED}"));
        let held = File::create(path).map_err(TryLockError::Error).and_then(|file| {
            file.try_lock()?;
            Ok(file)
        });
        match held {
            Ok(file) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another modgate with this node name writes here: give each its own telemetry.node",
                ));
            }
            // a share that knows no locks, or is read-only just now, can be read all the same
            Err(TryLockError::Error(_)) if self.name == Name::Second => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(())
    }

    /// Begins a segment; what still waits for the old one is tried a last time. Only then is that one closed: whoever tidies
    /// hears of it here, and not from the writer, which may be far ahead.
    fn begin(&mut self, opening: &Opening) {
        let _tried = self.flush();
        let Opening { node, boot, first } = opening;
        self.segment = Some(Segment::new(&self.directory, node, boot, *first));
        self.file = None;
        self.written = 0;
        self.waiting.clear();
        self.waiting_records = 0;
        self.given_up = false;
        let _gone = self.keeper.send(Job::Tidy { before: *first });
    }

    /// Takes whole lines, to write them at the next [`Self::flush`].
    pub(in crate::audit) fn take(&mut self, lines: &[u8], records: u64) {
        if self.waiting.len() + lines.len() > WAITING_BYTES {
            self.given_up = true;
            self.waiting.clear();
            self.waiting_records = 0;
        }
        if !self.given_up {
            self.waiting.extend_from_slice(lines);
            self.waiting_records += records;
        }
    }

    /// Writes what waits; how many records it was. After an error the file is cut back to its last whole line, so that a
    /// retry leaves no half one.
    pub(in crate::audit) fn flush(&mut self) -> io::Result<u64> {
        if self.given_up {
            return Err(io::Error::other(
                "it was gone for too long, and is left alone until the next segment",
            ));
        }
        if self.waiting.is_empty() {
            return Ok(0);
        }
        let written = self.written;
        let mut file = self.open()?;
        match file.write_all(&self.waiting) {
            Ok(()) => {
                self.written += self.waiting.len() as u64;
                self.waiting.clear();
                Ok(std::mem::take(&mut self.waiting_records))
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

    /// Has the disk take all that there is.
    fn sync(&self) -> io::Result<()> {
        if self.given_up || !self.waiting.is_empty() {
            return Err(io::Error::other("there are records that it has not taken"));
        }
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    fn note(&self, note: &str) -> io::Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let mut file = append(&segment.checkpoints())?;
        file.write_all(note.as_bytes())
    }

    /// Holds space back, so that a full disk can still take what is under way.
    fn reserve(&self) -> io::Result<()> {
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

    fn reserve_path(&self) -> PathBuf {
        self.directory.join("reserve")
    }
}

/// Whether a file of this name is held by a gateway that writes beside it.
pub(in crate::audit) fn is_lock(name: &str) -> bool {
    name.starts_with(LOCK) && name.ends_with(LOCKED)
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

const LOCK: &str = "audit-";
const LOCKED: &str = ".lock";
/// What one sink may miss while the other takes it: about fifty thousand records.
pub(in crate::audit) const WAITING_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gateway_of_a_name_writes_into_a_directory_and_a_second_one_may_know_no_locks() {
        let directory = tempfile::tempdir().unwrap();
        let sink = |name| {
            let (keeper, _closed) = mpsc::channel();
            Sink::new(name, directory.path().to_owned(), 0, keeper)
        };
        let look = Ask::Look(Arc::from("gw"));
        let (mut one, mut other) = (sink(Name::Segment), sink(Name::Second));
        // asked again it still holds its own lock
        assert!(one.answer(&look).is_ok() && one.answer(&look).is_ok());
        assert_eq!(other.answer(&look).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert!(other.answer(&Ask::Look(Arc::from("gw-2"))).is_ok());
        std::fs::create_dir(directory.path().join("audit-gw-3.lock")).unwrap();
        let look = Ask::Look(Arc::from("gw-3"));
        assert!(sink(Name::Segment).answer(&look).is_err());
        assert!(sink(Name::Second).answer(&look).is_ok());
    }

    #[test]
    fn what_could_not_be_written_is_written_first_when_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("audit");
        // a file where the directory should be
        std::fs::write(&inner, "").unwrap();
        let (keeper, _closed) = mpsc::channel();
        let mut sink = Sink::new(Name::Segment, inner.clone(), 4096, keeper);
        let (node, boot) = ("gw".to_owned(), "0".repeat(32));
        sink.answer(&Ask::Begin(Arc::new(Opening { node, boot, first: 1 }))).unwrap();
        let write = |text: &str| Ask::Write(Arc::from(text.as_bytes()), 1);
        assert!(sink.answer(&write("one\n")).is_err());
        // what the disk was never given it cannot be said to have
        assert!(sink.answer(&Ask::Sync).is_err());
        std::fs::remove_file(&inner).unwrap();
        assert!(matches!(sink.answer(&write("two\n")), Ok(Done::Written(2))));
        sink.answer(&Ask::Sync).unwrap();
        let written =
            std::fs::read(Segment::new(&inner, "gw", &"0".repeat(32), 1).plain()).unwrap();
        assert_eq!(written, b"one\ntwo\n");
        sink.answer(&Ask::Reserve).unwrap();
        assert!(sink.answer(&Ask::GiveBack).is_ok() && sink.answer(&Ask::GiveBack).is_err());
    }
}
