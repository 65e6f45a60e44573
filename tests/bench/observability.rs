//! What being observed costs: requests a second from memory, with traces and lines off, with lines, and with traces of
//! one in a hundred and of all requests going to a collector. `make bench` prints them.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed benchmark")]
#![expect(clippy::panic, reason = "a failed step is a failed benchmark")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[expect(dead_code, reason = "the harness of the promises; a benchmark needs a part of it")]
#[path = "../it"]
mod it {
    pub(crate) mod support;
}

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use it::support::collector::Collector;
use it::support::gateway::Gateway;
use it::support::gateway::Setup;
use it::support::tree::Tree;

const INFO: &str = "/example.com/lib/@v/v1.0.0.info";
const RATES: &str = "[identity]\nsource_rate = 1000000\ncaller_rate = 1000000\n";

fn main() {
    let collector = Collector::listen();
    let otlp = format!("otlp_endpoint = \"{}\"\ntrace_late = false\n", collector.url());
    let setups = [
        ("neither lines nor traces", "access = \"off\"\n".to_owned()),
        ("lines", String::new()),
        ("lines, and traces of 1 %", format!("{otlp}trace_ratio = 0.01\n")),
        ("lines, and traces of 100 %", format!("{otlp}trace_ratio = 1.0\n")),
    ];
    let mut tree = Tree::new();
    tree.module_of_size("example.com/lib", "v1.0.0", &[], 1000);
    let chain = format!("file://{}", tree.path().display());
    let gateways = setups.map(|(name, telemetry)| {
        let settings = format!("{RATES}[telemetry]\n{telemetry}");
        let gateway = Setup::over(&chain).with(&settings).start();
        let _warm = measure(&gateway, Duration::from_secs(2));
        (name, gateway, Vec::new())
    });
    let mut measured = Vec::from(gateways);
    // in turns, so that what else the machine does meanwhile is everybody's
    for _ in 0..ROUNDS {
        for (_, gateway, rates) in &mut measured {
            rates.push(measure(gateway, Duration::from_secs(3)));
        }
    }
    println!("| observed by | requests a second | of the first | spans lost |\n|---|---|---|---|");
    let mut first = None;
    for (name, gateway, rates) in &mut measured {
        rates.sort_by(f64::total_cmp);
        let rate = rates[rates.len() / 2];
        let lost = "modgate_telemetry_items_total{signal=\"traces\",result=\"dropped\"}";
        let base = *first.get_or_insert(rate);
        println!("| {name} | {rate:.0} | {:.2} | {:.0} |", rate / base, gateway.metric(lost));
    }
}

/// Requests a second of eight clients over connections that are kept for a hundred requests each.
fn measure(gateway: &Gateway, time: Duration) -> f64 {
    let (answered, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let client = gateway.client();
    let mut asked = String::new();
    for number in 1..=BATCH {
        let last = if number == BATCH { "Connection: close\r\n" } else { "" };
        let authorization = client.authorization();
        write!(asked, "GET {INFO} HTTP/1.1\r\nHost: localhost\r\n{authorization}{last}\r\n")
            .unwrap();
    }
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (client, asked, answered) = (client.clone(), asked.clone(), Arc::clone(&answered));
            std::thread::spawn(move || {
                while begun.elapsed() < time {
                    let raw = client.raw(asked.as_bytes());
                    let good = raw.windows(13).filter(|part| part == b"HTTP/1.1 200 ").count();
                    assert_eq!(good as u64, BATCH);
                    answered.fetch_add(BATCH, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let answered = answered.load(Ordering::Relaxed) as f64;
    answered / begun.elapsed().as_secs_f64()
}

/// How often each is measured; the one in the middle is told.
const ROUNDS: usize = 5;
/// Requests on one connection.
const BATCH: u64 = 100;
