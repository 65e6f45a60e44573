//! Which roles a user, a group or a role leads to, over any number of steps.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Why roles lead nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum RolesError {
    /// A role reaches itself.
    Circle(String),
    /// Members reach more roles in all than are kept.
    Many,
}

/// Every role that each member reaches.
#[derive(Debug, Default)]
pub(in crate::policy) struct Roles(BTreeMap<String, BTreeSet<String>>);

impl Roles {
    /// Follows pairs of member and role.
    pub(in crate::policy) fn close(pairs: &[(&str, &str)]) -> Result<Self, RolesError> {
        let mut direct: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (member, role) in pairs {
            direct.entry(member).or_default().push(role);
        }
        let (mut closed, mut steps) = (BTreeMap::new(), 0);
        for member in direct.keys() {
            let mut reached = BTreeSet::new();
            let mut waiting = vec![*member];
            while let Some(one) = waiting.pop() {
                for role in direct.get(one).into_iter().flatten().copied() {
                    if role == *member {
                        return Err(RolesError::Circle((*member).to_owned()));
                    }
                    if reached.insert(role.to_owned()) {
                        waiting.push(role);
                        steps += 1;
                    }
                    if steps > STEPS_LIMIT {
                        return Err(RolesError::Many);
                    }
                }
            }
            closed.insert((*member).to_owned(), reached);
        }
        Ok(Self(closed))
    }

    /// The roles of a member.
    pub(in crate::policy) fn of(&self, member: &str) -> impl Iterator<Item = &str> {
        self.0.get(member).into_iter().flatten().map(String::as_str)
    }
}

/// Of all members together: a hundred thousand people with ten roles each. A ladder of some thousand roles has as many.
const STEPS_LIMIT: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_that_would_fill_the_memory_is_refused() {
        let names: Vec<String> = (0..1_500).map(|number| format!("role:r{number}")).collect();
        let pairs = names.windows(2).filter_map(|two| Some((two.first()?, two.last()?)));
        let pairs: Vec<(&str, &str)> = pairs.map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(Roles::close(&pairs).err(), Some(RolesError::Many));
        let short = pairs.get(..100).unwrap_or_default();
        assert_eq!(Roles::close(short).unwrap().of("role:r0").count(), 100);
    }
}
