//! A certificate authority of the tests, and what it signs: made anew each time, never committed.

use std::path::Path;
use std::path::PathBuf;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertificateRevocationListParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::RevokedCertParams;
use rcgen::SanType;
use rcgen::SerialNumber;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;

/// Files of an authority and of a certificate for localhost; and the authority itself, to sign more.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    directory: PathBuf,
    params: CertificateParams,
    ca_key: KeyPair,
}

/// A client certificate: its chain, its key, and its number.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    pub(crate) cert: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) serial: SerialNumber,
}

/// How long a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Good,
    Over,
    NotBegun,
}

impl Authority {
    /// Makes them in a directory.
    pub(crate) fn make(directory: &Path) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "test authority");
        let ca = authority.self_signed(&ca_key).unwrap();
        let made = Self {
            ca: directory.join("ca.pem"),
            cert: directory.join("server.pem"),
            key: directory.join("server-key.pem"),
            directory: directory.to_owned(),
            params: authority.clone(),
            ca_key,
        };
        std::fs::write(&made.ca, ca.pem()).unwrap();
        made.renew();
        made
    }

    /// Signs a new certificate for localhost, with a new key, over the old files.
    pub(crate) fn renew(&self) {
        self.sign(Life::Good);
    }

    /// The same, good or over.
    pub(crate) fn sign(&self, life: Life) {
        self.sign_for(&["localhost", "127.0.0.1"], life);
    }

    /// The same for other names.
    pub(crate) fn sign_for(&self, names: &[&str], life: Life) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        match life {
            Life::Good => {}
            Life::Over => {
                leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
                leaf.not_after = rcgen::date_time_ymd(2020, 2, 1);
            }
            Life::NotBegun => {
                leaf.not_before = rcgen::date_time_ymd(2120, 1, 1);
                leaf.not_after = rcgen::date_time_ymd(2120, 2, 1);
            }
        }
        let cert = leaf.signed_by(&key, &Issuer::from_params(&self.params, &self.ca_key)).unwrap();
        std::fs::write(&self.key, key.serialize_pem()).unwrap();
        std::fs::write(&self.cert, cert.pem()).unwrap();
    }

    /// Signs a certificate for a client with some alternative names, and a common name that nobody should read.
    pub(crate) fn client(&self, names: &[SanType], life: Life) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(Vec::new()).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, "ci.corp.example");
        leaf.subject_alt_names = names.to_vec();
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = SerialNumber::from(uuid::Uuid::new_v4().as_bytes()[..8].to_vec());
        leaf.serial_number = Some(serial.clone());
        if life == Life::Over {
            leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
            leaf.not_after = rcgen::date_time_ymd(2020, 2, 1);
        }
        let cert = leaf.signed_by(&key, &Issuer::from_params(&self.params, &self.ca_key)).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ClientCertificate { cert: cert.der().clone(), key, serial }
    }

    /// Writes a list of certificates that were taken back.
    pub(crate) fn revoke(&self, serials: &[&SerialNumber]) -> PathBuf {
        let revoked = |serial: &&SerialNumber| RevokedCertParams {
            serial_number: (*serial).clone(),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2124, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&Issuer::from_params(&self.params, &self.ca_key)).unwrap();
        let path = self.directory.join("revoked.pem");
        std::fs::write(&path, signed.pem().unwrap()).unwrap();
        path
    }
}
