//! # Link: the only way to Redis
//!
//! **Question.** How can something that several gateways share be asked, so that its failure fails nobody?
//!
//! **Rule.** Every command has a time-out. There is a connection, or there is none: while there is none, a command is
//! refused at once and costs nothing. Nobody who asks ever connects; one service ([`RedisLink::keep`]) does, with a time-out
//! of its own and growing pauses, and a connection counts only when a PING came back on it.
//!
//! **What ends a connection.** That it was lost, or that the server says it is not the one for us (a master that became
//! a replica, one that is loading): at once. Commands that were late: [`LATE_IN_A_ROW`] in a row, so that one slow
//! command is not an outage and a server that hangs is one soon. So a stopped Redis costs a few time-outs, and then
//! nothing until it answers again.
//!
//! **Three ways.** One server; sentinels, asked anew for the master at every connect; a cluster, which is followed by
//! the client library. The three differ in [`wire`] and nowhere else.
//!
//! **How it fails.** With a [`LinkError`], which a tier reads as a miss, a lease as "alone" and the bus as a gap.

#[cfg(not(feature = "redis"))]
#[path = "link/absent.rs"]
mod wire;
#[cfg(feature = "redis")]
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::config::redis::Redis;
use crate::link::wire::Connection;
use crate::link::wire::Door;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::happening::Happening;
use crate::telemetry::happening::What;
use crate::telemetry::labels::RedisGroup;
use crate::telemetry::labels::RedisResult;
use crate::telemetry::trace::redis_ended;
use crate::telemetry::trace::redis_span;

/// Why a command has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// There is no connection just now.
    #[error("there is no connection to Redis")]
    Down,
    /// No answer in time.
    #[error("Redis gave no answer in time")]
    Late,
    /// The connection was lost, or not made.
    #[error("the connection to Redis failed: {0}")]
    Lost(String),
    /// The server is not the one to ask: it was demoted, or is loading.
    #[error("Redis is not ready: {0}")]
    Elsewhere(String),
    /// The server refused the command.
    #[error("Redis refused: {0}")]
    Refused(String),
    /// The answer has another form.
    #[error("Redis answered something else than was asked for")]
    Form,
    /// It cannot be used as configured.
    #[error("[redis] cannot be used: {0}")]
    Settings(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes, or a line.
    Bytes(Bytes),
    /// Several.
    List(Vec<Self>),
}

impl Answer {
    /// The number, or 0 for nothing.
    pub fn int(&self) -> Result<i64, LinkError> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::Nil => Ok(0),
            Self::Bytes(_) | Self::List(_) => Err(LinkError::Form),
        }
    }

    /// The bytes; `None` for nothing.
    pub fn bytes(self) -> Result<Option<Bytes>, LinkError> {
        match self {
            Self::Bytes(bytes) => Ok(Some(bytes)),
            Self::Nil => Ok(None),
            Self::Int(_) | Self::List(_) => Err(LinkError::Form),
        }
    }

    /// The answers in it.
    pub fn list(self) -> Result<Vec<Self>, LinkError> {
        match self {
            Self::List(all) => Ok(all),
            Self::Nil => Ok(Vec::new()),
            Self::Int(_) | Self::Bytes(_) => Err(LinkError::Form),
        }
    }
}

/// The way to one Redis; clones share it.
#[derive(Clone)]
pub struct RedisLink(Arc<Inner>);

struct Inner {
    door: Door,
    prefix: String,
    patience: Duration,
    connect_patience: Duration,
    connection: Mutex<Option<Connection>>,
    late: AtomicU32,
    lost: Notify,
    telemetry: Arc<Telemetry>,
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a link that is {}", if self.is_up() { "up" } else { "down" })
    }
}

impl RedisLink {
    /// A link that is down until [`RedisLink::connect`] or [`RedisLink::keep`].
    pub fn new(settings: &Redis, telemetry: Arc<Telemetry>) -> Result<Self, LinkError> {
        telemetry.redis().up.set((), 0.0);
        Ok(Self(Arc::new(Inner {
            door: Door::new(settings)?,
            prefix: settings.prefix.clone(),
            patience: settings.timeout,
            connect_patience: settings.connect_timeout,
            connection: Mutex::new(None),
            late: AtomicU32::new(0),
            lost: Notify::new(),
            telemetry,
        })))
    }

    /// A key of a kind. Those of one name stand in one slot of a cluster, so a script may use several.
    pub fn key(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{{{name}}}", self.0.prefix)
    }

    /// Whether commands are tried.
    pub fn is_up(&self) -> bool {
        self.held().is_some()
    }

    /// Connects once and says what is wrong.
    pub async fn connect(&self) -> Result<(), LinkError> {
        let connecting = async {
            let connection = self.0.door.connect().await?;
            connection.ask(&[b"PING"]).await?;
            Ok(connection)
        };
        let connected = timeout(self.0.connect_patience, connecting).await;
        let connection = connected.map_err(|_late| LinkError::Late)??;
        self.0.late.store(0, Ordering::Relaxed);
        *self.lock() = Some(connection);
        self.0.telemetry.redis().up.set((), 1.0);
        Ok(())
    }

    /// Keeps the link up until the gateway stops.
    pub async fn keep(self, tasks: Tasks) {
        let (stop, mut pause) = (tasks.stop().clone(), FIRST_PAUSE);
        let mut told_down = false;
        while !stop.is_cancelled() {
            match self.connect().await {
                Ok(()) => {
                    self.is_back();
                    if std::mem::take(&mut told_down) {
                        self.tell(Happening::new(What::DependencyUp, "redis"));
                    }
                    pause = FIRST_PAUSE;
                    self.watch(&tasks).await;
                    if !stop.is_cancelled() {
                        told_down = true;
                        let lost = Happening::new(What::DependencyDown, "redis");
                        self.tell(lost.because("the connection was lost"));
                    }
                }
                Err(error) => {
                    // of several failures in a row only the first is told
                    if pause == FIRST_PAUSE {
                        tracing::warn!(event_name = "redis_lost", %error, "going on without Redis");
                    }
                    if !std::mem::replace(&mut told_down, true) {
                        let down = Happening::new(What::DependencyDown, "redis");
                        self.tell(down.because(&error));
                    }
                    let _woken = timeout(pause, stop.cancelled()).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn tell(&self, happening: Happening) {
        self.0.telemetry.tell(happening);
    }

    fn is_back(&self) {
        self.0.telemetry.redis().reconnects.count(());
        tracing::info!(event_name = "redis_back", "connected to Redis");
    }

    /// Waits until the connection is lost. An idle one is tried now and then, so that its end is noticed.
    async fn watch(&self, tasks: &Tasks) {
        let stop = tasks.stop();
        while self.is_up() && !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.0.lost.notified() => {}
                () = tokio::time::sleep(IDLE) => {
                    // whatever comes of it is noted by the asking itself
                    let _noted = self.ask(RedisGroup::Get, &[b"PING"]).await;
                }
            }
        }
    }

    /// Asks one command. Cancel safety: the command may or may not have been carried out.
    pub async fn ask(&self, group: RedisGroup, words: &[&[u8]]) -> Result<Answer, LinkError> {
        let Some(connection) = self.held() else { return Err(LinkError::Down) };
        let begun = Instant::now();
        let span = redis_span(group);
        let asked = timeout(self.0.patience, connection.ask(words)).instrument(span.clone()).await;
        let answer = asked.unwrap_or(Err(LinkError::Late));
        let metrics = self.0.telemetry.redis();
        metrics.seconds.observe((group,), begun.elapsed().as_secs_f64());
        let result = self.judge(&answer);
        redis_ended(&span, result);
        metrics.commands.count((group, result));
        answer
    }

    fn judge(&self, answer: &Result<Answer, LinkError>) -> RedisResult {
        match answer {
            Ok(_) => {
                self.0.late.store(0, Ordering::Relaxed);
                RedisResult::Ok
            }
            Err(LinkError::Late) => {
                if self.0.late.fetch_add(1, Ordering::Relaxed) + 1 >= LATE_IN_A_ROW {
                    self.drop_connection();
                }
                RedisResult::Timeout
            }
            Err(LinkError::Lost(_)) => {
                self.drop_connection();
                RedisResult::Io
            }
            Err(LinkError::Elsewhere(_)) => {
                self.drop_connection();
                RedisResult::Moved
            }
            Err(
                LinkError::Down | LinkError::Refused(_) | LinkError::Form | LinkError::Settings(_),
            ) => RedisResult::Error,
        }
    }

    fn drop_connection(&self) {
        *self.lock() = None;
        self.0.telemetry.redis().up.set((), 0.0);
        self.0.lost.notify_one();
    }

    /// The bytes under a key.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, LinkError> {
        self.ask(RedisGroup::Get, &[b"GET", key.as_bytes()]).await?.bytes()
    }

    /// Puts bytes under a key for a while.
    pub async fn set(&self, key: &str, value: &[u8], life: Duration) -> Result<(), LinkError> {
        let life = millis(life);
        let words: [&[u8]; 5] = [b"SET", key.as_bytes(), value, b"PX", life.as_bytes()];
        self.ask(RedisGroup::Set, &words).await.map(|_| ())
    }

    /// Takes a key away, and tells whether it was there.
    pub async fn delete(&self, key: &str) -> Result<bool, LinkError> {
        Ok(self.ask(RedisGroup::Del, &[b"DEL", key.as_bytes()]).await?.int()? > 0)
    }

    /// Runs a script over keys of one name.
    pub async fn script(
        &self,
        code: &str,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Answer, LinkError> {
        let count = keys.len().to_string();
        let mut words: Vec<&[u8]> = vec![b"EVAL", code.as_bytes(), count.as_bytes()];
        words.extend(keys.iter().map(|key| key.as_bytes()));
        words.extend(arguments);
        self.ask(RedisGroup::Script, &words).await
    }

    /// Tells everybody who listens on a channel; the channel's name gets the prefix.
    pub async fn publish(&self, channel: &str, message: &[u8]) -> Result<(), LinkError> {
        let channel = format!("{}:{channel}", self.0.prefix);
        let words: [&[u8]; 3] = [b"PUBLISH", channel.as_bytes(), message];
        self.ask(RedisGroup::Pubsub, &words).await.map(|_| ())
    }

    /// Listens on a channel, on a connection of its own. The stream ends when that is lost.
    pub async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, LinkError> {
        let channel = format!("{}:{channel}", self.0.prefix);
        let opening = timeout(self.0.connect_patience, self.0.door.subscribe(&channel)).await;
        opening.map_err(|_late| LinkError::Late)?
    }

    fn held(&self) -> Option<Connection> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as Redis takes it.
pub fn millis(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

/// A server that lets so many commands in a row wait too long hangs.
const LATE_IN_A_ROW: u32 = 3;
/// How soon a lost connection is tried again...
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// ...and how late at most: a Redis that is back is used within two seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// An idle connection is tried this often.
const IDLE: Duration = Duration::from_secs(1);
