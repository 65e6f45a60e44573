//! A collector: takes OTLP over HTTP, keeps what it is given, and gives it back as spans and records.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

/// A span as the tests speak of it.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    /// 32 hex digits.
    pub(crate) trace: String,
    /// 16 hex digits.
    pub(crate) id: String,
    /// The same; empty for a root.
    pub(crate) parent: String,
    /// Whole traces that it points to.
    pub(crate) links: Vec<String>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) failed: bool,
    pub(crate) nanos: u64,
}

impl Span {
    /// An attribute's value; empty where there is none.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A log record as the tests speak of it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Who spoke.
    pub(crate) target: String,
    pub(crate) message: String,
    pub(crate) level: String,
    /// Of whom all this came.
    pub(crate) resource: Vec<(String, String)>,
    attributes: Vec<(String, String)>,
}

impl Record {
    /// An attribute's value; empty where there is none.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// The path of a request and its body.
type Sent = (String, Vec<u8>);

/// A collector on a free loopback port; it lives as long as the process.
#[derive(Debug)]
pub(crate) struct Collector {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Sent>>>,
}

impl Collector {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let keeping = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bodies = Arc::clone(&keeping);
                std::thread::spawn(move || {
                    // an exporter that hangs up has said all it wanted
                    let _gone = take(&stream, &bodies);
                });
            }
        });
        Self { address, bodies }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that came, one body after the other.
    pub(crate) fn bodies(&self) -> Vec<u8> {
        self.sent("").concat()
    }

    /// The bodies that were sent to paths that end so.
    fn sent(&self, path: &str) -> Vec<Vec<u8>> {
        let bodies = self.bodies.lock().unwrap();
        let wanted = bodies.iter().filter(|(asked, _)| asked.ends_with(path));
        wanted.map(|(_, body)| body.clone()).collect()
    }

    /// Every log record that came.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for body in self.sent("/v1/logs") {
            let request = ExportLogsServiceRequest::decode(body.as_slice()).unwrap();
            for from in request.resource_logs {
                let resource = from.resource.unwrap_or_default().attributes;
                let resource: Vec<_> = resource.into_iter().map(pair).collect();
                for scope in from.scope_logs {
                    let target = scope.scope.unwrap_or_default().name;
                    records.extend(scope.log_records.into_iter().map(|record| Record {
                        target: target.clone(),
                        message: record.body.map(text).unwrap_or_default(),
                        level: record.severity_text,
                        resource: resource.clone(),
                        attributes: record.attributes.into_iter().map(pair).collect(),
                    }));
                }
            }
        }
        records
    }

    /// Every span that came.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for body in self.sent("/v1/traces") {
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|one| one.scope_spans);
            spans.extend(scopes.flat_map(|scope| scope.spans).map(|span| Span {
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
                attributes: span.attributes.into_iter().map(pair).collect(),
                failed: span.status.is_some_and(|status| status.code == 2),
                nanos: span.end_time_unix_nano - span.start_time_unix_nano,
            }));
        }
        spans
    }

    /// The spans of one trace.
    pub(crate) fn trace(&self, id: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace == id).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pair(pair: KeyValue) -> (String, String) {
    (pair.key, pair.value.map(text).unwrap_or_default())
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

fn take(stream: &TcpStream, bodies: &Mutex<Vec<Sent>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream.try_clone()?;
    loop {
        let (mut length, mut packed, mut path) = (0, false, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if let Some(target) = line.strip_prefix("post ") {
                target.split(' ').next().unwrap().clone_into(&mut path);
            }
            packed |= line == "content-encoding: gzip";
        }
        let mut body = vec![0_u8; length];
        reader.read_exact(&mut body)?;
        if packed {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut plain)?;
            body = plain;
        }
        bodies.lock().unwrap().push((path, body));
        out.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        )?;
    }
}
