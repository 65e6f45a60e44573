//! Reads keys one at a time, remembers each problem and goes on, and remembers what to show.

use std::path::PathBuf;

use crate::config::keys::Key;
use crate::config::keys::Preset;
use crate::config::keys::Section;
use crate::config::problem::Problem;
use crate::config::problem::Wrong;
use crate::config::problem::nearest;
use crate::config::secret::MASK;
use crate::config::secret::Secret;
use crate::config::show::Shown;
use crate::config::source::Form;
use crate::config::source::Given;
use crate::config::source::Known;
use crate::config::source::Origin;
use crate::config::source::Sources;
use crate::config::source::Spelling;
use crate::config::units;

/// What defaults may refer to.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct Surroundings {
    /// `{state_dir}`.
    pub(in crate::config) state_dir: String,
    /// `{cores}`.
    pub(in crate::config) cores: usize,
    /// `{node}`.
    pub(in crate::config) node: String,
}

/// Reads what was given, once for every key there is.
#[derive(Debug)]
pub(in crate::config) struct Reader {
    sources: Sources,
    surroundings: Surroundings,
    problems: Vec<Problem>,
    asked: Vec<Spelling>,
    sections: Vec<(&'static str, Option<usize>)>,
    shown: Vec<Shown>,
}

/// One table of an array of tables.
#[derive(Debug, Clone)]
pub(in crate::config) struct Element {
    index: usize,
    /// Its `name`, if it has a good one: then flags and variables can reach it.
    pub(in crate::config) name: Option<String>,
    /// Where it begins.
    pub(in crate::config) origin: Origin,
}

/// One table, while it is read.
#[derive(Debug)]
pub(in crate::config) struct Table<'a> {
    reader: &'a mut Reader,
    section: &'static Section,
    element: Option<Element>,
}

impl Reader {
    /// Nothing has been read yet.
    pub(in crate::config) fn new(sources: Sources) -> Self {
        Self {
            sources,
            surroundings: Surroundings::default(),
            problems: Vec::new(),
            asked: Vec::new(),
            sections: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// What defaults that follow may refer to.
    pub(in crate::config) fn surround(&mut self, surroundings: Surroundings) {
        self.surroundings = surroundings;
    }

    /// A section that stands once.
    pub(in crate::config) fn section(&mut self, section: &'static Section) -> Table<'_> {
        if !section.path.is_empty() {
            self.sections.push((section.path, None));
        }
        Table { reader: self, section, element: None }
    }

    /// The tables of a section that may stand several times.
    pub(in crate::config) fn elements(&mut self, section: &'static Section) -> Vec<Element> {
        self.sections.push((section.path, Some(0)));
        // what is no array of tables is reported with the unknown keys
        let tables = self.sources.elements(section.path).unwrap_or_default();
        let element = |(index, (table, origin)): (usize, (&dyn toml_edit::TableLike, Origin))| {
            let name = table.get("name").and_then(toml_edit::Item::as_str);
            let name = name.filter(|name| units::name(name).is_ok()).map(ToOwned::to_owned);
            Element { index, name, origin }
        };
        tables.into_iter().enumerate().map(element).collect()
    }

    /// Notes every table whose name an earlier one has.
    pub(in crate::config) fn refuse_twins(&mut self, section: &'static Section) {
        let mut seen: Vec<String> = Vec::new();
        for element in self.elements(section) {
            let Some(name) = element.name.clone() else { continue };
            if seen.contains(&name) {
                let wrong = Wrong::value(&name, "stands twice", "use another name");
                self.element(section, element).wrong("name", wrong);
            }
            seen.push(name);
        }
    }

    /// One of those tables.
    pub(in crate::config) fn element(
        &mut self,
        section: &'static Section,
        element: Element,
    ) -> Table<'_> {
        Table { reader: self, section, element: Some(element) }
    }

    /// What to show, if nothing is wrong; else everything that is.
    pub(in crate::config) fn finish(mut self) -> Result<Vec<Shown>, Vec<Problem>> {
        self.note_unknown();
        if self.problems.is_empty() { Ok(self.shown) } else { Err(self.problems) }
    }

    fn note_unknown(&mut self) {
        let known = Known { asked: &self.asked, sections: &self.sections };
        let paths: Vec<String> = self.asked.iter().map(Spelling::path).collect();
        let flags: Vec<String> = self.asked.iter().filter_map(|one| one.flag.clone()).collect();
        let variables: Vec<String> = self.asked.iter().filter_map(Spelling::variable).collect();
        let sections: Vec<&str> = self.sections.iter().map(|(section, _)| *section).collect();
        for (origin, key) in self.sources.unknown_keys(&known) {
            let wrong = if known.is_array(&key) {
                Wrong::new("may stand several times", format!("write [[{key}]] and its keys below"))
            } else if known.is_section(&key) {
                Wrong::new("is a section", format!("write [{key}] once and its keys below"))
            } else {
                let candidates = paths.iter().map(String::as_str).chain(sections.iter().copied());
                unknown(&key, &candidates, "take it out")
            };
            self.problems.push(problem(origin, key.escape_debug().to_string(), wrong));
        }
        for (origin, name) in self.sources.unknown_names(&known) {
            let (candidates, remedy) = match origin {
                Origin::Environment(_) => (&variables, "unset it"),
                Origin::Flag(_) | Origin::File(..) | Origin::Default => (&flags, "take it out"),
            };
            let candidates = candidates.iter().map(String::as_str);
            let wrong = unknown(&name, &candidates, remedy);
            self.problems.push(problem(origin, String::new(), wrong));
        }
    }
}

fn problem(origin: Origin, key: String, wrong: Wrong) -> Problem {
    Problem { origin, key, what: wrong.what, remedy: wrong.remedy }
}

fn unknown<'a>(key: &str, known: &(impl Iterator<Item = &'a str> + Clone), remedy: &str) -> Wrong {
    let last = key.rsplit('.').next().unwrap_or(key);
    let elsewhere = || known.clone().find(|path| path.rsplit('.').next() == Some(last));
    let meant = nearest(key, known.clone()).or_else(elsewhere);
    let remedy = match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("{remedy}: `modgate check-config` and the example file list every setting"),
    };
    Wrong::new("is no setting", remedy)
}

impl Table<'_> {
    /// A value that is always there.
    pub(in crate::config) fn one<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let (origin, given) = self.look(key)?;
        match given {
            Some(Given::One(text)) => self.judge(key, origin, parse(&text)),
            Some(Given::Many(_)) | None => {
                self.problem(key, origin, Wrong::new("is missing", self.wanted(key)));
                None
            }
        }
    }

    /// A value that need not be there; an empty text says that it is not. The outer `None` is a problem.
    #[expect(clippy::option_option, reason = "a problem is not the same as nothing given")]
    pub(in crate::config) fn maybe<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Option<T>> {
        let (origin, given) = self.look(key)?;
        match given {
            Some(Given::One(text)) if !text.is_empty() => {
                self.judge(key, origin, parse(&text)).map(Some)
            }
            Some(_) | None => Some(None),
        }
    }

    /// A list; every entry that cannot be used is a problem.
    pub(in crate::config) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let (origin, given) = self.look(key)?;
        let Some(Given::Many(texts)) = given else { return Some(Vec::new()) };
        let all: Vec<Option<T>> =
            texts.iter().map(|text| self.judge(key, origin.clone(), parse(text))).collect();
        all.into_iter().collect()
    }

    /// As [`Table::list`], with at least one entry.
    pub(in crate::config) fn some<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let all = self.list(key, parse)?;
        if all.is_empty() {
            self.wrong(key, Wrong::new("is missing or empty", self.wanted(key)));
            return None;
        }
        Some(all)
    }

    /// A secret, given as it is or as `<key>_file`; where both are, the stronger origin wins.
    #[expect(clippy::option_option, reason = "a problem is not the same as nothing given")]
    pub(in crate::config) fn secret(
        &mut self,
        key: &'static str,
        key_file: &'static str,
    ) -> Option<Option<Secret<String>>> {
        let literal = self.look(key);
        let file = self.look(key_file);
        let ((at, literal), (file_at, file)) = (literal?, file?);
        let text = |given: Option<Given>| match given {
            Some(Given::One(text)) if !text.is_empty() => Some(text),
            Some(_) | None => None,
        };
        match (text(literal), text(file)) {
            (None, None) => Some(None),
            (Some(_), Some(_)) if at.rank() == file_at.rank() => {
                let remedy = format!("take {key} or {key_file} out");
                self.problem(key, at, Wrong::new("is given twice", remedy));
                None
            }
            (Some(literal), other) if other.is_none() || at.rank() > file_at.rank() => {
                let found = self.literal(&at, literal);
                self.judge(key, at, found).map(Some)
            }
            (_, Some(path)) => {
                let found = units::secret_file(&PathBuf::from(path));
                self.judge(key_file, file_at, found).map(Some)
            }
            (Some(_), None) => None,
        }
    }

    fn literal(&self, at: &Origin, text: String) -> Result<Secret<String>, Wrong> {
        match at {
            Origin::Flag(_) => Err(Wrong::new(
                "a secret on the command line can be read by everybody on this machine",
                "name a file that holds it, or set the variable",
            )),
            Origin::File(..) => {
                units::not_for_everybody(self.reader.sources.file()).map(|()| Secret::from(text))
            }
            Origin::Environment(_) | Origin::Default => Ok(text.into()),
        }
    }

    /// Notes that a value is wrong, where it was written.
    pub(in crate::config) fn wrong(&mut self, key: &'static str, wrong: Wrong) {
        let origin = self.origin(key);
        self.problem(key, origin, wrong);
    }

    /// Where the value in force was written; a table's beginning if it is not in it.
    pub(in crate::config) fn origin(&self, key: &'static str) -> Origin {
        let form = self.key(key).map_or(Form::Text, |key| key.form);
        let found = self.reader.sources.find(&self.spelling(key), form);
        found.map_or_else(|| self.beginning(), |(origin, _)| origin)
    }

    fn beginning(&self) -> Origin {
        match &self.element {
            Some(element) => element.origin.clone(),
            None => self.reader.sources.place(self.section.path),
        }
    }

    fn problem(&mut self, key: &'static str, origin: Origin, wrong: Wrong) {
        let spelling = self.spelling(key);
        let label = spelling.flag.clone().unwrap_or_else(|| spelling.path());
        self.reader.problems.push(problem(origin, label, wrong));
    }

    fn judge<T>(
        &mut self,
        key: &'static str,
        origin: Origin,
        found: Result<T, Wrong>,
    ) -> Option<T> {
        found.map_err(|wrong| self.problem(key, origin, wrong)).ok()
    }

    fn key(&self, key: &str) -> Option<&'static Key> {
        self.section.keys.iter().find(|known| known.name == key)
    }

    fn wanted(&self, key: &str) -> String {
        let example = self.key(key).map_or_else(String::new, Key::example_line);
        format!("write {example}")
    }

    fn spelling(&self, key: &'static str) -> Spelling {
        let dot = if self.section.path.is_empty() { "" } else { "." };
        let path = self.section.path;
        let flag = match &self.element {
            None => Some(format!("{path}{dot}{key}")),
            // the name is how flags reach the table, so they cannot change it
            Some(element) => element
                .name
                .as_ref()
                .filter(|_| key != "name")
                .map(|name| format!("{path}.{name}.{key}")),
        };
        let element = self.element.as_ref().map(|element| element.index);
        Spelling { section: path, element, key, flag }
    }

    /// What is given for a key, or else its default. The outer `None` is a problem, noted already.
    fn look(&mut self, key: &'static str) -> Option<(Origin, Option<Given>)> {
        let Some(entry) = self.key(key) else {
            let wrong = Wrong::new("is not in the table of keys", "report this defect");
            self.problem(key, Origin::Default, wrong);
            return None;
        };
        let spelling = self.spelling(key);
        let found = self.reader.sources.find(&spelling, entry.form);
        self.reader.asked.push(spelling);
        let (origin, given) = match found {
            Some((origin, Ok(given))) => (origin, Some(given)),
            Some((origin, Err(is))) => {
                self.problem(key, origin, Wrong::new(is, entry.form.remedy()));
                return None;
            }
            None => match entry.preset {
                Preset::Value(text) | Preset::Derived { template: text, .. } => {
                    (Origin::Default, Some(entry.form.read(&self.fill(text))))
                }
                Preset::Unset { .. } => (Origin::Default, None),
                Preset::Required { .. } => (self.beginning(), None),
            },
        };
        self.show(entry, &origin, given.as_ref());
        Some((origin, given))
    }

    fn fill(&self, template: &str) -> String {
        let around = &self.reader.surroundings;
        template
            .replace("{state_dir}", &around.state_dir)
            .replace("{cores}", &around.cores.to_string())
            .replace("{node}", &around.node)
    }

    fn show(&mut self, key: &'static Key, origin: &Origin, given: Option<&Given>) {
        let masked = Given::One(MASK.to_owned());
        let value = match (key.form, given) {
            (Form::Hidden, Some(_)) => Some(&masked),
            (_, given) => given,
        };
        self.reader.shown.push(Shown {
            section: self.section,
            element: self.element.as_ref().map(|element| element.index),
            key: key.name,
            value: value.map(|value| key.form.write(value)),
            origin: origin.clone(),
        });
    }
}
