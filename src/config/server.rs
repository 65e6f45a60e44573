//! `[server]`: where we listen, with which certificate, and how much we take.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::reader::Table;
use crate::config::source::Form;
use crate::config::units;

/// The listeners.
#[derive(Debug, Clone)]
pub struct Server {
    /// Module listeners; at least one.
    pub listen: Vec<SocketAddr>,
    /// The listener for metrics and health.
    pub ops_listen: SocketAddr,
    /// PEM: our certificate and those above it. Given exactly if [`Self::tls_key`] is.
    pub tls_cert: Option<PathBuf>,
    /// PEM: its private key.
    pub tls_key: Option<PathBuf>,
    /// Where serving without TLS is allowed.
    pub plaintext: Plaintext,
    /// What stands before module paths: empty, or `/segments` without a slash at the end.
    pub base_path: String,
    /// How callers reach us, if not by the address we listen on.
    pub public_url: Option<Url>,
    /// How long requests under way may take after SIGTERM.
    pub drain: Duration,
    /// Event loops that serve.
    pub workers: usize,
    /// Connections open at a time, of all workers together.
    pub max_connections: usize,
    /// Bytes a second below which a slow reader is cut off.
    pub min_rate: u64,
}

/// Where serving without TLS is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    /// On loopback addresses only.
    Loopback,
    /// Anywhere: whoever stands in front takes care of TLS, or nobody does.
    InsecureAnywhere,
}

impl Plaintext {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Loopback, Self::InsecureAnywhere];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::InsecureAnywhere => "insecure_anywhere",
        }
    }
}

/// `[server]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "server",
    times: Times::Once,
    doc: "Where modgate listens, with which certificate, and how much it takes.",
    keys: &[
        Key {
            name: "listen",
            form: Form::List,
            preset: Preset::Value("127.0.0.1:8443"),
            doc: "Where to listen for modules: ADDRESS:PORT, one or several; port 0 is any free one.",
        },
        Key {
            name: "ops_listen",
            form: Form::Text,
            preset: Preset::Value("127.0.0.1:9464"),
            doc: "Where to listen for metrics and health checks: ADDRESS:PORT. It is not \
                  authenticated, so keep it off public addresses.",
        },
        Key {
            name: "tls_cert",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/tls.crt" },
            doc: "A PEM file: the certificate, then those above it. Without it modules are served \
                  over plain HTTP, and go sends no credentials.",
        },
        Key {
            name: "tls_key",
            form: Form::Text,
            preset: Preset::Unset { example: "/etc/modgate/tls.key" },
            doc: "A PEM file: the private key of tls_cert.",
        },
        Key {
            name: "plaintext",
            form: Form::Text,
            preset: Preset::Value("loopback"),
            doc: "Where plain HTTP is allowed: loopback, or insecure_anywhere if something in \
                  front ends TLS.",
        },
        Key {
            name: "base_path",
            form: Form::Text,
            preset: Preset::Value("/"),
            doc: "What stands before module paths in URLs, such as /go.",
        },
        Key {
            name: "public_url",
            form: Form::Text,
            preset: Preset::Unset { example: "https://modgate.corp.example" },
            doc: "How callers reach modgate, base path included; printed by /-/env.",
        },
        Key {
            name: "drain",
            form: Form::Text,
            preset: Preset::Value("30s"),
            doc: "How long requests under way may take after SIGTERM: a time.",
        },
        Key {
            name: "workers",
            form: Form::Number,
            preset: Preset::Derived {
                template: "{cores}",
                words: "the number of cores",
                example: "4",
            },
            doc: "Threads that serve, 1 to 512.",
        },
        Key {
            name: "max_connections",
            form: Form::Number,
            preset: Preset::Value("10000"),
            doc: "Connections open at a time, all workers together, 1 to 1000000; more wait to be \
                  accepted.",
        },
        Key {
            name: "min_rate",
            form: Form::Size,
            preset: Preset::Value("1 KiB"),
            doc: "Bytes a second: a caller that reads more slowly than this for a minute is cut off.",
        },
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<Server> {
    let mut table = reader.section(&SECTION);
    let listen = table.some("listen", units::address);
    let ops_listen = table.one("ops_listen", units::address);
    let tls_cert = table.maybe("tls_cert", units::file);
    let tls_key = table.maybe("tls_key", units::file);
    let plaintext = table.one("plaintext", units::one_of(&Plaintext::ALL, Plaintext::word));
    let base_path = table.one("base_path", units::base_path);
    let public_url = table.maybe("public_url", units::url);
    let drain = table.one("drain", units::duration);
    let workers = table.one("workers", units::count(512_usize));
    let max_connections = table.one("max_connections", units::count(1_000_000_usize));
    let min_rate = table.one("min_rate", units::bytes);
    let server = Server {
        listen: listen?,
        ops_listen: ops_listen?,
        tls_cert: tls_cert?,
        tls_key: tls_key?,
        plaintext: plaintext?,
        base_path: base_path?,
        public_url: public_url?,
        drain: drain?,
        workers: workers?,
        max_connections: max_connections?,
        min_rate: min_rate?,
    };
    check(&mut table, &server);
    Some(server)
}

fn check(table: &mut Table<'_>, server: &Server) {
    match (&server.tls_cert, &server.tls_key) {
        (Some(_), None) => {
            table.wrong("tls_cert", Wrong::new("has no key", "give server.tls_key as well"));
        }
        (None, Some(_)) => {
            let wrong = Wrong::new("has no certificate", "give server.tls_cert as well");
            table.wrong("tls_key", wrong);
        }
        (None, None) => check_plaintext(table, server),
        (Some(_), Some(_)) => {}
    }
    let clash = |address: &&SocketAddr| address.port() != 0 && **address == server.ops_listen;
    if let Some(address) = server.listen.iter().find(clash) {
        let wrong = Wrong::value(&address.to_string(), "is in server.listen", "use another port");
        table.wrong("ops_listen", wrong);
    }
}

fn check_plaintext(table: &mut Table<'_>, server: &Server) {
    let outside = server.listen.iter().find(|address| !address.ip().is_loopback());
    if let (Some(address), Plaintext::Loopback) = (outside, server.plaintext) {
        table.wrong(
            "listen",
            Wrong::value(
                &address.to_string(),
                "would be served without TLS, and go sends no credentials over plain HTTP",
                "give server.tls_cert and server.tls_key, or, if something in front ends TLS, \
                 server.plaintext = \"insecure_anywhere\"",
            ),
        );
    }
}
