//! `modgate check-config`.

use clap::Args;

use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::complain;
use crate::cli::say;
use crate::config::Config;
use crate::config::show;
use crate::config::warnings::warnings;
use crate::lifecycle;
use crate::lifecycle::Probed;

/// Prints the effective configuration and what it had better not say, or every problem of it.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckConfig {
    /// Also ask every directory, issuer and upstream, Redis and the bucket, and say what is wrong and what to do
    #[arg(long)]
    probe: bool,
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
        say(&config.show())?;
        for warning in warnings(&config) {
            complain(&format!("modgate: warning: {warning}"));
        }
        if self.probe { probe(&config) } else { Ok(()) }
    }
}

/// Asks everybody we depend on; one that cannot be asked is a failure.
fn probe(config: &Config) -> Result<(), Failure> {
    let mut failed = 0;
    for Probed { what, said } in lifecycle::probe(config)? {
        match said {
            Ok(()) => say(&format!("ok      {what}"))?,
            Err(why) => {
                failed += 1;
                say(&format!("FAILED  {what}: {why}\n        {}", remedy(&why)))?;
            }
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::Failed(anyhow::anyhow!("{failed} of those we depend on cannot be asked")))
}

/// What to do about the commonest failures; the texts are those of TLS, sockets and directories.
fn remedy(why: &str) -> &'static str {
    REMEDIES
        .iter()
        .find(|(mark, _)| why.contains(mark))
        .map_or("see the message", |(_, remedy)| remedy)
}

/// What a failure says, and what to do; the first that fits counts.
const REMEDIES: &[(&str, &str)] = &[
    ("NOAUTH", "it wants a password: set redis.password_file"),
    ("WRONGPASS", "correct redis.username and redis.password_file"),
    ("AuthenticationFailed", "correct redis.username and redis.password_file"),
    ("authentication failed", "correct redis.username and redis.password_file"),
    ("NOPERM", "give the user of redis.username the rights to keys and channels of redis.prefix"),
    ("master name", "set redis.master to the name the sentinels know"),
    ("NoSuchBucket", "there is no such bucket: correct cache.bucket.name, or make it"),
    ("RequestTimeTooSkewed", "the clocks differ: set the clock of this machine (is NTP running?)"),
    (
        "SignatureDoesNotMatch",
        "correct cache.bucket.secret_key_file; if it is right, compare the clocks",
    ),
    ("InvalidAccessKeyId", "correct cache.bucket.access_key_file"),
    (
        "AccessDenied",
        "let the key read, write and delete in the bucket, or correct cache.bucket.name",
    ),
    (
        "tls_expired:",
        "its certificate has expired or is not valid yet: renew it, or set this machine's clock",
    ),
    ("tls:", "it speaks no TLS there: correct the port, or write http:// in url"),
    ("dns:", "the name cannot be resolved: correct the host in url"),
    ("connect_timeout:", "nothing answers there: correct host and port, or open the firewall"),
    ("timeout_first_byte:", "it takes connections and says nothing: look at its own log"),
    ("reset:", "it hangs up: correct scheme and port; it may speak TLS only (https://)"),
    ("not a public address", "correct the host, or add its network to allow_networks"),
    ("protocol:", "what answers there is no HTTP server: correct the port in url"),
    ("it answered 407", "a proxy of this machine's environment wants credentials"),
    ("it answered 40", "correct username and password_file of this upstream"),
    ("it answered 5", "it is there and fails: look at its own log"),
    ("its clock and ours", "set both clocks, best by NTP: certificates and tokens need them"),
    ("the directory", "correct the path in url, or let modgate's user read it"),
    ("UnknownIssuer", "its certificate is signed by nobody we trust: set ca_file to its authority"),
    (
        "unknown issuer",
        "its certificate is signed by nobody we trust: set ca_file to its authority",
    ),
    ("not valid for name", "its certificate is for another name: use that name, or renew it"),
    ("NotValidForName", "its certificate is for another name: use that name, or renew it"),
    ("Expired", "its certificate has expired: renew it"),
    ("expired", "its certificate has expired: renew it"),
    ("peer certificate", "its certificate is not to be trusted: set ca_file to its authority"),
    ("refused (os error", "nobody listens there: correct host and port, or start it"),
    ("lookup", "the name cannot be resolved: correct the host"),
    ("no answer in time", "it does not answer: is a firewall between, or is it stopped?"),
    ("service account", "correct bind_dn and bind_password_file"),
    ("is about", "set issuer to exactly what the document says"),
    ("ended with result 32", "the base does not exist: correct user_base"),
];
