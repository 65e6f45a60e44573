//! go.mod files, read as laxly as the go command reads those of dependencies: a line it does not know is not wrong,
//! but a file that is no go.mod at all (a sign-in page, a truncated one) is told apart.

pub mod retract;

/// What is read of a go.mod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoMod {
    /// The module path it states, if it states one. It may differ from the path it is served under.
    pub module: Option<String>,
}

/// Why bytes are no go.mod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GoModError {
    /// It holds NUL bytes.
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
    if bytes.contains(&0) {
        return Err(GoModError::NotText);
    }
    // the go command takes comments of older encodings too
    let text = String::from_utf8_lossy(bytes);
    let mut found = GoMod { module: None };
    let mut block: Option<(usize, bool)> = None;
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let words = words(line).ok_or(GoModError::Open(number))?;
        let names_module = match (block, words.as_slice()) {
            (_, []) => continue,
            (Some(_), [")", ..]) => {
                block = None;
                continue;
            }
            (Some((_, module)), [first, ..]) => module.then_some(*first),
            (None, [first, ..]) if !is_directive(first) => {
                return Err(GoModError::Directive(number));
            }
            // an empty block on one line
            (None, [_, .., "(", ")"]) => None,
            // only a parenthesis at the end of a line opens a block; of these only `module (` is a module's
            (None, [directive, between @ .., "("]) => {
                block = Some((number, *directive == "module" && between.is_empty()));
                continue;
            }
            (None, ["module", path, ..]) => Some(*path),
            (None, _) => None,
        };
        if let Some(path) = names_module.filter(|_| found.module.is_none()) {
            found.module = Some(unquoted(path).to_owned());
        }
    }
    block.map_or(Ok(found), |(opened, _)| Err(GoModError::Open(opened)))
}

/// A directive is a lower-case word; ones we do not know belong to newer versions of Go.
fn is_directive(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// The words of a line without its comment, strings with their quotes; `None` if a string has no end.
fn words(line: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with("//") {
        let (word, after) = match rest.chars().next() {
            Some(quote @ ('`' | '"')) => rest.split_at_checked(string_len(rest, quote)?)?,
            Some('(' | ')' | ',') => rest.split_at_checked(1)?,
            _ => {
                // a quote inside a word is part of it
                let ends = |c: char| c.is_whitespace() || "(),".contains(c);
                let plain = rest.find(ends).unwrap_or(rest.len());
                let comment = rest.find("//").unwrap_or(rest.len());
                rest.split_at_checked(plain.min(comment))?
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

/// The length of the string that a text begins with, quotes included.
fn string_len(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if letter == '\\' && quote == '"' {
            escaped = true;
        } else if letter == quote {
            return Some(at + 1);
        }
    }
    None
}

/// A string without its quotes; escapes are kept as they stand.
fn unquoted(word: &str) -> &str {
    let inside = |quote: char| word.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('`')).unwrap_or(word)
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
            ("<script> go()\n", GoModError::Directive(1)),
            ("require (\n\ta.example/x v1.0.0\n", GoModError::Open(1)),
            ("module \"example.com/m\n", GoModError::Open(1)),
            ("module a\0b", GoModError::NotText),
        ];
        for (text, error) in bad {
            assert_eq!(module(text), Err(error), "{text}");
        }
        assert_eq!(read(&[0xff, 0xfe]), Err(GoModError::Directive(1)));
    }

    #[test]
    fn what_the_go_command_reads_is_not_refused() {
        let good: [&[u8]; 8] = [
            b"module example.com/m\nrequire ()\n",
            b"require ( ) // none\nmodule example.com/m\n",
            b"module example.com/m\nfuture thing (\n\tX y\n)\n",
            b"// M\xfcller\nmodule example.com/m // M\xfcller\n",
            b"module example.com/m\nfuture a\"b\n",
            b"module example.com/m\nfuture ( a b\ngo 1.2\n",
            b"module example.com/m\nfuture \"(\"\ngo 1.2\n",
            b"module thing (\n\tother.example/m\n)\nmodule example.com/m\n",
        ];
        for text in good {
            let found = read(text).map(|found| found.module);
            let shown = String::from_utf8_lossy(text);
            assert_eq!(found, Ok(Some("example.com/m".to_owned())), "{shown}");
        }
        assert_eq!(module("module ()\n"), Ok(None));
    }

    #[test]
    fn a_gomod_over_the_limit_is_refused_and_one_at_it_is_read() {
        let mut bytes = b"module example.com/m\n".to_vec();
        bytes.resize(LIMIT_BYTES, b'\n');
        assert!(read(&bytes).is_ok());
        bytes.push(b'\n');
        assert_eq!(read(&bytes), Err(GoModError::TooLarge));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            let _any = (read(text.as_bytes()), read(&bytes));
        }
    }
}
