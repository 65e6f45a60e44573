//! A key set (RFC 7517): one key and one `Validation` for each key id.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr as _;

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::Validation;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::jwk::PublicKeyUse;

/// Why a key set cannot be used. An unusable set never replaces a usable one.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// The file cannot be read.
    #[error("key set {0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// It is not a JSON web key set, or too large.
    #[error("key set {0}: {1}")]
    Format(PathBuf, String),
    /// A key that must not be there.
    #[error("key set {0}: key {1}: {2}")]
    Key(PathBuf, String, &'static str),
}

/// A key that may sign tokens of one issuer, and how its tokens are checked.
#[derive(Debug)]
pub struct Key {
    /// The only algorithm this key verifies.
    pub algorithm: Algorithm,
    /// The key.
    pub decoding: DecodingKey,
    /// Signature and base checks, for this key's own algorithm alone.
    pub validation: Validation,
}

/// What every `Validation` of an issuer demands.
#[derive(Debug, Clone)]
pub struct Demands {
    /// The issuer, byte for byte.
    pub issuer: String,
    /// Any of these audiences.
    pub audience: Vec<String>,
    /// Names of algorithms that are taken; never an HMAC one.
    pub algorithms: Vec<String>,
    /// Seconds by which clocks may differ.
    pub leeway: u64,
}

/// Keys by id.
#[derive(Debug, Default)]
pub struct KeySet(HashMap<String, Key>);

impl KeySet {
    /// Reads a key set. Refuses sets with private parts, duplicate ids, or nothing usable.
    pub fn read(path: &Path, demands: &Demands) -> Result<Self, KeySetError> {
        let bytes = std::fs::read(path).map_err(|e| KeySetError::File(path.to_owned(), e))?;
        Self::parse(&bytes, demands, path)
    }

    /// Reads the bytes of a key set that was found at a place.
    pub fn parse(bytes: &[u8], demands: &Demands, path: &Path) -> Result<Self, KeySetError> {
        let format = |text: &str| KeySetError::Format(path.to_owned(), text.to_owned());
        if bytes.len() > SET_LIMIT_BYTES {
            return Err(format("over 256 KiB"));
        }
        let raw: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| format(&error.to_string()))?;
        let parts = raw.get("keys").and_then(serde_json::Value::as_array);
        if parts.is_some_and(|keys| keys.iter().any(has_private_part)) {
            return Err(format("it holds private or symmetric keys: give public keys only"));
        }
        let set: JwkSet =
            serde_json::from_value(raw).map_err(|error| format(&error.to_string()))?;
        if set.keys.len() > SET_LIMIT_KEYS {
            return Err(format("over 32 keys"));
        }
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let id = jwk.common.key_id.clone().unwrap_or_default();
            if jwk.common.public_key_use == Some(PublicKeyUse::Encryption) {
                continue;
            }
            let refuse = |why| KeySetError::Key(path.to_owned(), id.clone(), why);
            let Some(key) = usable(jwk, demands).map_err(refuse)? else { continue };
            if keys.insert(id.clone(), key).is_some() {
                return Err(refuse("its id stands twice"));
            }
        }
        if keys.is_empty() {
            return Err(format("no key of it can verify any of the configured algorithms"));
        }
        Ok(Self(keys))
    }

    /// The ids of all keys, in order.
    pub fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<_> = self.0.keys().map(String::as_str).collect();
        ids.sort_unstable();
        ids
    }

    /// The key of an id; without an id the only key, if there is one only.
    pub fn find(&self, id: Option<&str>) -> Option<&Key> {
        match id {
            Some(id) => self.0.get(id),
            None if self.0.len() == 1 => self.0.values().next(),
            None => None,
        }
    }
}

/// The key with its own validation; `None` if its algorithm is not among those taken.
fn usable(jwk: &Jwk, demands: &Demands) -> Result<Option<Key>, &'static str> {
    let decoding = DecodingKey::from_jwk(jwk).map_err(|_| "it cannot be read")?;
    let named = match &jwk.common.key_algorithm {
        Some(algorithm) => vec![algorithm.to_string()],
        None => demands.algorithms.clone(),
    };
    let family = decoding.family();
    let taken = named
        .iter()
        .filter(|name| demands.algorithms.contains(name))
        .filter_map(|name| Algorithm::from_str(name).ok())
        .find(|algorithm| algorithm.family() == family);
    let Some(algorithm) = taken else { return Ok(None) };
    let mut validation = Validation::new(algorithm);
    validation.leeway = demands.leeway;
    validation.validate_nbf = true;
    validation.set_issuer(&[&demands.issuer]);
    validation.set_audience(&demands.audience);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    Ok(Some(Key { algorithm, decoding, validation }))
}

fn has_private_part(key: &serde_json::Value) -> bool {
    ["d", "p", "q", "dp", "dq", "qi", "k"].iter().any(|part| key.get(part).is_some())
}

/// A provider's key set is a few kilobytes.
const SET_LIMIT_BYTES: usize = 256 * 1024;
/// Keys in use and keys to come.
const SET_LIMIT_KEYS: usize = 32;
