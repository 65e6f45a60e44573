//! `modgate deny`: a module, or some versions of it, is refused to everybody within a second, without a review.

use std::time::Duration;

use clap::Args;

use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::nodes;
use crate::cli::say;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::clock::rfc3339_seconds;
use crate::cluster::message::Message;
use crate::config::Config;
use crate::policy::overlay::Denies;
use crate::policy::overlay::Deny;
use crate::policy::overlay::Wanted;

/// Denies a module to everybody at once. A running gateway follows within a second, with `[redis]` on all nodes; its
/// audit says so.
#[derive(Debug, Args)]
pub(in crate::cli) struct DenyCommand {
    /// `MODULE`, or `MODULE@VERSIONS` such as 'example.com/lib@<v1.4.2'; quote < and >
    #[arg(value_name = "MODULE[@VERSIONS]", required_unless_present_any = ["list", "lift"])]
    what: Option<String>,
    /// Why: told to everybody who is refused
    #[arg(long, required_unless_present_any = ["list", "lift"])]
    reason: Option<String>,
    /// Until when: a duration from now such as 4h or 7d, a date, or a time in UTC [default: until it is lifted]
    #[arg(long, value_name = "TIME", value_parser = until_when)]
    until: Option<Duration>,
    /// List every emergency deny
    #[arg(long, conflicts_with_all = ["what", "reason", "until", "lift"])]
    list: bool,
    /// With --list, print one JSON array
    #[arg(long, requires = "list")]
    json: bool,
    /// Lift one, by its id
    #[arg(long, value_name = "ID", conflicts_with_all = ["what", "reason", "until"])]
    lift: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl DenyCommand {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let config = self.settings.load(environment, Vec::new())?;
        let denies = Denies::new(config.policy.denies_file.clone());
        if let Some(id) = &self.lift {
            let told = tell(&config, &denies.lift(id, &SystemClock)?)?;
            return say(&format!("{id} is lifted{told}"));
        }
        let (Some(what), Some(reason)) = (self.what, self.reason) else {
            let all = denies.list()?;
            return if self.json { say(&serde_json::to_string_pretty(&all)?) } else { list(&all) };
        };
        let wanted = Wanted { what, reason, life: self.until };
        let deny = denies
            .add(&wanted, &SystemClock)
            .map_err(|error| Failure::Settings(error.to_string()))?;
        let told = tell(&config, &deny)?;
        let Wanted { what, .. } = wanted;
        say(&format!("{}: {what} is denied to everybody {}{told}", deny.id, until(&deny)))
    }
}

fn tell(config: &Config, deny: &Deny) -> Result<&'static str, Failure> {
    nodes::tell(config, vec![Message::Deny(deny.told())])
}

/// How long from now: as a duration, or until a date (its first moment, UTC) or a time (RFC 3339, with Z).
fn until_when(text: &str) -> Result<Duration, String> {
    if let Ok(life) = humantime::parse_duration(text) {
        return Ok(life);
    }
    let full = if text.len() == DATE_BYTES { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let until = humantime::parse_rfc3339(&full).map_err(
        |_| "write a duration such as 4h, a date such as 2027-01-31, or 2027-01-31T12:00:00Z",
    )?;
    until.duration_since(SystemClock.now()).map_err(|_| "that is over already".to_owned())
}

/// As in 2027-01-31.
const DATE_BYTES: usize = 10;

fn list(denies: &[Deny]) -> Result<(), Failure> {
    let now = SystemClock.unix_seconds();
    let mut text = format!("{:13} {:8} {:40} {:26} REASON\n", "ID", "STATE", "WHAT", "UNTIL");
    for deny in denies {
        let state = match (deny.lifted, deny.holds(now)) {
            (Some(_), _) => "lifted",
            (None, true) => "holds",
            (None, false) => "over",
        };
        let what = format!("{}@{}", deny.module, deny.versions);
        let line =
            format!("{:13} {state:8} {what:40} {:26} {}\n", deny.id, until(deny), deny.reason);
        text.push_str(&line);
    }
    say(&text)
}

fn until(deny: &Deny) -> String {
    deny.until.map_or_else(
        || "until it is lifted".to_owned(),
        |until| format!("until {}", rfc3339_seconds(until)),
    )
}
