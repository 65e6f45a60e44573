//! Tokens of a real OpenID provider whose keys are found by discovery: rotated, gone, and asked for by strangers.

use std::fmt::Write as _;
use std::io::Read as _;
use std::io::Write as _;
use std::time::Duration;
use std::time::Instant;

use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::go::Go;
use crate::support::issuer::Issuer;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

fn over(settings: &str) -> Gateway {
    let tree = Tree::new();
    Setup::over(&format!("file://{}", tree.path().display())).with(settings).start()
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.stranger().bearer(token).get("/-/whoami").status
}

#[test]
fn an_access_token_is_good_as_bearer_and_as_password_and_carries_groups() {
    for algorithm in ["ES256", "RS256"] {
        let issuer = Issuer::start(algorithm);
        let gateway = over(&issuer.settings("claim_groups = [\"repository\"]"));
        let token = issuer.token();
        until("the keys are known", || status(&gateway, &token) == 200);
        for client in [gateway.stranger().bearer(&token), gateway.stranger().basic("jwt", &token)] {
            let answer = client.get("/-/whoami");
            assert_eq!(answer.status, 200, "{}", answer.text());
            let who: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(who["principal"], "user:oidc/corp:ci");
            let expected =
                json!(["group:oidc/corp:go-payments", "group:oidc/corp:repository=corp/ledger"]);
            assert_eq!(who["groups"], expected);
        }
    }
}

#[test]
fn the_go_client_downloads_with_an_access_token_in_netrc_what_its_group_may_read() {
    let issuer = Issuer::start("ES256");
    let mut tree = Tree::new();
    tree.module("corp.example/payments/ledger", "v1.0.0", &[]);
    tree.module("example.com/lib", "v1.0.0", &[]);
    let policy = tempfile::tempdir().unwrap();
    crate::ldap::copy_policy(policy.path(), "g, group:oidc/corp:go-payments, role:payments\n");
    let settings =
        format!("[policy]\ndir = \"{}\"\n\n{}", policy.path().display(), issuer.settings(""));
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).with(&settings).start();
    let token = issuer.token();
    until("the keys are known", || status(&gateway, &token) == 200);
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("go.mod"), "module example.com/main\n\ngo 1.21\n").unwrap();
    let netrc = project.path().join("netrc");
    let line = format!("machine localhost:{} login jwt password {token}\n", gateway.address.port());
    std::fs::write(&netrc, line).unwrap();
    let go = Go::at(&gateway).with("NETRC", &netrc.display().to_string()).with("GONOSUMDB", "*");
    let said = go.run(project.path(), &["get", "corp.example/payments/ledger@v1.0.0"]);
    assert!(said.ok, "{}", said.err);
    let said = go.run(project.path(), &["get", "example.com/lib@v1.0.0"]);
    assert!(
        !said.ok && said.err.contains("403") && said.err.contains("no rule allows it"),
        "{}",
        said.err
    );
}

#[test]
fn a_rotation_is_followed_and_the_old_key_dies_with_it() {
    let mut issuer = Issuer::start("ES256");
    let gateway = over(&issuer.settings("keys_cooldown = \"500ms\""));
    let old = issuer.token();
    until("the first token is good", || status(&gateway, &old) == 200);
    issuer.stop();
    // what is known goes on being judged while the provider is away
    for _ in 0..5 {
        assert_eq!(status(&gateway, &old), 200);
    }
    issuer.start_again();
    let new = issuer.token();
    until("the new token is good", || status(&gateway, &new) == 200);
    assert_eq!(status(&gateway, &old), 401);
}

#[test]
fn without_keys_nobody_is_refused_and_when_they_come_tokens_are_judged() {
    let mut issuer = Issuer::start("ES256");
    let token = issuer.token();
    issuer.stop();
    let gateway = over(&issuer.settings("keys_cooldown = \"300ms\""));
    let answer = gateway.stranger().bearer(&token).get("/-/whoami");
    assert_eq!((answer.status, answer.header("retry-after").as_str()), (503, "5"));
    let took = gateway.took(&answer);
    assert!(took < 3000.0, "{took} ms");
    issuer.start_again();
    let fresh = issuer.token();
    until("the token is judged", || status(&gateway, &fresh) == 200);
}

/// An issuer of our own making, so that it can be counted how often its keys are asked for.
struct Counted {
    files: tempfile::TempDir,
    upstream: Upstream,
}

impl Counted {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let upstream = Upstream::serve(files.path());
        std::fs::create_dir(files.path().join(".well-known")).unwrap();
        let document =
            json!({ "issuer": upstream.url(), "jwks_uri": format!("{}/jwks", upstream.url()) });
        std::fs::write(files.path().join(".well-known/openid-configuration"), document.to_string())
            .unwrap();
        Self { files, upstream }
    }

    fn publish(&self, id: &str, key: &Ed25519KeyPair) {
        let public = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id,
                             "x": URL_SAFE_NO_PAD.encode(key.public_key()) });
        std::fs::write(self.files.path().join("jwks"), json!({ "keys": [public] }).to_string())
            .unwrap();
    }

    fn token(&self, id: &str, key: &Ed25519KeyPair) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let head = json!({ "alg": "EdDSA", "kid": id, "typ": "JWT" });
        let claims = json!({ "iss": self.upstream.url(), "aud": "modgate", "sub": "a", "iat": now, "exp": now + 600 });
        let encoded = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(head), encoded(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())))
    }
}

#[test]
fn ten_thousand_unknown_keys_cost_one_fetch_a_cooldown_and_a_rotation_is_still_seen() {
    let issuer = Counted::new();
    let (first, second) =
        (Ed25519KeyPair::generate().unwrap(), Ed25519KeyPair::generate().unwrap());
    issuer.publish("first", &first);
    let cooldown = Duration::from_secs(3);
    let settings = format!(
        "[[identity.jwt]]\nname = \"own\"\nissuer = \"{}\"\naudience = [\"modgate\"]\nkeys_cooldown = \"{}s\"\n",
        issuer.upstream.url(),
        cooldown.as_secs()
    );
    let gateway = over(&settings);
    let good = issuer.token("first", &first);
    until("the good token is good", || status(&gateway, &good) == 200);
    let begun = Instant::now();
    let floods: Vec<_> = (0..4)
        .map(|thread| {
            let client = gateway.stranger();
            let tokens: Vec<_> = (0..2500)
                .map(|n| issuer.token(&format!("stranger-{thread}-{n}"), &second))
                .collect();
            std::thread::spawn(move || flood(&client, &tokens))
        })
        .collect();
    assert_eq!(floods.into_iter().map(|flood| flood.join().unwrap()).sum::<usize>(), 10_000);
    let rounds = begun.elapsed().as_millis() / cooldown.as_millis();
    let fetches = issuer.upstream.count("/jwks");
    assert!(fetches as u128 <= rounds + 2, "{fetches} fetches in {:?}", begun.elapsed());
    let counted = gateway.metric_sum("modgate_jwks_refreshes_total");
    assert!(counted >= 1.0, "{counted}");
    // the flood did not drown a rotation
    issuer.publish("second", &second);
    let new = issuer.token("second", &second);
    until("the new key is found", || status(&gateway, &new) == 200);
    assert_eq!(status(&gateway, &good), 401);
}

/// Sends a request with each token over one connection; gives how many were refused.
fn flood(client: &crate::support::client::Client, tokens: &[String]) -> usize {
    let mut stream = client.connect();
    let mut refused = 0;
    for batch in tokens.chunks(50) {
        let mut sent = String::new();
        for token in batch {
            let _written = write!(
                sent,
                "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
        }
        stream.write_all(sent.as_bytes()).unwrap();
        stream.flush().unwrap();
        let mut got = 0;
        let mut read = Vec::new();
        let mut buffer = vec![0_u8; 64 * 1024];
        while got < batch.len() {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "cut after {refused}");
            read.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&read);
            got = text.matches("HTTP/1.1 401").count();
            // the last text is read to its end
            if got == batch.len() && text.matches("\ntrace ").count() < got {
                got -= 1;
            }
        }
        refused += got;
    }
    refused
}
