//! `modgate policy test`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::app;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::say;
use crate::policy::suite;

/// Checks of a policy that need no running gateway.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PolicyCommand {
    /// Run the expectations in the policy's tests/ folder; prints TAP.
    Test {
        /// The policy's directory [default: policy.dir, or what is built in]
        #[arg(long, value_name = "DIRECTORY")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        settings: Settings,
    },
}

impl PolicyCommand {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let Self::Test { dir, settings } = self;
        let mut config = settings.load(environment, Vec::new())?;
        if dir.is_some() {
            config.policy.dir = dir;
        }
        let policy = app::load_policy(&config)
            .map_err(|problems| Failure::Settings(problems.to_string()))?;
        let outcome = suite::run(&policy)?;
        say(&outcome.to_string())?;
        if outcome.failures() == 0 { Ok(()) } else { Err(Failure::Expectations) }
    }
}
