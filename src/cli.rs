//! The command line: arguments in, exit code out.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it failed; standard error says why and what to do |
//! | 2 | the arguments or the configuration are wrong; nothing was started |
//!
//! Commands that answer a question (`modgate policy …`, `modgate audit …`) exit with 0 for yes, 1 for no (an expectation does
//! not hold, a request is denied, a log was changed), and 2 if nobody can tell.

mod audit;
mod cache;
mod config;
mod deny;
mod dev;
mod doctor;
mod locks;
mod login;
mod metrics;
mod nodes;
mod policy;
mod serve;
mod slips;
mod store;
mod token;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::config::Config;
use crate::config::Inputs;

/// The gateway that decides who may fetch which Go module, serves it fast, and proves it.
#[derive(Debug, Parser)]
#[command(name = "modgate", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve modules until SIGINT or SIGTERM.
    Serve(serve::Serve),
    /// Print the effective configuration and where each value comes from, secrets masked.
    CheckConfig(config::CheckConfig),
    /// Issue, list and revoke gateway tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// Test, check, explain, compare and promote policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Print the catalogue of metrics: names, labels with all their values, and what they mean.
    Metrics(metrics::MetricsCommand),
    /// Deny a module to everybody at once, list such denies, or lift one.
    Deny(deny::DenyCommand),
    /// Fill the cache beforehand, carry it elsewhere, look into it.
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Show who fetches what just now, of all nodes that share a Redis.
    Locks(locks::Locks),
    /// Read, verify, prove and export the audit: 0 fine, 1 the answer is no, 2 nobody can tell.
    #[command(subcommand)]
    Audit(Box<audit::AuditCommand>),
    /// Try a gateway as go would, look at go's settings, and say what to change.
    Doctor(doctor::Doctor),
    /// Keep a token for a gateway, read from standard input.
    Login(login::LoginCommand),
    /// Give go the kept tokens: set GOAUTH='modgate goauth' (go 1.24 and newer).
    Goauth(login::GoAuth),
}

/// Where settings come from; the same for every command.
#[derive(Debug, Clone, Args)]
struct Settings {
    /// The settings file [default: modgate.toml, if there is one]
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Override one setting, such as --set server.listen=127.0.0.1:8443; may stand several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair, global = true)]
    overrides: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as server.workers=2")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What a command came to, besides success.
#[derive(Debug)]
enum Failure {
    /// Exit code 1.
    Failed(anyhow::Error),
    /// Exit code 2: text for standard error.
    Settings(String),
    /// Exit code 1: the question was answered, with no.
    No,
}

impl Failure {
    /// For a command that answers a question: what could not be read is no answer, so 2 and never 1.
    fn untold(self) -> Self {
        match self {
            Self::Failed(error) => Self::Settings(format!("modgate: {error:#}")),
            other => other,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the command that the arguments name. `environment` is what settings may come from.
pub fn run(arguments: Vec<OsString>, environment: Vec<(String, String)>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // help and version are no errors; they go to standard output with code 0
            let _printed = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let done = match arguments.command {
        Command::Serve(command) => command.run(environment),
        Command::CheckConfig(command) => command.run(environment),
        Command::Token(command) => command.run(environment),
        Command::Policy(command) => command.run(environment),
        Command::Metrics(command) => command.run(),
        Command::Deny(command) => command.run(environment),
        Command::Cache(command) => command.run(environment),
        Command::Locks(command) => command.run(environment),
        Command::Audit(command) => command.run(environment),
        Command::Doctor(command) => command.run(&environment),
        Command::Login(command) => command.run(&environment),
        Command::Goauth(command) => command.run(&environment),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            complain(&format!("modgate: {error:#}"));
            ExitCode::FAILURE
        }
        Err(Failure::Settings(text)) => {
            complain(&text);
            ExitCode::from(2)
        }
        Err(Failure::No) => ExitCode::from(1),
    }
}

impl Settings {
    fn load(
        &self,
        environment: Vec<(String, String)>,
        more: Vec<(String, String)>,
    ) -> Result<Config, Failure> {
        let file = self.config.clone().or_else(|| {
            let usual = PathBuf::from("modgate.toml");
            usual.is_file().then_some(usual)
        });
        // what the command itself adds gives way to what the caller wrote out
        let mut overrides = more;
        overrides.extend(self.overrides.iter().cloned());
        let inputs = Inputs { file, environment, overrides };
        Config::load(inputs).map_err(|problems| Failure::Settings(problems.to_string()))
    }
}

/// Prints a line, or several, on standard output.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Prints on standard error; if that fails there is nobody to tell.
fn complain(text: &str) {
    let _nobody = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
}
