//! `modgate metrics`: the catalogue of everything the page of metrics can hold.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use crate::cli::Failure;
use crate::cli::say;
use crate::telemetry::metrics::Entry;
use crate::telemetry::metrics::entries;
use crate::telemetry::product::LabelSet;

/// Prints the catalogue.
#[derive(Debug, Args)]
pub(in crate::cli) struct MetricsCommand {
    /// As JSON: an array with name, type, help, labels and their values, and bucket bounds
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// As a table for a document
    #[arg(long)]
    markdown: bool,
}

impl MetricsCommand {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let mut all: Vec<_> = entries().collect();
        all.sort_by_key(|entry| entry.name);
        say(&match (self.json, self.markdown) {
            (true, _) => json(&all),
            (_, true) => markdown(&all),
            _ => all.iter().map(|entry| text(entry)).collect(),
        })
    }
}

fn text(entry: &Entry) -> String {
    let mut text = format!("{} ({})\n  {}\n", entry.name, entry.kind, entry.help.trim());
    for label in entry.labels() {
        // writing to a string cannot fail
        let _written = writeln!(text, "  {}: {}", label.name, values(&label));
    }
    if let Some(ladder) = entry.ladder {
        let bounds: Vec<_> = ladder.iter().map(ToString::to_string).collect();
        let _written = writeln!(text, "  bounds: {}", bounds.join(" "));
    }
    text
}

fn values(label: &LabelSet) -> String {
    if label.values.is_empty() { "as configured".to_owned() } else { label.values.join(" ") }
}

fn json(all: &[&Entry]) -> String {
    let each = all.iter().map(|entry| {
        let labels: serde_json::Map<_, _> = entry
            .labels()
            .into_iter()
            .map(|label| (label.name.to_owned(), json!(label.values)))
            .collect();
        json!({
            "name": entry.name, "type": entry.kind, "help": entry.help.trim(), "labels": labels,
            "bounds": entry.ladder,
        })
    });
    let lines: Vec<_> = each.map(|entry| entry.to_string()).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn markdown(all: &[&Entry]) -> String {
    let mut text = "| name | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for entry in all {
        let labels: Vec<_> = entry.labels().iter().map(|label| label.name).collect();
        let (labels, help) = (labels.join(", "), entry.help.trim());
        let _written = writeln!(text, "| `{}` | {} | {labels} | {help} |", entry.name, entry.kind);
    }
    text
}
