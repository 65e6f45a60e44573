//! `modgate audit export`, `hash` and `schema`: what leaves for other people's tools.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::app;
use crate::audit::export::Format;
use crate::audit::filter::is_among;
use crate::audit::keeper;
use crate::audit::keys;
use crate::audit::keys::Pseudonyms;
use crate::audit::name::Name;
use crate::audit::policies;
use crate::audit::query;
use crate::audit::query::Effort;
use crate::audit::query::Indexes;
use crate::audit::query::Listener;
use crate::audit::query::text;
use crate::audit::segment;
use crate::audit::slip::Deed;
use crate::audit::verify;
use crate::audit::verify::Report;
use crate::audit::verify::Subject;
use crate::cli::Failure;
use crate::cli::audit::check::answer;
use crate::cli::audit::check::worse;
use crate::cli::audit::places::Places;
use crate::cli::audit::places::Progress;
use crate::cli::audit::places::Wanted;
use crate::cli::audit::places::believed;
use crate::cli::audit::places::kept_elsewhere;
use crate::cli::audit::say_json;
use crate::cli::complain;
use crate::cli::say;
use crate::config::Config;
use crate::policy::draft::Draft;
use crate::tlog::note::Verifier;

/// `modgate audit export`.
#[derive(Debug, Args)]
// --version is a module's
#[command(disable_version_flag = true)]
pub(in crate::cli) struct Export {
    /// In which words
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Words,
    /// Where to [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// An evidence pack for a control, into the directory --out: records, checkpoints, verification, policies, digests
    #[arg(long, value_name = "CONTROL", value_parser = ["PCI-10.2"], requires = "out")]
    control: Option<String>,
    /// A key to believe, or a file of them, for the evidence pack [default: this node's own]
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// A file, or a directory of files, of checkpoints that were kept elsewhere, for the evidence pack, besides those that this
    /// node witnessed
    #[arg(long, value_name = "PATH")]
    checkpoints: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    places: Places,
}

/// Formats by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Words {
    /// The records as they are
    Jsonl,
    /// RFC 4180, safe to open in a spreadsheet
    Csv,
    /// The Elastic Common Schema
    Ecs,
    /// The Open Cybersecurity Schema Framework
    Ocsf,
}

impl Words {
    const fn format(self) -> Format {
        match self {
            Self::Jsonl => Format::Jsonl,
            Self::Csv => Format::Csv,
            Self::Ecs => Format::Ecs,
            Self::Ocsf => Format::Ocsf,
        }
    }
}

impl Export {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let asked = format!("{:?} {}", self.format, self.wanted.told()).to_lowercase();
        let deed = Deed { name: Name::AuditExport, command: "audit export", asked };
        let (config, directories) = self.places.enter(environment, &deed)?;
        match (&self.control, &self.out) {
            (Some(_), Some(directory)) => self.pack(&config, &directories, directory),
            (_, None) => self.write(&directories, BufWriter::new(std::io::stdout().lock())),
            (_, Some(path)) => {
                let file = File::create(path).with_context(|| path.display().to_string())?;
                self.write(&directories, BufWriter::new(file))
            }
        }
    }

    fn write(&self, directories: &[PathBuf], into: impl Write) -> Result<(), Failure> {
        let format = self.format.format();
        let mut exporter = Exporter::new(format, into);
        if let Some(header) = format.header() {
            write!(exporter.into, "{header}{}", format.line_end())?;
        }
        query::scan(directories, &self.wanted.0, Indexes::Make, &mut exporter)?;
        exporter.into.flush()?;
        exporter.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// What an assessor takes along: nothing in it needs modgate to be read.
    fn pack(&self, config: &Config, directories: &[PathBuf], into: &Path) -> Result<(), Failure> {
        std::fs::create_dir_all(into).with_context(|| into.display().to_string())?;
        let format = Format::Jsonl;
        let file = BufWriter::new(File::create(into.join("records.jsonl"))?);
        let mut exporter = Exporter::new(format, file);
        let scanned = query::scan(directories, &self.wanted.0, Indexes::Ignore, &mut exporter);
        exporter.into.flush()?;
        if let Some(error) = exporter.failed {
            return Err(error.into());
        }
        let keys = believed(&self.key, config)?;
        let kept = kept_elsewhere(self.checkpoints.as_deref(), config)?;
        let (notes, reports) = vouched(directories, &keys, &kept)?;
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let (told, copies) = kept_policies(config, directories, &exporter.policies);
        let files = [
            ("checkpoints.txt", notes.into_bytes()),
            ("verification.json", serde_json::to_vec_pretty(&reports)?),
            ("keys.txt", (keys.join("\n") + "\n").into_bytes()),
            ("policies.json", serde_json::to_vec_pretty(&told)?),
            ("controls.json", serde_json::to_vec_pretty(&controls(&exporter.events))?),
        ];
        let mut sums = format!("{}  records.jsonl\n", keeper::digest(&into.join("records.jsonl"))?);
        let files = files.map(|(name, bytes)| (name.to_owned(), bytes));
        let cut = scanned.err().map(|error| incomplete(&error));
        let is_whole = cut.is_none();
        for (name, bytes) in files.into_iter().chain(cut).chain(copies) {
            std::fs::create_dir_all(into.join("policies"))?;
            std::fs::write(into.join(&name), bytes)?;
            let line = format!("{}  {name}\n", keeper::digest(&into.join(&name))?);
            sums.push_str(&line);
        }
        std::fs::write(into.join("digests.txt"), &sums)?;
        say(&sums)?;
        let codes = reports.iter().map(Report::exit_code);
        answer(codes.fold(if is_whole { 0 } else { 2 }, worse))
    }
}

/// What the pack says of itself if the records could not be read to their end.
fn incomplete(error: &std::io::Error) -> (String, Vec<u8>) {
    let text = format!(
        "records.jsonl ends where the log could not be read ({error}); verification.json says where that is\n"
    );
    complain(&format!("modgate: {}", text.trim_end()));
    ("incomplete.txt".to_owned(), text.into_bytes())
}

/// The policies that decided: what is told of each, and the copies that are what their revision says.
fn kept_policies(
    config: &Config,
    directories: &[PathBuf],
    named: &BTreeMap<String, u64>,
) -> (Value, Vec<(String, Vec<u8>)>) {
    let (mut told, mut copies) = (Vec::new(), Vec::new());
    let sources = app::policy_sources(config);
    if config.audit.pseudonymise && !named.is_empty() {
        complain(
            "modgate: the policies in the pack name principals as they are, which the records do not",
        );
    }
    for (revision, decisions) in named {
        let plain = revision.strip_prefix("sha256:").unwrap_or(revision);
        let mut kept = directories.iter().filter_map(|audit| policies::read(audit, plain).ok());
        let copy = match kept.next().map(|text| (Draft::of_past(&text, plain, &sources), text)) {
            Some((Ok(_), text)) => {
                copies.push((format!("policies/{plain}.json"), text.into_bytes()));
                "kept".to_owned()
            }
            Some((Err(error), _)) => format!("refused: {error}"),
            None => "missing".to_owned(),
        };
        if copy != "kept" {
            complain(&format!("modgate: the pack has no copy of policy {revision}: {copy}"));
        }
        told.push(json!({"policy": revision, "decisions": decisions, "copy": copy}));
    }
    (Value::Array(told), copies)
}

/// Every checkpoint there is, and what verification of each node's log came to.
fn vouched(
    directories: &[PathBuf],
    keys: &[Verifier],
    kept: &str,
) -> Result<(String, Vec<Report>), Failure> {
    let (mut notes, mut reports, mut progress) = (String::new(), Vec::new(), Progress::new());
    for directory in directories {
        for segment in segment::list(directory)? {
            let bytes = std::fs::read(segment.checkpoints()).unwrap_or_default();
            notes.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    notes.push_str(kept);
    for node in verify::nodes(directories)? {
        let (directories, keys) = (directories.to_vec(), keys.to_vec());
        let subject = Subject { directories, node, keys, kept: kept.to_owned() };
        let mut tell = |effort| progress.tell(effort);
        reports.push(verify::verify(&subject, &mut tell)?);
    }
    Ok((notes, reports))
}

struct Exporter<W> {
    format: Format,
    into: W,
    failed: Option<std::io::Error>,
    events: BTreeMap<String, u64>,
    policies: BTreeMap<String, u64>,
    progress: Progress,
}

impl<W: Write> Exporter<W> {
    fn new(format: Format, into: W) -> Self {
        let (events, policies) = (BTreeMap::new(), BTreeMap::new());
        Self { format, into, failed: None, events, policies, progress: Progress::new() }
    }
}

impl<W: Write> Listener for Exporter<W> {
    fn record(&mut self, record: &Value, line: &str) -> ControlFlow<()> {
        let event = text(record, "/event").unwrap_or_default().to_owned();
        *self.events.entry(event).or_default() += 1;
        if let Some(policy) = text(record, "/decision/policy") {
            *self.policies.entry(policy.to_owned()).or_default() += 1;
        }
        let text = self.format.write(record, line);
        match write!(self.into, "{text}{}", self.format.line_end()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn progress(&mut self, effort: Effort) -> ControlFlow<()> {
        self.progress.tell(effort);
        ControlFlow::Continue(())
    }
}

/// Which events answer which requirement of PCI DSS 10.2.1, and how many there were.
fn controls(events: &BTreeMap<String, u64>) -> Value {
    let table: [(&str, &str, &[&str]); 7] = [
        ("10.2.1.1", "individual access", &["module.", "sumdb."]),
        ("10.2.1.2", "administrative actions", &["policy.", "config.", "admin.", "cache."]),
        ("10.2.1.3", "access to the audit", &["audit.read", "audit.export", "audit.verify"]),
        (
            "10.2.1.4",
            "invalid access attempts",
            &["authz.deny", "auth.failure", "request.rejected"],
        ),
        ("10.2.1.5", "changes of credentials", &["token."]),
        (
            "10.2.1.6",
            "start, stop and pause of the audit",
            &["audit.start", "audit.stop", "audit.gap"],
        ),
        ("10.2.1.7", "creation and deletion of objects", &["cache.purge", "audit.delete"]),
    ];
    let rows = table.map(|(requirement, what, names)| {
        let found: BTreeMap<_, _> =
            events.iter().filter(|(event, _)| is_among(names, event)).collect();
        json!({"requirement": requirement, "what": what, "events": names, "records": found})
    });
    Value::Array(rows.to_vec())
}

/// `modgate audit hash`.
#[derive(Debug, Args)]
pub(in crate::cli) struct HashCommand {
    /// The principal
    value: String,
    #[command(flatten)]
    places: Places,
}

impl HashCommand {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let config = self.places.config(environment)?;
        let pseudonyms = Pseudonyms::open(&keys::pseudonym_file(&config.audit.key_file))?;
        say(&pseudonyms.of(&self.value))
    }
}

/// `modgate audit schema`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Schema {
    /// The list of events instead: number, name, meaning
    #[arg(long)]
    events: bool,
    /// JSON for the list of events
    #[arg(long)]
    json: bool,
}

impl Schema {
    pub(in crate::cli::audit) fn run(self) -> Result<(), Failure> {
        if !self.events {
            return say(SCHEMA);
        }
        for name in Name::ALL {
            let (number, event, meaning) = (name.number(), name.text(), name.meaning().trim());
            if self.json {
                say_json(&json!({"number": number, "event": event, "meaning": meaning}))?;
            } else {
                say(&format!("MG{number:03}  {event:22} {meaning}"))?;
            }
        }
        Ok(())
    }
}

/// What every record is.
const SCHEMA: &str = include_str!("../../../deploy/audit/schema-v1.json");
