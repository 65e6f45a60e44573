//! Where `modgate login` keeps credentials of gateways for `modgate goauth`: one file that only its owner may read.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use url::Url;

use crate::cli::Failure;

/// The credentials of one gateway.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Login {
    /// `https://HOST[:PORT]`.
    pub(in crate::cli) gateway: String,
    /// A token; if there is a command, the one it printed last.
    #[serde(default)]
    pub(in crate::cli) token: String,
    /// Prints a fresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) command: Option<String>,
    /// When a refused token was last renewed, in seconds since 1970.
    #[serde(default)]
    pub(in crate::cli) renewed: u64,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a login at {}", self.gateway)
    }
}

impl Login {
    /// A token that is not about to expire; the command is run if it is, or if the gateway refused the last one.
    pub(in crate::cli) fn fresh(
        &mut self,
        now: u64,
        freshness: Freshness,
    ) -> Result<Renewed, Failure> {
        let Some(command) = &self.command else { return Ok(Renewed::No) };
        let old = self.token.is_empty()
            || expiry(&self.token).is_some_and(|end| end <= now + MARGIN_SECONDS);
        // go sends several requests at once, and each refusal comes here by itself
        let just_renewed = now < self.renewed.saturating_add(SETTLED_SECONDS);
        if !old && (freshness == Freshness::WhileGood || just_renewed) {
            return Ok(Renewed::No);
        }
        let output = Command::new("sh").args(["-c", command]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if !output.status.success() {
            return Err(Failure::Failed(anyhow::anyhow!(
                "the token command of {} failed: {said}",
                self.gateway
            )));
        }
        String::from_utf8_lossy(&output.stdout).trim().clone_into(&mut self.token);
        check(&self.token)?;
        Ok(Renewed::Yes)
    }
}

/// When a token is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Freshness {
    /// When it is about to expire.
    WhileGood,
    /// Now: the gateway refused it.
    Now,
}

/// Whether a token was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Renewed {
    Yes,
    No,
}

/// The file of credentials.
#[derive(Debug)]
pub(in crate::cli) struct Store(PathBuf);

impl Store {
    /// `$XDG_CONFIG_HOME/modgate/credentials.json`, or below `~/.config`.
    pub(in crate::cli) fn of(environment: &[(String, String)]) -> Result<Self, Failure> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".config"));
        let directory = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
        let directory = directory.ok_or_else(|| {
            Failure::Settings(
                "neither XDG_CONFIG_HOME nor HOME is set: where are credentials kept?".to_owned(),
            )
        })?;
        Ok(Self(directory.join("modgate/credentials.json")))
    }

    /// Every login; a file that others may read is refused.
    pub(in crate::cli) fn read(&self) -> Result<Vec<Login>, Failure> {
        let shown = self.0.display();
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::Failed(anyhow::anyhow!("{shown}: {error}"))),
        };
        let mode = std::fs::metadata(&self.0)?.permissions().mode();
        if mode & 0o077 != 0 {
            let told = format!(
                "{shown} may be read by others (mode {:o}): chmod 600 {shown}",
                mode & 0o777
            );
            return Err(Failure::Settings(told));
        }
        serde_json::from_str(&text)
            .map_err(|error| Failure::Failed(anyhow::anyhow!("{shown}: {error}")))
    }

    /// Keeps others from reading and writing until it is dropped.
    pub(in crate::cli) fn lock(&self) -> Result<std::fs::File, Failure> {
        let directory = self.0.parent().unwrap_or(&self.0);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut options = std::fs::OpenOptions::new();
        let file =
            options.create(true).truncate(false).write(true).open(self.0.with_extension("lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Replaces the file as a whole, mode 0600 in a directory of mode 0700.
    pub(in crate::cli) fn write(&self, logins: &[Login]) -> Result<(), Failure> {
        let directory = self.0.parent().unwrap_or(&self.0);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        // a temporary file is made with mode 0600
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec_pretty(logins)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        Ok(())
    }
}

/// Scheme, host and port of a gateway, as `go` matches them: go 1.24 knows no paths here.
pub(in crate::cli) fn gateway(text: &str) -> Result<String, Failure> {
    let bad = || {
        // what may hold a password or a key is not repeated
        let shown = if text.contains(['@', '?', '#']) { "this" } else { text };
        Failure::Settings(format!("{shown} is no gateway: write https://HOST or https://HOST:PORT"))
    };
    let url = Url::parse(text).map_err(|_| bad())?;
    if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
        return Err(bad());
    }
    let host = url.host_str().ok_or_else(bad)?;
    Ok(url
        .port()
        .map_or_else(|| format!("https://{host}"), |port| format!("https://{host}:{port}")))
}

/// A token is one word of visible ASCII: it is going to stand in a header.
pub(in crate::cli) fn check(token: &str) -> Result<(), Failure> {
    let fits = !token.is_empty()
        && token.len() <= 8192
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(())
    } else {
        Err(Failure::Settings("that is no token: one word of at most 8 KiB".to_owned()))
    }
}

/// The `exp` of a JSON web token, unverified: it only says when to ask for a new one.
fn expiry(token: &str) -> Option<u64> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<serde_json::Value>(&payload).ok()?.get("exp")?.as_u64()
}

/// Refusals within this time are about the token that was just renewed.
const SETTLED_SECONDS: u64 = 5;
/// A download takes about as long; the token should outlive it.
const MARGIN_SECONDS: u64 = 60;
