//! The listener's TLS: a certificate chain and key from PEM files, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or holds no certificate or key.
    #[error("{0}: {1}: give a PEM file with {2}")]
    File(PathBuf, rustls::pki_types::pem::Error, &'static str),
    /// A key that does not belong to the certificate, or one we do not take.
    #[error("certificate {0} and key {1} cannot be used together: {2}")]
    Pair(PathBuf, PathBuf, rustls::Error),
}

/// Accepts handshakes.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a TLS acceptor")
    }
}

impl Acceptor {
    /// Reads a chain and its key.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let unread = |error| TlsError::File(chain.to_owned(), error, "the certificate chain");
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).map_err(unread)?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| TlsError::File(key.to_owned(), error, "the private key"))?;
        let pair = |error| TlsError::Pair(chain.to_owned(), key.to_owned(), error);
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(pair)?
                .with_no_client_auth()
                .with_single_cert(certificates, private)
                .map_err(pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands.
    pub async fn accept(&self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.0.accept(tcp).await
    }
}
