//! What it costs to recognise a caller who was recognised before: a password, a JSON web token, a gateway token.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed benchmark")]
#![expect(clippy::panic, reason = "a failed step is a failed benchmark")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[expect(dead_code, reason = "the harness of the promises; a benchmark needs a part of it")]
#[path = "../it"]
mod it {
    pub(crate) mod support;
}

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use it::support::slapd::People;
use it::support::slapd::Slapd;
use modgate::clock::Clock;
use modgate::clock::SystemClock;
use modgate::config::Config;
use modgate::config::Inputs;
use modgate::head::Conditions;
use modgate::head::Head;
use modgate::head::Hidden;
use modgate::head::Method;
use modgate::head::Peer;
use modgate::head::Transport;
use modgate::identity::Anonymous;
use modgate::identity::Door;
use modgate::identity::Identity;
use modgate::identity::authenticator::Authenticator;
use modgate::identity::jwt::Jwt;
use modgate::identity::ldap::Ldap;
use modgate::identity::ldap::Standing;
use modgate::identity::mtls::Certificates;
use modgate::identity::token::TokenFile;
use modgate::identity::token::Tokens;
use modgate::tasks::Tasks;
use modgate::telemetry::Telemetry;
use modgate::telemetry::trace::sampler::Sampler;
use serde_json::json;

fn main() {
    let people = People::new().person("alice").group("go-dev", &["alice"]);
    let people = (0..STRANGERS).fold(people, |people, n| people.person(&format!("known{n}")));
    let slapd = Slapd::with(&people);
    let directory = tempfile::tempdir().unwrap();
    let key = Ed25519KeyPair::generate().unwrap();
    let keys = directory.path().join("keys.json");
    let public = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k",
                         "x": URL_SAFE_NO_PAD.encode(key.public_key()) });
    std::fs::write(&keys, json!({ "keys": [public] }).to_string()).unwrap();
    let settings = format!(
        "{}\n[[identity.jwt]]\nname = \"own\"\nissuer = \"https://idp.example\"\naudience = [\"modgate\"]\nkeys_file = \"{}\"\n",
        slapd.settings(""),
        keys.display()
    );
    let file = directory.path().join("modgate.toml");
    std::fs::write(&file, settings).unwrap();
    let config = Config::load(Inputs { file: Some(file), ..Inputs::default() }).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tokens = TokenFile::new(directory.path().join("tokens"));
    let token = tokens.issue("ci", &[], Duration::from_hours(1), clock.as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let telemetry = Arc::new(Telemetry::new(&[], Sampler::new(0.0), Arc::clone(&clock)).unwrap());
    let tasks = Tasks::new(runtime.handle().clone(), 4, Arc::clone(&telemetry));
    let _entered = runtime.enter();
    let methods: Vec<Box<dyn Authenticator>> = vec![
        Box::new(Tokens::open(tokens, Arc::clone(&clock))),
        Box::new(Jwt::new(config.identity.jwt.clone(), &tasks, clock).unwrap()),
        Box::new(Ldap::new(config.identity.ldap[0].clone(), Standing::First, tasks).unwrap()),
    ];
    let door = Door {
        anonymous: Anonymous::Refused,
        jwt_user_names: vec!["jwt".to_owned()],
        source_rate: NonZeroU32::MAX,
        caller_rate: NonZeroU32::MAX,
        certificates: Certificates::default(),
    };
    let identity = Identity::new(door, methods, telemetry);
    let basic = |user: &str, password: &str| {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    };
    println!("{:34} {:>12} {:>12}", "", "first, us", "then, us");
    for (name, authorization) in [
        ("a password, by a directory", basic("alice", "alice-pw")),
        ("a JSON web token (EdDSA), as Bearer", format!("Bearer {}", jwt(&key))),
        ("a gateway token, as Basic", basic("any", token.expose())),
    ] {
        measure(&runtime, &identity, name, &head(&authorization));
    }
    println!("binds that the directory saw: {}", slapd.binds());
    alike(&runtime, &identity);
}

/// How long a wrong password and an unknown name take: in turns, each from an address and for a name of its own.
fn alike(runtime: &tokio::runtime::Runtime, identity: &Identity) {
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..STRANGERS {
        for (kind, name) in ["known", "unknown"].iter().enumerate() {
            let password = STANDARD.encode(format!("{name}{n}:wrong"));
            let mut head = head(&format!("Basic {password}"));
            head.peer.address =
                std::net::SocketAddr::from(([10, u8::try_from(kind).unwrap(), 0, n], 1));
            let begun = Instant::now();
            runtime.block_on(identity.identify(&head)).unwrap_err();
            times[kind].push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [wrong, unknown] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "a wrong password {wrong:.0} us, an unknown name {unknown:.0} us, ratio {:.3}",
        unknown / wrong
    );
}

fn measure(runtime: &tokio::runtime::Runtime, identity: &Identity, name: &str, head: &Head) {
    let begun = Instant::now();
    runtime.block_on(identity.identify(head)).unwrap();
    let first = begun.elapsed();
    let begun = Instant::now();
    runtime.block_on(async {
        for _ in 0..ROUNDS {
            identity.identify(head).await.unwrap();
        }
    });
    let then = begun.elapsed() / ROUNDS;
    println!("{name:34} {:>12.1} {:>12.2}", first.as_secs_f64() * 1e6, then.as_secs_f64() * 1e6);
}

fn jwt(key: &Ed25519KeyPair) -> String {
    let now = SystemClock.unix_seconds();
    let encoded = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let head = json!({ "alg": "EdDSA", "kid": "k", "typ": "JWT" });
    let claims = json!({ "iss": "https://idp.example", "aud": "modgate", "sub": "a", "iat": now, "exp": now + 600 });
    let signed = format!("{}.{}", encoded(head), encoded(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())))
}

fn head(authorization: &str) -> Head {
    Head {
        method: Method::Get,
        path: "/".to_owned(),
        query: None,
        authorization: vec![Hidden::new(authorization.as_bytes().to_vec())],
        conditions: Conditions::default(),
        disable_module_fetch: None,
        traceparent: None,
        via: Vec::new(),
        user_agent: None,
        peer: Peer {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
            transport: Transport::Tls,
            certificate: None,
        },
        received: SystemClock.now(),
    }
}

const ROUNDS: u32 = 200_000;
/// People who mistype once each, and as many who are not there.
const STRANGERS: u8 = 200;
