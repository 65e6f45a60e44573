//! Every label a series can carry and every value it can take: closed sets, so nobody outside can make a series.

use crate::goproxy::artifact::Endpoint;

/// One label: its name, its values, and the place of a value among them.
pub trait Label: Copy + 'static {
    /// The label's name on the metrics page.
    const NAME: &'static str;
    /// Every value, in order of [`Label::place`].
    fn values() -> &'static [Self];
    /// The text of this value.
    fn text(self) -> &'static str;
    /// Its index in [`Label::values`].
    fn place(self) -> usize;
}

/// Declares a closed set of label values: the enum, its words, and its [`Label`].
macro_rules! label {
    ($(#[$about:meta])* $set:ident as $name:literal { $($(#[$doc:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $set { $($(#[$doc])* $value),+ }
        impl Label for $set {
            const NAME: &'static str = $name;
            fn values() -> &'static [Self] { &[$(Self::$value),+] }
            fn text(self) -> &'static str { match self { $(Self::$value => $text),+ } }
            fn place(self) -> usize { self as usize }
        }
    };
}

mod cache;
pub mod upstream;

pub use crate::telemetry::labels::cache::CacheResult;
pub use crate::telemetry::labels::cache::Direction;
pub use crate::telemetry::labels::cache::EvictionCause;
pub use crate::telemetry::labels::cache::FillResult;
pub use crate::telemetry::labels::cache::Lookup;
pub use crate::telemetry::labels::cache::News;
pub use crate::telemetry::labels::cache::RedisGroup;
pub use crate::telemetry::labels::cache::RedisResult;
pub use crate::telemetry::labels::cache::Tier;
pub use crate::telemetry::labels::cache::TierOperation;
pub use crate::telemetry::labels::cache::TierResult;

impl Label for Endpoint {
    const NAME: &'static str = "endpoint";
    fn values() -> &'static [Self] {
        &Self::ALL
    }
    fn text(self) -> &'static str {
        self.word()
    }
    fn place(self) -> usize {
        Self::ALL.iter().position(|endpoint| *endpoint == self).unwrap_or_default()
    }
}

pub mod audit;
pub mod identity;
pub mod integrity;
pub mod policy;
pub mod service;

label! {
    /// The status of an answer.
    Code as "code" {
        /// 200.
        Ok = "200",
        /// 206.
        Partial = "206",
        /// 304.
        NotModified = "304",
        /// 400.
        BadRequest = "400",
        /// 401.
        Unauthorized = "401",
        /// 403.
        Forbidden = "403",
        /// 404.
        NotFound = "404",
        /// 405.
        MethodNotAllowed = "405",
        /// 408.
        RequestTimeout = "408",
        /// 410.
        Gone = "410",
        /// 414.
        UriTooLong = "414",
        /// 416.
        RangeNotSatisfiable = "416",
        /// 429.
        TooManyRequests = "429",
        /// 431.
        HeadersTooLarge = "431",
        /// The caller left before there was an answer: never sent, only accounted for.
        ClientClosed = "499",
        /// 500.
        Internal = "500",
        /// 502.
        BadGateway = "502",
        /// 503.
        Unavailable = "503",
        /// 504.
        GatewayTimeout = "504",
    }
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self.text().parse().unwrap_or(500)
    }

    /// Its first digit's class.
    pub fn class(self) -> CodeClass {
        match self.number() / 100 {
            2 => CodeClass::Success,
            3 => CodeClass::Redirect,
            4 => CodeClass::Client,
            _ => CodeClass::Server,
        }
    }
}

label! {
    /// The class of a status.
    CodeClass as "code_class" {
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirect = "3xx",
        /// 400 to 499.
        Client = "4xx",
        /// 500 to 599.
        Server = "5xx",
    }
}

label! {
    /// How an answer ended.
    Outcome as "outcome" {
        /// The last byte was handed to the connection.
        Complete = "complete",
        /// The caller left first.
        ClientClosed = "client_closed",
        /// Reading the body failed on our side.
        BodyError = "body_error",
    }
}

label! {
    /// What became of one attempt at one upstream; the same word in metric, log and audit.
    Attempt as "result" {
        /// Content that was verified.
        Success = "success",
        /// 404.
        NotFound = "not_found",
        /// 410.
        Gone = "gone",
        /// The name was not resolved.
        Dns = "dns",
        /// Nobody listens.
        ConnectRefused = "connect_refused",
        /// No handshake in time.
        ConnectTimeout = "connect_timeout",
        /// Another failure to connect.
        Connect = "connect",
        /// Unknown authority, wrong name, or an authority used as a leaf.
        TlsUntrusted = "tls_untrusted",
        /// Expired or not yet valid.
        TlsExpired = "tls_expired",
        /// Another TLS failure.
        Tls = "tls",
        /// No head in time.
        TimeoutFirstByte = "timeout_first_byte",
        /// No end in time.
        TimeoutTotal = "timeout_total",
        /// The connection was lost.
        Reset = "reset",
        /// Not HTTP, a bad redirect, a body that is not what was asked for.
        Protocol = "protocol",
        /// Shorter than announced.
        BodyTruncated = "body_truncated",
        /// Over the size limit.
        TooLarge = "too_large",
        /// A 4xx that is no 404, 410 or 429.
        Upstream4xx = "upstream_4xx",
        /// 429.
        Upstream429 = "upstream_429",
        /// 5xx.
        Upstream5xx = "upstream_5xx",
        /// Its content differs from the sum that is known.
        ChecksumMismatch = "checksum_mismatch",
        /// Its content breaks the rules of module zips.
        ZipInvalid = "zip_invalid",
        /// Not asked: it failed too often, and rests.
        CircuitOpen = "circuit_open",
        /// Given up, because nobody waits for it any more.
        ClientClosed = "client_closed",
        /// Our own disk failed under it.
        Local = "local",
    }
}

label! {
    /// How a caller proved who they are.
    AuthMethod as "method" {
        /// They did not.
        Anonymous = "anonymous",
        /// A JSON web token.
        Jwt = "jwt",
        /// A name and a password, judged by a directory.
        Ldap = "ldap",
        /// A client certificate.
        Mtls = "mtls",
        /// A gateway token.
        Token = "token",
        /// A shape we do not know.
        Unknown = "unknown",
    }
}

label! {
    /// What became of the proof.
    AuthResult as "result" {
        /// Recognised.
        Success = "success",
        /// No credentials.
        Missing = "missing",
        /// Not readable as any credential.
        Malformed = "malformed",
        /// A signature that does not verify.
        InvalidSignature = "invalid_signature",
        /// A key that we do not have.
        UnknownKey = "unknown_key",
        /// Too old.
        Expired = "expired",
        /// From the future.
        NotYetValid = "not_yet_valid",
        /// From somebody else.
        WrongIssuer = "wrong_issuer",
        /// For somebody else.
        WrongAudience = "wrong_audience",
        /// An algorithm or header we do not take.
        WrongAlgorithm = "wrong_algorithm",
        /// Taken back.
        Revoked = "revoked",
        /// Wrong or unknown.
        BadCredentials = "bad_credentials",
        /// Too many requests or failures.
        Throttled = "throttled",
        /// The judge is not there.
        BackendUnavailable = "backend_unavailable",
    }
}

label! {
    /// What became of a name and a password.
    LdapLogin as "result" {
        /// It was judged not long ago.
        Remembered = "remembered",
        /// A directory knows them.
        Known = "known",
        /// It does not.
        Refused = "refused",
        /// Not tried: too many failures before.
        Locked = "locked",
        /// No server could be asked.
        Unavailable = "unavailable",
    }
}

label! {
    /// The policy's word.
    Decision as "decision" {
        /// Yes.
        Allow = "allow",
        /// No.
        Deny = "deny",
        /// Above something the caller may read.
        Absent = "absent",
        /// Could not decide, therefore no.
        Error = "error",
    }
}

label! {
    /// Which check refused content.
    Integrity as "kind" {
        /// The bytes in a tier are not those that were stored.
        ChecksumMismatch = "checksum_mismatch",
        /// Against the rules of module zips.
        ZipInvalid = "zip_invalid",
        /// Another module or version than was asked for, or no go.mod, list or info at all.
        PathMismatch = "path_mismatch",
    }
}

label! {
    /// Where audit events go.
    Sink as "sink" {
        /// The local segment.
        Segment = "segment",
        /// The second directory.
        Second = "second",
    }
}

label! {
    /// When a record counts as written.
    AuditMode as "mode" {
        /// The operating system has it.
        Written = "written",
        /// The disk has it.
        Durable = "durable",
    }
}

label! {
    /// What became of an audit event.
    AuditResult as "result" {
        /// In the segment.
        Written = "written",
        /// Lost; counted, never silent.
        Dropped = "dropped",
        /// A write failed and is tried again.
        Failed = "failed",
    }
}

label! {
    /// How a TLS handshake ended.
    Handshake as "result" {
        /// Well.
        Ok = "ok",
        /// Not.
        Protocol = "protocol",
    }
}

label! {
    /// What is spoken on a connection.
    HttpVersion as "protocol" {
        /// HTTP/1.1.
        Http1 = "h1",
        /// HTTP/2.
        Http2 = "h2",
    }
}

label! {
    /// Where blocking work stands.
    JobState as "state" {
        /// It waits for a thread.
        Queued = "queued",
        /// It has one.
        Running = "running",
    }
}

label! {
    /// Things a security team wants to hear of.
    SecurityEvent as "kind" {
        /// A private name was about to leave for an upstream it is not bound to.
        PrivateNameUpstream = "private_name_upstream",
        /// A redirect or address that egress forbids.
        EgressBlocked = "egress_blocked",
        /// A path made to be read in two ways.
        PathTraversal = "path_traversal",
        /// A head made to be read in two ways.
        Smuggling = "smuggling",
    }
}

label! {
    /// Whether a request's trace is exported.
    Sampling as "decision" {
        /// It is.
        Sampled = "sampled",
        /// It is not.
        Unsampled = "unsampled",
        /// It was not, but failed or was slow, and is exported after all.
        Late = "late",
        /// The same, but there were too many of them in this second.
        LateRefused = "late_refused",
    }
}

label! {
    /// Whether the content of an answer was there already.
    Answer as "cache" {
        /// In a tier, an absence that was remembered included.
        Hit = "hit",
        /// Fetched for it, or waited for.
        Miss = "miss",
        /// No content was looked for.
        None = "none",
    }
}

impl Answer {
    /// What a request's own word comes to.
    pub const fn of(found: Option<CacheResult>) -> Self {
        match found {
            None => Self::None,
            Some(CacheResult::Hit | CacheResult::NegativeHit) => Self::Hit,
            Some(_) => Self::Miss,
        }
    }
}

label! {
    /// What is exported to a collector.
    Signal as "signal" {
        /// Spans.
        Traces = "traces",
        /// Log records: checkpoints of the audit, and lines.
        Logs = "logs",
    }
}

label! {
    /// What became of something that was to be exported.
    Exported as "result" {
        /// The collector took it.
        Exported = "exported",
        /// The collector did not take it.
        Failed = "failed",
        /// The queue was full.
        Dropped = "dropped",
    }
}

label! {
    /// How loud a line of the application is.
    Level as "level" {
        /// Something needs a person.
        Error = "error",
        /// Something went wrong and was dealt with.
        Warn = "warn",
        /// Something happened.
        Info = "info",
        /// For whoever looks for a defect.
        Debug = "debug",
        /// The same, in every detail.
        Trace = "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_number() {
        for &code in Code::values() {
            assert_eq!(code.number().to_string(), code.text());
        }
    }
}
