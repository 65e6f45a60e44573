//! How an upstream is treated: repetitions within a budget, quiet when it asks for it, rest when it fails, turns.

use std::time::Instant;

use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Instead;
use crate::support::upstream::Upstream;

const INFO: &str = "/example.com/lib/@v/v1.0.0.info";

fn world(settings: &str) -> (Tree, Upstream, Gateway) {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let upstream = Upstream::serve(tree.path());
    let url = upstream.url();
    let settings =
        format!("[upstream]\n{settings}\n[[upstream.servers]]\nname = \"only\"\nurl = \"{url}\"\n");
    let gateway = Setup::over("only").with(&settings).start();
    (tree, upstream, gateway)
}

/// A list nobody has asked for yet.
fn list(number: usize) -> String {
    format!("/example.com/m{number}/@v/list")
}

fn circuit(gateway: &Gateway, state: &str) -> bool {
    let series = format!("modgate_upstream_circuit_state{{upstream=\"only\",state=\"{state}\"}}");
    gateway.metric(&series) > 0.5
}

#[test]
fn an_upstream_that_says_when_to_come_again_is_not_asked_before() {
    // seconds, or a time beside the upstream's own clock
    for busy in [
        "HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 X\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Retry-After: Sun, 06 Nov 1994 08:49:38 GMT\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (_tree, upstream, gateway) = world("");
        upstream.instead(INFO, Some(Instead::Raw(busy).times(1)));
        let begun = Instant::now();
        let answer = gateway.client().get(INFO);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(begun.elapsed().as_millis() >= 1000, "{:?}", begun.elapsed());
        assert_eq!(upstream.count(INFO), 2);
    }
}

#[test]
fn a_wish_for_quiet_that_is_too_long_is_no_reason_to_wait_or_to_ask() {
    let (_tree, upstream, gateway) =
        world("first_byte_timeout = \"5s\"\ntotal_timeout = \"10s\"\n");
    let busy = "HTTP/1.1 429 X\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n";
    upstream.instead(INFO, Some(Instead::Raw(busy)));
    let client = gateway.client();
    for path in [INFO.to_owned(), list(1), list(2)] {
        let answer = client.get(&path);
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains("reason upstream_429"), "{}", answer.text());
    }
    assert_eq!(upstream.asked(), [INFO]);
}

#[test]
fn after_a_bar_nobody_waits_for_an_upstream_that_wants_quiet() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    let (first, second) = (Upstream::serve(tree.path()), Upstream::serve(tree.path()));
    let busy = "HTTP/1.1 429 X\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n";
    first.always(Some(Instead::Raw(busy)));
    let gateway = Setup::over(&format!("{}|{}", first.url(), second.url())).start();
    let begun = Instant::now();
    assert_eq!(gateway.client().get(INFO).status, 200);
    assert_eq!(gateway.client().get("/example.com/lib/@v/list").status, 200);
    // who waited would have waited for twenty
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(first.asked(), [INFO]);
    // the wish was no reason to repeat, either: one attempt each
    let event = gateway.audited(1, "the first", |event| event["event"] == "module.info");
    assert_eq!(event[0]["upstream"]["attempts"], 2);
}

#[test]
fn in_an_outage_repetitions_stay_within_their_budget() {
    let (_tree, upstream, gateway) = world("breaker_failures = 1000\n");
    upstream.always(Some(Instead::Status(500, "broken")));
    let client = gateway.client();
    for number in 0..REQUESTS {
        assert_eq!(client.get(&list(number)).status, 502);
    }
    // ten of reserve, and a tenth
    let asked = upstream.asked().len();
    assert!((REQUESTS..=REQUESTS + 10 + REQUESTS / 10).contains(&asked), "{asked}");
    let series = "modgate_upstream_retries_total{upstream=\"only\",reason=\"upstream_5xx\"}";
    let repeated = gateway.metric(series);
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let counted = (asked - REQUESTS) as f64;
    assert!((repeated - counted).abs() < 0.5, "{repeated} {counted}");
}

#[test]
fn a_burst_of_errors_opens_the_breaker_and_a_probe_closes_it_without_any_caller() {
    let (_tree, upstream, gateway) = world("attempts = 1\nbreaker_rest = \"500ms\"\n");
    upstream.always(Some(Instead::Status(500, "broken")));
    let client = gateway.client();
    for number in 0..5 {
        let answer = client.get(&list(number));
        assert!(answer.text().contains("reason upstream_5xx"), "{}", answer.text());
    }
    until("the breaker is open", || circuit(&gateway, "open"));
    assert!(gateway.metric("modgate_upstream_up{upstream=\"only\"}") < 0.5);
    upstream.always(None);
    // nobody asks for a module, and still it is found out
    until("the breaker is closed", || circuit(&gateway, "closed"));
    assert!(gateway.metric("modgate_upstream_up{upstream=\"only\"}") > 0.5);
    assert_eq!(client.get(INFO).status, 200);
    let lists = upstream.asked().iter().filter(|path| path.contains("/@v/list")).count();
    assert_eq!(lists, 5);
    let text = gateway.output();
    assert!(text.contains("it is left alone") && text.contains("the upstream is back"), "{text}");
}

#[test]
fn while_the_breaker_is_open_nothing_is_asked_and_the_next_one_only_where_the_list_says_so() {
    let mut tree = Tree::new();
    tree.module("example.com/lib", "v1.0.0", &[]);
    for (mark, expected) in [(",", 502), ("|", 200)] {
        let (first, second) = (Upstream::serve(tree.path()), Upstream::serve(tree.path()));
        first.always(Some(Instead::Status(500, "broken")));
        let settings = "[upstream]\nattempts = 1\nbreaker_rest = \"30s\"\n";
        let chain = format!("{}{mark}{}", first.url(), second.url());
        let gateway = Setup::over(&chain).with(settings).start();
        let client = gateway.client();
        for number in 0..5 {
            client.get(&list(number));
        }
        let before = first.asked().len();
        let answer = client.get(INFO);
        assert_eq!(answer.status, expected, "{mark} {}", answer.text());
        assert_eq!(first.asked().len(), before, "{mark}");
        if expected == 502 {
            assert!(answer.text().contains("reason circuit_open\n"), "{}", answer.text());
            let said = "modgate; error=destination_unavailable; details=\"circuit_open\"";
            assert_eq!(answer.header("proxy-status"), said);
            let event = gateway
                .audited(1, "the breaker", |event| event["upstream"]["result"] == "circuit_open");
            assert_eq!(event[0]["resource"]["module"], "example.com/lib");
            let line = "\"upstream.result\":\"circuit_open\"";
            until("the log has the word", || gateway.output().contains(line));
            let page = gateway.metrics();
            let open = page.lines().find(|line| line.contains("result=\"circuit_open\"} 1"));
            assert!(open.is_some(), "{page}");
        }
        assert_eq!(second.count(INFO), usize::from(expected == 200), "{mark}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure is for people")]
fn a_flapping_upstream_does_not_make_the_breaker_oscillate() {
    let (_tree, upstream, gateway) =
        world("attempts = 1\nbreaker_rest = \"300ms\"\nbreaker_longest_rest = \"20s\"\n");
    let client = gateway.client();
    // ill for eight requests, well for eight, and so on: each turn can be noticed, however slow they are
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed().as_secs() < 8 {
        let ill = number % 16 < 8;
        upstream.always(ill.then_some(Instead::Status(500, "broken")));
        client.get(&list(number));
        number += 1;
    }
    let opened = gateway.output().matches("it is left alone").count();
    // as rests double, the sixth would begin after 9.3 s at the earliest; if all were as long, a dozen would have begun
    println!("flapping for 8 s: {number} requests, opened {opened} times");
    assert!((1..=5).contains(&opened), "opened {opened} times");
}

#[test]
fn so_many_have_their_turn_so_many_wait_and_the_next_is_503() {
    let (_tree, upstream, gateway) = world("max_requests = 2\nmax_waiting = 3\n");
    upstream.hold();
    let client = gateway.client();
    let asking: Vec<_> = (0..5)
        .map(|number| {
            let client = client.clone();
            std::thread::spawn(move || client.get(&list(number)).status)
        })
        .collect();
    let series = "modgate_upstream_requests_waiting{upstream=\"only\"}";
    until("two are under way and three wait", || (gateway.metric(series) - 3.0).abs() < 0.1);
    assert_eq!(upstream.asked().len(), 2);
    let refused = client.get(&list(9));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    upstream.release();
    for status in asking {
        assert_eq!(status.join().unwrap(), 404);
    }
    assert!(gateway.metric("modgate_upstream_refused_total{upstream=\"only\"}") > 0.5);
}

#[test]
fn where_no_head_comes_a_second_request_does_and_the_first_is_given_up() {
    let (_tree, upstream, gateway) = world("hedge_after = \"200ms\"\n");
    upstream.instead(INFO, Some(Instead::Silence.times(1)));
    let begun = Instant::now();
    assert_eq!(gateway.client().get(INFO).status, 200);
    // the first byte would have had fifteen seconds
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    assert_eq!(upstream.count(INFO), 2);
    for (word, expected) in [("client_closed", 1.0), ("success", 1.0), ("timeout_first_byte", 0.0)]
    {
        let series =
            format!("modgate_upstream_requests_total{{upstream=\"only\",result=\"{word}\"}}");
        assert!((gateway.metric(&series) - expected).abs() < 0.1, "{word}");
    }
}

const REQUESTS: usize = 100;
