//! The checksum database passes through: allow-listed names only, and no private name at all.

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

fn world() -> (Upstream, Gateway) {
    let upstream = Upstream::serve("/nonexistent");
    let settings = "[sumdb]\nnames = [\"sum.example\"]\n\n\
                    [[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
                    [[upstream.servers]]\nname = \"inner\"\nurl = \"file:///nonexistent\"\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    (upstream, gateway)
}

#[test]
fn answers_of_an_allowed_database_pass_byte_by_byte() {
    let (upstream, gateway) = world();
    let client = gateway.client();
    let table = [
        ("latest", "text/plain; charset=utf-8"),
        ("lookup/example.com/lib@v1.0.0", "text/plain; charset=utf-8"),
        ("tile/8/0/000.p/3", "application/octet-stream"),
    ];
    for (path, media_type) in table {
        let path = format!("/sumdb/sum.example/{path}");
        upstream.instead(&path, Some(Instead::Bytes(path.clone().into_bytes())));
        let answer = client.get(&path);
        assert_eq!((answer.status, answer.text()), (200, path.clone()));
        assert_eq!(answer.header("content-type"), media_type, "{path}");
    }
    let asked = upstream.asked().len();
    let supported = client.get("/sumdb/sum.example/supported");
    assert_eq!((supported.status, supported.body.len()), (200, 0));
    assert_eq!(upstream.asked().len(), asked);
}

#[test]
fn other_databases_and_private_names_are_never_asked_for() {
    let (upstream, gateway) = world();
    let client = gateway.client();
    for (path, status) in [
        ("/sumdb/other.example/supported", 404),
        ("/sumdb/127.0.0.1/latest", 404),
        ("/sumdb/sum.example.evil/latest", 404),
        ("/sumdb/sum.example/lookup/corp.example/secret@v1.0.0", 403),
        ("/sumdb/sum.example/lookup/corp.example/!secret@v1.0.0", 403),
    ] {
        let answer = client.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    assert_eq!(upstream.asked(), Vec::<String>::new());
    let said = client.get("/sumdb/sum.example/lookup/corp.example/secret@v1.0.0").text();
    assert!(said.contains("GONOSUMDB") || said.contains("denied"), "{said}");
}

#[test]
fn a_database_that_fails_is_502_and_what_it_lacks_is_404() {
    let (upstream, gateway) = world();
    let client = gateway.client();
    let path = "/sumdb/sum.example/lookup/example.com/lib@v1.0.0";
    upstream.instead(path, Some(Instead::Status(500, "broken")));
    assert_eq!(client.get(path).status, 502);
    upstream.instead(path, Some(Instead::Status(404, "not found: no such version")));
    let answer = client.get(path);
    assert_eq!((answer.status, answer.text().as_str()), (404, "not found: no such version"));
}
