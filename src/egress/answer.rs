//! What came back: the head at once, the body as it comes.

use std::time::Duration;

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
