//! What can change is asked for again, in time and without making anybody wait; what cannot be asked for stands in.

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const LIST: &str = "/example.com/lib/@v/list";

fn world() -> (Tree, Upstream) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    (tree, upstream)
}

fn found(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("modgate_cache_requests_total{{result=\"{result}\"}}"))
}

#[test]
fn a_list_that_ran_out_is_given_at_once_while_it_is_renewed() {
    let (mut tree, upstream) = world();
    let settings = "[cache]\nlist_ttl = \"1s\"\nstale_while_revalidate = \"1h\"\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    let client = gateway.client();
    assert_eq!(client.get(LIST).text(), "v1.0.0\n");
    tree.module("example.com/lib", "v1.1.0", &[]);
    // the upstream does not answer, and nobody waits for it
    upstream.hold();
    until("the list has run out", || {
        let answer = client.get(LIST);
        assert_eq!((answer.status, answer.text().as_str()), (200, "v1.0.0\n"));
        answer.header("cache-status").contains("ttl=-1")
    });
    until("it is being renewed", || upstream.count("/list") == 2);
    upstream.release();
    until("the new list is served", || client.get(LIST).text() == "v1.0.0\nv1.1.0\n");
    assert!(found(&gateway, "stale") > 0.5);
}

#[test]
fn a_list_stands_in_while_no_upstream_can_be_asked_and_no_longer() {
    let (_tree, upstream) = world();
    let settings =
        "[cache]\nlist_ttl = \"1s\"\nabsent_ttl = \"1s\"\nstale_while_revalidate = \"1ms\"\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    let client = gateway.client();
    assert_eq!(client.get(LIST).text(), "v1.0.0\n");
    upstream.instead(LIST, Some(Instead::Status(500, "no")));
    until("the upstream was asked again", || {
        let answer = client.get(LIST);
        assert_eq!((answer.status, answer.text().as_str()), (200, "v1.0.0\n"));
        found(&gateway, "stale") > 0.5
    });
    assert!(upstream.count("/list") >= 2);
    // that there is none any more is no outage
    upstream.instead(LIST, Some(Instead::Status(404, "not found: no such module")));
    until("the absence is passed on", || client.get(LIST).status == 404);
    // and an absence is soon asked about again
    upstream.instead(LIST, None);
    until("it is there again", || client.get(LIST).status == 200);
}

#[test]
fn a_fault_is_never_remembered() {
    let (_tree, upstream) = world();
    // an upstream that fails this often would be left alone for a while
    let settings = "[cache]\nabsent_ttl = \"1h\"\n\n[upstream]\nbreaker_failures = 100\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    let client = gateway.client();
    for fault in [Instead::Status(500, "no"), Instead::Hang, Instead::Bytes(b"<html>".to_vec())] {
        for path in ["/example.com/lib/@v/v1.0.0.info", "/example.com/lib/@latest"] {
            upstream.instead(path, Some(fault.clone()));
            assert_eq!(client.get(path).status, 502, "{path} {fault:?}");
            upstream.instead(path, None);
        }
    }
    assert_eq!(client.get("/example.com/lib/@v/v1.0.0.info").status, 200);
}

#[test]
fn a_list_that_does_not_change_is_asked_for_less_and_less() {
    let (_tree, upstream) = world();
    // by its tag: a 304 says "unchanged" as much as the same bytes do
    upstream.tag(LIST, "\"tag-1\"");
    let settings =
        "[cache]\nlist_ttl = \"1s\"\nlist_ttl_max = \"1h\"\nstale_while_revalidate = \"1ms\"\n";
    let gateway = Setup::over(&upstream.url()).with(settings).start();
    let client = gateway.client();
    let mut waits = Vec::new();
    for times in 1..=4 {
        let begun = std::time::Instant::now();
        until("the list is fetched", || {
            assert_eq!(client.get(LIST).status, 200);
            upstream.count("/list") == times
        });
        waits.push(begun.elapsed());
    }
    // the first is cold; then 1, 2 and 4 seconds at least: a busy machine makes each longer, so they are not compared
    assert!(waits[3] > std::time::Duration::from_millis(2500), "{waits:?}");
}

/// Asks until an upstream was asked for the list so often.
fn ask_until(gateway: &Gateway, upstream: &Upstream, times: usize, text: &str) {
    let client = gateway.client();
    until("the upstream was asked", || {
        let answer = client.get(LIST);
        assert_eq!((answer.status, answer.text().as_str()), (200, text));
        // the upstream's tag is between it and us
        assert!(!answer.header("etag").contains("tag-"), "{}", answer.header("etag"));
        upstream.count("/list") >= times
    });
}

/// Lists run out after a second, or two, and are renewed before they are given.
const RENEWED_FIRST: &str = "[cache]\nlist_ttl = \"1s\"\nlist_ttl_max = \"2s\"\nstale_while_revalidate = \"1ms\"\n\n\
                             [upstream]\nbreaker_failures = 100\n";

#[test]
fn what_is_held_is_asked_for_by_its_tag_also_after_a_restart() {
    let (mut tree, upstream) = world();
    upstream.tag(LIST, "W/\"tag-1\"");
    let gateway = Setup::over(&upstream.url()).with(RENEWED_FIRST).start();
    ask_until(&gateway, &upstream, 2, "v1.0.0\n");
    assert_eq!(upstream.tags_told(LIST), ["", "W/\"tag-1\""]);
    // memory is gone, and the directory knows the tag
    let gateway = gateway.kill_and_restart(&upstream.url());
    ask_until(&gateway, &upstream, 3, "v1.0.0\n");
    assert_eq!(upstream.tags_told(LIST)[2], "W/\"tag-1\"");
    // other bytes under another tag
    tree.module("example.com/lib", "v1.1.0", &[]);
    upstream.tag(LIST, "\"tag-2\"");
    let client = gateway.client();
    until("the new list is served", || client.get(LIST).text() == "v1.0.0\nv1.1.0\n");
    ask_until(&gateway, &upstream, 5, "v1.0.0\nv1.1.0\n");
    assert_eq!(upstream.tags_told(LIST)[3..], ["W/\"tag-1\"", "\"tag-2\""]);
}

#[test]
fn a_tag_is_neither_told_nor_learnt_where_a_redirect_leads() {
    const MOVED: &str = "/example.com/moved/@v/list";
    let (mut tree, upstream) = world();
    tree.module("example.com/moved", "v1.0.0", &[]);
    upstream.tag(LIST, "\"tag-1\"");
    upstream.tag(MOVED, "\"tag-1\"");
    let gateway = Setup::over(&upstream.url()).with(RENEWED_FIRST).start();
    ask_until(&gateway, &upstream, 1, "v1.0.0\n");
    let to = format!("{}{MOVED}", upstream.url());
    upstream.instead(LIST, Some(Instead::Redirect(to)));
    // each is asked once for each renewal
    ask_until(&gateway, &upstream, 5, "v1.0.0\n");
    assert_eq!(upstream.tags_told(LIST), ["", "\"tag-1\"", ""]);
    assert_eq!(upstream.tags_told(MOVED), ["", ""]);
}

#[test]
fn a_304_that_nobody_asked_for_is_a_fault() {
    let (_tree, upstream) = world();
    upstream.instead(LIST, Some(Instead::Status(304, "")));
    let gateway = Setup::over(&upstream.url()).start();
    // whatever the caller holds is the caller's business
    let asked = gateway.client().ask("GET", LIST, "If-None-Match: \"tag-1\"\r\n");
    assert_eq!(asked.status, 502, "{}", asked.text());
    assert!(asked.text().contains("reason protocol"), "{}", asked.text());
    assert_eq!(upstream.tags_told(LIST), [""]);
}

#[test]
fn the_tag_of_one_upstream_is_told_to_no_other() {
    let (_tree, one) = world();
    let (_same, other) = world();
    one.tag(LIST, "\"tag-1\"");
    // not even to one that happens to use the same
    other.tag(LIST, "\"tag-1\"");
    let chain = format!("{}|{}", one.url(), other.url());
    let gateway = Setup::over(&chain).with(RENEWED_FIRST).start();
    ask_until(&gateway, &one, 1, "v1.0.0\n");
    one.instead(LIST, Some(Instead::Status(500, "no")));
    ask_until(&gateway, &other, 1, "v1.0.0\n");
    assert_eq!(other.tags_told(LIST), [""]);
    assert_eq!(one.tags_told(LIST).get(1).map(String::as_str), Some("\"tag-1\""));
    // now the other one's is held: it is told that, and the first nothing
    let before = one.count("/list");
    ask_until(&gateway, &other, 2, "v1.0.0\n");
    assert_eq!(other.tags_told(LIST), ["", "\"tag-1\""]);
    assert!(one.tags_told(LIST).iter().skip(before).all(String::is_empty));
    assert!(one.count("/list") > before);
}
