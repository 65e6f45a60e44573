//! Sizes, names, and what is never written: the shape of the sources, tests among them unless a rule says otherwise.

use crate::source::Finding;
use crate::source::Source;
use crate::source::Tree;
use crate::source::closing;
use crate::source::line_of;
use crate::source::words;

/// All findings about the shape of the sources.
pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    tree.sources().iter().flat_map(of).collect()
}

fn of(source: &Source) -> Vec<Finding> {
    let mut found = functions(source);
    found.extend(length(source));
    found.extend(names(source));
    found.extend(never_shipped(source));
    found.extend(never_written(source));
    found.extend(imports(source));
    found
}

/// Functions over [`FUNCTION_LINES`] lines, or with more than [`PARAMETERS`] parameters.
fn functions(source: &Source) -> Vec<Finding> {
    let code = source.code();
    let mut found = Vec::new();
    let words = words(code);
    for pair in words.windows(2) {
        let [(at, "fn"), (name_at, name)] = *pair else { continue };
        // `fn(u8)` is a type, and has no name before its parenthesis
        let between = code.get(at + 2..name_at).unwrap_or_default();
        if !between.trim_matches('$').trim().is_empty() {
            continue;
        }
        let Some(function) = Function::measure(code, at, name_at + name.len()) else { continue };
        if function.lines > FUNCTION_LINES {
            found.push(source.at(at, "long function", format!("{name}: {} lines", function.lines)));
        }
        if function.parameters > PARAMETERS {
            let what = format!("{name}: {}", function.parameters);
            found.push(source.at(at, "many parameters", what));
        }
    }
    found
}

struct Function {
    lines: usize,
    parameters: usize,
}

impl Function {
    /// From the byte of its `fn` and the byte after its name.
    fn measure(code: &str, start: usize, after_name: usize) -> Option<Self> {
        let bytes = code.as_bytes();
        let open = after_generics(bytes, after_name)?;
        let close = closing(bytes, open)?;
        let parameters = parameters(bytes.get(open + 1..close)?);
        let mut at = close + 1;
        let end = loop {
            match bytes.get(at)? {
                b';' => break at,
                b'{' => break closing(bytes, at)?,
                b'(' | b'[' => at = closing(bytes, at)? + 1,
                _ => at += 1,
            }
        };
        Some(Self { lines: line_of(code, end) + 1 - line_of(code, start), parameters })
    }
}

/// The byte of the parenthesis that opens the parameters.
fn after_generics(bytes: &[u8], from: usize) -> Option<usize> {
    let (mut depth, mut before) = (0_usize, b' ');
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'<' => depth += 1,
            b'>' if before != b'-' => depth = depth.checked_sub(1)?,
            b'(' if depth == 0 => return Some(at),
            _ => {}
        }
        before = *byte;
    }
    None
}

/// How many parameters stand between the parentheses, `self` among them.
fn parameters(between: &[u8]) -> usize {
    let (mut depth, mut before, mut begun, mut count) = (0_usize, b' ', false, 0);
    for byte in between {
        match byte {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'>' if before != b'-' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => begun = false,
            letter if !letter.is_ascii_whitespace() && !begun => (begun, count) = (true, count + 1),
            _ => {}
        }
        begun = begun || (depth > 0 && *byte != b',');
        before = *byte;
    }
    count
}

/// Files over [`FILE_LINES`] lines, tests not counted.
fn length(source: &Source) -> Option<Finding> {
    if source.shipped().is_empty() {
        return None;
    }
    let hidden = |(code, shipped): &(&str, &str)| code.trim() != shipped.trim();
    let tests = source.code().lines().zip(source.shipped().lines()).filter(hidden).count();
    let lines = source.text().lines().count() - tests;
    (lines > FILE_LINES).then(|| {
        Finding::new(source.path(), 1, "long file", format!("{lines} lines without tests"))
    })
}

/// Files and items under a name that says nothing.
fn names(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    if source.path().ends_with("/mod.rs") {
        found.push(Finding::new(source.path(), 1, "mod.rs", "write foo.rs beside foo/"));
    }
    let parts = source.path().trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| NAMES.contains(part)) {
        found.push(Finding::new(source.path(), 1, "empty name", part));
    }
    for pair in words(source.code()).windows(2) {
        let [(_, keyword), (at, name)] = *pair else { continue };
        let empty = match keyword {
            "mod" => NAMES.contains(&name),
            "struct" | "enum" | "trait" | "type" => ENDINGS.iter().any(|end| name.ends_with(end)),
            _ => false,
        };
        if empty {
            found.push(source.at(at, "empty name", name));
        }
    }
    found
}

/// Ways to die that the product does not have.
fn never_shipped(source: &Source) -> Vec<Finding> {
    let code = source.shipped();
    DEATHS
        .iter()
        .flat_map(|death| code.match_indices(death))
        .filter(|(at, death)| death.starts_with('.') || !inside_word(code, *at))
        .map(|(at, death)| source.at(at, "may panic", death))
        .collect()
}

/// What is written nowhere, not even in tests.
fn never_written(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for attribute in ["#[allow", "#![allow"] {
        for (at, _) in source.code().match_indices(attribute) {
            found.push(source.at(at, "allow", "write #[expect(lint, reason = …)]"));
        }
    }
    for (at, _) in source.code().match_indices("#[ignore") {
        found.push(source.at(at, "ignored test", "a test runs, or is not there"));
    }
    for (at, word) in words(source.text()) {
        if UNFINISHED.contains(&word) {
            found.push(source.at(at, "unfinished", "state a limit, or open an issue"));
        }
    }
    found
}

/// Imports that hide what a file depends on.
fn imports(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, _) in source.code().match_indices("super::super") {
        found.push(source.at(at, "super::super", "name it from crate::"));
    }
    for (at, statement) in statements(source.code()) {
        let ours =
            ["crate::", "self::", "modgate::"].iter().any(|head| statement.starts_with(head));
        if ours && statement.contains('*') {
            found.push(source.at(at, "glob import", statement));
        }
    }
    for (at, statement) in statements(source.shipped()) {
        if statement.starts_with("super::") && statement.contains('*') {
            found.push(source.at(at, "glob import", statement));
        }
    }
    found
}

/// What stands between each `use` and its `;`.
fn statements(code: &str) -> Vec<(usize, &str)> {
    let uses = words(code).into_iter().filter(|(_, word)| *word == "use");
    uses.filter_map(|(at, _)| {
        let (statement, _) = code.get(at + 3..)?.split_once(';')?;
        Some((at, statement.trim()))
    })
    .collect()
}

fn inside_word(code: &str, at: usize) -> bool {
    let before = code.get(..at).unwrap_or_default();
    before.ends_with(|end: char| end.is_alphanumeric() || end == '_')
}

/// Lines from `fn` to the closing brace: what a screen shows.
const FUNCTION_LINES: usize = 60;
/// Parameters, `self` among them.
const PARAMETERS: usize = 5;
/// Lines of a file without its tests.
const FILE_LINES: usize = 500;
/// A module that needs one of these names has not been understood yet.
const NAMES: [&str; 12] = [
    "util", "utils", "helper", "helpers", "common", "core", "manager", "handlers", "types",
    "models", "services", "misc",
];
/// The same for types.
const ENDINGS: [&str; 5] = ["Util", "Utils", "Helper", "Helpers", "Manager"];
/// Calls and macros that end a thread; the last two are built from parts, since nobody may write them.
const DEATHS: [&str; 6] = [
    ".unwrap()",
    ".expect(",
    "panic!",
    "unreachable!",
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];
/// Marks of work that was left, built from parts for the same reason.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

fn rules(path: &str, text: &str) -> Vec<&'static str> {
    of(&Source::new(path, text)).iter().map(Finding::rule).collect()
}

#[test]
fn a_function_of_sixty_lines_passes_and_one_of_sixty_one_does_not() {
    let function =
        |lines: usize| format!("fn f() -> [u8; 2] {{\n{}}}\n", "g(\"}\");\n".repeat(lines - 2));
    assert_eq!(rules("src/x.rs", &function(60)), [""; 0]);
    assert_eq!(rules("src/x.rs", &function(61)), ["long function"]);
    assert_eq!(rules("tests/it/x.rs", &function(61)), ["long function"]);
}

#[test]
fn five_parameters_pass_and_six_do_not() {
    let five = "fn f<F: Fn(u8, u8) -> u8>(&self, a: (u8, u8), b: Map<K, V>, c: fn(u8, u8), d: [u8; 2],) {}";
    assert_eq!(rules("src/x.rs", five), [""; 0]);
    assert_eq!(rules("src/x.rs", "fn f(a: A, b: B, c: C, d: D, e: E, f: F);"), ["many parameters"]);
}

#[test]
fn five_hundred_lines_pass_and_tests_are_not_counted() {
    let tests = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
    let lines = |count: usize| format!("{}{tests}", "const A: u8 = 1;\n".repeat(count));
    assert_eq!(rules("src/x.rs", &lines(500)), [""; 0]);
    assert_eq!(rules("src/x.rs", &lines(501)), ["long file"]);
}

#[test]
fn names_that_say_nothing_are_found() {
    assert_eq!(rules("src/cache/mod.rs", ""), ["mod.rs"]);
    assert_eq!(rules("src/utils.rs", ""), ["empty name"]);
    assert_eq!(rules("src/types/x.rs", ""), ["empty name"]);
    assert_eq!(rules("src/x.rs", "mod helpers;"), ["empty name"]);
    assert_eq!(rules("src/x.rs", "struct CacheManager;"), ["empty name"]);
    assert_eq!(rules("src/x.rs", "mod memory; struct Manages; use core::fmt;"), [""; 0]);
}

#[test]
fn ways_to_die_are_found_in_the_product_only() {
    for death in DEATHS {
        let call = match death {
            ".unwrap()" => "fn f() { a.unwrap() }".to_owned(),
            ".expect(" => "fn f() { a.expect(b) }".to_owned(),
            name => format!("fn f() {{ {name}() }}"),
        };
        assert_eq!(rules("src/x.rs", &call), ["may panic"], "{call}");
        assert_eq!(rules("tests/it/x.rs", &call), [""; 0]);
        assert_eq!(rules("src/x.rs", &format!("#[cfg(test)]\nmod tests {{ {call} }}")), [""; 0]);
    }
    let harmless = "#[expect(dead_code)] fn f() { a.unwrap_or(b); \"panic!\"; no_panic!() }";
    assert_eq!(rules("src/x.rs", harmless), [""; 0]);
}

#[test]
fn what_is_never_written_is_found_in_tests_too() {
    assert_eq!(rules("tests/it/x.rs", "#![allow(dead_code)]"), ["allow"]);
    assert_eq!(rules("src/x.rs", "#[allow(dead_code)] fn f() {}"), ["allow"]);
    assert_eq!(rules("tests/it/x.rs", "#[test] #[ignore] fn f() {}"), ["ignored test"]);
    assert_eq!(rules("src/x.rs", &format!("// {}: later", UNFINISHED[0])), ["unfinished"]);
}

#[test]
fn imports_that_hide_are_found() {
    assert_eq!(rules("src/x/y.rs", "use super::super::z;"), ["super::super"]);
    assert_eq!(rules("src/x.rs", "use crate::y::*;"), ["glob import"]);
    assert_eq!(rules("tests/it/x.rs", "use crate::y::{self, *};"), ["glob import"]);
    assert_eq!(rules("src/x/y.rs", "pub use super::*;"), ["glob import"]);
    assert_eq!(
        rules("src/x.rs", "#[cfg(test)] mod tests { use super::*; use proptest::prelude::*; }"),
        [""; 0]
    );
}
