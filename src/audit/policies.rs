//! The policies that records name, kept beside the segments: what a rule said when it decided can be looked up years later.
//!
//! A policy is a text that only [`crate::policy`] can read, in a file named by its revision. Whoever reads it makes the
//! revision again: a copy that was changed does not pass for it. A revision is short, so the record of the activation has the
//! whole digest of the text too (`kept`), which checkpoints cover.
//!
//! A copy is written at the gateway's next look after the activation, within seconds: nobody who needs the policy waits for it.
//!
//! **Limits.** Copies lie in `audit.dir` alone, not in the second directory, and are never removed: each change of rules or
//! emergency denies adds one. The version of modgate that kept a copy reads it; a later one may refuse it and says so.

use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use uuid::Uuid;

/// Keeps a policy, unless it is there as it is. Blocking.
pub fn keep(audit: &Path, revision: &str, text: &str) -> io::Result<()> {
    let path = place(audit, revision)?;
    if std::fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    let directory = audit.join(DIRECTORY);
    std::fs::create_dir_all(&directory)?;
    let staged = directory.join(format!(".{revision}-{}", Uuid::now_v7().simple()));
    let written = write(&staged, text).and_then(|()| std::fs::rename(&staged, &path));
    if written.is_err() {
        let _left = std::fs::remove_file(&staged);
    }
    written
}

fn write(staged: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(staged)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The text of a policy by its revision, as records write it. Blocking.
pub fn read(audit: &Path, revision: &str) -> io::Result<String> {
    std::fs::read_to_string(place(audit, revision)?)
}

fn place(audit: &Path, revision: &str) -> io::Result<PathBuf> {
    // a revision that somebody typed must not lead elsewhere
    if revision.is_empty() || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let why = "a revision is hex digits, as records write it in decision.policy";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(audit.join(DIRECTORY).join(format!("{revision}.json")))
}

const DIRECTORY: &str = "policies";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_kept_once_and_put_right_if_it_was_changed() {
        let audit = tempfile::tempdir().unwrap();
        let path = audit.path().join("policies/ab12.json");
        keep(audit.path(), "ab12", "text").unwrap();
        let made = std::fs::metadata(&path).unwrap().modified().unwrap();
        keep(audit.path(), "ab12", "text").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), made);
        std::fs::write(&path, "changed").unwrap();
        keep(audit.path(), "ab12", "text").unwrap();
        assert_eq!(read(audit.path(), "ab12").unwrap(), "text");
        assert_eq!(std::fs::read_dir(audit.path().join("policies")).unwrap().count(), 1);
        for elsewhere in ["", "../ab12", "none", "ab/12"] {
            let refused = read(audit.path(), elsewhere).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{elsewhere}");
        }
    }
}
