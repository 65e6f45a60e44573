//! The keys of the audit: one that signs checkpoints, and one under which principals become keyed hashes.

use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SecureRandom as _;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::tlog::note::NoteError;
use crate::tlog::note::Signer;
use crate::tlog::note::Verifier;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// It holds no key.
    #[error("{0}: {1}")]
    Format(PathBuf, #[source] NoteError),
    /// It holds no secret of 32 bytes in base64.
    #[error("{0}: it holds no key of 32 bytes in base64")]
    Secret(PathBuf),
    /// The machine gave no random bytes.
    #[error("the operating system gave no random bytes for a key")]
    Random,
}

/// The signers of a file, one a line, the current one last; a file that is not there is made, with one.
pub fn signers(path: &Path, name: &str) -> Result<Vec<Signer>, KeyError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let fresh = Signer::from_seed(name, random()?).map_err(|error| format(path, error))?;
            make(path, &format!("{}\n", fresh.secret_text()))?;
            return Ok(vec![fresh]);
        }
        Err(error) => return Err(KeyError::File(path.to_owned(), error)),
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let signers: Result<Vec<_>, _> = lines.map(Signer::parse).collect();
    let signers = signers.map_err(|error| format(path, error))?;
    if signers.is_empty() { Err(format(path, NoteError::Signer)) } else { Ok(signers) }
}

/// The keys that verify what a file's signers sign; a file that is not there has none.
pub fn verifiers(path: &Path) -> Result<Vec<Verifier>, KeyError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(KeyError::File(path.to_owned(), error)),
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let keys: Result<Vec<_>, _> =
        lines.map(|line| Signer::parse(line).map(|signer| signer.verifier().clone())).collect();
    keys.map_err(|error| format(path, error))
}

/// Adds a new key to a file of signers. From the next start on all of them sign, so that whoever knows a former one learns of
/// the new one whenever they look, until the operator takes the former line out.
pub fn rotate(path: &Path, name: &str) -> Result<Signer, KeyError> {
    signers(path, name)?;
    let fresh = Signer::from_seed(name, random()?).map_err(|error| format(path, error))?;
    let mut options = OpenOptions::new();
    let file = options.append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{}", fresh.secret_text()))
        .map_err(|error| KeyError::File(path.to_owned(), error))?;
    Ok(fresh)
}

/// What turns principals into keyed hashes.
#[derive(Debug, Clone)]
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// The key of a file, which is made if it is not there.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = STANDARD.encode(random()?);
                make(path, &format!("{text}\n"))?;
                text
            }
            Err(error) => return Err(KeyError::File(path.to_owned(), error)),
        };
        let secret = STANDARD.decode(text.trim()).ok().filter(|secret| secret.len() == 32);
        let secret = secret.ok_or_else(|| KeyError::Secret(path.to_owned()))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    /// The keyed hash that stands for a value.
    pub fn of(&self, value: &str) -> String {
        let tag = hmac::sign(&self.0, value.as_bytes());
        let short = tag.as_ref().get(..16).unwrap_or_default();
        format!("hmac:{}", URL_SAFE_NO_PAD.encode(short))
    }
}

/// Where the key of keyed hashes lies: beside the key that signs.
pub fn pseudonym_file(signing: &Path) -> PathBuf {
    signing.with_extension("pseudonyms")
}

fn make(path: &Path, text: &str) -> Result<(), KeyError> {
    let made = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    made().map_err(|error| KeyError::File(path.to_owned(), error))
}

fn format(path: &Path, error: NoteError) -> KeyError {
    KeyError::Format(path.to_owned(), error)
}

fn random() -> Result<[u8; 32], KeyError> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| KeyError::Random)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_a_new_one_stands_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/audit.key");
        let first = signers(&path, "modgate/gw").unwrap().remove(0);
        let second = rotate(&path, "modgate/gw").unwrap();
        let both = signers(&path, "modgate/gw").unwrap();
        assert_eq!(both[0].verifier(), first.verifier());
        assert_eq!(both[1].verifier(), second.verifier());
        std::fs::write(&path, "PRIVATE+KEY+x").unwrap();
        assert!(signers(&path, "modgate/gw").unwrap_err().to_string().contains("audit.key"));
    }

    #[test]
    fn the_same_name_has_the_same_hash_and_only_under_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| Pseudonyms::open(&directory.path().join(name)).unwrap();
        let hash = open("a").of("user:alice");
        assert_eq!(open("a").of("user:alice"), hash);
        assert_ne!(open("b").of("user:alice"), hash);
        assert!(hash.starts_with("hmac:") && !hash.contains("alice"));
    }
}
