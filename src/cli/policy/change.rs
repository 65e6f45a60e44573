//! Changing a policy without fear: compare two, decide the past again, and put a candidate in force as it was observed.

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::app;
use crate::audit::name::Name;
use crate::audit::segment::Segment;
use crate::audit::slip::Deed;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::policy::Which;
use crate::cli::say;
use crate::cli::slips;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::policy::draft::Draft;
use crate::policy::lint::Weight;
use crate::policy::replay;

/// `modgate policy diff`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// The directory of the older policy
    old: PathBuf,
    /// The directory of the newer one
    new: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Diff {
    pub(in crate::cli::policy) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let sources = app::policy_sources(&self.settings.load(environment, Vec::new())?);
        let read = |directory: &Path| {
            let told =
                |problems| Failure::Settings(format!("{}:\n{problems}", directory.display()));
            Draft::read_from(directory, &sources).map_err(told)
        };
        let comparison = read(&self.old)?.compare(&read(&self.new)?);
        if self.json {
            say(&serde_json::to_string_pretty(&comparison)?)?;
        } else {
            say(&comparison.to_string())?;
        }
        if comparison.differs() { Err(Failure::No) } else { Ok(()) }
    }
}

/// `modgate policy replay`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Replay {
    /// An audit segment; may stand several times
    #[arg(long = "audit", value_name = "FILE", required = true)]
    audit: Vec<PathBuf>,
    /// The directory of the candidate
    #[arg(long, value_name = "DIRECTORY")]
    candidate: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Replay {
    pub(in crate::cli::policy) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let which = Which { dir: Some(self.candidate), settings: self.settings };
        let candidate = which.read(environment)?;
        let mut replayed = replay::Replay::default();
        for path in &self.audit {
            let shown = || path.display().to_string();
            for line in lines(path).with_context(shown)?.lines() {
                replayed.event(&candidate, &line.with_context(shown)?);
            }
        }
        if self.json {
            say(&format!("{:#}", replayed.json()))?;
        } else {
            say(&replayed.to_string())?;
        }
        if replayed.differing() == 0 { Ok(()) } else { Err(Failure::No) }
    }
}

/// The lines of a segment, compressed or not; any other file as it is.
fn lines(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match Segment::parse(directory, name) {
        Some(segment) => segment.open(),
        None => Ok(Box::new(BufReader::new(File::open(path)?))),
    }
}

/// `modgate policy promote`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Promote {
    /// The revision that was observed, as audit and log name it
    #[arg(long, value_name = "DIGEST")]
    digest: String,
    #[command(flatten)]
    settings: Settings,
}

impl Promote {
    /// Replaces policy.dir by the candidate, whole or not at all; the older one is kept beside it.
    pub(in crate::cli::policy) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let config = self.settings.load(environment, Vec::new())?;
        let named = |key: &str, directory: &Option<PathBuf>| {
            let missing = || {
                Failure::Settings(format!(
                    "{key} is not set: promoting needs policy.dir and policy.candidate"
                ))
            };
            directory.clone().ok_or_else(missing)
        };
        let target = named("policy.dir", &config.policy.dir)?;
        let candidate = named("policy.candidate", &config.policy.candidate)?;
        let sources = app::policy_sources(&config);
        let read = |directory: &Path| {
            Draft::read_from(directory, &sources).map_err(|problems| {
                Failure::Settings(format!("{}:\n{problems}", directory.display()))
            })
        };
        let draft = read(&candidate)?;
        if **draft.revision() != *self.digest {
            return Err(Failure::Settings(format!(
                "the candidate is {} now, not {}: observe it again, then promote that",
                draft.revision(),
                self.digest
            )));
        }
        let findings = draft.lint(SystemClock.now()).map_err(Failure::Settings)?;
        let mut errors = findings.iter().filter(|finding| finding.weight == Weight::Error);
        if let Some(error) = errors.next() {
            return Err(Failure::Settings(format!("no gateway would take it: {error}")));
        }
        let outcome = draft.test()?;
        if outcome.failures() > 0 {
            say(&outcome.to_string())?;
            return Err(Failure::No);
        }
        let older = read(&target)
            .map_or_else(|_| "unreadable".to_owned(), |old| old.revision().to_string());
        let asked = format!("{} over {older}", draft.revision());
        let deed = Deed { name: Name::PolicyPromote, command: "policy promote", asked };
        slips::leave(&config, &deed);
        let kept = replace(&target, &draft)?;
        say(&format!(
            "promoted {} over {older}; the older files are in {}; a running gateway follows by itself",
            draft.revision(),
            kept.display()
        ))
    }
}

/// Writes a draft beside a directory and exchanges the two by renaming; gives where the older files are.
fn replace(target: &Path, draft: &Draft) -> anyhow::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let staged = target.with_file_name(format!(".{name}.{}", draft.revision()));
    if staged.exists() {
        // what an earlier try left behind
        std::fs::remove_dir_all(&staged).with_context(|| staged.display().to_string())?;
    }
    for (name, text) in draft.texts() {
        let path = staged.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&staged))?;
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    let kept = target.with_file_name(format!("{name}.before-{}", draft.revision()));
    let told = "policy.dir cannot be renamed: is it mounted or read-only? then change it where it comes from";
    anyhow::ensure!(!kept.exists(), "{} is there already: move it away", kept.display());
    std::fs::rename(target, &kept).context(told)?;
    if let Err(error) = std::fs::rename(&staged, target) {
        // nobody may find no policy at all
        std::fs::rename(&kept, target)?;
        return Err(error).context(told);
    }
    Ok(kept)
}
