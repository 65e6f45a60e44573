//! A running gateway: the real binary in a directory of its own, with its audit, its metrics and its end.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use serde_json::Value;

use super::balance::answered;
use super::client::Answer;
use super::client::Client;
use super::client::Ledger;
use super::until;

/// The binary under test.
pub(crate) fn modgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modgate"));
    command.env_clear();
    for kept in ["PATH", "LLVM_PROFILE_FILE"] {
        if let Some(value) = inherited(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// A variable of the environment that the tests run in.
pub(crate) fn inherited(name: &str) -> Option<String> {
    std::env::vars().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// What a gateway is started with.
#[derive(Debug)]
pub(crate) struct Setup {
    directory: Arc<tempfile::TempDir>,
    settings: String,
    chain: String,
}

/// A gateway that runs.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    directory: Arc<tempfile::TempDir>,
    pub(crate) address: SocketAddr,
    pub(crate) ops: SocketAddr,
    output: Arc<Mutex<String>>,
    answers: Ledger,
}

impl Setup {
    /// A gateway over a chain of upstreams, in GOPROXY's list syntax.
    pub(crate) fn over(chain: &str) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self { directory, settings: String::new(), chain: chain.to_owned() }
    }

    /// More of modgate.toml: whole tables.
    pub(crate) fn with(mut self, settings: &str) -> Self {
        let _written = writeln!(self.settings, "{settings}");
        self
    }

    /// Starts it on free loopback ports and waits until it says it is ready.
    pub(crate) fn start(self) -> Gateway {
        self.start_in(&[])
    }

    /// The same, started by another command, which becomes the gateway.
    pub(crate) fn start_within(self, wrapper: &[&str]) -> Gateway {
        std::fs::write(self.directory.path().join("modgate.toml"), &self.settings).unwrap();
        launch_in(&self.directory, &self.chain, &[], wrapper)
    }

    /// The same, with an environment.
    pub(crate) fn start_in(self, environment: &[(String, String)]) -> Gateway {
        std::fs::write(self.directory.path().join("modgate.toml"), &self.settings).unwrap();
        launch_in(&self.directory, &self.chain, environment, &[])
    }
}

/// Starts it with an environment; an empty chain leaves the choice to it.
fn launch_in(
    directory: &Arc<tempfile::TempDir>,
    chain: &str,
    environment: &[(String, String)],
    wrapper: &[&str],
) -> Gateway {
    let upstream: &[&str] = if chain.is_empty() { &[] } else { &["--upstream", chain] };
    let mut command = modgate();
    if let Some((first, rest)) = wrapper.split_first() {
        let binary = command.get_program().to_owned();
        command = Command::new(first);
        command.args(rest).arg(binary);
    }
    let mut child = command
        .current_dir(directory.path())
        .args(["serve", "--dev", "--listen", "127.0.0.1:0"])
        .args(upstream)
        .args(["--set", "server.ops_listen=127.0.0.1:0", "--set", "telemetry.log_format=json"])
        .env("GOSUMDB", "off")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = Arc::new(Mutex::new(String::new()));
    gather(child.stderr.take().unwrap(), &output);
    gather(child.stdout.take().unwrap(), &output);
    until("modgate says it is ready", || {
        let text = output.lock().unwrap();
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "modgate ended: {ended:?}\n{text}");
        text.contains("Ctrl-C")
    });
    let text = output.lock().unwrap().clone();
    let after = |mark: &str| {
        let rest = text.split(mark).nth(1).unwrap_or_else(|| panic!("no {mark} in {text}"));
        rest.split(['\n', '/', ' ']).next().unwrap().to_owned()
    };
    let port: u16 = after("https://localhost:").parse().unwrap();
    let ops = after("metrics:   http://").parse().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (directory, answers) = (Arc::clone(directory), Ledger::default());
    Gateway { child, directory, address, ops, output, answers }
}

/// Gathers what a process says, line by line.
pub(crate) fn gather(pipe: impl std::io::Read + Send + 'static, into: &Arc<Mutex<String>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}

/// What happened apart from answers: a test that is about it looks at [`Gateway::records`].
fn is_news(name: &str) -> bool {
    let groups = ["dependency.", "jwks.", "ldap.", "token.", "egress.", "upstream.", "policy.deny"];
    let besides = ["auth.success", "auth.lockout", "admin.action"];
    groups.iter().any(|group| name.starts_with(group)) || besides.contains(&name)
}

/// Every record of a directory's segments, compressed or not, in order.
pub(crate) fn records_in(directory: &Path) -> Vec<Value> {
    let mut segments = modgate::audit::segment::list(directory).unwrap_or_default();
    segments.retain(modgate::audit::segment::Segment::is_there);
    let mut records = Vec::new();
    for segment in segments {
        let mut text = String::new();
        // compressed between the look and the read: the next try of whoever waits finds it
        let Ok(mut opened) = segment.open() else { continue };
        opened.read_to_string(&mut text).unwrap();
        // a line without its end is still being written
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        records.extend(whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    records
}

impl Gateway {
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join(".modgate")
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.state().join("ca/ca.pem")
    }

    pub(crate) fn netrc(&self) -> PathBuf {
        self.state().join("netrc")
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The developer's token.
    pub(crate) fn token(&self) -> String {
        let netrc = std::fs::read_to_string(self.netrc()).unwrap();
        netrc.split_whitespace().last().unwrap().to_owned()
    }

    /// A token for somebody of some groups.
    pub(crate) fn issue(&self, name: &str, groups: &[&str]) -> String {
        let mut command = modgate();
        command.current_dir(self.directory.path()).args(["token", "issue", name]);
        for group in groups {
            command.args(["--group", group]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let client = self.stranger().bearer(&token);
        until("the new token is known", || client.get("/").status == 200);
        token
    }

    /// A client with the developer's token.
    pub(crate) fn client(&self) -> Client {
        self.stranger().basic("dev", &self.token())
    }

    /// A client without credentials.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(self.address, &self.ca()).noting(&self.answers)
    }

    /// The traces of the answers that clients of this start have read.
    pub(crate) fn answered(&self) -> Vec<String> {
        self.answers.lock().unwrap().clone()
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Every answer's and every action's audit event so far, of all starts, in order: without the audit's own, without those
    /// of a start, and without the first of two phases.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let is_own = |event: &Value| {
            let name = event["event"].as_str().unwrap();
            let first_policy = name == "policy.activate" && event["detail"]["source"] == "start";
            name.starts_with("audit.") || name == "config.reload" || first_policy || is_news(name)
        };
        let events = self.records().into_iter();
        events.filter(|event| !is_own(event) && event["phase"] != "decided").collect()
    }

    /// Every record so far, of all starts, in order.
    pub(crate) fn records(&self) -> Vec<Value> {
        records_in(&self.state().join("audit"))
    }

    /// Waits for that many audit events of a kind and gives them.
    pub(crate) fn audited(
        &self,
        count: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let mut found = Vec::new();
        until(&format!("{count} audit events: {what}"), || {
            found = self.audit().into_iter().filter(|event| is_it(event)).collect();
            found.len() >= count
        });
        found
    }

    /// How many milliseconds an answer took by the gateway's own watch, from the head to its record: a client's watch also
    /// counts how long it waits for a processor itself.
    pub(crate) fn took(&self, answer: &Answer) -> f64 {
        let trace = answered(answer).unwrap();
        let its = |event: &Value| event["http"]["trace_id"] == *trace;
        self.audited(1, "the answer's", its)[0]["http"]["ms"].as_f64().unwrap()
    }

    /// The page of metrics.
    pub(crate) fn metrics(&self) -> String {
        let (status, text) = self.ops_page("/metrics");
        assert_eq!(status, 200);
        text
    }

    /// The value of a series, as it stands on the page.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.metrics();
        let line = page.lines().find(|line| line.starts_with(series) && !line.starts_with('#'));
        let line = line.unwrap_or_else(|| panic!("no series {series}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The sum of all series of a name.
    pub(crate) fn metric_sum(&self, name: &str) -> f64 {
        let page = self.metrics();
        let lines = page.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    pub(crate) fn ops_page(&self, path: &str) -> (u16, String) {
        self.ops_call("GET", path)
    }

    /// The page with exemplars.
    pub(crate) fn openmetrics(&self) -> String {
        let accept = "Accept: application/openmetrics-text;version=1.0.0\r\n";
        self.ops_ask("GET", "/metrics", accept).1
    }

    /// Asks the operations listener with a method.
    pub(crate) fn ops_call(&self, method: &str, path: &str) -> (u16, String) {
        self.ops_ask(method, path, "")
    }

    /// Asks the operations listener as the owner of a token.
    pub(crate) fn ops_as(&self, token: &str, path: &str) -> Answer {
        self.ops_answer("GET", path, &format!("Authorization: Bearer {token}\r\n"))
    }

    /// The same with more header lines, each ended by CRLF.
    fn ops_ask(&self, method: &str, path: &str, more: &str) -> (u16, String) {
        let answer = self.ops_answer(method, path, more);
        (answer.status, answer.text())
    }

    fn ops_answer(&self, method: &str, path: &str, more: &str) -> Answer {
        use std::io::Read as _;
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(self.ops).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n{more}\r\n")
            .unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).unwrap();
        super::client::parse(&raw).unwrap()
    }

    /// Forgets the highest resident memory so far (Linux, proc(5), `clear_refs`).
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// A size of the process by its name in proc(5), such as `VmRSS` or `VmHWM`, in bytes.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Lowers or raises the limit of descriptors to so many times those that are open (prlimit(1)).
    pub(crate) fn limit_descriptors(&self, times: f64) {
        let limit = format!("--nofile={:.0}:", self.metric("process_open_fds") * times);
        let pid = self.child.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(done.unwrap().success());
    }

    /// How many files and sockets the process holds open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as TERM.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for the end and gives the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut code = None;
        until("modgate ends", || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        code
    }

    /// Kills it without warning and starts it again over the same state.
    pub(crate) fn kill_and_restart(self, chain: &str) -> Self {
        self.kill_and_restart_in(chain, &[], &[])
    }

    /// The same with an environment, started by another command, which becomes the gateway.
    pub(crate) fn kill_and_restart_in(
        mut self,
        chain: &str,
        environment: &[(String, String)],
        wrapper: &[&str],
    ) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        launch_in(&self.directory, chain, environment, wrapper)
    }

    /// Runs another command of modgate over the same state.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        modgate().current_dir(self.directory.path()).args(words).output().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // a test that has failed already says why by itself, and a killed gateway owes nothing
        let balanced = catch_unwind(AssertUnwindSafe(|| match self.child.try_wait().unwrap() {
            _ if std::thread::panicking() => {}
            None => self.balance(),
            Some(ended) if ended.success() => self.every_answer_is_recorded(),
            Some(_killed) => {}
        }));
        // gone already is as good
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if let Err(found) = balanced {
            resume_unwind(found);
        }
    }
}
