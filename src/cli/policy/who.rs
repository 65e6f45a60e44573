//! `modgate policy who`.

use std::time::SystemTime;

use clap::Args;

use crate::cli::Failure;
use crate::cli::policy::WhichInForce;
use crate::cli::policy::module;
use crate::cli::policy::moment;
use crate::cli::policy::version;
use crate::cli::say;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;

/// `modgate policy who`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Who {
    /// The module path
    #[arg(long, value_name = "PATH", value_parser = module)]
    module: ModulePath,
    /// The version [default: every version that a rule tells apart]
    #[arg(long, value_name = "VERSION", value_parser = version)]
    version: Option<Version>,
    /// When, for the end of emergency denies, such as 2026-10-01T12:00:00Z [default: now]; a kept policy has those it had
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "kept")]
    at: Option<SystemTime>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: WhichInForce,
}

impl Who {
    pub(in crate::cli::policy) fn run(
        self,
        environment: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let now = self.at.unwrap_or_else(|| SystemClock.now());
        let draft = self.which.read(environment, now)?;
        let reach = draft.reach(&self.module, self.version.as_ref());
        let reach = reach.map_err(|error| Failure::Settings(format!("modgate: {error}")))?;
        if self.json {
            say(&serde_json::to_string_pretty(&reach)?)?;
        } else {
            say(&reach.to_string())?;
        }
        if reach.is_reached() { Ok(()) } else { Err(Failure::No) }
    }
}
