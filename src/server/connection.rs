//! One connection: its handshake, what was read and written on it, and when it has been slow for too long.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use actix_http::Protocol;
use actix_http::error::DispatchError;
use actix_http::error::ParseError;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::gateway::Gateway;
use crate::gateway::account::Refused;
use crate::head::Peer;
use crate::head::Transport;
use crate::server::Shared;
use crate::server::tls::Acceptor;
use crate::server::tls::certificate_of;
use crate::telemetry::labels::Handshake;
use crate::telemetry::labels::HttpVersion;

/// A connection as the HTTP service takes it.
pub type Opened = (Watched, Protocol, Option<SocketAddr>);

/// The connection is over; whatever was to be said about it has been said.
#[derive(Debug)]
pub struct Closed;

/// Makes a connection of a socket: plain, or after a TLS handshake.
pub async fn open(
    tcp: TcpStream,
    acceptor: Option<Acceptor>,
    shared: Shared,
) -> Result<Opened, Closed> {
    let Shared { gateway, min_rate, .. } = shared;
    let address = tcp.peer_addr().map_err(|_gone| Closed)?;
    let _slower = tcp.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        let peer = Peer { address, transport: Transport::Plain, certificate: None };
        let life = Life::begin(peer, HttpVersion::Http1, gateway);
        return Ok((
            Watched::new(Stream::Plain(tcp), life, min_rate),
            Protocol::Http1,
            Some(address),
        ));
    };
    let handshakes = &gateway.telemetry().metrics().tls_handshakes;
    let Ok(Ok(tls)) = timeout(HANDSHAKE, acceptor.accept(tcp)).await else {
        handshakes.count((Handshake::Protocol,));
        return Err(Closed);
    };
    handshakes.count((Handshake::Ok,));
    let (protocol, version) = match tls.get_ref().1.alpn_protocol() {
        Some(b"h2") => (Protocol::Http2, HttpVersion::Http2),
        _ => (Protocol::Http1, HttpVersion::Http1),
    };
    let certificate = certificate_of(&tls).map(Arc::new);
    let peer = Peer { address, transport: Transport::Tls, certificate };
    let life = Life::begin(peer, version, gateway);
    Ok((Watched::new(Stream::Tls(Box::new(tls)), life, min_rate), protocol, Some(address)))
}

/// What is known of a connection besides its requests. Lives on one worker.
#[derive(Debug)]
pub struct Life {
    peer: Peer,
    version: HttpVersion,
    gateway: Arc<Gateway>,
    unheard: Cell<u64>,
    begun: Cell<Instant>,
}

impl Life {
    fn begin(peer: Peer, version: HttpVersion, gateway: Arc<Gateway>) -> Rc<Self> {
        gateway.telemetry().metrics().http_connections.add((version,), 1.0);
        let (unheard, begun) = (Cell::new(0), Cell::new(Instant::now()));
        Rc::new(Self { peer, version, gateway, unheard, begun })
    }

    /// Whence, and how.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// A head was complete: what was read so far became a request.
    pub fn heard(&self) {
        self.begun.set(Instant::now());
        self.unheard.set(0);
    }

    fn read(&self, bytes: u64) {
        self.unheard.set(self.unheard.get() + bytes);
    }

    /// Accounts for bytes that never became a request; the HTTP service has answered and closed by itself.
    pub fn ended(life: &Rc<Self>, error: Option<&DispatchError>) {
        let refused = match error {
            Some(DispatchError::Parse(ParseError::TooLarge)) => Refused::Headers,
            Some(DispatchError::Parse(_)) => Refused::Unparsable,
            // the service says nothing when it gives up on a slow head
            None if life.unheard.get() > 0 && life.begun.get().elapsed() >= GAVE_UP => {
                Refused::Slow
            }
            _ => return,
        };
        life.gateway.rejected(life.peer.address, refused);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.gateway.telemetry().metrics().http_connections.add((self.version,), -1.0);
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that counts what is read and does not wait for ever to write.
#[derive(Debug)]
pub struct Watched {
    stream: Stream,
    life: Rc<Life>,
    stall: Option<Stall>,
    least: u64,
}

/// A time during which the peer did not take all we had.
#[derive(Debug)]
struct Stall {
    since: Instant,
    taken: u64,
    timer: Pin<Box<Sleep>>,
}

impl Watched {
    fn new(stream: Stream, life: Rc<Life>, min_rate: u64) -> Self {
        let least = min_rate.saturating_mul(RATE_WINDOW.as_secs());
        Self { stream, life, stall: None, least }
    }

    /// The life of this connection.
    pub fn life(&self) -> Rc<Life> {
        Rc::clone(&self.life)
    }

    /// Judges one attempt to write: progress restarts the clock, a whole minute below the rate ends it.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> u64,
    ) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(count)) => {
                let count = bytes(count);
                if let Some(stall) = self.stall.as_mut().filter(|_| count > 0) {
                    stall.taken += count;
                    stall.timer.as_mut().reset(Instant::now() + NO_PROGRESS);
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                let stall = self.stall.get_or_insert_with(Stall::begin);
                if stall.is_too_slow(self.least) || stall.timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)));
                }
                Poll::Pending
            }
        }
    }
}

impl Stall {
    fn begin() -> Self {
        let since = Instant::now();
        Self { since, taken: 0, timer: Box::pin(tokio::time::sleep(NO_PROGRESS)) }
    }

    fn is_too_slow(&mut self, least: u64) -> bool {
        if self.since.elapsed() < RATE_WINDOW {
            return false;
        }
        let slow = self.taken < least;
        (self.since, self.taken) = (Instant::now(), 0);
        slow
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        let count = buffer.filled().len().saturating_sub(before);
        if count > 0 {
            self.life.read(count as u64);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.judge(cx, written, |count| *count as u64)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.judge(cx, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The service's clock ticks in half seconds: a head it gave up on is at least this old.
const GAVE_UP: Duration = Duration::from_secs(9);
/// A handshake is two round trips and a signature.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A peer that takes nothing for so long is gone.
const NO_PROGRESS: Duration = Duration::from_secs(30);
/// Over this time the average rate is judged.
const RATE_WINDOW: Duration = Duration::from_mins(1);
