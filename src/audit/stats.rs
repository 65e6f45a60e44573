//! How many records there are by event and outcome: by the indexes where a whole segment is asked about.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::audit::query::text;
use crate::audit::report::Table;

/// The word that asks for it.
pub const STATS: &str = "stats";

/// Records by event and outcome.
#[derive(Debug, Clone, Default)]
pub struct Stats(BTreeMap<(String, String), u64>);

impl Stats {
    /// Counts a record.
    pub fn take(&mut self, record: &Value) {
        let at = |path: &str| text(record, path).unwrap_or("-").to_owned();
        *self.0.entry((at("/event"), at("/outcome"))).or_default() += 1;
    }

    /// Takes what an index counted: numbers by event and outcome, with a space between.
    pub fn add(&mut self, kinds: &BTreeMap<String, u64>) {
        for (kind, number) in kinds {
            let (event, outcome) = kind.split_once(' ').unwrap_or((kind, ""));
            let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
            *self.0.entry((or_dash(event), or_dash(outcome))).or_default() += number;
        }
    }

    /// A row for each event and outcome.
    pub fn table(self) -> Table {
        let rows = self.0.into_iter();
        let rows = rows.map(|((event, outcome), number)| vec![event, outcome, number.to_string()]);
        Table { columns: &["event", "outcome", "records"], rows: rows.collect() }
    }
}
