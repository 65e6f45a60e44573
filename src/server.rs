//! # Server: bytes in, bytes out
//!
//! **Question.** What does a connection have to do to be heard, and how do answers leave it?
//!
//! **Rule.** This is the only place with HTTP types. A request becomes a [`Head`](crate::head::Head) in
//! [`routes`], an [`Admitted`](crate::gateway::account::Admitted) answer becomes a response there, and [`body`]
//! hands its bytes out and closes the record with the last of them. There is no middleware: identity and policy
//! are lines of the journey, and what must happen to every request happens to every connection, in
//! [`connection`].
//!
//! **Order of a connection.** Accept, TLS handshake (in ten seconds), HTTP/1.1 or HTTP/2 as ALPN said, heads (each in
//! ten seconds), the framing rules of [`routes`], the journey, the body.
//!
//! **What it refuses.** Methods but GET and HEAD (405), bodies (400, closed), targets over 8 KiB (414), heads of over 64
//! fields or 32 KiB (431), an absolute target that contradicts `Host` (400), heads that are not HTTP (400, closed),
//! slow heads (408). Each has an audit event, also those the HTTP parser refuses by itself: the connection sees
//! that bytes came and no request did.
//!
//! **How it fails.** A reader who takes nothing for 30 seconds, or less than `server.min_rate` over a minute, is cut off. Stopping
//! closes the listeners first, then waits for requests under way, then cuts.
//!
//! **A limit.** The HTTP library drops a fragment (`#` and what follows) from a request target before we see it.

pub mod body;
pub mod connection;
pub mod devca;
mod lag;
pub mod ops;
pub mod routes;
pub mod tls;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_http::KeepAlive;
use actix_service::IntoServiceFactory as _;
use actix_service::ServiceFactoryExt as _;
use actix_service::apply_fn_factory;
use actix_service::fn_service;
use actix_service::map_config;
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::web;
use tokio::net::TcpStream;

use crate::gateway::Gateway;
use crate::head::Transport;
use crate::server::connection::Life;
use crate::server::connection::Watched;
use crate::server::tls::Acceptor;
use crate::tasks::Tasks;

pub use actix_server::Server;

/// How the module listeners run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Event loops; each has all its connections to itself.
    pub workers: usize,
    /// Connections of one worker at once; more wait in the kernel's queue.
    pub connections: usize,
    /// How long requests under way may take when we stop.
    pub drain: Duration,
}

/// What a worker shares with all others.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The journey.
    pub gateway: Arc<Gateway>,
    /// Where blocking reads go.
    pub tasks: Tasks,
    /// Bytes a second that a reader must take, averaged over a minute.
    pub min_rate: u64,
}

/// Listens until told to stop. Without an acceptor connections are plain.
pub fn listen(
    listeners: Vec<TcpListener>,
    acceptor: Option<&Acceptor>,
    shared: &Shared,
    settings: &Settings,
) -> io::Result<Server> {
    let mut builder = Server::build()
        .workers(settings.workers.max(1))
        .max_concurrent_connections(settings.connections)
        .shutdown_timeout(settings.drain.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    for listener in listeners {
        let stopping = stopping.clone();
        let (acceptor, shared) = (acceptor.cloned(), shared.clone());
        builder = builder.listen("modules", listener, move || {
            let (acceptor, shared) = (acceptor.clone(), shared.clone());
            lag::watch(&shared.tasks);
            let stopping = stopping.clone();
            let app = App::new()
                .app_data(web::Data::new(shared.clone()))
                .default_service(web::to(routes::answer))
                .into_factory()
                .map_err(|error: actix_web::Error| error.error_response());
            let http = HttpService::build()
                .keep_alive(KeepAlive::Timeout(IDLE))
                .client_request_timeout(HEAD_COMPLETE)
                .client_disconnect_timeout(GOODBYE)
                .h1_allow_half_closed(false)
                // idle connections are closed when we stop, not when they time out
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .on_connect_ext(|io: &Watched, known| {
                    known.insert(io.life());
                })
                .finish(map_config(app, |()| AppConfig::default()));
            let door = move |tcp: TcpStream| {
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                async move { connection::open(tcp, acceptor, shared).await }
            };
            // the connection's life tells what the HTTP service keeps to itself: a head that never became one
            let heard = apply_fn_factory(http, |opened: connection::Opened, http| {
                let life = opened.0.life();
                let running = actix_service::Service::call(http, opened);
                async move {
                    let ended = running.await;
                    Life::ended(&life, ended.as_ref().err());
                    ended
                }
            });
            fn_service(door).and_then(heard.map_err(|_told| connection::Closed))
        })?;
    }
    Ok(builder.run())
}

/// What carries connections of a listener.
pub const fn transport(acceptor: Option<&Acceptor>) -> Transport {
    if acceptor.is_some() { Transport::Tls } else { Transport::Plain }
}

/// Idle connections are kept this long: longer than a `go` command thinks between two downloads.
const IDLE: Duration = Duration::from_secs(75);
/// A head is a few hundred bytes; who needs longer is broken or hostile. The time runs while this process gets no
/// processor, too, and is looked at before the socket: a head that lay there all the while is slow. So it is longer than
/// such a pause. What slow connections cost is limited by their number, in all and from one source.
const HEAD_COMPLETE: Duration = Duration::from_secs(10);
/// How long a closing connection may take to say so.
const GOODBYE: Duration = Duration::from_secs(2);
