//! The certificate authority of `serve --dev`: made once, kept in a directory, trusted by nobody unless told so.

use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use time::OffsetDateTime;

use crate::clock::Clock;

/// Why the authority could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DevCaError {
    /// A file could not be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// A certificate could not be made.
    #[error("making a certificate failed: {0}")]
    Make(#[from] rcgen::Error),
}

/// Files of the authority and of the certificate it gave to localhost.
#[derive(Debug, Clone)]
pub struct DevCa {
    /// The authority's certificate: what a `go` command is to trust.
    pub ca: PathBuf,
    /// The listener's chain.
    pub chain: PathBuf,
    /// The listener's key.
    pub key: PathBuf,
}

impl DevCa {
    /// Finds the files in a directory, or makes them. The authority's own key is not kept: nobody can sign with it
    /// again, and when the certificate ends after a year everything is made anew.
    pub fn prepare(directory: &Path, clock: &dyn Clock) -> Result<Self, DevCaError> {
        let files = Self {
            ca: directory.join("ca.pem"),
            chain: directory.join("server.pem"),
            key: directory.join("server-key.pem"),
        };
        if files.are_good(clock) {
            return Ok(files);
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| DevCaError::File(path, error)
        };
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let now = OffsetDateTime::from(clock.now());
        let (ca_key, leaf_key) = (KeyPair::generate()?, KeyPair::generate()?);
        let authority = authority(now)?;
        let ca = authority.self_signed(&ca_key)?;
        let issuer = Issuer::from_params(&authority, &ca_key);
        let leaf = leaf(now)?.signed_by(&leaf_key, &issuer)?;
        write(&files.key, &leaf_key.serialize_pem(), 0o600).map_err(failed(&files.key))?;
        write(&files.chain, &leaf.pem(), 0o644).map_err(failed(&files.chain))?;
        write(&files.ca, &ca.pem(), 0o644).map_err(failed(&files.ca))?;
        Ok(files)
    }

    /// All files are there, and young enough to last for a while.
    fn are_good(&self, clock: &dyn Clock) -> bool {
        [&self.ca, &self.chain, &self.key].into_iter().all(|path| {
            let made = fs::metadata(path).and_then(|found| found.modified());
            made.is_ok_and(|made| clock.now().duration_since(made).is_ok_and(|age| age < LIFE / 2))
        })
    }
}

fn authority(now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "modgate developer CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (now - LEEWAY, now + LIFE);
    Ok(params)
}

fn leaf(now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (now - LEEWAY, now + LIFE);
    Ok(params)
}

/// Writes a whole file or none: a half-written key would keep the next start from working.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(mode).open(&staged)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&staged, path)
}

/// A developer's machine keeps its state that long.
const LIFE: Duration = Duration::from_hours(8760);
/// Clocks of containers and hosts differ a little.
const LEEWAY: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::server::tls::Acceptor;
    use crate::server::tls::Files;
    use std::os::unix::fs::PermissionsExt as _;

    fn files(made: &DevCa) -> Files {
        Files { chain: made.chain.clone(), key: made.key.clone(), clients: None, revoked: None }
    }

    #[test]
    fn the_files_are_made_once_and_the_listener_takes_them() {
        let directory = tempfile::tempdir().unwrap();
        let made = DevCa::prepare(directory.path(), &SystemClock).unwrap();
        let key = fs::read(&made.key).unwrap();
        Acceptor::open(files(&made)).unwrap();
        assert_eq!(fs::metadata(&made.key).unwrap().permissions().mode() & 0o777, 0o600);
        let again = DevCa::prepare(directory.path(), &SystemClock).unwrap();
        assert_eq!(fs::read(again.key).unwrap(), key);
    }

    #[test]
    fn a_missing_file_makes_all_of_them_anew() {
        let directory = tempfile::tempdir().unwrap();
        let made = DevCa::prepare(directory.path(), &SystemClock).unwrap();
        let chain = fs::read(&made.chain).unwrap();
        fs::remove_file(&made.ca).unwrap();
        DevCa::prepare(directory.path(), &SystemClock).unwrap();
        assert_ne!(fs::read(&made.chain).unwrap(), chain);
        Acceptor::open(files(&made)).unwrap();
    }
}
