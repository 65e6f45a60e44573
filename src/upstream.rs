//! # Upstream: who has it?
//!
//! **Question.** Which of the configured upstreams gives the bytes for this request?
//!
//! **Rule.** A chain is walked in order, with the words of the `go` command: after an entry followed by a comma the
//! next one is asked only if this one said 404 or 410; after a bar, whatever went wrong. A private module has no
//! chain: only the upstreams bound to its prefix are asked, in the order they are configured. Egress checks that
//! again at the socket. Other modules are asked of the chain whose pattern is the longest that covers them, or of the
//! usual one ([`routes`]).
//!
//! **What an absence is.** 404 or 410 only if *every* consulted upstream said so; one that failed makes the answer
//! a fault, since a 404 would send the module's name to the client's next proxy. A 404 whose text says that the
//! upstream itself gave up (some proxies answer so) is a fault as well.
//!
//! **Limits.** Each artifact has a size limit and three deadlines (connect, first byte, whole). Bodies go to a
//! spool as they come, so memory does not depend on their size.
//!
//! **How it fails.** An attempt that may succeed if repeated is repeated once, within the same deadline. After
//! that the fault is 502, or 504 if time ran out, with the upstream's name kept for log and audit only.

pub mod directory;
pub mod http;
pub mod routes;
pub mod source;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::content::Content;
use crate::egress::EgressError;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::goproxy::proxylist::FallBack;
use crate::goproxy::request::Request;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::SecurityEvent;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Record;
use crate::upstream::routes::Routes;
use crate::upstream::source::Source;
use crate::upstream::source::SourceError;

/// Why no upstream gave content. Cloned to everybody who waits for the same fill.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// Every consulted upstream said that there is none; the first one's status and text.
    #[error("no upstream has it")]
    Absent {
        /// Whether the first said 410.
        gone: bool,
        /// Text that may be passed on.
        text: Option<Arc<str>>,
    },
    /// The last fault of the walk.
    #[error("upstream {upstream} failed ({attempt:?}): {cause}")]
    Failed {
        /// Which one.
        upstream: String,
        /// What happened, as a word of the closed list.
        attempt: Attempt,
        /// The chain of causes.
        cause: Arc<str>,
    },
    /// A private module whose prefix is bound to no upstream, or an empty chain.
    #[error("no upstream is configured for {0}")]
    Nobody(String),
}

impl Observed for UpstreamError {}

impl Fault for UpstreamError {
    fn kind(&self) -> Kind {
        match self {
            Self::Absent { gone: true, .. } => Kind::Gone,
            Self::Absent { gone: false, .. } => Kind::NotFound,
            Self::Failed { attempt, .. } => match attempt {
                Attempt::ConnectTimeout | Attempt::TimeoutFirstByte | Attempt::TimeoutTotal => {
                    Kind::Timeout
                }
                Attempt::Local => Kind::Internal,
                _ => Kind::Upstream,
            },
            Self::Nobody(_) => Kind::Upstream,
        }
    }

    fn public(&self) -> Cow<'static, str> {
        match self {
            Self::Failed { attempt, .. } => {
                use crate::telemetry::labels::Label as _;
                let said = self.kind().sentence();
                Cow::Owned(format!("{said}\nreason {}", attempt.text()))
            }
            Self::Nobody(_) => "no upstream is configured for this module".into(),
            Self::Absent { .. } => self.kind().sentence().into(),
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// One upstream of a chain.
#[derive(Debug)]
pub struct Upstream {
    /// The configured name.
    pub name: String,
    /// How it is asked.
    pub source: Source,
    /// Whether it passes requests for checksum databases on.
    pub serves_sumdb: bool,
}

/// All upstreams, and in which order they are asked for what.
#[derive(Debug)]
pub struct Chain {
    routes: Routes,
    telemetry: Arc<Telemetry>,
}

impl Chain {
    /// A walk along these routes.
    pub fn new(routes: Routes, telemetry: Arc<Telemetry>) -> Self {
        Self { routes, telemetry }
    }

    /// Whether a path lies under a private prefix.
    pub fn is_private(&self, path: &str) -> bool {
        self.routes.is_private(path)
    }

    /// Walks the chain for a request.
    pub async fn fetch(
        &self,
        request: &Request,
        record: &Record,
    ) -> Result<Content, UpstreamError> {
        let mut absent = None;
        let mut failed = None;
        for link in self.routes.of(request) {
            match self.attempt(&link.upstream, request, record).await {
                Ok(content) => return Ok(content),
                Err(UpstreamError::Absent { gone, text }) => {
                    absent.get_or_insert(UpstreamError::Absent { gone, text });
                }
                Err(fault) => {
                    failed = Some(fault);
                    match link.fall_back {
                        FallBack::OnNotFound => break,
                        FallBack::OnAnyError => {}
                    }
                }
            }
        }
        let nobody = || {
            let path = request.module_path().unwrap_or("the checksum database");
            UpstreamError::Nobody(path.to_owned())
        };
        Err(failed.or(absent).unwrap_or_else(nobody))
    }

    async fn attempt(
        &self,
        upstream: &Upstream,
        request: &Request,
        record: &Record,
    ) -> Result<Content, UpstreamError> {
        let mut tried = 0;
        let until = tokio::time::Instant::now() + upstream.source.patience(request);
        loop {
            tried += 1;
            let begun = tokio::time::Instant::now();
            let outcome = upstream.source.fetch(request, record, until).await;
            let word = outcome.as_ref().map_or_else(SourceError::attempt, |_| Attempt::Success);
            if let Err(SourceError::Egress(blocked)) = &outcome {
                self.note_blocked(blocked);
            }
            self.account(upstream, record, word, begun.elapsed());
            let error = match outcome {
                Ok(content) => return Ok(content),
                Err(error) => error,
            };
            if tried < upstream.source.attempts() && is_worth_another_try(word) {
                let pause = RETRY_PAUSE.mul_f64(1.0 + jitter());
                if tokio::time::Instant::now() + pause < until {
                    if let Some(metrics) = self.telemetry.upstream(&upstream.name) {
                        metrics.retries.count(());
                    }
                    tokio::time::sleep(pause).await;
                    continue;
                }
            }
            return Err(named(upstream, error, word));
        }
    }

    /// Tells the security team what egress would not let out.
    fn note_blocked(&self, blocked: &EgressError) {
        let event = match blocked {
            EgressError::PrivateName { .. } => SecurityEvent::PrivateNameUpstream,
            EgressError::Redirect(_) => SecurityEvent::EgressBlocked,
            EgressError::Slow(..) | EgressError::Transport(..) | EgressError::Url(_) => return,
        };
        self.telemetry.metrics().security_events.count((event,));
    }

    fn account(&self, upstream: &Upstream, record: &Record, word: Attempt, took: Duration) {
        record.attempt(&upstream.name, word);
        self.telemetry.attempted(&upstream.name, word);
        if let Some(metrics) = self.telemetry.upstream(&upstream.name) {
            metrics.seconds.observe((), took.as_secs_f64());
        }
    }
}

fn named(upstream: &Upstream, error: SourceError, word: Attempt) -> UpstreamError {
    match error {
        SourceError::Absent { gone, text } => UpstreamError::Absent { gone, text },
        error => UpstreamError::Failed {
            upstream: upstream.name.clone(),
            attempt: word,
            cause: crate::fault::chain_text(&error).into(),
        },
    }
}

/// Whether the same attempt may succeed a moment later.
fn is_worth_another_try(word: Attempt) -> bool {
    match word {
        Attempt::Dns
        | Attempt::ConnectRefused
        | Attempt::ConnectTimeout
        | Attempt::Connect
        | Attempt::TimeoutFirstByte
        | Attempt::Reset
        | Attempt::BodyTruncated
        | Attempt::Upstream429
        | Attempt::Upstream5xx => true,
        Attempt::Success
        | Attempt::NotFound
        | Attempt::Gone
        | Attempt::TlsUntrusted
        | Attempt::TlsExpired
        | Attempt::Tls
        | Attempt::TimeoutTotal
        | Attempt::Protocol
        | Attempt::TooLarge
        | Attempt::Upstream4xx
        | Attempt::Local => false,
    }
}

/// A number from 0 to 1 that differs between nodes and moments; it need not be unpredictable.
fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_bytes().first().copied().unwrap_or_default()) / 255.0
}

/// The shortest wait before an attempt is repeated; twice that with full jitter.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
