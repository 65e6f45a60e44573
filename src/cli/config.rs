//! `modgate check-config`.

use clap::Args;

use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::say;

/// Prints the effective configuration, or every problem of it.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckConfig {
    #[command(flatten)]
    settings: Settings,
}

impl CheckConfig {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let config = self.settings.load(environment, Vec::new())?;
        say(&config.show())
    }
}
