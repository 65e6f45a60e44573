//! # The journey of a request
//!
//! **Question.** What happens to a request, in which order, and why in this one?
//!
//! [`Gateway::journey`] is the whole answer; each stage hands on a proof that the next one demands by type.
//!
//! * **Identify before parse.** A caller nobody knows learns nothing, not even that a path is malformed: 401, not 400.
//! * **Authorize before the cache.** A hit must be permitted as much as a miss, for HEAD, ranges and lists as well.
//!   Only the fetcher holds a cache, and it demands a permit.
//! * **A denial is 403, never 404.** The `go` command goes on to its next proxy on 404 and 410 only; a 404 for "you
//!   may not" would hand it the name of a private module. One exception looks alike and is none: a path above
//!   something the caller may read is answered without asking anybody (see [`crate::policy`]).
//! * **A permit is good under its policy only.** If another came into force during a long fill, it decides again: an
//!   emergency deny holds for answers that have not begun.
//! * **Nothing is sent before it is verified.** A cold zip is spooled, checked, stored, then sent.
//! * **The answer is judged too.** A list loses the versions this caller may not have; a branch or commit is authorized
//!   again as a download of the version it turned out to be.
//! * **A fill outlives its first caller.** It is a task of its own, and everybody who asks meanwhile waits for it.
//! * **A fault is never a 404**, and nobody hears more of it than its [`Kind`] and a sentence.
//! * **Every answer has a place in the audit before it begins**, and is accounted once, when it has ended. The body of a
//!   private module leaves only after the record of its decision is written, unless `[audit]` says otherwise. Who leaves before there is an answer is
//!   accounted for as well: an upstream may have been asked for them.
//!
//! **How it fails.** See [`respond`] for the only table from kinds to statuses.

pub mod account;
pub mod fetch;
pub mod fill;
mod narrow;
pub mod operate;
pub mod own;
pub mod reload;
pub mod respond;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::audit::NotAccepting;
use crate::audit::desk::Desk;
use crate::audit::desk::Unanswered;
use crate::cache::Absence;
use crate::cache::AbsentStatus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::fault::Kind;
use crate::gateway::account::Accounts;
use crate::gateway::account::Admitted;
use crate::gateway::account::Refused;
use crate::gateway::fetch::Fetcher;
use crate::gateway::own::Own;
use crate::gateway::respond::Reply;
use crate::goproxy::path::PathError;
use crate::goproxy::request::Request;
use crate::goproxy::request::RequestError;
use crate::goproxy::request::Routes;
use crate::head::Head;
use crate::identity::Identity;
use crate::identity::IdentityError;
use crate::identity::caller::Caller;
use crate::policy::Policy;
use crate::policy::decision::Permit;
use crate::policy::decision::Refusal;
use crate::policy::gates::Circumstances;
use crate::policy::reload::Rejected;
use crate::sumdb::Verified;
use crate::sumdb::verifier::VerifyError;
use crate::tasks::TaskGone;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::SecurityEvent;
use crate::telemetry::labels::policy::RowKind;
use crate::telemetry::labels::service::Check;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Facts;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Stage;
use crate::upstream::UpstreamError;

/// What ended a journey early. Cloned to everybody who waited for the same fill.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nobody was recognised.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It is no request of the protocol.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A query where none belongs.
    #[error("a query string on a module path")]
    Query,
    /// The request passed through this very gateway before.
    #[error("the request has been here before: an upstream leads back to this gateway")]
    Loop,
    /// The policy refuses.
    #[error(transparent)]
    Policy(Arc<Refusal>),
    /// A lookup that would tell a public database a private name.
    #[error("a checksum lookup of a private module")]
    PrivateLookup,
    /// There is none, and we remember it.
    #[error("remembered: no upstream has it")]
    Absent(Absence),
    /// Only the tiers were to be asked, and they have none.
    #[error("no tier has it, and nobody else was to be asked")]
    NotHeld,
    /// The gateway is offline, and no tier has it.
    #[error("offline, and no tier has it")]
    Offline,
    /// No upstream gave content.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// What came is not what it should be.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The fill died.
    #[error(transparent)]
    Task(#[from] TaskGone),
    /// The audit was asked in a way it does not answer.
    #[error(transparent)]
    Audit(#[from] Unanswered),
    /// One of our own pages was asked in a way it does not understand.
    #[error("{0}")]
    Page(&'static str),
    /// A stage was reached that this request has no business with.
    #[error("defect: {0}")]
    Defect(&'static str),
}

impl Error {
    fn inner(&self) -> Option<&(dyn Fault + 'static)> {
        match self {
            Self::Identity(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Policy(error) => Some(error.as_ref()),
            Self::Upstream(error) => Some(error),
            Self::Verify(error) => Some(error),
            Self::Task(error) => Some(error),
            Self::Audit(error) => Some(error),
            Self::Query
            | Self::Page(_)
            | Self::Loop
            | Self::PrivateLookup
            | Self::Absent(_)
            | Self::NotHeld
            | Self::Offline
            | Self::Defect(_) => None,
        }
    }

    /// Whether upstreams have said that there is none.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Absent(_) | Self::Upstream(UpstreamError::Absent { .. }))
    }

    /// An absence's own text, which is passed on unchanged.
    fn passed_on(&self) -> Option<Arc<str>> {
        match self {
            Self::Absent(absence) => absence.text.clone(),
            Self::Upstream(UpstreamError::Absent { text, .. }) => text.clone(),
            _ => None,
        }
    }
}

impl Fault for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Query | Self::Page(_) => Kind::Malformed,
            Self::PrivateLookup => Kind::Denied,
            Self::Loop => Kind::Upstream,
            Self::Offline => Kind::Unavailable,
            Self::Absent(Absence { status: AbsentStatus::Gone, .. }) => Kind::Gone,
            Self::Absent(_) | Self::NotHeld => Kind::NotFound,
            other => other.inner().map_or(Kind::Internal, Fault::kind),
        }
    }

    fn public(&self) -> Cow<'static, str> {
        match self {
            Self::Query => "bad request: a module path takes no query".into(),
            Self::Page(why) => format!("bad request: {why}").into(),
            Self::Loop => "the request has been here before: GOPROXY leads in a circle".into(),
            Self::PrivateLookup => concat!(
                "names of private modules are not sent to a checksum database:\n",
                "set GONOSUMDB to their prefixes (curl HOST/-/env prints it)"
            )
            .into(),
            Self::Offline => concat!(
                "the gateway is offline (offline = true) and does not hold this:\n",
                "its operators can add it with modgate cache import"
            )
            .into(),
            Self::NotHeld => "not found: temporarily unavailable".into(),
            other => other.inner().map_or_else(|| other.kind().sentence().into(), Fault::public),
        }
    }

    fn retryable(&self) -> bool {
        self.inner().is_some_and(Fault::retryable)
    }
}

impl Observed for Error {
    fn note(&self, facts: &mut Facts) {
        match self {
            Self::Identity(error) => error.note(facts),
            Self::Policy(refusal) => refusal.note(facts),
            Self::Audit(error) => error.note(facts),
            _ => {}
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Policy(Arc::new(refusal))
    }
}

/// The stations a request passes, arranged.
#[derive(Debug)]
pub struct Gateway {
    identity: Identity,
    routes: Routes,
    policy: Arc<Policy>,
    fetcher: Fetcher,
    own: Own,
    desk: Arc<Desk>,
    accounts: Arc<Accounts>,
    telemetry: Arc<Telemetry>,
    via: String,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    /// What was wrong with the policy's files when they were looked at last, while an older policy is in force.
    behind: ArcSwapOption<Rejected>,
    /// The digest of the policy in force, for whoever wants to hear of a new one.
    revision: watch::Sender<Arc<str>>,
}

/// What a gateway is made of.
#[derive(Debug)]
pub struct Parts {
    /// Who is calling?
    pub identity: Identity,
    /// What the parser must know of the configuration.
    pub routes: Routes,
    /// May they?
    pub policy: Arc<Policy>,
    /// Tiers, then a fill.
    pub fetcher: Fetcher,
    /// The gateway's own pages.
    pub own: Own,
    /// Where operators ask the audit.
    pub desk: Arc<Desk>,
    /// What happened.
    pub accounts: Arc<Accounts>,
    /// The handle of metrics and records.
    pub telemetry: Arc<Telemetry>,
    /// Our mark in `Via`.
    pub via: String,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where blocking work goes.
    pub tasks: Tasks,
}

impl Gateway {
    /// A gateway from its stations.
    pub fn new(parts: Parts) -> Self {
        let Parts { identity, routes, policy, fetcher, own, accounts, .. } = parts;
        let Parts { desk, telemetry, via, clock, tasks, .. } = parts;
        let behind = ArcSwapOption::empty();
        let revision = watch::Sender::new(policy.revision());
        Self {
            identity,
            routes,
            policy,
            fetcher,
            own,
            desk,
            accounts,
            telemetry,
            via,
            clock,
            tasks,
            behind,
            revision,
        }
    }

    /// Answers one request, whatever happens, and accounts for it.
    ///
    /// Cancel safety: dropped, because the caller left, it has accounted for that.
    pub async fn serve(&self, head: &Head) -> Admitted {
        let record = self.telemetry.begin(head);
        let pending = self.accounts.pending(&record);
        let reply = match self.journey(head, &record).await {
            Ok(reply) => reply,
            Err(fault) => Reply::fault(&fault, fault.passed_on().as_deref(), &record),
        };
        self.accounts.admit(pending, reply).await
    }

    async fn journey(&self, head: &Head, record: &Record) -> Result<Reply, Error> {
        let caller = record.stage(Stage::Identify, self.recognise(head, record)).await?;
        let request = record.step(Stage::Parse, || self.parse(head))?;
        let permit = record.step(Stage::Authorize, || self.authorize(caller, request, head))?;
        if let Some(page) = self.own.page(&permit, head, &self.policy)? {
            return Ok(Reply::page(page, record));
        }
        let content = match record.stage(Stage::Fetch, self.fetcher.fetch(&permit, record)).await {
            Ok(content) => content,
            Err(none) if none.is_absence() => {
                let permit = self.still(permit, record)?;
                return Ok(Reply::absence(&permit, &none, record));
            }
            Err(fault) => return Err(fault),
        };
        let permit = self.still(permit, record)?;
        let (permit, content) = self.narrow(permit, content, record).await?;
        Ok(Reply::content(&permit, &content, &head.conditions, record))
    }

    /// What the answer reveals is judged too: versions of a list, the version a branch turned out to be. To hide some of it
    /// others are fetched, which may take long as well: if the policy changed meanwhile, it begins again.
    async fn narrow(
        &self,
        mut permit: Permit,
        content: Verified,
        record: &Record,
    ) -> Result<(Permit, Verified), Error> {
        loop {
            let narrowed = self.fetcher.narrow(&permit, content.clone(), record);
            let narrowed = record.stage(Stage::Narrow, narrowed).await?;
            if self.policy.holds(&permit) {
                return Ok((permit, narrowed));
            }
            permit = self.still(permit, record)?;
        }
    }

    async fn recognise(&self, head: &Head, record: &Record) -> Result<Arc<Caller>, Error> {
        let caller = self.identity.identify(head).await?;
        if self.identity.begins(&caller, head) {
            record.note(|facts| facts.session_begins = true);
        }
        Ok(caller)
    }

    fn authorize(
        &self,
        caller: Arc<Caller>,
        request: Request,
        head: &Head,
    ) -> Result<Permit, Error> {
        let circumstances = Circumstances { source: head.peer.address.ip(), now: head.received };
        Ok(self.policy.authorize(caller, request, circumstances)?)
    }

    /// The permit under the policy in force now. A fill may take minutes, and what was denied meanwhile is denied.
    fn still(&self, permit: Permit, record: &Record) -> Result<Permit, Error> {
        if self.policy.holds(&permit) {
            return Ok(permit);
        }
        record.step(Stage::Authorize, || Ok(self.policy.renew(permit)?))
    }

    fn parse(&self, head: &Head) -> Result<Request, Error> {
        if head.via.iter().any(|via| via.contains(&self.via)) {
            return Err(Error::Loop);
        }
        let mut request = Request::parse(&head.path, &self.routes).inspect_err(|error| {
            if matches!(error, RequestError::Ambiguous | RequestError::Path(PathError::Element)) {
                self.telemetry.metrics().security_events.count((SecurityEvent::PathTraversal,));
            }
        })?;
        match &mut request {
            Request::Root | Request::Sumdb(_) | Request::Module(_) if head.query.is_some() => {
                return Err(Error::Query);
            }
            Request::Module(asked) => {
                if head.disable_module_fetch.as_deref().is_some_and(is_go_true) {
                    asked.fetch = crate::goproxy::request::FetchMode::CacheOnly;
                }
            }
            Request::Own(_) | Request::Root | Request::Sumdb(_) => {}
        }
        Ok(request)
    }

    /// Answers a request whose head the server's framing rules refuse; it is accounted like any other.
    pub async fn refuse(&self, head: &Head, refused: Refused) -> Admitted {
        let record = self.telemetry.begin(head);
        record.note(|facts| {
            facts.fault = Some(Kind::Malformed);
            facts.fault_text = Some(refused.to_string());
        });
        let reply = Reply::refusal(refused, &record);
        self.accounts.admit(self.accounts.pending(&record), reply).await
    }

    /// Accounts for bytes that never became a head: the transport has answered by itself and closed.
    pub fn rejected(&self, peer: SocketAddr, refused: Refused) {
        self.accounts.rejected(peer, refused);
    }

    /// The handle of metrics.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The wall clock, for the time a head was complete.
    pub fn now(&self) -> std::time::SystemTime {
        self.clock.now()
    }

    /// Tells the gauges what only a look can tell.
    pub fn report(&self) {
        let metrics = self.telemetry.metrics();
        self.fetcher.report();
        self.identity.report();
        let (rules, roles) = self.policy.rules();
        for (kind, count) in [(RowKind::Rule, rules), (RowKind::Role, roles)] {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics.policy_rules.set((kind,), count as f64);
        }
        // asked here, because a writer that hangs tells nothing
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics.audit_queue.set((), self.accounts.waiting() as f64);
        self.telemetry.page().policy_is(self.policy_revision());
        let told = |is_well| if is_well { 1.0 } else { 0.0 };
        metrics.ready.set((), told(self.readiness().is_ok()));
        metrics.ready_check.set((Check::Policy,), told(self.policy.is_in_force()));
        metrics.ready_check.set((Check::Audit,), told(self.accounts.readiness().is_ok()));
    }

    /// Whether requests are answered, and if not, why.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.accounts.readiness()?;
        if self.policy.is_in_force() { Ok(()) } else { Err(NotReady::Policy) }
    }
}

/// Why no request is answered just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// Not everything can be recorded.
    #[error(transparent)]
    Audit(#[from] NotAccepting),
    /// Nobody can be judged.
    #[error(
        "no valid policy has been loaded: correct the files in policy.dir, which are looked at again by themselves"
    )]
    Policy,
}

/// What Go's `strconv.ParseBool` calls true.
fn is_go_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True")
}
