//! Labels of series about the policy itself.

use crate::telemetry::labels::Decision;
use crate::telemetry::labels::Label;

label! {
    /// Why the policy said so.
    DecisionReason as "reason" {
        /// An allow row applies.
        PolicyAllow = "policy_allow",
        /// A deny row applies.
        PolicyDeny = "policy_deny",
        /// Nothing applies.
        NoMatch = "no_match",
        /// A strict ancestor of what the caller may read.
        Ancestor = "ancestor",
        /// The token is limited to other modules.
        TokenLimit = "token_limit",
        /// Every allow row that applies has a condition that does not hold.
        Gate = "gate",
        /// It may be read once somebody has admitted it, and nobody has.
        NotAdmitted = "not_admitted",
        /// No valid policy has been loaded since the start.
        NoPolicy = "no_policy",
        /// The engine failed.
        PolicyError = "policy_error",
    }
}

label! {
    /// Whether a decision was there already.
    Memory as "result" {
        /// It was remembered.
        Hit = "hit",
        /// It was made.
        Miss = "miss",
    }
}

label! {
    /// What a row of a policy is.
    RowKind as "type" {
        /// A rule.
        Rule = "p",
        /// A role given to somebody.
        Role = "g",
    }
}

label! {
    /// What made the policy be read again.
    ReloadSource as "source" {
        /// The start.
        Start = "start",
        /// A file changed, or it was time to look.
        File = "file",
        /// SIGHUP.
        Signal = "signal",
        /// An operator's request.
        Api = "api",
        /// Another node took a policy that this one does not have.
        Cluster = "cluster",
    }
}

label! {
    /// What reading the policy again came to.
    PolicyReload as "result" {
        /// A new policy is in force.
        Success = "success",
        /// Nothing had changed.
        Unchanged = "unchanged",
        /// Files could not be read.
        Io = "io",
        /// They are no policy.
        Parse = "parse",
        /// Its lint found an error.
        Lint = "lint",
        /// Its own expectations do not hold.
        Suite = "suite",
    }
}

impl From<Decision> for Candidate {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::Deny | Decision::Error => Self::Deny,
            Decision::Absent => Self::Absent,
        }
    }
}

impl From<Decision> for InForce {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::Deny | Decision::Error => Self::Deny,
            Decision::Absent => Self::Absent,
        }
    }
}

label! {
    /// What a candidate policy would have decided.
    Candidate as "to" {
        /// Allowed.
        Allow = "allow",
        /// Denied, or not evaluated.
        Deny = "deny",
        /// Above what the caller may read.
        Absent = "absent",
    }
}

label! {
    /// What the policy in force decided where the candidate differs.
    InForce as "from" {
        /// Allowed.
        Allow = "allow",
        /// Denied, or not evaluated.
        Deny = "deny",
        /// Above what the caller may read.
        Absent = "absent",
    }
}
