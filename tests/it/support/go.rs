//! The real `go` command, with a home, a cache and an environment of its own.

use std::path::Path;
use std::process::Command;

use super::gateway::Gateway;
use super::gateway::inherited;

/// A developer with an empty module cache.
#[derive(Debug)]
pub(crate) struct Go {
    home: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) err: String,
}

impl Go {
    /// Points a fresh `go` at a gateway, with the developer's netrc.
    pub(crate) fn at(gateway: &Gateway) -> Self {
        let text = |path: std::path::PathBuf| path.display().to_string();
        let environment = [
            ("GOPROXY", gateway.url()),
            ("SSL_CERT_FILE", text(gateway.ca())),
            ("NETRC", text(gateway.netrc())),
            ("GOSUMDB", "off".to_owned()),
        ];
        let environment =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { home: tempfile::tempdir().unwrap(), environment }
    }

    /// Sets one more variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where modules end up.
    pub(crate) fn cache(&self) -> std::path::PathBuf {
        self.home.path().join("modcache")
    }

    /// Runs `go` with arguments in a directory.
    pub(crate) fn run(&self, directory: &Path, arguments: &[&str]) -> Said {
        let home = self.home.path();
        let output = Command::new("go")
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", inherited("PATH").unwrap())
            .env("HOME", home)
            .env("GOPATH", home.join("path"))
            .env("GOMODCACHE", self.cache())
            .env("GOCACHE", home.join("build"))
            .env("GOENV", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOTELEMETRY", "off")
            .env("GOFLAGS", "-modcacherw")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { ok: output.status.success(), err: text(output.stderr) }
    }
}
