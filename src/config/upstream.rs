//! `[upstream]` and `[[upstream.servers]]`: who is asked, in which order, how long and for how much.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
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
use crate::config::upstream::chains::NamedChain;
use crate::goproxy::proxylist::FallBack;

mod chain;
pub mod chains;

/// The upstreams.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Names of [`Self::servers`] in the order they are asked for public modules, each with what must happen for
    /// the next one to be asked.
    pub chain: Vec<(String, FallBack)>,
    /// Other chains for the modules of some patterns.
    pub chains: Vec<NamedChain>,
    /// Every server: those of the file, then those that a chain names by URL.
    pub servers: Vec<UpstreamServer>,
    /// Time to connect, the TLS handshake included.
    pub connect_timeout: Duration,
    /// Time to the head of an answer, but for zips.
    pub first_byte_timeout: Duration,
    /// Time to the head of an answer with a zip.
    pub zip_first_byte_timeout: Duration,
    /// Time to the last byte, repeated attempts included, but for zips.
    pub total_timeout: Duration,
    /// Time to the last byte of a zip.
    pub zip_total_timeout: Duration,
    /// How often one upstream is asked, the first time included.
    pub attempts: u32,
    /// Bytes of the largest zip.
    pub max_zip: u64,
    /// How one upstream is treated.
    pub care: Care,
}

/// How one upstream is treated.
#[derive(Debug, Clone, Copy)]
pub struct Care {
    /// Repeated attempts as a share of all requests to one upstream.
    pub retry_budget: f64,
    /// After how long without a head a second request is sent beside the first.
    pub hedge_after: Option<Duration>,
    /// Requests to one upstream at a time.
    pub max_requests: usize,
    /// Requests that may wait for one upstream.
    pub max_waiting: usize,
    /// So many failures within ten seconds, and an upstream is left alone...
    pub breaker_failures: u32,
    /// ...for so long at first...
    pub breaker_rest: Duration,
    /// ...and for so long at most.
    pub breaker_longest_rest: Duration,
}

/// One upstream.
#[derive(Debug, Clone)]
pub struct UpstreamServer {
    /// What chain, private prefixes, metrics and logs call it.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// A PEM bundle of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Who we are to it; given exactly if [`Self::password`] is.
    pub username: Option<String>,
    /// The proof.
    pub password: Option<Secret<String>>,
    /// Hosts that it may redirect to; `*` is any public one.
    pub allow_redirect_hosts: Vec<String>,
    /// Networks, besides the public ones, that its names may lead to.
    pub allow_networks: Vec<IpNet>,
    /// Whether it passes requests for checksum databases on.
    pub sumdb: bool,
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A module proxy: an `http` or `https` URL.
    Http(Url),
    /// A directory in the layout of a module proxy.
    Directory(PathBuf),
}

/// `[upstream]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "upstream",
    times: Times::Once,
    doc: "Who is asked for what is not in the cache.",
    keys: &[
        Key {
            name: "chain",
            form: Form::Text,
            preset: Preset::Unset { example: "inner,https://goproxy.example" },
            doc: "Who is asked for public modules, in the list syntax of GOPROXY: names of \
                  [[upstream.servers]] or URLs. After a comma the next one is asked if this one \
                  said 404 or 410; after a bar (|), whatever went wrong.",
        },
        Key {
            name: "connect_timeout",
            form: Form::Text,
            preset: Preset::Value("5s"),
            doc: "How long connecting may take, the TLS handshake included: a time.",
        },
        Key {
            name: "first_byte_timeout",
            form: Form::Text,
            preset: Preset::Value("15s"),
            doc: "How long an answer may take to begin, but for zips: a time.",
        },
        Key {
            name: "zip_first_byte_timeout",
            form: Form::Text,
            preset: Preset::Value("60s"),
            doc: "How long an answer with a zip may take to begin: a time. The upstream may \
                  itself be fetching.",
        },
        Key {
            name: "total_timeout",
            form: Form::Text,
            preset: Preset::Value("60s"),
            doc: "How long an answer may take as a whole, repeated attempts included, but for \
                  zips: a time.",
        },
        Key {
            name: "zip_total_timeout",
            form: Form::Text,
            preset: Preset::Value("10m"),
            doc: "How long a zip may take as a whole: a time.",
        },
        Key {
            name: "attempts",
            form: Form::Number,
            preset: Preset::Value("2"),
            doc: "How often one upstream is asked, 1 to 10, the first time included.",
        },
        Key {
            name: "retry_budget",
            form: Form::Number,
            preset: Preset::Value("0.1"),
            doc: "Repeated attempts as a share of all requests to one upstream, from 0 to 1: in an \
                  outage it is not burdened with more than that.",
        },
        Key {
            name: "hedge_after",
            form: Form::Text,
            preset: Preset::Unset { example: "2s" },
            doc: "After how long without the beginning of an answer the same is asked once more, \
                  within retry_budget; the first answer counts: a time.",
        },
        Key {
            name: "max_requests",
            form: Form::Number,
            preset: Preset::Value("64"),
            doc: "Requests to one upstream at a time, 1 to 10000.",
        },
        Key {
            name: "max_waiting",
            form: Form::Number,
            preset: Preset::Value("512"),
            doc: "Requests that may wait for their turn at one upstream, 1 to 100000; beyond that \
                  the answer is 503.",
        },
        Key {
            name: "breaker_failures",
            form: Form::Number,
            preset: Preset::Value("5"),
            doc: "After how many failures within ten seconds an upstream is left alone, 1 to 1000; \
                  at least half of what it was asked must have failed.",
        },
        Key {
            name: "breaker_rest",
            form: Form::Text,
            preset: Preset::Value("1s"),
            doc: "How long it is left alone at first; twice as long each time it fails again: a time.",
        },
        Key {
            name: "breaker_longest_rest",
            form: Form::Text,
            preset: Preset::Value("30s"),
            doc: "How long it is left alone at most: a time.",
        },
        Key {
            name: "max_zip",
            form: Form::Size,
            preset: Preset::Value("500 MiB"),
            doc: "The largest zip that is taken: a size. go itself takes no larger one than 500 MiB.",
        },
    ],
};

/// `[[upstream.servers]]`.
pub(in crate::config) const SERVERS: Section = Section {
    path: "upstream.servers",
    times: Times::Several,
    doc: "An upstream with a name; may stand several times. The chain and [[private]] name it.",
    keys: &[
        Key {
            name: "name",
            form: Form::Text,
            preset: Preset::Required { example: "inner" },
            doc: "Its name in chain, [[private]], metrics and logs: a-z, 0-9 and -.",
        },
        Key {
            name: "url",
            form: Form::Text,
            preset: Preset::Required { example: "https://goproxy.corp.example" },
            doc: "Where it is: https://…, http://…, or file:///… for a directory in the layout of \
                  a module proxy.",
        },
        Key {
            name: "ca_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/corp-ca.pem" },
            doc: "A PEM file of authorities to trust besides the system's.",
        },
        Key {
            name: "username",
            form: Form::Text,
            preset: Preset::Unset { example: "modgate" },
            doc: "Who we are to it; needs a password, and https unless it is on this machine.",
        },
        Key {
            name: "password",
            form: Form::Hidden,
            preset: Preset::Unset { example: "" },
            doc: "The password, here (then nobody else may read this file) or in the variable \
                  MODGATE_UPSTREAM_SERVERS_NAME_PASSWORD; better is password_file.",
        },
        Key {
            name: "password_file",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/inner-password" },
            doc: "A file that holds the password; refused if everybody may read it.",
        },
        Key {
            name: "allow_redirect_hosts",
            form: Form::List,
            preset: Preset::Value(""),
            doc: "Hosts that it may redirect to; * is any public one, for public modules only. \
                  Credentials are never sent along.",
        },
        Key {
            name: "allow_networks",
            form: Form::List,
            preset: Preset::Value(""),
            doc: "Networks that its host, and hosts it redirects to, may be in besides the public \
                  ones: private, loopback, or ranges such as 10.20.0.0/16. An address that stands \
                  in url itself, and localhost, need not be named.",
        },
        Key {
            name: "sumdb",
            form: Form::Switch,
            preset: Preset::Value("false"),
            doc: "Whether it is asked for checksum databases: true or false.",
        },
    ],
};

/// The upstreams, and the names of those in the file, good or not.
pub(in crate::config) fn read(reader: &mut Reader) -> (Option<Upstream>, Vec<String>) {
    let names: Vec<String> =
        reader.elements(&SERVERS).into_iter().filter_map(|element| element.name).collect();
    let servers = read_servers(reader);
    let chains = chains::read(reader, &names);
    let mut table = reader.section(&SECTION);
    let chain = table.maybe("chain", |text| chain::parse(text, &names));
    let connect_timeout = table.one("connect_timeout", units::duration);
    let first_byte_timeout = table.one("first_byte_timeout", units::duration);
    let zip_first_byte_timeout = table.one("zip_first_byte_timeout", units::duration);
    let total_timeout = table.one("total_timeout", units::duration);
    let zip_total_timeout = table.one("zip_total_timeout", units::duration);
    let attempts = table.one("attempts", units::count(10_u32));
    let max_zip = table.one("max_zip", units::bytes);
    let care = read_care(&mut table);
    let done = || {
        let mut servers = servers?;
        let chain = chain::resolve(chain?.unwrap_or_default(), &mut servers);
        let chains = chains?.into_iter().map(|read| read.resolve(&mut servers)).collect();
        Some(Upstream {
            chain,
            chains,
            servers,
            connect_timeout: connect_timeout?,
            first_byte_timeout: first_byte_timeout?,
            zip_first_byte_timeout: zip_first_byte_timeout?,
            total_timeout: total_timeout?,
            zip_total_timeout: zip_total_timeout?,
            attempts: attempts?,
            max_zip: max_zip?,
            care: care?,
        })
    };
    let upstream = done();
    if let Some(upstream) = &upstream {
        check(&mut table, upstream);
    }
    (upstream, names)
}

fn read_care(table: &mut Table<'_>) -> Option<Care> {
    let retry_budget = table.one("retry_budget", units::share);
    let hedge_after = table.maybe("hedge_after", units::duration);
    let max_requests = table.one("max_requests", units::count(10_000_usize));
    let max_waiting = table.one("max_waiting", units::count(100_000_usize));
    let breaker_failures = table.one("breaker_failures", units::count(1000_u32));
    let breaker_rest = table.one("breaker_rest", units::duration);
    let breaker_longest_rest = table.one("breaker_longest_rest", units::duration);
    Some(Care {
        retry_budget: retry_budget?,
        hedge_after: hedge_after?,
        max_requests: max_requests?,
        max_waiting: max_waiting?,
        breaker_failures: breaker_failures?,
        breaker_rest: breaker_rest?,
        breaker_longest_rest: breaker_longest_rest?,
    })
}

fn check(table: &mut Table<'_>, upstream: &Upstream) {
    let longer = |what: &str| {
        Wrong::new(format!("is longer than {what}"), "make the first byte's time the shorter one")
    };
    if upstream.first_byte_timeout > upstream.total_timeout {
        table.wrong("first_byte_timeout", longer("upstream.total_timeout"));
    }
    if upstream.care.breaker_rest > upstream.care.breaker_longest_rest {
        let remedy = "make the longest rest the longer one";
        table.wrong(
            "breaker_rest",
            Wrong::new("is longer than upstream.breaker_longest_rest", remedy),
        );
    }
    if upstream.zip_first_byte_timeout > upstream.zip_total_timeout {
        table.wrong("zip_first_byte_timeout", longer("upstream.zip_total_timeout"));
    }
}

fn read_servers(reader: &mut Reader) -> Option<Vec<UpstreamServer>> {
    let mut read: Vec<Option<UpstreamServer>> = Vec::new();
    reader.refuse_twins(&SERVERS);
    for element in reader.elements(&SERVERS) {
        let mut table = reader.element(&SERVERS, element);
        let server = read_server(&mut table);
        if let Some(server) = &server {
            check_server(&mut table, server);
        }
        read.push(server);
    }
    read.into_iter().collect()
}

fn read_server(table: &mut Table<'_>) -> Option<UpstreamServer> {
    let name = table.one("name", units::name);
    let place = table.one("url", place);
    let ca_file = table.maybe("ca_file", units::file);
    let username = table.maybe("username", username);
    let password = table.secret("password", "password_file");
    let allow_redirect_hosts = table.list("allow_redirect_hosts", |text| match text {
        "*" => Ok(text.to_owned()),
        host => units::host(host),
    });
    let allow_networks = table.list("allow_networks", units::networks);
    let sumdb = table.one("sumdb", units::switch);
    Some(UpstreamServer {
        name: name?,
        place: place?,
        ca_file: ca_file?,
        username: username?,
        password: password?,
        allow_redirect_hosts: allow_redirect_hosts?,
        allow_networks: allow_networks?.concat(),
        sumdb: sumdb?,
    })
}

fn check_server(table: &mut Table<'_>, server: &UpstreamServer) {
    match (&server.username, &server.password) {
        (Some(_), None) => {
            table.wrong("username", Wrong::new("has no password", "give password_file as well"));
        }
        (None, Some(_)) => {
            table.wrong("username", Wrong::new("is missing beside the password", "give username"));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    match &server.place {
        Place::Http(url) => {
            if url.scheme() == "http" && server.password.is_some() && !is_loopback(url) {
                let remedy = "use https, or take username and password out";
                let wrong = Wrong::new("credentials would be sent over plain HTTP", remedy);
                table.wrong("url", wrong);
            }
        }
        Place::Directory(_) => {
            let remedy = "take it out: a directory needs neither authorities nor credentials";
            let unused = || Wrong::new("means nothing for a directory", remedy);
            if server.ca_file.is_some() {
                table.wrong("ca_file", unused());
            }
            if server.username.is_some() {
                table.wrong("username", unused());
            }
            if !server.allow_networks.is_empty() {
                table.wrong("allow_networks", unused());
            }
            if !server.allow_redirect_hosts.is_empty() {
                table.wrong("allow_redirect_hosts", unused());
            }
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Where the proxies of a developer's own GOPROXY may stand: what `private` means in `allow_networks`, and the ranges set
/// aside for documents and tests (RFC 5737, RFC 2544), in which a network that translates its way out shows public hosts.
pub fn developers_networks() -> Vec<IpNet> {
    let aside = ["192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"];
    let words = ["private"].into_iter().chain(aside);
    words.filter_map(|word| units::networks(word).ok()).flatten().collect()
}

/// A URL of one of the three schemes.
fn place(text: &str) -> Result<Place, Wrong> {
    let url = units::any_url(text)?;
    let remedy = "write https://HOST, http://HOST or file:///DIRECTORY";
    match url.scheme() {
        "http" | "https" => Ok(Place::Http(url)),
        "file" => {
            let path = url.to_file_path();
            path.map(Place::Directory).map_err(|()| Wrong::value(text, "is no directory", remedy))
        }
        _ => Err(Wrong::value(text, "is neither http, https nor file", remedy)),
    }
}

/// A colon would end the name in a Basic credential (RFC 7617, section 2).
fn username(text: &str) -> Result<String, Wrong> {
    let name = units::text(text)?;
    if name.contains(':') {
        return Err(Wrong::value(text, "holds a colon", "write a name without a colon"));
    }
    Ok(name)
}
