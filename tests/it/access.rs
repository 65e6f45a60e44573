//! Who is let in, and what everybody else learns: nothing.

use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::gateway::modgate;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const LIST: &str = "/example.com/lib/@v/list";

fn world() -> (Tree, Upstream, Gateway) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let gateway = Setup::over(&upstream.url()).start();
    (tree, upstream, gateway)
}

#[test]
fn a_token_is_good_as_bearer_and_as_basic_password_of_any_name() {
    let (_tree, _upstream, gateway) = world();
    let token = gateway.token();
    for client in [gateway.stranger().bearer(&token), gateway.stranger().basic("anything", &token)]
    {
        assert_eq!(client.get(LIST).status, 200);
    }
}

#[test]
fn a_stranger_gets_401_for_good_and_bad_paths_alike_and_a_hit_is_no_exception() {
    let (_tree, upstream, gateway) = world();
    assert_eq!(gateway.client().get(LIST).status, 200);
    let asked = upstream.asked().len();
    for path in [LIST, "/example.com/none/@v/list", "/Bad//path", "/-/whoami", "/"] {
        for client in [gateway.stranger(), gateway.stranger().bearer("mgt_wrong")] {
            let answer = client.get(path);
            assert_eq!(answer.status, 401, "{path}");
            assert_eq!(
                answer.header("www-authenticate"),
                "Basic realm=\"go modules\", charset=\"UTF-8\", Bearer"
            );
        }
    }
    assert_eq!(upstream.asked().len(), asked);
    let refused = gateway.audited(10, "a refusal", |event| event["outcome"] == "unauthenticated");
    assert_eq!(refused.len(), 10);
    assert!(!gateway.output().contains("mgt_wrong"));
}

#[test]
fn a_revoked_token_is_refused_within_a_second_and_an_expired_one_at_once() {
    let (_tree, _upstream, gateway) = world();
    let token = gateway.issue("ci", &["developers"]);
    let client = gateway.stranger().bearer(&token);
    assert_eq!(client.get(LIST).status, 200);
    let state = gateway.state();
    let revoked = modgate()
        .current_dir(state.parent().unwrap())
        .args(["token", "revoke", "ci"])
        .status()
        .unwrap();
    assert!(revoked.success());
    until("the revoked token is refused", || client.get(LIST).status == 401);
    assert!(!gateway.output().contains(&token));
}

#[test]
fn somebody_without_a_group_is_denied_and_told_the_rule_of_it() {
    let (_tree, upstream, gateway) = world();
    let client = gateway.stranger().bearer(&gateway.issue("nobody", &[]));
    let answer = client.get(LIST);
    assert_eq!(answer.status, 403, "{}", answer.text());
    let text = answer.text();
    assert!(text.lines().all(|line| line.len() <= 79) && text.len() <= 640, "{text}");
    assert!(text.contains("trace ") && text.contains("revision"), "{text}");
    assert_eq!(upstream.asked(), Vec::<String>::new());
}

#[test]
fn whoami_why_and_env_answer_for_this_very_caller() {
    let (_tree, upstream, gateway) = world();
    let client = gateway.client();
    let who: serde_json::Value = serde_json::from_slice(&client.get("/-/whoami").body).unwrap();
    assert_eq!(who["principal"], "user:token:dev");
    let why = client.get("/-/why?module=example.com/banned/x").text();
    assert!(why.contains("denied") && why.contains("rule"), "{why}");
    let why = client.get("/-/why?module=example.com/lib").text();
    assert!(why.contains("allowed"), "{why}");
    assert_eq!(client.get("/-/why").status, 400);
    let env = client.get("/-/env").text();
    assert!(
        env.contains(&format!("GOPROXY=https://localhost:{}", gateway.address.port())),
        "{env}"
    );
    assert_eq!(upstream.asked(), Vec::<String>::new());
}

#[test]
fn head_of_the_root_judges_credentials_as_git_asks() {
    let (_tree, _upstream, gateway) = world();
    assert_eq!(gateway.client().ask("HEAD", "/", "").status, 200);
    assert_eq!(gateway.stranger().ask("HEAD", "/", "").status, 401);
}

#[test]
fn a_token_file_that_cannot_be_read_is_503_and_never_401() {
    let (_tree, _upstream, gateway) = world();
    let client = gateway.client();
    std::fs::write(gateway.state().join("tokens"), "not json").unwrap();
    until("the file is found unreadable", || client.get(LIST).status == 503);
    assert_eq!(client.get(LIST).header("retry-after"), "5");
}

#[test]
fn a_jwt_of_a_configured_issuer_is_good_as_bearer_and_as_the_password_of_jwt() {
    let (_tree, upstream, _) = world();
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
    let gateway = Setup::over(&upstream.url()).with(&settings).start();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let signed = |life: u64| {
        let head = json!({ "alg": "EdDSA", "kid": "k", "typ": "JWT" });
        let claims = json!({ "iss": "https://idp.example", "aud": "modgate", "sub": "alice",
                             "iat": now - 100, "exp": now - 100 + life, "groups": ["go-dev"],
                             "jti": "token-7" });
        let encoded = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(head), encoded(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())))
    };
    let (good, expired) = (signed(3600), signed(10));
    for client in [gateway.stranger().bearer(&good), gateway.stranger().basic("jwt", &good)] {
        let who: serde_json::Value = serde_json::from_slice(&client.get("/-/whoami").body).unwrap();
        assert_eq!(who["principal"], "user:oidc/corp:alice");
        assert_eq!(who["groups"][0], "group:oidc/corp:go-dev");
    }
    assert_eq!(gateway.stranger().bearer(&expired).get("/-/whoami").status, 401);
    let refused =
        gateway.audited(1, "the expired token", |event| event["actor"]["result"] == "expired");
    assert_eq!(refused[0]["event"], "auth.failure");
    // a record says what the proof was, and of the token's name only its hash
    let alice = |event: &serde_json::Value| event["actor"]["id"] == "user:oidc/corp:alice";
    let actor = gateway.audited(2, "alice", alice)[0]["actor"].clone();
    let hash = modgate()
        .current_dir(gateway.state().parent().unwrap())
        .args(["audit", "hash", "token-7"])
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let token = json!({ "iss": "https://idp.example", "kid": "k", "jti_h": hash.trim() });
    assert_eq!(actor["token"], token);
    assert!(actor["auth_age_s"].as_u64().unwrap() >= 100 && actor["stale"].is_null(), "{actor}");
}

#[test]
fn nobody_is_anonymous_unless_the_configuration_says_so() {
    let (_tree, upstream, _) = world();
    let gateway =
        Setup::over(&upstream.url()).with("[identity]\nanonymous = \"allowed\"\n").start();
    let who: serde_json::Value =
        serde_json::from_slice(&gateway.stranger().get("/-/whoami").body).unwrap();
    assert_eq!(who["principal"], "any:anonymous");
    // credentials might help, so a denial is 401; bad ones stay 401
    assert_eq!(gateway.stranger().get(LIST).status, 401);
    assert_eq!(gateway.stranger().bearer("mgt_wrong").get("/-/whoami").status, 401);
}

#[test]
fn a_token_limited_to_modules_is_good_for_them_alone() {
    let (_tree, upstream, gateway) = world();
    let state = gateway.state();
    let output = modgate()
        .current_dir(state.parent().unwrap())
        .args(["token", "issue", "narrow", "--group", "developers", "--module", "example.com/lib"])
        .output()
        .unwrap();
    let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let client = gateway.stranger().bearer(&token);
    until("the new token is known", || client.get(LIST).status == 200);
    let answer = client.get("/example.com/other/@v/list");
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("limited to other modules"), "{}", answer.text());
    assert!(upstream.asked().iter().all(|path| path.contains("/lib/")), "{:?}", upstream.asked());
    let denied = gateway.audited(1, "the denial", |event| event["event"] == "authz.deny");
    assert_eq!(denied[0]["decision"]["reason"], "token_limit");
}
