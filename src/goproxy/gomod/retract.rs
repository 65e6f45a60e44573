//! What a go.mod takes back: versions, or ranges of them, that nobody should choose any more (Go modules reference,
//! "retract directive").

use crate::goproxy::gomod::words;
use crate::goproxy::version::Version;

/// A range of versions, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Retraction {
    low: Version,
    high: Version,
}

/// Every version that a go.mod takes back: ranges in order, none of which touches another, so that a file of a hundred
/// thousand of them is searched in a few steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retractions(Vec<Retraction>);

impl Retractions {
    /// Whether a version is taken back.
    pub fn covers(&self, version: &Version) -> bool {
        let after = self.0.partition_point(|one| one.low <= *version);
        let last = after.checked_sub(1).and_then(|at| self.0.get(at));
        last.is_some_and(|one| *version <= one.high)
    }

    fn of(mut ranges: Vec<Retraction>) -> Self {
        ranges.retain(|one| one.low <= one.high);
        ranges.sort_by(|a, b| a.low.cmp(&b.low));
        let mut apart: Vec<Retraction> = Vec::new();
        for range in ranges {
            match apart.last_mut() {
                Some(last) if range.low <= last.high => {
                    if last.high < range.high {
                        last.high = range.high;
                    }
                }
                _ => apart.push(range),
            }
        }
        Self(apart)
    }
}

/// Reads the retractions of a go.mod. One that cannot be read is left out, as the go command leaves out those of a
/// dependency.
pub fn read(bytes: &[u8]) -> Retractions {
    let text = String::from_utf8_lossy(bytes);
    let (mut found, mut inside) = (Vec::new(), false);
    for line in text.lines() {
        let Some(words) = words(line) else { continue };
        match (inside, words.as_slice()) {
            (true, [")", ..]) => inside = false,
            (false, ["retract", "("]) => inside = true,
            (true, range) | (false, ["retract", range @ ..]) => found.extend(retraction(range)),
            (false, _) => {}
        }
    }
    Retractions::of(found)
}

/// `v1.0.0`, or `[v1.0.0, v1.2.0]`.
fn retraction(words: &[&str]) -> Option<Retraction> {
    let version = |word: &str| Version::parse(word.trim_matches(['[', ']', '"', '`'])).ok();
    match words {
        [one] if !one.starts_with('[') => {
            let low = version(one)?;
            Some(Retraction { high: low.clone(), low })
        }
        [low, ",", high, ..] if low.starts_with('[') => {
            Some(Retraction { low: version(low)?, high: version(high)? })
        }
        // the bracket may stand apart
        ["[", low, ",", high, ..] => Some(Retraction { low: version(low)?, high: version(high)? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(gomod: &str) -> Vec<&'static str> {
        let retractions = read(gomod.as_bytes());
        let all = ["v1.0.0", "v1.0.1", "v1.1.0", "v1.2.0", "v1.3.0"];
        let taken = |text: &&str| {
            let version = Version::parse(text).unwrap();
            retractions.covers(&version)
        };
        all.into_iter().filter(taken).collect()
    }

    #[test]
    fn versions_and_ranges_are_read_alone_and_in_blocks() {
        let head = "module example.com/m\n\ngo 1.21\n\n";
        for (directives, wanted) in [
            ("retract v1.1.0 // why\n", &["v1.1.0"][..]),
            ("retract [v1.0.0, v1.1.0] // why\n", &["v1.0.0", "v1.0.1", "v1.1.0"]),
            ("retract [ v1.0.0 , v1.0.1 ]\n", &["v1.0.0", "v1.0.1"]),
            (
                "retract (\n\tv1.3.0 // a\n\t[v1.0.1,v1.1.0] // b\n)\n",
                &["v1.0.1", "v1.1.0", "v1.3.0"],
            ),
            (
                "retract [v1.2.0, v1.3.0]\nretract [v1.0.0, v1.2.0]\nretract v1.0.1\n",
                &["v1.0.0", "v1.0.1", "v1.1.0", "v1.2.0", "v1.3.0"],
            ),
            ("retract [v1.3.0, v1.0.0]\nretract v1.2.0\n", &["v1.2.0"]),
            ("require example.com/x v1.1.0\n// retract v1.0.0\n", &[]),
            ("retract nonsense\nretract [v1.0.0]\nretract\nretract v1.2.0\n", &["v1.2.0"]),
        ] {
            assert_eq!(covered(&format!("{head}{directives}")), wanted, "{directives}");
        }
    }
}
