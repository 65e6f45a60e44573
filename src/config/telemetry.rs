//! `[telemetry]`: what the gateway says about itself, and to whom.

use std::time::Duration;

use url::Url;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::network::Network;
use crate::config::problem::Wrong;
use crate::config::reader::Reader;
use crate::config::source::Form;
use crate::config::units;

/// Logs and traces.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Levels by target, such as `info,modgate::cache=debug`.
    pub log_filter: String,
    /// Which requests get a line of their own.
    pub access: AccessLog,
    /// The base URL of a collector that takes OTLP; without one nothing is exported.
    pub otlp_endpoint: Option<Url>,
    /// How it is spoken to.
    pub otlp_protocol: OtlpProtocol,
    /// What it gets as log records.
    pub otlp_logs: OtlpLogs,
    /// The share of requests whose trace is exported, from 0 to 1.
    pub trace_ratio: f64,
    /// Whether requests that failed or were slow are exported all the same.
    pub trace_late: bool,
    /// What is slow.
    pub trace_slow: Duration,
    /// Whose `traceparent` is continued, and whose flag is law.
    pub trace_trusted: Vec<Network>,
    /// The name of this instance.
    pub node: String,
}

impl Telemetry {
    /// Whether a collector gets the audit's checkpoints.
    pub fn exports_checkpoints(&self) -> bool {
        self.otlp_endpoint.is_some() && self.otlp_logs != OtlpLogs::Off
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl LogFormat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::Text];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.1.
    Http,
    /// gRPC over HTTP/2, without TLS: a collector beside us, or a mesh that encrypts.
    Grpc,
}

impl OtlpProtocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Http, Self::Grpc];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// What a collector gets as log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpLogs {
    /// Nothing.
    Off,
    /// The audit's checkpoints.
    Checkpoints,
    /// These, and the application's own lines.
    Application,
}

impl OtlpLogs {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Off, Self::Checkpoints, Self::Application];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Checkpoints => "checkpoints",
            Self::Application => "application",
        }
    }
}

/// Which requests get a line of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// Every one.
    All,
    /// Those that did not go well.
    Faults,
    /// None.
    Off,
}

impl AccessLog {
    /// All three.
    pub const ALL: [Self; 3] = [Self::All, Self::Faults, Self::Off];

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Faults => "faults",
            Self::Off => "off",
        }
    }
}

/// `[telemetry]`.
pub(in crate::config) const SECTION: Section = Section {
    path: "telemetry",
    times: Times::Once,
    doc: "What modgate says about itself. Metrics are always on, at server.ops_listen.",
    keys: &[
        Key {
            name: "log_format",
            form: Form::Text,
            preset: Preset::Value("json"),
            doc: "How log lines on standard output look: json or text.",
        },
        Key {
            name: "log_filter",
            form: Form::Text,
            preset: Preset::Value("info"),
            doc: "What is logged: error, warn, info, debug or trace, and exceptions by target, \
                  such as info,modgate::cache=debug.",
        },
        Key {
            name: "access",
            form: Form::Text,
            preset: Preset::Value("all"),
            doc: "Which requests get a log line: all, faults or off. The audit has them all.",
        },
        Key {
            name: "otlp_endpoint",
            form: Form::Text,
            preset: Preset::Unset { example: "http://collector.corp.example:4318" },
            doc: "The base URL of a collector that takes OTLP; over http, /v1/traces and /v1/logs \
                  are added.",
        },
        Key {
            name: "otlp_protocol",
            form: Form::Text,
            preset: Preset::Value("http"),
            doc: "How the collector is spoken to: http (protobuf), or grpc (without TLS).",
        },
        Key {
            name: "otlp_logs",
            form: Form::Text,
            preset: Preset::Value("off"),
            doc: "What the collector gets as log records: off, checkpoints (of the audit, whatever \
                  log_filter says, so that whoever keeps them keeps a copy), or application \
                  (these, and the application's lines that log_filter lets through).",
        },
        Key {
            name: "trace_ratio",
            form: Form::Number,
            preset: Preset::Value("0.05"),
            doc: "The share of requests whose trace is exported, from 0 to 1.",
        },
        Key {
            name: "trace_late",
            form: Form::Switch,
            preset: Preset::Value("true"),
            doc: "Whether requests that failed (5xx) or were slow are exported all the same, ten a \
                  second at most.",
        },
        Key {
            name: "trace_slow",
            form: Form::Text,
            preset: Preset::Value("10s"),
            doc: "From when on a request is slow.",
        },
        Key {
            name: "trace_trusted",
            form: Form::List,
            preset: Preset::Value(""),
            doc: "Networks whose traceparent is continued and decides whether a trace is exported, \
                  such as 10.1.0.0/16. Anybody else's is only linked.",
        },
        Key {
            name: "node",
            form: Form::Text,
            preset: Preset::Derived {
                template: "{node}",
                words: "this machine's name",
                example: "gate-1",
            },
            doc: "The name of this instance in logs, traces and the audit: letters, digits, - . _.",
        },
    ],
};

pub(in crate::config) fn read(reader: &mut Reader) -> Option<Telemetry> {
    let mut table = reader.section(&SECTION);
    let log_format = table.one("log_format", units::one_of(&LogFormat::ALL, LogFormat::word));
    let log_filter = table.one("log_filter", units::text);
    let access = table.one("access", units::one_of(&AccessLog::ALL, AccessLog::word));
    let otlp_endpoint = table.maybe("otlp_endpoint", units::url);
    let otlp_protocol =
        table.one("otlp_protocol", units::one_of(&OtlpProtocol::ALL, OtlpProtocol::word));
    let otlp_logs = table.one("otlp_logs", units::one_of(&OtlpLogs::ALL, OtlpLogs::word));
    let trace_ratio = table.one("trace_ratio", units::share);
    let trace_late = table.one("trace_late", units::switch);
    let trace_slow = table.one("trace_slow", units::duration);
    let trace_trusted = table.list("trace_trusted", network);
    let node = table.one("node", units::node);
    if matches!((&otlp_endpoint, otlp_logs), (Some(None), Some(logs)) if logs != OtlpLogs::Off) {
        let remedy = "give telemetry.otlp_endpoint as well, or write off";
        table.wrong("otlp_logs", Wrong::new("names no collector to send to", remedy));
    }
    Some(Telemetry {
        log_format: log_format?,
        log_filter: log_filter?,
        access: access?,
        otlp_endpoint: otlp_endpoint?,
        otlp_protocol: otlp_protocol?,
        otlp_logs: otlp_logs?,
        trace_ratio: trace_ratio?,
        trace_late: trace_late?,
        trace_slow: trace_slow?,
        trace_trusted: trace_trusted?,
        node: node?,
    })
}

fn network(text: &str) -> Result<Network, Wrong> {
    let remedy = "write ADDRESS/BITS, such as 10.1.0.0/16 or 2001:db8::/32";
    text.parse().map_err(|_| Wrong::value(text, "is no network", remedy))
}
