//! Where a value may come from: flags, the environment, the file. What was found, and exactly where.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use toml_edit::Document;
use toml_edit::Item;
use toml_edit::TableLike;
use toml_edit::Value;

use crate::config::Inputs;
use crate::config::problem::Problem;

/// Where a value was written. The order is that in which problems are listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the settings file, counted from 1.
    File(String, usize),
    /// A variable of the environment.
    Environment(String),
    /// An argument `--set KEY=…`, or one that stands for it.
    Flag(String),
    /// Nowhere: the default is in force.
    Default,
}

impl Origin {
    /// Which of two wins: the higher.
    pub(in crate::config) const fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(..) => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, line) => write!(out, "{file}:{line}"),
            Self::Environment(name) => write!(out, "env {name}"),
            Self::Flag(key) => write!(out, "flag --set {key}"),
            Self::Default => out.write_str("default"),
        }
    }
}

/// A value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum Given {
    /// One text; numbers and switches too.
    One(String),
    /// A list of texts.
    Many(Vec<String>),
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Form {
    /// A string.
    Text,
    /// A string that is never shown.
    Hidden,
    /// A number.
    Number,
    /// A number of bytes, or a string with a unit.
    Size,
    /// `true` or `false`.
    Switch,
    /// An array of strings; elsewhere than in the file, separated by commas.
    List,
}

impl Form {
    /// What the file must hold.
    pub(in crate::config) const fn remedy(self) -> &'static str {
        match self {
            Self::Text | Self::Hidden => "write a string in quotes",
            Self::Number => "write a number without quotes",
            Self::Size => "write a string such as \"64 MiB\", or a number of bytes",
            Self::Switch => "write true or false without quotes",
            Self::List => "write a list of strings, such as [\"one\", \"two\"]",
        }
    }

    /// A text from outside the file.
    pub(in crate::config) fn read(self, text: &str) -> Given {
        match self {
            Self::List => {
                let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
                Given::Many(entries.map(ToOwned::to_owned).collect())
            }
            Self::Text | Self::Hidden | Self::Number | Self::Size | Self::Switch => {
                Given::One(text.to_owned())
            }
        }
    }

    /// A value of the file; the error says what stands there instead.
    fn take(self, item: &Item) -> Result<Given, &'static str> {
        let value = item.as_value().ok_or("is a table")?;
        match (self, value) {
            (Self::Text | Self::Hidden | Self::Size, Value::String(text)) => {
                Ok(Given::One(text.value().clone()))
            }
            (Self::Number | Self::Size, Value::Integer(number)) => {
                Ok(Given::One(number.value().to_string()))
            }
            (Self::Number, Value::Float(number)) => Ok(Given::One(number.value().to_string())),
            (Self::Switch, Value::Boolean(switch)) => Ok(Given::One(switch.value().to_string())),
            (Self::List, Value::String(text)) => Ok(Given::Many(vec![text.value().clone()])),
            (Self::List, Value::Array(array)) => {
                let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
                let all: Option<Vec<String>> = array.iter().map(text).collect();
                all.map(Given::Many).ok_or("holds something that is no string")
            }
            (_, Value::String(_)) => Err("is a string"),
            (_, Value::Integer(_) | Value::Float(_)) => Err("is a number"),
            (_, Value::Boolean(_)) => Err("is true or false"),
            (_, Value::Datetime(_)) => Err("is a time"),
            (_, Value::Array(_)) => Err("is a list"),
            (_, Value::InlineTable(_)) => Err("is a table"),
        }
    }
}

/// One key in all the spellings under which it is looked for.
#[derive(Debug, Clone)]
pub(in crate::config) struct Spelling {
    /// The table of the file, and which one if there are several.
    pub(in crate::config) section: &'static str,
    /// Which table of an array of tables.
    pub(in crate::config) element: Option<usize>,
    /// The key in its table.
    pub(in crate::config) key: &'static str,
    /// The key of flags, such as `server.listen`; `None` if only the file may say it.
    pub(in crate::config) flag: Option<String>,
}

impl Spelling {
    /// The variable: `MODGATE_` and the key in upper case, with `_` between its parts.
    pub(in crate::config) fn variable(&self) -> Option<String> {
        self.flag.as_deref().map(variable)
    }

    /// The path in the file, such as `upstream.servers[0].url`.
    pub(in crate::config) fn path(&self) -> String {
        let element = self.element.map(|index| format!("[{index}]")).unwrap_or_default();
        let dot = if self.section.is_empty() { "" } else { "." };
        format!("{}{element}{dot}{}", self.section, self.key)
    }
}

/// The variable of a key.
fn variable(key: &str) -> String {
    let upper = key.to_ascii_uppercase();
    format!("{PREFIX}{}", upper.replace(['.', '-'], "_"))
}

/// Everything that was given, none of it judged.
#[derive(Debug)]
pub(in crate::config) struct Sources {
    name: String,
    file: Document<String>,
    environment: Vec<(String, String)>,
    flags: Vec<(String, String)>,
}

impl Sources {
    /// Reads the file. Without one there is an empty one.
    pub(in crate::config) fn open(inputs: Inputs) -> Result<Self, Problem> {
        let Inputs { file, environment, overrides } = inputs;
        let (name, text) = match &file {
            None => (String::new(), String::new()),
            Some(path) => {
                let name = path.display().to_string();
                let text = read(path).map_err(|error| Problem {
                    origin: Origin::File(name.clone(), 1),
                    key: String::new(),
                    what: format!("the settings file cannot be read: {error}"),
                    remedy: "name one with --config FILE, or leave --config out".to_owned(),
                })?;
                (name, text)
            }
        };
        let parsed = Document::parse(text.clone()).map_err(|error| Problem {
            origin: Origin::File(
                name.clone(),
                line(&text, error.span().map_or(0, |span| span.start)),
            ),
            key: String::new(),
            // the error's own text would quote the line, and the line may hold a secret
            what: "this is no TOML: a quote, a bracket or an equals sign is missing, or a key stands twice"
                .to_owned(),
            remedy: "write key = \"value\" lines below [section] lines".to_owned(),
        })?;
        let environment = environment.into_iter().filter(|(name, _)| is_ours(name)).collect();
        Ok(Self { name, file: parsed, environment, flags: overrides })
    }

    /// The winner among flag, variable and file; a type that does not fit says what it is.
    pub(in crate::config) fn find(
        &self,
        spelling: &Spelling,
        form: Form,
    ) -> Option<(Origin, Result<Given, &'static str>)> {
        if let Some(key) = &spelling.flag
            && let Some((_, value)) = self.flags.iter().rfind(|(name, _)| name == key)
        {
            return Some((Origin::Flag(key.clone()), Ok(form.read(value))));
        }
        if let Some(name) = spelling.variable()
            && let Some((_, value)) = self.environment.iter().rfind(|(found, _)| *found == name)
        {
            return Some((Origin::Environment(name), Ok(form.read(value))));
        }
        let table = self.table(spelling.section, spelling.element)?;
        let (key, item) = table.get_key_value(spelling.key)?;
        Some((self.origin(key.span()), form.take(item)))
    }

    /// A table by its dotted path; the whole file by the empty one.
    fn table(&self, path: &str, element: Option<usize>) -> Option<&dyn TableLike> {
        match element {
            None => self.item(path)?.as_table_like(),
            Some(index) => self.elements(path)?.get(index).map(|(table, _)| *table),
        }
    }

    fn item(&self, path: &str) -> Option<&Item> {
        let root = self.file.as_item();
        let mut parts = path.split('.').filter(|part| !part.is_empty());
        parts.try_fold(root, |item, part| item.as_table_like()?.get(part))
    }

    /// The tables of an array of tables, and where each begins. `None`: something else stands there.
    pub(in crate::config) fn elements(&self, path: &str) -> Option<Vec<(&dyn TableLike, Origin)>> {
        let Some(item) = self.item(path) else { return Some(Vec::new()) };
        if let Some(tables) = item.as_array_of_tables() {
            let table = |table: &'_ toml_edit::Table| self.origin(table.span());
            return Some(tables.iter().map(|one| (one as &dyn TableLike, table(one))).collect());
        }
        item.as_array()?
            .iter()
            .map(|value| {
                let table = value.as_inline_table()?;
                Some((table as &dyn TableLike, self.origin(value.span())))
            })
            .collect()
    }

    /// Where a key of the file stands, whatever its value is.
    pub(in crate::config) fn place(&self, path: &str) -> Origin {
        let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
        let found = self.table(above, None).and_then(|table| table.get_key_value(key));
        found.map_or(Origin::Default, |(key, _)| self.origin(key.span()))
    }

    /// Every key of the file that nobody asked for. `known` holds what was asked for.
    pub(in crate::config) fn unknown_keys(&self, known: &Known<'_>) -> Vec<(Origin, String)> {
        let mut found = Vec::new();
        self.walk("", self.file.as_table(), known, &mut found);
        found
    }

    fn walk(
        &self,
        above: &str,
        table: &dyn TableLike,
        known: &Known<'_>,
        found: &mut Vec<(Origin, String)>,
    ) {
        for (name, item) in table.iter() {
            let dot = if above.is_empty() { "" } else { "." };
            let path = format!("{above}{dot}{name}");
            if known.is_key(&path) {
                continue;
            }
            let place = || {
                let key = table.get_key_value(name).and_then(|(key, _)| key.span());
                self.origin(key)
            };
            match (item.as_table_like(), known.is_section(&path)) {
                (Some(inner), true) => self.walk(&path, inner, known, found),
                (None, _) if known.is_array(&path) => match self.elements(&path) {
                    Some(elements) => {
                        for (index, (inner, _)) in elements.into_iter().enumerate() {
                            self.walk(&format!("{path}[{index}]"), inner, known, found);
                        }
                    }
                    None => found.push((place(), path)),
                },
                _ => found.push((place(), path)),
            }
        }
    }

    /// Variables and flags, each with its origin, that are not among the known.
    pub(in crate::config) fn unknown_names(&self, known: &Known<'_>) -> Vec<(Origin, String)> {
        let variables = self
            .environment
            .iter()
            .filter(|(name, _)| !known.is_variable(name))
            .map(|(name, _)| (Origin::Environment(name.clone()), name.clone()));
        let flags = self
            .flags
            .iter()
            .filter(|(key, _)| !known.is_flag(key))
            .map(|(key, _)| (Origin::Flag(key.clone()), key.clone()));
        variables.chain(flags).collect()
    }

    fn origin(&self, span: Option<std::ops::Range<usize>>) -> Origin {
        let at = span.map_or(0, |span| span.start);
        Origin::File(self.name.clone(), line(self.file.raw(), at))
    }

    /// The settings file.
    pub(in crate::config) fn file(&self) -> &Path {
        Path::new(&self.name)
    }
}

/// What has been asked for; everything else that was given is unknown.
#[derive(Debug)]
pub(in crate::config) struct Known<'a> {
    /// Every spelling that was looked for.
    pub(in crate::config) asked: &'a [Spelling],
    /// Every table, and every array of tables.
    pub(in crate::config) sections: &'a [(&'static str, Option<usize>)],
}

impl Known<'_> {
    fn is_key(&self, path: &str) -> bool {
        self.asked.iter().any(|spelling| spelling.path() == path)
    }

    /// Whether a path is a section, or a table above one.
    pub(in crate::config) fn is_section(&self, path: &str) -> bool {
        self.sections.iter().any(|(section, element)| {
            let above = section.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
            above || (*section == path && element.is_none())
        })
    }

    /// Whether a path is an array of tables.
    pub(in crate::config) fn is_array(&self, path: &str) -> bool {
        self.sections.iter().any(|(section, element)| *section == path && element.is_some())
    }

    fn is_variable(&self, name: &str) -> bool {
        self.asked.iter().any(|spelling| spelling.variable().as_deref() == Some(name))
    }

    fn is_flag(&self, key: &str) -> bool {
        self.asked.iter().any(|spelling| spelling.flag.as_deref() == Some(key))
    }
}

/// Whether a variable is meant for us. Kubernetes describes a service named `modgate` to every container of its
/// namespace by variables that begin as ours do; those are not settings.
fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let port = |rest: &str| rest.is_empty() || rest.starts_with('_');
    let described = rest == "SERVICE_HOST"
        || rest.strip_prefix("SERVICE_PORT").is_some_and(port)
        || rest.strip_prefix("PORT").is_some_and(port);
    !described
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let read = file.take(FILE_LIMIT_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_LIMIT_BYTES {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Our variables begin so.
const PREFIX: &str = "MODGATE_";
/// Nobody writes that much by hand.
const FILE_LIMIT_BYTES: u64 = 1 << 20;
