//! One directory with a thread of its own: what was asked of it, what it has answered, and how much may wait.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use crate::audit::recover::Before;
use crate::audit::sink::Ask;
use crate::audit::sink::Done;
use crate::audit::sink::Sink;
use crate::audit::sink::WAITING_BYTES;
use crate::telemetry::labels::Sink as Name;

/// What a thread of a directory was asked, and what came of it.
#[derive(Debug)]
pub(in crate::audit::sinks) struct Reply {
    pub(in crate::audit::sinks) place: usize,
    pub(in crate::audit::sinks) number: u64,
    pub(in crate::audit::sinks) ask: Ask,
    pub(in crate::audit::sinks) done: io::Result<Done>,
}

/// The end that does the work; it wants a thread.
#[derive(Debug)]
pub(in crate::audit) struct Porter {
    place: usize,
    sink: Sink,
    asks: mpsc::Receiver<(u64, Ask)>,
    tell: mpsc::Sender<Reply>,
}

impl Porter {
    /// Does what is asked, in order, until nobody asks any more.
    pub(in crate::audit) fn run(mut self) {
        while let Ok(first) = self.asks.recv() {
            let more = std::iter::from_fn(|| self.asks.try_recv().ok());
            let some: Vec<_> = std::iter::once(first).chain(more.take(AT_ONCE - 1)).collect();
            self.serve(some);
        }
    }

    /// A disk that is slower than the other one is asked to sync once for all that waits, or it would never catch up.
    fn serve(&mut self, some: Vec<(u64, Ask)>) {
        // until the file changes, the last sync is one for those before it
        let stretch = |ask: &Ask| !matches!(ask, Ask::Begin(_));
        let is_sync = |ask: &Ask| matches!(ask, Ask::Sync);
        let mut held = Vec::new();
        let mut rest = some.into_iter();
        while let Some((number, ask)) = rest.next() {
            let later = rest.as_slice().iter().map(|(_, ask)| ask).take_while(|ask| stretch(ask));
            if is_sync(&ask) && later.clone().any(is_sync) {
                held.push((number, ask, None));
                continue;
            }
            let done = self.sink.answer(&ask);
            let synced = is_sync(&ask).then(|| done.as_ref().err().map(again));
            held.push((number, ask, Some(done)));
            let waits = held.iter().any(|(_, _, done)| done.is_none());
            if waits && synced.is_none() {
                continue;
            }
            for (number, ask, done) in held.drain(..) {
                let done = done.unwrap_or_else(|| match synced.as_ref().and_then(Option::as_ref) {
                    Some(error) => Err(again(error)),
                    None => Ok(Done::Well),
                });
                // whoever no longer listens still wants it done
                let _gone = self.tell.send(Reply { place: self.place, number, ask, done });
            }
        }
    }
}

/// How a directory stands, as it was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit::sinks) enum Standing {
    /// It does what it is asked.
    Well,
    /// It refuses to write.
    Failing,
    /// It does not answer.
    Hanging,
}

/// The end that asks.
#[derive(Debug)]
pub(in crate::audit::sinks) struct Carrier {
    pub(in crate::audit::sinks) name: Name,
    pub(in crate::audit::sinks) directory: PathBuf,
    /// What it knew of the log at the start, if it has told.
    pub(in crate::audit::sinks) stood: Option<Box<Before>>,
    pub(in crate::audit::sinks) standing: Standing,
    asks: mpsc::Sender<(u64, Ask)>,
    asked: u64,
    answered: u64,
    /// The number of the last write it was asked.
    wrote: u64,
    /// Since when it has had something to answer, or its last answer.
    heard_at: Option<Instant>,
    /// How much waits for it.
    load: usize,
    /// It missed something, and gets nothing until the next segment.
    given_up: bool,
    /// Its last write failed.
    pub(in crate::audit::sinks) failing: bool,
}

impl Carrier {
    /// Both ends for a directory.
    pub(in crate::audit::sinks) fn new(
        place: usize,
        sink: Sink,
        tell: mpsc::Sender<Reply>,
    ) -> (Self, Porter) {
        let (asks, asked) = mpsc::channel();
        let carrier = Self {
            name: sink.name(),
            directory: sink.directory().to_owned(),
            stood: None,
            standing: Standing::Well,
            asks,
            asked: 0,
            answered: 0,
            wrote: 0,
            heard_at: None,
            load: 0,
            given_up: false,
            failing: false,
        };
        (carrier, Porter { place, sink, asks: asked, tell })
    }

    /// Asks; the number to wait for, if it was asked. While it hangs it is asked only what its files must hold in the end.
    pub(in crate::audit::sinks) fn ask(&mut self, ask: &Ask, now: Instant) -> Option<u64> {
        let passes = match ask {
            // a retry adds nothing to what is under way
            Ask::Write(lines, _) if lines.is_empty() && self.wrote > self.answered => {
                return Some(self.wrote);
            }
            Ask::Sync | Ask::Reserve | Ask::GiveBack => self.standing != Standing::Hanging,
            Ask::Write(..) | Ask::Note(_) => true,
            Ask::Look(_) | Ask::Begin(_) => {
                self.given_up = false;
                true
            }
        };
        if !passes || self.given_up {
            return None;
        }
        if self.load + weight(ask) > WAITING_BYTES
            || self.asks.send((self.asked + 1, ask.clone())).is_err()
        {
            self.given_up = true;
            tracing::error!(
                dir = %self.directory.display(),
                "a directory of the audit misses more than is kept for it: it gets nothing until the next segment, and the other one has it all"
            );
            return None;
        }
        self.load += weight(ask);
        self.asked += 1;
        if matches!(ask, Ask::Write(..)) {
            self.wrote = self.asked;
        }
        self.heard_at.get_or_insert(now);
        Some(self.asked)
    }

    /// Hears an answer.
    pub(in crate::audit::sinks) fn hear(&mut self, number: u64, ask: &Ask, now: Instant) {
        self.answered = number;
        self.load -= weight(ask).min(self.load);
        self.heard_at = if self.is_idle() { None } else { Some(now) };
    }

    /// How much waits for it, in bytes.
    #[cfg(test)]
    pub(in crate::audit::sinks) const fn load_of(&self) -> usize {
        self.load
    }

    /// Notes how it stands, and tells it once.
    pub(in crate::audit::sinks) fn stand(&mut self, standing: Standing, why: &str) {
        let before = std::mem::replace(&mut self.standing, standing);
        let dir = self.directory.display();
        let told = match (before, standing) {
            (Standing::Hanging, Standing::Well) => "answers again",
            (_, Standing::Well) => "can be written again",
            (_, Standing::Failing) => "cannot be written",
            (_, Standing::Hanging) => "hangs",
        };
        if before == standing {
            return;
        }
        if standing == Standing::Well {
            tracing::info!(%dir, why, "a directory of the audit {told}");
        } else {
            tracing::error!(%dir, why, "a directory of the audit {told}");
        }
    }

    /// Whether everything it was asked is answered.
    pub(in crate::audit::sinks) const fn is_idle(&self) -> bool {
        self.answered == self.asked
    }

    /// Whether it could take records again, and is left out until the next segment.
    pub(in crate::audit::sinks) fn wants_segment(&self) -> bool {
        self.given_up && self.is_idle() && self.standing == Standing::Well
    }

    /// Whether it has all that it should have.
    pub(in crate::audit::sinks) fn has_all(&self) -> bool {
        !self.given_up && !self.failing && self.is_idle()
    }

    /// Whether it has had time enough to answer.
    pub(in crate::audit::sinks) fn is_overdue(&self, now: Instant) -> bool {
        self.heard_at.is_some_and(|at| now.saturating_duration_since(at) >= HANGS_AFTER)
    }
}

/// The same error for somebody else.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// What an ask takes of the memory that waits; a small one something too, so that their number is bounded.
fn weight(ask: &Ask) -> usize {
    let holds = match ask {
        Ask::Write(lines, _) => lines.len(),
        Ask::Note(note) => note.len(),
        Ask::Look(_) | Ask::Begin(_) | Ask::Sync | Ask::Reserve | Ask::GiveBack => 0,
    };
    holds + ASK_BYTES
}

/// A directory that says nothing for this long hangs; slow ones answer within it.
const HANGS_AFTER: Duration = Duration::from_secs(1);
/// Asks that are looked at together.
const AT_ONCE: usize = 256;
/// An ask in the queue, with what its allocations cost.
const ASK_BYTES: usize = 256;
