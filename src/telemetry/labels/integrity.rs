//! Labels of series about checks of content.

use crate::telemetry::labels::Label;

label! {
    /// What is checked.
    Checked as "kind" {
        /// A module zip, against the rules of module zips.
        Zip = "zip",
        /// A go.mod.
        GoMod = "gomod",
        /// An info, which must name what was asked for.
        Info = "info",
        /// The bytes that came, against the sum that their upstream says they have.
        AnnouncedSum = "announced_sum",
        /// An entry of the directory, read through.
        BlobScrub = "blob_scrub",
    }
}

label! {
    /// What the check came to.
    CheckResult as "result" {
        /// Good.
        Ok = "ok",
        /// Refused, or removed.
        Failed = "failed",
        /// It could not be read, or nobody was left to check it.
        Unavailable = "unavailable",
    }
}
