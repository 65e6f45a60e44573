//! JSON web tokens against configured issuers: the crate checks the signature, this file what the crate lets through.
//!
//! The order of checks is fixed and the first failure ends it: size and header, algorithm, issuer, key,
//! signature with the base claims, then the claims that the crate's ordinary settings accept in any form.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::Weak;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;

use crate::clock::Clock;
use crate::clock::rfc3339_seconds;
use crate::config::identity::JwtIssuer;
use crate::config::identity::KeySource;
use crate::content::Sum;
use crate::egress::document::Documents;
use crate::egress::document::DocumentsError;
use crate::identity::IdentityError;
use crate::identity::authenticator::Authenticator;
use crate::identity::caller::Caller;
use crate::identity::caller::encode_name;
use crate::identity::credentials::Credentials;
use crate::identity::jwks::Demands;
use crate::identity::jwks::KeySet;
use crate::identity::keys::Discovered;
use crate::identity::keys::FileKeys;
use crate::identity::keys::Keys;
use crate::identity::keys::News;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::AuthMethod;
use crate::telemetry::labels::AuthResult;
use crate::telemetry::labels::identity::Held;
use crate::telemetry::labels::identity::Recall;
use crate::telemetry::record::Proof;

/// One configured issuer and its keys.
#[derive(Debug)]
struct Issuer {
    settings: JwtIssuer,
    keys: Keys,
}

/// Judges JSON web tokens.
#[derive(Debug)]
pub struct Jwt {
    issuers: Vec<Issuer>,
    verified: Cache<Sum, Verified>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
}

/// A token that was verified not long ago: good until its time, and as long as the set with its key is in force.
#[derive(Debug, Clone)]
struct Verified {
    caller: Arc<Caller>,
    until: u64,
    set: Weak<KeySet>,
    place: usize,
}

/// The claims we read. Types are strict: an issuer that is an array is not an issuer.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: u64,
    #[serde(default)]
    iat: Option<u64>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

struct Refusal(AuthResult, &'static str);

impl Jwt {
    /// Begins with the key sets of every issuer. While one cannot be had, its issuer's tokens cannot be judged.
    pub fn new(
        issuers: Vec<JwtIssuer>,
        tasks: &Tasks,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DocumentsError> {
        let issuers: Result<Vec<_>, _> =
            issuers.into_iter().map(|settings| Issuer::new(settings, tasks, clock.now())).collect();
        let (verified, telemetry) = (Cache::new(VERIFIED), tasks.telemetry_handle());
        Ok(Self { issuers: issuers?, verified, clock, telemetry })
    }

    /// Asks every issuer that is found by discovery, for `check-config --probe`: what each said.
    pub async fn probe(&self) -> Vec<(String, Result<(), String>)> {
        let mut said = Vec::new();
        for issuer in &self.issuers {
            if let Keys::Discovered(keys) = &issuer.keys {
                said.push((issuer.settings.issuer.clone(), keys.probe().await));
            }
        }
        said
    }

    async fn judge(&self, token: &str) -> Result<Arc<Caller>, IdentityError> {
        let refused = |Refusal(result, detail)| IdentityError::Refused {
            method: AuthMethod::Jwt,
            result,
            detail: detail.to_owned(),
            who: None,
        };
        let name = Sum::of(token.as_bytes());
        let recall = |held, recall| self.telemetry.metrics().auth_cache.count((held, recall));
        if let Some(caller) = self.remembered(&name).await {
            recall(Held::Token, Recall::Hit);
            return Ok(caller);
        }
        recall(Held::Token, Recall::Miss);
        let header = check_header(token).map_err(refused)?;
        let place = self.issuer_of(token).map_err(refused)?;
        let issuer = self
            .issuers
            .get(place)
            .ok_or(Refusal(AuthResult::WrongIssuer, "no issuer"))
            .map_err(refused)?;
        if !issuer.takes_type(header.typ.as_deref()) {
            return Err(refused(Refusal(
                AuthResult::Malformed,
                "typ is not that of an access token",
            )));
        }
        let Some(mut keys) = issuer.keys.set(self.clock.now()).await else {
            let detail = format!("no key set for issuer {}", issuer.settings.name);
            return Err(IdentityError::Unavailable { method: AuthMethod::Jwt, detail });
        };
        let now = self.clock.unix_seconds();
        match header.kid.as_deref().filter(|id| keys.find(Some(id)).is_none()) {
            None => recall(Held::Jwks, Recall::Hit),
            Some(id) => {
                recall(Held::Jwks, Recall::Miss);
                keys = issuer.keys.look_for(id).await.unwrap_or(keys);
            }
        }
        let claims = verify(token, header.kid.as_deref(), &keys).map_err(refused)?;
        issuer.check(&claims, now).map_err(refused)?;
        let caller = Arc::new(issuer.caller(&claims, header.kid));
        let until = claims.exp.min(now + VERIFIED_SECONDS);
        let set = Arc::downgrade(&keys);
        self.verified.insert(name, Verified { caller: Arc::clone(&caller), until, set, place });
        Ok(caller)
    }

    /// A token that was verified not long ago, if the set with its key is still the one in force.
    async fn remembered(&self, name: &Sum) -> Option<Arc<Caller>> {
        let known =
            self.verified.get(name).filter(|known| self.clock.unix_seconds() < known.until)?;
        let set = self.issuers.get(known.place)?.keys.set(self.clock.now()).await?;
        std::ptr::eq(known.set.as_ptr(), Arc::as_ptr(&set)).then_some(known.caller)
    }

    /// Selects the issuer by the unverified claim; the signature check that follows makes it good.
    fn issuer_of(&self, token: &str) -> Result<usize, Refusal> {
        let unreadable = || Refusal(AuthResult::Malformed, "claims cannot be read");
        let payload = token.split('.').nth(1).ok_or_else(unreadable)?;
        let claims: Value = decode_part(payload).ok_or_else(unreadable)?;
        let wrong = |why| Refusal(AuthResult::WrongIssuer, why);
        let named = claims.get("iss").ok_or_else(|| wrong("iss is missing"))?;
        let named = named.as_str().ok_or_else(|| {
            wrong(if named.is_array() { "iss is a list" } else { "iss is no string" })
        })?;
        let place = self.issuers.iter().position(|issuer| issuer.settings.issuer == named);
        place.ok_or_else(|| wrong("issuer is not configured"))
    }
}

impl Issuer {
    fn new(settings: JwtIssuer, tasks: &Tasks, now: SystemTime) -> Result<Self, DocumentsError> {
        let demands = Demands {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            algorithms: settings.algorithms.clone(),
            leeway: settings.leeway.as_secs(),
        };
        let news = News::of(&settings.issuer, &settings.name, tasks.telemetry_handle());
        let keys = match &settings.keys {
            KeySource::File(path) => Keys::File(FileKeys::open(path.clone(), demands, now, news)),
            KeySource::Discovery { ca_file } => {
                let documents = Documents::new(ca_file.as_deref())?;
                let cooldown = settings.keys_cooldown;
                Keys::Discovered(Discovered::start(
                    demands,
                    documents,
                    cooldown,
                    (news, tasks.clone()),
                ))
            }
        };
        Ok(Self { settings, keys })
    }

    /// A token without `typ` is taken; one that says what it is must be what the issuer is configured for.
    fn takes_type(&self, typ: Option<&str>) -> bool {
        typ.is_none_or(|typ| self.settings.typ.iter().any(|known| known.eq_ignore_ascii_case(typ)))
    }

    fn check(&self, claims: &Claims, now: u64) -> Result<(), Refusal> {
        let refuse = |result, why| Err(Refusal(result, why));
        let leeway = self.settings.leeway.as_secs();
        if claims.iss != self.settings.issuer {
            return refuse(AuthResult::WrongIssuer, "issuer differs");
        }
        let Some(issued) = claims.iat else {
            return refuse(AuthResult::Malformed, "iat is missing");
        };
        if issued > now + leeway {
            return refuse(AuthResult::NotYetValid, "iat lies in the future");
        }
        if claims.exp.saturating_sub(issued) > self.settings.max_life.as_secs() {
            return refuse(AuthResult::Malformed, "lives longer than max_life");
        }
        let printable = !claims.sub.is_empty() && !claims.sub.chars().any(char::is_control);
        if !printable || claims.sub.len() > SUBJECT_LIMIT_BYTES {
            return refuse(AuthResult::Malformed, "sub is empty, too long or not printable");
        }
        if claims.rest.contains_key("cnf") {
            return refuse(AuthResult::Malformed, "bound to a certificate, which is not supported");
        }
        let mut required = self.settings.required_claims.iter();
        if !required.all(|(claim, value)| holds(claims, claim, value)) {
            return refuse(AuthResult::BadCredentials, "a required claim is missing or another");
        }
        Ok(())
    }

    fn caller(&self, claims: &Claims, key: Option<String>) -> Caller {
        let realm = &self.settings.name;
        let principal = format!("user:oidc/{realm}:{}", encode_name(&claims.sub));
        let source = &self.settings.groups_claim;
        let listed = nested(&claims.rest, source).and_then(Value::as_array);
        let listed = listed.into_iter().flatten().filter_map(Value::as_str);
        let listed = listed.map(|group| (group.to_owned(), source));
        // workload identities carry no groups: what they are about becomes one, such as repository=owner/name
        let about = self.settings.claim_groups.iter().filter_map(|claim| {
            let value = nested(&claims.rest, claim).and_then(Value::as_str)?;
            Some((format!("{claim}={value}"), claim))
        });
        let (groups, obtained) = listed
            .chain(about)
            .take(GROUPS_LIMIT)
            .map(|(group, claim)| {
                let group = format!("group:oidc/{realm}:{}", encode_name(&group));
                (group, format!("claim {claim}"))
            })
            .unzip();
        let (issuer, until) = (&self.settings.issuer, rfc3339_seconds(claims.exp));
        let detail = format!("JWT of {issuer}, good until {until}");
        let proof = Proof {
            since: claims.iat,
            issuer: Some(self.settings.issuer.clone()),
            key,
            token: claims.jti.clone(),
            ..Proof::default()
        };
        let caller = Caller::recognised(principal, groups, AuthMethod::Jwt, detail);
        caller.obtained(obtained).proved(proof)
    }
}

/// What the header says of the token.
struct Header {
    kid: Option<String>,
    typ: Option<String>,
}

/// Checks the header before anything is trusted.
fn check_header(token: &str) -> Result<Header, Refusal> {
    let malformed = |why| Refusal(AuthResult::Malformed, why);
    let parts: Vec<&str> = token.split('.').collect();
    let [header, _, _] = parts.as_slice() else { return Err(malformed("not three parts")) };
    let header: Value = decode_part(header).ok_or_else(|| malformed("header cannot be read"))?;
    let header = header.as_object().ok_or_else(|| malformed("header is no object"))?;
    if let Some((_, why)) = FORBIDDEN_HEADERS.iter().find(|(name, _)| header.contains_key(*name)) {
        return Err(Refusal(AuthResult::WrongAlgorithm, why));
    }
    let text = |name: &str, why| match header.get(name) {
        None => Ok(None),
        Some(value) => {
            value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| malformed(why))
        }
    };
    let alg = text("alg", "alg is no string")?.unwrap_or_default();
    if Algorithm::from_str(&alg).is_err() {
        return Err(Refusal(AuthResult::WrongAlgorithm, "alg is none that is known"));
    }
    let typ = text("typ", "typ is no string")?;
    let kid = text("kid", "kid is no string")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.=".contains(&b);
    let fits = |kid: &String| kid.len() <= KID_LIMIT_BYTES && kid.bytes().all(plain);
    if !kid.as_ref().is_none_or(fits) {
        return Err(malformed("kid is not plain"));
    }
    Ok(Header { kid, typ })
}

fn verify(token: &str, kid: Option<&str>, keys: &KeySet) -> Result<Claims, Refusal> {
    let key = keys.find(kid).ok_or(Refusal(AuthResult::UnknownKey, "no such key"))?;
    let verified = jsonwebtoken::decode::<Claims>(token, &key.decoding, &key.validation);
    verified.map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => Refusal(AuthResult::InvalidSignature, "signature"),
        ErrorKind::ExpiredSignature => Refusal(AuthResult::Expired, "exp"),
        ErrorKind::ImmatureSignature => Refusal(AuthResult::NotYetValid, "nbf"),
        ErrorKind::InvalidIssuer => Refusal(AuthResult::WrongIssuer, "iss"),
        ErrorKind::InvalidAudience => Refusal(AuthResult::WrongAudience, "aud"),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            Refusal(AuthResult::WrongAlgorithm, "alg")
        }
        ErrorKind::MissingRequiredClaim(_) => Refusal(AuthResult::Malformed, "a claim is missing"),
        _ => Refusal(AuthResult::Malformed, "claims are missing or of the wrong type"),
    })
}

impl Authenticator for Jwt {
    fn takes(&self, credentials: &Credentials) -> bool {
        matches!(credentials, Credentials::Jwt(_))
    }

    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
        _source: IpAddr,
    ) -> BoxFuture<'a, Result<Arc<Caller>, IdentityError>> {
        Box::pin(async move {
            match credentials {
                Credentials::Jwt(token) => self.judge(token.expose()).await,
                Credentials::None | Credentials::GatewayToken(_) | Credentials::Password { .. } => {
                    Err(IdentityError::Missing)
                }
            }
        })
    }
}

fn decode_part(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Whether a claim is a value, or a list of which one is; `scope` is a list of words (RFC 8693).
fn holds(claims: &Claims, claim: &str, value: &str) -> bool {
    let is = |found: &Value| match found {
        Value::String(text) => text == value,
        Value::Bool(switch) => value.parse() == Ok(*switch),
        Value::Number(number) => value.parse().as_ref().is_ok_and(|wanted| number == wanted),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    match nested(&claims.rest, claim) {
        _ if claim == "sub" => claims.sub == value,
        Some(Value::String(words)) if claim == "scope" => {
            words.split(' ').any(|word| word == value)
        }
        Some(Value::Array(several)) => several.iter().any(is),
        found => found.is_some_and(is),
    }
}

/// A claim by its name, which may be a URL, or by its path, such as `realm_access.roles`.
fn nested<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    let mut names = path.split('.');
    let mut found = claims.get(names.next()?)?;
    for name in names {
        found = found.get(name)?;
    }
    Some(found)
}

/// Headers that would let a token bring its own key, or change what is signed.
const FORBIDDEN_HEADERS: [(&str, &str); 7] = [
    ("crit", "header has crit"),
    ("jku", "header has jku"),
    ("x5u", "header has x5u"),
    ("x5c", "header has x5c"),
    ("jwk", "header has jwk"),
    ("zip", "header has zip"),
    ("b64", "header has b64"),
];
/// A key id is a map key, never a path or a query.
const KID_LIMIT_BYTES: usize = 128;
/// Longer subjects are no names.
const SUBJECT_LIMIT_BYTES: usize = 256;
/// More groups than this are a mistake of the issuer.
const GROUPS_LIMIT: usize = 10_000;
/// Tokens that are remembered as good: one `go` command repeats its token hundreds of times.
const VERIFIED: usize = 10_000;
/// For how long at most.
const VERIFIED_SECONDS: u64 = 5 * 60;

#[cfg(test)]
mod tests;
