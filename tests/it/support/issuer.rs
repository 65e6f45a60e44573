//! A real OpenID provider, started by node, on a free loopback port, stopped by its own id.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::port;

/// A provider that runs.
#[derive(Debug)]
pub(crate) struct Issuer {
    child: Child,
    port: u16,
    algorithm: &'static str,
}

impl Issuer {
    /// Starts it with fresh keys; its tokens are signed by the algorithm.
    pub(crate) fn start(algorithm: &'static str) -> Self {
        let port = port();
        Self { child: run(port, algorithm), port, algorithm }
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, with other keys: a hard rotation.
    pub(crate) fn start_again(&mut self) {
        self.child = run(self.port, self.algorithm);
    }

    /// The settings of a gateway that takes its tokens, with more lines.
    pub(crate) fn settings(&self, more: &str) -> String {
        format!(
            "[[identity.jwt]]\nname = \"corp\"\nissuer = \"http://127.0.0.1:{}\"\naudience = [\"https://modgate.test\"]\n{more}\n",
            self.port
        )
    }

    /// A fresh access token.
    pub(crate) fn token(&self) -> String {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = "grant_type=client_credentials";
        write!(
            stream,
            "POST /token HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nAuthorization: Basic {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            STANDARD.encode("ci:ci-secret"),
            body.len()
        )
        .unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).unwrap();
        let answer = super::client::parse(&raw).unwrap();
        let said: Value =
            serde_json::from_str(&answer.text()).unwrap_or_else(|_| panic!("{}", answer.text()));
        said["access_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        // gone already is as good
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn run(port: u16, algorithm: &str) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // node looks for packages beside the script
    let script = root.join("target/peers/issuer.mjs");
    let text = std::fs::read(root.join("tests/it/support/issuer.mjs")).unwrap();
    if std::fs::read(&script).ok().as_ref() != Some(&text) {
        let staged = script.with_extension(std::process::id().to_string());
        std::fs::write(&staged, text).unwrap();
        std::fs::rename(staged, &script).unwrap();
    }
    let mut child = Command::new("node")
        .arg(script)
        .args([&port.to_string(), algorithm])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    while !line.contains("ready") {
        line.clear();
        assert!(
            out.read_line(&mut line).unwrap() > 0,
            "the provider did not start: run make setup"
        );
    }
    child
}
