//! The h1 sum: what `go.sum` and the checksum database know a module by (Go's `dirhash.Hash1`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;
use sha2::Sha256;

use crate::content::Sum;

/// An h1 sum; displays as `h1:` and base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct H1([u8; 32]);

impl H1 {
    /// The sum of a go.mod by itself.
    pub fn of_gomod(bytes: &[u8]) -> Self {
        Self::of_gomod_with(Sum::of(bytes))
    }

    /// The sum of a go.mod whose bytes have this SHA-256.
    pub(in crate::goproxy) fn of_gomod_with(sum: Sum) -> Self {
        let mut lines = Lines::default();
        lines.add("go.mod", sum);
        lines.sum()
    }
}

impl fmt::Display for H1 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "h1:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for H1 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Files whose sum is wanted, in any order.
#[derive(Debug, Default)]
pub(in crate::goproxy) struct Lines(Vec<(String, Sum)>);

impl Lines {
    /// A file by its full name, without newlines, and the SHA-256 of its content.
    pub(in crate::goproxy) fn add(&mut self, name: &str, sum: Sum) {
        self.0.push((name.to_owned(), sum));
    }

    /// Hashes one line a file, sorted by the bytes of the name: hex sum, two blanks, name, newline.
    pub(in crate::goproxy) fn sum(mut self) -> H1 {
        self.0.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        let mut hasher = Sha256::new();
        for (name, sum) in &self.0 {
            hasher.update(format!("{sum}  {name}\n"));
        }
        H1(hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_an_empty_gomod_is_the_known_one() {
        let empty = H1::of_gomod(b"").to_string();
        assert_eq!(empty, "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=");
    }
}
