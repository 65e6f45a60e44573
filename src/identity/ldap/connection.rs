//! Connections to one server: a deadline on every operation, and whatever went wrong ends the connection.

use std::error::Error;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use ldap3::LdapConnAsync;
use ldap3::LdapConnSettings;
use ldap3::LdapError;
use ldap3::Scope;
use ldap3::SearchEntry;
use ldap3::SearchOptions;
use rustls::ClientConfig;
use tokio::time::timeout;
use tracing::Instrument as _;
use url::Url;

use crate::config::ldap::Limits;
use crate::config::ldap::Protection;
use crate::identity::ldap::Said;
use crate::tasks::Tasks;
use crate::telemetry::labels::identity::LdapOperation;
use crate::telemetry::labels::identity::LdapResult;
use crate::telemetry::labels::identity::PoolState;
use crate::telemetry::metrics::LdapMetrics;
use crate::telemetry::trace::ldap_span;

/// The server could not judge: nobody's fault who asks.
#[derive(Debug, thiserror::Error)]
pub(in crate::identity::ldap) enum Lost {
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(#[from] LdapError),
    /// Nothing came in time.
    #[error("no answer in time to {0}")]
    Late(&'static str),
    /// A result that is neither success nor a refusal.
    #[error("{0} ended with result {1}: {2}")]
    Result(&'static str, u32, String),
    /// The server cut its answer off, so what a rule is about may be missing.
    #[error("the server cuts answers off (result 4): raise its size limit for the service account")]
    CutOff,
    /// The service account is refused.
    #[error("the service account is refused: {0}: correct bind_dn and its password")]
    Service(String),
}

/// What became of a bind.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::identity::ldap) enum Bound {
    Good,
    /// Invalid credentials, with what the server added; for the audit only.
    Refused(String),
}

/// A connection as it is counted, for as long as it lives.
#[derive(Debug)]
struct Counted {
    server: Arc<LdapMetrics>,
    state: PoolState,
}

impl Counted {
    fn new(server: Arc<LdapMetrics>) -> Self {
        server.connections.add((PoolState::Busy,), 1.0);
        Self { server, state: PoolState::Busy }
    }

    fn becomes(&mut self, state: PoolState) {
        self.server.connections.add((self.state,), -1.0);
        self.server.connections.add((state,), 1.0);
        self.state = state;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.server.connections.add((self.state,), -1.0);
    }
}

/// One connection.
#[derive(Debug)]
pub(in crate::identity::ldap) struct Connection {
    ldap: ldap3::Ldap,
    counted: Counted,
    operation: Duration,
    born: Instant,
    used: Instant,
}

impl Connection {
    /// Proves a password. A DN that does not exist is refused like a wrong password.
    pub(in crate::identity::ldap) async fn bind(
        &mut self,
        dn: &str,
        password: &str,
    ) -> Result<Bound, Lost> {
        let bind = self.ldap.with_timeout(self.operation).simple_bind(dn, password);
        let bind = within(self.operation, "a bind", bind).instrument(ldap_span("LDAP bind"));
        let server = &self.counted.server;
        let result = observe(server, LdapOperation::Bind, bind, |result| result.rc).await?;
        match result.rc {
            0 => Ok(Bound::Good),
            49 => Ok(Bound::Refused(format!("invalid credentials {}", result.text))),
            rc => Err(Lost::Result("a bind", rc, result.text)),
        }
    }

    /// Searches; no such base is no entry. An answer that was cut off is none: a rule may be about what is missing.
    pub(in crate::identity::ldap) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
    ) -> Result<Vec<SearchEntry>, Lost> {
        let options = SearchOptions::new().sizelimit(ENTRIES_LIMIT);
        let search = self.ldap.with_search_options(options).with_timeout(self.operation).search(
            base,
            scope,
            filter,
            attributes.to_vec(),
        );
        let search =
            within(self.operation, "a search", search).instrument(ldap_span("LDAP search"));
        let (server, operation) = (&self.counted.server, LdapOperation::Search);
        let ldap3::SearchResult(entries, result) =
            observe(server, operation, search, |ldap3::SearchResult(_, result)| result.rc).await?;
        self.used = Instant::now();
        match result.rc {
            4 => Err(Lost::CutOff),
            0 | 32 => Ok(entries
                .into_iter()
                .filter(|entry| !entry.is_ref() && !entry.is_intermediate())
                .map(SearchEntry::construct)
                .collect()),
            rc => Err(Lost::Result("a search", rc, result.text)),
        }
    }
}

/// Counts and times what a server is asked to do; `code` is what it says itself.
async fn observe<T>(
    server: &LdapMetrics,
    operation: LdapOperation,
    work: impl Future<Output = Result<T, Lost>>,
    code: fn(&T) -> u32,
) -> Result<T, Lost> {
    let begun = Instant::now();
    let done = work.await;
    server.seconds.observe((operation,), begun.elapsed().as_secs_f64());
    let result = match &done {
        Ok(answer) => LdapResult::of_code(code(answer)),
        Err(lost) => lost.word(),
    };
    server.operations.count((operation, result));
    done
}

impl Lost {
    /// The word of the closed list, where the server itself said nothing.
    fn word(&self) -> LdapResult {
        match self {
            Self::Late(_) | Self::Connection(LdapError::Timeout { .. }) => LdapResult::Timeout,
            Self::Connection(LdapError::Rustls { .. } | LdapError::DNSName { .. }) => {
                LdapResult::Tls
            }
            Self::Connection(LdapError::Io { source }) => {
                let inner = source.get_ref();
                let tls = inner.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>);
                if tls { LdapResult::Tls } else { LdapResult::Connect }
            }
            Self::Connection(
                LdapError::EndOfStream | LdapError::OpSend { .. } | LdapError::ResultRecv { .. },
            ) => LdapResult::Unavailable,
            _ => LdapResult::Other,
        }
    }
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = ldap3::result::Result<T>>,
) -> Result<T, Lost> {
    match timeout(limit, work).await {
        Ok(done) => Ok(done?),
        Err(_late) => Err(Lost::Late(what)),
    }
}

/// Connections of the service account that nobody uses just now.
#[derive(Debug)]
pub(in crate::identity::ldap) struct Pool {
    url: Url,
    protection: Protection,
    tls: Option<Arc<ClientConfig>>,
    limits: Limits,
    idle: Mutex<Vec<Connection>>,
    metrics: Arc<LdapMetrics>,
}

impl Pool {
    pub(in crate::identity::ldap) fn new(
        url: Url,
        (protection, tls): (Protection, Option<Arc<ClientConfig>>),
        limits: Limits,
        tasks: &Tasks,
    ) -> Self {
        let metrics = Arc::new(tasks.telemetry().ldap(url.as_str()));
        Self { url, protection, tls, limits, idle: Mutex::new(Vec::new()), metrics }
    }

    /// Notes whether the server judges.
    pub(in crate::identity::ldap) fn answered(&self, asked: &Result<Said, Lost>) {
        self.metrics.up.set((), if asked.is_ok() { 1.0 } else { 0.0 });
    }

    /// Which server.
    pub(in crate::identity::ldap) fn url(&self) -> &Url {
        &self.url
    }

    /// A new connection on which nobody is bound yet.
    pub(in crate::identity::ldap) async fn open(&self, tasks: &Tasks) -> Result<Connection, Lost> {
        let mut settings = LdapConnSettings::new()
            .set_conn_timeout(self.limits.connect)
            .set_starttls(self.protection == Protection::StartTls);
        if let Some(tls) = &self.tls {
            settings = settings.set_config(Arc::clone(tls));
        }
        // a handshake holds much, and whoever waits for it should not
        let connecting = Box::pin(LdapConnAsync::with_settings(settings, self.url.as_str()));
        let connecting = within(self.limits.connect, "a connection", connecting);
        let connecting = observe(&self.metrics, LdapOperation::Connect, connecting, |_| 0);
        let (driver, ldap) = connecting.await?;
        let stop = tasks.stop().clone();
        // it ends with the last handle of the connection, with the connection, or with us
        let _driving = tasks.run("ldap connection", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ended = driver.drive() => {}
            }
        });
        let now = Instant::now();
        let counted = Counted::new(Arc::clone(&self.metrics));
        Ok(Connection { ldap, counted, operation: self.limits.operation, born: now, used: now })
    }

    /// A connection of the service account: an idle one that still answers, or a new one.
    pub(in crate::identity::ldap) async fn bound(
        &self,
        (dn, password): (&str, &str),
        tasks: &Tasks,
    ) -> Result<Connection, Lost> {
        while let Some(mut idle) = self.take() {
            // load balancers drop connections without a word: only one that answers is used again
            let fresh = idle.used.elapsed() < SURE;
            if fresh || idle.search("", Scope::Base, "(objectClass=*)", &["1.1"]).await.is_ok() {
                return Ok(idle);
            }
        }
        let mut connection = self.open(tasks).await?;
        match connection.bind(dn, password).await? {
            Bound::Good => Ok(connection),
            Bound::Refused(why) => Err(Lost::Service(why)),
        }
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut connection) = idle.pop() {
            let young = connection.born.elapsed() < OLDEST && connection.used.elapsed() < IDLE;
            if young && !connection.ldap.is_closed() {
                connection.counted.becomes(PoolState::Busy);
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next search. One on which anything failed must not come back.
    pub(in crate::identity::ldap) fn give_back(&self, mut connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            connection.counted.becomes(PoolState::Idle);
            idle.push(connection);
        }
    }
}

/// More groups than that are a mistake; for a user two are too many already.
const ENTRIES_LIMIT: i32 = 10_000;
/// A connection that answered so recently is not asked whether it lives.
const SURE: Duration = Duration::from_secs(1);
/// Idle connections are closed after that.
const IDLE: Duration = Duration::from_mins(1);
/// And every one after that, so that a changed address is noticed.
const OLDEST: Duration = Duration::from_mins(10);
/// Idle connections of one server.
const KEPT: usize = 8;
