//! Versions: Go's order and canonical forms, which are not quite those of semver.org; and queries for versions.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::goproxy::escape;
use crate::goproxy::path::ModulePath;
use crate::goproxy::path::is_device;
use crate::goproxy::pseudo;

/// Why a text is no canonical version or no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not `vMAJOR.MINOR.PATCH[-PRERELEASE][+incompatible]`.
    #[error("write the version as vMAJOR.MINOR.PATCH[-PRE][+incompatible]")]
    NotCanonical,
    /// A character no query holds, an empty one, dots alone, or a reserved name.
    #[error("no version, branch or tag can have this name here: ask by commit")]
    Query,
    /// Upper-case letters that are not case-encoded.
    #[error("the case-encoding of the version is wrong: write !a for A")]
    Escape,
}

/// The parts of a valid version, as slices of its text.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    major: &'a str,
    minor: &'a str,
    patch: &'a str,
    short: &'static str,
    prerelease: &'a str,
    build: &'a str,
}

/// A canonical version: it equals Go's `module.CanonicalVersion` of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// Reads a canonical version.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let canonical = module_canonical(text);
        if canonical.as_deref() == Some(text) && text.len() <= QUERY_LIMIT_BYTES {
            return Ok(Self(Arc::from(text)));
        }
        Err(VersionError::NotCanonical)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The case-encoded text.
    pub fn escaped(&self) -> String {
        escape::escape(&self.0)
    }

    /// Whether it can be a version of a module with this path (Go's `module.Check`).
    pub fn fits(&self, path: &ModulePath) -> bool {
        let (_, suffix) = path.split_major();
        let suffix = suffix.strip_suffix("-unstable").unwrap_or(suffix);
        if suffix == ".v1" && self.0.starts_with("v0.0.0-") {
            return true;
        }
        let major = self.major();
        match suffix.get(1..) {
            None | Some("") => matches!(major, "v0" | "v1") || self.is_incompatible(),
            Some(needed) => major == needed,
        }
    }

    /// Whether it names a commit without a tag.
    pub fn is_pseudo(&self) -> bool {
        pseudo::is_pseudo(&self.0)
    }

    /// Whether it has a prerelease part.
    pub fn is_prerelease(&self) -> bool {
        parts(&self.0).is_some_and(|parts| !parts.prerelease.is_empty())
    }

    /// Whether it is a major version from before modules.
    pub fn is_incompatible(&self) -> bool {
        self.0.ends_with("+incompatible")
    }

    /// `v` and the major number.
    pub fn major(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Ord for Version {
    /// Go's order; versions that differ only in build part are ordered by their text.
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a caller may put where a version belongs and is none: a branch, a tag, the beginning of a commit's hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query(Arc<str>);

impl Query {
    /// Reads a query: one file-name element of ASCII characters without `!`.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b" #$%&()+,-.=@[]^_{}~".contains(&b);
        let short = text.split('.').next().unwrap_or_default();
        let shaped = !text.bytes().all(|byte| byte == b'.') && !text.ends_with('.');
        if !shaped || text.len() > QUERY_LIMIT_BYTES || is_device(short) {
            return Err(VersionError::Query);
        }
        if text.bytes().all(legal) { Ok(Self(Arc::from(text))) } else { Err(VersionError::Query) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The case-encoded text.
    pub fn escaped(&self) -> String {
        escape::escape(&self.0)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Decodes the case-encoding of a version or query.
pub(in crate::goproxy) fn unescape(escaped: &str) -> Result<String, VersionError> {
    let decoded = escape::unescape(escaped).ok_or(VersionError::Escape)?;
    Query::parse(&decoded).map(|_| decoded)
}

/// Whether Go calls it a version: `v1` and `v1.2` are.
pub fn is_valid(text: &str) -> bool {
    parts(text).is_some()
}

/// Go's `semver.Canonical`: missing numbers added, the build part dropped. `None` if it is not valid.
pub fn canonical(text: &str) -> Option<String> {
    let parts = parts(text)?;
    let plain = text.strip_suffix(parts.build).unwrap_or(text);
    Some(format!("{plain}{}", parts.short))
}

/// Go's `module.CanonicalVersion`: the same, but `+incompatible` stays.
pub fn module_canonical(text: &str) -> Option<String> {
    let build = parts(text)?.build;
    let mut canonical = canonical(text)?;
    if build == "+incompatible" {
        canonical.push_str(build);
    }
    Some(canonical)
}

/// Go's `semver.Compare`: what is not valid is below everything that is; build parts do not count.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (parts(a), parts(b)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => number(a.major, b.major)
            .then_with(|| number(a.minor, b.minor))
            .then_with(|| number(a.patch, b.patch))
            .then_with(|| prerelease(a.prerelease, b.prerelease)),
    }
}

/// Decimal numbers of any length, without leading zeros.
fn number(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn prerelease(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        // a release is above its prereleases
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut a, mut b) = (identifiers(a), identifiers(b));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (is_number(a), is_number(b)) {
                (true, true) => number(a, b),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn identifiers(prerelease: &str) -> std::str::Split<'_, char> {
    prerelease.strip_prefix('-').unwrap_or(prerelease).split('.')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Takes a version apart, or says that it is none.
fn parts(text: &str) -> Option<Parts<'_>> {
    let rest = text.strip_prefix('v')?;
    let core_end = rest.find(['-', '+']).unwrap_or(rest.len());
    let (core, tail) = rest.split_at_checked(core_end)?;
    let build_at = tail.find('+').unwrap_or(tail.len());
    let (prerelease, build) = tail.split_at_checked(build_at)?;
    let mut numbers = core.split('.');
    let (major, minor, patch) = (numbers.next()?, numbers.next(), numbers.next());
    let plain = |n: &str| is_number(n) && (n == "0" || !n.starts_with('0'));
    let all = [Some(major), minor, patch].into_iter().flatten().all(plain);
    if !all || numbers.next().is_some() {
        return None;
    }
    let short = match (minor, patch) {
        (Some(_), Some(_)) => "",
        (Some(_), None) => ".0",
        (None, _) => ".0.0",
    };
    // a short form takes neither prerelease nor build part
    if !short.is_empty() && !tail.is_empty() {
        return None;
    }
    let named = |part: &str, mark: char| {
        part.is_empty()
            || part.strip_prefix(mark).is_some_and(|rest| rest.split('.').all(is_identifier))
    };
    let counted = |id: &str| !is_number(id) || id == "0" || !id.starts_with('0');
    if !named(prerelease, '-') || !named(build, '+') || !identifiers(prerelease).all(counted) {
        return None;
    }
    let (minor, patch) = (minor.unwrap_or("0"), patch.unwrap_or("0"));
    Some(Parts { major, minor, patch, short, prerelease, build })
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A branch name of a person; a pseudo-version has about sixty.
const QUERY_LIMIT_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goproxy::vectors::rows;
    use proptest::prelude::*;

    #[test]
    fn every_version_of_the_table_gets_its_verdicts_and_forms() {
        for row in rows("module/versions.tsv") {
            let [text, verdict, escaped, valid, canonical_form, module_form, pseudo] =
                row.as_slice()
            else {
                panic!("{row:?}")
            };
            let query = Query::parse(text);
            assert_eq!(query.is_ok(), verdict == "ok", "{text:?}");
            if let Ok(query) = query {
                assert_eq!(query.escaped(), *escaped);
            }
            let dash = |form: Option<String>| form.unwrap_or_else(|| "-".to_owned());
            assert_eq!(is_valid(text).to_string(), *valid, "{text:?}");
            assert_eq!(dash(canonical(text)), *canonical_form, "{text:?}");
            assert_eq!(dash(module_canonical(text)), *module_form, "{text:?}");
            assert_eq!(pseudo::is_pseudo(text).to_string(), *pseudo, "{text:?}");
        }
    }

    #[test]
    fn every_pair_of_the_table_is_ordered_as_go_orders_it() {
        for row in rows("module/semver_compare.tsv") {
            let [a, b, expected] = row.as_slice() else { panic!("{row:?}") };
            let found = compare(a, b);
            assert_eq!((found as i8).to_string(), *expected, "{a} {b}");
            assert_eq!(compare(b, a), found.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn every_check_of_the_table_comes_out_as_in_go() {
        for row in rows("module/check.tsv") {
            let [path, text, _check, both] = row.as_slice() else { panic!("{row:?}") };
            let found = match (ModulePath::parse(path), Version::parse(text)) {
                (Ok(path), Ok(version)) => version.fits(&path),
                _ => false,
            };
            assert_eq!(found.to_string(), *both, "{path} {text}");
        }
    }

    #[test]
    fn every_escaped_version_of_the_table_gets_its_verdict() {
        for row in rows("module/unescape_version.tsv") {
            let [escaped, verdict, text] = row.as_slice() else { panic!("{row:?}") };
            let decoded = unescape(escaped);
            assert_eq!(decoded.is_ok(), verdict == "ok", "{escaped}: {decoded:?}");
            if let Ok(decoded) = decoded {
                assert_eq!(decoded, *text);
            }
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in proptest::collection::vec("v[0-9]{1,3}\\.[0-9]\\.[0-9](-[a-b0-9.]{1,4})?(\\+incompatible)?", 3)) {
            let versions: Vec<_> = texts.iter().filter_map(|text| Version::parse(text).ok()).collect();
            if let [a, b, c] = versions.as_slice() {
                prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
                prop_assert_eq!(a.cmp(b) == Ordering::Equal, a == b);
                if a <= b && b <= c {
                    prop_assert!(a <= c);
                }
            }
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in any::<String>()) {
            let _any = (Version::parse(&text), Query::parse(&text), canonical(&text));
        }
    }
}
