//! `modgate locks`: who fetches what just now, of all nodes that share a Redis.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use crate::app;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::say;

/// Prints every lease: its age, its owner, its token and its key.
#[derive(Debug, Args)]
pub(in crate::cli) struct Locks {
    #[command(flatten)]
    settings: Settings,
}

impl Locks {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let config = self.settings.load(environment, Vec::new())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (held, now) = runtime.block_on(app::locks(&config))?;
        if held.is_empty() {
            return say("no locks: nobody fetches anything for all nodes just now");
        }
        let mut told = format!("{:>8}  {:20} {:>8}  KEY\n", "AGE", "OWNER", "TOKEN");
        for lease in held {
            let age = Duration::from_secs(now.saturating_sub(lease.since));
            let age = humantime::format_duration(age).to_string();
            // writing to a string cannot fail
            let _written =
                writeln!(told, "{age:>8}  {:20} {:>8}  {}", lease.owner, lease.token, lease.key);
        }
        say(&told)
    }
}
