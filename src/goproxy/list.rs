//! Lists of versions: only lines that a `go` command could use are kept, in Go's order, so that the same versions
//! give the same bytes whatever order an upstream sends them in.

use std::fmt::Write as _;

use crate::clock::is_rfc3339;
use crate::goproxy::path::ModulePath;
use crate::goproxy::version::Version;

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// A canonical version that fits the module.
    pub version: Version,
    /// Its time, if the upstream gave one that can be read (RFC 3339).
    pub time: Option<String>,
}

/// Reads a list. Lines that are no version of this module are left out; doubles count once.
pub fn read(bytes: &[u8], path: &ModulePath) -> Vec<Line> {
    let mut lines: Vec<Line> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let version = Version::parse(fields.next()?).ok()?;
            let time = fields.next().filter(|time| is_rfc3339(time)).map(str::to_owned);
            version.fits(path).then_some(Line { version, time })
        })
        .collect();
    // of doubles the one with a time stays, and the earliest of those, in whatever order they came
    lines.sort_by(|a, b| {
        let times = || (a.time.is_none(), &a.time).cmp(&(b.time.is_none(), &b.time));
        a.version.cmp(&b.version).then_with(times)
    });
    lines.dedup_by(|later, earlier| later.version == earlier.version);
    lines
}

/// Writes a list: one version a line, its time after a blank if there is one.
pub fn render(lines: &[Line]) -> String {
    let mut text = String::with_capacity(lines.len() * 16);
    for Line { version, time } in lines {
        // writing to a string cannot fail
        let _written = match time {
            Some(time) => writeln!(text, "{version} {time}"),
            None => writeln!(text, "{version}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path() -> ModulePath {
        ModulePath::parse("example.com/lib").unwrap()
    }

    #[test]
    fn only_lines_a_go_command_could_use_are_kept_and_sorted() {
        let raw = "v1.10.0\r\nv1.9.0 2024-01-02T03:04:05Z\n\njunk\nv2.0.0\nv1.0\nv1.9.0\n\
                   v0.0.0-20240102030405-0123456789ab\nv2.0.0+incompatible\nv1.9.1 yesterday\nv1.9.0-rc.1";
        let expected = "v0.0.0-20240102030405-0123456789ab\nv1.9.0-rc.1\nv1.9.0 2024-01-02T03:04:05Z\n\
                        v1.9.1\nv1.10.0\nv2.0.0+incompatible\n";
        assert_eq!(render(&read(raw.as_bytes(), &path())), expected);
    }

    proptest! {
        #[test]
        fn a_rendered_list_reads_as_itself_and_nothing_panics(bytes in any::<Vec<u8>>(), text in "(v[01]\\.[0-9]\\.[0-9]\n){0,8}") {
            let lines = read(text.as_bytes(), &path());
            prop_assert_eq!(read(render(&lines).as_bytes(), &path()), lines);
            let _any = read(&bytes, &path());
        }

        #[test]
        fn the_order_of_an_upstream_does_not_show(lines in Just(DOUBLES.to_vec()).prop_shuffle()) {
            let expected = "v1.0.0 2023-01-02T03:04:05Z\nv1.1.0\nv2.0.0+incompatible\n";
            prop_assert_eq!(render(&read(lines.join("\n").as_bytes(), &path())), expected);
        }
    }

    const DOUBLES: [&str; 6] = [
        "v1.0.0",
        "v1.0.0 2024-01-02T03:04:05Z",
        "v1.0.0 2023-01-02T03:04:05Z",
        "v1.1.0 yesterday",
        "v1.1.0",
        "v2.0.0+incompatible \r",
    ];
}
