//! The end of a request: one account is made of its record, for audit, metrics, trace and log, so the four agree.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::audit::Audit;
use crate::audit::Place;
use crate::audit::event;
use crate::audit::event::Event;
use crate::audit::event::plain;
use crate::clock::Clock;
use crate::clock::rfc3339_micros;
use crate::config::telemetry::AccessLog;
use crate::config::telemetry::LogFormat;
use crate::fault::Fault as _;
use crate::fault::Kind;
use crate::gateway::respond::Connection;
use crate::gateway::respond::Reply;
use crate::goproxy::artifact::Endpoint;
use crate::head::Method;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Code;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::Outcome;
use crate::telemetry::labels::SecurityEvent;
use crate::telemetry::log::Lines;
use crate::telemetry::record::Facts;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Stage;

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

    /// Gives an answer its place in the audit; without a place it becomes 503.
    pub async fn admit(self: &Arc<Self>, record: Record, reply: Reply) -> Admitted {
        let (place, reply) = match self.audit.reserve().await {
            Ok(place) => (place, reply),
            Err(refused) => {
                record.note(|facts| facts.fault = Some(refused.kind()));
                (self.audit.reserve_now(), Reply::fault(&refused, None, &record))
            }
        };
        let expected = match record.method() {
            Method::Get => reply.body.len().unwrap_or(0),
            Method::Head => 0,
        };
        let closer = Closer {
            open: Some(Open { accounts: Arc::clone(self), record, place }),
            code: reply.code,
            expected,
            sent: 0,
        };
        Admitted { reply, closer }
    }

    /// Whether answers are given at all just now.
    pub fn is_accepting(&self) -> bool {
        self.audit.is_accepting()
    }

    /// Accounts for bytes that never became a request.
    pub fn rejected(&self, peer: SocketAddr, refused: Refused) {
        let metrics = self.telemetry.metrics();
        metrics.http_requests.count((Endpoint::Other, refused.code(), Outcome::Complete));
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
        self.audit.reserve_now().append(Event {
            source: Some(source),
            detail: Some(format!("{} {refused}", refused.code().text())),
            ..Event::bare(time, "request.rejected", id, "rejected")
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

#[derive(Debug)]
struct Open {
    accounts: Arc<Accounts>,
    record: Record,
    place: Place,
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
        let endpoint = open.record.facts().endpoint.unwrap_or(Endpoint::Other);
        let seconds = open.record.elapsed().as_secs_f64();
        open.accounts.telemetry.metrics().http_first_byte_seconds.observe((endpoint,), seconds);
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
        account.measure(&accounts.telemetry);
        account.trace();
        place.append(account.event());
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

/// A closed record: everything there is to say.
struct Account {
    record: Record,
    facts: Facts,
    took: Duration,
    code: Code,
    sent: u64,
    outcome: Outcome,
}

impl Account {
    fn endpoint(&self) -> Endpoint {
        self.facts.endpoint.unwrap_or(Endpoint::Other)
    }

    fn measure(&self, telemetry: &Telemetry) {
        let (metrics, endpoint) = (telemetry.metrics(), self.endpoint());
        metrics.http_in_flight.add((), -1.0);
        metrics.http_requests.count((endpoint, self.code, self.outcome));
        let seconds = self.took.as_secs_f64();
        metrics.http_request_seconds.observe((endpoint, self.code.class()), seconds);
        #[expect(clippy::cast_precision_loss, reason = "a histogram takes floats")]
        metrics.http_response_bytes.observe((endpoint,), self.sent as f64);
        if let Some((decision, reason)) = self.facts.decision {
            metrics.authz_decisions.count((decision, reason));
            let decided = self.facts.stages.iter().find(|(stage, _)| *stage == Stage::Authorize);
            if let Some((_, took)) = decided {
                metrics.authz_seconds.observe((), took.as_secs_f64());
            }
        }
    }

    fn trace(&self) {
        let root = self.record.trace().root();
        if root.is_none() {
            return;
        }
        let facts = &self.facts;
        let pairs = [
            ("http.response.status_code", Some(self.code.text().to_owned())),
            ("http.route", Some(self.endpoint().word().to_owned())),
            ("enduser.id", facts.principal.clone()),
            ("module.path", facts.module.clone()),
            ("module.version", facts.version.clone()),
            ("policy.rule", facts.rule.clone()),
            ("upstream.name", facts.upstream.clone()),
            ("cache.result", facts.cache.map(|found| found.text().to_owned())),
            ("error.type", facts.fault.map(|kind| kind.word().to_owned())),
            ("record.id", Some(self.record.id().to_string())),
        ];
        self.record.trace().describe(&pairs);
    }

    /// The stable name of what happened.
    fn name(&self) -> &'static str {
        match (self.facts.decision, self.facts.fault) {
            (Some((Decision::Deny | Decision::Error, _)), _) => "authz.deny",
            (Some((Decision::Absent, _)), _) => "authz.ancestor",
            (_, Some(Kind::Malformed)) => "request.rejected",
            (_, Some(Kind::Unauthenticated)) => "auth.failure",
            _ => match self.endpoint() {
                Endpoint::List => "module.list",
                Endpoint::Info => "module.info",
                Endpoint::Mod => "module.mod",
                Endpoint::Zip => "module.zip",
                Endpoint::Latest => "module.latest",
                Endpoint::SumdbSupported
                | Endpoint::SumdbLatest
                | Endpoint::SumdbLookup
                | Endpoint::SumdbTile => "sumdb.read",
                Endpoint::Own | Endpoint::Root => "gateway.read",
                Endpoint::Other => "request.other",
            },
        }
    }

    fn outcome(&self) -> &'static str {
        if let Some((Decision::Absent, _)) = self.facts.decision {
            return "ancestor";
        }
        match self.facts.fault {
            None if self.outcome == Outcome::BodyError => "failed",
            None => "allowed",
            Some(Kind::Malformed) => "rejected",
            Some(Kind::Unauthenticated) => "unauthenticated",
            Some(Kind::Denied) => "denied",
            Some(Kind::NotFound | Kind::Gone) => "not_found",
            Some(Kind::Throttled) => "throttled",
            Some(
                Kind::Unavailable
                | Kind::Upstream
                | Kind::Timeout
                | Kind::Integrity
                | Kind::Internal,
            ) => "failed",
        }
    }

    fn event(&self) -> Event {
        let (record, facts) = (&self.record, &self.facts);
        let time = rfc3339_micros(record.received());
        let peer = record.peer();
        let path = facts.module.is_none().then(|| record.path().to_owned());
        Event {
            actor: self.actor(),
            source: Some(event::Source {
                ip: peer.ip().to_string(),
                port: peer.port(),
                transport: record.transport(),
                ua: record.user_agent().map(plain),
            }),
            resource: Some(event::Resource {
                module: facts.module.clone(),
                version: facts.version.as_deref().map(plain),
                artifact: facts.artifact,
                path,
                private: facts.private,
            }),
            decision: facts.decision.map(|(effect, reason)| event::Decision {
                effect: effect.text(),
                reason: reason.text(),
                rule: facts.rule.clone(),
                policy: facts.revision.clone(),
                cached: facts.decision_cached,
            }),
            http: Some(event::Http {
                method: record.method().word(),
                status: self.code.number(),
                bytes_out: self.sent,
                complete: self.outcome == Outcome::Complete,
                ms: (self.took.as_secs_f64() * 1e6).round() / 1e3,
                trace_id: record.trace().trace_id(),
            }),
            cache: facts.cache.map(|found| event::Cache {
                result: found.text(),
                tier: facts.tier.map(crate::telemetry::labels::Tier::text),
                sha256: facts.sha256.clone(),
                h1: facts.h1.clone(),
            }),
            upstream: self.upstream(),
            fault: facts.fault.map(Kind::word),
            ..Event::bare(time, self.name(), record.id().to_string(), self.outcome())
        }
    }

    fn actor(&self) -> Option<event::Actor> {
        let facts = &self.facts;
        Some(event::Actor {
            id: facts.principal.clone(),
            auth: facts.auth_method?.text(),
            result: facts.auth_result?.text(),
            groups: facts.groups.iter().take(event::GROUPS).cloned().collect(),
            detail: facts.auth_detail.as_deref().map(plain),
        })
    }

    fn upstream(&self) -> Option<event::Upstream> {
        let facts = &self.facts;
        let (name, result) = (facts.upstream.clone()?, facts.attempt?.text());
        Some(event::Upstream { name, attempts: facts.attempts, result })
    }

    /// One canonical line; a fault is logged here and nowhere else.
    fn log(&self, accounts: &Accounts) {
        let level = match (self.facts.fault, self.code.number()) {
            (Some(Kind::Internal | Kind::Integrity), _) => "ERROR",
            (_, 500..) => "WARN",
            _ => "INFO",
        };
        let line = match accounts.log {
            (AccessLog::Off, _) => return,
            (AccessLog::Faults, _) if level == "INFO" => return,
            (AccessLog::All | AccessLog::Faults, LogFormat::Json) => self.json(level),
            (AccessLog::All | AccessLog::Faults, LogFormat::Text) => self.line(level),
        };
        accounts.lines.write(line);
    }

    fn json(&self, level: &str) -> String {
        let (record, facts) = (&self.record, &self.facts);
        let stages: serde_json::Map<String, serde_json::Value> = facts
            .stages
            .iter()
            .map(|(stage, took)| {
                let ms = (took.as_secs_f64() * 1e6).round() / 1e3;
                (stage.word().to_owned(), json!(ms))
            })
            .collect();
        let mut line = json!({
            "timestamp": rfc3339_micros(record.received()), "level": level, "log_type": "access",
            "record.id": record.id().to_string(), "trace_id": record.trace().trace_id(),
            "client.address": record.peer().ip().to_string(),
            "http.request.method": record.method().word(), "url.path": plain(record.path()),
            "http.route": self.endpoint().word(),
            "http.response.status_code": self.code.number(), "http.response.body.size": self.sent,
            "outcome": self.outcome.text(), "duration_ms": (self.took.as_secs_f64() * 1e6).round() / 1e3,
            "enduser.id": facts.principal, "auth.method": facts.auth_method.map(|m| m.text()),
            "auth.result": facts.auth_result.map(|r| r.text()),
            "module.path": facts.module, "module.version": facts.version.as_deref().map(plain),
            "policy.decision": facts.decision.map(|(word, _)| word.text()),
            "policy.reason": facts.decision.map(|(_, reason)| reason.text()),
            "policy.rule": facts.rule, "cache.result": facts.cache.map(|found| found.text()),
            "cache.tier": facts.tier.map(|tier| tier.text()),
            "upstream.name": facts.upstream, "upstream.result": facts.attempt.map(|word| word.text()),
            "fault.kind": facts.fault.map(Kind::word), "fault.text": facts.fault_text.as_deref().map(plain),
            "stages_ms": stages,
        });
        if let Some(members) = line.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        line.to_string()
    }

    fn line(&self, level: &str) -> String {
        let (record, facts) = (&self.record, &self.facts);
        let found = facts.cache.map_or("-", |found| found.text());
        let mut line = format!(
            "{} {level:5} {} {} {} {} {}B {:.1}ms {}",
            rfc3339_micros(record.received()),
            self.code.text(),
            record.method().word(),
            plain(record.path()),
            facts.principal.as_deref().unwrap_or("-"),
            self.sent,
            self.took.as_secs_f64() * 1e3,
            found,
        );
        if self.outcome != Outcome::Complete {
            line.push(' ');
            line.push_str(self.outcome.text());
        }
        if let Some(text) = &facts.fault_text {
            line.push_str(" | ");
            line.push_str(&plain(text));
        }
        line
    }
}
