//! What can go wrong, as the outside sees it: a closed set of classes, and three questions put to every error.

use std::borrow::Cow;
use std::error::Error;

/// The class of a fault. Status, metric label, log level and alert derive from it and from nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The request is not one a `go` command could have sent: 400.
    Malformed,
    /// Nobody proved who they are, or the proof was bad: 401.
    Unauthenticated,
    /// The policy refuses: 403, never 404.
    Denied,
    /// Every consulted upstream said 404, or there is no such endpoint: 404.
    NotFound,
    /// As [`Kind::NotFound`], when the first such answer was 410.
    Gone,
    /// The caller asked too often: 429 with `Retry-After`.
    Throttled,
    /// We cannot judge or serve safely just now: 503 with `Retry-After`.
    Unavailable,
    /// An upstream answered what it must not, or not at all: 502.
    Upstream,
    /// An upstream was too slow: 504.
    Timeout,
    /// Content is not what its sum, its form or its name says: 502, never cached.
    Integrity,
    /// A defect of ours: 500.
    Internal,
}

impl Kind {
    /// Every kind, in the order of declaration; tables over the set are built from it.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Denied,
        Self::NotFound,
        Self::Gone,
        Self::Throttled,
        Self::Unavailable,
        Self::Upstream,
        Self::Timeout,
        Self::Integrity,
        Self::Internal,
    ];

    /// The word used in labels, logs and audit events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Upstream => "upstream",
            Self::Timeout => "timeout",
            Self::Integrity => "integrity",
            Self::Internal => "internal",
        }
    }

    /// What a caller is told when the error itself has nothing safe to add.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Malformed => "bad request: not a path of the module proxy protocol",
            Self::Unauthenticated => "credentials are needed, or those given are not good",
            Self::Denied => "denied by policy",
            Self::NotFound => "not found: nothing is served here",
            Self::Gone => "gone: nothing is served here any more",
            Self::Throttled => "too many requests: try again later",
            Self::Unavailable => "the gateway cannot answer safely just now: try again soon",
            Self::Upstream => "the upstream failed: this is not an answer about the module",
            Self::Timeout => "the upstream was too slow: try again",
            Self::Integrity => "the upstream's content failed verification and was refused",
            Self::Internal => "internal fault of the gateway",
        }
    }
}

/// Every error of a station answers three questions; nothing else about it leaves the gateway.
pub trait Fault: Error {
    /// The class: status, metric label and alert derive from it.
    fn kind(&self) -> Kind;

    /// What the caller may be told, as lines of text; never a host, a key, a DN, or a rule they may not see.
    fn public(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.kind().sentence())
    }

    /// Whether the same request might succeed if tried again soon.
    fn retryable(&self) -> bool {
        false
    }
}

/// An error and everything that caused it, outermost first, joined by `: ` for one log field.
pub fn chain_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_each_kind_once() {
        let mut words: Vec<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Kind::ALL.len());
    }

    #[test]
    fn a_sentence_fits_one_line_of_a_go_error() {
        for kind in Kind::ALL {
            assert!(kind.sentence().len() <= 79, "{kind:?}");
        }
    }
}
