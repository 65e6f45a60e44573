//! Records in other people's words: CSV, the Elastic Common Schema, and the Open Cybersecurity Schema Framework.

mod ocsf;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::audit::query::text;

/// A format to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The lines as they are.
    Jsonl,
    /// RFC 4180, with a guard against formulas.
    Csv,
    /// The Elastic Common Schema.
    Ecs,
    /// The Open Cybersecurity Schema Framework, 1.3.0.
    Ocsf,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Jsonl, Self::Csv, Self::Ecs, Self::Ocsf];

    /// Its word.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
        }
    }

    /// Its media type (RFC 4180 for CSV; JSON lines have none that is registered).
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl | Self::Ecs | Self::Ocsf => "application/x-ndjson",
        }
    }

    /// What stands before the first record.
    pub fn header(self) -> Option<String> {
        (self == Self::Csv).then(|| COLUMNS.map(|(name, _)| name).join(","))
    }

    /// A record in this format: one line, without a line break but for CSV's own `\r`.
    pub fn write(self, record: &Value, line: &str) -> String {
        match self {
            Self::Jsonl => line.to_owned(),
            Self::Csv => csv(record),
            Self::Ecs => without_nulls(ecs(record)).to_string(),
            Self::Ocsf => ocsf::event(record).to_string(),
        }
    }

    /// What ends a line.
    pub const fn line_end(self) -> &'static str {
        match self {
            Self::Csv => "\r\n",
            Self::Jsonl | Self::Ecs | Self::Ocsf => "\n",
        }
    }
}

/// Column and place in a record.
const COLUMNS: [(&str, &str); 21] = [
    ("time", "/time"),
    ("node", "/node"),
    ("boot", "/boot"),
    ("seq", "/seq"),
    ("event", "/event"),
    ("code", "/code"),
    ("phase", "/phase"),
    ("outcome", "/outcome"),
    ("actor", "/actor/id"),
    ("method", "/actor/auth"),
    ("source", "/source/ip"),
    ("module", "/resource/module"),
    ("version", "/resource/version"),
    ("artifact", "/resource/artifact"),
    ("rule", "/decision/rule"),
    ("reason", "/decision/reason"),
    ("policy", "/decision/policy"),
    ("status", "/http/status"),
    ("bytes", "/http/bytes_out"),
    ("id", "/id"),
    ("trace", "/http/trace_id"),
];

fn csv(record: &Value) -> String {
    let cells = COLUMNS.map(|(_, path)| match record.pointer(path) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cell(text),
        Some(other) => cell(&other.to_string()),
    });
    cells.join(",")
}

/// A cell by RFC 4180. A spreadsheet would run what begins like a formula, so such a text gets an apostrophe before it.
pub fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']);
    let guard = if formula { "'" } else { "" };
    if formula || text.contains(['"', ',', '\n', '\r', ';']) || text.starts_with(' ') {
        return format!("\"{guard}{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

fn ecs(record: &Value) -> Value {
    let at = |path: &str| record.pointer(path).cloned().unwrap_or(Value::Null);
    let event = text(record, "/event").unwrap_or_default();
    let outcome = match text(record, "/outcome") {
        Some("allowed" | "ancestor") => "success",
        Some(_) => "failure",
        None => "unknown",
    };
    let category = match event.split('.').next() {
        Some("module" | "sumdb" | "gateway" | "request") => "web",
        Some("auth" | "token" | "actor" | "authz") => "authentication",
        _ => "configuration",
    };
    let kind = if event == "authz.deny" { "denied" } else { "access" };
    let module = text(record, "/resource/module");
    json!({
        "@timestamp": at("/time"), "ecs": {"version": "8.17.0"},
        "event": {
            "id": at("/id"), "action": event, "code": at("/code"), "outcome": outcome, "kind": "event",
            "category": [category], "type": [kind], "sequence": at("/seq"), "reason": at("/decision/reason"),
            "dataset": "modgate.audit", "module": "modgate",
        },
        "observer": {"name": at("/node"), "product": "modgate", "type": "proxy"},
        "user": {
            "id": at("/actor/id"), "roles": at("/actor/roles"), "group": {"name": at("/actor/groups")},
        },
        "source": {"ip": at("/source/ip"), "port": at("/source/port")},
        "user_agent": {"original": at("/source/ua")},
        "package": {"name": at("/resource/module"), "version": at("/resource/version"), "type": module.map(|_| "go")},
        "url": {"path": at("/resource/path")},
        "rule": {"id": at("/decision/rule"), "ruleset": at("/decision/policy")},
        "http": {
            "request": {"method": at("/http/method")},
            "response": {"status_code": at("/http/status"), "body": {"bytes": at("/http/bytes_out")}},
        },
        "trace": {"id": at("/http/trace_id")},
        "labels": {"boot": at("/boot"), "phase": at("/phase"), "outcome": at("/outcome"), "family": at("/family")},
    })
}

/// What is not known is not said.
fn without_nulls(value: Value) -> Value {
    let is_something =
        |value: &Value| !value.is_null() && value.as_object().is_none_or(|inner| !inner.is_empty());
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().map(|(name, value)| (name, without_nulls(value)));
            Value::Object(kept.filter(|(_, value)| is_something(value)).collect::<Map<_, _>>())
        }
        Value::Array(parts) => parts.into_iter().map(without_nulls).filter(is_something).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_formula_is_a_text() {
        for formula in ["=1+1", "+1", "-1", "@x", "＝1"] {
            assert_eq!(cell(formula), format!("\"'{formula}\""));
        }
        assert_eq!(cell("corp.example/a"), "corp.example/a");
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }

    /// RFC 4180, read back.
    fn cells(line: &str) -> Vec<String> {
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' if quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                other => cell.push(other),
            }
        }
        cells.push(cell);
        cells
    }

    proptest! {
        #[test]
        fn a_row_has_its_columns_whatever_stands_in_them(actor in ".{0,30}", module in ".{0,30}") {
            let record = json!({"actor": {"id": actor}, "resource": {"module": module}, "seq": 7});
            let read = cells(&csv(&record));
            prop_assert_eq!(read.len(), COLUMNS.len());
            prop_assert_eq!(&read[3], "7");
            let guarded = |text: &str| [text.to_owned(), format!("'{text}")];
            prop_assert!(guarded(&actor).contains(&read[8]));
            prop_assert!(guarded(&module).contains(&read[11]));
            prop_assert!(!read[8].starts_with(['=', '+', '-', '@']));
        }
    }
}
