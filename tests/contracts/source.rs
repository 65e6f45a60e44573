//! The tree as text: files, their code with comments and strings blanked out, and what remains of it without tests.

use std::fmt;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// One breach of one rule, at one place. Sorted by place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl Finding {
    pub(crate) fn new(
        path: &str,
        line: usize,
        rule: &'static str,
        what: impl Into<String>,
    ) -> Self {
        Self { path: path.to_owned(), line, rule, what: what.into() }
    }

    /// The name of the broken rule.
    pub(crate) fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}: {}", self.path, self.line, self.rule, self.what)
    }
}

/// One Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    path: String,
    text: String,
    code: String,
    shipped: String,
}

impl Source {
    /// A file from its path below the root and its text.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let tests_only =
            !path.starts_with("src/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let shipped = if tests_only { String::new() } else { without_tests(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, shipped }
    }

    /// The path below the root, with `/`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Everything, as written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The code: comments, strings and characters are spaces, lines stay.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The code that the product consists of: [`Self::code`] of `src/` without what only tests see.
    pub(crate) fn shipped(&self) -> &str {
        &self.shipped
    }

    /// A finding at a byte of the code.
    pub(crate) fn at(&self, offset: usize, rule: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(&self.path, line_of(&self.code, offset), rule, what)
    }
}

/// The repository.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    sources: Vec<Source>,
    files: Vec<String>,
}

impl Tree {
    /// Reads the tree this test was built from; what the build or `serve --dev` made is not part of it.
    pub(crate) fn read() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        collect(&root, "", &mut files);
        files.sort();
        let rust = files.iter().filter(|path| has_extension(path, "rs"));
        let sources = rust
            .map(|path| Source::new(path, &fs::read_to_string(root.join(path)).unwrap()))
            .collect();
        Self { root, sources, files }
    }

    /// All Rust files.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The paths of all files below the root.
    pub(crate) fn files(&self) -> &[String] {
        &self.files
    }

    /// The text of a file; empty where it is no text.
    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    /// The directory that holds the manifest.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// Whether a path ends in `.extension`.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

fn collect(root: &Path, below: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if below.is_empty() && NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if root.join(&path).is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path);
        }
    }
}

/// The line of a byte, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The words of code: identifiers, keywords and numbers, each with the byte it begins at.
pub(crate) fn words(code: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, letter) in code.char_indices().chain([(code.len(), ' ')]) {
        match (is_word(letter), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push((from, code.get(from..at).unwrap_or_default()));
                start = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    words
}

/// The words that begin a path such as `reqwest::Url` or are imported whole (`use reqwest;`), with the word after
/// `::`, which is empty before a brace or a star.
pub(crate) fn path_heads(code: &str) -> Vec<(usize, &str, &str)> {
    let words = words(code);
    let mut heads = Vec::new();
    for (index, (at, word)) in words.iter().enumerate() {
        let before = code.get(..*at).unwrap_or_default();
        let after = code.get(at + word.len()..).unwrap_or_default();
        let whole =
            before.ends_with("use ") && (after.starts_with(';') || after.starts_with(" as "));
        let rest = after.strip_prefix("::");
        if !begins_path(before) || (rest.is_none() && !whole) {
            continue;
        }
        let next = words.get(index + 1).filter(|(next, _)| *next == at + word.len() + 2);
        heads.push((*at, *word, next.map_or("", |(_, word)| *word)));
    }
    heads
}

/// Whether a word after this text begins a path: `a::b` does not begin at `b`, and `::b` does.
fn begins_path(before: &str) -> bool {
    before.strip_suffix("::").is_none_or(|more| !more.ends_with(|end| is_word(end) || end == '>'))
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Where the bracket that opens at this byte is closed.
pub(crate) fn closing(code: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 1 => return Some(at),
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Comments, strings and characters become spaces; line breaks stay, so that lines keep their numbers.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = hidden(bytes, at).map_or(at, |length| (at + length).min(bytes.len()));
        for byte in out.iter_mut().take(end).skip(at).filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).unwrap()
}

/// How many bytes the comment, string or character takes that begins here, if one does.
fn hidden(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let inside_word = at.checked_sub(1).is_some_and(|at| is_word(char::from(bytes[at])));
    match rest {
        [b'/', b'/', ..] => Some(rest.iter().take_while(|byte| **byte != b'\n').count()),
        [b'/', b'*', ..] => Some(block_comment(rest)),
        [b'"', ..] => Some(string(rest)),
        [b'\'', ..] => character(rest),
        [b'b' | b'c', b'r', more @ ..] if !inside_word => raw_string(more).map(|length| length + 2),
        [b'r', more @ ..] if !inside_word => raw_string(more).map(|length| length + 1),
        _ => None,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match rest.get(at..) {
            Some([b'/', b'*', ..]) => (depth, at) = (depth + 1, at + 2),
            Some([b'*', b'/', ..]) if depth == 1 => return at + 2,
            Some([b'*', b'/', ..]) => (depth, at) = (depth - 1, at + 2),
            Some([_, ..]) => at += 1,
            _ => return rest.len(),
        }
    }
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match rest.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') => return at + 1,
            Some(_) => at += 1,
            None => return rest.len(),
        }
    }
}

/// After the `r`: hashes, a quote, anything, a quote, as many hashes. `r#type` is none.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let body = rest.get(hashes + 1..)?;
    let length = body.windows(end.len()).position(|window| window == end)?;
    Some(hashes + 1 + length + end.len())
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|byte| *byte == b'\'').map(|at| at + 4);
    }
    let length = match rest.get(1)? {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    (rest.get(1 + length) == Some(&b'\'')).then_some(length + 2)
}

/// Code without the items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let end = end_of_item(code.as_bytes(), at);
        for byte in out.iter_mut().take(end).skip(at).filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
    }
    String::from_utf8(out).unwrap()
}

/// An item ends with its `;` or with its body.
fn end_of_item(code: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = code.get(at) {
        match byte {
            b';' => return at + 1,
            b'{' => return closing(code, at).map_or(code.len(), |end| end + 1),
            b'(' | b'[' => at = closing(code, at).map_or(code.len(), |end| end + 1),
            _ => at += 1,
        }
    }
    code.len()
}

/// What stands beside the sources and is not of the repository: its history, what was built, what `serve --dev` made.
const NOT_OURS: [&str; 3] = [".git", "target", ".modgate"];

#[test]
fn comments_strings_and_characters_are_blank_and_lines_stay() {
    let text =
        "a // b\n/* c /* d */ e */ f\n\"g \\\" h\" i r#\"j \" k\"# l 'm' 'n, '\\'' o br\"p\" r#q";
    let code = blank(text);
    let left: Vec<_> = words(&code).into_iter().map(|(_, word)| word).collect();
    assert_eq!(left, ["a", "f", "i", "l", "n", "o", "r", "q"]);
    assert_eq!(code.matches('\n').count(), text.matches('\n').count());
    assert_eq!(code.len(), text.len());
}

#[test]
fn what_only_tests_see_is_not_shipped() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c(\"}\"); } }\n#[cfg(test)]\nuse d;\nfn e() {}";
    let source = Source::new("src/x.rs", text);
    let left: Vec<_> = words(source.shipped()).into_iter().map(|(_, word)| word).collect();
    assert_eq!(left, ["fn", "a", "fn", "e"]);
    assert_eq!(Source::new("src/x/tests.rs", text).shipped(), "");
}

#[test]
fn a_path_begins_where_it_begins() {
    let heads = path_heads("use a::b::C; use d; <E>::f::g; ::h::i(); j::{k}; l.m");
    let words: Vec<_> = heads.iter().map(|(_, word, next)| (*word, *next)).collect();
    assert_eq!(words, [("a", "b"), ("d", ""), ("h", "i"), ("j", "")]);
}
