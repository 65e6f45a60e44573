//! The record of one request: who asked, for what, what was decided and done, and how long each stage took.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use tracing::Instrument as _;
use uuid::Uuid;

use crate::clock::Clock;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::fault::chain_text;
use crate::goproxy::artifact::Endpoint;
use crate::head::Head;
use crate::head::Method;
use crate::head::Transport;
use crate::telemetry::exemplars::Sighting;
use crate::telemetry::labels::Attempt;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::labels::CacheResult;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Tier;
use crate::telemetry::labels::policy::DecisionReason;
use crate::telemetry::observed::Observed;
use crate::telemetry::trace::Closed;
use crate::telemetry::trace::Stage;
use crate::telemetry::trace::Trace;
use crate::telemetry::trace::late::Late;
use crate::telemetry::trace::late::Passage;
use crate::telemetry::trace::late::Times;

/// The pieces of a good proof of identity, as far as it has any; never a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// When it was made, in seconds since 1970: when a directory was asked, or a token was issued.
    pub since: Option<u64>,
    /// Whether it should have been made again, and nobody could be asked.
    pub stale: bool,
    /// Who issued a token (RFC 7519, iss).
    pub issuer: Option<String>,
    /// The key that verified it (RFC 7515, kid).
    pub key: Option<String>,
    /// The token's own name (RFC 7519, jti).
    pub token: Option<String>,
    /// The SHA-256 of a client certificate, in hex, and the name of it that was mapped.
    pub certificate: Option<(String, String)>,
}

/// What an operator came to the audit for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Errand {
    /// To look.
    #[default]
    Query,
    /// To take records away.
    Export,
}

/// What was learnt about a request, however far it got. Absent means the stage was not reached.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Which endpoint was asked.
    pub endpoint: Option<Endpoint>,
    /// Who asked.
    pub principal: Option<String>,
    /// Their groups.
    pub groups: Vec<String>,
    /// How they proved it.
    pub auth_method: Option<AuthMethod>,
    /// What became of the proof.
    pub auth_result: Option<AuthResult>,
    /// More about the proof: token name, issuer and key id; never a secret.
    pub auth_detail: Option<String>,
    /// The pieces of a good proof.
    pub proof: Proof,
    /// Who they wanted to be, if the proof was refused.
    pub tried: Option<Tried>,
    /// Whether this proof was good from this source for the first time in an hour.
    pub session_begins: bool,
    /// The roles that the policy made of their groups.
    pub roles: Vec<String>,
    /// The module path asked for.
    pub module: Option<String>,
    /// The version or query asked for.
    pub version: Option<String>,
    /// list, latest, info, mod or zip; for other endpoints their word.
    pub artifact: Option<&'static str>,
    /// Whether the module lies under a private prefix.
    pub private: bool,
    /// The policy's word and its reason.
    pub decision: Option<(Decision, DecisionReason)>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The policy's revision.
    pub revision: Option<String>,
    /// How many policies had come into force before, and this one, since the start.
    pub generation: Option<u64>,
    /// The conditions of the rule that decided, by name.
    pub gates: Vec<String>,
    /// Whether the decision was remembered.
    pub decision_cached: bool,
    /// What a candidate policy would have said, if that differs.
    pub shadow: Option<Shadowed>,
    /// How the content was found.
    pub cache: Option<CacheResult>,
    /// In which tier.
    pub tier: Option<Tier>,
    /// The upstream that answered last.
    pub upstream: Option<String>,
    /// How many attempts were made.
    pub attempts: u32,
    /// What became of the last attempt.
    pub attempt: Option<Attempt>,
    /// The h1 sum that verification computed.
    pub h1: Option<String>,
    /// The SHA-256 of the body.
    pub sha256: Option<String>,
    /// What an operator came to the audit for.
    pub errand: Errand,
    /// What an operator asked for, and how much was found: named texts for the audit.
    pub asked: Vec<(&'static str, String)>,
    /// The class of the fault that ended the journey.
    pub fault: Option<Kind>,
    /// The fault and its causes, for the log; never sent.
    pub fault_text: Option<String>,
    /// Time of each stage, in the order they ended.
    pub stages: Vec<(Stage, Duration)>,
}

/// Who somebody wanted to be whose proof was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// A principal that there is.
    Known(String),
    /// What was typed as a name. It may be a password: nobody is shown it.
    Typed(String),
}

/// The word of a candidate policy, which decided nothing.
#[derive(Debug, Clone)]
pub struct Shadowed {
    /// Its word and its reason.
    pub decision: (Decision, DecisionReason),
    /// The rule that would have decided.
    pub rule: Option<String>,
    /// The candidate's revision.
    pub revision: String,
}

struct Inner {
    id: Uuid,
    trace: Trace,
    method: Method,
    path: String,
    peer: SocketAddr,
    transport: Transport,
    user_agent: Option<String>,
    received: SystemTime,
    started: Instant,
    clock: Arc<dyn Clock>,
    facts: Mutex<Facts>,
    passages: Mutex<Vec<Passage>>,
}

/// One request's record. Clones are the same record, so that a fill can note what it does for its leader.
#[derive(Clone)]
pub struct Record(Arc<Inner>);

impl fmt::Debug for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "record {} of trace {}", self.0.id, self.0.trace.trace_id())
    }
}

impl Record {
    pub(in crate::telemetry) fn open(head: &Head, trace: Trace, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            id: Uuid::now_v7(),
            trace,
            method: head.method,
            path: head.path.chars().take(PATH_LIMIT_CHARS).collect(),
            peer: head.peer.address,
            transport: head.peer.transport,
            user_agent: head.user_agent.clone(),
            received: head.received,
            started: clock.instant(),
            clock,
            facts: Mutex::new(Facts::default()),
            passages: Mutex::new(Vec::new()),
        }))
    }

    /// Times a stage that waits, gives it its span, and lets its outcome speak.
    pub async fn stage<T, E, F>(&self, stage: Stage, work: F) -> Result<T, E>
    where
        T: Observed,
        E: Fault + Observed + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let begun = self.0.clock.instant();
        let span = self.0.trace.span(stage);
        let outcome = work.instrument(span).await;
        self.ended(stage, begun, &outcome);
        outcome
    }

    /// Times a stage that does not wait, and lets its outcome speak.
    pub fn step<T, E>(&self, stage: Stage, work: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        T: Observed,
        E: Fault + Observed + 'static,
    {
        let begun = self.0.clock.instant();
        let span = self.0.trace.span(stage);
        let outcome = span.in_scope(work);
        self.ended(stage, begun, &outcome);
        outcome
    }

    fn ended<T: Observed, E: Fault + Observed + 'static>(
        &self,
        stage: Stage,
        begun: Instant,
        outcome: &Result<T, E>,
    ) {
        let took = self.0.clock.instant().saturating_duration_since(begun);
        self.passages().push(Passage {
            stage,
            begun: begun.saturating_duration_since(self.0.started),
            took,
        });
        let mut facts = self.lock();
        facts.stages.push((stage, took));
        match outcome {
            Ok(proof) => proof.note(&mut facts),
            Err(fault) => {
                fault.note(&mut facts);
                facts.fault = Some(fault.kind());
                facts.fault_text = Some(chain_text(fault));
            }
        }
    }

    /// Notes something a station has to say beyond its proof.
    pub fn note(&self, say: impl FnOnce(&mut Facts)) {
        say(&mut self.lock());
    }

    /// Notes an attempt at an upstream.
    pub fn attempt(&self, upstream: &str, attempt: Attempt) {
        let mut facts = self.lock();
        facts.upstream = Some(upstream.to_owned());
        facts.attempts += 1;
        facts.attempt = Some(attempt);
    }

    /// Whether this proof of identity was good for the first time in an hour.
    pub fn session_begins(&self) -> bool {
        self.lock().session_begins
    }

    /// What is known by now.
    pub fn facts(&self) -> Facts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passages(&self) -> MutexGuard<'_, Vec<Passage>> {
        self.0.passages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exports the request that just ended, though it was not sampled.
    pub(in crate::telemetry) fn export_late(
        &self,
        late: &Late,
        why: &'static str,
        closed: &Closed<'_>,
    ) {
        let passages = self.passages();
        let (received, took) = (self.received(), self.elapsed());
        late.export(self.trace(), closed, &Times { why, received, took, passages: &passages });
    }

    /// This request's trace, for an exemplar; none if the trace does not leave the process.
    pub fn sighting(&self) -> Option<Sighting> {
        let trace = self.trace().exported().then(|| self.trace().id())?;
        Some(Sighting { trace, at: self.0.clock.now() })
    }

    /// A time-ordered id, unique to this request.
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// Trace and span id, and the root span if the trace is exported.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// GET or HEAD.
    pub fn method(&self) -> Method {
        self.0.method
    }

    /// The path as received, cut at 512 characters.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The other end of the connection.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// `tls` or `plain`.
    pub fn transport(&self) -> &'static str {
        match self.0.transport {
            Transport::Tls => "tls",
            Transport::Plain => "plain",
        }
    }

    /// What the client calls itself.
    pub fn user_agent(&self) -> Option<&str> {
        self.0.user_agent.as_deref()
    }

    /// When the head was complete.
    pub fn received(&self) -> SystemTime {
        self.0.received
    }

    /// Time since then.
    pub fn elapsed(&self) -> Duration {
        self.0.clock.instant().saturating_duration_since(self.0.started)
    }

    /// The value of `Server-Timing`: each stage that ended, in milliseconds (W3C Server Timing).
    pub fn server_timing(&self) -> String {
        let facts = self.lock();
        let parts: Vec<Cow<'static, str>> = facts
            .stages
            .iter()
            .map(|(stage, took)| {
                format!("{};dur={:.3}", stage.word(), took.as_secs_f64() * 1e3).into()
            })
            .collect();
        parts.join(", ")
    }
}

/// Characters kept of a path that may be hostile.
const PATH_LIMIT_CHARS: usize = 512;
