//! The client library: how one server, a master found by sentinels, or a cluster is reached.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use redis::AsyncConnectionConfig;
use redis::Client;
use redis::Cmd;
use redis::ConnectionAddr;
use redis::ErrorKind;
use redis::IntoConnectionInfo;
use redis::RedisConnectionInfo;
use redis::RedisError;
use redis::ServerErrorKind;
use redis::TlsCertificates;
use redis::TlsMode;
use redis::Value;
use redis::aio::ConnectionLike as _;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::SentinelClient;
use redis::sentinel::SentinelClientBuilder;
use redis::sentinel::SentinelServerType;
use tokio::sync::Mutex;

use crate::config::redis::Mode;
use crate::config::redis::Node;
use crate::config::redis::Redis;
use crate::config::redis::Transport;
use crate::link::Answer;
use crate::link::LinkError;

/// Where connections are made.
pub(in crate::link) struct Door {
    way: Way,
    /// Plain clients of every node: publish and subscribe need a connection of their own.
    nodes: Vec<Client>,
    config: AsyncConnectionConfig,
}

enum Way {
    One,
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

/// A connection that many use at once.
#[derive(Clone)]
pub(in crate::link) enum Connection {
    One(MultiplexedConnection),
    Many(ClusterConnection),
}

impl Door {
    /// Reads the authorities; connects to nobody.
    pub(in crate::link) fn new(settings: &Redis) -> Result<Self, LinkError> {
        let bundle = settings.ca_file.as_ref().map(std::fs::read).transpose();
        let bundle = bundle.map_err(|error| LinkError::Settings(format!("ca_file: {error}")))?;
        let certificates = TlsCertificates { client_tls: None, root_cert: bundle };
        let unusable = |error: RedisError| LinkError::Settings(error.to_string());
        let clients = settings.nodes.iter().map(|node| client(settings, node, &certificates));
        let nodes = clients.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
        let way = match &settings.mode {
            Mode::Standalone => Way::One,
            Mode::Sentinel(master) => {
                let sentinel = sentinel(settings, master, &certificates).map_err(unusable)?;
                Way::Sentinel(Box::new(Mutex::new(sentinel)))
            }
            Mode::Cluster => {
                Way::Cluster(Box::new(cluster(settings, certificates).map_err(unusable)?))
            }
        };
        // the link's own time-outs hold; the library's would only end a connection under many users
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(None);
        Ok(Self { way, nodes, config })
    }

    pub(in crate::link) async fn connect(&self) -> Result<Connection, LinkError> {
        Ok(match &self.way {
            Way::One => {
                let client = self.nodes.first().ok_or(LinkError::Down)?;
                let made = client.get_multiplexed_async_connection_with_config(&self.config).await;
                Connection::One(made.map_err(failed)?)
            }
            Way::Sentinel(sentinel) => {
                let mut sentinel = sentinel.lock().await;
                let made = sentinel.get_async_connection_with_config(&self.config).await;
                Connection::One(made.map_err(failed)?)
            }
            Way::Cluster(cluster) => {
                Connection::Many(cluster.get_async_connection().await.map_err(failed)?)
            }
        })
    }

    pub(in crate::link) async fn subscribe(
        &self,
        channel: &str,
    ) -> Result<BoxStream<'static, Bytes>, LinkError> {
        let clients = match &self.way {
            Way::Sentinel(sentinel) => {
                vec![sentinel.lock().await.async_get_client().await.map_err(failed)?]
            }
            // a cluster passes what is published on from node to node
            Way::One | Way::Cluster(_) => self.nodes.clone(),
        };
        let mut last = LinkError::Down;
        for client in clients {
            match client.get_async_pubsub().await {
                Ok(mut heard) => {
                    heard.subscribe(channel).await.map_err(failed)?;
                    let payload =
                        |message: redis::Msg| Bytes::copy_from_slice(message.get_payload_bytes());
                    return Ok(heard.into_on_message().map(payload).boxed());
                }
                Err(error) => last = failed(error),
            }
        }
        Err(last)
    }
}

impl Connection {
    pub(in crate::link) async fn ask(&self, words: &[&[u8]]) -> Result<Answer, LinkError> {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let asked = match self {
            Self::One(connection) => connection.clone().req_packed_command(&command).await,
            Self::Many(connection) => connection.clone().req_packed_command(&command).await,
        };
        asked.map_err(failed).and_then(answer)
    }
}

fn answer(value: Value) -> Result<Answer, LinkError> {
    Ok(match value {
        Value::Nil => Answer::Nil,
        Value::Int(number) => Answer::Int(number),
        Value::Boolean(is_so) => Answer::Int(i64::from(is_so)),
        Value::BulkString(bytes) => Answer::Bytes(bytes.into()),
        Value::SimpleString(text) => Answer::Bytes(text.into_bytes().into()),
        Value::Okay => Answer::Bytes(Bytes::from_static(b"OK")),
        Value::Array(all) | Value::Set(all) => {
            Answer::List(all.into_iter().map(answer).collect::<Result<_, _>>()?)
        }
        Value::Map(pairs) => {
            let flat = pairs.into_iter().flat_map(|(key, value)| [key, value]);
            Answer::List(flat.map(answer).collect::<Result<_, _>>()?)
        }
        Value::ServerError(error) => return Err(LinkError::Refused(error.to_string())),
        _ => return Err(LinkError::Form),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of errors is needed")]
fn failed(error: RedisError) -> LinkError {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::ClusterDown,
        ) => LinkError::Elsewhere(text),
        ErrorKind::Server(_) | ErrorKind::Extension => LinkError::Refused(text),
        _ if error.is_timeout() => LinkError::Late,
        _ => LinkError::Lost(text),
    }
}

fn address(node: &Node) -> ConnectionAddr {
    let (host, port) = (node.host.trim_matches(['[', ']']).to_owned(), node.port);
    match node.transport {
        Transport::Plain => ConnectionAddr::Tcp(host, port),
        Transport::Tls => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}

fn account(settings: &Redis, node: &Node) -> RedisConnectionInfo {
    let mut account = RedisConnectionInfo::default().set_db(node.database);
    if let Some(name) = &settings.username {
        account = account.set_username(name);
    }
    if let Some(password) = &settings.password {
        account = account.set_password(password.expose());
    }
    account
}

fn client(
    settings: &Redis,
    node: &Node,
    certificates: &TlsCertificates,
) -> Result<Client, RedisError> {
    let info = address(node).into_connection_info()?.set_redis_settings(account(settings, node));
    match node.transport {
        Transport::Plain => Client::open(info),
        Transport::Tls => Client::build_with_tls(info, certificates.clone()),
    }
}

fn sentinel(
    settings: &Redis,
    master: &str,
    certificates: &TlsCertificates,
) -> Result<SentinelClient, RedisError> {
    let addresses = settings.nodes.iter().map(address);
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
    if let Some(node) = settings.nodes.first() {
        builder = builder.set_client_to_redis_db(node.database);
    }
    if settings.nodes.iter().any(|node| node.transport == Transport::Tls) {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(certificates.clone());
    }
    if let Some(name) = &settings.username {
        builder = builder.set_client_to_redis_username(name);
    }
    if let Some(password) = &settings.password {
        builder = builder.set_client_to_redis_password(password.expose());
    }
    if let Some(password) = &settings.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password.expose());
    }
    builder.build()
}

fn cluster(settings: &Redis, certificates: TlsCertificates) -> Result<ClusterClient, RedisError> {
    let mut builder = ClusterClient::builder(settings.nodes.iter().map(address))
        .connection_timeout(settings.connect_timeout)
        .response_timeout(settings.timeout)
        .retries(CLUSTER_RETRIES);
    if settings.nodes.iter().any(|node| node.transport == Transport::Tls) {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    if let Some(name) = &settings.username {
        builder = builder.username(name);
    }
    if let Some(password) = &settings.password {
        builder = builder.password(password.expose());
    }
    builder.build()
}

/// A slot that has moved is found by asking once more; a master that is gone is not worth waiting for.
const CLUSTER_RETRIES: u32 = 2;
