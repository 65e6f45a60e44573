//! The files of a policy: those built in, or those of a directory, where nothing may lie that nothing reads.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;

use crate::content::Sum;
use crate::policy::loader::LoadError;
use crate::policy::loader::MODEL;

/// Names below the directory and texts, in the order they are read.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Files(Vec<(String, String)>);

impl Files {
    /// What is built in.
    pub(in crate::policy) fn embedded() -> Self {
        let files = [
            ("model.conf", MODEL),
            ("roles.csv", include_str!("../../policies/roles.csv")),
            ("rules/00-baseline.csv", include_str!("../../policies/rules/00-baseline.csv")),
            (
                "rules/20-teams/payments.csv",
                include_str!("../../policies/rules/20-teams/payments.csv"),
            ),
            (
                "rules/20-teams/platform.csv",
                include_str!("../../policies/rules/20-teams/platform.csv"),
            ),
            ("rules/80-operators.csv", include_str!("../../policies/rules/80-operators.csv")),
            ("rules/90-security.csv", include_str!("../../policies/rules/90-security.csv")),
            ("rules/99-emergency.csv", include_str!("../../policies/rules/99-emergency.csv")),
            ("gates.toml", include_str!("../../policies/gates.toml")),
            ("tests/baseline.toml", include_str!("../../policies/tests/baseline.toml")),
            ("tests/operators.toml", include_str!("../../policies/tests/operators.toml")),
            ("tests/security.toml", include_str!("../../policies/tests/security.toml")),
            ("tests/teams.toml", include_str!("../../policies/tests/teams.toml")),
        ];
        Self(files.map(|(name, text)| (name.to_owned(), text.to_owned())).into())
    }

    /// Reads a directory: model.conf, roles.csv, what is there of gates.toml and lint-allow.toml, rules/ and tests/,
    /// each folder to its depth, sorted by name.
    pub(in crate::policy) fn read(directory: &Path) -> Result<Self, LoadError> {
        let mut reading =
            Reading { directory, files: Vec::new(), problems: Vec::new(), folders: 0 };
        reading.top();
        for name in ["model.conf", "roles.csv"] {
            reading.file(name);
        }
        for name in [GATES, LINT_ALLOW] {
            // a link that leads nowhere is there: rules whose conditions cannot be read are no rules without them
            let found = directory.join(name).symlink_metadata();
            if !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                reading.file(name);
            }
        }
        for (folder, ending) in [("rules", ".csv"), ("tests", ".toml")] {
            let mut names = Vec::new();
            reading.walk(folder, 0, &mut names);
            names.sort();
            for name in &names {
                if name.ends_with(ending) {
                    reading.file(name);
                } else if !is_beside(name) {
                    reading.problems.push(format!(
                        "{name}: only files that end in {ending} are read here: rename or remove it"
                    ));
                }
            }
        }
        if reading.problems.is_empty() {
            Ok(Self(reading.files))
        } else {
            Err(LoadError::of(reading.problems))
        }
    }

    /// Files from elsewhere than a directory.
    pub(in crate::policy) fn of(files: Vec<(String, String)>) -> Self {
        Self(files)
    }

    /// Names and texts.
    pub(in crate::policy) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The same without expectations, which decide nothing.
    pub(in crate::policy) fn deciding(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(name, _)| *name != LINT_ALLOW && !name.starts_with("tests/"))
    }

    /// The text of one file, if it is there.
    pub(in crate::policy) fn text(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, text)| text)
    }

    /// A digest over everything, to tell whether something changed.
    pub(in crate::policy) fn digest(&self) -> Sum {
        let sized = |(name, text): (&str, &str)| format!("{name}\0{}\0{text}\0", text.len());
        Sum::of(self.iter().map(sized).collect::<String>().as_bytes())
    }
}

/// A directory while it is read.
struct Reading<'a> {
    directory: &'a Path,
    files: Vec<(String, String)>,
    problems: Vec<String>,
    folders: usize,
}

impl Reading<'_> {
    /// A deny row in a file that is passed over is a denial lost, so whatever is not known is told.
    fn top(&mut self) {
        // a directory that cannot be read is told by everything that is looked for in it
        for entry in std::fs::read_dir(self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !KNOWN.contains(&name.as_str()) && !is_beside(&name) {
                self.problems.push(format!(
                    "{name}: nothing reads it: move it into rules/ or tests/, or remove it"
                ));
            }
        }
    }

    fn walk(&mut self, below: &str, depth: usize, names: &mut Vec<String>) {
        self.folders += 1;
        if depth > DEPTH_LIMIT || self.folders > FOLDERS_LIMIT {
            // many links that lead back are more folders than anybody can read, and one problem
            if self.folders <= FOLDERS_LIMIT + 1 {
                self.problems.push(format!(
                    "{below}: folders are over {DEPTH_LIMIT} deep or over {FOLDERS_LIMIT}: look for a link that leads back"
                ));
            }
            return;
        }
        let entries = match std::fs::read_dir(self.directory.join(below)) {
            Ok(entries) => entries,
            Err(error) => {
                self.problems
                    .push(format!("{below}: {error}: make the folder, or correct policy.dir"));
                return;
            }
        };
        for entry in entries {
            let found = entry.and_then(|entry| {
                // through links: a folder behind one holds rules like any other
                Ok((entry.file_name(), std::fs::metadata(entry.path())?.is_dir()))
            });
            match found {
                // where a mounted volume keeps what its links lead to: read through the links
                Ok((name, _)) if name.to_string_lossy().starts_with("..") => {}
                Ok((name, is_folder)) => {
                    let name = format!("{below}/{}", name.to_string_lossy());
                    if is_folder {
                        self.walk(&name, depth + 1, names);
                    } else {
                        names.push(name);
                    }
                }
                Err(error) => {
                    self.problems.push(format!("{below}: {error}: remove what cannot be read"));
                }
            }
        }
    }

    fn file(&mut self, name: &str) {
        match text(&self.directory.join(name)) {
            Ok(text) => self.files.push((name.to_owned(), text)),
            Err(error) => {
                let problem = format!("{name}: {error}: give a file that can be read as text");
                self.problems.push(problem);
            }
        }
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if !std::fs::metadata(path)?.is_file() {
        // opening a pipe would wait for a writer for ever
        return Err(io::Error::other("it is no file"));
    }
    File::open(path)?.take(FILE_LIMIT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_LIMIT_BYTES {
        return Err(io::Error::other("over 32 MiB"));
    }
    Ok(text)
}

/// Whether a file may lie beside the policy: words for people, and what tools hide.
fn is_beside(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    last.starts_with('.') || last.rsplit_once('.').is_some_and(|(_, ending)| ending == "md")
}

/// What a policy directory holds.
const KNOWN: [&str; 6] = ["model.conf", "roles.csv", GATES, LINT_ALLOW, "rules", "tests"];
/// Named conditions.
pub(in crate::policy) const GATES: &str = "gates.toml";
/// Findings that were looked at and accepted.
pub(in crate::policy) const LINT_ALLOW: &str = "lint-allow.toml";
/// A rule has about a hundred bytes.
const FILE_LIMIT_BYTES: u64 = 32 << 20;
/// Folders stand for owners; nobody has more levels of them.
const DEPTH_LIMIT: usize = 8;
/// Nor as many owners.
const FOLDERS_LIMIT: usize = 4_096;
