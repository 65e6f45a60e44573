//! A checkpoint: the origin, size and root of a tree, as the text of a note (C2SP tlog-checkpoint).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tlog::tree::Hash;

/// What a signer says about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: a name without a line break.
    pub origin: String,
    /// How many leaves its tree has.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
}

impl Checkpoint {
    /// From the text of a note; lines after the third are other people's business.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let size = lines.next()?;
        let canonical = size == "0" || !size.starts_with('0');
        let digits = size.bytes().all(|byte| byte.is_ascii_digit());
        let size = size.parse().ok().filter(|_| canonical && digits)?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        lines.next()?;
        Some(Self { origin, size, root })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_looser() {
        let told = Checkpoint { origin: "modgate/gw-1".to_owned(), size: 42, root: [7; 32] };
        assert_eq!(Checkpoint::parse(&told.to_string()), Some(told.clone()));
        let text = told.to_string();
        for bad in [
            text.replace("42", "042"),
            text.replace("42", "+42"),
            text.replace("modgate/gw-1", ""),
            text.replace("Bw", "B"),
            text.trim_end().to_owned(),
            String::new(),
        ] {
            assert_eq!(Checkpoint::parse(&bad), None, "{bad}");
        }
    }
}
