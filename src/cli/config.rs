//! `modgate check-config`.

use clap::Args;

use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::say;
use crate::config::show;

/// Prints the effective configuration, or every problem of it.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckConfig {
    /// Print a settings file with every key, its meaning and its default instead
    #[arg(long)]
    example: bool,
    #[command(flatten)]
    settings: Settings,
}

impl CheckConfig {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        if self.example {
            return say(&show::example());
        }
        let config = self.settings.load(environment, Vec::new())?;
        say(&config.show())
    }
}
