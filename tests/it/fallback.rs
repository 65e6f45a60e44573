//! The chain: a comma goes on after 404 and 410 only, a bar after anything; a fault is never a 404.

use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const INFO: &str = "/example.com/lib/@v/v1.0.0.info";

fn pair() -> (Tree, Upstream, Upstream) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let empty = Upstream::serve("/nonexistent");
    let full = Upstream::serve(tree.path());
    (tree, empty, full)
}

#[test]
fn after_a_comma_the_next_is_asked_on_404_and_410_only() {
    let table = [
        (Instead::Status(404, "no"), 200),
        (Instead::Status(410, "gone"), 200),
        (Instead::Status(500, "broken"), 502),
        (Instead::Status(403, "not you"), 502),
        (Instead::Status(429, "slower"), 502),
        (Instead::Hang, 502),
        (Instead::Status(204, ""), 502),
    ];
    for (first, expected) in table {
        let (_tree, broken, full) = pair();
        broken.instead(INFO, Some(first.clone()));
        let gateway = Setup::over(&format!("{},{}", broken.url(), full.url())).start();
        let answer = gateway.client().get(INFO);
        assert_eq!(answer.status, expected, "{first:?}: {}", answer.text());
        assert_eq!(full.asked().len(), usize::from(expected == 200), "{first:?}");
    }
}

#[test]
fn after_a_bar_the_next_is_asked_whatever_went_wrong() {
    for first in [Instead::Status(404, "no"), Instead::Status(500, "broken"), Instead::Hang] {
        let (_tree, broken, full) = pair();
        broken.instead(INFO, Some(first.clone()));
        let gateway = Setup::over(&format!("{}|{}", broken.url(), full.url())).start();
        assert_eq!(gateway.client().get(INFO).status, 200, "{first:?}");
    }
}

#[test]
fn one_fault_among_absences_is_a_fault() {
    let (_tree, first, second) = pair();
    let broken = Upstream::serve("/nonexistent");
    broken.instead("/example.com/none/@v/list", Some(Instead::Status(503, "later")));
    let chain = format!("{}|{}|{}", first.url(), broken.url(), second.url());
    let gateway = Setup::over(&chain).start();
    let answer = gateway.client().get("/example.com/none/@v/list");
    assert_eq!(answer.status, 502, "{}", answer.text());
}

#[test]
fn the_text_of_a_404_or_410_is_passed_on_unchanged_and_remembered() {
    let (_tree, _, full) = pair();
    let text = "not found: example.com/lib@v9.0.0: unknown revision v9.0.0";
    for status in [404, 410] {
        let path = format!("/example.com/lib{status}/@v/v1.0.0.info");
        full.instead(&path, Some(Instead::Status(status, text)));
        let gateway = Setup::over(&full.url()).start();
        let client = gateway.client();
        let before = full.asked().len();
        for _ in 0..3 {
            let answer = client.get(&path);
            assert_eq!((answer.status, answer.text().as_str()), (status, text));
        }
        assert_eq!(full.asked().len(), before + 1);
        let found = gateway.audited(3, "an absence", |event| event["outcome"] == "not_found");
        assert_eq!(found.len(), 3);
    }
}

#[test]
fn a_body_that_ends_early_is_tried_again_and_then_502() {
    let (_tree, _, full) = pair();
    full.instead(INFO, Some(Instead::Half));
    let gateway = Setup::over(&full.url()).start();
    let client = gateway.client();
    assert_eq!(client.get(INFO).status, 502);
    assert_eq!(full.asked().len(), 2);
    full.instead(INFO, None);
    assert_eq!(client.get(INFO).status, 200);
}

#[test]
fn a_silent_upstream_is_504() {
    let (_tree, _, full) = pair();
    full.instead(INFO, Some(Instead::Silence));
    let settings = "[upstream]\nfirst_byte_timeout = \"300ms\"\ntotal_timeout = \"600ms\"\n";
    let gateway = Setup::over(&full.url()).with(settings).start();
    let answer = gateway.client().get(INFO);
    assert_eq!(answer.status, 504, "{}", answer.text());
}

#[test]
fn nobody_listens_is_502_and_says_so_without_naming_the_host() {
    let gateway = Setup::over("http://127.0.0.1:1").start();
    let answer = gateway.client().get(INFO);
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("connect_refused"), "{}", answer.text());
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
}

#[test]
fn a_redirect_into_the_house_is_not_followed() {
    let (tree, first, _) = pair();
    let inner = Upstream::serve(tree.path());
    first.instead(INFO, Some(Instead::Redirect(format!("{}{INFO}", inner.url()))));
    let gateway = Setup::over(&first.url()).start();
    assert_eq!(gateway.client().get(INFO).status, 502);
    assert_eq!(inner.asked(), Vec::<String>::new());
    assert!(gateway.metric("modgate_security_events_total{kind=\"egress_blocked\"}") > 0.5);
}
