//! What is wrong with a configuration: where, which key, what was found, and what would do.

use std::fmt;

use crate::config::source::Origin;

/// One thing that keeps a configuration from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written: a line of the file, a variable, a flag, or nowhere.
    pub origin: Origin,
    /// The key, such as `server.listen`; empty if the file as a whole is meant.
    pub key: String,
    /// What was found, without any secret.
    pub what: String,
    /// What would do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        write!(out, "{}; {}", self.what, self.remedy)
    }
}

/// Every problem of a configuration, in the order of the file, then of the environment, then of flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// All of them, ordered; at least one.
    pub(in crate::config) fn new(mut all: Vec<Problem>) -> Self {
        all.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
        all.dedup();
        Self(all)
    }

    /// One at a time.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(out, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Why one value cannot be used, before it is known whose value it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Wrong {
    /// What was found.
    pub(in crate::config) what: String,
    /// What would do.
    pub(in crate::config) remedy: String,
}

impl Wrong {
    /// What was found, and what would do.
    pub(in crate::config) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }

    /// A value that may be shown, quoted so that nothing in it can act on a terminal, and cut if it is long. One
    /// with an `@` is not repeated: before it may stand a password.
    pub(in crate::config) fn value(text: &str, is: &str, remedy: impl Into<String>) -> Self {
        if text.contains('@') {
            return Self::new(format!("what is given {is}"), remedy);
        }
        let shown: String = text.chars().take(SHOWN_CHARS).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        Self::new(format!("{shown:?}{more} {is}"), remedy)
    }
}

/// The first of the known words that a mistyped one probably means.
pub(in crate::config) fn nearest<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be added, dropped or replaced to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(from != to);
            left = replaced.min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Enough of a value to recognise it.
const SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_with_the_fewest_changes() {
        let known = || ["server.listen", "server.drain", "cache.dir"].into_iter();
        assert_eq!(nearest("server.lisen", known()), Some("server.listen"));
        assert_eq!(nearest("cache.dri", known()), Some("cache.dir"));
        assert_eq!(nearest("telemetry", known()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }

    #[test]
    fn a_found_value_cannot_act_on_a_terminal_and_is_cut() {
        let wrong = Wrong::value("\u{1b}[2J", "is bad", "");
        assert_eq!(wrong.what, "\"\\u{1b}[2J\" is bad");
        assert!(Wrong::value(&"x".repeat(5000), "is bad", "").what.len() < 120);
    }
}
