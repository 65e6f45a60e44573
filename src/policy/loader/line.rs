//! One line: a rule, a role, a word about the rows that follow, or what is wrong with it and at which column.

use std::borrow::Cow;

use crate::policy::rule;
use crate::policy::rule::Effect;
use crate::policy::rule::Rule;

/// What a line says.
#[derive(Debug)]
pub(in crate::policy) enum Line<'a> {
    /// Nothing: it is empty, or words for people.
    Nothing,
    /// Who answers for the rows below.
    Owner(&'a str),
    /// Why the row below stands there.
    Reason(&'a str),
    Rule(Rule),
    Part {
        member: String,
        role: String,
    },
}

/// What is wrong with a line, and where in it, counted in bytes from 1.
#[derive(Debug)]
pub(in crate::policy) struct Wrong {
    pub(in crate::policy) column: usize,
    pub(in crate::policy) what: Cow<'static, str>,
}

impl Wrong {
    /// Wrong with the row as a whole.
    pub(in crate::policy::loader) fn row(what: impl Into<Cow<'static, str>>) -> Self {
        Self { column: 1, what: what.into() }
    }
}

/// One column of a row.
#[derive(Debug, Clone, Copy)]
struct Field<'a> {
    column: usize,
    text: &'a str,
}

impl Field<'_> {
    fn wrong(self, what: impl Into<Cow<'static, str>>) -> Wrong {
        Wrong { column: self.column, what: what.into() }
    }
}

impl<'a> Line<'a> {
    /// Reads a line of a file.
    pub(in crate::policy::loader) fn read(line: &'a str) -> Result<Self, Wrong> {
        match Self::read_overlay(line)? {
            Self::Rule(rule) if rule.id.starts_with(OVERLAY_ID) => {
                let what = "ids that begin with deny- are those of emergency denies";
                Err(Wrong { column: column_of(line, 1), what: what.into() })
            }
            read => Ok(read),
        }
    }

    /// Reads a line that may be an emergency deny.
    pub(in crate::policy) fn read_overlay(line: &'a str) -> Result<Self, Wrong> {
        if line.is_empty() {
            return Ok(Self::Nothing);
        }
        if let Some(words) = line.strip_prefix('#') {
            return comment(words);
        }
        plain(line)?;
        let fields = fields(line);
        for field in &fields {
            if field.text.is_empty() {
                return Err(field.wrong("a field is empty: give a value, or * for any"));
            }
            if field.text.len() > FIELD_LIMIT_BYTES {
                return Err(field.wrong("a field is over 1 KiB"));
            }
        }
        match fields.as_slice() {
            [Field { text: "p", .. }, id, subject, target, range, action, effect] => {
                Ok(Self::Rule(row([*id, *subject, *target, *range, *action, *effect])?))
            }
            [Field { text: "g", .. }, member, role] => {
                check_subject(*member)?;
                if !role.text.starts_with("role:") {
                    return Err(role.wrong(format!("{} is no role: write role:NAME", role.text)));
                }
                check_subject(*role)?;
                Ok(Self::Part { member: member.text.to_owned(), role: role.text.to_owned() })
            }
            [Field { text: "p", .. }, ..] => {
                Err(Wrong::row(format!("a rule has 7 columns, this one {}", fields.len())))
            }
            [Field { text: "g", .. }, ..] => {
                Err(Wrong::row(format!("a role has 3 columns, this one {}", fields.len())))
            }
            _ => Err(Wrong::row("a row begins with p or g; comments have a line of their own")),
        }
    }
}

/// Two kinds of comments are read: what they say is printed, and decides nothing.
fn comment(words: &str) -> Result<Line<'_>, Wrong> {
    // what another program shows as the end of a line would make a comment of the row after it
    let ends = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    if let Some(at) = words.find(ends) {
        let what = "a control character, or a second kind of line end: save the file with LF";
        return Err(Wrong { column: at + 2, what: what.into() });
    }
    let (kind, text, most) = match words.trim_start().split_once(':') {
        Some(("owner", text)) => (Line::Owner as fn(_) -> _, text.trim(), OWNER_LIMIT_BYTES),
        Some(("reason", text)) => (Line::Reason as fn(_) -> _, text.trim(), REASON_LIMIT_BYTES),
        _ => return Ok(Line::Nothing),
    };
    check_words(text, most).map_err(Wrong::row)?;
    Ok(kind(text))
}

/// Whether words can be printed in one line of a refusal.
pub(in crate::policy) fn check_words(text: &str, most: usize) -> Result<(), String> {
    if text.is_empty() || text.len() > most {
        return Err(format!("an owner or a reason has 1 to {most} bytes here, not {}", text.len()));
    }
    if text.bytes().any(|byte| !matches!(byte, b' '..=b'~')) {
        return Err("an owner or a reason is printable ASCII".to_owned());
    }
    Ok(())
}

/// Where a field of a row begins.
fn column_of(line: &str, field: usize) -> usize {
    fields(line).get(field).map_or(1, |field| field.column)
}

fn fields(line: &str) -> Vec<Field<'_>> {
    let mut at = 0;
    line.split(',')
        .map(|raw| {
            let blanks = raw.len() - raw.trim_start().len();
            let field = Field { column: at + blanks + 1, text: raw.trim() };
            at += raw.len() + 1;
            field
        })
        .collect()
}

/// Bytes that somebody could read as something else are refused, wherever they stand.
fn plain(line: &str) -> Result<(), Wrong> {
    let refused = |byte: u8| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\'');
    let Some((at, byte)) = line.bytes().enumerate().find(|(_, byte)| refused(*byte)) else {
        return Ok(());
    };
    let what = match byte {
        b'\t' => "a tab: use blanks",
        b'\r' => "a carriage return: save the file with LF line ends",
        b'"' | b'\'' => "a quote: fields are not quoted",
        _ => "a byte that is not printable ASCII",
    };
    Err(Wrong { column: at + 1, what: what.into() })
}

fn row([id, subject, target, range, action, effect]: [Field<'_>; 6]) -> Result<Rule, Wrong> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !id.text.bytes().all(legal) || id.text.len() > ID_LIMIT_BYTES {
        let what = format!("{} is no id: at most 48 letters, digits, - _ and .", id.text);
        return Err(id.wrong(what));
    }
    check_subject(subject)?;
    let effect_of = match effect.text {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        other => {
            return Err(effect.wrong(format!("{other} is no effect: write allow or deny")));
        }
    };
    rule::check_action(action.text, target.text, effect_of).map_err(|what| action.wrong(what))?;
    if target.text.split('/').count() > ELEMENTS_LIMIT {
        return Err(target.wrong("a pattern has at most 64 elements"));
    }
    rule::check_range(range.text).map_err(|what| range.wrong(what))?;
    let written = rule::target(target.text, effect_of).map_err(|what| target.wrong(what))?;
    Ok(Rule {
        id: id.text.to_owned(),
        subject: subject.text.to_owned(),
        target: written,
        range: range.text.to_owned(),
        action: action.text.to_owned(),
        effect: effect_of,
    })
}

fn check_subject(field: Field<'_>) -> Result<(), Wrong> {
    let plain = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@/+=-%".contains(&b))
    };
    let good = match field.text.split_once(':') {
        Some(("any", name)) => matches!(name, "authenticated" | "anonymous"),
        Some(("role", name)) => plain(name),
        Some(("user" | "group", rest)) => rest
            .split_once(':')
            .is_some_and(|(realm, name)| plain(realm) && plain(&name.replace(':', ""))),
        _ => false,
    };
    if good {
        return Ok(());
    }
    let known = "write user:REALM:ID, group:REALM:NAME, role:NAME or any:authenticated";
    Err(field.wrong(format!("{} is no subject: {known}", field.text)))
}

/// How the id of an emergency deny begins.
pub(in crate::policy) const OVERLAY_ID: &str = "deny-";
/// Ids are printed in a refusal.
const ID_LIMIT_BYTES: usize = 48;
/// No path is longer.
const FIELD_LIMIT_BYTES: usize = 1024;
/// No path is deeper.
const ELEMENTS_LIMIT: usize = 64;
/// With `ask ` before it, one line of what `go` prints.
const OWNER_LIMIT_BYTES: usize = 60;
/// With `why: ` before it, the same.
pub(in crate::policy) const REASON_LIMIT_BYTES: usize = 74;
