//! Which rows could apply to a path: found by its elements, so that the number of rows does not matter.

use std::collections::HashMap;

use crate::policy::rule::Asked;
use crate::policy::rule::Rule;

/// Rows by the elements of their pattern that stand before its first wildcard, in lower case.
#[derive(Debug, Default)]
pub(in crate::policy) struct Index {
    by_prefix: HashMap<String, Vec<usize>>,
    always: Vec<usize>,
}

impl Index {
    pub(in crate::policy) fn of(rules: &[Rule]) -> Self {
        Self::among(rules, |_| true)
    }

    /// Of some rows only, with their places among all.
    pub(in crate::policy) fn among(rules: &[Rule], keep: impl Fn(&Rule) -> bool) -> Self {
        let mut index = Self::default();
        for (place, rule) in rules.iter().enumerate().filter(|(_, rule)| keep(rule)) {
            match literal(&rule.target) {
                Some(prefix) => index.by_prefix.entry(prefix).or_default().push(place),
                None => index.always.push(place),
            }
        }
        index
    }

    /// Places of every row that could apply, in the order of the files; some of them will not.
    ///
    /// Sound: a row is left out only if the literal elements its pattern begins with are not those of the path,
    /// letter case aside, and then no matcher of it could be true.
    pub(in crate::policy) fn candidates(&self, asked: &Asked) -> Vec<usize> {
        let mut found = self.always.clone();
        let path = asked.module.split_once(' ').map_or("", |(_, path)| path).to_ascii_lowercase();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for prefix in ends.filter_map(|end| path.get(..end)) {
            found.extend(self.by_prefix.get(prefix).into_iter().flatten());
        }
        found.sort_unstable();
        found
    }
}

/// The literal beginning of a target; `None` if it has none, so that the row is always a candidate.
fn literal(target: &str) -> Option<String> {
    let (_, pattern) = target.split_once(' ')?;
    let plain: Vec<&str> =
        pattern.split('/').take_while(|element| !element.contains(['*', '?'])).collect();
    (!plain.is_empty()).then(|| plain.join("/").to_ascii_lowercase())
}
