//! Names of entries: each legal in a module, and no two that some file system takes for the same.

use std::collections::HashMap;

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

/// Checks every name; `prefix` is `path@version/`.
pub(in crate::goproxy::zipfile) fn check(entries: &[Entry], prefix: &str) -> Result<(), ZipError> {
    let mut known: HashMap<String, (String, Shape)> = HashMap::new();
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
        if let Err(why) = register(&mut known, name, shape) {
            return refuse(why);
        }
    }
    Ok(())
}

/// Registers a name and every directory above it.
fn register(
    known: &mut HashMap<String, (String, Shape)>,
    name: &str,
    shape: Shape,
) -> Result<(), &'static str> {
    let parents = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
    for (path, shape) in parents.map(|path| (path, Shape::Directory)).chain([(name, shape)]) {
        match known.get(&fold(path)) {
            None => {
                known.insert(fold(path), (path.to_owned(), shape));
            }
            Some((spelling, _)) if spelling != path => {
                return Err("it differs from another in case only");
            }
            Some((_, Shape::Directory)) if shape == Shape::Directory => {}
            Some(_) => return Err("another entry has the same name"),
        }
    }
    Ok(())
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
