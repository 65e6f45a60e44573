//! An upstream behind a line that breaks: what is cached goes on, what is not has its fault, and all is well again after.

use std::time::Duration;
use std::time::Instant;

use crate::support::chaos::Chaos;
use crate::support::chaos::Fault;
use crate::support::gateway::Gateway;
use crate::support::gateway::Setup;
use crate::support::tree::Tree;
use crate::support::until;
use crate::support::upstream::Upstream;

const ZIP: &str = "/example.com/lib/@v/v1.0.0.zip";

#[test]
#[expect(clippy::print_stdout, reason = "the figures are for people")]
fn cached_content_is_served_through_every_fault_and_the_rest_comes_back_after_it() {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 300_000);
    for number in 0..FAULTS.len() {
        tree.module_of_size(&format!("example.com/cold{number}"), "v1.0.0", &[], 30_000);
    }
    let upstream = Upstream::serve(tree.path());
    let line = Chaos::before(upstream.address());
    let settings = "[upstream]\nattempts = 1\nfirst_byte_timeout = \"5s\"\nzip_first_byte_timeout = \"5s\"\n\
                    total_timeout = \"8s\"\nzip_total_timeout = \"8s\"\nbreaker_rest = \"200ms\"\n\
                    breaker_longest_rest = \"400ms\"\n";
    let gateway = Setup::over(&line.url()).with(settings).start();
    let client = gateway.client();
    let zip = client.get(ZIP);
    assert_eq!(zip.status, 200);
    for (number, (fault, status, word)) in FAULTS.into_iter().enumerate() {
        line.set(fault);
        let cold = format!("/example.com/cold{number}/@v/v1.0.0.zip");
        let answer = client.get(&cold);
        assert_eq!(answer.status, status, "{fault:?}: {}", answer.text());
        assert!(
            answer.text().contains(&format!("reason {word}\n")),
            "{fault:?}: {}",
            answer.text()
        );
        let begun = Instant::now();
        for _ in 0..20 {
            assert!(client.get(ZIP).body == zip.body, "{fault:?}");
        }
        println!("{fault:?}: {word}; twenty cached zips in {:?}", begun.elapsed());
        line.set(Fault::Pass);
        let mut again = client.get(&cold);
        until("the fault is over for everybody", || {
            if again.status != 200 {
                std::thread::park_timeout(Duration::from_millis(50));
                again = client.get(&cold);
            }
            again.status == 200 && gateway.metric_sum("modgate_upstream_up") > 0.5
        });
    }
    Gateway::vouch_for(&[&gateway], &upstream);
}

const FAULTS: [(Fault, u16, &str); 6] = [
    (Fault::Refuse, 502, "connect_refused"),
    (Fault::BlackHole, 504, "timeout_first_byte"),
    (Fault::Reset, 502, "reset"),
    (Fault::Truncate(9000), 502, "body_truncated"),
    (Fault::Slow, 504, "timeout_total"),
    (Fault::Corrupt(9000), 502, "zip_invalid"),
];
