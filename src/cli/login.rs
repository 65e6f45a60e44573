//! `modgate login` and `modgate goauth`: credentials for the `go` command of 1.24 and newer.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::io::IsTerminal as _;

use clap::Args;

use crate::cli::Failure;
use crate::cli::complain;
use crate::cli::say;
use crate::cli::store;
use crate::cli::store::Freshness;
use crate::cli::store::Login;
use crate::cli::store::Renewed;
use crate::cli::store::Store;
use crate::clock::Clock as _;
use crate::clock::SystemClock;

/// Keeps a token for a gateway.
#[derive(Debug, Args)]
pub(in crate::cli) struct LoginCommand {
    /// The gateway, as scheme, host and port
    gateway: String,
    /// A command that prints a fresh token; it is run before the last one expires, and when it is refused
    #[arg(long, value_name = "COMMAND")]
    token_command: Option<String>,
    /// Forget the gateway instead
    #[arg(long, conflicts_with = "token_command")]
    forget: bool,
}

impl LoginCommand {
    pub(in crate::cli) fn run(self, environment: &[(String, String)]) -> Result<(), Failure> {
        let (gateway, store) = (store::gateway(&self.gateway)?, Store::of(environment)?);
        let mut logins = store.read()?;
        logins.retain(|login| login.gateway != gateway);
        if self.forget {
            store.write(&logins)?;
            return say(&format!("forgot {gateway}"));
        }
        let mut login = Login {
            gateway: gateway.clone(),
            token: String::new(),
            command: self.token_command,
            renewed: 0,
        };
        if login.command.is_none() {
            login.token = read_token()?;
        }
        // a command is tried now, not when a build waits for it
        login.fresh(SystemClock.unix_seconds(), Freshness::Now)?;
        store::check(&login.token)?;
        logins.push(login);
        store.write(&logins)?;
        say(&format!(
            "kept for {gateway}; now tell go (1.24 or newer):\ngo env -w GOAUTH='modgate goauth'"
        ))
    }
}

/// From standard input, never from the command line, where everybody on the machine could read it.
fn read_token() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        complain("paste the token and press Enter:");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Speaks GOAUTH: prints headers for the gateways one is logged in to.
#[derive(Debug, Args)]
pub(in crate::cli) struct GoAuth {
    /// The URL that was refused, given by go on its second call; the refusal is read from standard input
    url: Option<String>,
}

impl GoAuth {
    pub(in crate::cli) fn run(self, environment: &[(String, String)]) -> Result<(), Failure> {
        let store = Store::of(environment)?;
        if store.read()?.is_empty() {
            return Ok(());
        }
        let _alone = store.lock()?;
        let mut logins = store.read()?;
        let (mut text, mut renewed) = (String::new(), Renewed::No);
        let freshness =
            if self.url.is_some() && is_401()? { Freshness::Now } else { Freshness::WhileGood };
        for login in &mut logins {
            let asked = self.url.as_deref().is_none_or(|url| is_below(url, &login.gateway));
            if !asked {
                continue;
            }
            if login.fresh(SystemClock.unix_seconds(), freshness)? == Renewed::Yes {
                renewed = Renewed::Yes;
                login.renewed = SystemClock.unix_seconds();
            }
            let Login { gateway, token, .. } = login;
            // writing to a string cannot fail
            let _written = write!(text, "{gateway}\n\nAuthorization: Bearer {token}\n\n");
        }
        if renewed == Renewed::Yes {
            store.write(&logins)?;
        }
        // nothing at all is a legal answer: go then sends no header
        if text.is_empty() { Ok(()) } else { say(&text) }
    }
}

/// Whether what go passes on begins with a 401; any other refusal is no reason for a new token.
fn is_401() -> Result<bool, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.split(' ').nth(1) == Some("401"))
}

fn is_below(url: &str, gateway: &str) -> bool {
    store::gateway(url).is_ok_and(|asked| asked == gateway)
}
