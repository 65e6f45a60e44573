//! Which word of the closed list a transport failure is, found in the whole chain of its causes.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use crate::egress::resolve::NotResolved;
use crate::telemetry::labels::Attempt;

/// Classifies a failure. The client's error says little; what happened stands further down, sometimes inside an
/// [`io::Error`] whose `source` skips its own payload.
pub(in crate::egress) fn attempt(error: &reqwest::Error) -> Attempt {
    if let Some(found) = walk(error) {
        // an end before the handshake was done cuts no body short
        let early = found == Attempt::BodyTruncated && error.is_connect();
        return if early { Attempt::Tls } else { found };
    }
    if error.is_timeout() && error.is_connect() {
        return Attempt::ConnectTimeout;
    }
    if error.is_connect() {
        return Attempt::Connect;
    }
    if error.is_timeout() {
        return Attempt::TimeoutTotal;
    }
    Attempt::Protocol
}

/// The first cause of a type, payloads of I/O errors included.
pub(in crate::egress) fn find<'a, E: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<E>() {
            return Some(found);
        }
        let payload = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = payload.and_then(|payload| find(payload)) {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

fn walk(error: &(dyn Error + 'static)) -> Option<Attempt> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<NotResolved>() {
            return Some(Attempt::Dns);
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(tls_word(tls));
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if let Some(found) = io.get_ref().and_then(|payload| walk(payload)) {
                return Some(found);
            }
            if let Some(found) = io_word(io.kind()) {
                return Some(found);
            }
        }
        let text = cause.to_string();
        if text.contains("end of file before message length reached") {
            return Some(Attempt::BodyTruncated);
        }
        if text.contains("before message completed") || text.contains("connection closed") {
            return Some(Attempt::Reset);
        }
        next = cause.source();
    }
    None
}

fn io_word(kind: io::ErrorKind) -> Option<Attempt> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some(Attempt::ConnectRefused),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => Some(Attempt::Reset),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            Some(Attempt::Connect)
        }
        io::ErrorKind::UnexpectedEof => Some(Attempt::BodyTruncated),
        _ => None,
    }
}

fn tls_word(error: &rustls::Error) -> Attempt {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Attempt::TlsExpired,
        rustls::Error::InvalidCertificate(_) => Attempt::TlsUntrusted,
        _ => Attempt::Tls,
    }
}
