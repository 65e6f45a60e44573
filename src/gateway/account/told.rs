//! One closed record, told four ways: metrics, the trace's root span, the audit event, the access line.

use std::time::Duration;
use std::time::SystemTime;

use serde_json::json;

use crate::audit::encode::cut;
use crate::audit::encode::plain;
use crate::audit::event;
use crate::audit::event::Event;
use crate::audit::event::Phase;
use crate::audit::event::Spoken;
use crate::audit::name::Name;
use crate::audit::name::Outcome as AuditOutcome;
use crate::clock::rfc3339_micros;
use crate::config::telemetry::AccessLog;
use crate::config::telemetry::LogFormat;
use crate::fault::Kind;
use crate::gateway::account::Accounts;
use crate::goproxy::artifact::Endpoint;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Answer;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::labels::Code;
use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label;
use crate::telemetry::labels::Outcome;
use crate::telemetry::labels::policy::Memory;
use crate::telemetry::product::Served;
use crate::telemetry::record::Errand;
use crate::telemetry::record::Facts;
use crate::telemetry::record::Proof;
use crate::telemetry::record::Record;
use crate::telemetry::record::Tried;
use crate::telemetry::trace::Closed;
use crate::telemetry::trace::Stage;

/// A closed record: everything there is to say.
pub(in crate::gateway::account) struct Account {
    pub(in crate::gateway::account) record: Record,
    pub(in crate::gateway::account) facts: Facts,
    pub(in crate::gateway::account) took: Duration,
    pub(in crate::gateway::account) code: Code,
    pub(in crate::gateway::account) sent: u64,
    pub(in crate::gateway::account) outcome: Outcome,
}

impl Account {
    /// What there is to say before the first byte is sent.
    pub(in crate::gateway::account) fn before(record: &Record, code: Code) -> Self {
        Self {
            facts: record.facts(),
            took: record.elapsed(),
            code,
            sent: 0,
            outcome: Outcome::Complete,
            record: record.clone(),
        }
    }

    fn endpoint(&self) -> Endpoint {
        self.facts.endpoint.unwrap_or(Endpoint::Other)
    }

    pub(in crate::gateway::account) fn measure(&self, telemetry: &Telemetry) {
        let (metrics, endpoint) = (telemetry.metrics(), self.endpoint());
        metrics.http_in_flight.add((), -1.0);
        metrics.http_requests.count((endpoint, self.code, self.outcome));
        let seconds = self.took.as_secs_f64();
        let served = Served(endpoint, self.code.class(), Answer::of(self.facts.cache));
        metrics.http_request_seconds.observe_seen(served, seconds, self.record.sighting());
        #[expect(clippy::cast_precision_loss, reason = "a histogram takes floats")]
        metrics.http_response_bytes.observe((endpoint,), self.sent as f64);
        if let Some((decision, reason)) = self.facts.decision {
            metrics.authz_decisions.count((decision, reason));
            let found = if self.facts.decision_cached { Memory::Hit } else { Memory::Miss };
            metrics.authz_cache.count((found,));
            if let Some(shadow) = &self.facts.shadow {
                metrics.policy_shadow_diffs.count((decision.into(), shadow.decision.0.into()));
            }
            if let Some(took) = self.decided_in() {
                metrics.authz_seconds.observe((), took.as_secs_f64());
            }
        }
    }

    pub(in crate::gateway::account) fn trace(&self, telemetry: &Telemetry) {
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
            ("upstream.result", facts.attempt.map(|kind| kind.text().to_owned())),
            ("outcome", Some(self.outcome.text().to_owned())),
            ("error.type", facts.fault.map(|kind| kind.word().to_owned())),
            ("record.id", Some(self.record.id().to_string())),
        ];
        telemetry.ended(
            &self.record,
            &Closed {
                name: &format!("{} {}", self.record.method().word(), self.endpoint().word()),
                failed: self.code.number() >= 500 || self.outcome == Outcome::BodyError,
                attributes: &pairs,
            },
        );
    }

    /// How long the policy took.
    fn decided_in(&self) -> Option<Duration> {
        let decided = self.facts.stages.iter().find(|(stage, _)| *stage == Stage::Authorize);
        decided.map(|(_, took)| *took)
    }

    /// The stable name of what happened.
    fn name(&self) -> Name {
        let recognised = self.facts.auth_result == Some(AuthResult::Success);
        if self.endpoint() == Endpoint::Admin && recognised {
            // whatever came of it: who tries to read the audit is found by one name
            return match self.facts.errand {
                Errand::Query => Name::AuditRead,
                Errand::Export => Name::AuditExport,
            };
        }
        match (self.facts.decision, self.facts.fault) {
            (Some((Decision::Deny | Decision::Error, _)), _) => return Name::AuthzDeny,
            (Some((Decision::Absent, _)), _) => return Name::AuthzAncestor,
            (_, Some(Kind::Malformed)) => return Name::RequestRejected,
            (_, Some(Kind::Unauthenticated)) => return self.unrecognised(),
            (None, Some(Kind::Throttled)) => return Name::AuthThrottled,
            (None, _) if self.facts.auth_result == Some(AuthResult::BackendUnavailable) => {
                return Name::AuthUnavailable;
            }
            (_, Some(Kind::Integrity)) => return Name::IntegrityFailed,
            _ => {}
        }
        match self.endpoint() {
            Endpoint::List => Name::ModuleList,
            Endpoint::Info => Name::ModuleInfo,
            Endpoint::Mod => Name::ModuleMod,
            Endpoint::Zip => Name::ModuleZip,
            Endpoint::Latest => Name::ModuleLatest,
            Endpoint::SumdbLookup => Name::SumdbLookup,
            Endpoint::SumdbTile => Name::SumdbTile,
            Endpoint::SumdbSupported | Endpoint::SumdbLatest => Name::SumdbHead,
            Endpoint::Own | Endpoint::Root => Name::GatewayRead,
            Endpoint::Admin => Name::AuditRead,
            Endpoint::Other => Name::RequestOther,
        }
    }

    /// A client's first request carries no credentials: that is no failed login.
    fn unrecognised(&self) -> Name {
        match self.facts.auth_result {
            None | Some(AuthResult::Missing) => Name::AuthChallenge,
            Some(_) => Name::AuthFailure,
        }
    }

    fn outcome(&self) -> AuditOutcome {
        if let Some((Decision::Absent, _)) = self.facts.decision {
            return AuditOutcome::Ancestor;
        }
        match self.facts.fault {
            // nothing was given, whatever might have been
            None if self.code == Code::ClientClosed => AuditOutcome::Failed,
            None if self.outcome == Outcome::BodyError => AuditOutcome::Failed,
            None => AuditOutcome::Allowed,
            Some(Kind::Malformed) => AuditOutcome::Rejected,
            Some(Kind::Unauthenticated) => AuditOutcome::Unauthenticated,
            Some(Kind::Denied) => AuditOutcome::Denied,
            Some(Kind::NotFound | Kind::Gone) => AuditOutcome::NotFound,
            Some(Kind::Throttled) => AuditOutcome::Throttled,
            Some(
                Kind::Unavailable
                | Kind::Upstream
                | Kind::Timeout
                | Kind::Integrity
                | Kind::Internal,
            ) => AuditOutcome::Failed,
        }
    }

    pub(in crate::gateway::account) fn event(&self, phase: Phase) -> Event {
        let (record, facts) = (&self.record, &self.facts);
        let time = rfc3339_micros(record.received());
        Event {
            phase,
            actor: self.actor(),
            source: Some(self.source()),
            resource: Some(self.resource()),
            decision: facts.decision.map(|(effect, reason)| event::Decision {
                effect: effect.text(),
                reason: reason.text(),
                rule: facts.rule.clone(),
                policy: facts.revision.clone(),
                generation: facts.generation,
                cached: facts.decision_cached,
                gates: facts.gates.clone(),
                us: self.decided_in().map(|took| took.as_micros().try_into().unwrap_or(u64::MAX)),
                shadow: facts.shadow.as_ref().map(|shadow| event::Shadow {
                    effect: shadow.decision.0.text(),
                    reason: shadow.decision.1.text(),
                    rule: shadow.rule.clone(),
                    policy: shadow.revision.clone(),
                }),
            }),
            http: Some(self.http(phase)),
            cache: facts.cache.map(|found| event::Cache {
                result: found.text(),
                tier: facts.tier.map(crate::telemetry::labels::Tier::text),
                sha256: facts.sha256.clone(),
                h1: facts.h1.clone(),
            }),
            upstream: self.upstream(),
            fault: facts.fault.map(Kind::word),
            detail: facts.asked.clone().into(),
            ..Event::bare(time, self.name(), record.id().to_string(), self.outcome())
        }
    }

    fn source(&self) -> event::Source {
        let peer = self.record.peer();
        event::Source {
            ip: peer.ip().to_string(),
            port: peer.port(),
            transport: self.record.transport(),
            ua: self.record.user_agent().map(|agent| cut(agent, AGENT_BYTES)),
        }
    }

    fn resource(&self) -> event::Resource {
        let facts = &self.facts;
        event::Resource {
            module: facts.module.clone(),
            version: facts.version.clone(),
            artifact: facts.artifact,
            path: facts.module.is_none().then(|| cut(self.record.path(), PATH_BYTES)),
            private: facts.private,
        }
    }

    fn http(&self, phase: Phase) -> event::Http {
        let is_done = phase == Phase::Done;
        event::Http {
            method: self.record.method().word(),
            status: self.code.number(),
            bytes_out: is_done.then_some(self.sent),
            complete: is_done.then_some(self.outcome == Outcome::Complete),
            ms: (self.took.as_secs_f64() * 1e6).round() / 1e3,
            trace_id: self.record.trace().trace_id(),
        }
    }

    fn actor(&self) -> Option<event::Actor> {
        let (record, facts) = (&self.record, &self.facts);
        let method = facts.auth_method?;
        let (tried, name) = spoken(facts.tried.clone());
        Some(event::Actor {
            id: facts.principal.clone().or(tried),
            kind: kind(method),
            groups: facts.groups.clone(),
            roles: facts.roles.clone(),
            auth_age_s: facts
                .proof
                .since
                .map(|since| seconds(record.received()).saturating_sub(since)),
            stale: facts.proof.stale,
            token: token(&facts.proof),
            cert: facts.proof.certificate.clone().map(|(sha256, san)| event::Cert { san, sha256 }),
            detail: facts.auth_detail.clone(),
            name,
            ..event::Actor::of(method.text(), facts.auth_result?.text())
        })
    }

    /// The record of a proof that was good, once for the requests it is good for; joined to the first of them by its id.
    pub(in crate::gateway::account) fn session(&self) -> Event {
        let (record, name) = (&self.record, Name::AuthSuccess);
        let time = rfc3339_micros(record.received());
        Event {
            actor: self.actor(),
            source: Some(self.source()),
            ..Event::bare(time, name, record.id().to_string(), AuditOutcome::Allowed)
        }
    }

    fn upstream(&self) -> Option<event::Upstream> {
        let facts = &self.facts;
        let (name, result) = (facts.upstream.clone()?, facts.attempt?.text());
        Some(event::Upstream { name, attempts: facts.attempts, result })
    }

    /// One canonical line; a fault is logged here and nowhere else.
    pub(in crate::gateway::account) fn log(&self, accounts: &Accounts) {
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
            "enduser.id": facts.principal, "auth.method": facts.auth_method.map(Label::text),
            "auth.result": facts.auth_result.map(Label::text),
            "module.path": facts.module, "module.version": facts.version.as_deref().map(plain),
            "policy.decision": facts.decision.map(|(word, _)| word.text()),
            "policy.reason": facts.decision.map(|(_, reason)| reason.text()),
            "policy.rule": facts.rule, "cache.result": facts.cache.map(Label::text),
            "cache.tier": facts.tier.map(Label::text),
            "upstream.name": facts.upstream, "upstream.result": facts.attempt.map(Label::text),
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

/// Whose name it is that somebody tried.
pub(in crate::gateway::account) fn spoken(tried: Option<Tried>) -> (Option<String>, Spoken) {
    match tried {
        None => (None, Spoken::Known),
        Some(Tried::Known(principal)) => (Some(principal), Spoken::Known),
        Some(Tried::Typed(typed)) => (Some(typed), Spoken::Typed),
    }
}

/// Of a token what tells it apart, if it says anything of itself.
fn token(proof: &Proof) -> Option<event::Token> {
    let (iss, kid, jti) = (proof.issuer.clone(), proof.key.clone(), proof.token.clone());
    let says = iss.is_some() || kid.is_some() || jti.is_some();
    says.then_some(event::Token { iss, kid, jti })
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What kind of proof stands behind a caller.
const fn kind(method: AuthMethod) -> Option<&'static str> {
    match method {
        AuthMethod::Ldap => Some("person"),
        AuthMethod::Mtls => Some("workload"),
        // whoever holds it: a person, or a job
        AuthMethod::Token | AuthMethod::Jwt => Some("bearer"),
        AuthMethod::Anonymous => Some("anonymous"),
        AuthMethod::Unknown => None,
    }
}

/// What a client calls itself is for people.
const AGENT_BYTES: usize = 256;
/// A path that is no module's may be hostile.
const PATH_BYTES: usize = 512;
