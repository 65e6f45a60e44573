//! Client certificates: a mapped name is a caller, everything else is nobody; and files are read again.

use rcgen::SanType;
use serde_json::Value;

use crate::support::authority::Authority;
use crate::support::authority::Life;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn over(authority: &Authority, more: &str) -> Gateway {
    let tree = Tree::new();
    let settings = format!(
        "[identity.mtls]\nca_file = \"{}\"\nnames = [\"uri:spiffe://corp.example/ci=ci\", \"dns:builder.corp.example=builder\"]\n{more}\n",
        authority.ca.display()
    );
    Setup::over(&format!("file://{}", tree.path().display())).with(&settings).start()
}

#[test]
fn a_mapped_name_is_a_caller_and_a_header_wins_over_it() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::make(directory.path());
    let gateway = over(&authority, "");
    for (name, principal) in [
        (uri("spiffe://corp.example/ci"), "user:mtls:ci"),
        (dns("builder.corp.example"), "user:mtls:builder"),
    ] {
        let shown = authority.client(&[name], Life::Good);
        let client = gateway.stranger().with_certificate(&gateway.ca(), &shown);
        let who: Value = serde_json::from_slice(&client.get("/-/whoami").body).unwrap();
        assert_eq!(who["principal"], principal);
        assert_eq!(who["method"], "mtls");
        let named: Value =
            serde_json::from_slice(&client.basic("dev", &gateway.token()).get("/-/whoami").body)
                .unwrap();
        assert_eq!(named["principal"], "user:token:dev");
    }
    let records = gateway.audited(2, "both", |event| event["actor"]["auth"] == "mtls");
    let certs: Vec<_> = records.iter().map(|event| &event["actor"]["cert"]).collect();
    assert_eq!(certs[0]["san"], "uri:spiffe://corp.example/ci");
    assert_eq!(
        (certs[1]["san"].as_str(), certs[1]["sha256"].as_str().map(str::len)),
        (Some("dns:builder.corp.example"), Some(64))
    );
    // nobody needs one
    assert_eq!(gateway.client().get("/-/whoami").status, 200);
    assert_eq!(gateway.stranger().get("/-/whoami").status, 401);
}

#[test]
fn names_that_are_not_mapped_are_401_and_the_common_name_is_never_read() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::make(directory.path());
    let gateway = over(&authority, "");
    for names in [
        vec![],
        vec![dns("ci.corp.example")],
        vec![uri("spiffe://corp.example/ci/x")],
        vec![dns("spiffe.corp.example")],
    ] {
        let shown = authority.client(&names, Life::Good);
        let answer = gateway.stranger().with_certificate(&gateway.ca(), &shown).get("/-/whoami");
        assert_eq!(answer.status, 401, "{names:?}");
    }
    let refused = gateway.audited(4, "refusals", |event| event["actor"]["auth"] == "mtls");
    assert!(refused.iter().all(|event| event["actor"]["result"] == "bad_credentials"));
}

#[test]
fn a_foreign_an_expired_and_a_revoked_certificate_end_the_handshake() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, foreign) =
        (Authority::make(directory.path()), Authority::make(elsewhere.path()));
    let name = || [uri("spiffe://corp.example/ci")];
    let (good, old) =
        (authority.client(&name(), Life::Good), authority.client(&name(), Life::Over));
    let revoked = authority.client(&name(), Life::Good);
    let list = authority.revoke(&[&revoked.serial]);
    let gateway = over(&authority, &format!("crl_file = \"{}\"", list.display()));
    let is_let_in = |shown| gateway.stranger().with_certificate(&gateway.ca(), shown).is_let_in();
    assert!(is_let_in(&good));
    let strange = foreign.client(&name(), Life::Good);
    for shown in [&strange, &old, &revoked] {
        assert!(!is_let_in(shown));
    }
    // the list is read again when it changes
    authority.revoke(&[&revoked.serial, &good.serial]);
    until("the second one is revoked as well", || !is_let_in(&good));
}

#[test]
fn a_renewed_server_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let directory = tempfile::tempdir().unwrap();
    let first = Authority::make(directory.path());
    let tree = Tree::new();
    let settings = format!(
        "[server]\ntls_cert = \"{}\"\ntls_key = \"{}\"\n",
        first.cert.display(),
        first.key.display()
    );
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).with(&settings).start();
    let client = || crate::support::client::Client::new(gateway.address, &first.ca);
    let shown = client().shown_certificate();
    std::fs::write(&first.cert, "broken").unwrap();
    until("the broken one is refused", || gateway.output().contains("the last good ones stay"));
    assert_eq!(client().shown_certificate(), shown);
    first.renew();
    until("the renewed one is shown", || client().shown_certificate() != shown);
}
