//! `modgate audit`: questions to the log, and proof of the answers.

mod check;
mod hand_over;
mod places;
mod read;

use clap::Subcommand;

use crate::cli::Failure;
use crate::cli::say;

/// Questions to the log, and proof of the answers.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AuditCommand {
    /// Print the last records, and with --follow those to come.
    Tail(read::Tail),
    /// Print the records that fit, or answer one of the auditors' questions about them.
    Query(read::Query),
    /// Count records by event and outcome.
    Stats(read::Stats),
    /// Verify every line, the chain through them and the checkpoints over them; names the first bad record.
    Verify(check::Verify),
    /// Print one record with the proof that it is in the signed log, or check such a proof without the log.
    Prove(check::Prove),
    /// Export records: jsonl, csv, ecs or ocsf; or an evidence pack for a control.
    Export(hand_over::Export),
    /// Print the keyed hash that stands for a principal when audit.pseudonymise is on.
    Hash(hand_over::HashCommand),
    /// Sign a node's newest checkpoint as well, if its log grew from the one signed before.
    Witness(check::Witness),
    /// Print the key that verifies this node's checkpoints, or add a new one with --rotate.
    Key(check::KeyCommand),
    /// Make the indexes of closed segments again where they are missing.
    Index(check::IndexCommand),
    /// Print the JSON Schema of a record, or with --events the list of events.
    Schema(hand_over::Schema),
}

impl AuditCommand {
    pub(in crate::cli) fn run(self, environment: Vec<(String, String)>) -> Result<(), Failure> {
        let done = match self {
            Self::Tail(command) => command.run(environment),
            Self::Query(command) => command.run(environment),
            Self::Stats(command) => command.run(environment),
            Self::Verify(command) => command.run(environment),
            Self::Prove(command) => command.run(environment),
            Self::Export(command) => command.run(environment),
            Self::Hash(command) => command.run(environment),
            Self::Witness(command) => command.run(environment),
            Self::Key(command) => command.run(environment),
            Self::Index(command) => command.run(environment),
            Self::Schema(command) => command.run(),
        };
        done.map_err(Failure::untold)
    }
}

/// Prints a JSON object on one line.
fn say_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string(value)?)
}
