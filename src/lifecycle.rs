//! Start, ready, drain: what happens between the configuration and the exit code.

mod watch;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::app;
use crate::app::App;
use crate::config::Config;
use crate::server;
use crate::server::Server;
use crate::server::Shared;
use crate::server::tls::Acceptor;
use crate::server::tls::Files;
use crate::telemetry::export::Exporter;
use crate::telemetry::labels::service::Service;

/// The runtime of fills, and of whatever else waits.
pub fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("fetch").build().context("the runtime could not start")
}

/// The runtime of what is exported, which outlives that of fills.
pub fn export_runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all().thread_name("export");
    builder.build().context("the runtime of exports could not start")
}

/// Runs until SIGINT or SIGTERM, drains, and gives up waiting at a second signal. `ready` is called when every
/// listener accepts, with the addresses of the module listeners.
pub fn run(
    config: &Config,
    runtime: Runtime,
    exporter: Option<&Exporter>,
    ready: impl FnOnce(&Listening),
) -> anyhow::Result<()> {
    let bound = Bound::bind(config)?;
    // with port 0 only now it is known where we are reached
    let mut config = config.clone();
    config.server.listen.clone_from(&bound.listening.modules);
    let app = app::build(&config, runtime.handle(), exporter)?;
    let served = runtime.block_on(serve(&config, &app, bound, ready));
    let App { gateway, tasks, threads } = app;
    runtime.block_on(async {
        if tokio::time::timeout(LAST_FILLS, tasks.drain()).await.is_err() {
            tracing::warn!("fills under way were cut off; the next start sweeps what they left");
        }
    });
    drop((gateway, tasks));
    runtime.shutdown_timeout(LAST_FILLS);
    // they end when the last handle is gone: every event and line is written by then
    let until = Instant::now() + LAST_RECORDS;
    for thread in threads {
        thread.join(until);
    }
    if let Some(exporter) = exporter {
        exporter.shut_down();
    }
    served
}

/// Somebody who judges credentials or has modules, and whether they can be asked.
#[derive(Debug)]
pub struct Probed {
    /// Which one.
    pub what: String,
    /// Why not.
    pub said: Result<(), String>,
}

/// Asks every directory, every issuer that is found by discovery, and every upstream, once.
pub fn probe(config: &Config) -> anyhow::Result<Vec<Probed>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let probed = runtime.block_on(app::probe(config, runtime.handle()))?;
    let named = |(what, said)| Probed { what, said };
    Ok(probed.into_iter().map(named).collect())
}

/// Where the gateway listens.
#[derive(Debug, Clone)]
pub struct Listening {
    /// The module listeners.
    pub modules: Vec<std::net::SocketAddr>,
    /// The operations listener.
    pub ops: std::net::SocketAddr,
}

/// Sockets that are listened on.
#[derive(Debug)]
struct Bound {
    modules: Vec<TcpListener>,
    ops: TcpListener,
    listening: Listening,
}

impl Bound {
    fn bind(config: &Config) -> anyhow::Result<Self> {
        let mut modules = Vec::new();
        for address in &config.server.listen {
            modules.push(bind("server.listen", *address)?);
        }
        let ops = bind("server.ops_listen", config.server.ops_listen)?;
        let listening = Listening {
            modules: modules.iter().filter_map(|bound| bound.local_addr().ok()).collect(),
            ops: ops.local_addr()?,
        };
        Ok(Self { modules, ops, listening })
    }
}

/// Histogram samples pile up unless somebody moves them into their buckets.
fn start_upkeep(app: &App) {
    let (upkeep, stop) = (Arc::clone(&app.gateway), app.tasks.stop().clone());
    app.tasks.serve(Service::MetricsUpkeep, async move {
        while !stop.is_cancelled() {
            upkeep.telemetry().page().upkeep();
            let _woken = tokio::time::timeout(UPKEEP, stop.cancelled()).await;
        }
    });
    // apart, because files may hang
    let (look, stop) = (Arc::clone(&app.gateway), app.tasks.stop().clone());
    let _service = app.tasks.run("look", async move {
        while !stop.is_cancelled() {
            let late = async {
                stop.cancelled().await;
                tokio::time::sleep(LAST_LOOK).await;
            };
            tokio::select! {
                () = look.keep() => {}
                () = late => {}
            }
            let _woken = tokio::time::timeout(UPKEEP, stop.cancelled()).await;
        }
    });
}

async fn serve(
    config: &Config,
    app: &App,
    bound: Bound,
    ready: impl FnOnce(&Listening),
) -> anyhow::Result<()> {
    let acceptor = match (&config.server.tls_cert, &config.server.tls_key) {
        (Some(chain), Some(key)) => {
            let mtls = config.identity.mtls.as_ref();
            let acceptor = Acceptor::open(Files {
                chain: chain.clone(),
                key: key.clone(),
                clients: mtls.map(|mtls| mtls.ca_file.clone()),
                revoked: mtls.and_then(|mtls| mtls.crl_file.clone()),
            })?;
            acceptor.watch(&app.tasks);
            Some(acceptor)
        }
        _ => None,
    };
    let shared = Shared {
        gateway: Arc::clone(&app.gateway),
        tasks: app.tasks.clone(),
        min_rate: config.server.min_rate,
    };
    let settings = server::Settings {
        workers: config.server.workers,
        connections: config.server.max_connections.div_ceil(config.server.workers),
        drain: config.server.drain,
    };
    let modules = server::listen(bound.modules, acceptor.as_ref(), &shared, &settings)?;
    let ops = server::ops::listen(bound.ops, &shared)?;
    start_upkeep(app);
    watch::start(config, app)?;
    // whoever is told that we are ready may tell us to stop at once
    let stops = Stops::listen()?;
    ready(&bound.listening);
    run_until_stopped(modules, ops, stops, config.server.drain).await
}

/// Serves until a signal; then drains, or stops at once at a second one.
async fn run_until_stopped(
    modules: Server,
    ops: Server,
    mut stops: Stops,
    drain: Duration,
) -> anyhow::Result<()> {
    let (handle, ops_handle) = (modules.handle(), ops.handle());
    tokio::pin!(modules);
    tokio::pin!(ops);
    tokio::select! {
        ended = &mut modules => return ended.context("the module listeners ended"),
        ended = &mut ops => return ended.context("the operations listener ended"),
        () = stops.next() => {}
    }
    tracing::info!(?drain, "stopping: requests under way are finished");
    // a server stops only while it is polled; probes and metrics are answered until the last request is
    let drained = async { tokio::join!(handle.stop(true), &mut modules) };
    tokio::select! {
        _stopped = drained => {}
        () = stops.again() => {}
        ended = &mut ops => return ended.context("the operations listener ended"),
    }
    let _stopped = tokio::join!(ops_handle.stop(false), &mut ops);
    Ok(())
}

fn bind(key: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("{key}: {address} cannot be listened on: is it in use? choose another with --set {key}=…")
    })
}

/// SIGINT and SIGTERM, heard from its making on.
#[derive(Debug)]
struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    fn listen() -> std::io::Result<Self> {
        let (interrupt, terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    async fn again(&mut self) {
        self.next().await;
        tracing::warn!("stopping at once");
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Fills nobody waits for any more may end, or be cut off: they leave nothing half.
const LAST_FILLS: Duration = Duration::from_secs(5);
/// How long the end waits for a look that is under way.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// What still has to be written is, within this; whatever hangs longer hangs with its disk.
const LAST_RECORDS: Duration = Duration::from_secs(10);
/// Histogram samples are moved into buckets this often.
const UPKEEP: Duration = Duration::from_secs(5);
