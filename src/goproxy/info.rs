//! Infos: the JSON that says which version something is. They are checked and then passed on byte by byte, since
//! writing them anew would lose the origin and change the time's form.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::clock::is_rfc3339;
use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;

/// What an info must name.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// This version and no other.
    Exactly(&'a Version),
    /// Any version that fits the module.
    Any,
}

/// What is read of an info.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The version it names.
    pub version: Version,
}

/// Why bytes are no info, or not the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// Not a JSON object with a `Version`.
    #[error("it is not a JSON object with a Version")]
    Json,
    /// A member that the go command takes for `Version` or `Time` too, since it ignores case.
    #[error("it has a member that differs from Version or Time in case only")]
    Twice,
    /// A version that is not canonical or cannot belong to the module.
    #[error("it names a version that this module cannot have")]
    Version,
    /// Another version than was asked for.
    #[error("it names {0}")]
    Other(Version),
    /// A time that the go command would not read.
    #[error("its Time is not RFC 3339")]
    Time,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "Version")]
    version: String,
    #[serde(rename = "Time", default)]
    time: Option<String>,
    #[serde(flatten)]
    #[expect(clippy::zero_sized_map_values, reason = "serde flattens into maps, not into sets")]
    others: HashMap<String, IgnoredAny>,
}

/// Checks an info against what was asked.
pub fn check(bytes: &[u8], path: &ModulePath, asked: Asked<'_>) -> Result<Info, InfoError> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|_| InfoError::Json)?;
    if raw.others.keys().any(|name| is_like(name, "version") || is_like(name, "time")) {
        return Err(InfoError::Twice);
    }
    if raw.time.is_some_and(|time| !is_rfc3339(&time)) {
        return Err(InfoError::Time);
    }
    let version = Version::parse(&raw.version).ok().filter(|version| version.fits(path));
    let version = version.ok_or(InfoError::Version)?;
    match asked {
        Asked::Exactly(wanted) if *wanted != version => Err(InfoError::Other(version)),
        Asked::Exactly(_) | Asked::Any => Ok(Info { version }),
    }
}

/// Whether Go's JSON reader takes a name for another one, which is given in lower case. The long s, which folds
/// to `s`, is the only letter outside ASCII that folds to one of these two names.
fn is_like(name: &str, lower: &str) -> bool {
    let fold = |letter: char| if letter == '\u{17f}' { 's' } else { letter.to_ascii_lowercase() };
    name.chars().map(fold).eq(lower.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_info_names_what_was_asked_or_is_refused() {
        let path = ModulePath::parse("example.com/lib").unwrap();
        let asked = Version::parse("v1.2.3").unwrap();
        let exactly =
            |text: &str| check(text.as_bytes(), &path, Asked::Exactly(&asked)).map(|_| ());
        let any = |text: &str| {
            check(text.as_bytes(), &path, Asked::Any).map(|info| info.version.to_string())
        };
        assert_eq!(
            exactly(r#"{"Version":"v1.2.3","Time":"2024-01-02T03:04:05Z","Origin":{}}"#),
            Ok(())
        );
        assert_eq!(exactly(r#"{"Version":"v1.2.3"}"#), Ok(()));
        assert_eq!(
            exactly(r#"{"Version":"v1.2.4"}"#),
            Err(InfoError::Other(Version::parse("v1.2.4").unwrap()))
        );
        assert_eq!(exactly(r#"{"Version":"v1.2.3","Time":"yesterday"}"#), Err(InfoError::Time));
        assert_eq!(exactly(r#"{"version":"v1.2.3"}"#), Err(InfoError::Json));
        assert_eq!(exactly(r#"{"Version":"v1.2.3","Version":"v1.2.3"}"#), Err(InfoError::Json));
        for text in ["", "[]", "{", "null", "<html>", r#"{"Version":5}"#, "\u{feff}{}"] {
            assert_eq!(exactly(text), Err(InfoError::Json), "{text}");
        }
        assert_eq!(
            any(r#"{"Version":"v0.0.0-20240102030405-0123456789ab"}"#).unwrap(),
            "v0.0.0-20240102030405-0123456789ab"
        );
        for text in ["main", "v1.2", "v2.0.0", "v1.0.0+meta"] {
            assert_eq!(
                any(&format!(r#"{{"Version":"{text}"}}"#)),
                Err(InfoError::Version),
                "{text}"
            );
        }
    }

    #[test]
    fn a_name_that_go_takes_for_the_version_too_is_refused() {
        let path = ModulePath::parse("example.com/lib").unwrap();
        for name in ["version", "VERSION", "vERSION", "Ver\u{17f}ion", "time", "TIME"] {
            for text in [
                format!(r#"{{"Version":"v1.0.0","{name}":"v1.9.0"}}"#),
                format!(r#"{{"{name}":"v1.9.0","Version":"v1.0.0"}}"#),
            ] {
                assert_eq!(
                    check(text.as_bytes(), &path, Asked::Any),
                    Err(InfoError::Twice),
                    "{text}"
                );
            }
        }
        let harmless = r#"{"Version":"v1.0.0","Origin":{"version":1},"Versions":2,"Timé":3}"#;
        assert!(check(harmless.as_bytes(), &path, Asked::Any).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_the_check_panic(bytes: Vec<u8>, text in "[\\[{\",:}\\]a-zA-Z0-9.\\\\]{0,60}") {
            let path = ModulePath::parse("example.com/lib").unwrap();
            let _any = check(&bytes, &path, Asked::Any);
            let _any = check(text.as_bytes(), &path, Asked::Any);
        }
    }
}
