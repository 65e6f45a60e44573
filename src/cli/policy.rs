//! `modgate policy test | lint | explain | diff | replay | promote`: what needs no running gateway.

mod change;
mod who;

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;

use crate::app;
use crate::audit::policies;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::policy::change::Diff;
use crate::cli::policy::change::Promote;
use crate::cli::policy::change::Replay;
use crate::cli::policy::who::Who;
use crate::cli::say;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;
use crate::policy::LoadError;
use crate::policy::Sources;
use crate::policy::draft::Draft;
use crate::policy::explain::Ask;
use crate::policy::explain::View;
use crate::policy::explain::Who as OnBehalfOf;
use crate::policy::gates::Circumstances;
use crate::policy::lint::Weight;

/// Checks of a policy that need no running gateway: 0 yes, 1 the answer is no, 2 nobody can tell.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PolicyCommand {
    /// Run the expectations in the policy's tests/ folder; prints TAP, `JUnit` or JSON.
    Test(Test),
    /// Say what a policy says that nobody can have meant.
    Lint(Lint),
    /// Say what the answer to somebody would be, by which rows, and what the others lack.
    // its --version is a module's
    #[command(disable_version_flag = true)]
    Explain(Explain),
    /// Say who may have a module, by the names that the policy knows, and who is shut out.
    // its --version is a module's
    #[command(disable_version_flag = true)]
    Who(Who),
    /// Say what a newer policy changes for whom.
    Diff(Diff),
    /// Decide past requests again: who would gain or lose what.
    Replay(Replay),
    /// Put the observed candidate in the place of the policy.
    Promote(Promote),
}

impl PolicyCommand {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let done = match self {
            Self::Test(command) => command.run(environment),
            Self::Lint(command) => command.run(environment),
            Self::Explain(command) => command.run(environment),
            Self::Who(command) => command.run(environment),
            Self::Diff(command) => command.run(environment),
            Self::Replay(command) => command.run(environment),
            Self::Promote(command) => command.run(environment),
        };
        done.map_err(Failure::untold)
    }
}

/// Which policy.
#[derive(Debug, Args)]
struct Which {
    /// The policy's directory [default: policy.dir, or what is built in]
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Which {
    fn sources(self, environment: Vec<(String, String)>) -> Result<Sources, Failure> {
        let mut config = self.settings.load(environment, Vec::new())?;
        if self.dir.is_some() {
            config.policy.dir = self.dir;
        }
        Ok(app::policy_sources(&config))
    }

    fn read(self, environment: Vec<(String, String)>) -> Result<Draft, Failure> {
        let sources = self.sources(environment)?;
        Draft::read(&sources).map_err(|problems| Failure::Settings(problems.to_string()))
    }

    /// With the emergency denies over it, unless it is a directory that somebody names.
    fn read_in_force(
        self,
        environment: Vec<(String, String)>,
        at: SystemTime,
    ) -> Result<Draft, Failure> {
        let is_ours = self.dir.is_none();
        let sources = self.sources(environment)?;
        let told = |problems: LoadError| Failure::Settings(problems.to_string());
        let draft = Draft::read(&sources).map_err(told)?;
        let Some(denies) = sources.denies.as_ref().filter(|_| is_ours) else { return Ok(draft) };
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let denies = denies.in_force(at.as_secs());
        let denies = denies.map_err(|error| Failure::Settings(format!("modgate: {error}")))?;
        draft.under(&denies, &sources).map_err(told)
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Test Anything Protocol, for people and many tools.
    Tap,
    /// The XML of `JUnit`, for CI servers.
    Junit,
    /// One JSON object.
    Json,
}

/// `modgate policy test`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t = Format::Tap)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    which: Which,
}

impl Test {
    fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let outcome = self.which.read(environment)?.test()?;
        if outcome.is_empty() {
            let why = "the policy has no expectations in tests/*.toml, so it cannot be checked";
            return Err(Failure::Settings(format!(
                "{why}: policies/README.md shows how they look"
            )));
        }
        let format = if self.json { Format::Json } else { self.format };
        match format {
            Format::Tap => say(&outcome.to_string())?,
            Format::Junit => say(&outcome.junit())?,
            Format::Json => say(&format!("{:#}", outcome.json()))?,
        }
        if outcome.failures() == 0 { Ok(()) } else { Err(Failure::No) }
    }
}

/// `modgate policy lint`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Lint {
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

impl Lint {
    fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let draft = self.which.read(environment)?;
        let findings = draft.lint(SystemClock.now()).map_err(Failure::Settings)?;
        let errors = findings.iter().filter(|finding| finding.weight == Weight::Error).count();
        if self.json {
            say(&serde_json::to_string_pretty(&findings)?)?;
        } else {
            let lines = findings.iter().map(|finding| format!("{finding}\n")).collect::<String>();
            let (rules, found) = (draft.rules(), findings.len());
            say(&format!("{lines}{rules} rules, {found} findings, {errors} of them errors"))?;
        }
        if errors == 0 { Ok(()) } else { Err(Failure::No) }
    }
}

/// A policy of the past, or that of now with the emergency denies over it.
#[derive(Debug, Args)]
struct WhichInForce {
    /// The policy that was in force under this revision, as records have it in decision.policy; it lies below audit.dir
    #[arg(long, value_name = "REVISION", conflicts_with = "dir")]
    kept: Option<String>,
    #[command(flatten)]
    which: Which,
}

impl WhichInForce {
    fn read(self, environment: Vec<(String, String)>, at: SystemTime) -> Result<Draft, Failure> {
        let Some(revision) = self.kept else { return self.which.read_in_force(environment, at) };
        let config = self.which.settings.load(environment, Vec::new())?;
        let sources = app::policy_sources(&config);
        let told = |why: String| Failure::Settings(format!("modgate: policy {revision}: {why}"));
        let plain = revision.strip_prefix("sha256:").unwrap_or(&revision);
        let text = policies::read(&config.audit.dir, plain).map_err(|error| {
            told(format!("{error}; the kept ones lie in {}/policies", config.audit.dir.display()))
        })?;
        Draft::of_past(&text, plain, &sources).map_err(|error| told(error.to_string()))
    }
}

/// `modgate policy explain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// Who asks: user:REALM:ID, or any:anonymous
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: String,
    /// A group of theirs, group:REALM:NAME, or a role; may stand several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The module path
    #[arg(long, value_name = "PATH", value_parser = module)]
    module: ModulePath,
    /// The version
    #[arg(long, value_name = "VERSION", value_parser = version)]
    version: Option<Version>,
    /// list, download, sumdb or admit [default: list and download]
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// The address they come from, for conditions
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    source: IpAddr,
    /// When they ask, for conditions and the end of emergency denies, such as 2026-10-01T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<SystemTime>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: WhichInForce,
}

impl Explain {
    fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let now = self.at.unwrap_or_else(|| SystemClock.now());
        let draft = self.which.read(environment, now)?;
        let explained = draft.explain(Ask {
            who: OnBehalfOf::Named(&self.principal, &self.groups),
            path: &self.module,
            version: self.version.as_ref(),
            action: self.action.as_deref(),
            circumstances: Circumstances { source: self.source, now },
            view: View::All,
        });
        let explained = explained.map_err(|error| Failure::Settings(error.to_string()))?;
        if self.json {
            say(&serde_json::to_string_pretty(&explained)?)?;
        } else {
            say(&explained.to_string())?;
        }
        if explained.is_allowed() { Ok(()) } else { Err(Failure::No) }
    }
}

fn moment(text: &str) -> Result<SystemTime, &'static str> {
    humantime::parse_rfc3339(text)
        .map_err(|_| "write a time as records have it: 2026-10-01T12:00:00Z")
}

fn module(text: &str) -> Result<ModulePath, String> {
    ModulePath::parse(text).map_err(|error| error.to_string())
}

fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| error.to_string())
}
