//! One upstream is asked for one request: its turn, its breaker, its quiet, and a repetition where that may help.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::Span;

use crate::breaker::Condition;
use crate::breaker::Verdict;
use crate::goproxy::request::Request;
use crate::telemetry::labels::Attempt;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Facts;
use crate::telemetry::record::Record;
use crate::telemetry::trace::attempt_ended;
use crate::telemetry::trace::attempt_span;
use crate::upstream::Upstream;
use crate::upstream::UpstreamError;
use crate::upstream::care;
use crate::upstream::care::Care;
use crate::upstream::retry;
use crate::upstream::source::Given;
use crate::upstream::source::Known;
use crate::upstream::source::SourceError;

/// Bytes that nobody has judged yet or that are held and unchanged, and the attempt that brought them.
#[derive(Debug)]
#[must_use = "the attempt is counted when it is known whether its content is good"]
pub struct Fetched {
    /// What was given.
    pub given: Given,
    /// To be settled when it has been judged.
    pub attempt: Unsettled,
}

impl Observed for Fetched {
    fn note(&self, facts: &mut Facts) {
        self.given.content.note(facts);
    }
}

/// An attempt whose content is not judged yet. Dropped, it counts as a success: nobody found fault with it.
#[derive(Debug)]
pub struct Unsettled {
    upstream: Arc<Care>,
    record: Record,
    took: Duration,
    word: Attempt,
    span: Span,
}

impl Unsettled {
    /// The content was refused; the word says by which check.
    pub fn refused(mut self, word: Attempt) {
        self.word = word;
        attempt_ended(&self.span, word);
        self.record.note(|facts| facts.attempt = Some(word));
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.upstream.count(&self.record, self.word, self.took);
        if self.word == Attempt::Success {
            self.upstream.answered();
        }
    }
}

/// What to do while an upstream wants quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Patience {
    /// Wait: nobody else can be asked instead.
    Wait,
    /// Ask the next one.
    GoOn,
}

/// One request at one upstream.
#[derive(Debug)]
pub(in crate::upstream) struct Asking<'a> {
    upstream: &'a Upstream,
    request: &'a Request,
    record: &'a Record,
    known: Option<Known<'a>>,
    patience: Patience,
    until: Instant,
}

impl<'a> Asking<'a> {
    pub(in crate::upstream) fn new(
        upstream: &'a Upstream,
        request: &'a Request,
        record: &'a Record,
        known: Option<Known<'a>>,
        patience: Patience,
    ) -> Self {
        let until = Instant::now() + upstream.source.patience(request);
        Self { upstream, request, record, known, patience, until }
    }

    /// Asks, and again where that may help.
    pub(in crate::upstream) async fn run(&self) -> Result<Fetched, UpstreamError> {
        let care = &self.upstream.care;
        care.budget.earn();
        if care.breaker.condition() == Condition::Open {
            return Err(self.failed(self.unasked(SourceError::Resting)));
        }
        let turn = care.turns.take(self.until, care.metrics()).await;
        let Some(_turn) = turn else { return Err(UpstreamError::Busy(care.name().to_owned())) };
        let mut tried = 0;
        loop {
            self.keep_quiet().await?;
            tried += 1;
            let error = match self.once(tried).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => error,
            };
            if let Some(time) = error.retry_after() {
                care.quiet.wish(time);
            }
            match self.pause(tried, error.attempt()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(self.failed(error)),
            }
        }
    }

    /// Waits until the upstream may be asked again, or says that this is too long.
    async fn keep_quiet(&self) -> Result<(), UpstreamError> {
        let Some(end) = self.upstream.care.quiet.end() else { return Ok(()) };
        if self.patience == Patience::GoOn || end >= self.until {
            return Err(self.failed(self.unasked(SourceError::Quiet)));
        }
        // everybody who waits would come at once
        tokio::time::sleep_until(end + retry::pause(1)).await;
        Ok(())
    }

    async fn once(&self, tried: u32) -> Result<Fetched, SourceError> {
        let care = &self.upstream.care;
        let Some(mut pass) = care.breaker.attempt() else {
            return Err(self.unasked(SourceError::Resting));
        };
        // a caller who leaves says nothing about the upstream
        pass.presume(Verdict::Silent);
        let begun = Instant::now();
        let span = attempt_span(care.name(), tried - 1);
        let unheard = Unheard { care, record: self.record, begun, span: Some(span.clone()) };
        let source = &self.upstream.source;
        let asked = source.fetch(self.request, self.record, self.known, self.until);
        let outcome = asked.instrument(span.clone()).await;
        unheard.heard();
        let word = outcome.as_ref().map_or_else(SourceError::attempt, |_| Attempt::Success);
        attempt_ended(&span, word);
        pass.end(care::verdict(word));
        care.tell();
        match outcome {
            Ok(given) => {
                self.record.attempt(care.name(), word);
                let (upstream, record) = (Arc::clone(care), self.record.clone());
                let attempt = Unsettled { upstream, record, took: begun.elapsed(), word, span };
                Ok(Fetched { given, attempt })
            }
            Err(error) => {
                if let SourceError::Egress(blocked) = &error {
                    care.note_blocked(blocked);
                    care.note_untrusted(word, &crate::fault::chain_text(blocked));
                }
                if matches!(word, Attempt::NotFound | Attempt::Gone) {
                    care.answered();
                }
                care.attempted(self.record, word, begun.elapsed());
                Err(error)
            }
        }
    }

    /// How long to wait before the attempt is repeated; `None` if it is not.
    fn pause(&self, tried: u32, word: Attempt) -> Option<Duration> {
        let care = &self.upstream.care;
        let reason = word.retry()?;
        let rests = care.breaker.condition() == Condition::Open;
        if rests || tried >= self.upstream.source.attempts() {
            return None;
        }
        let (quiet, pause) = (care.quiet.end(), retry::pause(tried));
        let goes_on = self.patience == Patience::GoOn && quiet.is_some();
        let earliest = quiet.unwrap_or_else(Instant::now) + pause;
        if goes_on || earliest >= self.until || !care.budget.spend() {
            return None;
        }
        if let Some(metrics) = care.metrics() {
            metrics.retries.count((reason,));
        }
        Some(pause)
    }

    /// An attempt that was not made is accounted for like one that was, but took no time.
    fn unasked(&self, error: SourceError) -> SourceError {
        self.upstream.care.unasked(self.record, error.attempt());
        error
    }

    fn failed(&self, error: SourceError) -> UpstreamError {
        match error {
            SourceError::Absent { gone, text } => UpstreamError::Absent { gone, text },
            error => UpstreamError::Failed {
                upstream: self.upstream.name.clone(),
                attempt: error.attempt(),
                cause: crate::fault::chain_text(&error).into(),
            },
        }
    }
}

/// Notes that an attempt was given up, unless it was heard to its end.
struct Unheard<'a> {
    care: &'a Care,
    record: &'a Record,
    begun: Instant,
    /// None once it was heard.
    span: Option<Span>,
}

impl Unheard<'_> {
    fn heard(mut self) {
        self.span = None;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        let Some(span) = self.span.take() else { return };
        attempt_ended(&span, Attempt::ClientClosed);
        self.care.attempted(self.record, Attempt::ClientClosed, self.begun.elapsed());
    }
}
