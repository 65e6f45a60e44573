//! Names and passwords, judged by a directory: search, then bind as whoever was found, then read groups.
//!
//! * An empty password is refused before anything is asked: some directories answer success to it.
//! * A name goes into a filter or a DN escaped (RFC 4515, RFC 4514), and exactly one entry must come of it.
//! * A password is tried on a connection of its own that is used for nothing else. Searches run on pooled connections
//!   of the service account, which never become anybody else.
//! * An unknown name costs a bind as well, against a name that does not exist: the time tells nothing.
//! * Result code 49 is 401. Everything else that is not success, a time-out and a lost connection are 503, are not
//!   remembered, and are nobody's failed login.
//! * Servers are asked in order within one deadline; one that failed five times rests for a few seconds.

mod connection;
mod groups;
mod tls;
mod waiting;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ldap3::Scope;
use ldap3::SearchEntry;
use ldap3::dn_escape;
use ldap3::ldap_escape;
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use tracing::Span;

use crate::breaker;
use crate::breaker::Breaker;
use crate::breaker::Condition;
use crate::breaker::Verdict;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::config::ldap::Find;
use crate::config::ldap::LdapDirectory;
use crate::fault::chain_text;
use crate::identity::IdentityError;
use crate::identity::attempts::Attempts;
use crate::identity::attempts::Gate;
use crate::identity::attempts::Lock;
use crate::identity::attempts::Locked;
use crate::identity::authenticator::Authenticator;
use crate::identity::caller::Caller;
use crate::identity::caller::encode_name;
use crate::identity::credentials::Credentials;
use crate::identity::ldap::connection::Bound;
use crate::identity::ldap::connection::Lost;
use crate::identity::ldap::connection::Pool;
use crate::identity::ldap::groups::Reached;
use crate::identity::ldap::tls::client_tls;
use crate::identity::ldap::waiting::Waiting;
use crate::identity::remembered::Fingerprint;
use crate::identity::remembered::NoRandomness;
use crate::identity::remembered::Outcome;
use crate::identity::remembered::Remembered;
use crate::tasks::Tasks;
use crate::tasks::flights::Flights;
use crate::telemetry::happening::Happening;
use crate::telemetry::happening::What;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::labels::LdapLogin;
use crate::telemetry::labels::identity::Held;
use crate::telemetry::labels::identity::Recall;
use crate::telemetry::record::Proof;
use crate::telemetry::record::Tried;

/// Why a directory cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LdapError {
    /// The file of authorities cannot be used.
    #[error("{0}: {1}: give a PEM file of certificate authorities")]
    Authorities(String, String),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No keyed hash without a key.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// Judges names and passwords.
#[derive(Debug)]
pub struct Ldap {
    directory: Arc<Directory>,
    standing: Standing,
}

/// Which names a directory judges. A name chooses its directory by shape, and no other is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Names without a slash, and those that begin with its own name and a slash.
    First,
    /// Only those that begin with its own name and a slash, such as `partners/alice`.
    Other,
}

#[derive(Debug)]
struct Directory {
    settings: LdapDirectory,
    servers: Vec<Server>,
    remembered: Remembered,
    flights: Flights<Fingerprint, Outcome>,
    attempts: Attempts,
    slots: Semaphore,
    waiting: AtomicUsize,
    /// The place of the server that answered last.
    answering: AtomicUsize,
    tasks: Tasks,
}

#[derive(Debug)]
struct Server {
    pool: Pool,
    breaker: Breaker,
    /// How the breaker stood when it was told last.
    told: Mutex<Condition>,
}

impl Server {
    /// Tells of the breaker where it opened, or closed after that.
    fn tell(&self, directory: &str, tasks: &Tasks) {
        let now = self.breaker.condition();
        if now == Condition::HalfOpen {
            return;
        }
        let before =
            std::mem::replace(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner), now);
        if before != now {
            let what = match now {
                Condition::Closed => What::DirectoryUp,
                Condition::Open | Condition::HalfOpen => What::DirectoryDown,
            };
            let what = Happening::new(what, directory).because(self.pool.url());
            tasks.telemetry().tell(what);
        }
    }
}

/// What one server says about a name and a password.
enum Said {
    /// Who it is, and their groups.
    Known { id: String, groups: Vec<Reached> },
    /// There is such a name, and the password is not its own, with a reason for the audit.
    Wrong { id: String, why: String },
    /// There is nobody of this name, or it cannot be told.
    Unknown(String),
}

impl Ldap {
    /// A directory from its settings.
    pub fn new(
        settings: LdapDirectory,
        standing: Standing,
        tasks: Tasks,
    ) -> Result<Self, LdapError> {
        let tls = settings.ca_file.as_deref().map(client_tls).transpose()?.map(Arc::new);
        let servers = settings
            .servers
            .iter()
            .map(|url| Server {
                pool: Pool::new(
                    url.clone(),
                    (settings.protection, tls.clone()),
                    settings.times,
                    &tasks,
                ),
                breaker: Breaker::new(BREAKER, Arc::new(SystemClock)),
                told: Mutex::new(Condition::Closed),
            })
            .collect();
        let attempts = Attempts::new(settings.lock_threshold);
        let remembered = Remembered::new(settings.cache_ttl, settings.failure_ttl)?;
        let directory = Arc::new(Directory {
            settings,
            servers,
            remembered,
            flights: Flights::default(),
            attempts,
            slots: Semaphore::new(AT_ONCE),
            waiting: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            tasks,
        });
        Ok(Self { directory, standing })
    }

    /// The name as the directory knows it; `None` if another directory is meant.
    fn own_name<'a>(&self, user: &'a str) -> Option<&'a str> {
        match (user.split_once('/'), self.standing) {
            (Some((realm, name)), _) => (realm == self.directory.settings.name).then_some(name),
            (None, Standing::First) => Some(user),
            (None, Standing::Other) => None,
        }
    }

    /// Asks the service account's password of every server, for `check-config --probe`: what each said.
    pub async fn probe(&self) -> Vec<(String, Result<(), String>)> {
        let mut said = Vec::new();
        for server in &self.directory.servers {
            let outcome = self.directory.probe(server).await.map_err(|lost| chain_text(&lost));
            said.push((server.pool.url().to_string(), outcome));
        }
        said
    }

    async fn judge(&self, user: &str, password: &str, source: IpAddr) -> Outcome {
        if password.is_empty() || user.is_empty() {
            return Err(refused("an empty name or password", None));
        }
        let fingerprint = self.directory.remembered.fingerprint(user, password);
        let count = |login| self.directory.tasks.telemetry().metrics().ldap_logins.count((login,));
        if let Some(outcome) = self.directory.remembered.look(&fingerprint) {
            count(LdapLogin::Remembered);
            self.directory.recall(Recall::Hit);
            return outcome;
        }
        self.directory.recall(Recall::Miss);
        let attempts = &self.directory.attempts;
        let gate = attempts.gate(source, user, Instant::now());
        if gate != Gate::Open {
            count(LdapLogin::Locked);
            return Err(closed(gate, user));
        }
        let (flight, _role) = self.directory.flights.board(&fingerprint, |landing| {
            let directory = Arc::clone(&self.directory);
            let (user, password) = (user.to_owned(), password.to_owned());
            let span = Span::current();
            let running = self.directory.tasks.run("ldap login", async move {
                let outcome = directory.login(&user, &password).instrument(span).await;
                directory.remembered.keep(fingerprint, &outcome);
                let login = match &outcome {
                    Ok(_) => LdapLogin::Known,
                    Err(IdentityError::Refused { .. }) => LdapLogin::Refused,
                    Err(_) => LdapLogin::Unavailable,
                };
                directory.tasks.telemetry().metrics().ldap_logins.count((login,));
                drop(landing);
                outcome
            });
            async move { running.await.unwrap_or_else(|gone| Err(unavailable(gone.to_string()))) }
                .boxed()
        });
        let outcome = flight.await;
        match &outcome {
            Ok(_) => attempts.succeeded(source, user, Instant::now()),
            Err(IdentityError::Refused { who, .. }) => {
                if let Some(lock) = attempts.failed(source, user, fingerprint, Instant::now()) {
                    self.directory.tell_locked(lock, who.clone(), source);
                }
            }
            Err(_) => {
                let stale = self.directory.settings.stale_while_down;
                let known = stale
                    .and_then(|stale| self.directory.remembered.look_back(&fingerprint, stale));
                if let Some(caller) = known {
                    self.directory.recall(Recall::Stale);
                    return Ok(Arc::new(caller.stale()));
                }
            }
        }
        outcome
    }
}

impl Directory {
    /// One login, within its deadline and its place among the logins under way.
    async fn login(&self, user: &str, password: &str) -> Outcome {
        let _place = Waiting::enter(&self.waiting)
            .ok_or_else(|| unavailable("too many logins wait".to_owned()))?;
        let walk = async {
            let _slot =
                self.slots.acquire().await.map_err(|_| unavailable("stopping".to_owned()))?;
            self.walk(user, password).await
        };
        match tokio::time::timeout(self.settings.times.total, walk).await {
            Ok(outcome) => outcome,
            Err(_late) => Err(unavailable("no server answered in time".to_owned())),
        }
    }

    async fn walk(&self, user: &str, password: &str) -> Outcome {
        let mut last = "every server rests after failures".to_owned();
        for (place, server) in self.servers.iter().enumerate() {
            let Some(attempt) = server.breaker.attempt() else { continue };
            let asked = self.ask(server, user, password).await;
            // without a verdict it failed
            match &asked {
                Ok(_) => attempt.end(Verdict::Well),
                Err(_) => drop(attempt),
            }
            server.pool.answered(&asked);
            server.tell(&self.settings.name, &self.tasks);
            match asked {
                Ok(said) => {
                    self.tell_answering(place, server);
                    return self.outcome(user, said);
                }
                Err(lost) => last = format!("{}: {lost}", server.pool.url()),
            }
        }
        Err(unavailable(last))
    }

    fn recall(&self, recall: Recall) {
        self.tasks.telemetry().metrics().auth_cache.count((Held::LdapBind, recall));
    }

    /// Tells that another server answers than did before.
    fn tell_answering(&self, place: usize, server: &Server) {
        if self.answering.swap(place, Ordering::Relaxed) != place {
            let what = Happening::new(What::DirectoryFailover, &self.settings.name);
            let what = what.because(format_args!("{} answers", server.pool.url()));
            self.tasks.telemetry().tell(what);
        }
    }

    fn tell_locked(&self, lock: Lock, who: Option<Tried>, source: IpAddr) {
        self.tasks.telemetry().metrics().auth_lockouts.count((lock.scope(),));
        let what = Happening::new(What::LockedOut, format!("directory {}", self.settings.name));
        let what = what.of(who, source).because(match lock {
            Lock::Pair(pause) => format!("the name, from this source, for {} s", pause.as_secs()),
            Lock::Account => "the name, for sources it was not used from".to_owned(),
            Lock::Source => "the source, for every name".to_owned(),
        });
        self.tasks.telemetry().tell(what);
    }

    fn outcome(&self, user: &str, said: Said) -> Outcome {
        let realm = &self.settings.name;
        let principal = |id: &str| format!("user:ldap/{realm}:{}", encode_name(id));
        let (id, groups) = match said {
            Said::Known { id, groups } => (id, groups),
            Said::Wrong { id, why } => {
                return Err(refused(&why, Some(Tried::Known(principal(&id)))));
            }
            Said::Unknown(why) => {
                return Err(refused(&why, Some(Tried::Typed(encode_name(user)))));
            }
        };
        let principal = principal(&id);
        let (groups, obtained) = groups
            .iter()
            .map(|Reached { name, through }| {
                let how = through.as_ref().map(|below| format!(", through {}", encode_name(below)));
                let how = format!("directory {realm}{}", how.unwrap_or_default());
                (format!("group:ldap/{realm}:{}", encode_name(name)), how)
            })
            .unzip();
        let detail = format!("directory {realm}");
        let caller = Caller::recognised(principal, groups, AuthMethod::Ldap, detail);
        let proof = Proof { since: Some(SystemClock.unix_seconds()), ..Proof::default() };
        Ok(Arc::new(caller.obtained(obtained).proved(proof)))
    }

    async fn ask(&self, server: &Server, user: &str, password: &str) -> Result<Said, Lost> {
        match &self.settings.find {
            Find::Template(template) => {
                let dn = template.replace("{user}", &dn_escape(user));
                let mut own = server.pool.open(&self.tasks).await?;
                match own.bind(&dn, password).await? {
                    Bound::Refused(why) => Ok(Said::Unknown(why)),
                    // there is no service account, so the user reads their own groups
                    Bound::Good => {
                        let groups = groups::of(&mut own, &self.settings.groups, &dn).await?;
                        Ok(Said::Known { id: user.to_lowercase(), groups })
                    }
                }
            }
            Find::Search { bind_dn, bind_password, base, filter, id } => {
                let service = (bind_dn.as_str(), bind_password.expose().as_str());
                let mut searching = server.pool.bound(service, &self.tasks).await?;
                let filter = filter.replace("{user}", &ldap_escape(user));
                let found = searching.search(base, Scope::Subtree, &filter, &[id.as_str()]).await?;
                let entry = match <[SearchEntry; 1]>::try_from(found) {
                    Ok([entry]) => Some(entry),
                    Err(_none_or_several) => None,
                };
                let nobody = format!("cn=nobody-{},{base}", uuid::Uuid::new_v4().simple());
                let dn = entry.as_ref().map_or(nobody.as_str(), |entry| entry.dn.as_str());
                let bound = server.pool.open(&self.tasks).await?.bind(dn, password).await?;
                let own_id = |entry: &SearchEntry| {
                    let own = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(id));
                    let own = own.and_then(|(_, values)| values.first()).cloned();
                    own.unwrap_or_else(|| user.to_lowercase())
                };
                let said = match (entry, bound) {
                    (Some(entry), Bound::Good) => {
                        let groups =
                            groups::of(&mut searching, &self.settings.groups, &entry.dn).await?;
                        Said::Known { id: own_id(&entry), groups }
                    }
                    (Some(entry), Bound::Refused(why)) => Said::Wrong { id: own_id(&entry), why },
                    (None, _) => Said::Unknown("no such name, or several".to_owned()),
                };
                server.pool.give_back(searching);
                Ok(said)
            }
        }
    }

    async fn probe(&self, server: &Server) -> Result<(), Lost> {
        match &self.settings.find {
            Find::Template(_) => server.pool.open(&self.tasks).await.map(|_| ()),
            Find::Search { bind_dn, bind_password, base, .. } => {
                let service = (bind_dn.as_str(), bind_password.expose().as_str());
                let mut searching = server.pool.bound(service, &self.tasks).await?;
                let found =
                    searching.search(base, Scope::Base, "(objectClass=*)", &["1.1"]).await?;
                if found.is_empty() {
                    Err(Lost::Result("a look at user_base", 32, base.clone()))
                } else {
                    Ok(())
                }
            }
        }
    }
}

impl Authenticator for Ldap {
    fn takes(&self, credentials: &Credentials) -> bool {
        match credentials {
            Credentials::Password { user, .. } => self.own_name(user).is_some(),
            Credentials::None | Credentials::GatewayToken(_) | Credentials::Jwt(_) => false,
        }
    }

    fn locked(&self) -> Locked {
        self.directory.attempts.locked(Instant::now())
    }

    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
        source: IpAddr,
    ) -> BoxFuture<'a, Result<Arc<Caller>, IdentityError>> {
        Box::pin(async move {
            match credentials {
                Credentials::Password { user, password } => {
                    self.judge(self.own_name(user).unwrap_or(user), password.expose(), source).await
                }
                Credentials::None | Credentials::GatewayToken(_) | Credentials::Jwt(_) => {
                    Err(IdentityError::Missing)
                }
            }
        })
    }
}

fn refused(detail: &str, who: Option<Tried>) -> IdentityError {
    let (method, result) = (AuthMethod::Ldap, AuthResult::BadCredentials);
    IdentityError::Refused { method, result, detail: detail.to_owned(), who }
}

/// What somebody is told who may not try a password now.
fn closed(gate: Gate, user: &str) -> IdentityError {
    match gate {
        Gate::Throttled => IdentityError::Throttled,
        Gate::Locked | Gate::Open => {
            refused("locked after failures", Some(Tried::Typed(encode_name(user))))
        }
    }
}

fn unavailable(detail: String) -> IdentityError {
    IdentityError::Unavailable { method: AuthMethod::Ldap, detail }
}

/// Logins at once: a directory is shared with others.
const AT_ONCE: usize = 32;
/// A restarted directory is back within five seconds; one login finds that out.
const BREAKER: breaker::Settings = breaker::Settings {
    failures: 5,
    window: Duration::from_secs(10),
    rest: Duration::from_secs(2),
    longest_rest: Duration::from_secs(2),
    successes: 1,
};
