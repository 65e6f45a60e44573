//! Real redis-servers on free loopback ports: one, three with sentinels, or a cluster of three; stopped by their own ids.

use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use super::gateway::gather;
use super::until;

/// A redis-server that runs, or a sentinel.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    pub(crate) port: u16,
    login: Vec<String>,
}

impl Redis {
    /// A plain one that keeps nothing on the disk.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One with more arguments.
    pub(crate) fn with(more: &[&str]) -> Self {
        let port = super::port();
        let mut arguments = vec!["--port".to_owned(), port.to_string()];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        Self::launch(port, arguments, Vec::new())
    }

    /// One that speaks TLS only and wants a password.
    pub(crate) fn with_tls(cert: &Path, key: &Path, ca: &Path, password: &str) -> Self {
        let port = super::port();
        let files = [cert, key, ca].map(|path| path.display().to_string());
        let [cert, key, ca] = &files;
        let arguments = [
            ["--port", "0"],
            ["--tls-port", &port.to_string()],
            ["--tls-cert-file", cert],
            ["--tls-key-file", key],
            ["--tls-ca-cert-file", ca],
            ["--tls-auth-clients", "no"],
            ["--requirepass", password],
        ];
        let arguments = arguments.iter().flatten().map(|&argument| argument.to_owned()).collect();
        let login = ["--tls", "--cacert", ca, "-a", password, "--no-auth-warning"];
        Self::launch(port, arguments, login.map(str::to_owned).to_vec())
    }

    fn launch(port: u16, arguments: Vec<String>, login: Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(directory.path(), &arguments);
        let redis = Self { child, directory, arguments, port, login };
        redis.wait();
        redis
    }

    fn wait(&self) {
        until("redis-server answers", || {
            let said = self.cli(&["PING"]);
            said == "PONG" || said.starts_with("NOAUTH")
        });
    }

    /// A URL of it.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The settings of a gateway that uses it, and has patience with it.
    pub(crate) fn settings(&self) -> String {
        self.settings_as_preset() + PATIENT
    }

    /// The same with the times that are preset, for what is about a Redis that hangs.
    pub(crate) fn settings_as_preset(&self) -> String {
        format!("[redis]\nnodes = [\"{}\"]\n", self.url())
    }

    /// What redis-cli says.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port])
            .args(&self.login)
            .args(words)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Everything that is asked of it from now on.
    pub(crate) fn monitor(&self) -> Monitor {
        let mut child = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "MONITOR"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = Arc::new(Mutex::new(String::new()));
        gather(child.stdout.take().unwrap(), &told);
        let monitor = Monitor { child, told };
        until("Redis tells what it is asked", || monitor.told().contains("OK"));
        monitor
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
        self.child = spawn(self.directory.path(), &self.arguments);
        self.wait();
    }
}

/// A command that is late counts as a miss. That is no fault, but a test that counts fetches would count one more.
pub(crate) const PATIENT: &str = "timeout = \"5s\"\n";

/// What a Redis is asked, as it tells it.
pub(crate) struct Monitor {
    child: Child,
    told: Arc<Mutex<String>>,
}

impl Monitor {
    pub(crate) fn told(&self) -> String {
        self.told.lock().unwrap().clone()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // gone already is as good
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // gone already is as good
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn spawn(directory: &Path, arguments: &[String]) -> Child {
    let log = std::fs::File::create(directory.join("log")).unwrap();
    Command::new("redis-server")
        .current_dir(directory)
        .args(arguments)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A master, two replicas, and three sentinels who watch them.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Watched {
    /// Starts them; sentinels give up a master who says nothing for so many milliseconds.
    pub(crate) fn start(down_after: u32) -> Self {
        let master = Redis::start();
        let of = format!("127.0.0.1 {}", master.port);
        let replica = || Redis::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let servers = vec![replica(), replica()];
        // a sentinel asks the master for its replicas at once, and then not for ten seconds
        until("the replicas follow", || {
            master.cli(&["INFO", "replication"]).contains("connected_slaves:2")
        });
        let sentinels = (0..3).map(|_| sentinel(&of, down_after)).collect();
        let servers = std::iter::once(master).chain(servers).collect();
        let watched = Self { servers, sentinels };
        until("the sentinels know each other and both replicas", || {
            watched.sentinels.iter().all(|sentinel| {
                let told = sentinel.cli(&["SENTINEL", "MASTER", "mymaster"]);
                let after = |name: &str| {
                    let mut lines = told.lines().skip_while(|line| *line != name);
                    lines.nth(1).unwrap_or_default().to_owned()
                };
                after("num-slaves") == "2" && after("num-other-sentinels") == "2"
            })
        });
        watched
    }

    /// The settings of a gateway that uses them, and has patience with them.
    pub(crate) fn settings(&self) -> String {
        self.settings_as_preset() + PATIENT
    }

    /// The same with the times that are preset.
    pub(crate) fn settings_as_preset(&self) -> String {
        let urls: Vec<_> = self.sentinels.iter().map(|one| format!("\"{}\"", one.url())).collect();
        format!("[redis]\nmode = \"sentinel\"\nnodes = [{}]\n", urls.join(", "))
    }

    /// The port of the master, as the first sentinel sees it.
    pub(crate) fn master(&self) -> u16 {
        let told = self.sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
        told.lines().nth(1).unwrap().parse().unwrap()
    }
}

fn sentinel(of: &str, down_after: u32) -> Redis {
    let (port, directory) = (super::port(), tempfile::tempdir().unwrap());
    let config = format!(
        "sentinel monitor mymaster {of} 2\nsentinel down-after-milliseconds mymaster {down_after}\n\
         sentinel failover-timeout mymaster 3000\nsentinel parallel-syncs mymaster 1\n"
    );
    let file = directory.path().join("sentinel.conf");
    std::fs::write(&file, config).unwrap();
    let arguments = [&file.display().to_string(), "--sentinel", "--port", &port.to_string()];
    let arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    let child = Command::new("redis-server")
        .current_dir(directory.path())
        .args(&arguments)
        .args(["--bind", "127.0.0.1"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sentinel = Redis { child, directory, arguments, port, login: Vec::new() };
    sentinel.wait();
    sentinel
}

/// A cluster of three masters.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts them; they give up one of them who says nothing for so many milliseconds.
    pub(crate) fn start(node_timeout: u32) -> Self {
        let node_timeout = node_timeout.to_string();
        let node = |_| {
            let bus = super::port().to_string();
            Redis::with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-require-full-coverage",
                "no",
                "--cluster-node-timeout",
                &node_timeout,
            ])
        };
        let nodes: Vec<_> = (0..3).map(node).collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .arg("--cluster-yes")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { nodes };
        until("the cluster is whole", || {
            let whole = |node: &Redis| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            cluster.nodes.iter().all(whole)
        });
        cluster
    }

    /// The settings of a gateway that uses it, and has patience with it.
    pub(crate) fn settings(&self) -> String {
        self.settings_as_preset() + PATIENT
    }

    /// The same with the times that are preset.
    pub(crate) fn settings_as_preset(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(|one| format!("\"{}\"", one.url())).collect();
        format!("[redis]\nmode = \"cluster\"\nnodes = [{}]\n", urls.join(", "))
    }
}
