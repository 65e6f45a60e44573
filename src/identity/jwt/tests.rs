//! Tokens that must not get in, each signed with a good key: the signature is never what refuses them here.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::telemetry::Telemetry;
use crate::telemetry::trace::sampler::Sampler;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use serde_json::json;

const NOW: u64 = 1_800_000_000;

struct Bench {
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    key: Ed25519KeyPair,
    jwt: Jwt,
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn public(key: &Ed25519KeyPair) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1",
            "x": URL_SAFE_NO_PAD.encode(key.public_key()) })
}

fn settings(keys_file: PathBuf) -> JwtIssuer {
    JwtIssuer {
        name: "corp".to_owned(),
        issuer: "https://idp.example".to_owned(),
        audience: vec!["modgate".to_owned()],
        keys: KeySource::File(keys_file),
        keys_cooldown: Duration::from_secs(30),
        claim_groups: vec!["repository".to_owned()],
        required_claims: Vec::new(),
        algorithms: vec!["EdDSA".to_owned()],
        groups_claim: "realm_access.roles".to_owned(),
        typ: vec!["JWT".to_owned(), "at+jwt".to_owned()],
        max_life: Duration::from_hours(24),
        leeway: Duration::from_secs(30),
    }
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let keys_file = directory.path().join("keys.json");
    let key = Ed25519KeyPair::generate().unwrap();
    std::fs::write(&keys_file, json!({ "keys": [public(&key)] }).to_string()).unwrap();
    with_settings(settings(keys_file), directory, key)
}

fn with_settings(settings: JwtIssuer, directory: tempfile::TempDir, key: Ed25519KeyPair) -> Bench {
    // the crate that checks signatures has a wall clock of its own: times are taken relative to it
    let clock = Arc::new(ManualClock::at_unix(wall()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let jwt = judge(settings, &runtime, clock);
    Bench { directory, runtime, key, jwt }
}

fn judge(settings: JwtIssuer, runtime: &tokio::runtime::Runtime, clock: Arc<ManualClock>) -> Jwt {
    let telemetry =
        Telemetry::new(&[], Sampler::new(0.0), Arc::<ManualClock>::clone(&clock)).unwrap();
    let tasks = Tasks::new(runtime.handle().clone(), 1, Arc::new(telemetry));
    Jwt::new(vec![settings], &tasks, clock).unwrap()
}

fn wall() -> u64 {
    crate::clock::SystemClock.unix_seconds()
}

fn claims() -> Value {
    json!({ "iss": "https://idp.example", "aud": "modgate", "sub": "alice", "iat": wall() - 5,
            "exp": wall() + 600, "jti": "id-1", "realm_access": { "roles": ["go-dev", "a,b"] } })
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "kid": "k1", "typ": "JWT" })
}

impl Bench {
    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn word(&self, token: &str) -> AuthResult {
        self.judge(token).map_or_else(|error| error.labels().1, |_| AuthResult::Success)
    }

    fn judge(&self, token: &str) -> Result<Arc<Caller>, IdentityError> {
        self.runtime.block_on(self.jwt.judge(token))
    }

    fn with_claim(&self, name: &str, value: Value) -> AuthResult {
        let mut claims = claims();
        claims[name] = value;
        self.word(&self.sign(&header(), &claims))
    }

    fn without_claim(&self, name: &str) -> AuthResult {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        self.word(&self.sign(&header(), &claims))
    }

    fn with_header(&self, name: &str, value: Value) -> AuthResult {
        let mut header = header();
        header[name] = value;
        self.word(&self.sign(&header, &claims()))
    }
}

#[test]
fn a_good_token_names_the_caller_and_the_groups_of_its_realm() {
    let bench = bench();
    let caller = bench.judge(&bench.sign(&header(), &claims())).unwrap();
    assert_eq!(caller.principal(), "user:oidc/corp:alice");
    assert_eq!(caller.groups(), ["group:oidc/corp:go-dev", "group:oidc/corp:a%2Cb"]);
}

#[test]
fn claims_that_the_library_would_let_through_are_refused() {
    let bench = bench();
    let now = wall();
    let table = [
        ("iss", json!(5), AuthResult::WrongIssuer),
        ("iss", json!(["https://idp.example", "x"]), AuthResult::WrongIssuer),
        ("iss", json!("https://evil.example"), AuthResult::WrongIssuer),
        ("aud", json!("other"), AuthResult::WrongAudience),
        ("nbf", json!(now + 3600), AuthResult::NotYetValid),
        ("iat", json!(now + 3600), AuthResult::NotYetValid),
        ("exp", json!(32_503_680_000_u64), AuthResult::Malformed),
        ("exp", json!(now - 45), AuthResult::Expired),
        ("exp", json!("soon"), AuthResult::Malformed),
        ("sub", json!(""), AuthResult::Malformed),
        ("sub", json!("a\nb"), AuthResult::Malformed),
        ("sub", json!("x".repeat(257)), AuthResult::Malformed),
        ("cnf", json!({ "x5t#S256": "x" }), AuthResult::Malformed),
    ];
    for (name, value, expected) in table {
        assert_eq!(bench.with_claim(name, value.clone()), expected, "{name} = {value}");
    }
    assert_eq!(bench.without_claim("iss"), AuthResult::WrongIssuer);
    for name in ["aud", "sub", "exp", "iat"] {
        assert_eq!(bench.without_claim(name), AuthResult::Malformed, "without {name}");
    }
}

#[test]
fn a_header_can_neither_bring_a_key_nor_another_meaning() {
    let bench = bench();
    let table = [
        ("typ", json!("logout+jwt"), AuthResult::Malformed),
        ("typ", json!(7), AuthResult::Malformed),
        ("crit", json!(["x"]), AuthResult::WrongAlgorithm),
        ("jku", json!("https://evil.example/keys"), AuthResult::WrongAlgorithm),
        ("jwk", json!({}), AuthResult::WrongAlgorithm),
        ("x5c", json!([]), AuthResult::WrongAlgorithm),
        ("b64", json!(false), AuthResult::WrongAlgorithm),
        ("kid", json!("k2"), AuthResult::UnknownKey),
        ("kid", json!("../../etc/passwd"), AuthResult::Malformed),
        ("kid", json!("k".repeat(129)), AuthResult::Malformed),
    ];
    for (name, value, expected) in table {
        assert_eq!(bench.with_header(name, value.clone()), expected, "{name} = {value}");
    }
    for algorithm in ["none", "HS256", "RS256"] {
        let result = bench.with_header("alg", json!(algorithm));
        assert_ne!(result, AuthResult::Success, "{algorithm}");
    }
}

#[test]
fn a_hash_keyed_with_our_public_key_is_no_signature() {
    let bench = bench();
    let secret = jsonwebtoken::EncodingKey::from_secret(bench.key.public_key().as_ref());
    let mut head = jsonwebtoken::Header::new(Algorithm::HS256);
    head.kid = Some("k1".to_owned());
    let token = jsonwebtoken::encode(&head, &claims(), &secret).unwrap();
    assert_ne!(bench.word(&token), AuthResult::Success);
}

#[test]
fn a_token_changed_after_signing_is_refused() {
    let bench = bench();
    let token = bench.sign(&header(), &claims());
    let mut other = claims();
    other["sub"] = json!("mallory");
    let parts: Vec<&str> = token.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], encoded(&other), parts[2]);
    assert_eq!(bench.word(&forged), AuthResult::InvalidSignature);
    for shape in ["", "a", "a.b", "a.b.c", "a.b.c.d", "..", &format!("{token}.x")] {
        assert_eq!(bench.word(shape), AuthResult::Malformed, "{shape}");
    }
}

#[test]
fn without_a_key_set_a_token_cannot_be_judged_and_is_not_refused() {
    let bench = bench();
    let missing = bench.directory.path().join("missing.json");
    let jwt = judge(settings(missing), &bench.runtime, Arc::new(ManualClock::at_unix(NOW)));
    let outcome = bench.runtime.block_on(jwt.judge(&bench.sign(&header(), &claims())));
    assert_eq!(outcome.unwrap_err().labels().1, AuthResult::BackendUnavailable);
}

#[test]
fn an_unusable_set_never_replaces_a_usable_one() {
    let bench = bench();
    let path = bench.directory.path().join("keys.json");
    let clock = Arc::new(ManualClock::at_unix(wall()));
    let jwt = judge(settings(path.clone()), &bench.runtime, Arc::<ManualClock>::clone(&clock));
    let mut private = public(&bench.key);
    private["d"] = json!("c2VjcmV0");
    std::fs::write(&path, json!({ "keys": [private] }).to_string()).unwrap();
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(wall() + 100);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    clock.advance(Duration::from_secs(2));
    assert!(bench.runtime.block_on(jwt.judge(&bench.sign(&header(), &claims()))).is_ok());
}

/// A bench of a public CI whose tokens must be about us.
fn ci(groups: &[&str], required: &[(&str, &str)]) -> Bench {
    let Bench { directory, key, .. } = bench();
    let mut settings = settings(directory.path().join("keys.json"));
    settings.claim_groups = groups.iter().map(|&claim| claim.to_owned()).collect();
    settings.required_claims =
        required.iter().map(|&(claim, value)| (claim.to_owned(), value.to_owned())).collect();
    with_settings(settings, directory, key)
}

fn workload(more: Value) -> Value {
    let mut claims = json!({ "iss": "https://idp.example", "aud": "modgate", "jti": "j",
                             "iat": wall() - 5, "nbf": wall() - 5, "exp": wall() + 300 });
    let (Some(claims_of), Value::Object(more)) = (claims.as_object_mut(), more) else {
        panic!("no object")
    };
    claims_of.extend(more);
    claims
}

fn github() -> Value {
    workload(json!({
        "sub": "repo:corp/ledger:environment:prod", "repository": "corp/ledger",
        "repository_owner": "corp", "repository_id": "74", "ref": "refs/heads/main",
        "ref_type": "branch", "event_name": "push", "environment": "prod",
        "job_workflow_ref": "corp/ci/.github/workflows/build.yml@refs/heads/main",
        "runner_environment": "self-hosted", "run_attempt": "1", "actor": "alice",
    }))
}

#[test]
fn a_job_of_github_actions_is_its_repository_and_a_strangers_is_nobody() {
    let bench = ci(
        &["repository", "ref", "environment"],
        &[("repository_owner", "corp"), ("ref_type", "branch")],
    );
    let header = json!({ "typ": "JWT", "alg": "EdDSA", "x5t": "k1", "kid": "k1" });
    let caller = bench.judge(&bench.sign(&header, &github())).unwrap();
    assert_eq!(caller.principal(), "user:oidc/corp:repo:corp/ledger:environment:prod");
    assert_eq!(
        caller.groups(),
        [
            "group:oidc/corp:repository=corp/ledger",
            "group:oidc/corp:ref=refs/heads/main",
            "group:oidc/corp:environment=prod"
        ]
    );
    assert!(
        caller.groups_obtained().any(|(group, how)| group.contains(":ref=") && how == "claim ref")
    );
    // anybody may ask the same issuer for a token with our audience
    let mut foreign = github();
    foreign["repository_owner"] = json!("evil");
    foreign["sub"] = json!("repo:evil/x:ref:refs/heads/main");
    assert_eq!(bench.word(&bench.sign(&header, &foreign)), AuthResult::BadCredentials);
    foreign.as_object_mut().unwrap().remove("repository_owner");
    assert_eq!(bench.word(&bench.sign(&header, &foreign)), AuthResult::BadCredentials);
}

#[test]
fn a_job_of_gitlab_is_its_project_and_a_value_cannot_make_up_a_group() {
    let bench = ci(&["project_path", "ref_protected"], &[("namespace_path", "corp/pay")]);
    let mut claims = workload(json!({
        "sub": "project_path:corp/pay/ledger:ref_type:branch:ref:main", "namespace_id": "72",
        "namespace_path": "corp/pay", "project_id": "20", "project_path": "corp/pay/ledger",
        "user_login": "alice", "user_email": "a@corp.example", "pipeline_source": "push",
        "ref": "main", "ref_type": "branch", "ref_protected": "true", "user_identities": [{ "provider": "x" }],
    }));
    let caller = bench.judge(&bench.sign(&header(), &claims)).unwrap();
    assert_eq!(
        caller.principal(),
        "user:oidc/corp:project_path:corp/pay/ledger:ref_type:branch:ref:main"
    );
    assert_eq!(
        caller.groups(),
        ["group:oidc/corp:project_path=corp/pay/ledger", "group:oidc/corp:ref_protected=true"]
    );
    // what stands in a claim stays in that claim
    claims["project_path"] = json!("x,group:oidc/corp:go-dev\nref_protected=true");
    let caller = bench.judge(&bench.sign(&header(), &claims)).unwrap();
    assert_eq!(
        caller.groups()[0],
        "group:oidc/corp:project_path=x%2Cgroup:oidc/corp:go-dev%0Aref_protected=true"
    );
}

#[test]
fn a_required_claim_may_be_a_text_a_switch_a_list_or_a_word_of_scope() {
    let required = [
        ("scope", "modules:read"),
        ("realm_access.roles", "go-dev"),
        ("email_verified", "true"),
        ("https://corp.example/tenant", "7"),
    ];
    let bench = ci(&[], &required);
    let mut good = claims();
    good["scope"] = json!("openid modules:read");
    good["email_verified"] = json!(true);
    good["https://corp.example/tenant"] = json!(7);
    assert_eq!(bench.word(&bench.sign(&header(), &good)), AuthResult::Success);
    let table = [
        ("scope", json!("modules:readwrite")),
        ("realm_access", json!({ "roles": ["go-dev2"] })),
        ("realm_access", json!("go-dev")),
        ("email_verified", json!(false)),
        ("https://corp.example/tenant", json!(null)),
    ];
    for (name, value) in table {
        let mut bad = good.clone();
        bad[name] = value.clone();
        let result = bench.word(&bench.sign(&header(), &bad));
        assert_eq!(result, AuthResult::BadCredentials, "{name} = {value}");
    }
}
