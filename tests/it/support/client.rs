//! A client that sends exactly the bytes a test wants, over TLS, and reads whatever comes back.

use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;

use super::authority::ClientCertificate;
use super::balance;

/// A connection, encrypted or not.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Somebody who asks the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    authorization: Option<String>,
    from: Option<IpAddr>,
    answers: Ledger,
}

/// The traces of the answers that clients of one gateway have read.
pub(crate) type Ledger = Arc<Mutex<Vec<String>>>;

/// An answer, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Every value of a header, joined by a comma.
    pub(crate) fn header(&self, name: &str) -> String {
        let values = self.headers.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Client {
    /// A client that trusts one authority.
    pub(crate) fn new(address: SocketAddr, ca: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let answers = Ledger::default();
        Self { address, config: Arc::new(config), authorization: None, from: None, answers }
    }

    /// The same client, writing down which answers it read.
    pub(crate) fn noting(self, answers: &Ledger) -> Self {
        Self { answers: Arc::clone(answers), ..self }
    }

    fn note(&self, answer: Answer) -> Answer {
        self.answers.lock().unwrap().extend(balance::answered(&answer));
        answer
    }

    /// The same client with a certificate of its own.
    pub(crate) fn with_certificate(&self, ca: &Path, shown: &ClientCertificate) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![shown.cert.clone()], shown.key.clone_key())
            .unwrap();
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// Whether the other side lets the handshake end well, and an answer come.
    pub(crate) fn is_let_in(&self) -> bool {
        let mut stream = self.connect();
        let asked = b"GET /-/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        if stream.write_all(asked).and_then(|()| stream.flush()).is_err() {
            return false;
        }
        let mut first = [0_u8; 8];
        stream.read_exact(&mut first).is_ok()
    }

    /// The certificate that the other side shows.
    pub(crate) fn shown_certificate(&self) -> Vec<u8> {
        let mut stream = self.connect();
        stream.flush().unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// The same client with a token as Basic password, as `go` sends it from netrc.
    pub(crate) fn basic(&self, user: &str, password: &str) -> Self {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Self { authorization: Some(format!("Basic {encoded}")), ..self.clone() }
    }

    /// The same client with a Bearer token.
    pub(crate) fn bearer(&self, token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}")), ..self.clone() }
    }

    /// The same client at another loopback address.
    pub(crate) fn from(&self, address: &str) -> Self {
        Self { from: Some(address.parse().unwrap()), ..self.clone() }
    }

    /// The Authorization line this client sends, if any.
    pub(crate) fn authorization(&self) -> String {
        self.authorization
            .as_ref()
            .map_or_else(String::new, |value| format!("Authorization: {value}\r\n"))
    }

    pub(crate) fn connect(&self) -> Tls {
        let tcp = match self.from {
            None => TcpStream::connect(self.address).unwrap(),
            Some(from) => connect_from(from, self.address),
        };
        tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        StreamOwned::new(connection, tcp)
    }

    /// The status, if the gateway is there and answers to the end.
    pub(crate) fn try_get(&self, path: &str) -> Option<u16> {
        let tcp = TcpStream::connect(self.address).ok()?;
        tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        let authorization = self.authorization();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        stream.flush().ok()?;
        let answer = self.note(parse(&read_to_end(&mut stream))?);
        let length: usize = answer.header("content-length").parse().ok()?;
        (answer.body.len() == length).then_some(answer.status)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// Asks with more header lines, each ended by CRLF.
    pub(crate) fn ask(&self, method: &str, path: &str, more: &str) -> Answer {
        let authorization = self.authorization();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}{more}\r\n"
        );
        let raw = self.raw(request.as_bytes());
        let answer = parse(&raw);
        self.note(answer.unwrap_or_else(|| panic!("no HTTP answer to {method} {path}: {raw:?}")))
    }

    /// Sends bytes and reads until the other side closes or resets. Who refuses a head may close before it took all of it:
    /// what it said decides.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        if stream.write_all(bytes).and_then(|()| stream.flush()).is_ok() {
            return read_to_end(&mut stream);
        }
        // past the stream, which would try to send the rest before each read
        let mut raw = Vec::new();
        while let Ok(1..) = stream.conn.read_tls(&mut stream.sock) {
            stream.conn.process_new_packets().unwrap();
            // it ends where no more is there yet
            let _so_far = stream.conn.reader().read_to_end(&mut raw);
        }
        raw
    }
}

impl Client {
    /// Gets a path and throws its bytes away; gives their number.
    pub(crate) fn drain(&self, path: &str) -> u64 {
        let mut stream = self.connect();
        let authorization = self.authorization();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n"
        )
        .unwrap();
        stream.flush().unwrap();
        let mut buffer = vec![0_u8; 64 * 1024];
        let count = stream.read(&mut buffer).unwrap();
        let head = self.note(parse(&buffer[..count]).unwrap());
        assert_eq!(head.status, 200, "{}", head.text());
        let mut total = head.body.len() as u64;
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return total,
                Ok(count) => total += count as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return total,
                Err(error) => panic!("after {total} bytes: {error}"),
            }
        }
    }
}

/// A client that keeps its connection from request to request.
pub(crate) struct Session {
    client: Client,
    stream: Option<Tls>,
}

impl Session {
    pub(crate) fn open(client: Client) -> Self {
        Self { client, stream: None }
    }

    /// Asks, throws the body away, and gives the status; a connection that was closed is opened again.
    pub(crate) fn ask(&mut self, method: &str, path: &str) -> u16 {
        let authorization = self.client.authorization();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n");
        let stream = self.stream.get_or_insert_with(|| self.client.connect());
        stream.write_all(request.as_bytes()).unwrap();
        stream.flush().unwrap();
        let mut raw = Vec::new();
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let count = match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                read => read.unwrap(),
            };
            raw.extend_from_slice(&buffer[..count]);
            let Some(answer) = parse(&raw) else {
                assert!(count > 0, "{method} {path}: no answer: {raw:?}");
                continue;
            };
            let length = answer.header("content-length").parse().unwrap_or(0);
            let whole = method == "HEAD" || answer.body.len() >= length;
            assert!(whole || count > 0, "{method} {path}: the body ends early");
            if whole {
                if count == 0 || answer.header("connection") == "close" {
                    self.stream = None;
                }
                return self.client.note(answer).status;
            }
        }
    }
}

pub(crate) fn read_to_end(stream: &mut Tls) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return raw,
            Ok(count) => raw.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the gateway neither answered nor closed within 30 s; so far: {raw:?}")
            }
            Err(_closed_without_goodbye) => return raw,
        }
    }
}

/// Connects from one of this machine's own addresses.
fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Reads the first answer of some bytes.
pub(crate) fn parse(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(raw.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer { status, headers, body: raw.get(end + 4..)?.to_vec() })
}
