//! What came back: the head at once, the body as it comes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Response;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderValue;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::clock;
use crate::egress::EgressError;
use crate::telemetry::labels::Attempt;

/// A head and the body that is still to come.
#[derive(Debug)]
pub struct Answer {
    response: Response,
    hop: Hop,
    deadline: Instant,
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::egress) enum Hop {
    /// Who was asked.
    First,
    /// Somebody to whom redirects led.
    Later,
}

impl Answer {
    /// A head that has come; the last byte must have come by the deadline.
    pub(in crate::egress) fn new(response: Response, hop: Hop, deadline: Instant) -> Self {
        Self { response, hop, deadline }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The announced length in bytes.
    pub fn announced(&self) -> Option<u64> {
        header(self.response.headers(), "content-length").and_then(|text| text.parse().ok())
    }

    /// The media type, as sent.
    pub fn content_type(&self) -> Option<&str> {
        header(self.response.headers(), "content-type")
    }

    /// The entity tag, as sent by the one who was asked; what stands where a redirect led is none of theirs.
    pub fn tag(&self) -> Option<&str> {
        header(self.response.headers(), "etag").filter(|_| self.is_direct())
    }

    /// Whether no redirect was followed, so that a tag that was to be sent has been sent.
    pub fn is_direct(&self) -> bool {
        self.hop == Hop::First
    }

    /// The SHA-256 that the body is said to have: by `Repr-Digest` or `Content-Digest` (RFC 9530; no content coding is ever
    /// asked for, so they are one), or by the field of repository managers, `X-Checksum-Sha256`. What cannot be read
    /// says nothing.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        let headers = self.response.headers();
        let digest = |name| header(headers, name).and_then(digest_of);
        let hex = || header(headers, "x-checksum-sha256").and_then(sha256_of);
        digest("repr-digest").or_else(|| digest("content-digest")).or_else(hex)
    }

    /// How long the other side wants to be left in peace: seconds, or a time that is read beside its own `Date`, so
    /// that two clocks need not agree (RFC 9110, section 10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        let said = header(self.response.headers(), "retry-after")?.trim();
        if let Ok(seconds) = said.parse() {
            return Some(Duration::from_secs(seconds));
        }
        (clock::http_date(said)? - self.date()?).try_into().ok()
    }

    /// What o'clock it is there.
    pub fn date(&self) -> Option<time::OffsetDateTime> {
        header(self.response.headers(), "date").and_then(clock::http_date)
    }

    /// The next bytes, or `None` at the end. A body shorter than announced is an error, not an end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EgressError> {
        match timeout_at(self.deadline, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(EgressError::transport(error)),
            Err(_) => Err(EgressError::Slow("end", Attempt::TimeoutTotal)),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap<HeaderValue>, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The member `sha-256` of a dictionary of digests: `sha-256=:BASE64:`.
fn digest_of(text: &str) -> Option<[u8; 32]> {
    let value = text.split(',').find_map(|member| member.trim().strip_prefix("sha-256=:"))?;
    let (value, _parameters) = value.split_once(':')?;
    STANDARD.decode(value).ok()?.try_into().ok()
}

/// 64 hex digits.
fn sha256_of(text: &str) -> Option<[u8; 32]> {
    let mut sum = [0; 32];
    let text = text.trim();
    if text.len() != 2 * sum.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in sum.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_read_from_what_upstreams_send_and_from_nothing_else() {
        let sum = [7; 32];
        let text = STANDARD.encode(sum);
        for good in [
            format!("sha-256=:{text}:"),
            format!("md5=:AAAA:, sha-256=:{text}:"),
            format!("sha-512=:AAAA:,sha-256=:{text}:;x=1"),
        ] {
            assert_eq!(digest_of(&good), Some(sum), "{good}");
        }
        let short = STANDARD.encode([7; 31]);
        for bad in [
            format!("sha-256=:{short}:"),
            format!("sha-256={text}"),
            format!("sha-512=:{text}:"),
            format!("sha-256=:{text}"),
            String::new(),
        ] {
            assert_eq!(digest_of(&bad), None, "{bad}");
        }
        let hex = "07".repeat(32);
        assert_eq!((sha256_of(&hex), sha256_of(&hex.to_uppercase())), (Some(sum), Some(sum)));
        for bad in [hex.trim_start_matches('0'), &hex.replace('7', "g"), &format!("{hex}00"), "é"]
        {
            assert_eq!(sha256_of(bad), None, "{bad}");
        }
    }
}
