//! Two directories, each with a thread: both are asked, and whoever asks goes on when the first has done it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use std::time::Instant;

use crate::audit::recover;
use crate::audit::recover::Before;
use crate::audit::sink::Ask;
use crate::audit::sink::Done;
use crate::audit::sink::Opening;
use crate::audit::sinks::carrier::Carrier;
use crate::audit::sinks::carrier::Reply;
use crate::audit::sinks::carrier::Standing;
use crate::clock::Clock;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuditResult;

/// The directories, and what they answer.
#[derive(Debug)]
pub(in crate::audit::sinks) struct Apart {
    carriers: Vec<Carrier>,
    replies: Receiver<Reply>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    /// Since when they are asked where the log stood, and when the first that knows has told.
    looking: Option<(Instant, Option<Instant>)>,
    /// The record that this start began with.
    began: Option<u64>,
}

impl Apart {
    pub(in crate::audit::sinks) fn new(
        carriers: Vec<Carrier>,
        replies: Receiver<Reply>,
        clock: Arc<dyn Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self { carriers, replies, clock, telemetry, looking: None, began: None }
    }

    /// Asks each where the log stood, and goes on without one that has had time enough if the other one knows.
    pub(in crate::audit::sinks) fn look(&mut self, ask: &Ask) -> io::Result<Before> {
        self.settle();
        let now = self.clock.instant();
        self.looking.get_or_insert((now, None));
        for carrier in &mut self.carriers {
            if carrier.stood.is_none() && carrier.is_idle() {
                carrier.ask(ask, now);
            }
        }
        let mut failed = None;
        while self.carriers.iter().any(|carrier| !carrier.is_idle()) {
            let Some(Reply { done, .. }) = self.next(now + LOOK_PATIENCE) else { break };
            match done {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(error),
                Err(error) => failed = Some(error),
                Ok(_) => {}
            }
        }
        let silent: Vec<_> = self.carriers.iter().filter(|one| one.stood.is_none()).collect();
        if !silent.is_empty() && !self.has_waited() {
            let names: Vec<_> =
                silent.iter().map(|one| one.directory.display().to_string()).collect();
            let names = names.join(" and ");
            // one that refuses says more than one that is silent
            let kind = failed.as_ref().map_or(io::ErrorKind::TimedOut, io::Error::kind);
            let why =
                failed.map_or_else(|| "it does not answer".to_owned(), |error| error.to_string());
            return Err(io::Error::new(
                kind,
                format!(
                    "{names} does not tell where the log stood: {why}; mend it, or take it out of [audit]"
                ),
            ));
        }
        let unread = silent.into_iter().map(|one| one.directory.clone()).collect();
        let known = self
            .carriers
            .iter_mut()
            .filter_map(|one| one.stood.take().map(|before| *before))
            .collect();
        Ok(Before { unread, ..recover::newest(known) })
    }

    /// Whether one knows the log, and the other one has had time enough since: a while, and as long again as that one took.
    fn has_waited(&self) -> bool {
        let Some((since, Some(told))) = self.looking else { return false };
        let enough = START_PATIENCE + told.saturating_duration_since(since);
        self.clock.instant().saturating_duration_since(told) >= enough
    }

    /// Begins a segment in both.
    pub(in crate::audit::sinks) fn begin(&mut self, opening: Opening) {
        self.began.get_or_insert(opening.first);
        let (ask, now) = (Ask::Begin(Arc::new(opening)), self.clock.instant());
        for carrier in &mut self.carriers {
            carrier.ask(&ask, now);
        }
    }

    /// Asks both, and waits until one has done it, but not for long.
    pub(in crate::audit::sinks) fn first(&mut self, ask: &Ask) -> io::Result<()> {
        self.settle();
        let now = self.clock.instant();
        let mut wanted: Vec<_> =
            self.carriers.iter_mut().map(|carrier| carrier.ask(ask, now)).collect();
        if matches!(ask, Ask::Write(..)) {
            self.count_missing(&wanted);
        }
        let mut failed = None;
        while wanted.iter().any(Option::is_some) {
            let Some(Reply { place, number, done, .. }) = self.next(now + PATIENCE) else { break };
            let Some(mine) = wanted.get_mut(place).filter(|mine| **mine == Some(number)) else {
                continue;
            };
            match done {
                Ok(_) => return Ok(()),
                Err(error) => failed = Some(error),
            }
            *mine = None;
        }
        // one that is only slow may still do it; one that hangs is no reason to wait, and the other one's error says more
        let is_slow = self
            .carriers
            .iter()
            .zip(&wanted)
            .any(|(carrier, wanted)| wanted.is_some() && carrier.standing != Standing::Hanging);
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no directory of the audit answers");
        Err(failed.filter(|_| !is_slow).unwrap_or_else(late))
    }

    /// A directory that hangs, or gets nothing more, has not taken what it should have.
    fn count_missing(&self, wanted: &[Option<u64>]) {
        let events = &self.telemetry.metrics().audit_events;
        for (carrier, asked) in self.carriers.iter().zip(wanted) {
            if asked.is_none() || carrier.standing == Standing::Hanging {
                events.count((carrier.name, AuditResult::Failed));
            }
        }
    }

    /// Hears what was answered meanwhile.
    pub(in crate::audit::sinks) fn settle(&mut self) {
        while let Ok(mut reply) = self.replies.try_recv() {
            self.hear(&mut reply);
        }
        let now = self.clock.instant();
        for carrier in &mut self.carriers {
            if carrier.is_overdue(now) {
                carrier.stand(
                    Standing::Hanging,
                    "what it should hold is kept for it, some 32 MiB, and the other one takes it",
                );
            }
        }
    }

    fn next(&mut self, until: Instant) -> Option<Reply> {
        let left = until.saturating_duration_since(self.clock.instant());
        let mut reply = self.replies.recv_timeout(left).ok()?;
        self.hear(&mut reply);
        Some(reply)
    }

    fn hear(&mut self, reply: &mut Reply) {
        let now = self.clock.instant();
        let Some(carrier) = self.carriers.get_mut(reply.place) else { return };
        carrier.hear(reply.number, &reply.ask, now);
        let events = &self.telemetry.metrics().audit_events;
        match (&reply.ask, &mut reply.done) {
            (Ask::Write(..), Ok(Done::Written(records))) => {
                events.add((carrier.name, AuditResult::Written), *records);
                carrier.failing = false;
                if carrier.standing == Standing::Failing {
                    carrier.stand(Standing::Well, "it is taken by the disk");
                }
            }
            (Ask::Write(..), Err(error)) => {
                events.count((carrier.name, AuditResult::Failed));
                carrier.failing = true;
                carrier.stand(Standing::Failing, &error.to_string());
            }
            (Ask::Look(_), Ok(Done::Stood(before))) => {
                match (self.began, &mut self.looking) {
                    (Some(began), _) => late(before, began, &carrier.directory),
                    (None, Some((_, told))) if before.boot.is_some() => {
                        told.get_or_insert(now);
                    }
                    (None, _) => {}
                }
                carrier.stood = Some(std::mem::take(before));
            }
            (Ask::Note(_) | Ask::Sync, Err(error)) => failed(&reply.ask, error, &carrier.directory),
            (Ask::Look(_), Err(error)) if self.began.is_some() => {
                failed(&reply.ask, error, &carrier.directory);
            }
            _ => {}
        }
        if carrier.standing == Standing::Hanging && carrier.is_idle() {
            let standing = if carrier.failing { Standing::Failing } else { Standing::Well };
            carrier.stand(standing, "it has answered all that it was asked");
        }
    }

    /// Whether a directory that missed too much could take records again, and the other one has all of this segment: then a
    /// new one is better begun before that one is needed.
    pub(in crate::audit::sinks) fn wants_segment(&self) -> bool {
        self.carriers.iter().any(Carrier::wants_segment)
            && self.carriers.iter().any(Carrier::has_all)
    }

    /// Waits until each has done what it was asked, for a while.
    pub(in crate::audit::sinks) fn close(mut self) {
        let until = self.clock.instant() + LAST_WAIT;
        while self.carriers.iter().any(|carrier| !carrier.is_idle()) {
            if self.next(until).is_none() {
                break;
            }
        }
        for carrier in self.carriers.iter().filter(|carrier| !carrier.is_idle()) {
            tracing::error!(
                dir = %carrier.directory.display(),
                "a directory of the audit does not answer: the end of the log may be in the other one alone"
            );
        }
    }
}

/// What a directory knew that answers only after the log went on without it.
fn late(before: &Before, began: u64, directory: &Path) {
    let (dir, held) = (directory.display(), before.chain.next() - 1);
    if held >= began {
        tracing::error!(
            %dir, held, began,
            "a directory of the audit that did not answer at the start holds records that this start did not know: their numbers were given twice, which verification will say; keep both for the auditor"
        );
    } else {
        tracing::info!(%dir, "a directory of the audit that did not answer at the start does now");
    }
}

/// Tells what a directory could not do, apart from writing records.
fn failed(ask: &Ask, error: &io::Error, directory: &Path) {
    let what = match ask {
        Ask::Note(_) => "an audit checkpoint could not be kept beside its segment",
        Ask::Sync => "the audit could not be synced to disk",
        _ => "a directory of the audit cannot be read",
    };
    tracing::error!(dir = %directory.display(), %error, "{what}");
}

/// How long the writer waits for the first that answers: whoever waits for the writer has gone by then.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long one look takes before it is said that somebody is waited for: a long segment is read back in it.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);
/// How long a start waits for a directory that does not say where the log stood.
pub(in crate::audit::sinks) const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long the end waits for a directory that lags behind.
const LAST_WAIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
