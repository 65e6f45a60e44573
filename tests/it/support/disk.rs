//! Disks that fail: a small one in memory that can be filled or be read-only, one that takes its time to sync, and one that
//! hangs.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// A file system of a few mebibytes; unmounted at the end.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: tempfile::TempDir,
    image: Option<tempfile::NamedTempFile>,
}

impl Disk {
    /// Mounts one in memory; needs root, or sudo without a password.
    pub(crate) fn mount(options: &str) -> Self {
        let disk = Self { directory: tempfile::tempdir().unwrap(), image: None };
        disk.run("mount", &["-t", "tmpfs", "-o", options, "tmpfs"]);
        disk
    }

    /// Mounts one of 48 MiB that can be frozen: everything that writes to it hangs in the kernel then, like a share whose
    /// server is gone.
    pub(crate) fn mount_freezable() -> Self {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(48 << 20).unwrap();
        let path = image.path().to_str().unwrap().to_owned();
        let made = Command::new("/sbin/mkfs.ext4").args(["-q", "-m", "0", &path]).status();
        assert!(made.unwrap().success());
        let disk = Self { directory: tempfile::tempdir().unwrap(), image: Some(image) };
        disk.run("mount", &["-o", "loop", &path]);
        disk
    }

    /// Lets everything that writes to it hang.
    pub(crate) fn freeze(&self) {
        self.run("fsfreeze", &["--freeze"]);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.run("fsfreeze", &["--unfreeze"]);
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Mounts it again, with other options.
    pub(crate) fn remount(&self, options: &str) {
        self.run("mount", &["-o", &format!("remount,{options}")]);
    }

    /// Writes a file until nothing more fits.
    pub(crate) fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        path
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = command(program).args(arguments).arg(self.path()).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}: this test needs root, or sudo");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.image.is_some() {
            // nothing that hangs may outlive a test that failed; one that does not is told so
            let _thawed = command("fsfreeze").arg("-u").arg(self.path()).output();
        }
        self.run("umount", &["-l"]);
    }
}

/// A command that only root may give.
fn command(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = Command::new(if is_root { program } else { "sudo" });
    if !is_root {
        command.args(["-n", program]);
    }
    command
}

/// Environment for a process whose every sync takes seconds while a file is there.
pub(crate) fn slow_sync(directory: &Path, while_there: &Path) -> Vec<(String, String)> {
    let (source, library) = (directory.join("slow.c"), directory.join("slow.so"));
    std::fs::write(&source, SLOW_SYNC).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.unwrap().success());
    vec![
        ("LD_PRELOAD".to_owned(), library.display().to_string()),
        ("SLOW_SYNC".to_owned(), while_there.display().to_string()),
    ]
}

const SLOW_SYNC: &str = "
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int file) {
    const char *flag = getenv(\"SLOW_SYNC\");
    if (flag && access(flag, F_OK) == 0) sleep(2);
    return syscall(SYS_fdatasync, file);
}
";
