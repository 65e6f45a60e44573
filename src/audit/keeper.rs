//! Who tidies up behind the writer: closed segments are indexed, compressed, and removed when they are old enough.
//!
//! Agents that ship the audit read plain files, so a closed segment stays one for a while (`plain_for`): an agent that is away for
//! less goes on where it was. Since when a segment is closed its index tells, which is made then: the age of the records
//! would not do, because a gateway that was switched off together with the agent closes its last segment when it starts.
//!
//! A removal is recorded first, with the digest of what goes; index and checkpoints stay, so the log can be verified across
//! the hole. A failure is logged and tried again at the next look: when a segment is closed, or one has stayed plain for long enough.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use std::time::SystemTime;

use sha2::Digest as _;
use sha2::Sha256;
use tokio::sync::mpsc::WeakSender;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::audit::Item;
use crate::audit::event::Event;
use crate::audit::index;
use crate::audit::index::Form;
use crate::audit::index::Index;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::audit::segment;
use crate::audit::segment::Segment;
use crate::audit::writer::Settings;
use crate::clock::rfc3339_micros;
use crate::config::audit::Mode;
use crate::config::audit::Packing;
use crate::content::Sum;

/// What a directory asks of its keeper, when it has begun a segment itself.
#[derive(Debug, Clone, Copy)]
pub enum Job {
    /// Index every segment before the one that begins with this record, compress those for which it is time, and remove old ones.
    Tidy {
        /// The first record of the segment being written. By the time this is read another one may be, which begins later.
        before: u64,
    },
}

/// Tidies a directory until the writer is gone; one that hangs keeps no other from being tidied.
#[derive(Debug)]
pub(in crate::audit) struct Keeper {
    pub(in crate::audit) settings: Settings,
    pub(in crate::audit) directory: PathBuf,
    pub(in crate::audit) audit: WeakSender<Item>,
    pub(in crate::audit) work: Receiver<Job>,
}

impl Keeper {
    pub(in crate::audit) fn run(self) {
        let (mut closed_before, mut pause) = (0, LONGEST_PAUSE);
        loop {
            match self.work.recv_timeout(pause) {
                Ok(Job::Tidy { before }) => closed_before = before,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            pause = self.tidy(&self.directory, closed_before).unwrap_or_else(|error| {
                tracing::error!(%error, dir = %self.directory.display(), "closed audit segments could not be tidied");
                LONGEST_PAUSE
            });
        }
    }

    /// Tidies; gives the time after which the next segment has stayed plain for long enough. One that cannot be tidied, such
    /// as a damaged one, keeps no other from it.
    fn tidy(&self, directory: &Path, before: u64) -> io::Result<Duration> {
        let closed = segment::list(directory)?.into_iter().filter(|segment| {
            is_closed(segment, &self.settings.node, before) && segment.is_there()
        });
        // what is packed needs at most its index again, after an upgrade for instance, and can wait
        let (plain, packed): (Vec<_>, Vec<_>) =
            closed.partition(|segment| segment.plain().exists());
        let mut pause = LONGEST_PAUSE;
        for segment in plain.iter().chain(&packed) {
            let tidied = self.close_in_time(segment).and_then(|left| {
                self.retire(segment)?;
                Ok(left)
            });
            match tidied {
                Ok(left) => pause = left.map_or(pause, |left| pause.min(left)),
                Err(error) => {
                    let segment = &segment.stem;
                    tracing::error!(%error, segment, "a closed audit segment could not be tidied");
                }
            }
        }
        Ok(pause)
    }

    /// Gives a closed segment its index, and compresses it if it has stayed plain for long enough; the time left, if it has not.
    fn close_in_time(&self, segment: &Segment) -> io::Result<Option<Duration>> {
        let config = &self.settings.config;
        let waits = config.packing == Packing::Compress && !config.plain_for.is_zero();
        if waits && segment.plain().exists() {
            close(segment, Packing::Leave)?;
            let closed_at = std::fs::metadata(segment.index())?.modified()?;
            // a clock that was set back makes it wait longer, and never shorter
            let since = self.settings.clock.now().duration_since(closed_at).unwrap_or_default();
            let left = config.plain_for.saturating_sub(since);
            if !left.is_zero() {
                return Ok(Some(left));
            }
        }
        close(segment, config.packing)?;
        Ok(None)
    }

    /// Removes a segment whose newest record is older than segments are kept.
    fn retire(&self, segment: &Segment) -> io::Result<()> {
        let config = &self.settings.config;
        if config.hold {
            return Ok(());
        }
        let index = Index::open(segment)?;
        let kept = Duration::from_secs(u64::from(config.keep_days) * 86_400);
        let oldest = self.settings.clock.now().checked_sub(kept).unwrap_or(SystemTime::UNIX_EPOCH);
        let newest = index.head.to.as_str();
        if newest.is_empty() || newest >= rfc3339_micros(oldest).as_str() {
            return Ok(());
        }
        // without a place for its record nothing is removed; the next look will find it
        let Some(queue) = self.audit.upgrade() else { return Ok(()) };
        let Ok(place) = queue.try_reserve() else { return Ok(()) };
        let time = rfc3339_micros(self.settings.clock.now());
        let mut event =
            Event::bare(time, Name::AuditDelete, Uuid::now_v7().to_string(), Outcome::Allowed);
        event.detail = vec![
            ("segment", segment.stem.clone()),
            ("directory", segment.directory.display().to_string()),
            ("first", index.head.first.to_string()),
            ("last", index.head.last.to_string()),
            ("sha256", index.head.sha256),
            ("why", format!("older than {} days", config.keep_days)),
        ]
        .into();
        let (done, written) = oneshot::channel();
        place.send(Item { event, mode: Mode::Written, done: Some(done) });
        drop(queue);
        if written.blocking_recv().is_err() {
            return Ok(());
        }
        for path in [segment.plain(), segment.packed()] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether a node writes no more into a segment. Numbers go on across starts, so what begins earlier is older.
fn is_closed(segment: &Segment, node: &str, before: u64) -> bool {
    segment.node == node && segment.first < before
}

/// Gives a closed segment its index, and compresses it. What is done already is left alone.
pub fn close(segment: &Segment, packing: Packing) -> io::Result<()> {
    // one that was begun on a full disk and got nothing has nothing to compress: nobody could read it back
    let holds = std::fs::metadata(segment.plain()).map_or(0, |found| found.len());
    if holds > 0 && packing == Packing::Compress {
        compress_segment(segment)?;
        index::build_of(segment, Form::Packed)?;
        return std::fs::remove_file(segment.plain());
    }
    Index::open(segment).map(drop)
}

/// Compresses a segment block by block, so that a query inflates only the blocks it needs; any tool that knows zstd reads
/// the whole.
fn compress_segment(segment: &Segment) -> io::Result<()> {
    let mut plain = segment.open()?;
    let staged = segment.directory.join(format!("{}.staged", segment.stem));
    let mut packed = io::BufWriter::new(File::create(&staged)?);
    let mut deflate = zstd::bulk::Compressor::new(LEVEL)?;
    let mut block = Vec::with_capacity(index::BLOCK_BYTES * 2);
    loop {
        block.clear();
        index::read_lines(&mut plain, index::BLOCK_BYTES, &mut block)?;
        if block.is_empty() {
            break;
        }
        packed.write_all(&deflate.compress(&block)?)?;
    }
    let packed = packed.into_inner().map_err(io::IntoInnerError::into_error)?;
    packed.sync_all()?;
    std::fs::set_permissions(&staged, std::fs::metadata(segment.plain())?.permissions())?;
    std::fs::rename(&staged, segment.packed())
}

/// The SHA-256 of a file.
pub fn digest(path: &Path) -> io::Result<Sum> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
    Ok(Sum::from(hash))
}

/// A look at least so often: what is too old goes although nothing is written.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);
/// A seventh of the size at a gigabyte in two seconds. Blocks are so small that a higher level finds no more in them.
const LEVEL: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_got_no_record_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let empty = Segment::new(directory.path(), "gw", &"0191".repeat(8), 4);
        File::create(empty.plain()).unwrap();
        close(&empty, Packing::Compress).unwrap();
        assert!(empty.plain().exists() && !empty.packed().exists() && empty.index().exists());
    }

    #[test]
    fn a_segment_that_was_begun_since_the_keeper_was_told_is_left_alone() {
        let segment = |node, first| Segment::new(Path::new("d"), node, &"0191".repeat(8), first);
        assert!(is_closed(&segment("gw", 1), "gw", 68));
        for open in [segment("gw", 68), segment("gw", 135), segment("other", 1)] {
            assert!(!is_closed(&open, "gw", 68), "{open:?}");
        }
    }
}
