//! A wire that breaks: passes bytes on to a port, and resets connections when it is told to.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// A port before another port; it lives as long as the process.
#[derive(Debug)]
pub(crate) struct Wire {
    port: u16,
    left: Arc<AtomicUsize>,
}

impl Wire {
    /// Passes everything on to a loopback port.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let counting = Arc::clone(&left);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let left = Arc::clone(&counting);
                std::thread::spawn(move || pass(&client, target, &left));
            }
        });
        Self { port, left }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// After so many more messages of clients, all connections together, whoever speaks is reset unheard.
    pub(crate) fn reset_after(&self, messages: usize) {
        self.left.store(messages, Ordering::SeqCst);
    }

    /// Is well again.
    pub(crate) fn mend(&self) {
        self.reset_after(usize::MAX);
    }
}

fn pass(client: &TcpStream, target: u16, left: &AtomicUsize) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
    let (mut back, mut forth) = (server.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut reading, mut writing) = (client.try_clone().unwrap(), client.try_clone().unwrap());
    let answers = std::thread::spawn(move || std::io::copy(&mut back, &mut writing));
    let mut buffer = vec![0_u8; 64 * 1024];
    // what was not read when a socket closes makes the close a reset
    while reading.peek(&mut buffer).is_ok_and(|count| count > 0) {
        let one_less = |left: usize| left.checked_sub(1);
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
            break;
        }
        let Ok(count) = reading.read(&mut buffer) else { break };
        if forth.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // either side may be gone already
    let _gone = server.shutdown(std::net::Shutdown::Both);
    let _gone = answers.join();
}
