//! Memory does not depend on the size of what is served. The long form, with 200 MiB, is `make bench`.

use crate::support::gateway::Setup;
use crate::support::tree::Tree;

#[test]
fn eight_clients_of_a_large_zip_cost_less_than_64_mib() {
    let mut tree = Tree::new();
    tree.module_of_size("example.com/large", "v1.0.0", &[], 96 << 20);
    let gateway = Setup::over(&format!("file://{}", tree.path().display())).start();
    let client = gateway.client();
    assert_eq!(client.get("/-/whoami").status, 200);
    gateway.forget_peak();
    let idle = gateway.memory("VmRSS");
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || client.drain("/example.com/large/@v/v1.0.0.zip"))
        })
        .collect();
    for client in clients {
        assert!(client.join().unwrap() > 96 << 20);
    }
    let above = gateway.memory("VmHWM").saturating_sub(idle);
    assert!(above <= 64 << 20, "{} KiB above idle", above / 1024);
}
