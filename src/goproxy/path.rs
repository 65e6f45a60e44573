//! Module paths: Go's rules for them, exactly.

use std::fmt;
use std::sync::Arc;

use crate::goproxy::escape;

/// Which rule a module path breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Upper-case letters that are not case-encoded, a stray `!`, or bytes that are not ASCII.
    #[error("the case-encoding of the module path is wrong: write !a for A")]
    Escape,
    /// Nothing at all.
    #[error("a module path cannot be empty")]
    Empty,
    /// An empty element, or one that is only dots.
    #[error("a module path has no empty element and none of dots alone")]
    Element,
    /// A dot at an end of an element.
    #[error("no element of a module path begins or ends with a dot")]
    Dot,
    /// A dash before everything.
    #[error("a module path does not begin with a dash")]
    Dash,
    /// A character outside `A-Z a-z 0-9 - . _ ~`.
    #[error("a module path holds only letters, digits and - . _ ~")]
    Character,
    /// A name that some file system gives another meaning.
    #[error("an element of the module path is a reserved name: rename it")]
    Reserved,
    /// A first element without a dot, or with other characters than a host has.
    #[error("a module path begins with a host: in lower case, with a dot")]
    Host,
    /// `/v1`, `/v02`, `/v2.0`; or a `gopkg.in` path without `.vN`.
    #[error("the major suffix of the path is wrong: /v2 or above, gopkg.in .vN")]
    Major,
    /// Longer than any host would serve.
    #[error("the module path is too long")]
    TooLong,
}

/// A module path in its decoded form, such as `example.com/Upper/lib/v2`. Well-formed by construction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModulePath(Arc<str>);

impl ModulePath {
    /// Checks a decoded path (Go's `module.CheckPath`).
    pub fn parse(decoded: &str) -> Result<Self, PathError> {
        check(decoded)?;
        Ok(Self(Arc::from(decoded)))
    }

    /// Decodes the case-encoding, then checks.
    pub fn unescape(escaped: &str) -> Result<Self, PathError> {
        Self::parse(&escape::unescape(escaped).ok_or(PathError::Escape)?)
    }

    /// The decoded path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The case-encoded path.
    pub fn escaped(&self) -> String {
        escape::escape(&self.0)
    }

    /// Its elements, first to last.
    pub fn elements(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// The path without its major version suffix, and the suffix: nothing, `/vN`, `.vN` or `.vN-unstable`.
    pub fn split_major(&self) -> (&str, &str) {
        split_major(&self.0).unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn check(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > PATH_LIMIT_BYTES {
        return Err(PathError::TooLong);
    }
    if path.starts_with('-') {
        return Err(PathError::Dash);
    }
    for element in path.split('/') {
        check_element(element)?;
    }
    let host = path.split('/').next().unwrap_or_default();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if !host.contains('.') || !host.bytes().all(plain) {
        return Err(PathError::Host);
    }
    split_major(path).map(|_| ()).ok_or(PathError::Major)
}

fn check_element(element: &str) -> Result<(), PathError> {
    if element.bytes().all(|byte| byte == b'.') {
        return Err(PathError::Element);
    }
    if element.starts_with('.') || element.ends_with('.') {
        return Err(PathError::Dot);
    }
    if !element.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
        return Err(PathError::Character);
    }
    let short = element.split('.').next().unwrap_or_default();
    let tail = short.rsplit_once('~').map_or("", |(_, tail)| tail);
    let windows_short = !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit());
    if is_device(short) || windows_short {
        return Err(PathError::Reserved);
    }
    Ok(())
}

/// Names that are devices on Windows, in any case and with any extension.
pub(in crate::goproxy) fn is_device(short: &str) -> bool {
    let upper = short.to_ascii_uppercase();
    match upper.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" => true,
        name => {
            let number = name.strip_prefix("COM").or_else(|| name.strip_prefix("LPT"));
            number.is_some_and(|n| n.len() == 1 && matches!(n.as_bytes(), [b'1'..=b'9']))
        }
    }
}

/// Go's `module.SplitPathVersion`; `None` if the suffix is malformed.
fn split_major(path: &str) -> Option<(&str, &str)> {
    if path.starts_with("gopkg.in/") {
        return split_gopkg(path);
    }
    let Some((prefix, last)) = path.rsplit_once('/') else { return Some((path, "")) };
    let Some(number) = last.strip_prefix('v') else { return Some((path, "")) };
    let numeric = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if number.is_empty() || !numeric {
        return Some((path, ""));
    }
    if number.contains('.') || number.starts_with('0') || number == "1" {
        return None;
    }
    Some((prefix, path.get(prefix.len()..)?))
}

fn split_gopkg(path: &str) -> Option<(&str, &str)> {
    let stable = path.strip_suffix("-unstable").unwrap_or(path);
    let (prefix, number) = stable.rsplit_once(".v")?;
    let numeric = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // `.v0` is a suffix, `.v0-unstable` is none
    let bare_zero = number == "0" && stable.len() == path.len();
    if !numeric || (number.starts_with('0') && !bare_zero) {
        return None;
    }
    Some((prefix, path.get(prefix.len()..)?))
}

/// Case-encoded it may double; file systems and object stores end at about a thousand.
const PATH_LIMIT_BYTES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goproxy::vectors::rows;
    use proptest::prelude::*;

    #[test]
    fn every_path_of_the_table_gets_its_verdict_its_encoding_and_its_suffix() {
        for row in rows("module/paths.tsv") {
            let [path, verdict, _import, escaped, prefix, major] = row.as_slice() else {
                panic!("{row:?}")
            };
            let parsed = ModulePath::parse(path);
            assert_eq!(parsed.is_ok(), verdict == "ok", "{path}: {parsed:?}");
            let Ok(parsed) = parsed else { continue };
            assert_eq!(parsed.escaped(), *escaped, "{path}");
            let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            let (found_prefix, found_major) = parsed.split_major();
            assert_eq!(
                (found_prefix, dash(found_major)),
                (prefix.as_str(), major.clone()),
                "{path}"
            );
        }
    }

    #[test]
    fn an_unstable_suffix_of_gopkg_has_a_number_above_zero() {
        for (path, good) in [
            ("gopkg.in/yaml.v0", true),
            ("gopkg.in/yaml.v2-unstable", true),
            ("gopkg.in/yaml.v0-unstable", false),
            // go's library lets this one through, but no version fits it
            ("gopkg.in/yaml.v-unstable", false),
        ] {
            assert_eq!(ModulePath::parse(path).is_ok(), good, "{path}");
        }
    }

    #[test]
    fn every_escaped_path_of_the_table_gets_its_verdict() {
        for row in rows("module/unescape_path.tsv") {
            let [escaped, verdict, path] = row.as_slice() else { panic!("{row:?}") };
            let parsed = ModulePath::unescape(escaped);
            assert_eq!(parsed.is_ok(), verdict == "ok", "{escaped}: {parsed:?}");
            if let Ok(parsed) = parsed {
                assert_eq!(parsed.as_str(), path);
            }
        }
    }

    proptest! {
        #[test]
        fn a_path_survives_its_encoding(path in "[a-z]{1,5}\\.[a-z]{2}(/[A-Za-z0-9_~-]{1,8}){0,4}") {
            if let Ok(parsed) = ModulePath::parse(&path) {
                prop_assert_eq!(ModulePath::unescape(&parsed.escaped()), Ok(parsed));
            }
        }

        #[test]
        fn nothing_makes_the_check_panic(path in any::<String>()) {
            let _any = ModulePath::parse(&path);
            let _any = ModulePath::unescape(&path);
        }
    }
}
