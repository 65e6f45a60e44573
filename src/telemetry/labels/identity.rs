//! Labels of series about whom callers are judged by.

use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::Label;

label! {
    /// What is remembered so that a judge need not be asked.
    Held as "cache" {
        /// A name and a password, with the groups they came to.
        LdapBind = "ldap_bind",
        /// An issuer's key.
        Jwks = "jwks",
        /// A JSON web token whose signature was good.
        Token = "token",
    }
}

label! {
    /// Whether it was remembered.
    Recall as "result" {
        /// It was.
        Hit = "hit",
        /// It was not: somebody had to be asked, or computed.
        Miss = "miss",
        /// It was, longer ago than it should, and nobody could be asked.
        Stale = "stale",
    }
}

label! {
    /// What is locked after wrong passwords.
    LockScope as "scope" {
        /// A name, for one source or for strangers.
        User = "user",
        /// A source, for every name.
        Address = "address",
    }
}

label! {
    /// What a directory server is asked to do.
    LdapOperation as "operation" {
        /// To take a connection, TLS included.
        Connect = "connect",
        /// To judge a password.
        Bind = "bind",
        /// To find somebody, or their groups.
        Search = "search",
    }
}

label! {
    /// What a directory server made of it.
    LdapResult as "result" {
        /// It did it.
        Success = "success",
        /// The password is wrong (49).
        InvalidCredentials = "invalid_credentials",
        /// There is no such entry (32).
        NoSuchObject = "no_such_object",
        /// No answer in time.
        Timeout = "timeout",
        /// It does not work now (52), or the connection broke.
        Unavailable = "unavailable",
        /// No TLS with it.
        Tls = "tls",
        /// No connection to it.
        Connect = "connect",
        /// It has too much to do (51).
        Busy = "busy",
        /// Anything else.
        Other = "other",
    }
}

impl LdapResult {
    /// Of a result code (RFC 4511).
    pub const fn of_code(code: u32) -> Self {
        match code {
            0 => Self::Success,
            32 => Self::NoSuchObject,
            49 => Self::InvalidCredentials,
            51 => Self::Busy,
            52 => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

label! {
    /// What a connection to a directory server does.
    PoolState as "state" {
        /// It waits for a search.
        Idle = "idle",
        /// Somebody uses it.
        Busy = "busy",
    }
}

label! {
    /// What became of a look for an issuer's keys.
    KeyRefresh as "result" {
        /// A usable set came.
        Success = "success",
        /// An answer that is no document.
        Http = "http",
        /// A document that is no usable set, or another issuer's.
        Parse = "parse",
        /// No answer in time.
        Timeout = "timeout",
        /// No TLS with the issuer.
        Tls = "tls",
        /// Its name was not resolved.
        Dns = "dns",
        /// No connection to it.
        Connect = "connect",
        /// The file cannot be read.
        File = "file",
    }
}

impl KeyRefresh {
    /// Of what became of a request.
    pub const fn of(attempt: Attempt) -> Self {
        match attempt {
            Attempt::Dns => Self::Dns,
            Attempt::Connect | Attempt::ConnectRefused | Attempt::Reset => Self::Connect,
            Attempt::ConnectTimeout | Attempt::TimeoutFirstByte | Attempt::TimeoutTotal => {
                Self::Timeout
            }
            Attempt::Tls | Attempt::TlsExpired | Attempt::TlsUntrusted => Self::Tls,
            _ => Self::Http,
        }
    }
}
