//! How much memory the gateway takes above idle while eight clients take a cold zip of 200 MiB at once.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed benchmark")]
#![expect(clippy::panic, reason = "a failed step is a failed benchmark")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[expect(dead_code, reason = "the harness of the promises; a benchmark needs a part of it")]
#[path = "../it"]
mod it {
    pub(crate) mod support;
}

use it::support::gateway::Setup;
use it::support::tree::Tree;

fn main() {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/large", "v1.0.0", &[], SIZE_BYTES);
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).start();
    let client = gateway.client();
    assert_eq!(client.get("/-/whoami").status, 200);
    println!("a zip of {} MiB, {CLIENTS} clients at once", SIZE_BYTES >> 20);
    println!("{:6} {:>12} {:>12} {:>12}", "", "idle KiB", "peak KiB", "above KiB");
    for round in ["cold", "warm"] {
        gateway.forget_peak();
        let idle = gateway.memory("VmRSS") / 1024;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let client = client.clone();
                std::thread::spawn(move || client.drain("/example.com/large/@v/v1.0.0.zip"))
            })
            .collect();
        for client in clients {
            assert!(client.join().unwrap() > SIZE_BYTES as u64);
        }
        let peak = gateway.memory("VmHWM") / 1024;
        println!("{round:6} {idle:>12} {peak:>12} {:>12}", peak.saturating_sub(idle));
    }
}

const SIZE_BYTES: usize = 200 << 20;
const CLIENTS: usize = 8;
