//! `modgate serve --dev`: what it fills in, and the lines it prints to paste.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::app;
use crate::cli::Failure;
use crate::cli::Settings;
use crate::cli::complain;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::secret::Secret;
use crate::config::upstream::developers_networks;
use crate::goproxy::proxylist::FallBack;
use crate::goproxy::proxylist::ProxyList;
use crate::goproxy::proxylist::ProxyTarget;
use crate::identity::token::TokenFile;
use crate::lifecycle::Listening;
use crate::server::devca::DevCa;

/// What a developer has to know.
#[derive(Debug)]
pub(in crate::cli) struct Guide {
    config: Config,
    ca: PathBuf,
    netrc: PathBuf,
    token: Secret<String>,
    upstreams: String,
    sumdb: String,
}

/// Loads the configuration with a developer's defaults wherever nothing was written out; its lines are for people
/// unless `--set telemetry.log_format=json` is given.
pub(in crate::cli) fn prepare(
    settings: &Settings,
    environment: Vec<(String, String)>,
    mut more: Vec<(String, String)>,
) -> Result<(Config, Guide), Failure> {
    let set = |key: &str, value: &str, more: &mut Vec<(String, String)>| {
        more.insert(0, (key.to_owned(), value.to_owned()));
    };
    let mut looking = more.clone();
    // the certificate is made below; until then nothing listens
    set("server.plaintext", "insecure_anywhere", &mut looking);
    let first = settings.load(environment.clone(), looking)?;
    let directory = first.state_dir.clone();
    let files = DevCa::prepare(&directory.join("ca"), &SystemClock)?;
    if first.server.tls_cert.is_none() {
        set("server.tls_cert", &files.chain.display().to_string(), &mut more);
        set("server.tls_key", &files.key.display().to_string(), &mut more);
    }
    let written = more.iter().any(|(key, _)| key == "upstream.chain");
    if !written && first.upstream.chain.is_empty() {
        let list = go_setting("GOPROXY", &environment);
        set("upstream.chain", &usable(list.as_deref().unwrap_or_default())?, &mut more);
    }
    if first.sumdb.names.is_empty()
        && let Some(name) = sumdb_name(go_setting("GOSUMDB", &environment).as_deref())
    {
        set("sumdb.names", &name, &mut more);
    }
    set("telemetry.log_format", "text", &mut more);
    let mut config = settings.load(environment, more)?;
    for server in &mut config.upstream.servers {
        // a developer's public proxy may keep its zips elsewhere, and passes the checksum database on
        server.sumdb = true;
        if server.allow_redirect_hosts.is_empty() {
            server.allow_redirect_hosts.push("*".to_owned());
        }
        // and may stand in the network of their company, which go would not ask about either
        if server.allow_networks.is_empty() {
            server.allow_networks = developers_networks();
        }
    }
    let guide = guide(&config, &files)?;
    Ok((config, guide))
}

/// A setting of the go command: the environment, else what `go env` says.
fn go_setting(name: &str, environment: &[(String, String)]) -> Option<String> {
    let found = environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    found.filter(|value| !value.is_empty()).or_else(|| {
        let asked = Command::new("go").args(["env", name]).output().ok()?;
        let said = String::from_utf8(asked.stdout).ok()?.trim().to_owned();
        (asked.status.success() && !said.is_empty()).then_some(said)
    })
}

/// The entries that a gateway can use: `direct`, which ends a list, is for machines that may fetch past it.
fn usable(list: &str) -> Result<String, Failure> {
    let none = "no upstream: give --upstream LIST, set upstream.chain, or set GOPROXY";
    if list.trim().is_empty() {
        return Err(Failure::Settings(none.to_owned()));
    }
    let parsed = ProxyList::parse(list).map_err(|error| {
        Failure::Settings(format!("GOPROXY: {error}; give --upstream LIST instead"))
    })?;
    let mut kept = String::new();
    let mut join = "";
    for entry in &parsed.entries {
        match &entry.target {
            ProxyTarget::Url(url) => {
                kept.push_str(join);
                kept.push_str(url);
                join = match entry.fall_back {
                    FallBack::OnNotFound => ",",
                    FallBack::OnAnyError => "|",
                };
            }
            ProxyTarget::Direct => {
                complain(
                    "notice: GOPROXY's \"direct\" ends the list here: this gateway asks proxies only",
                );
            }
            ProxyTarget::Off => break,
        }
    }
    if kept.is_empty() { Err(Failure::Settings(none.to_owned())) } else { Ok(kept) }
}

/// The database's name, without its key; `None` if checking is off.
fn sumdb_name(setting: Option<&str>) -> Option<String> {
    let first = setting?.split_whitespace().next()?;
    let name = first.split('+').next()?;
    (name != "off").then(|| name.to_owned())
}

/// What is known before anything listens.
fn guide(config: &Config, files: &DevCa) -> Result<Guide, Failure> {
    let names: Vec<&str> = config.upstream.chain.iter().map(|(name, _)| name.as_str()).collect();
    Ok(Guide {
        ca: absolute(&files.ca),
        netrc: absolute(&config.state_dir.join("netrc")),
        token: fresh_token(config)?,
        upstreams: names.join(", "),
        sumdb: config.sumdb.names.join(", "),
        config: config.clone(),
    })
}

/// One token a start: the one of the last start is revoked, so an old netrc cannot be used for ever.
fn fresh_token(config: &Config) -> Result<Secret<String>, Failure> {
    let file = TokenFile::new(config.identity.tokens_file.clone());
    if file.list()?.iter().any(|token| token.name == TOKEN_NAME && token.revoked.is_none()) {
        // expired ones are left as they are, and then there is nothing to revoke
        let _none = file.revoke(TOKEN_NAME, &SystemClock);
    }
    Ok(file.issue(TOKEN_NAME, &["developers".to_owned()], TOKEN_LIFE, &SystemClock)?)
}

fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Guide {
    /// Writes netrc, and gives lines for a shell that are complete in themselves.
    pub(in crate::cli) fn print(&self, listening: &Listening) -> Result<String, Failure> {
        let mut config = self.config.clone();
        config.server.listen.clone_from(&listening.modules);
        let url = app::public_url(&config);
        let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or(authority);
        let name = authority.rsplit_once(':').map_or(authority, |(name, _port)| name);
        // go from 1.21 on looks for host and port, curl and older ones for the host alone
        let text = format!(
            "machine {authority} login dev password {token}\nmachine {name} login dev password {token}\n",
            token = self.token.expose()
        );
        write_private(&self.netrc, &text)?;
        Ok(self.text(&url, listening))
    }

    fn text(&self, url: &str, listening: &Listening) -> String {
        let sumdb = match self.sumdb.as_str() {
            "" => "export GOSUMDB=off\n".to_owned(),
            _ => String::new(),
        };
        let database = match self.sumdb.as_str() {
            "" => "off, so sums are checked against go.sum alone",
            name => name,
        };
        format!(
            "modgate is ready on {url}\n\
             upstreams: {upstreams}; checksum database: {database}\n\
             metrics:   http://{ops}/metrics\n\
             \n\
             # paste into the shell where go runs:\n\
             export GOPROXY={url}\n\
             export SSL_CERT_FILE={ca}\n\
             export NETRC={netrc}\n\
             {sumdb}\
             \n\
             # who am I, may I have it, and why:\n\
             curl --netrc-file $NETRC --cacert $SSL_CERT_FILE {url}/-/whoami\n\
             curl --netrc-file $NETRC --cacert $SSL_CERT_FILE '{url}/-/why?module=example.com/m'\n\
             \n\
             Ctrl-C stops it.\n",
            upstreams = self.upstreams,
            ops = listening.ops,
            ca = self.ca.display(),
            netrc = self.netrc.display(),
        )
    }
}

/// The developer's token; its principal is `user:token:dev`.
const TOKEN_NAME: &str = "dev";
/// A working day, and a long one.
const TOKEN_LIFE: Duration = Duration::from_hours(24);
