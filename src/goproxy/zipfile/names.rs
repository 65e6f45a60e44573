//! Names of entries: each legal in a module, and no two that some file system takes for the same.

use unicode_properties::GeneralCategoryGroup;
use unicode_properties::UnicodeGeneralCategory as _;

use crate::goproxy::path::is_device;
use crate::goproxy::zipfile::ZipError;
use crate::goproxy::zipfile::directory::Entry;

/// Whether a name is a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    File,
    Directory,
}

/// A name below the prefix, and how it compares.
struct Known<'a> {
    entry: &'a Entry,
    name: &'a str,
    folded: String,
    shape: Shape,
}

/// Checks every name; `prefix` is `path@version/`.
pub(in crate::goproxy::zipfile) fn check(entries: &[Entry], prefix: &str) -> Result<(), ZipError> {
    let mut known = Vec::with_capacity(entries.len());
    for entry in entries {
        let refuse = |why| Err(ZipError::Name(shown(&entry.name), why));
        let Some(name) = entry.name.strip_prefix(prefix) else {
            return refuse("it does not lie below PATH@VERSION/");
        };
        if name.is_empty() {
            continue;
        }
        let (name, shape) = match name.strip_suffix('/') {
            Some(directory) => (directory, Shape::Directory),
            None => (name, Shape::File),
        };
        if let Err(why) = check_file_path(name) {
            return refuse(why);
        }
        let base = name.rsplit('/').next().unwrap_or(name);
        if shape == Shape::File && fold(base) == "go.mod" && name != "go.mod" {
            return refuse("a go.mod stands at the root, written in lower case");
        }
        known.push(Known { entry, name, folded: fold(name), shape });
    }
    collisions(known)
}

/// Refuses names that are the same, or differ in case only, in any of their directories.
///
/// Sorted by folded elements, names with common directories stand together and a name stands right before those
/// below it, so that neighbours show every collision. Memory stays that of the names themselves; a map of all
/// directories would hold, for one name of many elements, the square of its length.
fn collisions(mut known: Vec<Known<'_>>) -> Result<(), ZipError> {
    known.sort_by(|a, b| a.folded.split('/').cmp(b.folded.split('/')));
    for pair in known.windows(2) {
        let [first, second] = pair else { continue };
        if let Some(why) = clash(first, second) {
            return Err(ZipError::Name(shown(&second.entry.name), why));
        }
    }
    Ok(())
}

/// Why two neighbours cannot both be there.
fn clash(first: &Known<'_>, second: &Known<'_>) -> Option<&'static str> {
    let mut spelled = first.name.split('/').zip(second.name.split('/'));
    let (mut a, mut b) = (first.folded.split('/'), second.folded.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) if a != b => return None,
            (Some(_), Some(_)) => {
                if spelled.next().is_some_and(|(a, b)| a != b) {
                    return Some("it differs from another in case only");
                }
            }
            // the first is a directory above the second, or the same one
            (None, Some(_)) if first.shape == Shape::Directory => return None,
            (None, None) if (first.shape, second.shape) == (Shape::Directory, Shape::Directory) => {
                return None;
            }
            (None, _) | (_, None) => return Some("another entry has the same name"),
        }
    }
}

/// Go's `module.CheckFilePath`.
pub(in crate::goproxy::zipfile) fn check_file_path(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("its name is empty");
    }
    for element in name.split('/') {
        if element.is_empty() || element.chars().all(|letter| letter == '.') {
            return Err("an element of its name is empty or only dots");
        }
        if element.ends_with('.') {
            return Err("an element of its name ends in a dot");
        }
        if !element.chars().all(is_legal) {
            return Err("its name holds a character that some file system refuses");
        }
        if is_device(element.split('.').next().unwrap_or_default()) {
            return Err("an element of its name is a reserved name");
        }
    }
    Ok(())
}

fn is_legal(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_alphanumeric() || " !#$%&()+,-.=@[]^_{}~".contains(letter);
    }
    letter.general_category_group() == GeneralCategoryGroup::Letter
}

/// Simple case folding: one character for one, as Go's comparison has it.
fn fold(name: &str) -> String {
    name.chars()
        .map(|letter| {
            unicode_case_mapping::case_folded(letter)
                .and_then(|folded| char::from_u32(folded.get()))
                .unwrap_or(letter)
        })
        .collect()
}

/// A name as it may be shown: escaped, and cut.
pub(in crate::goproxy::zipfile) fn shown(name: &str) -> String {
    name.escape_default().take(SHOWN_CHARS).collect()
}

/// A line of an error has 79 bytes.
const SHOWN_CHARS: usize = 60;
