//! Labels of series about the audit's checkpoints and witnesses.

use crate::telemetry::labels::Label;

label! {
    /// What a witness made of a step of another node's log.
    Witnessed as "result" {
        /// The log grew from what was signed before: signed.
        Grown = "grown",
        /// The first step of a log that was not known: signed.
        First = "first",
        /// Steps in between were missed: signed, and the note before is kept.
        Anew = "anew",
        /// It was signed already: told once more.
        Repeated = "repeated",
        /// Refused: the log is not what it was, or signed by somebody else.
        Refused = "refused",
    }
}

label! {
    /// What became of a checkpoint of this node's own log.
    Checkpointed as "result" {
        /// Signed, and kept beside the records.
        Signed = "signed",
        /// In one directory it could not be kept.
        Failed = "failed",
    }
}
