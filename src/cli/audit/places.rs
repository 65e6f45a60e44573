//! Where the log lies, whose keys are believed, and what a time means: the same for every command.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;

use crate::audit::keys;
use crate::audit::query::Effort;
use crate::audit::query::Filter;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::complain;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::clock::rfc3339_micros;
use crate::config::Config;
use crate::tlog::note::Verifier;

/// Where the log lies.
#[derive(Debug, Args)]
pub(in crate::cli) struct Places {
    /// A directory of segments; may stand several times [default: those of the configuration]
    #[arg(long, value_name = "DIR")]
    dir: Vec<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Places {
    /// The configuration alone.
    pub(in crate::cli::audit) fn config(
        &self,
        environment: Vec<(String, String)>,
    ) -> Result<Config, Failure> {
        self.settings.load(environment, Vec::new())
    }

    /// The configuration, and the directories.
    pub(in crate::cli::audit) fn find(
        &self,
        environment: Vec<(String, String)>,
    ) -> Result<(Config, Vec<PathBuf>), Failure> {
        let config = self.config(environment)?;
        let mut directories = self.dir.clone();
        if directories.is_empty() {
            directories.push(config.audit.dir.clone());
            directories.extend(config.audit.second_dir.clone());
        }
        if let Some(missing) = directories.iter().find(|directory| !directory.is_dir()) {
            let text = format!(
                "modgate: {} is no directory: name the audit's with --dir",
                missing.display()
            );
            return Err(Failure::Settings(text));
        }
        Ok((config, directories))
    }
}

/// Keys that were named, or those of this node's own file.
pub(in crate::cli::audit) fn believed(
    named: &[String],
    config: &Config,
) -> Result<Vec<Verifier>, Failure> {
    let mut keys = Vec::new();
    for text in named {
        let lines = match std::fs::read_to_string(text) {
            Ok(file) => file,
            Err(_) => text.clone(),
        };
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            keys.push(Verifier::parse(line.trim()).with_context(|| format!("--key {text}"))?);
        }
    }
    if named.is_empty() {
        keys = keys::verifiers(&config.audit.key_file)?;
    }
    if keys.is_empty() {
        let text = "modgate: no key to verify with: name one with --key, as modgate audit key prints it on the node";
        return Err(Failure::Settings(text.to_owned()));
    }
    Ok(keys)
}

/// Which records; what is not given does not matter.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Wanted {
    /// The principal, such as user:token:alice
    #[arg(long, value_name = "PRINCIPAL")]
    actor: Option<String>,
    /// The module path; with /... at its end everything below it too
    #[arg(long, value_name = "PATH")]
    module: Option<String>,
    /// The version
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// What the policy said: allow, deny, absent or error
    #[arg(long, value_name = "WORD")]
    decision: Option<String>,
    /// The rule that decided
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// The address it came from
    #[arg(long, value_name = "IP")]
    source: Option<String>,
    /// The event, such as module.zip, or a group of them, such as auth.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// What came of it, such as allowed, denied, unauthenticated or failed
    #[arg(long, value_name = "WORD")]
    outcome: Option<String>,
    /// The record's id, as answers and log lines show it
    #[arg(long, value_name = "UUID")]
    id: Option<String>,
    /// No earlier than a time: 2026-10-01, 2026-10-01T12:00:00Z, or 30d for thirty days ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<String>,
    /// Earlier than a time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<String>,
}

impl Wanted {
    pub(in crate::cli::audit) fn filter(&self) -> Filter {
        let Self { actor, module, version, decision, rule, source, event, outcome, id, from, to } =
            self.clone();
        Filter { actor, module, version, decision, rule, source, event, outcome, id, from, to }
    }
}

/// A time as records write it.
fn moment(text: &str) -> Result<String, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let then = SystemClock.now().checked_sub(ago).ok_or("that is before time began")?;
        return Ok(rfc3339_micros(then));
    }
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let format = &time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(&whole, format)
        .map_err(|_| "write 2026-10-01, 2026-10-01T12:00:00Z, or 30d for thirty days ago")?;
    Ok(rfc3339_micros(at.into()))
}

/// Tells somebody who waits at a terminal how far it is.
#[derive(Debug)]
pub(in crate::cli) struct Progress {
    told: Instant,
    listens: bool,
}

impl Progress {
    pub(in crate::cli::audit) fn new() -> Self {
        Self { told: SystemClock.instant(), listens: std::io::stderr().is_terminal() }
    }

    pub(in crate::cli::audit) fn tell(&mut self, effort: Effort) {
        if self.listens && self.told.elapsed() > EVERY {
            self.told = SystemClock.instant();
            let Effort { opened, skipped, bytes } = effort;
            complain(&format!("… {opened} segments read, {skipped} skipped, {} MiB", bytes >> 20));
        }
    }
}

const EVERY: Duration = Duration::from_secs(2);
