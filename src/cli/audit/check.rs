//! `modgate audit verify`, `prove`, `key` and `index`.

use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::audit::chain;
use crate::audit::filter::Filter;
use crate::audit::index;
use crate::audit::index::Index;
use crate::audit::keys;
use crate::audit::name::Name;
use crate::audit::prove;
use crate::audit::prove::Proof;
use crate::audit::query;
use crate::audit::query::Effort;
use crate::audit::query::Indexes;
use crate::audit::query::Listener;
use crate::audit::slip::Deed;
use crate::audit::verify;
use crate::audit::verify::Report;
use crate::audit::verify::Subject;
use crate::audit::witness;
use crate::audit::witness::Unwitnessed;
use crate::cli::Failure;
use crate::cli::audit::places::Places;
use crate::cli::audit::places::Progress;
use crate::cli::audit::places::believed;
use crate::cli::audit::places::kept_elsewhere;
use crate::cli::audit::say_json;
use crate::cli::complain;
use crate::cli::say;
use crate::cli::slips;

/// `modgate audit verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// A key to believe, or a file of them; may stand several times [default: this node's own]
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// A file, or a directory of files, of checkpoints that were kept elsewhere, besides those that this node witnessed
    #[arg(long, value_name = "PATH")]
    checkpoints: Option<PathBuf>,
    /// Only this node's log
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// JSON, one object for each node
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

impl Verify {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let deed = Deed { name: Name::AuditVerify, command: "audit verify", asked: String::new() };
        let (config, directories) = self.places.enter(environment, &deed)?;
        let keys = believed(&self.key, &config)?;
        let kept = kept_elsewhere(self.checkpoints.as_deref(), &config)?;
        let nodes = match self.node {
            Some(node) => vec![node],
            None => verify::nodes(&directories)?,
        };
        if nodes.is_empty() {
            return Err(Failure::Settings(
                "modgate: there is no audit log here: name its directory with --dir".to_owned(),
            ));
        }
        let mut worst = 0;
        for node in nodes {
            let subject = Subject {
                directories: directories.clone(),
                node,
                keys: keys.clone(),
                kept: kept.clone(),
            };
            let mut progress = Progress::new();
            let mut tell = |effort| progress.tell(effort);
            let verified = verify::verify(&subject, &mut tell);
            let report = match verified {
                Ok(report) => report,
                // that of another node may lie on a disk that can be read
                Err(error) => {
                    complain(&format!("modgate: the log of {}: {error}", subject.node));
                    worst = worse(worst, 2);
                    continue;
                }
            };
            print(&report, self.json)?;
            worst = worse(worst, report.exit_code());
        }
        answer(worst)
    }
}

/// The answer to whether logs are what they were, by the worst exit code of a report.
pub(in crate::cli::audit) fn answer(worst: u8) -> Result<(), Failure> {
    match worst {
        0 => Ok(()),
        1 => Err(Failure::No),
        _ => Err(Failure::Settings(
            "modgate: nobody can tell: a log could not be read, or no believed checkpoint covers it".to_owned(),
        )),
    }
}

/// A log that was changed is worse than one that nobody can vouch for.
pub(in crate::cli::audit) fn worse(before: u8, now: u8) -> u8 {
    if before == 1 || now == 1 { 1 } else { before.max(now) }
}

#[expect(clippy::fn_params_excessive_bools, reason = "the command line's switch")]
fn print(report: &Report, json: bool) -> Result<(), Failure> {
    if json { say_json(report) } else { say(&report_text(report)) }
}

fn report_text(report: &Report) -> String {
    let Report { node, segments, records, bytes, checkpoints, first, last, signed, .. } = report;
    let mut text = format!(
        "{node}: {records} records in {segments} segments ({} MiB), from {first} up to {last}; {checkpoints} checkpoints fit, the last over {signed}\n",
        bytes >> 20
    );
    for remark in &report.remarks {
        let whose = match remark.kind {
            "hole" | "not_verified" => "open",
            _ => "declared",
        };
        let line = format!("  {whose}: {} at {}: {}\n", remark.kind, remark.seq, remark.what);
        text.push_str(&line);
    }
    for unread in &report.unread {
        let line =
            format!("  NOT READ from {} on: {} ({})\n", unread.seq, unread.why, unread.segment);
        text.push_str(&line);
    }
    let bad = std::iter::once("FIRST BAD RECORD").chain(std::iter::repeat("ALSO BAD: RECORD"));
    for (bad, finding) in bad.zip(&report.findings) {
        let kind = json!(finding.kind).as_str().unwrap_or_default().to_owned();
        let line =
            format!("  {bad} {}: {kind}: {} ({})\n", finding.seq, finding.what, finding.segment);
        text.push_str(&line);
    }
    text.push_str(match report.exit_code() {
        0 => "  verified",
        1 => "  CHANGED",
        _ => "  nobody can tell",
    });
    text
}

/// `modgate audit prove`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Prove {
    /// The id of the record: the last one with it, which tells how the request ended
    #[arg(long, value_name = "UUID", required_unless_present_any = ["seq", "check"])]
    id: Option<String>,
    /// The number of the record, and its node
    #[arg(long, value_name = "NUMBER", requires = "node")]
    seq: Option<u64>,
    /// The node whose record it is
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Check a proof in a file instead; needs no log
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// JSON for the answer of --check; a proof is JSON anyhow
    #[arg(long)]
    json: bool,
    /// A key to believe, or a file of them; may stand several times [default: this node's own]
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    #[command(flatten)]
    places: Places,
}

impl Prove {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        if let Some(path) = &self.check {
            return self.check(path, environment);
        }
        let deed = Deed { name: Name::AuditRead, command: "audit prove", asked: String::new() };
        let (_, directories) = self.places.enter(environment, &deed)?;
        let (node, seq) = match (self.node, self.seq) {
            (Some(node), Some(seq)) => (node, seq),
            (_, _) => place_of(&directories, self.id)?,
        };
        let mut progress = Progress::new();
        say_json(&prove::prove(&directories, &node, seq, &mut |effort| progress.tell(effort))?)
    }
}

impl Prove {
    /// A proof needs no log, so the directories may be missing.
    fn check(&self, path: &Path, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let proof: Proof = serde_json::from_slice(&bytes).context("it is no proof")?;
        let config = self.places.config(environment)?;
        let record = proof.index.saturating_add(1);
        match proof.check(&believed(&self.key, &config)?) {
            Ok(told) if self.json => say_json(&json!({
                "proved": true, "record": record, "log": told.origin, "records": told.size,
            })),
            Ok(told) => say(&format!(
                "record {record} is in the log {} of {} records",
                told.origin, told.size
            )),
            Err(wrong) => {
                if self.json {
                    say_json(&json!({"proved": false, "why": wrong.to_string()}))?;
                } else {
                    say(&format!("NOT PROVED: {wrong}"))?;
                }
                Err(Failure::No)
            }
        }
    }
}

/// Node and number of the last record with an id.
fn place_of(directories: &[PathBuf], id: Option<String>) -> Result<(String, u64), Failure> {
    let mut found = LastOne { place: None, progress: Progress::new() };
    query::scan(directories, &Filter { id, ..Filter::default() }, Indexes::Make, &mut found)?;
    found
        .place
        .ok_or_else(|| Failure::Settings("modgate: there is no record with this id".to_owned()))
}

/// Where the last record stands that was wanted.
struct LastOne {
    place: Option<(String, u64)>,
    progress: Progress,
}

impl Listener for LastOne {
    fn record(&mut self, record: &serde_json::Value, line: &str) -> ControlFlow<()> {
        let node = query::text(record, "/node").map(str::to_owned);
        self.place = node.zip(chain::seq(line.as_bytes()));
        ControlFlow::Continue(())
    }

    fn progress(&mut self, effort: Effort) -> ControlFlow<()> {
        self.progress.tell(effort);
        ControlFlow::Continue(())
    }
}

/// `modgate audit witness`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Witness {
    /// The file that holds the note signed last; the new one takes its place
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The file of the witness's own key; it is made if it is not there
    #[arg(long = "witness-key", value_name = "FILE")]
    signs_with: PathBuf,
    /// The witness's name, without spaces and +
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The node whose log it is
    #[arg(long, value_name = "NAME")]
    node: String,
    /// The node's key, or a file of keys; may stand several times [default: this node's own]
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// JSON: the note, or what verification came to
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

impl Witness {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let deed = Deed { name: Name::AuditVerify, command: "audit witness", asked: String::new() };
        let (config, directories) = self.places.enter(environment, &deed)?;
        let keys = believed(&self.key, &config)?;
        let kept = match std::fs::read_to_string(&self.state) {
            Ok(kept) => kept,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let mut signers = keys::signers(&self.signs_with, &self.name)?;
        let signer = signers.pop().context("the witness has no key")?;
        let subject = Subject { directories, node: self.node, keys, kept };
        match witness::cosign(&subject, &signer) {
            Ok(note) => {
                let staged = self.state.with_extension("staged");
                std::fs::write(&staged, &note)?;
                std::fs::rename(&staged, &self.state)?;
                if self.json {
                    say_json(&json!({"node": subject.node, "note": note}))
                } else {
                    say(&note)
                }
            }
            Err(Unwitnessed::Changed(report)) => {
                print(&report, self.json)?;
                // a checkpoint that is still to come may answer what nobody can tell yet
                answer(report.exit_code().max(1))
            }
            Err(error @ Unwitnessed::File(_)) => Err(error.into()),
        }
    }
}

/// `modgate audit key`.
#[derive(Debug, Args)]
pub(in crate::cli) struct KeyCommand {
    /// Add a new key: from the next start it signs beside the former ones, until you take their lines out of the file
    #[arg(long)]
    rotate: bool,
    /// JSON, one object for each key, the current one last
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

impl KeyCommand {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let config = self.places.config(environment)?;
        let (path, name) =
            (&config.audit.key_file, format!("{}/{}", config.audit.origin, config.telemetry.node));
        if self.rotate {
            let deed = Deed {
                name: Name::AdminAction,
                command: "audit key --rotate",
                asked: String::new(),
            };
            slips::leave(&config, &deed);
            keys::rotate(path, &name)?;
            complain(&format!(
                "the new key stands last in {}. Restart the gateway: from then on every key of the file signs each checkpoint. \
                 Take the former lines out, and restart, when every witness and auditor has seen such a checkpoint: \
                 one who has not would refuse the new key as a stranger's.",
                path.display()
            ));
        }
        let signers = keys::signers(path, &name)?;
        for signer in signers {
            let key = signer.verifier();
            if self.json {
                say_json(&json!({"name": key.name(), "key": key.to_string()}))?;
            } else {
                say(&key.to_string())?;
            }
        }
        Ok(())
    }
}

/// `modgate audit index`.
#[derive(Debug, Args)]
pub(in crate::cli) struct IndexCommand {
    /// Make them again even where they are there
    #[arg(long)]
    again: bool,
    /// JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

impl IndexCommand {
    pub(in crate::cli::audit) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let deed = Deed { name: Name::AdminAction, command: "audit index", asked: String::new() };
        let (_, directories) = self.places.enter(environment, &deed)?;
        let (mut made, mut progress) = (Effort::default(), Progress::new());
        for node in verify::nodes(&directories)? {
            let segments = verify::segments(&directories, &node)?;
            // the newest is being written
            let closed = segments.len().saturating_sub(1);
            for segment in segments.iter().take(closed) {
                if self.again {
                    index::build(segment)?;
                }
                let index = Index::open(segment)?;
                made.opened += 1;
                made.bytes += index.records_bytes()?;
                progress.tell(made);
            }
        }
        if self.json {
            return say_json(&json!({"segments": made.opened, "bytes": made.bytes}));
        }
        say(&format!("{} closed segments have their index", made.opened))
    }
}
