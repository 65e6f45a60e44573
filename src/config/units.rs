//! One value at a time: a text into what the program uses, or what would do instead.

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use crate::config::problem::Wrong;
use crate::config::problem::nearest;
use crate::config::secret::Secret;

/// Any text that can stand in a line.
pub(in crate::config) fn text(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Wrong::value(
            text,
            "is empty or holds control characters",
            "write a plain text",
        ));
    }
    Ok(text.to_owned())
}

/// `ADDRESS:PORT`; port 0 is any free one.
pub(in crate::config) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let remedy = "write ADDRESS:PORT, such as 127.0.0.1:8443 or [::1]:8443";
        Wrong::value(text, "is no address with a port", remedy)
    })
}

/// A time: more than none, a year at most.
pub(in crate::config) fn duration(text: &str) -> Result<Duration, Wrong> {
    let remedy = "write a number with a unit, such as \"300ms\", \"30s\", \"10m\" or \"24h\"";
    let time =
        humantime::parse_duration(text).map_err(|_| Wrong::value(text, "is no time", remedy))?;
    if time.is_zero() || time > LONGEST {
        return Err(Wrong::value(text, "is no time between 1 ns and 366 days", remedy));
    }
    Ok(time)
}

/// Bytes, as a number or with a unit. `KB`, `MB` and `GB` are powers of 1000, `KiB` and so on of 1024.
pub(in crate::config) fn bytes(text: &str) -> Result<u64, Wrong> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let scale: Option<u64> = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    };
    let remedy = "write a number with a unit, such as \"64 KiB\", \"256 MiB\" or \"2 GiB\"";
    number
        .parse()
        .ok()
        .zip(scale)
        .and_then(|(number, scale): (u64, u64)| number.checked_mul(scale))
        .filter(|bytes| (1..=LARGEST_BYTES).contains(bytes))
        .ok_or_else(|| Wrong::value(text, "is no size", remedy))
}

/// A number from 1 to `most`.
pub(in crate::config) fn count<T>(most: T) -> impl Fn(&str) -> Result<T, Wrong>
where
    T: FromStr + PartialOrd + From<u8> + std::fmt::Display + Copy,
{
    move |text| {
        let good = text.parse().ok().filter(|number| *number >= T::from(1) && *number <= most);
        good.ok_or_else(|| {
            Wrong::value(text, "is no number in range", format!("write a number from 1 to {most}"))
        })
    }
}

/// A share from 0 to 1.
pub(in crate::config) fn share(text: &str) -> Result<f64, Wrong> {
    let good = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    good.ok_or_else(|| {
        Wrong::value(text, "is no share", "write a number from 0 to 1, such as 0.05")
    })
}

/// `true` or `false`.
pub(in crate::config) fn switch(text: &str) -> Result<bool, Wrong> {
    text.parse().map_err(|_| Wrong::value(text, "is no switch", "write true or false"))
}

/// One word of a closed set.
pub(in crate::config) fn one_of<T: Copy>(
    all: &'static [T],
    word: fn(T) -> &'static str,
) -> impl Fn(&str) -> Result<T, Wrong> {
    move |text| {
        all.iter().copied().find(|one| word(*one) == text).ok_or_else(|| {
            let words: Vec<&str> = all.iter().copied().map(word).collect();
            let meant = nearest(text, words.iter().copied());
            let hint = meant.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
            let remedy = format!("write one of {}{hint}", words.join(", "));
            Wrong::value(text, "is none of the words", remedy)
        })
    }
}

/// An `http` or `https` URL without credentials, query or fragment.
pub(in crate::config) fn url(text: &str) -> Result<Url, Wrong> {
    let url = any_url(text)?;
    if url.scheme() == "http" || url.scheme() == "https" {
        return Ok(url);
    }
    Err(Wrong::value(text, "is no http or https URL", "write https://HOST or http://HOST"))
}

/// A URL of any scheme. What may hold a password is refused without being repeated.
pub(in crate::config) fn any_url(text: &str) -> Result<Url, Wrong> {
    if text.contains('@') {
        return Err(Wrong::new(
            "a URL must not hold credentials: URLs are printed",
            "take the part before @ out; upstreams have username and password_file",
        ));
    }
    let remedy = "write scheme, host and path, such as https://goproxy.example/go";
    let url = Url::parse(text).map_err(|_| Wrong::value(text, "is no URL", remedy))?;
    if url.query().is_some() || url.fragment().is_some() {
        // a query may be a key to the house
        return Err(Wrong::new("a URL must not hold ? or #", remedy));
    }
    Ok(url)
}

/// A name of an upstream or an issuer: it becomes a label, a part of principals, and a part of variables.
pub(in crate::config) fn name(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let reserved = ["direct", "off", "noproxy"].contains(&text);
    let edge = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > NAME_BYTES || reserved || edge || !text.bytes().all(plain) {
        let remedy = "write up to 32 of a-z, 0-9 and -, such as \"inner\"; not direct or off";
        return Err(Wrong::value(text, "is no name", remedy));
    }
    Ok(text.to_owned())
}

/// The name of a machine, as it may stand in a header.
pub(in crate::config) fn node(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || text.len() > NODE_BYTES || !text.bytes().all(plain) {
        let remedy = "write up to 64 letters, digits, - . and _, such as \"gate-1\"";
        return Err(Wrong::value(text, "is no name of a node", remedy));
    }
    Ok(text.to_owned())
}

/// A host name or address without scheme, port and path.
pub(in crate::config) fn host(text: &str) -> Result<String, Wrong> {
    let parsed = Url::parse(&format!("https://{text}/"));
    let same = parsed.is_ok_and(|url| url.host_str() == Some(text));
    if !same || text.contains('*') {
        let remedy =
            "write a host in lower case without scheme, port and path, such as cdn.example";
        return Err(Wrong::value(text, "is no host", remedy));
    }
    Ok(text.to_owned())
}

/// A network: `loopback`, `private`, or a range such as `10.20.0.0/16`.
pub(in crate::config) fn networks(text: &str) -> Result<Vec<IpNet>, Wrong> {
    let words: &[&str] = match text {
        "loopback" => &["127.0.0.0/8", "::1/128"],
        "private" => &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
        range => &[range],
    };
    let read = |word: &&str| {
        word.parse().map_err(|_| {
            let remedy = "write loopback, private, or a range such as 10.20.0.0/16";
            Wrong::value(word, "is no network", remedy)
        })
    };
    words.iter().map(read).collect()
}

/// A path; whether anything is there is another question.
pub(in crate::config) fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() || text.contains('\0') {
        return Err(Wrong::value(text, "is no path", "write a path"));
    }
    Ok(PathBuf::from(text))
}

/// A file that must be there when we start.
pub(in crate::config) fn file(text: &str) -> Result<PathBuf, Wrong> {
    let path = path(text)?;
    if path.is_file() {
        return Ok(path);
    }
    Err(Wrong::value(text, "is no file that can be found", "write the path of a file"))
}

/// A directory that must be there when we start.
pub(in crate::config) fn directory(text: &str) -> Result<PathBuf, Wrong> {
    let path = path(text)?;
    if path.is_dir() {
        return Ok(path);
    }
    let remedy = "write the path of a directory";
    Err(Wrong::value(text, "is no directory that can be found", remedy))
}

/// What stands before module paths: nothing, or `/segments` without a slash at the end.
pub(in crate::config) fn base_path(text: &str) -> Result<String, Wrong> {
    let base = text.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let good =
        |segment: &str| !["", ".", "..", "-"].contains(&segment) && segment.bytes().all(plain);
    let rest = base.strip_prefix('/');
    if base.is_empty() || rest.is_some_and(|rest| rest.split('/').all(good)) {
        return Ok(base.to_owned());
    }
    Err(Wrong::value(text, "is no path of a URL", "write / or a path such as \"/go\""))
}

/// The secret in a file: text without a newline at its end.
pub(in crate::config) fn secret_file(path: &Path) -> Result<Secret<String>, Wrong> {
    // the path is not repeated: it may be the secret itself, put into the wrong key
    let unreadable = |error: std::io::Error| {
        Wrong::new(format!("cannot be read: {error}"), "name a file that holds the secret")
    };
    let opened = std::fs::File::open(path).map_err(unreadable)?;
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode();
    refuse_open(path, mode)?;
    let mut text = String::new();
    opened.take(SECRET_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    let long = text.len() as u64 > SECRET_BYTES;
    if secret.is_empty() || long || secret.chars().any(char::is_control) {
        let shown = path.display().to_string();
        let remedy = "write the secret alone into the file, as one line of at most 4 KiB";
        return Err(Wrong::value(&shown, "holds no single line of text", remedy));
    }
    Ok(secret.to_owned().into())
}

/// Refuses a file that everybody on this machine may read.
pub(in crate::config) fn not_for_everybody(path: &Path) -> Result<(), Wrong> {
    match std::fs::metadata(path) {
        Ok(found) => refuse_open(path, found.permissions().mode()),
        // it has just been read: if it is gone now, nobody can read it
        Err(_) => Ok(()),
    }
}

fn refuse_open(path: &Path, mode: u32) -> Result<(), Wrong> {
    if mode & READ_BY_OTHERS == 0 {
        return Ok(());
    }
    let shown = path.display().to_string();
    let remedy = format!("run: chmod o-rwx {shown}; in Kubernetes set defaultMode: 0440");
    Err(Wrong::value(&shown, "holds a secret and everybody on this machine may read it", remedy))
}

/// The bit of a mode that lets everybody read.
const READ_BY_OTHERS: u32 = 0o004;
/// A year, and a leap day.
const LONGEST: Duration = Duration::from_hours(366 * 24);
/// 1 TiB: more is a mistake of units.
const LARGEST_BYTES: u64 = 1 << 40;
/// A label that fits a table.
const NAME_BYTES: usize = 32;
/// The longest host label there is, and one.
const NODE_BYTES: usize = 64;
/// Passwords and tokens are shorter.
const SECRET_BYTES: u64 = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_have_units_and_limits() {
        let table = [
            ("256 MiB", Some(256 << 20)),
            ("256MiB", Some(256 << 20)),
            ("64 kib", Some(64 << 10)),
            ("5 MB", Some(5_000_000)),
            ("1024", Some(1024)),
            ("12 B", Some(12)),
            ("0", None),
            ("", None),
            ("MiB", None),
            ("1.5 GiB", None),
            ("-1", None),
            ("5 MiBs", None),
            ("2000 GiB", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn times_have_units_and_are_more_than_nothing() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for text in ["0s", "30", "", "-1s", "1000 days", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_with_credentials_is_refused_and_not_repeated() {
        for text in ["https://u:hunter2@a.example", "https://hunter2@a.example/?x", "u:hunter2@"] {
            let wrong = url(text).unwrap_err();
            assert!(!format!("{wrong:?}").contains("hunter2"));
        }
        let wrong = url("https://a.example/?key=hunter2").unwrap_err();
        assert!(!format!("{wrong:?}").contains("hunter2"));
        assert!(url("ftp://a.example").is_err());
        assert!(url("https://a.example/go").is_ok());
    }

    #[test]
    fn a_base_path_has_no_slash_at_its_end_and_nothing_that_climbs() {
        assert_eq!(base_path("/").as_deref(), Ok(""));
        assert_eq!(base_path("").as_deref(), Ok(""));
        assert_eq!(base_path("/go/").as_deref(), Ok("/go"));
        for text in ["go", "/a//b", "/../x", "/-", "/a b", "/%61"] {
            assert!(base_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_things_are_plain() {
        for good in ["inner", "a-1"] {
            assert!(name(good).is_ok());
        }
        for bad in ["", "off", "direct", "A", "a.b", "a_b", "-a", "a-", "ü", &"x".repeat(33)] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert!(host("cdn.example").is_ok() && host("127.0.0.1").is_ok());
        for bad in ["https://a.example", "a.example:1", "a/b", "A.example", "", "*"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,40}") {
            let _ = (bytes(&text).is_ok(), duration(&text).is_ok(), any_url(&text).is_ok());
            let _ = (base_path(&text).is_ok(), name(&text).is_ok(), host(&text).is_ok());
            let _ = (address(&text).is_ok(), share(&text).is_ok(), node(&text).is_ok());
        }
    }
}
