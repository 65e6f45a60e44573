//! Labels of what happens between us and upstreams, and what follows from the word of an attempt.

use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::Integrity;
use crate::telemetry::labels::Label;

label! {
    /// Why an attempt was repeated: the words of [`Attempt`] that may be over a moment later.
    Retry as "reason" {
        /// The name was not resolved.
        Dns = "dns",
        /// Nobody listened.
        ConnectRefused = "connect_refused",
        /// No handshake in time.
        ConnectTimeout = "connect_timeout",
        /// Another failure to connect.
        Connect = "connect",
        /// No head in time.
        TimeoutFirstByte = "timeout_first_byte",
        /// The connection was lost.
        Reset = "reset",
        /// Shorter than announced.
        BodyTruncated = "body_truncated",
        /// 429.
        Upstream429 = "upstream_429",
        /// 5xx.
        Upstream5xx = "upstream_5xx",
        /// No head for so long that a second request was sent beside the first.
        Hedge = "hedge",
    }
}

label! {
    /// Why the next upstream of a chain was asked.
    FallBackReason as "reason" {
        /// 404 or 410.
        NotFound = "not_found",
        /// Anything else, after a bar.
        Fault = "fault",
    }
}

label! {
    /// How the breaker of an upstream stands.
    Circuit as "state" {
        /// Everybody asks.
        Closed = "closed",
        /// Nobody asks.
        Open = "open",
        /// A few ask.
        HalfOpen = "half_open",
    }
}

label! {
    /// A part of an attempt.
    Phase as "phase" {
        /// To the head.
        FirstByte = "first_byte",
        /// To the last byte.
        Total = "total",
    }
}

/// What an attempt says about the health of its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers, whatever it says.
    Well,
    /// It does not, or not as a module proxy.
    Ill,
    /// Nothing is learnt.
    Unknown,
}

impl Attempt {
    /// Whether it may go better a moment later, and the reason to give for trying.
    pub const fn retry(self) -> Option<Retry> {
        match self {
            Self::Dns => Some(Retry::Dns),
            Self::ConnectRefused => Some(Retry::ConnectRefused),
            Self::ConnectTimeout => Some(Retry::ConnectTimeout),
            Self::Connect => Some(Retry::Connect),
            Self::TimeoutFirstByte => Some(Retry::TimeoutFirstByte),
            Self::Reset => Some(Retry::Reset),
            Self::BodyTruncated => Some(Retry::BodyTruncated),
            Self::Upstream429 => Some(Retry::Upstream429),
            Self::Upstream5xx => Some(Retry::Upstream5xx),
            Self::Success
            | Self::NotFound
            | Self::Gone
            | Self::TlsUntrusted
            | Self::TlsExpired
            | Self::Tls
            | Self::TimeoutTotal
            | Self::Protocol
            | Self::TooLarge
            | Self::Upstream4xx
            | Self::ChecksumMismatch
            | Self::ZipInvalid
            | Self::CircuitOpen
            | Self::ClientClosed
            | Self::Local => None,
        }
    }

    /// What it says about the upstream's health. Content that is refused is a lie about one module, and a 4xx an answer.
    pub const fn health(self) -> Health {
        match self {
            Self::Success
            | Self::NotFound
            | Self::Gone
            | Self::TooLarge
            | Self::Upstream4xx
            | Self::ChecksumMismatch
            | Self::ZipInvalid => Health::Well,
            Self::Dns
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::Connect
            | Self::TlsUntrusted
            | Self::TlsExpired
            | Self::Tls
            | Self::TimeoutFirstByte
            | Self::TimeoutTotal
            | Self::Reset
            | Self::Protocol
            | Self::BodyTruncated
            | Self::Upstream5xx => Health::Ill,
            Self::Upstream429 | Self::CircuitOpen | Self::ClientClosed | Self::Local => {
                Health::Unknown
            }
        }
    }

    /// What `Proxy-Status` says of it (RFC 9209); `None` if the upstream did not fail.
    pub fn proxy_status(self) -> Option<String> {
        let error = match self {
            Self::Dns => "error=dns_error; ",
            Self::ConnectRefused => "error=connection_refused; ",
            Self::ConnectTimeout => "error=connection_timeout; ",
            Self::Connect => "error=destination_ip_unroutable; ",
            Self::TlsUntrusted | Self::TlsExpired => "error=tls_certificate_error; ",
            Self::Tls => "error=tls_protocol_error; ",
            Self::TimeoutFirstByte | Self::TimeoutTotal => "error=http_response_timeout; ",
            Self::Reset => "error=connection_terminated; ",
            Self::Protocol | Self::ChecksumMismatch | Self::ZipInvalid => {
                "error=http_protocol_error; "
            }
            Self::BodyTruncated => "error=http_response_incomplete; ",
            Self::TooLarge => "error=http_response_body_size; ",
            Self::CircuitOpen => "error=destination_unavailable; ",
            Self::Local => "error=proxy_internal_error; ",
            // it answered; the error is not the connection's
            Self::Upstream4xx | Self::Upstream5xx => "",
            Self::Upstream429 => "received-status=429; ",
            Self::Success | Self::NotFound | Self::Gone | Self::ClientClosed => return None,
        };
        Some(format!("modgate; {error}details=\"{}\"", self.text()))
    }
}

impl Integrity {
    /// The word of the attempt that brought what this check refused.
    pub const fn attempt(self) -> Attempt {
        match self {
            Self::ChecksumMismatch => Attempt::ChecksumMismatch,
            Self::ZipInvalid => Attempt::ZipInvalid,
            // another version's info, a page to sign in: not the protocol
            Self::PathMismatch => Attempt::Protocol,
        }
    }
}

label! {
    /// Whether a name has addresses.
    Resolved as "result" {
        /// It has.
        Success = "success",
        /// None were found.
        Failure = "failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_to_try_again_is_the_word_of_the_attempt() {
        for &attempt in Attempt::values() {
            if let Some(retry) = attempt.retry() {
                assert_eq!(retry.text(), attempt.text());
            }
        }
    }

    #[test]
    fn there_are_23_words_for_what_an_upstream_can_do_and_one_for_us() {
        assert_eq!(Attempt::values().len(), 24);
        assert_eq!(Attempt::Local.health(), Health::Unknown);
    }

    #[test]
    fn whatever_failed_has_a_proxy_status_with_its_word() {
        for &attempt in Attempt::values() {
            let fine = matches!(
                attempt,
                Attempt::Success | Attempt::NotFound | Attempt::Gone | Attempt::ClientClosed
            );
            let said = attempt.proxy_status();
            assert_eq!(said.is_none(), fine, "{attempt:?}");
            let quoted = format!("details=\"{}\"", attempt.text());
            assert!(said.is_none_or(|said| said.ends_with(&quoted)), "{attempt:?}");
        }
    }
}
