//! go.mod files, read as laxly as the go command reads those of dependencies: a line it does not know is not wrong,
//! but a file that is no go.mod at all (a sign-in page, a truncated one) is told apart.

/// What is read of a go.mod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoMod {
    /// The module path it states, if it states one. It may differ from the path it is served under.
    pub module: Option<String>,
}

/// Why bytes are no go.mod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GoModError {
    /// Not UTF-8, or with NUL bytes.
    #[error("it is not text")]
    NotText,
    /// Over 16 MiB.
    #[error("it is over 16 MiB")]
    TooLarge,
    /// A string without its end, or a block without its parenthesis.
    #[error("line {0}: a string or a block has no end")]
    Open(usize),
    /// A line that no directive could begin with.
    #[error("line {0}: this is not how a directive begins")]
    Directive(usize),
}

/// Reads a go.mod.
pub fn read(bytes: &[u8]) -> Result<GoMod, GoModError> {
    if bytes.len() > LIMIT_BYTES {
        return Err(GoModError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| GoModError::NotText)?;
    if text.contains('\0') {
        return Err(GoModError::NotText);
    }
    let mut found = GoMod { module: None };
    let mut block: Option<(usize, bool)> = None;
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let words = words(line).ok_or(GoModError::Open(number))?;
        let mut words = words.iter().map(String::as_str);
        let Some(first) = words.next() else { continue };
        let names_module = match block {
            Some(_) if first == ")" => {
                block = None;
                continue;
            }
            Some((_, module)) => module.then_some(first),
            None if !is_directive(first) => return Err(GoModError::Directive(number)),
            None => match (first, words.next()) {
                (directive, Some("(")) => {
                    block = Some((number, directive == "module"));
                    continue;
                }
                ("module", path) => path,
                _ => None,
            },
        };
        if let Some(path) = names_module.filter(|_| found.module.is_none()) {
            found.module = Some(path.to_owned());
        }
    }
    block.map_or(Ok(found), |(opened, _)| Err(GoModError::Open(opened)))
}

/// A directive is a lower-case word; ones we do not know belong to newer versions of Go.
fn is_directive(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// The words of a line without its comment; `None` if a string has no end.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with("//") {
        let (word, after) = match rest.chars().next() {
            Some('`') => quoted(rest, '`')?,
            Some('"') => quoted(rest, '"')?,
            Some('(' | ')' | ',') => rest.split_at_checked(1)?,
            _ => {
                let ends = |c: char| c.is_whitespace() || "(),\"`".contains(c);
                let plain = rest.find(ends).unwrap_or(rest.len());
                let comment = rest.find("//").unwrap_or(rest.len());
                rest.split_at_checked(plain.min(comment))?
            }
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Some(words)
}

/// A string at the beginning of a text, without its quotes; escapes are kept as they stand.
fn quoted(text: &str, quote: char) -> Option<(&str, &str)> {
    let inner = text.strip_prefix(quote)?;
    let mut escaped = false;
    for (at, letter) in inner.char_indices() {
        if escaped {
            escaped = false;
        } else if letter == '\\' && quote == '"' {
            escaped = true;
        } else if letter == quote {
            let (word, rest) = inner.split_at_checked(at)?;
            return Some((word, rest.strip_prefix(quote)?));
        }
    }
    None
}

/// The go command's own limit.
const LIMIT_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn module(text: &str) -> Result<Option<String>, GoModError> {
        read(text.as_bytes()).map(|found| found.module)
    }

    #[test]
    fn the_module_line_is_found_in_each_of_its_forms() {
        let good = [
            "module example.com/m\n\ngo 1.21\n",
            "// comment\nmodule example.com/m // more\n",
            "module \"example.com/m\"\n",
            "module `example.com/m`\r\n",
            "module (\n\texample.com/m\n)\n",
            "go 1.21\nrequire (\n\ta.example/x v1.0.0 // indirect\n)\nmodule example.com/m\nfuture thing => other\nretract [v1.0.0, v1.1.0]\nexclude a.example/x v1.0.0\n",
        ];
        for text in good {
            assert_eq!(module(text), Ok(Some("example.com/m".to_owned())), "{text}");
        }
        assert_eq!(module(""), Ok(None));
        assert_eq!(module("require a.example/x v1.0.0\n"), Ok(None));
    }

    #[test]
    fn what_is_no_gomod_is_told_apart() {
        let bad = [
            ("<html>sign in</html>", GoModError::Directive(1)),
            ("{\"error\": 1}", GoModError::Directive(1)),
            ("module example.com/m\n404 page not found", GoModError::Directive(2)),
            ("require (\n\ta.example/x v1.0.0\n", GoModError::Open(1)),
            ("module \"example.com/m\n", GoModError::Open(1)),
            ("module a\0b", GoModError::NotText),
        ];
        for (text, error) in bad {
            assert_eq!(module(text), Err(error), "{text}");
        }
        assert_eq!(read(&[0xff, 0xfe]), Err(GoModError::NotText));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            let _any = (read(text.as_bytes()), read(&bytes));
        }
    }
}
