//! Gateway tokens: 256 random bits under a name and an expiry, stored only as their SHA-256.

pub mod revocations;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::SecureRandom as _;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde::Serialize;

use crate::clock::Clock;
use crate::clock::rfc3339_seconds;
use crate::config::secret::Secret;
use crate::content::Sum;
use crate::goproxy::pattern::Prefix;
use crate::identity::IdentityError;
use crate::identity::authenticator::Authenticator;
use crate::identity::caller::Caller;
use crate::identity::caller::encode_name;
use crate::identity::credentials::Credentials;
use crate::identity::credentials::TOKEN_PREFIX;
use crate::identity::token::revocations::Revocations;
use crate::kept::Kept;
use crate::kept::KeptError;
use crate::kept::Stamp;
use crate::telemetry::Telemetry;
use crate::telemetry::happening::Happening;
use crate::telemetry::happening::What;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::record::Proof;

/// One issued token, as the file keeps it. The secret itself is nowhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// The name; the principal is `user:token:<name>`.
    pub name: String,
    /// SHA-256 of the token, in hex.
    pub sha256: String,
    /// Groups, each `group:token:<name>` in the policy.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Module path prefixes beyond which it is good for nothing, whatever the policy allows; none for no limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// When it was issued, in seconds since 1970.
    pub created: u64,
    /// From when on it is refused, in seconds since 1970.
    pub expires: u64,
    /// When it was revoked, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Its groups.
    pub groups: &'a [String],
    /// Prefixes beyond which it is good for nothing; none for no limit.
    pub modules: &'a [Prefix],
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u8,
    tokens: Vec<Issued>,
}

impl Default for Stored {
    fn default() -> Self {
        Self { v: 1, tokens: Vec::new() }
    }
}

/// Why a token could not be issued, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read or written, or is none.
    #[error("token file {0}")]
    File(#[from] KeptError),
    /// The name is taken by a token that is still good.
    #[error(
        "a token named {0:?} exists and is still good: revoke it first, or choose another name"
    )]
    Taken(String),
    /// The name is empty, too long, or holds more than letters, digits, `.`, `_`, `@` and `-`.
    #[error("{0:?} is not a token name: use 1 to 64 of A-Z a-z 0-9 . _ @ -")]
    Name(String),
    /// There is no such token.
    #[error("there is no token named {0:?} that is still good")]
    Unknown(String),
    /// Tokens must end.
    #[error("a token must expire within 366 days")]
    Life,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

/// The token file.
#[derive(Debug, Clone)]
pub struct TokenFile(Kept<Stored>);

impl TokenFile {
    /// A file that may not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self(Kept::new(path))
    }

    /// Issues a token and returns it; this is the only moment at which it can be seen.
    pub fn issue(
        &self,
        name: &str,
        groups: &[String],
        life: Duration,
        clock: &dyn Clock,
    ) -> Result<Secret<String>, TokenError> {
        self.issue_for(name, &Scope { groups, modules: &[] }, life, clock)
    }

    /// The same for a token that is good for some modules only, whatever the policy allows.
    pub fn issue_for(
        &self,
        name: &str,
        scope: &Scope<'_>,
        life: Duration,
        clock: &dyn Clock,
    ) -> Result<Secret<String>, TokenError> {
        let Scope { groups, modules } = scope;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
        let is_name = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(plain);
        if let Some(bad) =
            std::iter::once(name).chain(groups.iter().map(String::as_str)).find(|n| !is_name(n))
        {
            return Err(TokenError::Name(bad.to_owned()));
        }
        if life.is_zero() || life > LONGEST_LIFE {
            return Err(TokenError::Life);
        }
        self.0.change(|stored| {
            let now = clock.unix_seconds();
            let good = |token: &Issued| token.revoked.is_none() && token.expires > now;
            if stored.tokens.iter().any(|token| token.name == name && good(token)) {
                return Err(TokenError::Taken(name.to_owned()));
            }
            let token = draw()?;
            stored.tokens.push(Issued {
                name: name.to_owned(),
                sha256: Sum::of(token.expose().as_bytes()).to_string(),
                groups: groups.to_vec(),
                modules: modules.iter().map(|prefix| prefix.as_str().to_owned()).collect(),
                created: now,
                expires: now + life.as_secs(),
                revoked: None,
            });
            Ok(token)
        })
    }

    /// Every token that was ever issued.
    pub fn list(&self) -> Result<Vec<Issued>, TokenError> {
        Ok(self.0.read()?.tokens)
    }

    /// Revokes the tokens of a name that are still good, and gives them.
    pub fn revoke(&self, name: &str, clock: &dyn Clock) -> Result<Vec<Issued>, TokenError> {
        self.0.change(|stored| {
            let now = clock.unix_seconds();
            let mut taken = Vec::new();
            for token in &mut stored.tokens {
                if token.name == name && token.revoked.is_none() && token.expires > now {
                    token.revoked = Some(now);
                    taken.push(token.clone());
                }
            }
            if taken.is_empty() { Err(TokenError::Unknown(name.to_owned())) } else { Ok(taken) }
        })
    }
}

/// 256 random bits and six characters of their SHA-256, so that scanners can tell a token from noise.
fn draw() -> Result<Secret<String>, TokenError> {
    let mut secret = [0_u8; 32];
    SystemRandom::new().fill(&mut secret).map_err(|_| TokenError::Random)?;
    let body = URL_SAFE_NO_PAD.encode(secret);
    let check: String = Sum::of(body.as_bytes()).to_string().chars().take(6).collect();
    Ok(format!("{TOKEN_PREFIX}{body}{check}").into())
}

/// Judges gateway tokens by the file, which is read again when it changed.
#[derive(Debug)]
pub struct Tokens {
    file: TokenFile,
    known: ArcSwap<Known>,
    looked: Mutex<(SystemTime, Stamp)>,
    revocations: Arc<Revocations>,
    clock: Arc<dyn Clock>,
    telemetry: Option<Arc<Telemetry>>,
}

#[derive(Debug, Default)]
struct Known {
    by_sum: HashMap<Sum, (Issued, Arc<Caller>)>,
    fault: Option<String>,
}

impl Tokens {
    /// Reads the file for the first time; a file that is missing holds no tokens.
    pub fn open(file: TokenFile, clock: Arc<dyn Clock>) -> Self {
        let stamp = file.0.stamp();
        let known = ArcSwap::from_pointee(load(&file));
        let looked = Mutex::new((clock.now(), stamp));
        let revocations = Arc::new(Revocations::new(Arc::clone(&clock)));
        Self { file, known, looked, revocations, clock, telemetry: None }
    }

    /// Refuses also what was revoked elsewhere.
    #[must_use]
    pub fn hearing(self, revocations: Arc<Revocations>) -> Self {
        Self { revocations, ..self }
    }

    /// Tells of tokens that were issued or revoked while it looked on.
    #[must_use]
    pub fn telling(self, telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry: Some(telemetry), ..self }
    }

    /// What a file says that was read again, and before it said something else.
    fn tell(&self, before: &Known, now: &Known) {
        // what could not be read says nothing about any token
        let Some(telemetry) = self.telemetry.as_ref().filter(|_| before.fault.is_none()) else {
            return;
        };
        for (sum, (token, caller)) in &now.by_sum {
            let held = before.by_sum.get(sum);
            let tell = |what| {
                let until = format_args!("good until {}", rfc3339_seconds(token.expires));
                telemetry.tell(Happening::new(what, caller.principal()).because(until));
            };
            if held.is_none() {
                tell(What::TokenIssued);
            }
            let was_good = held.is_none_or(|(before, _)| before.revoked.is_none());
            if token.revoked.is_some() && was_good {
                tell(What::TokenRevoked);
            }
        }
    }

    /// Reads the file again if it changed; looks at most every tenth of a second, so a revocation is in force
    /// that soon.
    fn refresh(&self) {
        let now = self.clock.now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(looked.0).is_ok_and(|since| since < LOOK_AGAIN) {
            return;
        }
        looked.0 = now;
        let found = self.file.0.stamp();
        if found != looked.1 {
            looked.1 = found;
            let now = Arc::new(load(&self.file));
            self.tell(&self.known.swap(Arc::clone(&now)), &now);
        }
    }

    fn judge(&self, token: &str) -> Result<Arc<Caller>, IdentityError> {
        self.refresh();
        let known = self.known.load();
        if let Some(fault) = &known.fault {
            let (method, detail) = (AuthMethod::Token, fault.clone());
            return Err(IdentityError::Unavailable { method, detail });
        }
        let refused = |result, detail: &str| {
            Err(IdentityError::Refused {
                method: AuthMethod::Token,
                result,
                detail: detail.to_owned(),
                who: None,
            })
        };
        let sum = Sum::of(token.as_bytes());
        let Some((issued, caller)) = known.by_sum.get(&sum) else {
            return refused(AuthResult::BadCredentials, "unknown token");
        };
        if issued.revoked.is_some() || self.revocations.hold(&sum) {
            return refused(AuthResult::Revoked, &issued.name);
        }
        if issued.expires <= self.clock.unix_seconds() {
            return refused(AuthResult::Expired, &issued.name);
        }
        Ok(Arc::clone(caller))
    }
}

impl Authenticator for Tokens {
    fn takes(&self, credentials: &Credentials) -> bool {
        matches!(credentials, Credentials::GatewayToken(_))
    }

    fn look(&self) {
        self.refresh();
    }

    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
        _source: IpAddr,
    ) -> BoxFuture<'a, Result<Arc<Caller>, IdentityError>> {
        Box::pin(async move {
            match credentials {
                Credentials::GatewayToken(token) => self.judge(token.expose()),
                Credentials::None | Credentials::Jwt(_) | Credentials::Password { .. } => {
                    Err(IdentityError::Missing)
                }
            }
        })
    }
}

/// Whoever shows a token. Made when the file is read, not with each request.
fn caller(issued: &Issued) -> Caller {
    let principal = format!("user:token:{}", encode_name(&issued.name));
    let groups =
        issued.groups.iter().map(|name| format!("group:token:{}", encode_name(name))).collect();
    let detail = format!("gateway token, good until {}", rfc3339_seconds(issued.expires));
    let obtained = vec!["issued with the token".to_owned(); issued.groups.len()];
    let caller = Caller::recognised(principal, groups, AuthMethod::Token, detail);
    let proof = Proof { since: Some(issued.created), ..Proof::default() };
    caller.obtained(obtained).proved(proof).limited(issued.modules.clone())
}

fn load(file: &TokenFile) -> Known {
    match file.list() {
        Ok(tokens) => {
            let by_sum = tokens.into_iter().filter_map(|token| {
                let caller = Arc::new(caller(&token));
                Some((Sum::from_hex(&token.sha256)?, (token, caller)))
            });
            let by_sum = by_sum.collect();
            Known { by_sum, fault: None }
        }
        Err(error) => {
            tracing::error!(%error, "the token file cannot be read: token callers get 503");
            Known { by_sum: HashMap::new(), fault: Some(error.to_string()) }
        }
    }
}

/// A year, and a day of grace.
const LONGEST_LIFE: Duration = Duration::from_hours(8784);

/// How old a look at the file may be: one `stat` in this time costs nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const DAY: Duration = Duration::from_hours(24);

    fn word(result: Result<Arc<Caller>, IdentityError>) -> AuthResult {
        result.map_or_else(|error| error.labels().1, |_| AuthResult::Success)
    }

    #[test]
    fn a_token_is_good_until_it_expires_or_is_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::new(directory.path().join("tokens.json"));
        let clock = Arc::new(ManualClock::at_unix(1_000_000));
        let tokens = Tokens::open(file.clone(), Arc::<ManualClock>::clone(&clock));
        let ci = file.issue("ci", &["build".to_owned()], DAY, clock.as_ref()).unwrap();
        let dev = file.issue("dev", &[], 2 * DAY, clock.as_ref()).unwrap();
        clock.advance(Duration::from_secs(1));
        let caller = tokens.judge(ci.expose()).unwrap();
        assert_eq!(caller.principal(), "user:token:ci");
        assert_eq!(caller.groups(), ["group:token:build"]);
        clock.advance(DAY);
        assert_eq!(word(tokens.judge(ci.expose())), AuthResult::Expired);
        assert_eq!(word(tokens.judge(dev.expose())), AuthResult::Success);
        file.revoke("dev", clock.as_ref()).unwrap();
        clock.advance(Duration::from_secs(1));
        assert_eq!(word(tokens.judge(dev.expose())), AuthResult::Revoked);
        assert_eq!(word(tokens.judge("mgt_guess")), AuthResult::BadCredentials);
    }

    #[test]
    fn a_token_that_was_revoked_elsewhere_is_refused_though_the_file_calls_it_good() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::new(directory.path().join("tokens.json"));
        let clock = Arc::new(ManualClock::at_unix(1_000_000));
        let revocations = Arc::new(Revocations::new(Arc::<ManualClock>::clone(&clock)));
        let [ci, dev] =
            ["ci", "dev"].map(|name| file.issue(name, &[], DAY, clock.as_ref()).unwrap());
        let tokens = Tokens::open(file, Arc::<ManualClock>::clone(&clock));
        let tokens = tokens.hearing(Arc::clone(&revocations));
        assert_eq!(word(tokens.judge(ci.expose())), AuthResult::Success);
        revocations.hear(&Sum::of(ci.expose().as_bytes()).to_string(), 1_000_100);
        assert_eq!(word(tokens.judge(ci.expose())), AuthResult::Revoked);
        assert_eq!(word(tokens.judge(dev.expose())), AuthResult::Success);
    }

    #[test]
    fn the_file_holds_no_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.json");
        let file = TokenFile::new(path.clone());
        let token = file.issue("ci", &[], DAY, &ManualClock::at_unix(1)).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains(token.expose()) && token.expose().starts_with("mgt_"));
        assert_eq!(token.expose().len(), 4 + 43 + 6);
    }

    #[test]
    fn an_unreadable_file_is_unavailable_and_never_a_refusal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.json");
        std::fs::write(&path, "not json").unwrap();
        let tokens = Tokens::open(TokenFile::new(path), Arc::new(ManualClock::at_unix(1)));
        assert_eq!(word(tokens.judge("mgt_x")), AuthResult::BackendUnavailable);
    }

    #[test]
    fn a_name_in_use_and_a_life_without_end_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::new(directory.path().join("tokens.json"));
        let clock = ManualClock::at_unix(1);
        file.issue("ci", &[], DAY, &clock).unwrap();
        assert!(matches!(file.issue("ci", &[], DAY, &clock), Err(TokenError::Taken(_))));
        assert!(matches!(file.issue("a,b", &[], DAY, &clock), Err(TokenError::Name(_))));
        assert!(matches!(file.issue("x", &[], 400 * DAY, &clock), Err(TokenError::Life)));
        assert!(matches!(file.revoke("nobody", &clock), Err(TokenError::Unknown(_))));
    }
}
