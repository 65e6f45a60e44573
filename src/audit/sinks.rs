//! Where records go: one directory, or two that get the same bytes. A record in either is enough.
//!
//! **Alone.** One directory is written by the writer's own thread: nothing is handed over, and a disk that hangs holds up the
//! writer, which is all there is to do.
//!
//! **Apart.** Each of two directories has a thread of its own ([`carrier`]), which does what it is asked in order, so both get
//! the same bytes. The writer asks both and goes on when the first has done it ([`apart`]). A directory that hangs, in whatever
//! it was asked, holds up nobody: what it has not done yet is kept for it, 32 MiB at most before it is handed over and as much
//! again behind, and done first when it answers again. If that is too little it gets nothing more until the next segment, which
//! is begun within a minute of its answer; the other one has what it missed.
//!
//! **At a start** both tell where the log stood, and the one that knows more is believed. One that does not tell within
//! [`apart::START_PATIENCE`] of the other is left behind if that one knows this node's log; the first record names it. It is taken in
//! when it answers. Should it have held more than the other, numbers were given twice: that is logged then, and verification
//! finds it, as do witnesses. One that knows nothing of the log does not begin it anew while the other is silent.

mod apart;
mod carrier;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use crate::audit::keeper::Job;
use crate::audit::recover::Before;
use crate::audit::sink::Ask;
use crate::audit::sink::Done;
use crate::audit::sink::Opening;
use crate::audit::sink::Sink;
use crate::audit::sinks::apart::Apart;
use crate::audit::sinks::carrier::Carrier;
use crate::audit::sinks::carrier::Porter;
use crate::audit::writer::Settings;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuditResult;
use crate::telemetry::labels::Sink as Name;

/// Every directory of a log.
#[derive(Debug)]
pub(in crate::audit) struct Sinks {
    shape: Shape,
    telemetry: Arc<Telemetry>,
}

#[derive(Debug)]
enum Shape {
    Alone(Sink),
    Apart(Apart),
}

impl Sinks {
    /// The sinks of a log, and those that want a thread each. `closed` is asked for whom a directory tells of its closed
    /// segments.
    pub(in crate::audit) fn new(
        settings: &Settings,
        mut closed: impl FnMut(&Path) -> mpsc::Sender<Job>,
        telemetry: Arc<Telemetry>,
    ) -> (Self, Vec<Porter>) {
        let (config, reserve) = (&settings.config, settings.config.reserve);
        let mut sink = |name, directory: &PathBuf| {
            Sink::new(name, directory.clone(), reserve, closed(directory))
        };
        let first = sink(Name::Segment, &config.dir);
        let Some(second) = &config.second_dir else {
            return (Self { shape: Shape::Alone(first), telemetry }, Vec::new());
        };
        let sinks = [first, sink(Name::Second, second)];
        let (tell, told) = mpsc::channel();
        let (carriers, porters) = sinks
            .into_iter()
            .enumerate()
            .map(|(place, sink)| Carrier::new(place, sink, tell.clone()))
            .unzip();
        let apart = Apart::new(carriers, told, Arc::clone(&settings.clock), Arc::clone(&telemetry));
        (Self { shape: Shape::Apart(apart), telemetry }, porters)
    }

    /// Locks the directories for a node, and finds out where its log stood; to be asked again until it is known.
    pub(in crate::audit) fn look(&mut self, node: &str) -> io::Result<Before> {
        let ask = Ask::Look(Arc::from(node));
        match &mut self.shape {
            Shape::Alone(sink) => match sink.answer(&ask)? {
                Done::Stood(before) => Ok(*before),
                Done::Written(_) | Done::Well => Ok(Before::default()),
            },
            Shape::Apart(apart) => apart.look(&ask),
        }
    }

    /// Begins a segment.
    pub(in crate::audit) fn begin(&mut self, opening: Opening) {
        match &mut self.shape {
            Shape::Alone(sink) => {
                // it fails never: what it cannot do comes out at the first write
                let _begun = sink.answer(&Ask::Begin(Arc::new(opening)));
            }
            Shape::Apart(apart) => apart.begin(opening),
        }
    }

    /// Writes lines, and before them what waits; well if one has it all.
    pub(in crate::audit) fn write(&mut self, lines: &[u8], records: u64) -> io::Result<()> {
        match &mut self.shape {
            Shape::Alone(sink) => {
                sink.take(lines, records);
                let events = &self.telemetry.metrics().audit_events;
                match sink.flush() {
                    Ok(written) => events.add((sink.name(), AuditResult::Written), written),
                    Err(error) => {
                        events.count((sink.name(), AuditResult::Failed));
                        return Err(error);
                    }
                }
                Ok(())
            }
            Shape::Apart(apart) => apart.first(&Ask::Write(Arc::from(lines), records)),
        }
    }

    /// Has a disk take what was written; well if one has it all.
    pub(in crate::audit) fn sync(&mut self) -> io::Result<()> {
        self.one(&Ask::Sync)
    }

    /// Adds a signed note beside the segment; well if one did.
    pub(in crate::audit) fn note(&mut self, note: &str) -> io::Result<()> {
        self.one(&Ask::Note(Arc::from(note)))
    }

    /// Holds space back in each directory; well if one can.
    pub(in crate::audit) fn reserve(&mut self) -> io::Result<()> {
        self.one(&Ask::Reserve)
    }

    /// Gives held space back; whether there was any.
    pub(in crate::audit) fn give_back(&mut self) -> bool {
        self.one(&Ask::GiveBack).is_ok()
    }

    fn one(&mut self, ask: &Ask) -> io::Result<()> {
        match &mut self.shape {
            Shape::Alone(sink) => sink.answer(ask).map(|_done| ()),
            Shape::Apart(apart) => apart.first(ask),
        }
    }

    /// Hears what was done meanwhile, and tells of a directory that hangs or answers again.
    pub(in crate::audit) fn turn(&mut self) {
        if let Shape::Apart(apart) = &mut self.shape {
            apart.settle();
        }
    }

    /// Whether a new segment would let a directory in again that missed too much of this one.
    pub(in crate::audit) fn wants_segment(&self) -> bool {
        match &self.shape {
            Shape::Alone(_) => false,
            Shape::Apart(apart) => apart.wants_segment(),
        }
    }

    /// Waits until each has done what it was asked, for a while.
    pub(in crate::audit) fn close(self) {
        if let Shape::Apart(apart) = self.shape {
            apart.close();
        }
    }
}
