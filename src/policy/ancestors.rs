//! Which rows a path could lie above: found by the path itself, so that a probe costs little among ten thousand rows.

use std::collections::HashMap;

use crate::policy::rule::Rule;

/// Rows that grant reading, by the paths above their patterns.
#[derive(Debug, Default)]
pub(in crate::policy) struct Ancestors {
    /// By each literal path above the pattern.
    exact: HashMap<String, Vec<usize>>,
    /// Rows with a wildcard above their last element, by the literal elements before it, perhaps none.
    wild: HashMap<String, Vec<usize>>,
}

impl Ancestors {
    pub(in crate::policy) fn of(rules: &[Rule]) -> Self {
        let mut ancestors = Self::default();
        for (place, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.grants_reading()) {
            let Some(pattern) = rule.prefix() else { continue };
            let Some((above, _last)) = pattern.rsplit_once('/') else { continue };
            let mut path = String::new();
            for element in above.split('/') {
                if element.contains(['*', '?']) {
                    ancestors.wild.entry(path).or_default().push(place);
                    break;
                }
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(element);
                ancestors.exact.entry(path.clone()).or_default().push(place);
            }
        }
        ancestors
    }

    /// Places of every row whose pattern the path could lie above, in the order of the files; some it does not.
    ///
    /// Sound: a path above a pattern either is one of the pattern's literal beginnings, or begins with all elements
    /// that stand before its first wildcard.
    pub(in crate::policy) fn candidates(&self, path: &str) -> Vec<usize> {
        let mut found: Vec<usize> = self.exact.get(path).into_iter().flatten().copied().collect();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([0, path.len()]);
        for prefix in ends.filter_map(|end| path.get(..end)) {
            found.extend(self.wild.get(prefix).into_iter().flatten());
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
