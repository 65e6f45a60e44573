//! The end of a request: one account is made of its record, for audit, metrics, trace and log, so the four agree.

pub mod happened;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;

use crate::audit::Audit;
use crate::audit::Class;
use crate::audit::NotAccepting;
use crate::audit::Place;
use crate::audit::act::Act;
use crate::audit::event;
use crate::audit::event::Event;
use crate::audit::event::Phase;
use crate::audit::name::Name;
use crate::audit::name::Outcome as AuditOutcome;
use crate::clock::Clock;
use crate::clock::rfc3339_micros;
use crate::config::telemetry::AccessLog;
use crate::config::telemetry::LogFormat;
use crate::fault::Fault as _;
use crate::fault::Kind;
use crate::gateway::account::told::Account;
use crate::gateway::respond::Connection;
use crate::gateway::respond::Reply;
use crate::goproxy::artifact::Endpoint;
use crate::head::Method;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Answer;
use crate::telemetry::labels::Code;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::Outcome;
use crate::telemetry::labels::SecurityEvent;
use crate::telemetry::labels::service::Shed;
use crate::telemetry::log::Lines;
use crate::telemetry::product::Begun;
use crate::telemetry::record::Record;

/// What the transport refuses before there is a request. Each has its status and one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither GET nor HEAD.
    #[error("method not allowed: the module proxy protocol knows GET and HEAD")]
    Method,
    /// A body, or the announcement of one.
    #[error("bad request: a GET takes no body")]
    Body,
    /// A target over 8 KiB.
    #[error("the request target is longer than 8 KiB")]
    Target,
    /// An absolute target for another host than the `Host` field says.
    #[error("bad request: the target's authority is not that of the Host field")]
    Authority,
    /// No `Host` field, two of them, or one that is not text.
    #[error("bad request: exactly one Host field is needed")]
    Host,
    /// Over 64 fields or 32 KiB of them.
    #[error("more than 64 header fields, or more than 32 KiB of them")]
    Headers,
    /// Not HTTP, or framed in a way that two readers could read differently.
    #[error("bad request: the head is not HTTP")]
    Unparsable,
    /// The head was not complete in time.
    #[error("the request head was not complete in time")]
    Slow,
}

impl Refused {
    /// The status.
    pub const fn code(self) -> Code {
        match self {
            Self::Method => Code::MethodNotAllowed,
            Self::Body | Self::Authority | Self::Host | Self::Unparsable => Code::BadRequest,
            Self::Target => Code::UriTooLong,
            Self::Headers => Code::HeadersTooLarge,
            Self::Slow => Code::RequestTimeout,
        }
    }

    /// Whether the connection can be read on.
    pub const fn connection(self) -> Connection {
        match self {
            Self::Method | Self::Target | Self::Headers => Connection::Keep,
            Self::Body | Self::Authority | Self::Host | Self::Unparsable | Self::Slow => {
                Connection::Close
            }
        }
    }

    /// Whether it is the mark of somebody who wants two readers to read two things.
    const fn is_smuggling(self) -> bool {
        match self {
            Self::Body | Self::Authority | Self::Host | Self::Unparsable => true,
            Self::Method | Self::Target | Self::Headers | Self::Slow => false,
        }
    }
}

/// Where accounts go.
#[derive(Debug)]
pub struct Accounts {
    audit: Audit,
    lines: Lines,
    log: (AccessLog, LogFormat),
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
}

/// An answer that has its place in the audit. The server sends nothing else.
#[derive(Debug)]
pub struct Admitted {
    /// What is sent.
    pub reply: Reply,
    /// What closes the record.
    pub closer: Closer,
}

impl Accounts {
    /// Accounts over an audit and a log.
    pub fn new(
        audit: Audit,
        lines: Lines,
        log: (AccessLog, LogFormat),
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { audit, lines, log, telemetry, clock }
    }

    /// Accounts for a request even if its caller leaves before there is an answer: hold on to it until there is one.
    pub fn pending(self: &Arc<Self>, record: &Record) -> Pending {
        Pending { accounts: Arc::clone(self), record: record.clone(), state: State::Open }
    }

    /// Gives an answer its place in the audit; without a place it becomes 503, unless it is a refusal.
    pub async fn admit(self: &Arc<Self>, mut pending: Pending, reply: Reply) -> Admitted {
        let record = pending.record.clone();
        if record.session_begins() {
            let session = Account::before(&record, reply.code).session();
            self.audit.reserve_now(Class::Public).append(session);
        }
        let admitted = match class(&record, &reply) {
            Class::Refusal => {
                let event = Account::before(&record, reply.code).event(Phase::Refused);
                pending.state = State::Recorded;
                self.refused(event).await;
                Ok(None)
            }
            class @ (Class::Private | Class::Admin) => {
                self.decided(class, &record, &reply).await.map(Some)
            }
            Class::Public => {
                let place = self.audit.reserve(Class::Public).await;
                place.map(Some).map_err(|refused| (refused, None))
            }
        };
        let (place, reply) = match admitted {
            Ok(place) => (place, reply),
            Err((refused, place)) => {
                record.note(|facts| facts.fault = Some(refused.kind()));
                self.telemetry.metrics().http_shed.count((Shed::Audit,));
                let reply = Reply::fault(&refused, None, &record);
                (Some(place.unwrap_or_else(|| self.audit.reserve_now(Class::Public))), reply)
            }
        };
        pending.state = State::Answered;
        let length = match record.method() {
            Method::Get => reply.body.len().unwrap_or(0),
            Method::Head => 0,
        };
        let closer = Closer {
            open: Some(Open { accounts: Arc::clone(self), record, place }),
            code: reply.code,
            expected: length,
            sent: 0,
        };
        Admitted { reply, closer }
    }

    /// Records a refusal. It is refused in any case: what cannot be written is counted.
    async fn refused(&self, event: Event) {
        if event.name == Name::RequestRejected {
            // what follows a malformed head on its connection may end it: the answer must be ready before that is read
            return self.audit.reserve_now(Class::Refusal).append(event);
        }
        let _written = self.audit.record(Class::Refusal, event).await;
    }

    /// The body of a private module, or what an operator asked for, leaves only after the decision is written, and with
    /// a place for its end.
    async fn decided(
        &self,
        class: Class,
        record: &Record,
        reply: &Reply,
    ) -> Result<Place, (NotAccepting, Option<Place>)> {
        let event = Account::before(record, reply.code).event(Phase::Decided);
        // if it fails the decision may be written yet: the 503 that follows has its place, and says what was sent instead
        self.audit.decide(class, event).await
    }

    /// Records an administrative action. Never waits; without a place it is lost, and counted.
    pub fn administer(&self, act: Act) {
        self.audit.reserve_now(Class::Admin).append(act.event(rfc3339_micros(self.clock.now())));
    }

    /// Records an administrative action that must not happen unrecorded: ask before it takes effect.
    pub async fn administered(&self, act: Act) -> Result<(), NotAccepting> {
        self.audit.record(Class::Admin, act.event(rfc3339_micros(self.clock.now()))).await
    }

    /// Whether everything is answered just now, and if not, why.
    pub fn readiness(&self) -> Result<(), NotAccepting> {
        self.audit.readiness()
    }

    /// Records that wait to be written.
    pub fn waiting(&self) -> usize {
        self.audit.waiting()
    }

    /// Accounts for bytes that never became a request.
    pub fn rejected(&self, peer: SocketAddr, refused: Refused) {
        let metrics = self.telemetry.metrics();
        metrics.http_requests.count((Endpoint::Other, refused.code(), Outcome::Complete));
        if refused == Refused::Slow {
            metrics.http_shed.count((Shed::HeaderTimeout,));
        }
        if refused.is_smuggling() {
            metrics.security_events.count((SecurityEvent::Smuggling,));
        }
        let time = rfc3339_micros(self.clock.now());
        let id = uuid::Uuid::now_v7().to_string();
        self.log_rejection(&time, &id, peer, refused);
        let source = event::Source {
            ip: peer.ip().to_string(),
            port: peer.port(),
            transport: "tcp",
            ua: None,
        };
        self.audit.reserve_now(Class::Refusal).append(Event {
            source: Some(source),
            detail: vec![
                ("status", refused.code().text().to_owned()),
                ("why", refused.to_string()),
            ]
            .into(),
            ..Event::bare(time, Name::RequestRejected, id, AuditOutcome::Rejected)
        });
    }

    fn log_rejection(&self, time: &str, id: &str, peer: SocketAddr, refused: Refused) {
        let line = match self.log {
            (AccessLog::Off, _) => return,
            (AccessLog::All | AccessLog::Faults, LogFormat::Json) => json!({
                "timestamp": time, "level": "INFO", "log_type": "access", "record.id": id,
                "client.address": peer.ip().to_string(), "client.port": peer.port(),
                "http.response.status_code": refused.code().number(), "outcome": "rejected",
                "fault.text": refused.to_string(),
            })
            .to_string(),
            (AccessLog::All | AccessLog::Faults, LogFormat::Text) => {
                format!("{time} {} rejected from {peer}: {refused}", refused.code().text())
            }
        };
        self.lines.write(line);
    }
}

/// What kind of event an answer is.
fn class(record: &Record, reply: &Reply) -> Class {
    let facts = record.facts();
    let refused = facts.fault.is_some_and(|kind| match kind {
        Kind::Malformed | Kind::Unauthenticated | Kind::Denied | Kind::Throttled => true,
        Kind::NotFound
        | Kind::Gone
        | Kind::Unavailable
        | Kind::Upstream
        | Kind::Timeout
        | Kind::Integrity
        | Kind::Internal => false,
    });
    let ancestor = facts.decision.is_some_and(|(decision, _)| decision == Decision::Absent);
    if refused || ancestor {
        return Class::Refusal;
    }
    let has_body = matches!(reply.code, Code::Ok | Code::Partial) && record.method() == Method::Get;
    if facts.endpoint == Some(Endpoint::Admin) && has_body {
        return Class::Admin;
    }
    if facts.private && has_body { Class::Private } else { Class::Public }
}

/// A request that has no answer yet. If it is dropped without one, its caller has left, and it is accounted for as 499; or
/// a defect of ours ended it.
#[derive(Debug)]
pub struct Pending {
    accounts: Arc<Accounts>,
    record: Record,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is written of it.
    Open,
    /// It is refused, and that is written, or about to be.
    Recorded,
    /// There is an answer, which closes its own record.
    Answered,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.state == State::Answered {
            return;
        }
        let (code, outcome, kind, why) = if std::thread::panicking() {
            (Code::Internal, Outcome::BodyError, Some(Kind::Internal), "a defect ended the request")
        } else {
            let why = "the caller left before there was an answer";
            (Code::ClientClosed, Outcome::ClientClosed, None, why)
        };
        self.record.note(|facts| {
            facts.fault = kind.or(facts.fault);
            facts.fault_text = Some(why.to_owned());
        });
        let account = Account { outcome, ..Account::before(&self.record, code) };
        account.trace(&self.accounts.telemetry);
        account.measure(&self.accounts.telemetry);
        if self.state == State::Open {
            if self.record.session_begins() {
                self.accounts.audit.reserve_now(Class::Public).append(account.session());
            }
            self.accounts.audit.reserve_now(Class::Public).append(account.event(Phase::Done));
        }
        account.log(&self.accounts);
    }
}

#[derive(Debug)]
struct Open {
    accounts: Arc<Accounts>,
    record: Record,
    /// None if its record is written already.
    place: Option<Place>,
}

/// Closes a record exactly once: at the last byte, at an error, or when it is dropped because the caller hung up.
#[derive(Debug)]
pub struct Closer {
    open: Option<Open>,
    code: Code,
    expected: u64,
    sent: u64,
}

impl Closer {
    /// Notes bytes handed to the connection; the last of them closes the record.
    pub fn sent(&mut self, bytes: u64) {
        if self.sent == 0 {
            self.first_byte();
        }
        self.sent += bytes;
        if self.sent >= self.expected {
            self.close(Outcome::Complete);
        }
    }

    /// The body could not be read to its end.
    pub fn failed(&mut self, why: &std::io::Error) {
        if let Some(open) = &self.open {
            open.record.note(|facts| {
                facts.fault = Some(Kind::Internal);
                facts.fault_text = Some(format!("the body could not be read: {why}"));
            });
        }
        self.close(Outcome::BodyError);
    }

    fn first_byte(&self) {
        let Some(open) = &self.open else { return };
        let facts = open.record.facts();
        let labels = Begun(facts.endpoint.unwrap_or(Endpoint::Other), Answer::of(facts.cache));
        let seconds = open.record.elapsed().as_secs_f64();
        let metrics = open.accounts.telemetry.metrics();
        metrics.http_first_byte_seconds.observe_seen(labels, seconds, open.record.sighting());
    }

    fn close(&mut self, outcome: Outcome) {
        let Some(Open { accounts, record, place }) = self.open.take() else { return };
        let account = Account {
            facts: record.facts(),
            took: record.elapsed(),
            code: self.code,
            sent: self.sent,
            outcome,
            record,
        };
        // the trace first: what is exported after all is an exemplar too
        account.trace(&accounts.telemetry);
        account.measure(&accounts.telemetry);
        if let Some(place) = place {
            place.append(account.event(Phase::Done));
        }
        account.log(&accounts);
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        let outcome =
            if self.sent >= self.expected { Outcome::Complete } else { Outcome::ClientClosed };
        self.close(outcome);
    }
}
