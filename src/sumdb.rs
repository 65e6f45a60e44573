//! # Sumdb: is it what it should be?
//!
//! **Question.** May these bytes, which an upstream or a directory gave us, be called the answer to this request?
//!
//! **Rule.** Nothing is sent and nothing enters a tier before it is a [`Verified`]. What is checked depends on the
//! artifact: a zip must keep the rules of module zips from the first to the last byte, and its h1 is computed on
//! the way; a `.mod` must be a go.mod; an info must name the version that was asked for, or for a query a version
//! that fits the module; a list keeps only the lines a `go` command could use.
//!
//! **What it refuses.** Everything else, as an integrity fault: 502, not stored, and not looked for elsewhere, for
//! an upstream that lies is not an upstream that lacks.
//!
//! **Limits of this version.** Sums are computed and kept, but not yet compared with a checksum database here; the
//! client does that itself, through the pass-through of `/sumdb/`, and refuses what differs. Answers of a checksum
//! database are passed on unverified and are therefore never stored ([`Basis::Unsummed`], and no key).

pub mod verifier;

use std::fmt;

use crate::content::Content;
use crate::goproxy::version::Version;
use crate::telemetry::observed::Observed;
use crate::telemetry::record::Facts;

/// Content that passed the checks of its artifact.
///
/// Only the verifier makes one from an upstream's bytes, and a tier restores what it was given:
///
/// ```compile_fail
/// use modgate::content::Content;
/// let content = Content::from_bytes(bytes::Bytes::from_static(b"x"));
/// let forged = modgate::sumdb::Verified { content, basis: modgate::sumdb::Basis::Unsummed };
/// ```
///
/// ```
/// use modgate::content::Content;
/// let content = Content::from_bytes(bytes::Bytes::from_static(b"x"));
/// let honest: Option<modgate::sumdb::Verified> = None;
/// ```
#[derive(Debug, Clone)]
pub struct Verified {
    content: Content,
    basis: Basis,
}

/// On what ground content is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// A zip or go.mod whose form was checked and whose h1 sum was computed.
    Computed(String),
    /// An info that names this version.
    Names(Version),
    /// There is no sum for it, only a form: a list, or an answer of a checksum database.
    Unsummed,
}

impl Basis {
    /// Restores a basis from what a tier kept of it.
    pub fn stored(h1: Option<String>, names: Option<String>) -> Self {
        match (h1, names.and_then(|names| Version::parse(&names).ok())) {
            (Some(h1), _) => Self::Computed(h1),
            (None, Some(version)) => Self::Names(version),
            (None, None) => Self::Unsummed,
        }
    }

    /// The h1 sum, if there is one.
    pub fn h1(&self) -> Option<&str> {
        match self {
            Self::Computed(h1) => Some(h1),
            Self::Names(_) | Self::Unsummed => None,
        }
    }

    /// The version an info names.
    pub fn names(&self) -> Option<&Version> {
        match self {
            Self::Names(version) => Some(version),
            Self::Computed(_) | Self::Unsummed => None,
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Computed(h1) => out.write_str(h1),
            Self::Names(version) => write!(out, "names {version}"),
            Self::Unsummed => out.write_str("unsummed"),
        }
    }
}

impl Verified {
    fn new(content: Content, basis: Basis) -> Self {
        Self { content, basis }
    }

    /// What a tier was given, with bytes whose sum is still the one it was given with.
    pub(crate) fn restored(content: Content, basis: Basis) -> Self {
        Self { content, basis }
    }

    /// The bytes.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Why they are trusted.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// The same answer with fewer lines: what this caller may see of a list.
    pub(crate) fn narrowed(content: Content) -> Self {
        Self { content, basis: Basis::Unsummed }
    }
}

impl Observed for Verified {
    fn note(&self, facts: &mut Facts) {
        facts.sha256 = Some(self.content.sum().to_string());
        if let Some(h1) = self.basis.h1() {
            facts.h1 = Some(h1.to_owned());
        }
    }
}
