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
        let own = connection.search(member, Scope::Base, "(objectClass=*)", &["memberOf"]).await?;
        let listed = own.into_iter().flat_map(|entry| values(entry, "memberOf"));
        for dn in listed.collect::<Vec<_>>() {
            let read = connection
                .search(&dn, Scope::Base, "(objectClass=*)", &[settings.name.as_str()])
                .await?;
            groups.extend(read.into_iter().filter_map(|entry| named(entry, &settings.name)));
        }
    }
    Ok(groups)
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
