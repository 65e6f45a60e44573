//! The configuration as text: the effective form with the origin of each value, and the example file.

use std::fmt::Write as _;

use crate::config::keys::Preset;
use crate::config::keys::SECTIONS;
use crate::config::keys::Section;
use crate::config::keys::Times;
use crate::config::source::Form;
use crate::config::source::Given;
use crate::config::source::Origin;

/// One value in force.
#[derive(Debug, Clone)]
pub(in crate::config) struct Shown {
    /// The table.
    pub(in crate::config) section: &'static Section,
    /// Which one of an array of tables.
    pub(in crate::config) element: Option<usize>,
    /// The key.
    pub(in crate::config) key: &'static str,
    /// As TOML, a secret masked; `None` if nothing is set.
    pub(in crate::config) value: Option<String>,
    /// Where it was written.
    pub(in crate::config) origin: Origin,
}

/// TOML that loads again (but for masked secrets), each line with its origin.
pub(in crate::config) fn effective(all: &[Shown]) -> String {
    let mut text = String::new();
    let mut header = (String::new(), None);
    let place = |path| SECTIONS.iter().position(|section| section.path == path);
    let mut all: Vec<&Shown> = all.iter().collect();
    all.sort_by_key(|shown| (place(shown.section.path), shown.element));
    for shown in all {
        let next = (shown.section.path.to_owned(), shown.element);
        if next != header {
            header = next;
            let _infallible = write!(text, "\n{}\n", title(shown.section));
        }
        let key = shown.key;
        let line = match &shown.value {
            Some(value) => format!("{key} = {value}"),
            None => format!("# {key} is not set"),
        };
        let _infallible = writeln!(text, "{line:COMMENT_COLUMN$} # {}", shown.origin);
    }
    text
}

fn title(section: &Section) -> String {
    match section.times {
        Times::Once => format!("[{}]", section.path),
        Times::Several => format!("[[{}]]", section.path),
    }
}

/// The example file: every key with its meaning and its default. A line that begins with `#` and a key shows a
/// value that is not the default.
pub fn example() -> String {
    let mut text = INTRODUCTION.to_owned();
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.doc);
        let mark = match section.times {
            Times::Once => "",
            Times::Several => "#",
        };
        if !section.path.is_empty() {
            let _infallible = writeln!(text, "{mark}{}", title(section));
        }
        for key in section.keys {
            text.push('\n');
            let (mark, default) = match key.preset {
                Preset::Value(_) => (mark, String::new()),
                Preset::Derived { words, .. } => ("#", format!(" Default: {words}.")),
                Preset::Unset { .. } => ("#", " Default: not set.".to_owned()),
                Preset::Required { .. } => (mark, " Must be given.".to_owned()),
            };
            comment(&mut text, &format!("{}{default}", key.doc));
            let _infallible = writeln!(text, "{mark}{}", key.example_line());
        }
    }
    text
}

/// A paragraph, wrapped.
fn comment(text: &mut String, paragraph: &str) {
    let mut line = "#".to_owned();
    for word in paragraph.split(' ') {
        if line.len() + 1 + word.len() > COMMENT_WIDTH {
            text.push_str(&line);
            text.push('\n');
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

impl Form {
    /// A value as TOML.
    pub(in crate::config) fn write(self, value: &Given) -> String {
        match (self, value) {
            (Self::Number | Self::Switch, Given::One(text)) => text.clone(),
            (Self::Size, Given::One(text)) if text.parse::<u64>().is_ok() => text.clone(),
            (_, Given::One(text)) => quoted(text),
            (_, Given::Many(texts)) => {
                let all: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("[{}]", all.join(", "))
            }
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

const INTRODUCTION: &str = "\
# Every setting of modgate. Lines that are not comments show the defaults; a line such as
# #contact = … shows a setting that has no fixed default.
#
# A flag --set SECTION.KEY=VALUE wins over the variable MODGATE_SECTION_KEY, which wins over
# this file, which wins over the default. Lists are separated by commas there. A table with a
# name is reached by it: upstream.servers.inner.password, MODGATE_UPSTREAM_SERVERS_INNER_PASSWORD.
#
# Times are written \"300ms\", \"30s\", \"5m\", \"24h\"; sizes \"64 KiB\", \"256 MiB\", \"2 GiB\", or
# a number of bytes. Paths are relative to the directory in which modgate is started. What is
# not a setting is an error, never ignored. Check with: modgate check-config
";

/// Origins stand in one column.
const COMMENT_COLUMN: usize = 48;
/// The example file fits a terminal.
const COMMENT_WIDTH: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_value_holds_it_is_one_toml_string() {
        for text in ["", "a\"b\\c", "line\nbreak\u{7f}", "ü…"] {
            let line = format!("key = {}", quoted(text));
            let document = toml_edit::Document::parse(line.as_str()).unwrap();
            assert_eq!(document.get("key").unwrap().as_str(), Some(text), "{line}");
        }
    }
}
