//! What stands between the gateway and a peer and breaks things: a TCP proxy with faults, and odd listeners.

use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::upstream::reset;

/// What is done to the connections of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Pass,
    /// Nobody listens.
    Refuse,
    /// Connections are taken, and that is all.
    BlackHole,
    /// Connections are reset after the first bytes of a request.
    Reset,
    /// So many bytes of each answer pass, and then the end.
    Truncate(usize),
    /// The head of an answer passes, and then a few bytes at a time.
    Slow,
    /// Answers begin so many milliseconds late.
    Delay(u64),
    /// The bits of one byte of each answer are flipped.
    Corrupt(usize),
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    address: SocketAddr,
    fault: Mutex<Fault>,
    open: Mutex<Vec<TcpStream>>,
}

/// A TCP proxy in front of something; it lives as long as the process.
#[derive(Debug, Clone)]
pub(crate) struct Chaos(Arc<Shared>);

impl Chaos {
    /// Passes everything on to a target.
    pub(crate) fn before(target: SocketAddr) -> Self {
        // after a refusal it wants its port back
        let listener = TcpListener::bind(("127.0.0.1", super::port())).unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, open) = (Mutex::new(Fault::Pass), Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { target, address, fault, open });
        let listening = Arc::clone(&shared);
        std::thread::spawn(move || listening.listen(listener));
        Self(shared)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// From now on something else is done; connections that are open are cut, so that it holds for everybody.
    pub(crate) fn set(&self, fault: Fault) {
        *self.0.fault.lock().unwrap() = fault;
        for stream in self.0.open.lock().unwrap().drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
        let listens = || match TcpStream::connect(self.0.address) {
            Ok(_) => fault != Fault::Refuse,
            Err(_) => fault == Fault::Refuse,
        };
        super::until("the proxy does what it was told", listens);
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn listen(self: Arc<Self>, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            match (&listener, self.fault()) {
                (Some(_), Fault::Refuse) => listener = None,
                (None, Fault::Refuse) => pause(),
                (None, _) => listener = TcpListener::bind(self.address).ok(),
                (Some(listener), _) => {
                    listener.set_nonblocking(true).unwrap();
                    match listener.accept() {
                        Ok((stream, _)) => self.serve(stream),
                        Err(_nobody_yet) => pause(),
                    }
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, client: TcpStream) {
        client.set_nonblocking(false).unwrap();
        if self.fault() != Fault::Reset {
            // a second handle would keep the connection from being reset
            self.open.lock().unwrap().push(client.try_clone().unwrap());
        }
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            // a peer that hangs up is the peer's business
            let _gone = shared.pass(client);
        });
    }

    fn pass(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        match self.fault() {
            Fault::BlackHole => {
                while client.read(&mut buffer)? > 0 {}
                return Ok(());
            }
            Fault::Reset => {
                let _asked = client.read(&mut buffer)?;
                reset(client);
                return Ok(());
            }
            _ => {}
        }
        let mut server = TcpStream::connect(self.target)?;
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            let _gone = std::io::copy(&mut from, &mut to);
            let _gone = to.shutdown(Shutdown::Write);
        });
        let passed = self.answer(&mut server, &mut client, &mut buffer);
        let _gone = client.shutdown(Shutdown::Both);
        let _gone = server.shutdown(Shutdown::Both);
        passed
    }

    fn answer(
        &self,
        server: &mut TcpStream,
        client: &mut TcpStream,
        buffer: &mut [u8],
    ) -> std::io::Result<()> {
        let mut sent = 0;
        let mut head = true;
        loop {
            let count = server.read(buffer)?;
            let Some(part) = buffer.get_mut(..count).filter(|part| !part.is_empty()) else {
                return Ok(());
            };
            match self.fault() {
                Fault::Truncate(limit) if sent + count >= limit => {
                    return client.write_all(&part[..limit.saturating_sub(sent).min(count)]);
                }
                Fault::Slow => {
                    let end = part.windows(4).position(|four| four == b"\r\n\r\n");
                    let whole = if head { end.map_or(part.len(), |end| end + 4) } else { 0 };
                    head &= end.is_none();
                    drip(client, part.split_at(whole))?;
                }
                Fault::Delay(millis) if sent == 0 => {
                    std::thread::park_timeout(Duration::from_millis(millis));
                    client.write_all(part)?;
                }
                Fault::Corrupt(at) => {
                    if let Some(byte) = at.checked_sub(sent).and_then(|at| part.get_mut(at)) {
                        *byte ^= 0xff;
                    }
                    client.write_all(part)?;
                }
                _ => client.write_all(part)?,
            }
            sent += count;
        }
    }
}

fn drip(client: &mut TcpStream, (at_once, slowly): (&[u8], &[u8])) -> std::io::Result<()> {
    client.write_all(at_once)?;
    for few in slowly.chunks(8) {
        client.write_all(few)?;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

fn pause() {
    std::thread::park_timeout(Duration::from_millis(2));
}

/// A port on which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], super::port()))
}

/// A listener that takes no more connections: its queue is full. It lives as long as the process.
pub(crate) fn full() -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(0).unwrap().into_std().unwrap()
    });
    let address = listener.local_addr().unwrap();
    let waiting: Vec<_> = (0..4)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok())
        .collect();
    std::thread::spawn(move || {
        let _kept = (listener, waiting);
        std::thread::park();
    });
    address
}

/// A listener that says something whoever comes and whatever they want.
pub(crate) fn saying(what: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _gone = stream.write_all(what.as_bytes());
            let _heard = stream.read(&mut [0; 4096]);
        }
    });
    address
}

/// A TLS listener with a certificate, in front of an HTTP/1.1 server; it lives as long as the process.
pub(crate) fn tls(target: SocketAddr, cert: &Path, key: &Path) -> SocketAddr {
    tls_counting(target, cert, key).0
}

/// The same, and how often a session was resumed.
pub(crate) fn tls_counting(
    target: SocketAddr,
    cert: &Path,
    key: &Path,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let resumed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&resumed);
    let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, counted) = (Arc::clone(&config), Arc::clone(&counted));
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                let _gone = decrypt(StreamOwned::new(connection, stream), target, &counted);
            });
        }
    });
    (address, resumed)
}

/// One request, and the connection ends.
fn decrypt(
    mut client: StreamOwned<ServerConnection, TcpStream>,
    target: SocketAddr,
    resumed: &AtomicUsize,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if client.conn.handshake_kind() == Some(HandshakeKind::Resumed) {
        resumed.fetch_add(1, Ordering::SeqCst);
    }
    let mut server = TcpStream::connect(target)?;
    server.write_all(&head)?;
    server.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}
