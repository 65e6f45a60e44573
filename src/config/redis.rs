//! `[redis]`: what nodes share besides a bucket: small bodies, one fetch for all, and news.

use std::time::Duration;

use url::Url;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::reader::Table;
use crate::config::secret::Secret;
use crate::config::source::Form;
use crate::config::units;

/// A Redis, and how it is reached.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Who is asked first: servers, sentinels, or some nodes of a cluster.
    pub nodes: Vec<Node>,
    /// What they are.
    pub mode: Mode,
    /// A user of Redis' access lists.
    pub username: Option<String>,
    /// The password of Redis.
    pub password: Option<Secret<String>>,
    /// The password of the sentinels.
    pub sentinel_password: Option<Secret<String>>,
    /// PEM: authorities, instead of the system's.
    pub ca_file: Option<std::path::PathBuf>,
    /// What every key and channel begins with.
    pub prefix: String,
    /// How long one command may take.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer that never changes is kept.
    pub keep: Duration,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of the database; 0 in a cluster.
    pub database: i64,
    /// Whether TLS is spoken.
    pub transport: Transport,
}

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `rediss://`.
    Tls,
    /// `redis://`.
    Plain,
}

/// What stands at the addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Standalone,
    /// Sentinels, who know where the master of this name is.
    Sentinel(String),
    /// Nodes of a cluster.
    Cluster,
}

/// `[redis]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "redis",
    times: Times::Once,
    doc: "What several gateways share: small bodies, one fetch for all of them, and news. Without it \
          each is complete alone; if it fails, nothing else does.",
    keys: &[
        Key {
            name: "nodes",
            form: Form::List,
            preset: Preset::Unset { example: "rediss://redis.corp.example:6379" },
            doc: "Where it is: redis://HOST:PORT, rediss://… with TLS; /N at the end is a database. Several \
                  sentinels or nodes of a cluster. Without any there is no Redis.",
        },
        Key {
            name: "mode",
            form: Form::Text,
            preset: Preset::Value("standalone"),
            doc: "What stands there: standalone, sentinel or cluster.",
        },
        Key {
            name: "master",
            form: Form::Text,
            preset: Preset::Value("mymaster"),
            doc: "The name under which sentinels know the master; for mode sentinel.",
        },
        Key {
            name: "username",
            form: Form::Text,
            preset: Preset::Unset { example: "modgate" },
            doc: "A user of its access lists.",
        },
        Key {
            name: "password",
            form: Form::Hidden,
            preset: Preset::Unset { example: "" },
            doc: "Its password, here (then nobody else may read this file) or in the variable \
                  MODGATE_REDIS_PASSWORD; better is password_file.",
        },
        Key {
            name: "password_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/redis-password" },
            doc: "A file that holds the password; refused if everybody may read it.",
        },
        Key {
            name: "sentinel_password",
            form: Form::Hidden,
            preset: Preset::Unset { example: "" },
            doc: "The password of the sentinels, if they have one; better is sentinel_password_file.",
        },
        Key {
            name: "sentinel_password_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/sentinel-password" },
            doc: "A file that holds it; refused if everybody may read it.",
        },
        Key {
            name: "ca_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/corp-ca.pem" },
            doc: "A PEM file of the authorities to trust instead of the system's.",
        },
        Key {
            name: "prefix",
            form: Form::Text,
            preset: Preset::Value("modgate"),
            doc: "What every key and channel begins with: a-z, 0-9 and -. Gateways with the same one share.",
        },
        Key {
            name: "timeout",
            form: Form::Text,
            preset: Preset::Value("250ms"),
            doc: "How long one command may take: a time. A slow answer is no answer, never a failed \
                  request.",
        },
        Key {
            name: "connect_timeout",
            form: Form::Text,
            preset: Preset::Value("2s"),
            doc: "How long connecting may take: a time. No request waits for it.",
        },
        Key {
            name: "keep",
            form: Form::Text,
            preset: Preset::Value("168h"),
            doc: "How long an answer that never changes is kept there: a time.",
        },
    ],
};

#[expect(clippy::option_option, reason = "a problem is not the same as nothing given")]
pub(in crate::config) fn read(reader: &mut Reader) -> Option<Option<Redis>> {
    let mut table = reader.section(&SECTION);
    let nodes = table.list("nodes", node);
    let mode = table.one("mode", mode);
    let master = table.one("master", units::text);
    let username = table.maybe("username", units::text);
    let password = table.secret("password", "password_file");
    let sentinel_password = table.secret("sentinel_password", "sentinel_password_file");
    let ca_file = table.maybe("ca_file", units::file);
    let prefix = table.one("prefix", units::name);
    let timeout = table.one("timeout", units::duration);
    let connect_timeout = table.one("connect_timeout", units::duration);
    let keep = table.one("keep", units::duration);
    let (mode, master) = (mode?, master?);
    let redis = Redis {
        nodes: nodes?,
        mode: if mode == Mode::Sentinel(String::new()) { Mode::Sentinel(master) } else { mode },
        username: username?,
        password: password?,
        sentinel_password: sentinel_password?,
        ca_file: ca_file?,
        prefix: prefix?,
        timeout: timeout?,
        connect_timeout: connect_timeout?,
        keep: keep?,
    };
    if redis.nodes.is_empty() {
        let set = [redis.username.is_some(), redis.password.is_some(), redis.ca_file.is_some()];
        if set.contains(&true) {
            let remedy =
                "give nodes, such as [\"redis://127.0.0.1:6379\"], or take the section out";
            table.wrong(
                "nodes",
                Wrong::new("is empty, so the rest of [redis] means nothing", remedy),
            );
        }
        return Some(None);
    }
    check(&mut table, &redis);
    Some(Some(redis))
}

fn check(table: &mut Table<'_>, redis: &Redis) {
    if redis.mode == Mode::Standalone && redis.nodes.len() > 1 {
        let remedy = "write one, or mode = \"sentinel\" or \"cluster\"";
        table.wrong("nodes", Wrong::new("are several, but mode is standalone", remedy));
    }
    if redis.mode == Mode::Cluster && redis.nodes.iter().any(|node| node.database != 0) {
        let remedy = "take /N off the addresses";
        table.wrong("nodes", Wrong::new("name a database, but a cluster has only one", remedy));
    }
    let plain = redis.nodes.iter().filter(|node| node.transport == Transport::Plain);
    let far = plain.clone().find(|node| !is_loopback(&node.host));
    if let (Some(node), true) = (far, redis.password.is_some()) {
        let remedy = "use rediss://, or take the password out";
        let what = format!("the password would be sent to {} over plain TCP", node.host);
        table.wrong("nodes", Wrong::new(what, remedy));
    }
    if redis.ca_file.is_some() && plain.count() == redis.nodes.len() {
        let remedy = "use rediss://, or take ca_file out";
        table.wrong("ca_file", Wrong::new("means nothing without TLS", remedy));
    }
}

fn is_loopback(host: &str) -> bool {
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

fn mode(text: &str) -> Result<Mode, Wrong> {
    match text {
        "standalone" => Ok(Mode::Standalone),
        "sentinel" => Ok(Mode::Sentinel(String::new())),
        "cluster" => Ok(Mode::Cluster),
        _ => Err(Wrong::value(text, "is no mode", "write standalone, sentinel or cluster")),
    }
}

fn node(text: &str) -> Result<Node, Wrong> {
    let remedy = "write redis://HOST:PORT or rediss://HOST:PORT";
    let url = Url::parse(text).map_err(|_| Wrong::new("is no URL", remedy))?;
    if !url.username().is_empty() || url.password().is_some() {
        let remedy = "take them out: username and password_file stand in [redis]";
        return Err(Wrong::new("holds credentials", remedy));
    }
    let transport = match url.scheme() {
        "redis" => Transport::Plain,
        "rediss" => Transport::Tls,
        _ => return Err(Wrong::value(text, "is neither redis nor rediss", remedy)),
    };
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| Wrong::value(text, "names no host", remedy))?;
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => number
            .parse::<u16>()
            .map(i64::from)
            .map_err(|_| Wrong::value(text, "ends with no number of a database", remedy))?,
    };
    Ok(Node { host: host.to_owned(), port: url.port().unwrap_or(6379), database, transport })
}
