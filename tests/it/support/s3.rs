//! A real S3-compatible store: `SeaweedFS` on free loopback ports, with one bucket, stopped by its own id.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Duration;

use super::until;

const ACCESS: &str = "AKMODGATE";
const SECRET: &str = "canary-secret-of-s3";

/// A store that runs.
#[derive(Debug)]
pub(crate) struct S3 {
    child: Child,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    filer: u16,
    port: u16,
}

/// The binary, which `tests/setup.sh` installs.
fn weed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers/seaweedfs/weed")
}

impl S3 {
    /// Starts it with the bucket `modules`.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        std::fs::create_dir(home.join("data")).unwrap();
        let access = format!(
            "{{\"identities\":[{{\"name\":\"modgate\",\"credentials\":[{{\"accessKey\":\"{ACCESS}\",\
             \"secretKey\":\"{SECRET}\"}}],\"actions\":[\"Read\",\"Write\",\"List\"]}}]}}"
        );
        std::fs::write(home.join("s3.json"), access).unwrap();
        let (filer, port) = (super::port(), super::port());
        let named = [("filer.port", filer), ("s3.port", port)];
        let others = [
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
            "filer.port.grpc",
            "s3.port.grpc",
        ];
        let others = others.map(|name| (name, super::port()));
        let ports = named.iter().chain(&others).map(|(name, port)| format!("-{name}={port}"));
        let fixed = [
            "server",
            "-dir=data",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            "-s3.config=s3.json",
            // further services on fixed ports, which a second store could not have
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            // alone, it need not wait for others before it leads again
            "-master.electionTimeout=1s",
            "-volume.max=20",
            "-master.volumeSizeLimitMB=64",
        ];
        let arguments: Vec<_> = fixed.map(str::to_owned).into_iter().chain(ports).collect();
        let child = spawn(&directory, &arguments);
        let store = Self { child, directory, arguments, filer, port };
        store.wait();
        // a directory of the filer is a bucket
        until("the bucket is made", || store.filer("POST", "/buckets/modules/", b"").0 == 201);
        // its first volume is made by the first body that is too large for its index
        until("the store takes a body", || {
            store.filer("PUT", "/buckets/modules/first", &vec![7; 100_000]).0 == 201
        });
        store.secrets();
        store
    }

    fn wait(&self) {
        until("the store answers", || {
            // a connection alone may be one with itself, on a port that nobody listens on yet
            ask(self.port, "GET", "/", b"").0 > 0 && self.filer("GET", "/?limit=1", b"").0 == 200
        });
    }

    fn secrets(&self) {
        for (name, text) in [("access", ACCESS), ("secret", SECRET), ("wrong", "not it")] {
            let file = self.directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// The settings of a gateway that uses it.
    pub(crate) fn settings(&self) -> String {
        self.settings_of("modules", "secret")
    }

    /// The same with another bucket or another file as the secret.
    pub(crate) fn settings_of(&self, bucket: &str, secret: &str) -> String {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        format!(
            "[cache.bucket]\nendpoint = \"http://127.0.0.1:{}\"\nname = \"{bucket}\"\n\
             access_key_file = \"{}\"\nsecret_key_file = \"{}\"\n",
            self.port,
            file("access"),
            file(secret)
        )
    }

    /// Asks the filer behind the store, which knows no credentials.
    pub(crate) fn filer(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        ask(self.filer, method, path, body)
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.directory, &self.arguments);
        self.wait();
        // its volumes report to it one after the other
        until("a body can be read again", || {
            self.filer("GET", "/buckets/modules/first", b"").1.len() == 100_000
        });
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // gone already is as good
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn spawn(directory: &tempfile::TempDir, arguments: &[String]) -> Child {
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    Command::new(weed())
        .current_dir(directory.path())
        .args(arguments)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Status and body of an answer; 0 if there is none.
fn ask(port: u16, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let asked = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\
             Accept: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw)?;
        Ok(raw)
    };
    let answer = asked().ok().and_then(|raw| super::client::parse(&raw));
    answer.map_or((0, Vec::new()), |answer| (answer.status, answer.body))
}
