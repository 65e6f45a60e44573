//! `modgate doctor`: tries a gateway as a developer's `go` would, looks at that `go`'s settings, and says what to change.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use url::Url;

use crate::cli::Failure;
use crate::cli::say;
use crate::cli::store;
use crate::cli::store::Store;
use crate::egress::document::Documents;
use crate::fault::chain_text;
use crate::goproxy::path::ModulePath;

/// Tries a gateway.
#[derive(Debug, Args)]
pub(in crate::cli) struct Doctor {
    /// The gateway, as it stands in GOPROXY
    gateway: String,
    /// A PEM file with its authority [default: `SSL_CERT_FILE`, and the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A module you should be able to get; may stand several times
    #[arg(long = "module", value_name = "PATH")]
    modules: Vec<String>,
    /// A module you should not be able to get; may stand several times
    #[arg(long = "denied", value_name = "PATH")]
    denied: Vec<String>,
}

/// What was found, line by line.
#[derive(Debug, Default)]
struct Findings {
    lines: Vec<String>,
    bad: usize,
}

impl Findings {
    fn good(&mut self, what: &str) {
        self.lines.push(format!("ok      {what}"));
    }

    fn bad(&mut self, what: &str, remedy: &str) {
        self.bad += 1;
        self.lines.push(format!("CHANGE  {what}\n        {remedy}"));
    }
}

impl Doctor {
    pub(in crate::cli) fn run(self, environment: &[(String, String)]) -> Result<(), Failure> {
        let gateway = store::gateway(&self.gateway)?;
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let ca = self.ca.clone().or_else(|| variable("SSL_CERT_FILE").map(PathBuf::from));
        let documents = Documents::new(ca.as_deref())?;
        let mut findings = Findings::default();
        let authorization = credentials(&gateway, environment, &mut findings)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let base = self.gateway.trim_end_matches('/').to_owned();
        let asking = Asking { documents, base, authorization };
        let private = runtime.block_on(self.ask(&asking, &mut findings));
        client(&gateway, &self.gateway, &private, &mut findings);
        let told = findings.lines.join("\n");
        say(&told)?;
        match findings.bad {
            0 => say("nothing to change"),
            bad => Err(Failure::Failed(anyhow::anyhow!("{bad} to change"))),
        }
    }

    /// Asks the gateway everything; gives the prefixes that it calls private.
    async fn ask(&self, asking: &Asking, findings: &mut Findings) -> Vec<String> {
        if !asking.who(findings).await {
            return Vec::new();
        }
        for module in &self.modules {
            asking.module(module, Wanted::Served, findings).await;
        }
        for module in &self.denied {
            asking.module(module, Wanted::Denied, findings).await;
        }
        asking.private().await
    }
}

/// A gateway, and who asks it.
#[derive(Debug)]
struct Asking {
    documents: Documents,
    base: String,
    authorization: Option<String>,
}

/// What should come of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Served,
    Denied,
}

impl Asking {
    async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let url = Url::parse(&format!("{}{path}", self.base)).map_err(|error| error.to_string())?;
        let asked = self.documents.ask(url, self.authorization.as_deref()).await;
        asked.map_err(|error| chain_text(&error))
    }

    /// TLS and credentials; whether it makes sense to go on.
    async fn who(&self, findings: &mut Findings) -> bool {
        match self.get("/-/whoami").await {
            Err(why) if why.contains("certificate") || why.contains("UnknownIssuer") => {
                findings.bad(
                    &format!("TLS: {why}"),
                    "set SSL_CERT_FILE to the gateway's authority, or give --ca",
                );
            }
            Err(why) => findings
                .bad(&format!("connection: {why}"), "is the URL right, and the gateway running?"),
            Ok((200, text)) => {
                let told: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let name =
                    told.get("principal").and_then(serde_json::Value::as_str).unwrap_or("somebody");
                findings.good(&format!("TLS and credentials: you are {name}"));
                return true;
            }
            Ok((401, text)) => {
                findings.bad(
                    &format!("credentials: {}", first(&text)),
                    "put a good token into netrc, or run modgate login",
                );
            }
            Ok((503, text)) => findings.bad(
                &format!("credentials: {}", first(&text)),
                "the gateway's directory is down: try again, tell its operators",
            ),
            Ok((status, text)) => {
                findings.bad(&format!("{status}: {}", first(&text)), "is this a modgate?");
            }
        }
        false
    }

    async fn module(&self, module: &str, wanted: Wanted, findings: &mut Findings) {
        let Ok(path) = ModulePath::parse(module) else {
            return findings
                .bad(&format!("{module} is no module path"), "write it as in an import");
        };
        let answer = self.get(&format!("/{}/@v/list", path.escaped())).await;
        match (answer, wanted) {
            (Err(why), _) => findings.bad(&format!("{module}: {why}"), "try again"),
            (Ok((200, list)), Wanted::Served) => self.newest(&path, &list, findings).await,
            (Ok((403, text)), Wanted::Denied) => {
                findings.good(&format!("{module} is denied: {}", first(&text)));
            }
            (Ok((403, text)), Wanted::Served) => {
                findings.bad(
                    &format!("{module}: {}", text.trim().replace('\n', "\n          ")),
                    "ask whom it names, with the trace",
                );
            }
            (Ok((status, text)), Wanted::Served) => findings.bad(
                &format!("{module}: {status}: {}", first(&text)),
                "does it exist, and does an upstream have it?",
            ),
            (Ok((status, _)), Wanted::Denied) => {
                findings.bad(&format!("{module} is not denied: {status}"), "correct the policy");
            }
        }
    }

    /// The prefixes whose names a checksum database must not be asked about, from the gateway's page for `go`.
    async fn private(&self) -> Vec<String> {
        let page = self.get("/-/env").await.map(|(_, text)| text).unwrap_or_default();
        let listed = page.lines().find_map(|line| line.strip_prefix("GONOSUMDB="));
        listed.map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default()
    }

    /// An info of the newest version in a list.
    async fn newest(&self, path: &ModulePath, list: &str, findings: &mut Findings) {
        let Some(version) = list.lines().last().and_then(|line| line.split(' ').next()) else {
            return findings.good(&format!("{path}: a list without versions"));
        };
        match self.get(&format!("/{}/@v/{version}.info", path.escaped())).await {
            Ok((200, _)) => findings
                .good(&format!("{path}: {} versions, the info of {version}", list.lines().count())),
            Ok((status, text)) => findings.bad(
                &format!("{path}@{version}: {status}: {}", first(&text)),
                "tell the gateway's operators, with the trace",
            ),
            Err(why) => findings.bad(&format!("{path}@{version}: {why}"), "try again"),
        }
    }
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or("no text")
}

/// The credentials for a gateway, if there are any.
pub(in crate::cli) fn authorization(
    gateway: &str,
    environment: &[(String, String)],
) -> Result<Option<String>, Failure> {
    credentials(gateway, environment, &mut Findings::default())
}

/// What `go` would send: a kept token, or netrc.
fn credentials(
    gateway: &str,
    environment: &[(String, String)],
    findings: &mut Findings,
) -> Result<Option<String>, Failure> {
    let logins = Store::of(environment)?.read()?;
    if let Some(login) = logins.iter().find(|login| login.gateway == gateway) {
        return Ok(Some(format!("Bearer {}", login.token)));
    }
    let variable =
        |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let netrc = variable("NETRC")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".netrc")));
    let text =
        netrc.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let authority = gateway.trim_start_matches("https://");
    let host = authority.split(':').next().unwrap_or(authority);
    if let Some(found) = entry(&text, authority) {
        return Ok(Some(found));
    }
    if authority != host && entry(&text, host).is_some() {
        let remedy =
            format!("go from 1.21 on wants the port: machine {authority} login … password …");
        findings.bad(&format!("netrc has {host} and not {authority}"), &remedy);
    }
    Ok(None)
}

/// The Basic credentials of a machine in netrc, as go reads it: the first whole entry before `default`.
fn entry(netrc: &str, machine: &str) -> Option<String> {
    let mut words = netrc.split_whitespace();
    let (mut name, mut login) = ("", "");
    while let Some(word) = words.next() {
        match word {
            "default" => return None,
            "machine" => (name, login) = (words.next()?, ""),
            "login" => login = words.next()?,
            "password" => {
                let password = words.next()?;
                if name == machine && !login.is_empty() {
                    return Some(format!(
                        "Basic {}",
                        STANDARD.encode(format!("{login}:{password}"))
                    ));
                }
            }
            _ => {}
        }
    }
    None
}

/// A setting of the `go` on the path, if there is one.
fn setting(name: &str) -> Option<String> {
    let output = Command::new("go").args(["env", name]).output().ok()?;
    let text = || String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then(text)
}

/// Whether `go` keeps private names from the checksum database: the gateway refuses to ask it, and the build would fail.
fn sums(private: &[String], findings: &mut Findings) {
    let value = |name: &str| setting(name).unwrap_or_default();
    if private.is_empty() || value("GOSUMDB") == "off" {
        return;
    }
    let excepted = value("GONOSUMDB");
    let covers = |pattern: &str, prefix: &str| {
        let rest = prefix.strip_prefix(pattern);
        pattern == "*" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let left_out = |prefix: &&String| !excepted.split(',').any(|pattern| covers(pattern, prefix));
    let missing: Vec<&str> = private.iter().filter(left_out).map(String::as_str).collect();
    if missing.is_empty() {
        return findings.good("GONOSUMDB has every private prefix");
    }
    findings.bad(
        &format!("GONOSUMDB={excepted} lacks {}", missing.join(",")),
        &format!("their sums are in no public database: go env -w GONOSUMDB={}", private.join(",")),
    );
}

/// The settings of the `go` on the path.
fn client(gateway: &str, given: &str, private: &[String], findings: &mut Findings) {
    let Some(proxies) = setting("GOPROXY") else {
        return findings.good("no go on the PATH: its settings were not looked at");
    };
    let entries: Vec<&str> = proxies.split([',', '|']).filter(|entry| !entry.is_empty()).collect();
    match entries.as_slice() {
        [only] if only.starts_with(gateway) => findings.good("GOPROXY is the gateway alone"),
        [first, ..] if first.starts_with(gateway) => findings.bad(
            &format!("GOPROXY={proxies} goes on to others"),
            &format!("names that the gateway answers 404 reach them: go env -w GOPROXY={given}"),
        ),
        _ => findings.bad(&format!("GOPROXY={proxies}"), &format!("go env -w GOPROXY={given}")),
    }
    for name in ["GOPRIVATE", "GONOPROXY"] {
        let value = setting(name).unwrap_or_default();
        if !value.is_empty() && value != "none" {
            let remedy = format!(
                "these modules go past the gateway: go env -u {name}; set GONOSUMDB instead"
            );
            findings.bad(&format!("{name}={value}"), &remedy);
        }
    }
    sums(private, findings);
}
