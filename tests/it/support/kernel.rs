//! What the kernel can do to a process, done to one of ours: syncs that hang, threads that are refused.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// A library that a process is started with; it does what files in its directory say, as long as they are there.
#[derive(Debug)]
pub(crate) struct Kernel {
    directory: tempfile::TempDir,
}

/// What can be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Doing {
    /// `fdatasync` does not come back.
    HangSync,
    /// `pthread_create` fails.
    RefuseThreads,
}

impl Kernel {
    /// Builds it; nothing is done yet.
    pub(crate) fn new() -> Self {
        let kernel = Self { directory: tempfile::tempdir().unwrap() };
        let source = kernel.file("kernel.c");
        std::fs::write(&source, SOURCE).unwrap();
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-o"]).args([&kernel.file("kernel.so"), &source]);
        assert!(command.arg("-ldl").status().unwrap().success());
        kernel
    }

    /// What a process is to be started with.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.file("kernel.so"))),
            ("KERNEL".to_owned(), text(self.directory.path())),
        ]
    }

    pub(crate) fn begin(&self, doing: Doing) {
        std::fs::write(self.file(doing.word()), "").unwrap();
    }

    pub(crate) fn end(&self, doing: Doing) {
        std::fs::remove_file(self.file(doing.word())).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Doing {
    const fn word(self) -> &'static str {
        match self {
            Self::HangSync => "hang-sync",
            Self::RefuseThreads => "refuse-threads",
        }
    }
}

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static int told(const char *what) {
    char path[4096];
    const char *directory = getenv("KERNEL");
    if (!directory) return 0;
    snprintf(path, sizeof path, "%s/%s", directory, what);
    return access(path, F_OK) == 0;
}
int fdatasync(int file) {
    while (told("hang-sync")) usleep(20000);
    return syscall(SYS_fdatasync, file);
}
typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*begin)(void *), void *with) {
    if (told("refuse-threads")) return EPERM;
    return ((create *)dlsym(RTLD_NEXT, "pthread_create"))(thread, how, begin, with);
}
"#;
