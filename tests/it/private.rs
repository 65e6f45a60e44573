//! Private names: they go to the upstreams they are bound to, and nowhere else, whatever goes wrong.

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::go::Go;
use crate::support::tree::Tree;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

fn world() -> (Tree, Upstream, Upstream, Gateway) {
    let mut tree = Tree::new();
    tree.module("corp.example/payments/ledger", "v1.0.0", &[]);
    let public = Upstream::serve(tree.path());
    let inner = Upstream::serve(tree.path());
    let settings = format!(
        "[[private]]\nprefix = \"corp.example\"\nupstreams = [\"inner\"]\n\n\
         [[upstream.servers]]\nname = \"inner\"\nurl = \"{}\"\n",
        inner.url()
    );
    let gateway = Setup::over(&public.url()).with(&settings).start();
    (tree, public, inner, gateway)
}

#[test]
fn a_private_module_never_reaches_the_public_upstream() {
    let (_tree, public, inner, gateway) = world();
    let token = gateway.issue("pay", &["payments", "developers"]);
    let client = gateway.stranger().bearer(&token);
    for artifact in
        ["@v/list", "@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip", "@latest", "@v/main.info"]
    {
        client.get(&format!("/corp.example/payments/ledger/{artifact}"));
    }
    assert_eq!(client.get("/corp.example/payments/ledger/@v/v1.0.0.zip").status, 200);
    // the inner one fails: still nobody else is asked
    inner.instead("/corp.example/payments/other/@v/list", Some(Instead::Status(500, "broken")));
    assert_eq!(client.get("/corp.example/payments/other/@v/list").status, 502);
    assert_eq!(client.get("/corp.example/payments/none/@v/list").status, 404);
    assert_eq!(public.asked(), Vec::<String>::new());
    assert!(inner.asked().len() >= 7);
}

#[test]
fn somebody_outside_the_team_gets_403_for_what_is_there_and_what_is_not() {
    let (_tree, public, inner, gateway) = world();
    let client = gateway.client();
    let there = client.get("/corp.example/payments/ledger/@v/list");
    let missing = client.get("/corp.example/payments/nothing/@v/list");
    assert_eq!((there.status, missing.status), (403, 403));
    let shape = |text: String| {
        text.replace("ledger", "X")
            .replace("nothing", "X")
            .lines()
            .take(2)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(shape(there.text()), shape(missing.text()));
    assert_eq!((public.asked().len(), inner.asked().len()), (0, 0));
}

#[test]
fn letter_case_does_not_make_a_private_name_public() {
    let (_tree, public, _inner, gateway) = world();
    let client = gateway.client();
    let status = client.get("/corp.example/!payments/ledger/@v/list").status;
    assert_eq!(status, 403);
    assert_eq!(public.asked(), Vec::<String>::new());
}

#[test]
fn the_probes_of_go_get_send_no_prefix_of_a_private_name_outside() {
    let (_tree, public, _inner, gateway) = world();
    let token = gateway.issue("pay", &["payments", "developers"]);
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("go.mod"), "module example.com/main\n\ngo 1.21\n").unwrap();
    let netrc = project.path().join("netrc");
    let line = format!("machine localhost:{} login x password {token}\n", gateway.address.port());
    std::fs::write(&netrc, line).unwrap();
    let go = Go::at(&gateway).with("NETRC", &netrc.display().to_string()).with("GONOSUMDB", "*");
    let said = go.run(project.path(), &["get", "corp.example/payments/ledger"]);
    assert!(said.ok, "{}", said.err);
    assert_eq!(public.asked(), Vec::<String>::new());
}

#[test]
fn a_cached_private_module_never_crosses_callers() {
    let (_tree, public, inner, gateway) = world();
    let insider = gateway.stranger().bearer(&gateway.issue("pay", &["payments"]));
    let outsider = gateway.client();
    let module = "/corp.example/payments/ledger";
    let artifacts =
        ["@v/list", "@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip", "@v/main.info", "@latest"];
    for warm in [false, true] {
        if warm {
            for artifact in artifacts {
                insider.get(&format!("{module}/{artifact}"));
            }
        }
        let etag = insider.get(&format!("{module}/@v/v1.0.0.zip")).header("etag");
        let (asked, looked) =
            (inner.asked().len(), gateway.metric_sum("modgate_cache_lookups_total"));
        for artifact in artifacts {
            for (method, more) in [
                ("GET", String::new()),
                ("HEAD", String::new()),
                ("GET", "Range: bytes=0-9\r\n".to_owned()),
                ("GET", format!("If-None-Match: {etag}\r\n")),
                ("GET", "If-None-Match: *\r\n".to_owned()),
                ("GET", "Disable-Module-Fetch: true\r\n".to_owned()),
            ] {
                for base in ["", "/cached-only"] {
                    let answer = outsider.ask(method, &format!("{base}{module}/{artifact}"), &more);
                    assert_eq!(answer.status, 403, "{method} {artifact} {more}: {}", answer.text());
                    assert!(
                        answer.header("etag").is_empty()
                            && answer.header("cache-status").is_empty()
                    );
                }
            }
        }
        assert_eq!(inner.asked().len(), asked);
        let now = gateway.metric_sum("modgate_cache_lookups_total");
        assert!((now - looked).abs() < 0.5, "{looked} {now}");
    }
    assert_eq!(public.asked(), Vec::<String>::new());
}
