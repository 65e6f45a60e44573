//! `modgate audit tail`, `query` and `stats`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use crate::app;
use crate::audit;
use crate::audit::encode;
use crate::audit::encode::plain;
use crate::audit::name::Name;
use crate::audit::query;
use crate::audit::query::Effort;
use crate::audit::query::Indexes;
use crate::audit::query::Listener;
use crate::audit::report::Gathering;
use crate::audit::report::Question;
use crate::audit::report::RECORDS;
use crate::audit::report::Table;
use crate::audit::slip::Deed;
use crate::audit::stats;
use crate::cli::Failure;
use crate::cli::audit::places::Places;
use crate::cli::audit::places::Progress;
use crate::cli::audit::places::Wanted;
use crate::cli::audit::say_json;
use crate::cli::say;
use crate::config::Config;
use crate::policy::draft::Draft;

/// `modgate audit tail`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Tail {
    /// How many records
    #[arg(long, short, default_value_t = 10)]
    number: usize,
    /// Go on until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Whole records instead of one line for people
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

/// `modgate audit query`.
#[derive(Debug, Args)]
// --version is a module's
#[command(disable_version_flag = true)]
pub(in crate::cli) struct Query {
    /// What to ask about the records that fit
    #[arg(default_value = RECORDS, value_parser = questions())]
    question: String,
    /// A file of principals (leavers) or rules (unused), one a line [rules: those of the policy]
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    places: Places,
}

/// `modgate audit stats`.
#[derive(Debug, Args)]
// --version is a module's
#[command(disable_version_flag = true)]
pub(in crate::cli) struct Stats {
    /// JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    places: Places,
}

/// The records themselves, and the auditors' questions.
fn questions() -> PossibleValuesParser {
    let value = |text, help: &'static str| PossibleValue::new(text).help(help.trim());
    let records = value(RECORDS, "The records: everything an actor did, with --actor.");
    let questions = Question::ALL.iter().map(|asked| value(asked.text(), asked.meaning()));
    PossibleValuesParser::new(std::iter::once(records).chain(questions))
}

impl Query {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let deed = Deed {
            name: Name::AuditRead,
            command: "audit query",
            asked: format!("{} {}", self.question, self.wanted.told()),
        };
        let (config, directories) = self.places.enter(environment, &deed)?;
        let mut filter = self.wanted.0;
        let Some(question) = Question::parse(&self.question) else {
            let mut printer = Printer { json: self.json, failed: None, progress: Progress::new() };
            query::scan(&directories, &filter, Indexes::Make, &mut printer)?;
            return printer.failed.map_or(Ok(()), Err);
        };
        let list = match &self.list {
            Some(path) => entries(path)?,
            None if question.needs_list() => {
                return Err(Failure::Settings(
                    "modgate: name the file of principals with --list".to_owned(),
                ));
            }
            None if question.is_of_rules() => rules(&config)?,
            None => BTreeSet::new(),
        };
        let gathering = Gathering::over(question, list, &mut filter);
        let mut gather = Gather { gathering, progress: Progress::new() };
        query::scan(&directories, &filter, Indexes::Make, &mut gather)?;
        print(&gather.gathering.table(), self.json)
    }
}

/// The lines of a file that say something.
fn entries(path: &Path) -> Result<BTreeSet<String>, Failure> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// The rules of the policy that the configuration names: some left no record.
fn rules(config: &Config) -> Result<BTreeSet<String>, Failure> {
    let draft = Draft::read(&app::policy_sources(config)).map_err(|error| {
        Failure::Settings(format!(
            "modgate: the policy cannot be read: {error}\nname its rules with --list, one a line"
        ))
    })?;
    Ok(draft.rule_ids())
}

struct Gather {
    gathering: Gathering,
    progress: Progress,
}

impl Listener for Gather {
    fn record(&mut self, record: &Value, _line: &str) -> ControlFlow<()> {
        self.gathering.take(record);
        ControlFlow::Continue(())
    }

    fn progress(&mut self, effort: Effort) -> ControlFlow<()> {
        self.progress.tell(effort);
        ControlFlow::Continue(())
    }
}

struct Printer {
    json: bool,
    failed: Option<Failure>,
    progress: Progress,
}

impl Listener for Printer {
    fn record(&mut self, record: &Value, line: &str) -> ControlFlow<()> {
        let said = if self.json { say(line) } else { say(&for_people(record)) };
        match said {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    }

    fn progress(&mut self, effort: Effort) -> ControlFlow<()> {
        self.progress.tell(effort);
        ControlFlow::Continue(())
    }
}

/// One line for people: what of a record there is, and what else it tells if it is about no module.
fn for_people(record: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => plain(text),
        other => other.to_string(),
    };
    let at = |path: &str| record.pointer(path).filter(|value| !value.is_null()).map(text);
    let or_dash = |path: &str| at(path).unwrap_or_else(|| "-".to_owned());
    let place = format!("{}/{}", or_dash("/node"), or_dash("/seq"));
    let module = at("/resource/module").map(|module| match at("/resource/version") {
        Some(version) => format!("{module}@{version}"),
        None => module,
    });
    let mut words = vec![or_dash("/time"), place];
    words.extend(["/event", "/phase", "/outcome"].map(or_dash));
    words.extend(at("/actor/id"));
    words.extend(module.or_else(|| at("/resource/path")));
    words.extend(at("/decision/rule").map(|rule| format!("rule={rule}")));
    words.extend(at("/http/status"));
    let detail = record.get("detail").and_then(Value::as_object);
    for (name, value) in detail.into_iter().flatten() {
        words.push(encode::cut(&format!("{}={}", plain(name), text(value)), DETAIL_BYTES));
    }
    words.join(" ")
}

#[expect(clippy::fn_params_excessive_bools, reason = "the command line's switch")]
fn print(table: &Table, json: bool) -> Result<(), Failure> {
    if json {
        return table.objects().try_for_each(|row| say_json(&row));
    }
    let head: Vec<String> = table.columns.iter().map(|name| (*name).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&head)
        .chain(&table.rows)
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

impl Stats {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let deed =
            Deed { name: Name::AuditRead, command: "audit stats", asked: self.wanted.told() };
        let (_, directories) = self.places.enter(environment, &deed)?;
        let mut count = Count { stats: stats::Stats::default(), progress: Progress::new() };
        query::scan(&directories, &self.wanted.0, Indexes::Make, &mut count)?;
        print(&count.stats.table(), self.json)
    }
}

struct Count {
    stats: stats::Stats,
    progress: Progress,
}

impl Listener for Count {
    fn counted(&mut self, kinds: &BTreeMap<String, u64>) -> ControlFlow<()> {
        self.stats.add(kinds);
        ControlFlow::Break(())
    }

    fn record(&mut self, record: &Value, _line: &str) -> ControlFlow<()> {
        self.stats.take(record);
        ControlFlow::Continue(())
    }

    fn progress(&mut self, effort: Effort) -> ControlFlow<()> {
        self.progress.tell(effort);
        ControlFlow::Continue(())
    }
}

impl Tail {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let deed = Deed { name: Name::AuditRead, command: "audit tail", asked: String::new() };
        let (_, directories) = self.places.enter(environment, &deed)?;
        let (mut tail, mut records) = audit::tail::Tail::last(directories, self.number)?;
        loop {
            for (line, record) in &records {
                if self.json { say(line)? } else { say(&for_people(record))? }
            }
            if !self.follow {
                return Ok(());
            }
            std::thread::park_timeout(LOOK_AGAIN);
            records = tail.more()?;
        }
    }
}

/// What people are shown of one thing that a record tells besides.
const DETAIL_BYTES: usize = 60;
/// A second is soon enough for people.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
