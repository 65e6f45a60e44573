//! Tokens that a library with its ordinary settings would take: each is 401, and each has a reason of its own.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;

/// An issuer whose keys stand in a file, and a gateway that takes its tokens: all algorithms that can be taken.
struct World {
    key: Ed25519KeyPair,
    gateway: Gateway,
    now: u64,
    _keys: tempfile::TempDir,
}

/// How a token is signed.
enum Signed {
    Well,
    /// As an HMAC with the public key for a secret.
    ByPublicKey,
    Not,
}

impl World {
    fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let key = Ed25519KeyPair::generate().unwrap();
        let file = keys.path().join("keys.json");
        let public = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k",
                             "x": URL_SAFE_NO_PAD.encode(key.public_key()) });
        std::fs::write(&file, json!({ "keys": [public] }).to_string()).unwrap();
        let settings = format!(
            "[[identity.jwt]]\nname = \"corp\"\nissuer = \"https://idp.example\"\naudience = [\"modgate\"]\n\
             keys_file = \"{}\"\n",
            file.display()
        );
        let tree = Tree::new();
        let chain = format!("file://{}", tree.path().display());
        let gateway = Setup::over(&chain).with(&settings).start();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        Self { key, gateway, now, _keys: keys }
    }

    fn head() -> Value {
        json!({ "alg": "EdDSA", "kid": "k", "typ": "JWT" })
    }

    fn claims(&self) -> Value {
        json!({ "iss": "https://idp.example", "aud": "modgate", "sub": "a", "iat": self.now,
                "exp": self.now + 600 })
    }

    fn token(&self, head: &Value, claims: &Value, signed: &Signed) -> String {
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let text = format!("{}.{}", encoded(head), encoded(claims));
        let signature = match signed {
            Signed::Well => self.key.sign(text.as_bytes()).as_ref().to_vec(),
            Signed::ByPublicKey => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
                hmac::sign(&secret, text.as_bytes()).as_ref().to_vec()
            }
            Signed::Not => Vec::new(),
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A part with other values; `null` takes one out.
fn with(mut part: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are no object") };
    for (name, value) in changes {
        match value {
            Value::Null => drop(part.as_object_mut().unwrap().remove(&name)),
            value => part[name] = value,
        }
    }
    part
}

/// Head, claims, how it is signed, and the result and the detail that the audit must have.
type Row = (Value, Value, Signed, &'static str, &'static str);

fn claims_of_others(world: &World) -> Vec<Row> {
    let now = world.now;
    [
        (json!({ "iss": null, "aud": null }), "wrong_issuer", "iss is missing"),
        (json!({ "iss": 5 }), "wrong_issuer", "iss is no string"),
        (json!({ "iss": ["https://idp.example", "x"] }), "wrong_issuer", "iss is a list"),
        (json!({ "iss": "https://idp.example/" }), "wrong_issuer", "issuer is not configured"),
        (json!({ "aud": null }), "malformed", "a claim is missing"),
        (json!({ "aud": "other" }), "wrong_audience", "aud"),
        (json!({ "nbf": now + 900 }), "not_yet_valid", "nbf"),
        (json!({ "iat": now + 900, "exp": now + 960 }), "not_yet_valid", "iat lies in the future"),
        (json!({ "iat": null }), "malformed", "iat is missing"),
        (json!({ "exp": 32_503_680_000_u64 }), "malformed", "lives longer than max_life"),
        (json!({ "iat": now - 300, "exp": now - 45 }), "expired", "exp"),
        (json!({ "exp": "soon" }), "malformed", "claims are missing or of the wrong type"),
        (json!({ "sub": "a\u{7}" }), "malformed", "sub is empty, too long or not printable"),
        (
            json!({ "cnf": { "x5t#S256": "x" } }),
            "malformed",
            "bound to a certificate, which is not supported",
        ),
    ]
    .map(|(changes, result, detail)| {
        (World::head(), with(world.claims(), changes), Signed::Well, result, detail)
    })
    .into()
}

fn heads_of_others(world: &World) -> Vec<Row> {
    [
        (
            json!({ "typ": "logout+jwt" }),
            Signed::Well,
            "malformed",
            "typ is not that of an access token",
        ),
        (json!({ "crit": ["x"] }), Signed::Well, "wrong_algorithm", "header has crit"),
        (
            json!({ "jku": "https://evil.example" }),
            Signed::Well,
            "wrong_algorithm",
            "header has jku",
        ),
        (
            json!({ "x5u": "https://evil.example" }),
            Signed::Well,
            "wrong_algorithm",
            "header has x5u",
        ),
        (json!({ "x5c": [] }), Signed::Well, "wrong_algorithm", "header has x5c"),
        (json!({ "jwk": {} }), Signed::Well, "wrong_algorithm", "header has jwk"),
        (json!({ "zip": "DEF" }), Signed::Well, "wrong_algorithm", "header has zip"),
        (json!({ "b64": false }), Signed::Well, "wrong_algorithm", "header has b64"),
        (json!({ "alg": "none" }), Signed::Not, "wrong_algorithm", "alg is none that is known"),
        (json!({ "alg": "HS256" }), Signed::ByPublicKey, "wrong_algorithm", "alg"),
        (json!({ "kid": "other" }), Signed::Well, "unknown_key", "no such key"),
        (json!({ "kid": "../../etc/passwd" }), Signed::Well, "malformed", "kid is not plain"),
        (json!({}), Signed::Not, "invalid_signature", "signature"),
    ]
    .map(|(changes, signed, result, detail)| {
        (with(World::head(), changes), world.claims(), signed, result, detail)
    })
    .into()
}

#[test]
fn t19_every_hostile_token_is_401_and_the_audit_has_a_reason_of_its_own() {
    let world = World::new();
    let good = world.token(&World::head(), &world.claims(), &Signed::Well);
    assert_eq!(world.gateway.stranger().bearer(&good).get("/-/whoami").status, 200);
    let mut reasons = BTreeMap::new();
    let rows = claims_of_others(&world).into_iter().chain(heads_of_others(&world));
    for (place, (head, claims, signed, result, detail)) in rows.enumerate() {
        let token = world.token(&head, &claims, &signed);
        let stranger = world.gateway.stranger();
        let client =
            if place % 2 == 0 { stranger.bearer(&token) } else { stranger.basic("jwt", &token) };
        assert_eq!(client.get("/-/whoami").status, 401, "{head} {claims}");
        let refused =
            world.gateway.audited(place + 1, "refusals", |event| event["event"] == "auth.failure");
        let actor = &refused[place]["actor"];
        assert_eq!(
            (&actor["result"], &actor["detail"]),
            (&json!(result), &json!(detail)),
            "{head} {claims}"
        );
        assert!(reasons.insert(detail, place).is_none(), "{detail} is the reason of two");
    }
    assert!(reasons.len() >= 27, "{}", reasons.len());
}

#[test]
fn t17_none_is_no_algorithm_in_any_spelling() {
    let world = World::new();
    for alg in
        ["none", "None", "NONE", "nOnE", "", " none", "none ", "EdDSA\0", "eddsa", "HS256", "HS512"]
    {
        for signed in [Signed::Not, Signed::ByPublicKey] {
            let head = with(World::head(), json!({ "alg": alg }));
            let token = world.token(&head, &world.claims(), &signed);
            let answer = world.gateway.stranger().bearer(&token).get("/-/whoami");
            assert_eq!(answer.status, 401, "{alg:?}");
        }
    }
}
