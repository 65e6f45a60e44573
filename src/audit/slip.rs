//! Slips: what a command beside the gateway did, left for the gateway that owns the log to record.
//!
//! A log has one writer, and a command that reads, verifies or exports it is another process. It leaves a slip in the
//! directory `slips` of the audit before it does anything (that of a token afterwards, which is not to wait for a disk that
//! hangs); the gateway takes it within seconds, or at its next start, and names the owner of the file, whom the operating
//! system vouches for. Whoever may not write there leaves none: commands say so.
//! What a running gateway sees by itself, such as a changed token file, has a slip only while none runs.

use std::fs;
use std::fs::TryLockError;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use crate::audit::act::Act;
use crate::audit::encode::cut;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::audit::sink::is_lock;
use crate::clock::rfc3339_micros;

/// What a command is about to do.
#[derive(Debug, Clone)]
pub struct Deed {
    /// The event; only some are for commands.
    pub name: Name,
    /// The command, such as `audit query`.
    pub command: &'static str,
    /// What was asked of it: filters, a file, a name. Never a secret.
    pub asked: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    event: String,
    command: String,
    asked: String,
}

/// Leaves a slip in the audit's directory.
pub fn leave(directory: &Path, deed: &Deed) -> io::Result<()> {
    let slips = directory.join(SLIPS);
    fs::create_dir_all(&slips)?;
    let written = Written {
        event: deed.name.text().to_owned(),
        command: deed.command.to_owned(),
        asked: cut(&deed.asked, ASKED_BYTES),
    };
    let name = Uuid::now_v7().simple().to_string();
    let staged = slips.join(format!(".{name}"));
    fs::write(&staged, serde_json::to_vec(&written)?)?;
    fs::rename(staged, slips.join(format!("{name}{ENDING}")))
}

/// Whether a gateway runs that writes its log into a directory.
pub fn is_owned(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        let is_lock = entry.file_name().to_str().is_some_and(is_lock);
        let held = |lock: fs::File| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock));
        is_lock && fs::File::open(entry.path()).is_ok_and(held)
    })
}

/// A slip that is this gateway's to record.
#[derive(Debug)]
pub struct Slip {
    path: PathBuf,
    /// What it says.
    pub act: Act,
}

/// Takes the slips of a directory, the oldest first; those of another node that shares it are left alone. What is no slip is
/// removed.
pub fn take(directory: &Path, node: &str) -> io::Result<Vec<Slip>> {
    let slips = directory.join(SLIPS);
    fs::create_dir_all(&slips)?;
    let ours = format!("{ENDING}-{node}");
    let names =
        fs::read_dir(&slips)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> =
        names.filter(|name| name.ends_with(ENDING) || name.ends_with(&ours)).collect();
    names.sort_unstable();
    let mut taken = Vec::new();
    for name in names.into_iter().take(AT_ONCE) {
        let Some(path) = own(&slips, &name, &ours) else { continue };
        match read(&path) {
            Some(act) => taken.push(Slip { path, act }),
            None => {
                // a directory by this name is nobody's slip, and no reason to leave the others
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(%error, name, "what lies among the slips of commands cannot be removed");
                }
            }
        }
    }
    Ok(taken)
}

/// The path of a slip that is this node's own, after it has been made so; `None` if it is not.
fn own(slips: &Path, name: &str, ours: &str) -> Option<PathBuf> {
    let Some(stem) = name.strip_suffix(ENDING) else { return Some(slips.join(name)) };
    let own = slips.join(format!("{stem}{ours}"));
    match fs::rename(slips.join(name), &own) {
        Ok(()) => return Some(own),
        // somebody else was quicker
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, name, "a slip of a command cannot be taken: let the gateway own the directory slips");
        }
    }
    None
}

impl Slip {
    /// It is recorded.
    pub fn done(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

fn read(path: &Path) -> Option<Act> {
    // neither a link to somebody else's file nor a pipe that nobody writes into
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let file = fs::File::open(path).ok()?;
    let about = file.metadata().ok()?;
    let mut bytes = Vec::new();
    file.take(SLIP_BYTES).read_to_end(&mut bytes).ok()?;
    let Written { event, command, asked } = serde_json::from_slice(&bytes).ok()?;
    let name = Name::parse(&event).filter(|name| FOR_COMMANDS.contains(name))?;
    let act = Act::new(name, Outcome::Allowed).by(format!("user:os:{}", about.uid()));
    let act = act.with("command", cut(&command, COMMAND_BYTES));
    let act = if asked.is_empty() { act } else { act.with("asked", cut(&asked, ASKED_BYTES)) };
    Some(act.with("at", rfc3339_micros(about.modified().ok()?)))
}

/// What commands do to a gateway and its log.
const FOR_COMMANDS: [Name; 8] = [
    Name::AuditRead,
    Name::AuditExport,
    Name::AuditVerify,
    Name::AdminAction,
    Name::CachePurge,
    Name::PolicyPromote,
    Name::TokenIssue,
    Name::TokenRevoke,
];
const SLIPS: &str = "slips";
const ENDING: &str = ".slip";
/// Slips recorded at a time; the others come next.
const AT_ONCE: usize = 256;
const SLIP_BYTES: u64 = 8 * 1024;
const COMMAND_BYTES: usize = 100;
const ASKED_BYTES: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(name: Name) -> Deed {
        Deed { name, command: "audit query", asked: "module=corp.example/a".to_owned() }
    }

    #[test]
    fn a_slip_is_taken_by_one_node_and_once_it_is_recorded_gone() {
        let directory = tempfile::tempdir().unwrap();
        leave(directory.path(), &deed(Name::AuditRead)).unwrap();
        let taken = take(directory.path(), "gw-1").unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(take(directory.path(), "gw-2").unwrap().len(), 0);
        // not recorded yet: it comes again
        assert_eq!(take(directory.path(), "gw-1").unwrap().len(), 1);
        for slip in taken {
            slip.done().unwrap();
        }
        assert_eq!(take(directory.path(), "gw-1").unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_slip_is_no_record() {
        let directory = tempfile::tempdir().unwrap();
        leave(directory.path(), &deed(Name::ModuleZip)).unwrap();
        let slips = directory.path().join(SLIPS);
        fs::write(slips.join("x.slip"), "{").unwrap();
        fs::write(
            slips.join("y.slip"),
            r#"{"event":"audit.read","command":"x","asked":"","actor":"root"}"#,
        )
        .unwrap();
        assert_eq!(take(directory.path(), "gw").unwrap().len(), 0);
        assert_eq!(fs::read_dir(&slips).unwrap().count(), 0);
        // what nobody can read keeps no other slip from being taken
        let pipe = std::process::Command::new("mkfifo").arg(slips.join("a.slip")).status();
        assert!(pipe.unwrap().success());
        fs::create_dir(slips.join("b.slip")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", slips.join("c.slip")).unwrap();
        leave(directory.path(), &deed(Name::AuditRead)).unwrap();
        assert_eq!(take(directory.path(), "gw").unwrap().len(), 1);
    }
}
