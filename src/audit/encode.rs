//! The one encoder of records: whatever a string holds, a record is one line without a control byte, and stays so when
//! a reader decodes it.
//!
//! JSON's own escapes would keep a line whole, and any reader that decodes them would print them again. So a control,
//! line-separating or direction-turning character becomes the visible text `\u{202e}`, in every string of every record.

use std::io;

use serde::Serialize;
use serde_json::ser::CharEscape;
use serde_json::ser::Formatter;

/// Writes a value as compact JSON; every string in it passes here.
pub fn json(value: &impl Serialize, into: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(into, Visible))
}

/// Makes a text safe for one line that people read in a terminal: the same escapes, without JSON.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) { out.push_str(&visible(c)) } else { out.push(c) }
    }
    out
}

/// A text cut at a number of bytes, at the edge of a character.
pub fn cut(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    text.get(..end).unwrap_or(text).to_owned()
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn visible(c: char) -> String {
    format!("\\u{{{:x}}}", u32::from(c))
}

struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        into: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return into.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hostile) {
            let (before, from) = rest.split_at(at);
            let mut chars = from.chars();
            into.write_all(before.as_bytes())?;
            if let Some(c) = chars.next() {
                write!(into, "\\{}", visible(c))?;
            }
            rest = chars.as_str();
        }
        into.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        into: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let control = match escape {
            CharEscape::Quote => return into.write_all(b"\\\""),
            CharEscape::ReverseSolidus => return into.write_all(b"\\\\"),
            CharEscape::Solidus => return into.write_all(b"/"),
            CharEscape::Backspace => 8,
            CharEscape::FormFeed => 12,
            CharEscape::LineFeed => b'\n',
            CharEscape::CarriageReturn => b'\r',
            CharEscape::Tab => b'\t',
            CharEscape::AsciiControl(byte) => byte,
        };
        write!(into, "\\{}", visible(char::from(control)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_text_can_start_a_line_or_turn_the_reading_direction() {
        let hostile = "a\nb\r\u{1b}[31m\u{202e}x\u{2028}é\"\\";
        assert_eq!(plain(hostile), "a\\u{a}b\\u{d}\\u{1b}[31m\\u{202e}x\\u{2028}é\"\\");
        assert_eq!(cut("aéb", 2), "a");
    }

    proptest! {
        #[test]
        fn a_record_is_one_line_and_stays_plain_when_it_is_decoded(texts in prop::collection::vec("\\PC{0,8}|[\\x00-\\x9f\u{202a}-\u{202e}\"\\\\]{0,20}", 1..4)) {
            let mut line = Vec::new();
            json(&texts, &mut line).unwrap();
            let line = String::from_utf8(line).unwrap();
            prop_assert!(!line.chars().any(is_hostile), "{}", line);
            let read: Vec<String> = serde_json::from_str(&line).unwrap();
            let expected: Vec<String> = texts.iter().map(|text| plain(text)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
