//! The listener's TLS: a certificate chain and key from PEM files, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, and
//! client certificates if they are asked for. Every file is read again when it changes: handshakes that begin later
//! see it, connections that stand go on.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;

use crate::content::Sum;
use crate::head::Certificate;
use crate::tasks::Tasks;
use crate::telemetry::labels::service::Service;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or does not hold what it should.
    #[error("{0}: {1}: give a PEM file with {2}")]
    File(PathBuf, rustls::pki_types::pem::Error, &'static str),
    /// A key that does not belong to the certificate, or one we do not take.
    #[error("certificate {0} and key {1} cannot be used together: {2}")]
    Pair(PathBuf, PathBuf, rustls::Error),
    /// Authorities or revocations of clients that cannot be used.
    #[error("client certificates: {0}: {1}")]
    Clients(PathBuf, String),
}

/// The files that a listener's TLS is made of.
#[derive(Debug, Clone)]
pub struct Files {
    /// Our certificate and those above it.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of client certificates; without it none is asked for.
    pub clients: Option<PathBuf>,
    /// What they took back.
    pub revoked: Option<PathBuf>,
}

/// Accepts handshakes. Clones are the same acceptor.
#[derive(Clone)]
pub struct Acceptor {
    files: Arc<Files>,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TLS with {}", self.files.chain.display())
    }
}

impl Acceptor {
    /// Reads every file for the first time.
    pub fn open(files: Files) -> Result<Self, TlsError> {
        let config = Arc::new(ArcSwap::from_pointee(read(&files)?));
        Ok(Self { files: Arc::new(files), config })
    }

    /// Goes on looking at the files until we stop. What cannot be used is logged, and the last good stays.
    pub fn watch(&self, tasks: &Tasks) {
        let (acceptor, stop) = (self.clone(), tasks.stop().clone());
        let told = tasks.clone();
        acceptor.tell(&told);
        let mut seen = stamps(&acceptor.files);
        tasks.serve(Service::Certificates, async move {
            while tokio::time::timeout(LOOK_AGAIN, stop.cancelled()).await.is_err() {
                let found = stamps(&acceptor.files);
                if found == seen {
                    continue;
                }
                seen = found;
                match read(&acceptor.files) {
                    Ok(config) => {
                        acceptor.config.store(Arc::new(config));
                        acceptor.tell(&told);
                        tracing::info!("certificates were read again");
                    }
                    Err(error) => {
                        tracing::error!(%error, "certificates refused: the last good ones stay");
                    }
                }
            }
        });
    }

    /// Tells the metrics until when our certificate is good.
    fn tell(&self, tasks: &Tasks) {
        let leaf = CertificateDer::from_pem_file(&self.files.chain).ok();
        let parsed = leaf.as_deref().and_then(|leaf| X509Certificate::from_der(leaf).ok());
        if let Some((_, certificate)) = parsed {
            let end = certificate.validity().not_after.timestamp();
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            tasks.telemetry().metrics().certificate_not_after.set((), end as f64);
        }
    }

    /// Shakes hands.
    pub async fn accept(&self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(tcp).await
    }
}

/// What the client's certificate says, once the handshake has verified it.
pub fn certificate_of(stream: &TlsStream<TcpStream>) -> Option<Certificate> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let alternatives =
        parsed.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
    let names = alternatives.flatten().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(format!("uri:{uri}")),
        GeneralName::DNSName(host) => Some(format!("dns:{host}")),
        _ => None,
    });
    Some(Certificate { names: names.collect(), sha256: Sum::of(leaf).to_string() })
}

fn read(files: &Files) -> Result<ServerConfig, TlsError> {
    let (chain, key) = (&files.chain, &files.key);
    let unread = |error| TlsError::File(chain.clone(), error, "the certificate chain");
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).map_err(unread)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| TlsError::File(key.clone(), error, "the private key"))?;
    let pair = |error| TlsError::Pair(chain.clone(), key.clone(), error);
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path, files.revoked.as_deref())?),
    };
    let mut config = builder.with_single_cert(certificates, private).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Asks for a certificate and takes connections without one: `go` has none, and credentials may come in a header.
fn verifier(path: &Path, revoked: Option<&Path>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let failed = |why: String| TlsError::Clients(path.to_owned(), why);
    let mut roots = RootCertStore::empty();
    let unread =
        |error| TlsError::File(path.to_owned(), error, "the authorities of client certificates");
    for authority in CertificateDer::pem_file_iter(path).map_err(unread)? {
        roots.add(authority.map_err(unread)?).map_err(|error| failed(error.to_string()))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(list) = revoked {
        let unread =
            |error| TlsError::File(list.to_owned(), error, "a certificate revocation list");
        let lists: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_file_iter(list).and_then(Iterator::collect);
        builder = builder.with_crls(lists.map_err(unread)?).allow_unknown_revocation_status();
    }
    builder.allow_unauthenticated().build().map_err(|error| failed(error.to_string()))
}

type Stamp = Option<(SystemTime, u64)>;

fn stamps(files: &Files) -> Vec<Stamp> {
    let paths =
        [Some(&files.chain), Some(&files.key), files.clients.as_ref(), files.revoked.as_ref()];
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    paths.into_iter().map(|path| path.and_then(stamp)).collect()
}

/// How soon a changed file is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
