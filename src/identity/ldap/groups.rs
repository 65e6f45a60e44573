//! Groups of somebody who was found: direct ones, and those reached through groups, without walking in circles.

use std::collections::BTreeSet;

use ldap3::Scope;
use ldap3::SearchEntry;
use ldap3::ldap_escape;

use crate::config::ldap::GroupMode;
use crate::config::ldap::Groups;
use crate::identity::ldap::connection::Connection;
use crate::identity::ldap::connection::Lost;

/// A group by its name, and how it was reached: the name of the group below it; `None` for a direct one.
pub(in crate::identity::ldap) struct Reached {
    pub(in crate::identity::ldap) name: String,
    pub(in crate::identity::ldap) through: Option<String>,
}

/// All groups of a DN. Two groups with one name make it nobody's: which of them a rule means cannot be known.
pub(in crate::identity::ldap) async fn of(
    connection: &mut Connection,
    settings: &Groups,
    dn: &str,
) -> Result<Vec<Reached>, Lost> {
    let mut found: Vec<Reached> = Vec::new();
    let mut seen = BTreeSet::from([dn.to_lowercase()]);
    let mut level: Vec<(String, Option<String>)> = vec![(dn.to_owned(), None)];
    for _step in 0..settings.nested_depth {
        let mut next = Vec::new();
        for (member, through) in &level {
            for (group, name) in above(connection, settings, member).await? {
                if found.len() >= GROUPS_LIMIT {
                    tracing::warn!(dn, "over 10,000 groups: the rest is left out");
                    return Ok(unambiguous(found));
                }
                if seen.insert(group.to_lowercase()) {
                    found.push(Reached { name: name.clone(), through: through.clone() });
                    next.push((group, Some(name)));
                }
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    Ok(unambiguous(found))
}

/// The groups one step above, as DN and name.
async fn above(
    connection: &mut Connection,
    settings: &Groups,
    member: &str,
) -> Result<Vec<(String, String)>, Lost> {
    let mut groups = Vec::new();
    if matches!(settings.mode, GroupMode::Search | GroupMode::Both) {
        let filter = settings.filter.replace("{dn}", &ldap_escape(member));
        let found = connection
            .search(&settings.base, Scope::Subtree, &filter, &[settings.name.as_str()])
            .await?;
        groups.extend(found.into_iter().filter_map(|entry| named(entry, &settings.name)));
    }
    if matches!(settings.mode, GroupMode::MemberOf | GroupMode::Both) {
        for dn in member_of(connection, member).await? {
            let read = connection
                .search(&dn, Scope::Base, "(objectClass=*)", &[settings.name.as_str()])
                .await?;
            groups.extend(read.into_iter().filter_map(|entry| named(entry, &settings.name)));
        }
    }
    Ok(groups)
}

/// Everything in `memberOf`. Active Directory gives long lists in ranges, which are asked for one after the other.
async fn member_of(connection: &mut Connection, dn: &str) -> Result<Vec<String>, Lost> {
    let mut all = Vec::new();
    let mut asked = MEMBER_OF.to_owned();
    loop {
        let found = connection.search(dn, Scope::Base, "(objectClass=*)", &[&asked]).await?;
        let Some(entry) = found.into_iter().next() else { return Ok(all) };
        let (values, next) = range(entry);
        let more = !values.is_empty() && all.len() < GROUPS_LIMIT;
        all.extend(values);
        match next {
            Some(next) if more => asked = format!("{MEMBER_OF};range={next}-*"),
            _ => return Ok(all),
        }
    }
}

/// The values of `memberOf` in an entry, and where the next range begins, if there is one: `memberOf;range=0-1499`.
fn range(entry: SearchEntry) -> (Vec<String>, Option<usize>) {
    let (mut all, mut next) = (Vec::new(), None);
    for (name, values) in entry.attrs {
        let (name, options) = name.split_once(';').unwrap_or((&name, ""));
        if !name.eq_ignore_ascii_case(MEMBER_OF) {
            continue;
        }
        all.extend(values);
        let options = options.to_ascii_lowercase();
        let last = options.strip_prefix("range=").and_then(|range| range.split_once('-'));
        // the last range ends with a star
        let last = last.and_then(|(_, last)| last.parse::<usize>().ok());
        next = next.or_else(|| last.map(|last| last.saturating_add(1)));
    }
    (all, next)
}

fn named(entry: SearchEntry, attribute: &str) -> Option<(String, String)> {
    let dn = entry.dn.clone();
    values(entry, attribute).into_iter().next().map(|name| (dn, name))
}

/// The values of an attribute, whose name may be written in any case.
fn values(entry: SearchEntry, attribute: &str) -> Vec<String> {
    let mut found = entry.attrs.into_iter();
    found
        .find(|(name, _)| name.eq_ignore_ascii_case(attribute))
        .map(|(_, values)| values)
        .unwrap_or_default()
}

fn unambiguous(mut found: Vec<Reached>) -> Vec<Reached> {
    found.sort_by(|one, other| one.name.cmp(&other.name));
    let groups = found.chunk_by(|one, other| one.name == other.name);
    let twice: BTreeSet<String> = groups
        .filter_map(|same| same.get(1))
        .map(|twin| twin.name.clone())
        .inspect(|name| tracing::warn!(name, "several groups have this name: none of them counts"))
        .collect();
    found.retain(|group| !twice.contains(&group.name));
    found
}

/// More are a mistake.
const GROUPS_LIMIT: usize = 10_000;
/// The attribute of an entry that lists its groups.
const MEMBER_OF: &str = "memberOf";

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_range_says_where_the_next_one_begins_and_the_last_one_says_nothing() {
        let entry = |attributes: &[(&str, &[&str])]| SearchEntry {
            dn: String::new(),
            attrs: attributes
                .iter()
                .map(|(name, values)| {
                    ((*name).to_owned(), values.iter().map(|&value| value.to_owned()).collect())
                })
                .collect(),
            bin_attrs: HashMap::new(),
        };
        let texts = |values: &[&str]| values.iter().map(|&v| v.to_owned()).collect::<Vec<_>>();
        let first = entry(&[("memberOf", &[]), ("memberOf;range=0-1499", &["a", "b"])]);
        assert_eq!(range(first), (texts(&["a", "b"]), Some(1500)));
        let last = entry(&[("MEMBEROF;Range=1500-*", &["c"]), ("cn", &["x"])]);
        assert_eq!(range(last), (texts(&["c"]), None));
        assert_eq!(range(entry(&[("memberof", &["d"])])), (texts(&["d"]), None));
        assert_eq!(range(entry(&[("memberOf;lang-en", &["e"])])), (texts(&["e"]), None));
    }

    #[test]
    fn a_name_that_two_groups_have_is_nobodys() {
        let group = |name: &str| Reached { name: name.to_owned(), through: None };
        let left = unambiguous(vec![group("b"), group("a"), group("b"), group("c")]);
        assert_eq!(left.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    }
}
