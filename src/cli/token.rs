//! `modgate token issue | list | revoke`.

use std::time::Duration;

use clap::Subcommand;

use crate::audit::name::Name;
use crate::audit::slip::Deed;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::complain;
use crate::cli::nodes;
use crate::cli::say;
use crate::cli::slips;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::clock::rfc3339_seconds;
use crate::cluster::message::Message;
use crate::config::Config;
use crate::goproxy::pattern::Prefix;
use crate::identity::caller::encode_name;
use crate::identity::token::Issued;
use crate::identity::token::Scope;
use crate::identity::token::TokenFile;

/// Gateway tokens: for CI jobs, and for people whose `go` cannot do better.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Token {
    /// Make a token and print it, once: only its hash is kept.
    Issue {
        /// Its name, which becomes the principal user:token:NAME
        name: String,
        /// A group it belongs to; may stand several times
        #[arg(long = "group", short, value_name = "GROUP")]
        groups: Vec<String>,
        /// A module path prefix it is limited to, whatever the policy allows; may stand several times
        #[arg(long = "module", value_name = "PREFIX", value_parser = prefix)]
        modules: Vec<Prefix>,
        /// How long it is good, 366 days at most
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = humantime::parse_duration)]
        expires: Duration,
        #[command(flatten)]
        settings: Settings,
    },
    /// List tokens, without their secrets.
    List {
        #[command(flatten)]
        settings: Settings,
    },
    /// Revoke every good token of a name; running gateways follow within a second, with `[redis]` on all nodes.
    Revoke {
        /// The name
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
}

impl Token {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        match self {
            Self::Issue { name, groups, modules, expires, settings } => {
                let config = settings.load(environment, Vec::new())?;
                let scope = Scope { groups: &groups, modules: &modules };
                let token = file(&config).issue_for(&name, &scope, expires, &SystemClock)?;
                // before anybody can use it
                slips::leave_if_unseen(&config, &issued(&name, &scope, expires));
                complain("the token is shown once; use it as a netrc password or as Bearer:");
                say(token.expose())
            }
            Self::List { settings } => {
                let tokens = file(&settings.load(environment, Vec::new())?).list()?;
                let now = SystemClock.unix_seconds();
                let mut text = format!("{:24} {:9} {:20} GROUPS\n", "NAME", "STATE", "EXPIRES");
                for token in tokens {
                    text.push_str(&line(&token, now));
                }
                say(&text)
            }
            Self::Revoke { name, settings } => {
                let config = settings.load(environment, Vec::new())?;
                let taken = file(&config).revoke(&name, &SystemClock)?;
                let count = taken.len();
                let asked = format!("{}: {count} token(s)", principal(&name));
                let deed = Deed { name: Name::TokenRevoke, command: "token revoke", asked };
                // the other nodes first: the audit's disk may hang
                let told = nodes::tell(&config, taken.into_iter().map(revoked).collect());
                slips::leave_if_unseen(&config, &deed);
                let told = told?;
                say(&format!("revoked {count} token(s) of {name}{told}"))
            }
        }
    }
}

fn principal(name: &str) -> String {
    format!("user:token:{}", encode_name(name))
}

/// What is recorded of a new token; its secret is no part of it.
fn issued(name: &str, scope: &Scope<'_>, expires: Duration) -> Deed {
    let until = rfc3339_seconds(SystemClock.unix_seconds() + expires.as_secs());
    let mut asked = format!("{} until {until}", principal(name));
    for group in scope.groups {
        asked.push_str(" group=");
        asked.push_str(group);
    }
    for module in scope.modules {
        asked.push_str(" module=");
        asked.push_str(module.as_str());
    }
    Deed { name: Name::TokenIssue, command: "token issue", asked }
}

fn revoked(token: Issued) -> Message {
    Message::TokenRevoked { sha256: token.sha256, expires: token.expires }
}

fn prefix(text: &str) -> Result<Prefix, String> {
    Prefix::parse(text).map_err(|error| error.to_string())
}

fn line(token: &Issued, now: u64) -> String {
    let state = match (token.revoked, token.expires <= now) {
        (Some(_), _) => "revoked",
        (None, true) => "expired",
        (None, false) => "good",
    };
    let expires = rfc3339_seconds(token.expires);
    let limit = match token.modules.as_slice() {
        [] => String::new(),
        modules => format!(" only {}", modules.join(",")),
    };
    format!("{:24} {state:9} {expires:20} {}{limit}\n", token.name, token.groups.join(","))
}

fn file(config: &Config) -> TokenFile {
    TokenFile::new(config.identity.tokens_file.clone())
}
