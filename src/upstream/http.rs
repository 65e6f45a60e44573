//! A module proxy over HTTP: what its statuses mean, and its body into a spool.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use futures_util::future::select;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::content::Content;
use crate::content::Spool;
use crate::content::SpoolError;
use crate::content::Sum;
use crate::content::validator::Validator;
use crate::egress::Deadlines;
use crate::egress::EgressError;
use crate::egress::Origin;
use crate::egress::answer::Answer;
use crate::fault::chain_text;
use crate::goproxy::request::Request;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::upstream::Retry;
use crate::telemetry::record::Record;
use crate::upstream::care::Care;
use crate::upstream::source::Given;
use crate::upstream::source::Known;
use crate::upstream::source::Limits;
use crate::upstream::source::Novelty;
use crate::upstream::source::SourceError;

/// A module proxy.
#[derive(Debug)]
pub struct Http {
    origin: Origin,
    place: String,
    limits: Limits,
    spool_directory: Arc<Path>,
    care: Arc<Care>,
    hedge_after: Option<Duration>,
}

impl Http {
    /// A proxy at an origin; bodies are spooled in `spool_directory`.
    pub fn new(
        origin: Origin,
        limits: Limits,
        spool_directory: Arc<Path>,
        care: Arc<Care>,
    ) -> Self {
        let place = origin.place();
        Self { origin, place, limits, spool_directory, care, hedge_after: None }
    }

    /// The same, asking a second time beside the first where no head comes for so long.
    #[must_use]
    pub fn hedged(mut self, after: Option<Duration>) -> Self {
        self.hedge_after = after;
        self
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Asks once; if this is the upstream that knows what is held, whether that has changed.
    pub async fn fetch<'a>(
        &self,
        request: &Request,
        record: &Record,
        known: Option<Known<'a>>,
        until: Instant,
    ) -> Result<Given, SourceError> {
        let endpoint = request.endpoint();
        let first_byte = Instant::now() + self.limits.first_byte(endpoint);
        let deadlines = Deadlines { first_byte, total: until };
        let told = |known: Known<'a>| Some((known, known.validator.told_to(&self.place)?));
        let (known, tag) = known.and_then(told).unzip();
        let begun = Instant::now();
        let mut answer = self.head(request, record, tag, deadlines).await?;
        self.care.first_byte(record, begun.elapsed());
        match answer.status() {
            200 => {
                let validator = answer.tag().and_then(|tag| Validator::new(&self.place, tag));
                let announced = answer.sha256().map(Sum::from_bytes);
                let content = self.body(answer, self.limits.bytes(endpoint)).await?;
                Ok(Given { content, novelty: Novelty::New, validator, announced })
            }
            404 => Err(absent(&mut answer, OnGone::No).await),
            410 => Err(absent(&mut answer, OnGone::Yes).await),
            status => {
                // only to what we asked; to anybody else, "not modified" says nothing
                if let (304, Some(known), true) = (status, known, answer.is_direct()) {
                    return Ok(known.unchanged());
                }
                let retry_after = answer.retry_after();
                let text = String::from_utf8_lossy(&beginning(&mut answer).await).into();
                Err(SourceError::Status { status, text, retry_after })
            }
        }
    }

    /// The head of an answer. Where that takes long and is configured, a second request is sent, within the budget of
    /// repetitions, and the first head counts; the other request is given up.
    async fn head(
        &self,
        request: &Request,
        record: &Record,
        tag: Option<&str>,
        deadlines: Deadlines,
    ) -> Result<Answer, EgressError> {
        let told = record.trace().traceparent();
        let mut first = Box::pin(self.origin.get(request, &told, tag, deadlines));
        let Some(after) = self.hedge_after else { return first.await };
        let begun = Instant::now();
        if let Ok(early) = timeout(after, &mut first).await {
            return early;
        }
        if !self.care.budget.spend() {
            return first.await;
        }
        if let Some(metrics) = self.care.metrics() {
            metrics.retries.count((Retry::Hedge,));
        }
        let second = Box::pin(self.origin.get(request, &told, tag, deadlines));
        let (outcome, other) = select(first, second).await.factor_first();
        if outcome.is_err() {
            return other.await;
        }
        self.care.attempted(record, Attempt::ClientClosed, begun.elapsed());
        outcome
    }

    /// Asks for the root: every answer below 500 comes from somebody who is there.
    pub async fn probe(&self, until: Instant) -> Attempt {
        let deadlines = Deadlines { first_byte: until, total: until };
        match self.origin.knock(deadlines).await {
            Ok(answer) if answer.status() < 500 => Attempt::Success,
            Ok(_) => Attempt::Upstream5xx,
            Err(error) => error.attempt(),
        }
    }

    /// As [`Self::probe`], and what is wrong in words: who we are to it, and what o'clock it is there.
    pub async fn examine(&self, until: Instant, now: SystemTime) -> Result<(), String> {
        let deadlines = Deadlines { first_byte: until, total: until };
        let answer = self.origin.knock(deadlines).await.map_err(|error| {
            let error = SourceError::from(error);
            format!("{}: {}", error.attempt().text(), chain_text(&error))
        })?;
        if let status @ (401 | 403 | 407 | 500..) = answer.status() {
            return Err(format!("it answered {status}"));
        }
        let Some(there) = answer.date().map(SystemTime::from) else { return Ok(()) };
        let ahead = there.duration_since(now).unwrap_or_else(|behind| behind.duration());
        if ahead > CLOCK_TOLERANCE {
            return Err(format!("its clock and ours differ by {} seconds", ahead.as_secs()));
        }
        Ok(())
    }

    async fn body(&self, mut answer: Answer, limit: u64) -> Result<Content, SourceError> {
        let announced = answer.announced();
        if announced.is_some_and(|announced| announced > limit) {
            return Err(SpoolError::TooLarge(limit).into());
        }
        let mut spool = Spool::new(Arc::clone(&self.spool_directory), limit);
        while let Some(bytes) = answer.next().await? {
            spool.push(&bytes)?;
        }
        if announced.is_some_and(|announced| announced != spool.len()) {
            return Err(EgressError::Slow("whole body", Attempt::BodyTruncated).into());
        }
        Ok(spool.finish()?)
    }
}

/// Whether the status was 410.
enum OnGone {
    No,
    Yes,
}

/// A 404 or 410: its text is passed on if a `go` command would print it.
async fn absent(answer: &mut Answer, status: OnGone) -> SourceError {
    let plain = answer.content_type().is_some_and(is_plain_text);
    let bytes = beginning(answer).await;
    let text = String::from_utf8(bytes).ok().filter(|text| !text.trim().is_empty());
    if let Some(text) = text.as_deref()
        && DISGUISES.iter().any(|disguise| text.trim_start().starts_with(disguise))
    {
        return SourceError::DisguisedFault(text.chars().take(200).collect());
    }
    let gone = matches!(status, OnGone::Yes);
    SourceError::Absent { gone, text: text.filter(|_| plain).map(Arc::from) }
}

fn is_plain_text(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let plain = parts.next().as_deref() == Some("text/plain");
    let charset = parts.find_map(|part| part.strip_prefix("charset=").map(str::to_owned));
    plain && matches!(charset.as_deref(), None | Some("utf-8" | "us-ascii"))
}

/// The first bytes of a text that explains a failure; whatever goes wrong here is not worth a fault of its own.
async fn beginning(answer: &mut Answer) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < TEXT_LIMIT_BYTES {
        match answer.next().await {
            Ok(Some(bytes)) => text.extend_from_slice(&bytes),
            Ok(None) | Err(_) => break,
        }
    }
    text.truncate(TEXT_LIMIT_BYTES);
    text
}

/// Certificates and tokens are judged by the clock; a few minutes are forgiven.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// Texts with which some proxies answer 404 although they mean that they could not find out.
const DISGUISES: [&str; 2] = ["not found: fetch timed out", "not found: bad upstream"];

/// Read of an upstream's error text, and passed on of a 404's.
const TEXT_LIMIT_BYTES: usize = 64 * 1024;
