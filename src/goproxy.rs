//! # Goproxy: the module proxy protocol as we speak it
//!
//! **Question.** What does this request mean, and are these bytes what the protocol says they must be?
//!
//! **Rule.** One parser makes one typed value of the raw path ([`request::Request::parse`]). Policy, cache keys, upstream
//! URLs and audit use that value and nothing else, so no two of them can read the path differently. There are two
//! layers of encoding, and each is undone exactly once: percent-encoding (RFC 3986), then Go's case-encoding, in
//! which `!a` stands for `A`. What leaves for an upstream is encoded anew from the value, and parsing that again
//! gives the same value; a property test holds this.
//!
//! **What it refuses.** Everything ambiguous or malformed, as 400, and nothing is ever cleaned, folded or joined: an
//! encoded slash, a dot segment, an empty element, a raw capital, a control byte. What is well-formed but cannot be
//! anything is 404: no such endpoint, or a version that cannot belong to its path.
//!
//! **Sources.** The Go modules reference for the protocol, and the rules of Go's own module library for paths, versions
//! and zips, which are not those of `semver.org`: versions begin with `v`, numbers may be of any length, and
//! `+incompatible` is part of a version. Tables of expected values, made with that library, are checked in tests.
//!
//! **How it fails.** Everything here is pure and total: no I/O, no clock, no panic on any input.

pub mod artifact;
pub mod dirhash;
mod escape;
pub mod gomod;
pub mod info;
pub mod list;
pub mod path;
pub mod pattern;
pub mod proxylist;
mod pseudo;
pub mod request;
pub mod sumdb_path;
pub mod version;
pub mod zipfile;

#[cfg(test)]
pub(crate) mod vectors {
    //! Reads the tables of `tests/fixtures/vectors`.

    /// The rows of a table, without its comment lines; each a list of fields.
    pub(crate) fn rows(name: &str) -> Vec<Vec<String>> {
        let path = format!("{}/tests/fixtures/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let rows: Vec<Vec<String>> = text
            .lines()
            .filter(|line| !line.starts_with("# "))
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect();
        assert!(rows.len() > 9, "{path} holds too few rows to prove anything");
        rows
    }
}
