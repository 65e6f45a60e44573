//! Small documents of the house's own services, such as an issuer's key set: one request, no redirects, no credentials.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Client;
use reqwest::Url;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::egress::EgressError;
use crate::telemetry::labels::Attempt;

/// Why documents cannot be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    /// The file of authorities cannot be read.
    #[error("{0}: {1}: give a PEM file of certificate authorities")]
    File(PathBuf, #[source] std::io::Error),
    /// It holds no usable authority, or the client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// Fetches documents.
#[derive(Debug, Clone)]
pub struct Documents(Client);

/// A document, and for how long its server calls it fresh.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its bytes.
    pub bytes: Bytes,
    /// `max-age` of its `Cache-Control`, if it has one.
    pub max_age: Option<Duration>,
}

/// What the head of an answer told.
#[derive(Debug, Clone)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// `Cache-Status` (RFC 9211); empty if there was none.
    pub cache_status: String,
}

impl Documents {
    /// A client that trusts the system's authorities and those of a PEM file.
    #[expect(clippy::disallowed_methods, reason = "the one door to the HTTP client")]
    pub fn new(extra_roots: Option<&Path>) -> Result<Self, DocumentsError> {
        let mut client = Client::builder()
            .user_agent(concat!("modgate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0);
        if let Some(path) = extra_roots {
            let failed = |error| DocumentsError::File(path.to_owned(), error);
            let bundle = std::fs::read(path).map_err(failed)?;
            client = client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&bundle)?);
        }
        Ok(Self(client.build()?))
    }

    /// Asks a gateway as a client would, with an `Authorization` of its own; gives status and text, 64 KiB at most.
    pub async fn ask(
        &self,
        url: Url,
        authorization: Option<&str>,
    ) -> Result<(u16, String), EgressError> {
        let late = |_| EgressError::Slow("answer", Attempt::TimeoutTotal);
        let until = Instant::now() + PATIENCE;
        let mut asked = self.0.get(url);
        if let Some(authorization) = authorization {
            asked = asked.header("authorization", authorization);
        }
        let mut response =
            timeout_at(until, asked.send()).await.map_err(late)?.map_err(EgressError::transport)?;
        let mut text = Vec::new();
        while let Some(part) = timeout_at(until, response.chunk())
            .await
            .map_err(late)?
            .map_err(EgressError::transport)?
        {
            text.extend_from_slice(&part);
            if text.len() > TEXT_BYTES {
                break;
            }
        }
        Ok((response.status().as_u16(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Asks a gateway for the head of an answer, for as long as it may fetch what the answer holds.
    pub async fn head(&self, url: Url, authorization: Option<&str>) -> Result<Told, EgressError> {
        let late = |_| EgressError::Slow("answer", Attempt::TimeoutTotal);
        let mut asked = self.0.head(url);
        if let Some(authorization) = authorization {
            asked = asked.header("authorization", authorization);
        }
        let asked = tokio::time::timeout(FETCH_PATIENCE, asked.send()).await.map_err(late)?;
        let response = asked.map_err(EgressError::transport)?;
        let header = response.headers().get("cache-status").and_then(|value| value.to_str().ok());
        let cache_status = header.unwrap_or_default().to_owned();
        Ok(Told { status: response.status().as_u16(), cache_status })
    }

    /// Fetches a document of at most `limit` bytes; anything but 200 is an error.
    pub async fn get(
        &self,
        url: Url,
        limit: usize,
        within: Duration,
    ) -> Result<Document, EgressError> {
        let until = Instant::now() + within;
        let late = |_| EgressError::Slow("document", Attempt::TimeoutTotal);
        let asked = self.0.get(url.clone()).header("accept", "application/json").send();
        let mut response =
            timeout_at(until, asked).await.map_err(late)?.map_err(EgressError::transport)?;
        if response.status().as_u16() != 200 {
            return Err(EgressError::Url(format!("{url} answered {}", response.status().as_u16())));
        }
        let control = response.headers().get("cache-control").and_then(|value| value.to_str().ok());
        let max_age = control.and_then(max_age);
        let mut bytes = Vec::new();
        while let Some(part) = timeout_at(until, response.chunk())
            .await
            .map_err(late)?
            .map_err(EgressError::transport)?
        {
            bytes.extend_from_slice(&part);
            if bytes.len() > limit {
                return Err(EgressError::Slow("document that is not too large", Attempt::TooLarge));
            }
        }
        Ok(Document { bytes: bytes.into(), max_age })
    }
}

fn max_age(control: &str) -> Option<Duration> {
    let mut parts = control.split(',').map(str::trim);
    let seconds = parts.find_map(|part| part.strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// A person waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of an answer that is shown.
const TEXT_BYTES: usize = 64 * 1024;

/// As long as a gateway may fetch a large zip.
const FETCH_PATIENCE: Duration = Duration::from_mins(15);
