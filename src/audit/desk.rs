//! Questions to the log of a running gateway: the same as `modgate audit query` answers, and bounded in every respect.
//!
//! To look and to take away are two errands with a right each. Both see the same records within the same bounds; an export has
//! them in other people's words, and no questions.
//!
//! One question at a time, since a scan keeps a core busy; a question says since when, names at most some thousand rows, and
//! is given up when it would read or gather too much. What is given up has no answer at all: half of one would look whole.

mod ask;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

pub use crate::audit::desk::ask::Ask;
use crate::audit::desk::ask::LIMIT;
use crate::audit::desk::ask::LIST;
use crate::audit::desk::ask::TOLD_BYTES;
use crate::audit::desk::ask::Wanted;
use crate::audit::desk::ask::formats;
use crate::audit::desk::ask::names;
use crate::audit::desk::ask::words;
use crate::audit::encode::cut;
use crate::audit::export::Format;
use crate::audit::policies;
use crate::audit::query;
use crate::audit::query::Effort;
use crate::audit::query::Indexes;
use crate::audit::query::Listener;
use crate::audit::report::Gathering;
use crate::audit::report::Table;
use crate::audit::slip;
use crate::audit::slip::Slip;
use crate::audit::stats::Stats;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Errand;
use crate::telemetry::record::Facts;

/// Why a question has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unanswered {
    /// A parameter that there is not.
    #[error("there is no parameter {0}: ask with {names}", names = names(*.1))]
    Unknown(String, Errand),
    /// A parameter stands twice.
    #[error("{0} stands twice: give it once")]
    Twice(&'static str),
    /// A value that cannot be read.
    #[error("{0} cannot be read: {1}")]
    Value(&'static str, &'static str),
    /// No beginning was given.
    #[error("say since when: from=30d, from=2026-10-01 or from=2026-10-01T12:00:00Z")]
    Since,
    /// A question that there is not.
    #[error("there is no such question: ask {words}", words = words())]
    Question,
    /// A format that there is not.
    #[error("there is no such format: write {formats}", formats = formats())]
    Format,
    /// A list is missing.
    #[error("this question needs a list: list=PRINCIPAL, as often as there are some")]
    List,
    /// Too long a list.
    #[error("a list has {LIST} entries at most: ask in parts")]
    TooLong,
    /// Too many rows are wanted, or none.
    #[error("limit is a number from 1 to {LIMIT}")]
    Limit,
    /// It would take too much.
    #[error(
        "more than {} MiB would have to be read, {GATHERED} rows gathered, or half a minute spent: narrow it by actor, module or time (firsts and idle read what was before too), or run modgate audit query on the node",
        READ_BYTES >> 20
    )]
    TooMuch,
    /// Somebody else is asking.
    #[error("another question is being answered: ask again in a moment")]
    Busy,
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    File(Arc<io::Error>),
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self::File(Arc::new(error))
    }
}

impl Fault for Unanswered {
    fn kind(&self) -> Kind {
        match self {
            Self::Busy => Kind::Unavailable,
            Self::File(_) => Kind::Internal,
            _ => Kind::Malformed,
        }
    }

    fn public(&self) -> Cow<'static, str> {
        match self {
            // which file is nobody's business; the log has it
            Self::File(_) => "the audit's files cannot be read: see the gateway's log".into(),
            other => other.to_string().into(),
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Busy)
    }
}

impl Observed for Unanswered {
    fn note(&self, facts: &mut Facts) {
        facts.asked.push(("why", cut(&self.public(), TOLD_BYTES)));
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What the lines are.
    pub media_type: &'static str,
    /// Records in a format, or rows of a report as JSON, each with the end of its line.
    pub lines: String,
    /// How many.
    pub rows: usize,
    /// Whether there are more than were asked for.
    pub more: bool,
    /// What had to be read.
    pub effort: Effort,
}

impl Observed for Answer {
    fn note(&self, facts: &mut Facts) {
        facts.asked.push(("answered", self.rows.to_string()));
        facts.asked.push(("more", if self.more { "yes" } else { "no" }.to_owned()));
        facts.asked.push(("read_bytes", self.effort.bytes.to_string()));
    }
}

/// Where a running gateway is asked, and where commands leave their slips.
#[derive(Debug)]
pub struct Desk {
    directories: Vec<PathBuf>,
    node: String,
    turns: Arc<Semaphore>,
    /// Policies by revision that could not be kept yet.
    unkept: Mutex<Vec<(String, String)>>,
}

/// The right to be answered now; nobody else is meanwhile.
#[derive(Debug)]
pub struct Turn {
    directories: Vec<PathBuf>,
    _held: OwnedSemaphorePermit,
}

impl Desk {
    /// A desk over the directories of a node's audit, the first of which commands know.
    pub fn new(directories: Vec<PathBuf>, node: String) -> Self {
        let (turns, unkept) = (Arc::new(Semaphore::new(1)), Mutex::default());
        Self { directories, node, turns, unkept }
    }

    /// What commands beside the gateway did and nobody has recorded. Blocking.
    pub fn slips(&self) -> Vec<Slip> {
        let Some(directory) = self.directories.first() else { return Vec::new() };
        match slip::take(directory, &self.node) {
            Ok(slips) => slips,
            Err(error) => {
                tracing::warn!(%error, "what commands did with the audit cannot be read");
                Vec::new()
            }
        }
    }

    /// Has a policy that came into force kept at the next look, beside the records that name it. Nobody waits for that: the
    /// policy may be the wall that must stand now, and the disk may hang.
    pub fn keep_policy(&self, revision: &str, text: &str) {
        let mut unkept = self.unkept();
        unkept.truncate(UNKEPT_POLICIES);
        unkept.push((revision.to_owned(), text.to_owned()));
    }

    /// Keeps what came into force since the last look; what cannot be kept is tried again at the next. Blocking.
    pub fn keep_policies(&self) {
        let Some(directory) = self.directories.first() else { return };
        let mut unkept = self.unkept();
        let taken = std::mem::take(&mut *unkept);
        // whoever adds one waits for no disk
        drop(unkept);
        for (revision, text) in taken {
            if let Err(error) = policies::keep(directory, &revision, &text) {
                tracing::warn!(%error, revision, "a policy that came into force cannot be kept beside the audit yet");
                self.keep_policy(&revision, &text);
            }
        }
    }

    fn unkept(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, if nobody else has it.
    pub fn turn(&self) -> Result<Turn, Unanswered> {
        let held =
            Arc::clone(&self.turns).try_acquire_owned().map_err(|_taken| Unanswered::Busy)?;
        Ok(Turn { directories: self.directories.clone(), _held: held })
    }
}

impl Turn {
    /// Reads the log. Blocking.
    pub fn answer(self, ask: &Ask) -> Result<Answer, Unanswered> {
        let mut filter = ask.filter.clone();
        let found = match ask.wanted {
            Wanted::Records(format) => Found::Records(Lines::of(format)),
            Wanted::Stats => Found::Stats(Stats::default()),
            Wanted::Report(question) => {
                let list = if ask.list.is_empty() { &ask.rules } else { &ask.list };
                Found::Report(Gathering::over(question, list.clone(), &mut filter))
            }
        };
        let begun = SystemClock.instant();
        let mut reader = Reader { limit: ask.limit, found, end: End::Whole, begun };
        let effort = query::scan(&self.directories, &filter, Indexes::IfThere, &mut reader)?;
        let mut more = match reader.end {
            End::TooMuch => return Err(Unanswered::TooMuch),
            End::More => true,
            End::Whole => false,
        };
        let Lines { format, text, rows } = match reader.found {
            Found::Records(lines) => lines,
            Found::Stats(stats) => rows_of(&stats.table(), ask.limit, &mut more),
            Found::Report(gathering) => rows_of(&gathering.table(), ask.limit, &mut more),
        };
        Ok(Answer { media_type: format.media_type(), lines: text, rows, more, effort })
    }
}

/// The first rows of a table as JSON; says whether there are more.
fn rows_of(table: &Table, limit: usize, more: &mut bool) -> Lines {
    let mut lines = Lines::of(Format::Jsonl);
    let mut objects = table.objects();
    for row in objects.by_ref().take(limit) {
        lines.push(&row.to_string());
    }
    *more = objects.next().is_some();
    lines
}

/// What is found while the log is read.
enum Found {
    Records(Lines),
    Stats(Stats),
    Report(Gathering),
}

/// Lines of an answer.
struct Lines {
    format: Format,
    text: String,
    rows: usize,
}

impl Lines {
    fn of(format: Format) -> Self {
        let header = format.header().map(|header| header + format.line_end());
        Self { format, text: header.unwrap_or_default(), rows: 0 }
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push_str(self.format.line_end());
        self.rows += 1;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    More,
    TooMuch,
}

struct Reader {
    limit: usize,
    found: Found,
    end: End,
    begun: Instant,
}

impl Reader {
    const fn stop(&mut self, end: End) -> ControlFlow<()> {
        self.end = end;
        ControlFlow::Break(())
    }
}

impl Listener for Reader {
    fn counted(&mut self, kinds: &BTreeMap<String, u64>) -> ControlFlow<()> {
        match &mut self.found {
            Found::Stats(stats) => {
                stats.add(kinds);
                ControlFlow::Break(())
            }
            Found::Records(_) | Found::Report(_) => ControlFlow::Continue(()),
        }
    }

    fn record(&mut self, record: &Value, line: &str) -> ControlFlow<()> {
        let end = match &mut self.found {
            Found::Records(lines)
                if lines.rows == self.limit || lines.text.len() > ANSWER_BYTES =>
            {
                Some(End::More)
            }
            Found::Records(lines) => {
                let line = lines.format.write(record, line);
                lines.push(&line);
                None
            }
            Found::Stats(stats) => {
                stats.take(record);
                None
            }
            Found::Report(gathering) => {
                gathering.take(record);
                (gathering.len() > GATHERED).then_some(End::TooMuch)
            }
        };
        end.map_or(ControlFlow::Continue(()), |end| self.stop(end))
    }

    fn progress(&mut self, effort: Effort) -> ControlFlow<()> {
        let long = effort.bytes > READ_BYTES || self.begun.elapsed() > LONGEST;
        if long { self.stop(End::TooMuch) } else { ControlFlow::Continue(()) }
    }
}

/// Two seconds of reading, or several with little to skip.
const READ_BYTES: u64 = 512 << 20;
/// Records that are given at once; who wants more exports them.
const ANSWER_BYTES: usize = 16 << 20;
/// A question that finds nothing may look into thousands of indexes.
const LONGEST: Duration = Duration::from_secs(30);
/// Policies that wait for a disk that takes them.
const UNKEPT_POLICIES: usize = 15;
/// Rows of a report that are kept in memory while it is gathered.
const GATHERED: usize = 100_000;

#[cfg(test)]
mod tests;
