//! A collector of traces: takes OTLP over HTTP and keeps what it is given, unpacked.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;

/// A collector on a free loopback port; it lives as long as the process.
#[derive(Debug)]
pub(crate) struct Collector {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let keeping = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bodies = Arc::clone(&keeping);
                std::thread::spawn(move || {
                    // an exporter that hangs up has said all it wanted
                    let _gone = take(&stream, &bodies);
                });
            }
        });
        Self { address, bodies }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that came, one body after the other.
    pub(crate) fn bodies(&self) -> Vec<u8> {
        self.bodies.lock().unwrap().clone()
    }
}

fn take(stream: &TcpStream, bodies: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream.try_clone()?;
    loop {
        let (mut length, mut packed) = (0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            packed |= line == "content-encoding: gzip";
        }
        let mut body = vec![0_u8; length];
        reader.read_exact(&mut body)?;
        if packed {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut plain)?;
            body = plain;
        }
        bodies.lock().unwrap().extend_from_slice(&body);
        out.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        )?;
    }
}
