//! A certificate authority of the tests, and what it signs: made anew each time, never committed.

use std::path::Path;
use std::path::PathBuf;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;

/// Files of an authority and of a certificate for localhost.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes them in a directory.
    pub(crate) fn make(directory: &Path) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "test authority");
        let ca = authority.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let cert = leaf.signed_by(&key, &Issuer::from_params(&authority, &ca_key)).unwrap();
        let made = Self {
            ca: directory.join("ca.pem"),
            cert: directory.join("server.pem"),
            key: directory.join("server-key.pem"),
        };
        std::fs::write(&made.ca, ca.pem()).unwrap();
        std::fs::write(&made.cert, cert.pem()).unwrap();
        std::fs::write(&made.key, key.serialize_pem()).unwrap();
        made
    }
}
