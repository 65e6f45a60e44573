//! # Identity: who is calling?
//!
//! **Question.** Who sent this request, how did they prove it, and which groups do they belong to?
//!
//! **Rule.** A request carries at most one header credential. Its shape alone chooses the way it is judged: the prefix
//! `mgt_` is a gateway token; a Bearer value, or the password of a configured user name such as `jwt`, is a JSON web
//! token. There is no "try the other one": a failed token is never looked at as something else. Both may come as
//! `Authorization: Bearer` and as the password of Basic, which is what every `go` command can send from netrc.
//!
//! **What it refuses.** Two credentials, oversize or unreadable ones: 400. Credentials that are missing, wrong, expired,
//! revoked or unknown: 401 with one text for all of them; the reason goes to the audit. Nobody may be anonymous
//! unless the configuration says so, and then bad credentials are still 401.
//!
//! **How it fails.** If the judge itself cannot be read (the token file, a key set), the answer is 503 and never
//! 401: some clients erase a stored secret when they see 401. Secrets are hidden by type and appear in no output.
//!
//! **A certificate** counts where no header names somebody, and then it must be mapped: see [`mtls`].

mod attempts;
pub mod authenticator;
pub mod caller;
pub mod credentials;
pub mod jwks;
pub mod jwt;
mod keys;
pub mod ldap;
pub mod mtls;
mod remembered;
mod sessions;
pub mod token;

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::fault::Fault;
use crate::fault::Kind;
use crate::head::Head;
use crate::identity::attempts::Rates;
use crate::identity::authenticator::Authenticator;
use crate::identity::caller::Caller;
use crate::identity::credentials::Credentials;
use crate::identity::credentials::CredentialsError;
use crate::identity::mtls::Certificates;
use crate::identity::sessions::Sessions;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::labels::identity::LockScope;
use crate::telemetry::labels::service::Shed;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Facts;
use crate::telemetry::record::Tried;

/// Why nobody was recognised.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdentityError {
    /// The credentials cannot be read, or there are two.
    #[error("credentials refused: {0}")]
    Credentials(#[from] CredentialsError),
    /// There are none, and nobody may be anonymous.
    #[error("no credentials")]
    Missing,
    /// The proof is not good.
    #[error("{method:?} credentials refused: {result:?}: {detail}")]
    Refused {
        /// How they tried.
        method: AuthMethod,
        /// Why not, as a word of the closed list.
        result: AuthResult,
        /// For the audit; holds no secret.
        detail: String,
        /// Who they wanted to be, if they said.
        who: Option<Tried>,
    },
    /// Too many requests, or too many wrong passwords, from one place.
    #[error("too many requests or failures from this source")]
    Throttled,
    /// It cannot be judged now.
    #[error("{method:?} credentials cannot be judged: {detail}")]
    Unavailable {
        /// How they tried.
        method: AuthMethod,
        /// What is missing, for the log.
        detail: String,
    },
}

impl IdentityError {
    /// Method and result for metric, log and audit.
    pub fn labels(&self) -> (AuthMethod, AuthResult) {
        match self {
            Self::Credentials(_) => (AuthMethod::Unknown, AuthResult::Malformed),
            Self::Missing => (AuthMethod::Anonymous, AuthResult::Missing),
            Self::Refused { method, result, .. } => (*method, *result),
            Self::Throttled => (AuthMethod::Unknown, AuthResult::Throttled),
            Self::Unavailable { method, .. } => (*method, AuthResult::BackendUnavailable),
        }
    }
}

impl Fault for IdentityError {
    fn kind(&self) -> Kind {
        match self {
            Self::Credentials(_) => Kind::Malformed,
            Self::Missing | Self::Refused { .. } => Kind::Unauthenticated,
            Self::Throttled => Kind::Throttled,
            Self::Unavailable { .. } => Kind::Unavailable,
        }
    }

    fn public(&self) -> Cow<'static, str> {
        match self {
            Self::Credentials(error) => format!("bad request: {error}").into(),
            Self::Missing => concat!(
                "unauthenticated: no credentials were sent\n",
                "put a gateway token (mgt_...) or a JWT as the password into netrc:\n",
                "machine HOST:PORT login jwt password TOKEN"
            )
            .into(),
            Self::Refused { .. } => concat!(
                "unauthenticated: the credentials are not good (wrong, expired or revoked)\n",
                "accepted: a gateway token (mgt_...) or a JWT, as netrc password or Bearer"
            )
            .into(),
            Self::Throttled => {
                "too many requests or wrong passwords from here: try again later".into()
            }
            Self::Unavailable { .. } => {
                "the gateway cannot check credentials just now: try again soon".into()
            }
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Throttled)
    }
}

impl Observed for IdentityError {
    fn note(&self, facts: &mut Facts) {
        let (method, result) = self.labels();
        facts.auth_method = Some(method);
        facts.auth_result = Some(result);
        facts.auth_detail = match self {
            Self::Refused { detail, .. } | Self::Unavailable { detail, .. } => Some(detail.clone()),
            Self::Credentials(error) => Some(error.to_string()),
            Self::Missing | Self::Throttled => None,
        };
        if let Self::Refused { who, .. } = self {
            facts.tried.clone_from(who);
        }
    }
}

/// Whether a request without credentials is anybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// It is 401.
    Refused,
    /// It is `any:anonymous`, for whom the policy has rules of its own.
    Admitted,
}

/// Recognises callers.
#[derive(Debug)]
pub struct Identity {
    anonymous: Anonymous,
    jwt_user_names: Vec<String>,
    authenticators: Vec<Box<dyn Authenticator>>,
    rates: Rates,
    certificates: Certificates,
    sessions: Sessions,
    telemetry: Arc<Telemetry>,
}

/// How callers come in, apart from the ways of proving who they are.
#[derive(Debug, Clone)]
pub struct Door {
    /// Callers without credentials.
    pub anonymous: Anonymous,
    /// Basic user names whose password is a JSON web token.
    pub jwt_user_names: Vec<String>,
    /// Requests a second of one source.
    pub source_rate: NonZeroU32,
    /// Requests a second of one caller.
    pub caller_rate: NonZeroU32,
    /// Whose client certificate it is.
    pub certificates: Certificates,
}

impl Identity {
    /// An identity station. The first authenticator that takes a credential's shape judges it, alone.
    pub fn new(
        door: Door,
        authenticators: Vec<Box<dyn Authenticator>>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let Door { anonymous, jwt_user_names, source_rate, caller_rate, certificates } = door;
        let rates = Rates::new(source_rate, caller_rate);
        let sessions = Sessions::default();
        Self { anonymous, jwt_user_names, authenticators, rates, certificates, sessions, telemetry }
    }

    /// Tells the gauges how much is locked, and forgets the rates of whoever has been quiet; called now and then.
    pub fn report(&self) {
        self.rates.forget();
        let locked: Vec<_> = self.authenticators.iter().map(|one| one.locked()).collect();
        let gauge = &self.telemetry.metrics().auth_locked;
        for (scope, count) in [
            (LockScope::User, locked.iter().map(|one| one.users).sum::<usize>()),
            (LockScope::Address, locked.iter().map(|one| one.addresses).sum()),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge.set((scope,), count as f64);
        }
    }

    /// Looks at what may have changed although nobody showed a proof. Blocking.
    pub fn look(&self) {
        self.authenticators.iter().for_each(|authenticator| authenticator.look());
    }

    /// Whether a session begins with this request: the first from this source, with this proof, in an hour.
    pub fn begins(&self, caller: &Caller, head: &Head) -> bool {
        !caller.is_anonymous() && self.sessions.begins(caller, head.peer.address.ip())
    }

    /// Recognises the caller of a request.
    pub async fn identify(&self, head: &Head) -> Result<Arc<Caller>, IdentityError> {
        let begun = std::time::Instant::now();
        let outcome = self.judge(head).await;
        let (method, result) = match &outcome {
            Ok(caller) => (caller.method(), AuthResult::Success),
            Err(error) => error.labels(),
        };
        let metrics = self.telemetry.metrics();
        metrics.auth_attempts.count((method, result));
        metrics.auth_seconds.observe((method,), begun.elapsed().as_secs_f64());
        outcome
    }

    async fn judge(&self, head: &Head) -> Result<Arc<Caller>, IdentityError> {
        if !self.rates.source(head.peer.address.ip()) {
            return Err(self.throttled(Shed::RateAddress));
        }
        let caller = match self.recognise(head).await {
            Err(IdentityError::Throttled) => return Err(self.throttled(Shed::RateAddress)),
            recognised => recognised?,
        };
        if self.rates.caller(caller.principal()) {
            Ok(caller)
        } else {
            Err(self.throttled(Shed::RateUser))
        }
    }

    fn throttled(&self, why: Shed) -> IdentityError {
        self.telemetry.metrics().http_shed.count((why,));
        IdentityError::Throttled
    }

    async fn recognise(&self, head: &Head) -> Result<Arc<Caller>, IdentityError> {
        let credentials = Credentials::from_head(head, &self.jwt_user_names)?;
        if credentials == Credentials::None {
            if let Some(certificate) = &head.peer.certificate {
                return self.certificates.judge(certificate);
            }
            return match self.anonymous {
                Anonymous::Admitted => Ok(Arc::new(Caller::anonymous())),
                Anonymous::Refused => Err(IdentityError::Missing),
            };
        }
        for authenticator in &self.authenticators {
            if authenticator.takes(&credentials) {
                return authenticator.authenticate(&credentials, head.peer.address.ip()).await;
            }
        }
        let (method, result) = (AuthMethod::Unknown, AuthResult::BadCredentials);
        let detail = "no configured method takes this shape".to_owned();
        Err(IdentityError::Refused { method, result, detail, who: None })
    }
}
