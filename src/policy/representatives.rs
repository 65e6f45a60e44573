//! Paths and versions that stand for all others: made from every pattern and every limit of a policy, so that what is
//! shown with them does not depend on what an author thought of.

use std::collections::BTreeSet;

use crate::goproxy::path::ModulePath;
use crate::goproxy::pattern::Prefix;
use crate::goproxy::version::Version;
use crate::policy::rule;
use crate::policy::rule::Rule;

/// For each pattern and each private prefix: itself, one level below, a sibling with a longer name, other letter case,
/// and everything above. A wildcard is filled in two ways, so that what another row says of one of them hides nothing.
pub(in crate::policy) fn paths<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    private: &[Prefix],
) -> BTreeSet<String> {
    let mut paths = BTreeSet::from(["representative.example/module".to_owned()]);
    let of_rules = rules.filter_map(|rule| rule.target.split_once(' ')).map(|(_, pattern)| pattern);
    for pattern in of_rules.chain(private.iter().map(Prefix::as_str)) {
        around(&pattern.replace('*', "x").replace('?', "y"), &mut paths);
        if pattern.contains(['*', '?']) {
            around(&pattern.replace('*', "representative").replace('?', "z"), &mut paths);
        }
    }
    paths.retain(|path| ModulePath::parse(path).is_ok());
    paths
}

fn around(path: &str, paths: &mut BTreeSet<String>) {
    let cased = match path.split_once('/') {
        Some((host, rest)) => format!("{host}/{}", rest.to_ascii_uppercase()),
        None => path.to_owned(),
    };
    paths.extend([format!("{path}/below"), format!("{path}2"), cased]);
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    paths.extend(ends.filter_map(|end| path.get(..end)).map(str::to_owned));
}

/// No version, an ordinary one, a prerelease and a pseudo-version; and for each limit: itself, what stands beside it.
/// The rows are those about one path: those of others tell none of its versions apart, and there may be thousands.
pub(in crate::policy) fn versions<'a>(rules: impl Iterator<Item = &'a Rule>) -> BTreeSet<String> {
    let always = ["", "v1.0.0", "v1.0.0-rc.1", "v0.0.0-20240102030405-0123456789ab"];
    let mut versions: BTreeSet<String> = always.iter().map(|&text| text.to_owned()).collect();
    for limit in rules.flat_map(|rule| rule::limits(&rule.range)) {
        let release = limit.split(['-', '+']).next().unwrap_or_default();
        versions.insert(format!("{release}-0"));
        if let Some((minor, patch)) = release.rsplit_once('.')
            && let Ok(patch) = patch.parse::<u64>()
        {
            versions.insert(format!("{minor}.{}", patch.saturating_add(1)));
            versions.insert(format!("{minor}.{}", patch.saturating_sub(1)));
        }
        versions.insert(limit.to_owned());
    }
    versions.retain(|text| text.is_empty() || Version::parse(text).is_ok());
    versions
}
