//! What was asked, in our words: the few parts of a request head that the gateway reads, and no framework type.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// The two methods that the module proxy protocol knows; any other is refused before there is a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The body is wanted.
    Get,
    /// The same answer without its body.
    Head,
}

impl Method {
    /// As it stands in a request line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// What the request wants of the representation (RFC 9110, sections 13 and 14).
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// The field value of `If-None-Match`.
    pub if_none_match: Option<String>,
    /// The field value of `Range`.
    pub range: Option<String>,
    /// The field value of `If-Range`.
    pub if_range: Option<String>,
}

/// A header value that must never be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Vec<u8>);

impl Hidden {
    /// Hides a value.
    pub fn new(value: Vec<u8>) -> Self {
        Self(value)
    }

    /// The value, for the one station that needs it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// How the caller reached us.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub transport: Transport,
    /// What its certificate says, if it showed one that a trusted authority signed and did not take back.
    pub certificate: Option<Arc<Certificate>>,
}

/// A client certificate that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Subject alternative names, as `uri:…` and `dns:…`. The common name is never read.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, in hex.
    pub sha256: String,
}

/// What carries the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TLS 1.2 or 1.3.
    Tls,
    /// Nothing: plain TCP.
    Plain,
}

/// A request head. Made by the server from a request that its framing rules let through.
#[derive(Debug, Clone)]
pub struct Head {
    /// GET or HEAD.
    pub method: Method,
    /// The path as received: still percent-encoded and case-escaped.
    pub path: String,
    /// The query, if the target had a `?`, even an empty one.
    pub query: Option<String>,
    /// Every `Authorization` field, in order; more than one is an error.
    pub authorization: Vec<Hidden>,
    /// Conditions and range.
    pub conditions: Conditions,
    /// The `Disable-Module-Fetch` field, as the Go reference proxy reads it.
    pub disable_module_fetch: Option<String>,
    /// The `traceparent` field (W3C trace context).
    pub traceparent: Option<String>,
    /// Every `Via` field, for loops between gateways.
    pub via: Vec<String>,
    /// The `User-Agent` field, cut to 256 bytes.
    pub user_agent: Option<String>,
    /// Whence.
    pub peer: Peer,
    /// When the head was complete.
    pub received: SystemTime,
}
