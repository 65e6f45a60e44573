//! Where the log lies, whose keys are believed, and what a time means: the same for every command.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use clap::Arg;
use clap::ArgMatches;
use clap::Args;
use clap::Command;
use clap::FromArgMatches;

use crate::audit::filter::Filter;
use crate::audit::keys;
use crate::audit::query::Effort;
use crate::audit::slip::Deed;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::complain;
use crate::cli::slips;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
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

    /// The configuration, and the directories, after the gateway whose log it is was told what is about to be done with it; a
    /// copy elsewhere is nobody's.
    pub(in crate::cli::audit) fn enter(
        &self,
        environment: Vec<(String, String)>,
        deed: &Deed,
    ) -> Result<(Config, Vec<PathBuf>), Failure> {
        let config = self.config(environment)?;
        let own = std::iter::once(&config.audit.dir).chain(&config.audit.second_dir);
        let directories: Vec<PathBuf> =
            if self.dir.is_empty() { own.clone().cloned().collect() } else { self.dir.clone() };
        if own.into_iter().any(|own| directories.iter().any(|named| is_same(own, named))) {
            slips::leave(&config, deed);
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

/// Whether two paths lead to one directory, whatever links or mounts are on the way.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    place(one).is_some_and(|one| place(other) == Some(one))
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

/// Checkpoints that were kept elsewhere: in a file or a directory that somebody names, and those of other nodes that this one
/// has signed as their witness.
pub(in crate::cli::audit) fn kept_elsewhere(
    named: Option<&Path>,
    config: &Config,
) -> Result<String, Failure> {
    let witnessed = config.audit.witness_dir.join("notes");
    let witnessed = Some(witnessed.as_path()).filter(|path| path.is_dir());
    let mut notes = String::new();
    for path in named.into_iter().chain(witnessed) {
        if !path.is_dir() {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            notes.push_str(&String::from_utf8_lossy(&bytes));
            continue;
        }
        for entry in std::fs::read_dir(path)? {
            // what is no text is no note
            let bytes = std::fs::read(entry?.path()).unwrap_or_default();
            notes.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    Ok(notes)
}

/// Which records; what is not given does not matter. The options are those that a [`Filter`] declares.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Wanted(pub(in crate::cli::audit) Filter);

impl Wanted {
    /// For the record of the question.
    pub(in crate::cli::audit) fn told(&self) -> String {
        let given = self.0.given().map(|(name, value)| format!("{name}={value}"));
        given.collect::<Vec<_>>().join(" ")
    }
}

impl Args for Wanted {
    fn augment_args(mut command: Command) -> Command {
        for field in Filter::FIELDS {
            let read = |text: &str| field.read(text, SystemClock.now());
            let option = Arg::new(field.name).long(field.name).value_name(field.value);
            let help = field.help.trim().trim_end_matches('.');
            command = command.arg(option.help(help).value_parser(read));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Wanted {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut wanted = Self(Filter::default());
        wanted.update_from_arg_matches(matches)?;
        Ok(wanted)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for field in Filter::FIELDS {
            if let Some(value) = matches.get_one::<String>(field.name) {
                field.set(&mut self.0, value.clone());
            }
        }
        Ok(())
    }
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
        if let Some(line) = self.line(effort, SystemClock.instant()) {
            complain(&line);
        }
    }

    /// What to print at a time, if it is time to print something and somebody is there.
    fn line(&mut self, effort: Effort, now: Instant) -> Option<String> {
        if !self.listens || now.saturating_duration_since(self.told) < EVERY {
            return None;
        }
        self.told = now;
        let Effort { opened, skipped, bytes } = effort;
        let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
        Some(format!("… {opened} segments read{skipped}, {} MiB", bytes >> 20))
    }
}

const EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_every_two_seconds_and_only_to_somebody() {
        let begun = SystemClock.instant();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let effort = |opened, skipped| Effort { opened, skipped, bytes: 130 << 20 };
        let mut progress = Progress { told: begun, listens: true };
        assert_eq!(progress.line(effort(1, 0), at(1)), None);
        let read = progress.line(effort(3, 0), at(2));
        assert_eq!(read.as_deref(), Some("… 3 segments read, 130 MiB"));
        assert_eq!(progress.line(effort(4, 0), at(3)), None);
        let skipped = progress.line(effort(5, 7), at(4));
        assert_eq!(skipped.as_deref(), Some("… 5 segments read, 7 skipped, 130 MiB"));
        let mut file = Progress { listens: false, ..progress };
        assert_eq!(file.line(effort(9, 0), at(60)), None);
    }
}
