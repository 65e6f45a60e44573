//! Which roles a user, a group or a role leads to, over any number of steps.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Every role that each member reaches.
#[derive(Debug, Default)]
pub(in crate::policy) struct Roles(BTreeMap<String, BTreeSet<String>>);

impl Roles {
    /// Follows pairs of member and role; a role that reaches itself is an error, which names it.
    pub(in crate::policy) fn close(pairs: &[(&str, &str)]) -> Result<Self, String> {
        let mut direct: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (member, role) in pairs {
            direct.entry(member).or_default().push(role);
        }
        let mut closed = BTreeMap::new();
        for member in direct.keys() {
            let mut reached = BTreeSet::new();
            let mut waiting = vec![*member];
            while let Some(one) = waiting.pop() {
                for role in direct.get(one).into_iter().flatten().copied() {
                    if role == *member {
                        return Err((*member).to_owned());
                    }
                    if reached.insert(role.to_owned()) {
                        waiting.push(role);
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
