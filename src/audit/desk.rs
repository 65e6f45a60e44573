//! Questions to the log of a running gateway: the same as `modgate audit query` answers, and bounded in every respect.
//!
//! One question at a time, since a scan keeps a core busy; a question says since when, names at most some thousand rows, and
//! is given up when it would read or gather too much. What is given up has no answer at all: half of one would look whole.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::audit::encode::cut;
use crate::audit::filter::Filter;
use crate::audit::policies;
use crate::audit::query;
use crate::audit::query::Effort;
use crate::audit::query::Indexes;
use crate::audit::query::Listener;
use crate::audit::report::Gathering;
use crate::audit::report::Question;
use crate::audit::report::RECORDS;
use crate::audit::slip;
use crate::audit::slip::Slip;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Facts;

/// Why a question has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unanswered {
    /// A parameter that there is not.
    #[error("there is no parameter {0}: ask with {names}", names = names())]
    Unknown(String),
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
        "more than {} MiB would have to be read, {GATHERED} rows gathered, or half a minute spent: narrow it by actor, module or time, or run modgate audit query on the node",
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

/// What somebody asks.
#[derive(Debug, Clone)]
pub struct Ask {
    question: Option<Question>,
    list: BTreeSet<String>,
    /// What stands for a list that was not given.
    rules: BTreeSet<String>,
    filter: Filter,
    limit: usize,
}

impl Observed for Ask {
    fn note(&self, facts: &mut Facts) {
        facts.asked = self.told();
    }
}

impl Ask {
    /// Reads a query string: `question`, `limit`, `list` as often as there are entries, and the fields of a filter.
    pub fn parse(query: &str, now: SystemTime) -> Result<Self, Unanswered> {
        let (mut question, mut limit) = (None, None);
        let (mut list, mut filter) = (BTreeSet::new(), Filter::default());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "list" => {
                    list.insert(value.into_owned());
                }
                "question" => once(&mut question, "question", value.into_owned())?,
                "limit" => once(&mut limit, "limit", value.into_owned())?,
                name => {
                    let field = Filter::FIELDS.iter().find(|field| field.name == name);
                    let unknown = || Unanswered::Unknown(cut(name, NAME_BYTES));
                    let field = field.ok_or_else(unknown)?;
                    if filter.given().any(|(given, _)| given == field.name) {
                        return Err(Unanswered::Twice(field.name));
                    }
                    let read = field.read(&value, now);
                    let read = read.map_err(|why| Unanswered::Value(field.name, why))?;
                    field.set(&mut filter, read);
                }
            }
        }
        let question = match question.as_deref() {
            None | Some(RECORDS) => None,
            Some(word) => Some(Question::parse(word).ok_or(Unanswered::Question)?),
        };
        let limit = match limit {
            None => USUAL_LIMIT,
            Some(text) => text.parse().map_err(|_| Unanswered::Limit)?,
        };
        if limit == 0 || limit > LIMIT {
            return Err(Unanswered::Limit);
        }
        if list.len() > LIST {
            return Err(Unanswered::TooLong);
        }
        if list.is_empty() && question.is_some_and(Question::needs_list) {
            return Err(Unanswered::List);
        }
        // whoever forgets it would take the answer for the whole truth, or read four hundred days
        if filter.from.is_none() {
            return Err(Unanswered::Since);
        }
        Ok(Self { question, list, rules: BTreeSet::new(), filter, limit })
    }

    /// The rules of the policy in force, where the question is about rules and names none: some left no record.
    #[must_use]
    pub fn about(mut self, rules: impl FnOnce() -> BTreeSet<String>) -> Self {
        if self.list.is_empty() && self.question.is_some_and(Question::is_of_rules) {
            self.rules = rules();
        }
        self
    }

    /// For the record of the question itself.
    fn told(&self) -> Vec<(&'static str, String)> {
        let mut told = vec![("question", self.question.map_or(RECORDS, Question::text).to_owned())];
        told.extend(self.filter.given().map(|(name, value)| (name, cut(value, TOLD_BYTES))));
        if !self.list.is_empty() {
            let list: Vec<_> = self.list.iter().map(String::as_str).collect();
            told.push(("list", cut(&list.join(" "), LIST_BYTES)));
        }
        told.push(("limit", self.limit.to_string()));
        told
    }
}

fn once(place: &mut Option<String>, name: &'static str, value: String) -> Result<(), Unanswered> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Unanswered::Twice(name)),
    }
}

fn names() -> String {
    let fields: Vec<_> = Filter::FIELDS.iter().map(|field| field.name).collect();
    format!("question, list, limit, {}", fields.join(", "))
}

fn words() -> String {
    let words: Vec<_> = Question::ALL.iter().map(|question| question.text()).collect();
    format!("{RECORDS}, {}", words.join(", "))
}

/// What was found: lines of JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Records as they are written, or rows of a report; each ends with a newline.
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
        let list = if ask.list.is_empty() { &ask.rules } else { &ask.list };
        let gathering = ask.question.map(|asked| Gathering::over(asked, list.clone(), &mut filter));
        let mut reader = Reader {
            ask,
            gathering,
            lines: String::new(),
            rows: 0,
            end: End::Whole,
            begun: SystemClock.instant(),
        };
        let effort = query::scan(&self.directories, &filter, Indexes::IfThere, &mut reader)?;
        let more = match reader.end {
            End::TooMuch => return Err(Unanswered::TooMuch),
            End::More => true,
            End::Whole => false,
        };
        let Reader { mut lines, mut rows, gathering, .. } = reader;
        let Some(gathering) = gathering else { return Ok(Answer { lines, rows, more, effort }) };
        let table = gathering.table();
        let mut objects = table.objects();
        for row in objects.by_ref().take(ask.limit) {
            lines.push_str(&row.to_string());
            lines.push('\n');
            rows += 1;
        }
        Ok(Answer { lines, rows, more: objects.next().is_some(), effort })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    More,
    TooMuch,
}

struct Reader<'a> {
    ask: &'a Ask,
    gathering: Option<Gathering>,
    lines: String,
    rows: usize,
    end: End,
    begun: Instant,
}

impl Reader<'_> {
    const fn stop(&mut self, end: End) -> ControlFlow<()> {
        self.end = end;
        ControlFlow::Break(())
    }
}

impl Listener for Reader<'_> {
    fn record(&mut self, record: &Value, line: &str) -> ControlFlow<()> {
        if let Some(gathering) = &mut self.gathering {
            gathering.take(record);
            let full = gathering.len() > GATHERED;
            return if full { self.stop(End::TooMuch) } else { ControlFlow::Continue(()) };
        }
        if self.rows == self.ask.limit || self.lines.len() > ANSWER_BYTES {
            return self.stop(End::More);
        }
        self.lines.push_str(line);
        self.lines.push('\n');
        self.rows += 1;
        ControlFlow::Continue(())
    }

    fn progress(&mut self, effort: Effort) -> ControlFlow<()> {
        let long = effort.bytes > READ_BYTES || self.begun.elapsed() > LONGEST;
        if long { self.stop(End::TooMuch) } else { ControlFlow::Continue(()) }
    }
}

/// Rows that one question may ask for; a record is 8 KiB at most, and some 600 bytes mostly.
pub const LIMIT: usize = 10_000;
const USUAL_LIMIT: usize = 1_000;
/// Two seconds of reading, or several with little to skip.
const READ_BYTES: u64 = 512 << 20;
/// Records that are given at once; who wants more exports them.
const ANSWER_BYTES: usize = 16 << 20;
/// A question that finds nothing may look into thousands of indexes.
const LONGEST: Duration = Duration::from_secs(30);
/// Principals or rules of one question.
const LIST: usize = 200;
/// Policies that wait for a disk that takes them.
const UNKEPT_POLICIES: usize = 15;
/// Rows of a report that are kept in memory while it is gathered.
const GATHERED: usize = 100_000;
/// A value in the record of a question.
const TOLD_BYTES: usize = 300;
const LIST_BYTES: usize = 2_000;
/// A parameter's name in an answer.
const NAME_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_whole_or_refused_with_what_to_write() {
        let read =
            |query: &str| Ask::parse(query, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 31));
        let ask = read("question=holders&module=corp.example%2Fa&version=v1.0.0&from=30d&limit=7")
            .unwrap();
        assert_eq!((ask.question, ask.limit), (Some(Question::Holders), 7));
        let told: Vec<_> = ask.told().into_iter().map(|(name, _)| name).collect();
        assert_eq!(told, ["question", "module", "version", "from", "limit"]);
        for (query, says) in [
            ("", "since when"),
            ("from=soon", "from cannot be read"),
            ("from=1d&colour=red", "no parameter colour: ask with question, list, limit, actor"),
            ("from=1d&from=2d", "from stands twice"),
            ("from=1d&limit=0", "from 1 to 10000"),
            ("from=1d&limit=10001", "from 1 to 10000"),
            ("from=1d&limit=ten", "from 1 to 10000"),
            ("from=1d&question=why", "records, downloads, denials"),
            ("from=1d&question=leavers", "needs a list"),
            ("from=1d&event=", "it is empty"),
            ("from=1d&question=gaps&question=gaps", "question stands twice"),
        ] {
            let refused = read(query).unwrap_err();
            assert_eq!(refused.kind(), Kind::Malformed);
            assert!(refused.public().contains(says), "{query}: {}", refused.public());
        }
    }

    #[test]
    fn one_question_is_answered_at_a_time() {
        let desk = Desk::new(Vec::new(), "gw".to_owned());
        let turn = desk.turn().unwrap();
        assert!(matches!(desk.turn(), Err(Unanswered::Busy)));
        drop(turn);
        assert!(desk.turn().is_ok());
    }
}
