//! A real Prometheus over the shipped rules, with their times divided, and a real Alertmanager that tells us.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::client;
use super::port;
use super::until;

/// What every time in the rules is divided by: an hour is a minute.
pub(crate) const FACTOR: u64 = 60;

/// What Alertmanager says of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Firing,
    Resolved,
}

/// One message of Alertmanager.
#[derive(Debug, Clone)]
struct Heard {
    at: Instant,
    alert: String,
    told: Told,
    labels: Value,
}

/// Prometheus, Alertmanager and our ear; each ends with it.
#[derive(Debug)]
pub(crate) struct Monitoring {
    children: Vec<Child>,
    directory: tempfile::TempDir,
    prometheus: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Monitoring {
    /// Starts all of it, and waits until the target was scraped and Alertmanager was found.
    pub(crate) fn over(target: SocketAddr) -> Self {
        let begun = Instant::now();
        let directory = tempfile::tempdir().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = listen(Arc::clone(&heard));
        let (prometheus, alertmanager) = (port(), port());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let rules = std::fs::read_to_string(root.join("alerts/modgate.rules.yml")).unwrap();
        let put = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        put("rules.yml", &divided(&rules));
        put(
            "prometheus.yml",
            &format!(
                "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 250ms}}\n\
                 rule_files: [rules.yml]\n\
                 alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}\n\
                 scrape_configs:\n- job_name: modgate\n  file_sd_configs: [{{files: [targets.json], refresh_interval: 250ms}}]\n"
            ),
        );
        put(
            "alertmanager.yml",
            &format!(
                "route: {{receiver: ear, group_by: ['...'], group_wait: 0s, group_interval: 250ms, repeat_interval: 1h}}\n\
                 receivers: [{{name: ear, webhook_configs: [{{url: 'http://{ear}/', send_resolved: true}}]}}]\n"
            ),
        );
        let mut this = Self {
            children: Vec::new(),
            prometheus: ([127, 0, 0, 1], prometheus).into(),
            directory,
            heard,
        };
        this.targets(&[("gate", target)]);
        this.start(
            "prometheus-alertmanager",
            &[
                "--config.file=alertmanager.yml".to_owned(),
                "--storage.path=alertmanager".to_owned(),
                format!("--web.listen-address=127.0.0.1:{alertmanager}"),
                "--cluster.listen-address=".to_owned(),
            ],
        );
        this.start(
            "prometheus",
            &[
                "--config.file=prometheus.yml".to_owned(),
                "--storage.tsdb.path=data".to_owned(),
                format!("--web.listen-address=127.0.0.1:{prometheus}"),
                "--enable-feature=exemplar-storage".to_owned(),
                "--rules.alert.resend-delay=500ms".to_owned(),
            ],
        );
        until("the gateway is scraped", || !this.query("up == 1").is_empty());
        let watchdog = "the watchdog arrives";
        until(watchdog, || this.said(("ModgateWatchdog", ""), Told::Firing, begun).is_some());
        this
    }

    fn start(&mut self, program: &str, arguments: &[String]) {
        let log = std::fs::File::create(self.directory.path().join(format!("{program}.log")));
        let child = Command::new(program)
            .args(arguments)
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        self.children.push(child.unwrap());
    }

    /// What is scraped from now on, each by its name; nothing means that discovery finds nobody.
    pub(crate) fn targets(&self, targets: &[(&str, SocketAddr)]) {
        let each: Vec<_> = targets
            .iter()
            .map(|(name, at)| json!({"targets": [at], "labels": {"instance": name}}))
            .collect();
        let text = json!(each).to_string();
        // Prometheus must never see half a file
        let (new, file) =
            (self.directory.path().join("new"), self.directory.path().join("targets.json"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// How long after a moment this was told of an alert whose labels hold a text; none if it has not been.
    fn said(&self, alert: (&str, &str), told: Told, since: Instant) -> Option<Duration> {
        let (name, with) = alert;
        let heard = self.heard.lock().unwrap();
        let is_it = |one: &&Heard| {
            one.alert == name
                && one.told == told
                && one.labels.to_string().contains(with)
                && one.at > since
        };
        heard.iter().find(is_it).map(|one| one.at - since)
    }

    /// Waits for that; gives up after four minutes: a scrape that a busy machine misses begins a hold of a minute anew.
    pub(crate) fn wait(&self, alert: (&str, &str), told: Told, since: Instant) -> Option<Duration> {
        while since.elapsed() < Duration::from_mins(4) {
            if let Some(after) = self.said(alert, told, since) {
                return Some(after);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        None
    }

    /// Names of alerts that were told to fire since a moment, but for the watchdog.
    pub(crate) fn fired_since(&self, since: Instant) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let fired = heard.iter().filter(|one| one.told == Told::Firing && one.at > since);
        fired.map(|one| one.alert.clone()).filter(|name| name != "ModgateWatchdog").collect()
    }

    /// What an expression gives now: labels and value of each series.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        self.ask(&format!("/api/v1/query?query={}", encoded(expression)))
    }

    /// What an expression gives over the last seconds, in steps of one.
    pub(crate) fn range(&self, expression: &str, seconds: u64) -> Vec<Value> {
        // a scalar comes as a pair of time and text
        let now = self.query("time()").get(1).and_then(|text| text.as_str()?.parse().ok());
        let now: f64 = now.unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let start = now - seconds as f64;
        let query = encoded(expression);
        self.ask(&format!("/api/v1/query_range?query={query}&start={start}&end={now}&step=1"))
    }

    /// Exemplars of an expression of the last minute.
    pub(crate) fn exemplars(&self, expression: &str) -> Vec<Value> {
        let query = encoded(expression);
        self.ask(&format!("/api/v1/query_exemplars?query={query}&start=0&end=9999999999"))
    }

    fn ask(&self, path: &str) -> Vec<Value> {
        let Ok(mut stream) = TcpStream::connect(self.prometheus) else { return Vec::new() };
        let mut raw = Vec::new();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n").unwrap();
        stream.read_to_end(&mut raw).unwrap();
        let body = client::parse(&raw).unwrap().body;
        // while it starts it says so, in plain words
        let Ok(answer) = serde_json::from_slice::<Value>(&body) else { return Vec::new() };
        assert_ne!(answer["status"], "error", "{path}: {answer}");
        let data = &answer["data"];
        let result = if data.is_array() { data } else { &data["result"] };
        result.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        for child in &mut self.children {
            // gone already is as good
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let _written = write!(out, "%{byte:02X}");
    }
    out
}

/// A webhook that keeps what Alertmanager says.
fn listen(heard: Arc<Mutex<Vec<Heard>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // whoever hangs up has said all
            let _gone = hear(&stream, &heard);
        }
    });
    address
}

fn hear(stream: &TcpStream, heard: &Mutex<Vec<Heard>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0_u8; length];
    reader.read_exact(&mut body)?;
    let said: Value = serde_json::from_slice(&body)?;
    let at = Instant::now();
    heard.lock().unwrap().extend(said["alerts"].as_array().into_iter().flatten().map(|alert| {
        Heard {
            at,
            alert: alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned(),
            told: if alert["status"] == "firing" { Told::Firing } else { Told::Resolved },
            labels: alert["labels"].clone(),
        }
    }));
    let mut out = stream;
    out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// The rules with every range, offset, hold, age and horizon divided; texts and names stay.
fn divided(rules: &str) -> String {
    let divide = |line: &str| match line.trim_start().split_once(": ") {
        Some(("expr", _)) => expression(line),
        Some(("for", hold)) => line.replace(hold, &shorter(hold)),
        _ => line.to_owned(),
    };
    rules.lines().map(|line| divide(line) + "\n").collect()
}

/// A duration of Prometheus, divided.
fn shorter(duration: &str) -> String {
    let units = BTreeMap::from([('s', 1_000), ('m', 60_000), ('h', 3_600_000), ('d', 86_400_000)]);
    let (mut total, mut number) = (0, 0);
    for letter in duration.chars() {
        match (letter.to_digit(10), units.get(&letter)) {
            (Some(digit), _) => number = number * 10 + u64::from(digit),
            (None, Some(unit)) => {
                total += number * unit;
                number = 0;
            }
            (None, None) => panic!("no duration: {duration}"),
        }
    }
    if total == 0 { "0s".to_owned() } else { format!("{}ms", (total / FACTOR).max(1)) }
}

/// Ranges in brackets, durations after `offset`, and products that end in 3600 or 60.
fn expression(line: &str) -> String {
    let mut out = String::new();
    for (place, part) in line.split('[').enumerate() {
        match part.split_once(']').filter(|_| place > 0) {
            Some((range, rest)) => {
                let ranges: Vec<_> = range.split(':').map(shorter).collect();
                let _written = write!(out, "[{}]{rest}", ranges.join(":"));
            }
            None => out.push_str(part),
        }
    }
    let words = out.split(' ').scan(false, |after_offset, word| {
        let product_of = word.trim_end_matches([')', '\'']);
        let is_product = product_of.ends_with("*3600") || product_of.ends_with("*60");
        let given = if *after_offset {
            let end =
                word.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(word.len());
            let (duration, rest) = word.split_at(end);
            format!("{}{rest}", shorter(duration))
        } else if is_product {
            product(word)
        } else {
            word.to_owned()
        };
        *after_offset = word == "offset";
        Some(given)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `14*24*3600` divided.
fn product(word: &str) -> String {
    let digits = word.trim_end_matches([')', '\'']);
    let value: u64 = digits.split('*').map(|factor| factor.parse::<u64>().unwrap()).product();
    format!("{}{}", value / FACTOR, word.strip_prefix(digits).unwrap_or_default())
}

#[test]
fn times_are_divided_and_nothing_else() {
    assert_eq!(shorter("1h"), "60000ms");
    assert_eq!(shorter("0m"), "0s");
    assert_eq!(
        expression("expr: '(rate(a{le=\"10.0\"}[5m] offset 7d) or b * 60 > 10*60) < 14*24*3600'"),
        "expr: '(rate(a{le=\"10.0\"}[5000ms] offset 10080000ms) or b * 60 > 10) < 20160'"
    );
    assert_eq!(
        divided("  - record: a:ratio_rate1h\n    for: 2m\n"),
        "  - record: a:ratio_rate1h\n    for: 2000ms\n"
    );
}
