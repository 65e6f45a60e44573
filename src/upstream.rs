//! # Upstream: who has it?
//!
//! **Question.** Which of the configured upstreams gives the bytes for this request?
//!
//! **Rule.** A chain is walked in order, with the words of the `go` command: after an entry followed by a comma the
//! next one is asked only if this one said 404 or 410; after a bar, whatever went wrong. A private module has no
//! chain: only the upstreams bound to its prefix are asked, in the order it names them. Egress checks that
//! again at the socket. Other modules are asked of the chain whose pattern is the longest that covers them, or of the
//! usual one ([`routes`]).
//!
//! **What an absence is.** 404 or 410 only if *every* consulted upstream said so; one that failed makes the answer
//! a fault, since a 404 would send the module's name to the client's next proxy. A 404 whose text says that the
//! upstream itself gave up (some proxies answer so) is a fault as well.
//!
//! **What is held** and can change is asked for with the tag its upstream gave it, which no other upstream hears. A 304
//! to that is an answer like any other and ends the walk; a 304 that nobody asked for is a fault.
//!
//! **Limits.** Each artifact has a size limit and three deadlines (connect, first byte, whole). Bodies go to a
//! spool as they come, so memory does not depend on their size.
//!
//! **Care.** One upstream gets so many requests at a time, and as many may wait. An attempt that may succeed if repeated
//! is repeated, within the same deadline and a budget of a share of all requests, after a pause that doubles and
//! differs; where a 429 or 503 says when to come again, nobody comes before. An upstream that fails too often is left
//! alone ([`crate::breaker`]); a probe that names no module finds out when it is back ([`probe`]).
//!
//! **How it fails.** The fault is 502, or 504 if time ran out, or 503 if too many wait, with the upstream's name kept
//! for log and audit only. What happened has one word of a closed list ([`Attempt`]), the same in the text for the
//! caller, `Proxy-Status`, metric, log, trace and audit. An attempt is counted once: when its content has been judged
//! ([`attempt::Unsettled`]), or when it failed.

pub mod attempt;
pub mod care;
pub mod directory;
pub mod http;
pub mod probe;
mod retry;
pub mod routes;
pub mod source;
mod turns;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use crate::fault::Fault;
use crate::fault::Kind;
use crate::goproxy::proxylist::FallBack;
use crate::goproxy::request::Request;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::upstream::FallBackReason;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Record;
use crate::upstream::attempt::Asking;
use crate::upstream::attempt::Fetched;
use crate::upstream::attempt::Patience;
use crate::upstream::care::Care;
use crate::upstream::routes::Routes;
use crate::upstream::source::Known;
use crate::upstream::source::Source;

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
    /// Too many requests wait for this upstream already, or the wait was too long.
    #[error("too many requests wait for upstream {0}")]
    Busy(String),
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
            Self::Busy(_) => Kind::Unavailable,
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
            Self::Busy(_) => "too many requests wait for the upstream: try again soon".into(),
            Self::Absent { .. } => self.kind().sentence().into(),
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Busy(_))
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
    /// How it is treated.
    pub care: Arc<Care>,
}

/// All upstreams, and in which order they are asked for what.
#[derive(Debug)]
pub struct Chain {
    routes: Routes,
}

impl Chain {
    /// A walk along these routes.
    pub fn new(routes: Routes) -> Self {
        Self { routes }
    }

    /// Whether a path lies under a private prefix.
    pub fn is_private(&self, path: &str) -> bool {
        self.routes.is_private(path)
    }

    /// Every upstream.
    pub fn all(&self) -> &[Arc<Upstream>] {
        self.routes.all()
    }

    /// Walks the chain for a request; `known` is what is held already.
    ///
    /// Cancel safety: dropping the future gives the attempt under way up, and counts it so.
    pub async fn fetch(
        &self,
        request: &Request,
        record: &Record,
        known: Option<Known<'_>>,
    ) -> Result<Fetched, UpstreamError> {
        let mut absent = None;
        let mut failed = None;
        let mut links = self.routes.of(request).into_iter().peekable();
        while let Some(link) = links.next() {
            let has_next = links.peek().is_some();
            let patience = match link.fall_back {
                FallBack::OnAnyError if has_next => Patience::GoOn,
                FallBack::OnAnyError | FallBack::OnNotFound => Patience::Wait,
            };
            let asking = Asking::new(&link.upstream, request, record, known, patience);
            let reason = match asking.run().await {
                Ok(fetched) => return Ok(fetched),
                Err(UpstreamError::Absent { gone, text }) => {
                    absent.get_or_insert(UpstreamError::Absent { gone, text });
                    FallBackReason::NotFound
                }
                Err(fault) => {
                    failed = Some(fault);
                    if link.fall_back == FallBack::OnNotFound {
                        break;
                    }
                    FallBackReason::Fault
                }
            };
            if let Some(metrics) = link.upstream.care.metrics().filter(|_| has_next) {
                metrics.fallbacks.count((reason,));
            }
        }
        let nobody = || {
            let path = request.module_path().unwrap_or("the checksum database");
            UpstreamError::Nobody(path.to_owned())
        };
        Err(failed.or(absent).unwrap_or_else(nobody))
    }
}
