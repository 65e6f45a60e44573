//! The chain and the tree of a node's records: what a change to any written line would break.
//!
//! `chain = SHA-256(chain before || the line's bytes before ',"chain":')`, in base64url as the last member; 32 zero bytes
//! stand before the first record. The whole line, without its line break, is a leaf of the tree ([`crate::tlog`]).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest as _;
use sha2::Sha256;

use crate::tlog::tree;
use crate::tlog::tree::Edge;
use crate::tlog::tree::Hash;

/// Where the log stands.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// The value of the last record.
    pub last: Hash,
    /// The tree over all of them.
    pub edge: Edge,
}

/// Why a line does not continue a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It does not end with a chain value.
    Unreadable,
    /// Its chain value is another.
    Value,
}

impl Chain {
    /// The number of the next record: records are numbered from 1 and every one is a leaf.
    pub const fn next(&self) -> u64 {
        self.edge.size() + 1
    }

    /// Closes a line, which is a whole JSON object, with its chain value; the line break is not part of it. Gives the leaf
    /// that it is in the tree.
    pub fn seal(&mut self, line: &mut Vec<u8>) -> Hash {
        line.pop();
        self.last = link(&self.last, line);
        line.extend_from_slice(MEMBER);
        line.extend_from_slice(URL_SAFE_NO_PAD.encode(self.last).as_bytes());
        line.extend_from_slice(b"\"}");
        let leaf = tree::leaf(line);
        self.edge.push(leaf);
        leaf
    }

    /// Takes a line that was written before, if it continues the chain.
    pub fn follow(&mut self, line: &[u8]) -> Result<(), Broken> {
        let (before, told) = open(line).ok_or(Broken::Unreadable)?;
        let value = link(&self.last, before);
        if value != told {
            return Err(Broken::Value);
        }
        self.last = value;
        self.edge.push(tree::leaf(line));
        Ok(())
    }

    /// The hash of the tree's root.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }
}

fn link(last: &Hash, before: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(last);
    hash.update(before);
    hash.finalize().into()
}

/// A line's part before its chain value, and the value.
pub fn open(line: &[u8]) -> Option<(&[u8], Hash)> {
    let (before, end) = line.split_at_checked(line.len().checked_sub(END_BYTES)?)?;
    let value = end.strip_prefix(MEMBER)?.strip_suffix(b"\"}")?;
    Some((before, value_of(value)?))
}

/// A chain value from its text.
pub fn value_of(text: &[u8]) -> Option<Hash> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// A chain value, or a root, as text.
pub fn text_of(value: &Hash) -> String {
    URL_SAFE_NO_PAD.encode(value)
}

/// The sequence number of a line, which every line begins with.
pub fn seq(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"v\":1,\"seq\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

/// Whether a line is a record of the audit about itself, by its place: number, time and event stand first, and a time has
/// always the same length. For a quick look at a line that was found to be what it was.
pub fn is_own(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"{\"v\":1,\"seq\":") else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest.get(digits + BEFORE_EVENT..).is_some_and(|event| event.starts_with(b"audit."))
}

/// The event name of a line, as it stands; for a quick look before anything is decoded.
pub fn event(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once(",\"event\":\"")?;
    rest.split_once('"').map(|(name, _)| name)
}

/// More records than any log has. Larger numbers are somebody's invention, and no sum with one of them may overflow.
pub const MOST_RECORDS: u64 = 1 << 62;

const MEMBER: &[u8] = b",\"chain\":\"";
/// What stands between the number and the event's name: the time's member, its 27 letters, the event's member.
const BEFORE_EVENT: usize = b",\"time\":\"".len() + 27 + b"\",\"event\":\"".len();
/// The member, 43 letters, a quote and a brace.
const END_BYTES: usize = MEMBER.len() + 43 + 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_audit_itself_is_told_by_its_place() {
        let line = |event: &str| {
            let time = crate::clock::rfc3339_micros(std::time::SystemTime::UNIX_EPOCH);
            let line =
                format!("{{\"v\":1,\"seq\":184467,\"time\":\"{time}\",\"event\":\"{event}\"}}");
            line.into_bytes()
        };
        assert!(is_own(&line("audit.gap")));
        for other in [line("module.zip"), line("x\",\"event\":\"audit.gap"), b"{}".to_vec()] {
            assert!(!is_own(&other));
        }
    }

    #[test]
    fn a_sealed_line_is_followed_and_a_changed_one_is_not() {
        let mut writer = Chain::default();
        let mut lines = Vec::new();
        for n in 1..=3 {
            let mut line =
                format!("{{\"v\":1,\"seq\":{n},\"time\":\"t\",\"event\":\"x\"}}").into_bytes();
            writer.seal(&mut line);
            lines.push(line);
        }
        let mut reader = Chain::default();
        for (n, line) in (1..).zip(&lines) {
            assert_eq!((seq(line), event(line)), (Some(n), Some("x")));
            assert_eq!(reader.next(), n);
            reader.follow(line).unwrap();
        }
        assert_eq!((reader.last, reader.root()), (writer.last, writer.root()));
        let mut reader = Chain::default();
        assert_eq!(reader.follow(&lines[1]), Err(Broken::Value));
        assert_eq!(reader.follow(b"{}"), Err(Broken::Unreadable));
        assert_eq!(reader.next(), 1);
    }
}
