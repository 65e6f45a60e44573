//! What happens to a gateway apart from answers: told once, by whoever sees it, and heard by the audit.
//!
//! Stations do not know the audit. They tell the handle they have anyway, and assembly says who listens. Telling never
//! waits and never fails: what nobody hears is in the log and the metrics all the same.

use std::fmt;
use std::net::IpAddr;

use crate::telemetry::record::Tried;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Somebody the gateway needs is left alone after failures, or cannot be reached.
    DependencyDown,
    /// They are back.
    DependencyUp,
    /// An upstream's certificate was refused.
    UpstreamTls,
    /// A connection or a redirect to the outside was refused.
    EgressRefused,
    /// An issuer's keys changed.
    KeysChanged,
    /// An issuer's keys could not be fetched or read, and before they could.
    KeysFailed,
    /// Another server of a directory answers than did before.
    DirectoryFailover,
    /// The breaker of a directory's server opened.
    DirectoryDown,
    /// It closed.
    DirectoryUp,
    /// A name or a source may not try for a while.
    LockedOut,
    /// A token was found in the token file that was not in it before.
    TokenIssued,
    /// A token of the token file was taken back.
    TokenRevoked,
}

impl What {
    /// Whether each failing request sees it anew: then once a minute is often enough to hear it.
    pub const fn is_seen_by_every_request(self) -> bool {
        matches!(self, Self::UpstreamTls | Self::EgressRefused)
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Happening {
    /// What.
    pub what: What,
    /// To whom or with whom: a configured name, an issuer, a token's name.
    pub about: String,
    /// Who tried, where it is about somebody.
    pub who: Option<Tried>,
    /// Whence, where it is about somebody.
    pub source: Option<IpAddr>,
    /// Why, if that is known; holds no secret.
    pub why: Option<String>,
}

impl Happening {
    /// Something about somebody or something with a name.
    pub fn new(what: What, about: impl Into<String>) -> Self {
        Self { what, about: about.into(), who: None, source: None, why: None }
    }

    /// The same, with the reason.
    #[must_use]
    pub fn because(self, why: impl fmt::Display) -> Self {
        Self { why: Some(why.to_string()), ..self }
    }

    /// The same, about somebody who tried to come in from somewhere.
    #[must_use]
    pub fn of(self, who: Option<Tried>, source: IpAddr) -> Self {
        Self { who, source: Some(source), ..self }
    }
}

/// Whoever listens.
pub trait Ear: fmt::Debug + Send + Sync {
    /// Hears of something. Never waits.
    fn hear(&self, happening: Happening);
}
