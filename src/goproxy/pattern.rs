//! Prefix patterns: one pattern an element, matched against the first elements of a module path.

use std::fmt;

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing at all.
    #[error("a pattern cannot be empty")]
    Empty,
    /// `//`, or a slash at an end.
    #[error("a pattern has no empty element: no // and no slash at an end")]
    Element,
    /// `**` stands for itself only in rules.
    #[error("* and ? stay inside one element; ** means nothing here")]
    DoubleStar,
    /// A class, an escape, an encoded path, or a byte that no module path holds.
    #[error("a pattern holds letters, digits, - . _ ~ and the wildcards * and ?, written decoded")]
    Character,
    /// Hosts are lower case.
    #[error("the first element is a host and has no upper-case letters")]
    Host,
}

/// How letter case counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// It does.
    Exact,
    /// It does not: the safe direction for what is denied or private.
    Folded,
}

/// A pattern such as `corp.example/team-*`: the paths it matches, and everything below them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// Reads a pattern, written decoded.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~*?".contains(&b);
        for element in text.split('/') {
            if element.is_empty() {
                return Err(PatternError::Element);
            }
            if element.contains("**") {
                return Err(PatternError::DoubleStar);
            }
            if !element.bytes().all(legal) {
                return Err(PatternError::Character);
            }
        }
        let host = text.split('/').next().unwrap_or_default();
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(PatternError::Host);
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many elements it has.
    pub fn element_count(&self) -> usize {
        self.0.split('/').count()
    }

    /// Whether a path is matched or lies below one that is.
    pub fn covers(&self, path: &str, case: Case) -> bool {
        covers(&self.0, path, case)
    }
}

/// Whether a path is matched by a pattern or lies below one that is. The pattern was checked by [`Prefix::parse`].
pub fn covers(pattern: &str, path: &str, case: Case) -> bool {
    let mut elements = path.split('/');
    pattern.split('/').all(|pattern| elements.next().is_some_and(|one| fits(pattern, one, case)))
}

/// Whether a path lies strictly above what a pattern matches: all its elements fit, and there are fewer of them.
pub fn is_strict_ancestor(pattern: &str, path: &str, case: Case) -> bool {
    let mut patterns = pattern.split('/');
    let all = path.split('/').all(|one| patterns.next().is_some_and(|p| fits(p, one, case)));
    all && patterns.next().is_some()
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// One element against its pattern: `*` is any run of characters, `?` any one. Linear in practice, and never more
/// than the product of both lengths: one star is retried at a time.
fn fits(pattern: &str, element: &str, case: Case) -> bool {
    let same = |a: u8, b: u8| match case {
        Case::Exact => a == b,
        Case::Folded => a.eq_ignore_ascii_case(&b),
    };
    let (pattern, element) = (pattern.as_bytes(), element.as_bytes());
    let (mut p, mut e) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = element.get(e) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, e));
                p += 1;
            }
            Some(&wanted) if wanted == b'?' || same(wanted, byte) => {
                p += 1;
                e += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, e) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers(pattern: &str, path: &str) -> bool {
        Prefix::parse(pattern).unwrap().covers(path, Case::Exact)
    }

    #[test]
    fn a_prefix_covers_itself_and_what_lies_below_and_no_longer_name() {
        assert!(covers("corp.example/payments", "corp.example/payments"));
        assert!(covers("corp.example/payments", "corp.example/payments/ledger/v2"));
        assert!(!covers("corp.example/payments", "corp.example/payments2"));
        assert!(!covers("corp.example/payments", "corp.example"));
        assert!(covers("corp.example/team-*", "corp.example/team-a/lib"));
        assert!(!covers("corp.example/team-*", "corp.example/tea"));
        assert!(covers("*.corp.example", "git.corp.example/x"));
        assert!(!covers("*.corp.example", "git.corp.example.evil/x"));
        assert!(!covers("corp.example/*/x", "corp.example/a/b/x"));
        assert!(covers("corp.example/a?c", "corp.example/abc"));
    }

    #[test]
    fn letter_case_counts_only_when_it_is_asked_to() {
        let prefix = Prefix::parse("corp.example/Pay").unwrap();
        assert!(!prefix.covers("corp.example/pay", Case::Exact));
        assert!(prefix.covers("corp.example/pay", Case::Folded));
        assert!(prefix.covers("corp.example/PAY/x", Case::Folded));
    }

    #[test]
    fn an_ancestor_is_strictly_above() {
        let prefix = "corp.example/team-*/lib";
        for (path, above) in [
            ("corp.example", true),
            ("corp.example/team-a", true),
            ("corp.example/team-a/lib", false),
            ("corp.example/other", false),
            ("corp.example/team-a/lib/x", false),
        ] {
            assert_eq!(is_strict_ancestor(prefix, path, Case::Exact), above, "{path}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let table = [
            ("", PatternError::Empty),
            ("/a", PatternError::Element),
            ("a/", PatternError::Element),
            ("a//b", PatternError::Element),
            ("**", PatternError::DoubleStar),
            ("corp.example/**", PatternError::DoubleStar),
            ("corp.example/[ab]", PatternError::Character),
            ("corp.example/!a", PatternError::Character),
            ("corp.example/%41", PatternError::Character),
            ("corp.example/\u{e4}", PatternError::Character),
            ("Corp.example/a", PatternError::Host),
        ];
        for (text, error) in table {
            assert_eq!(Prefix::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_text_fits_its_own_pattern(element in "[a-zA-Z0-9._~-]{1,20}") {
            prop_assert!(fits(&element, &element, Case::Exact));
            prop_assert!(fits("*", &element, Case::Exact));
        }

        #[test]
        fn wildcards_mean_what_a_slow_reading_says(pattern in "[ab*?]{0,8}", element in "[ab]{0,8}") {
            prop_assert_eq!(fits(&pattern, &element, Case::Exact), slow(&pattern, &element));
        }
    }

    fn slow(pattern: &str, element: &str) -> bool {
        let rest = |text: &str| text.chars().skip(1).collect::<String>();
        match (pattern.chars().next(), element.chars().next()) {
            (None, None) => true,
            (Some('*'), _) if slow(&rest(pattern), element) => true,
            (Some('*'), Some(_)) => slow(pattern, &rest(element)),
            (Some(p), Some(e)) if p == '?' || p == e => slow(&rest(pattern), &rest(element)),
            _ => false,
        }
    }
}
